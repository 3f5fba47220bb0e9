use crate::half::{Executor, is_root};
use crate::services::process;
use hostler_executor::clock::boottime_ms;
use hostler_executor::protocol::{Act, Content, FileFound, LookAt, Outcome, Request, Stands, print_of};
use std::fs;

fn put(path: &str) -> Act {
    Act::PutFile {
        path: path.into(),
        content_base64: Content(b"x".to_vec()),
        owner: None,
        mode: None,
        validate: None,
        user: None,
    }
}

fn stop(unit: &str) -> Act {
    Act::Stop { unit: unit.into() }
}

#[test]
fn each_refusal_says_what_would_be_allowed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let policy = "# ours\npaths = [\"/srv/hostler-test/**\"]\ncommands = [\"/opt/shop/bin/*\"]\n";
    let mut executor = Executor::start(folder.path(), policy);
    let refused = |outcome: Outcome, rule: &str, part: &str| match outcome {
        Outcome::Refused { rule: found, words } => assert!(found == rule && words.contains(part), "{found}: {words}"),
        other => panic!("{rule}: {other:?}"),
    };
    let now = boottime_ms();
    let request = |id, expires_at_ms, act| Request { id, expires_at_ms, act };
    refused(executor.say(request(1, now - 1, Act::List)), "expired", "was good until");
    refused(executor.say(request(2, now + 3_600_000, Act::List)), "expired", "may be for 600000");
    assert!(matches!(executor.say(request(10, now + 60_000, Act::List)), Outcome::Done(_)));
    refused(executor.say(request(10, now + 60_000, Act::List)), "replayed", "request 10 comes after 10");
    refused(executor.say(request(9, now + 60_000, Act::List)), "replayed", "request 9 comes after 10");
    refused(executor.ask(stop("../ssh")), "malformed", "its name has only letters");
    refused(executor.ask(put("/etc/../root/x")), "malformed", "write it without ..");
    refused(executor.ask(put("/etc/motd")), "policy", "path /etc/motd is not in paths (line 2 of");
    refused(executor.ask(put("/etc/shadow")), "policy", "leaves /etc/shadow* alone");
    let mut shell = process(&executor.folder, "true");
    shell.output = "/srv/hostler-test/out".into();
    let act = Act::StartProcess { unit: "hostler-a.service".into(), process: shell };
    refused(executor.ask(act), "policy", "command /bin/sh is not in commands (line 3 of");
    refused(executor.ask(stop("hostler-agent.service")), "policy", "Hostler's own");

    // From now on, without a restart.
    fs::write(executor.folder.join("policy.toml"), "profile = \"watch\"\n").unwrap();
    refused(executor.ask(stop("nginx.service")), "policy", "profile watch (line 1 of");
    fs::write(executor.folder.join("policy.toml"), "profile = \"full\"\nunit = []\n").unwrap();
    refused(executor.ask(stop("nginx.service")), "policy", "can't be used");
}

#[test]
fn files_are_put_where_they_may_be() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut executor = Executor::start(folder.path(), "commands = [\"/bin/grep\"]\n");
    let path = place.path().join("a.conf");
    let file = |text: &str| Act::PutFile {
        path: path.clone(),
        content_base64: Content(text.as_bytes().to_vec()),
        owner: Some("nobody".into()),
        mode: Some(0o640),
        validate: Some(["/bin/grep", "-q", "good", "${file}"].map(String::from).into()),
        user: None,
    };
    assert!(executor.done(file("good one")).changed);
    assert!(executor.done(file("good one")).already);
    let failed = executor.ask(file("bad"));
    assert!(matches!(&failed, Outcome::Failed { words } if words.contains("/bin/grep finds fault")), "{failed:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "good one");
    // As its own user, who may read it and no other's.
    let by_user = |program: &str| Act::PutFile {
        path: path.clone(),
        content_base64: Content(b"better".to_vec()),
        owner: Some("nobody".into()),
        mode: Some(0o640),
        validate: Some(vec![program.into(), "better".into(), "${file}".into()]),
        user: Some("nobody".into()),
    };
    let refused = executor.ask(by_user("/usr/bin/cmp"));
    assert!(matches!(&refused, Outcome::Refused { words, .. } if words.contains("not in commands")), "{refused:?}");
    assert!(executor.done(by_user("/bin/grep")).changed);
    // What it says it put is what it finds, until another hand is at it.
    let was_put = executor.done(by_user("/bin/grep")).files;
    let look = || Act::LookAtFiles { files: vec![LookAt { path: path.clone(), mark: None }] };
    let found = executor.done(look()).files;
    let ([FileFound::There(was)], [FileFound::There(found)]) = (was_put.as_slice(), found.as_slice()) else {
        panic!("{was_put:?} {found:?}");
    };
    let bare = |one: &Stands| Stands { mark: None, changed_ms: 0, ..*one };
    assert_eq!((bare(was), was.mode, was.uid), (bare(found), 0o640, 65534));
    fs::write(&path, "worse").unwrap();
    let found = executor.done(look()).files;
    assert!(matches!(found.as_slice(), [FileFound::There(one)] if one.print == print_of(b"worse")), "{found:?}");
    std::os::unix::fs::symlink("/etc", place.path().join("link")).unwrap();
    let failed = executor.ask(put(&place.path().join("link/motd").display().to_string()));
    assert!(matches!(&failed, Outcome::Failed { words } if words.contains("leads through a symlink")), "{failed:?}");
    let output = place.path().join("out.log");
    fs::write(&output, vec![b'x'; 20_000]).unwrap();
    let rotated = executor.done(Act::RotateOutput {
        path: output.clone(),
        keep: 2,
        compress: true,
        over_bytes: None,
        older_s: None,
    });
    assert!(rotated.changed && place.path().join("out.log.1.gz").exists(), "{rotated:?}");
}
