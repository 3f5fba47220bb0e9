use super::*;

fn parse(text: &str) -> Result<Policy, String> {
    let otherwise = || Policy::of(Profile::Operate, "the default");
    Policy::parse(Path::new(FILE), text, otherwise).map_err(|error| error.to_string())
}

#[test]
fn everything_may_be_left_out() {
    assert_eq!(parse("").unwrap(), Policy::of(Profile::Operate, "the default"));
}

#[test]
fn lists_know_their_line() {
    let policy = parse("# ours\nprofile = \"full\"\n\nunits = [\n  \"nginx.service\",\n]\nusers = []\n").unwrap();
    assert_eq!((policy.profile, policy.said_by.as_str()), (Profile::Full, "line 2 of /etc/hostler/policy.toml"));
    assert_eq!(policy.units, Some(Listed { values: vec!["nginx.service".into()], line: 4 }));
    assert_eq!(policy.users, Some(Listed { values: vec![], line: 7 }));
}

#[test]
fn what_is_wrong_is_named() {
    let table = [
        ("unit = []", "line 1: unit is no setting: did you mean units?"),
        (
            "\n\ncolour = 1",
            "line 3: colour is no setting: settings are profile, units, paths, users, packages, commands, images",
        ),
        ("profile = \"root\"", "line 1: profile is \"root\": it is one of watch, operate, full"),
        ("paths = \"/etc\"", "line 1: paths is a list of texts, like paths = [\"/etc/nginx/**\"]"),
        ("paths = [\"etc/**\"]", "line 1: \"etc/**\" can't match anything: write it like \"/etc/nginx/**\""),
        ("images = \"x\"", "line 1: images is a list of texts, like images = [\"registry.example.com/*\"]"),
        ("users = [1]", "line 1: users is a list of texts, like users = [\"shop\"]"),
    ];
    for (text, words) in table {
        let end = "; until then the profile watch is in force";
        assert_eq!(parse(text).unwrap_err(), format!("{FILE}: {words}{end}"), "{text}");
    }
}

#[test]
fn a_file_that_others_may_write_counts_for_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (file, agent) = (folder.path().join("policy.toml"), folder.path().join("agent.toml"));
    std::fs::write(&file, "profile = \"full\"\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Policy::load(&file, &agent).0.profile, Profile::Full);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
    let (policy, problem) = Policy::load(&file, &agent);
    let problem = problem.unwrap().to_string();
    assert_eq!(policy.profile, Profile::Watch);
    assert!(problem.contains("can be written by others than root (mode 0664): chmod go-w it"), "{problem}");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&agent, "policy = \"watch\"\n").unwrap();
    let (policy, problem) = Policy::load(&file, &agent);
    assert_eq!((policy.profile, problem.is_none()), (Profile::Watch, true), "as the host joined");
}
