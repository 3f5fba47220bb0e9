use crate::half::{Executor, is_root, wait_for};
use crate::services::process;
use hostler_executor::protocol::{Act, Outcome, Process};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

/// Each test has its own: control groups have a name on the whole host.
const UNIT: &str = "hostler-task-run-5-7.0.service";
const FREE: &str = "hostler-task-run-5-8.0.service";

#[test]
fn a_tasks_program_is_a_unit_of_its_own_whose_end_and_output_stay() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let output = folder.path().join("task.run-5-7.log");
    let once = Process { output: output.clone(), ..process(folder.path(), "echo \"$(id -un)\"; exit 3") };
    executor.done(Act::StartProcess { unit: UNIT.into(), process: once });
    let mut ended = None;
    wait_for("its end", || {
        ended = executor.done(Act::Inspect { unit: UNIT.into() }).ended;
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code, Some(3));
    let units: Vec<String> = executor.done(Act::List).units.into_iter().map(|unit| unit.name).collect();
    assert_eq!(units, [UNIT], "until whoever asked for it knows how it ended");
    assert!(executor.done(Act::Stop { unit: UNIT.into() }).already);
    assert!(executor.done(Act::List).units.is_empty());
    assert_eq!(fs::read_to_string(&output).unwrap(), "nobody\n");
    let remove = Act::RemoveOutput { path: output.clone() };
    assert!(executor.done(remove.clone()).changed && !output.exists());
    assert!(executor.done(remove).already);
}

#[test]
fn a_free_command_is_refused_unless_it_is_listed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let free = || {
        let process = Process { free: true, ..process(folder.path(), "true") };
        Act::StartProcess { unit: FREE.into(), process }
    };
    let mut executor = Executor::start(folder.path(), "profile = \"operate\"\n");
    let Outcome::Refused { rule, words } = executor.ask(free()) else { panic!("it was not refused") };
    assert!(rule == "policy" && words.contains("refuses free commands"), "{words}");
    drop(executor);
    let mut executor = Executor::start(folder.path(), "profile = \"operate\"\ncommands = [\"/bin/sh\"]\n");
    assert!(executor.done(free()).changed);
    executor.done(Act::Stop { unit: FREE.into() });
}

#[test]
fn files_are_read_as_their_tasks_user_and_never_through_a_symlink() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "profile = \"full\"\n");
    let own = folder.path().join("task.run-5-9.0.folder");
    executor.done(Act::MakeFolder { path: own.clone(), owner: Some("nobody".into()), mode: Some(0o700) });
    fs::write(own.join("report.txt"), "all is well\n").unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "of root").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    // What a command could leave there, hoping that root reads it.
    symlink(&secret, own.join("link")).unwrap();
    symlink(folder.path(), own.join("way")).unwrap();
    fs::hard_link(&secret, own.join("hard")).unwrap();
    fs::write(own.join("large"), "x".repeat(33)).unwrap();
    fs::create_dir(own.join("folder")).unwrap();
    let copy = folder.path().join("task.run-5-9.0.file");
    let mut take = |name: &str, within: bool, user: &str| {
        let path = if within { own.join(name) } else { name.into() };
        let act = Act::TakeFile {
            path,
            within: within.then(|| own.clone()),
            user: Some(user.into()),
            free: true,
            bytes_max: 32,
            copy: copy.clone(),
        };
        match executor.ask(act) {
            Outcome::Done(_) => fs::read_to_string(&copy).unwrap(),
            Outcome::Failed { words } => {
                assert!(!copy.exists(), "nothing is left of {name}");
                format!("failed: {words}")
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(take("report.txt", true, "nobody"), "all is well\n");
    let found = fs::metadata(&copy).unwrap();
    assert_eq!((found.mode() & 0o777, found.uid()), (0o640, 0), "for its agent to read, and nobody to change");
    for (name, words) in [
        ("nothing", "no such file"),
        ("hard", "may not read it"),
        ("link", "a symlink leads there"),
        ("way/secret", "a symlink leads there"),
        ("large", "too large: it has 33 B, and at most 32 B come back"),
        ("folder", "it is a folder"),
    ] {
        let refused = take(name, true, "nobody");
        assert!(refused.starts_with("failed: ") && refused.contains(words), "{name}: {refused}");
    }
    assert!(take("/etc/shadow", false, "nobody").contains("may not read it"));
    assert!(take(secret.to_str().unwrap(), false, "nobody").contains("may not read it"));
    assert_eq!(take(secret.to_str().unwrap(), false, "root"), "of root");
    // The folder goes with all in it, and takes nothing with it that it only led to.
    chown(own.join("folder"), Some(65_534), None).unwrap();
    assert!(executor.done(Act::RemoveOutput { path: own.clone() }).changed && !own.exists());
    assert!(secret.exists() && executor.done(Act::RemoveOutput { path: own }).already);
}
