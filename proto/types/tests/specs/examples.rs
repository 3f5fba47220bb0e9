use super::folder;
use hostler_types::spec::{Body, CheckTarget, Detail, Kind, Source, SourceFile, compile, read_json, write_yaml};

#[test]
fn the_example_reads_in_both_environments() {
    for env in ["prod", "staging"] {
        let compiled =
            compile(&folder::read(&folder::example("revitron"), Some(env))).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(compiled.system().map(ToString::to_string).as_deref(), Some("revitron"));
        assert_eq!(compiled.env().map(ToString::to_string).as_deref(), Some(env));
        let nodes = compiled.objects.iter().filter(|object| object.kind() == Kind::Node).count();
        assert_eq!(nodes, if env == "prod" { 5 } else { 2 });
        let backups = compiled.objects.iter().filter(|object| object.kind() == Kind::Backup).count();
        assert_eq!(backups, usize::from(env == "prod"), "null removes");
    }
}

#[test]
fn the_playbooks_read_and_print_as_they_are() {
    let compiled =
        compile(&folder::read(&folder::example("playbooks"), None)).unwrap_or_else(|error| panic!("{error}"));
    let tasks = compiled.objects.iter().filter(|object| object.kind() == Kind::Task);
    let names: Vec<&str> = tasks.clone().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["firewall", "harden-postgres", "harden-redis", "patch", "vacuum"]);
    for object in tasks {
        for full in [false, true] {
            let json = object.body.to_json(full).to_string();
            let again = read_json(object.kind().word(), object.name.as_str(), &json, "").expect(&json);
            assert_eq!(again.body, object.body);
        }
    }
}

#[test]
fn what_is_printed_reads_back_the_same() {
    for env in ["prod", "staging"] {
        let compiled = compile(&folder::read(&folder::example("revitron"), Some(env))).expect("valid");
        for detail in [Detail::Short, Detail::Full] {
            let text = write_yaml(&compiled.objects, detail);
            let files = vec![SourceFile { path: "printed.yaml".into(), text: text.clone() }];
            let again =
                compile(&Source { files, ..Source::default() }).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let bodies = |objects: &[hostler_types::spec::Object]| {
                objects.iter().map(|one| (one.kind(), one.name.clone(), one.body.clone())).collect::<Vec<_>>()
            };
            assert_eq!(bodies(&again.objects), bodies(&compiled.objects), "{text}");
        }
        for object in &compiled.objects {
            for full in [false, true] {
                let json = object.body.to_json(full).to_string();
                let again = read_json(object.kind().word(), object.name.as_str(), &json, "").expect(&json);
                assert_eq!(again.body, object.body);
            }
        }
    }
}

#[test]
fn a_check_of_a_service_runs_where_the_service_does() {
    let compiled = compile(&folder::read(&folder::example("revitron"), Some("prod"))).expect("valid");
    let health =
        compiled.objects.iter().find(|one| one.kind() == Kind::Check && one.name.as_str() == "health").unwrap();
    let Body::Check(check) = &health.body else { panic!("a check") };
    let CheckTarget::Service(service) = check.target() else { panic!("{check:?}") };
    assert_eq!(service.as_str(), "revitron");
}

#[test]
fn full_says_where_each_value_comes_from() {
    let compiled = compile(&folder::read(&folder::example("revitron"), Some("staging"))).expect("valid");
    let text = write_yaml(&compiled.objects, Detail::Full);
    for line in
        ["REVITRON_FRAMEWORK_ENV: staging  # env/staging.yaml:6", "delay: 10s  # app.yaml:15", "cap: 5m  # default"]
    {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
