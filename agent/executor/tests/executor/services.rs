use crate::half::{Executor, USER, is_root, wait_for};
use hostler_executor::protocol::{Act, Ended, Limits, Process};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Each test's own: control groups have a name on the whole host.
fn unit(executor: &Executor) -> String {
    let name = executor.folder.file_name().unwrap().to_string_lossy().replace(".tmp", "test-");
    format!("hostler-{name}.service")
}

pub fn process(folder: &Path, script: &str) -> Process {
    Process {
        command: ["/bin/sh", "-c", script].map(String::from).into(),
        user: Some(USER.into()),
        folder: None,
        env: hostler_executor::protocol::Environment(BTreeMap::from([("GREETING".into(), "a \"b\" $c".into())])),
        limits: Limits::default(),
        stop_signal: "SIGTERM".into(),
        grace_ms: 300,
        output: folder.join("out.log"),
        ready_notify: false,
        free: false,
    }
}

fn start(executor: &Executor, script: &str) -> Act {
    Act::StartProcess { unit: unit(executor), process: process(&executor.folder, script) }
}

fn stop(executor: &Executor) -> Act {
    Act::Stop { unit: unit(executor) }
}

fn ended(executor: &mut Executor) -> Ended {
    let inspect = Act::Inspect { unit: unit(executor) };
    let mut found = None;
    wait_for("its end", || {
        found = executor.done(inspect.clone()).ended;
        found.is_some()
    });
    found.unwrap()
}

fn lives(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_process_is_started_once_and_its_end_is_known() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let first = executor.done(start(&executor, "echo \"$GREETING $(id -un)\"; sleep 600"));
    let pid = first.pid.unwrap();
    assert!(first.changed && !first.already);
    let again = executor.done(start(&executor, "true"));
    assert_eq!((again.pid, again.already), (Some(pid), true), "never twice");
    wait_for("its output", || fs::read_to_string(folder.path().join("out.log")).unwrap() == "a \"b\" $c nobody\n");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/net")).unwrap(), host, "it has the host's network");

    let began = Instant::now();
    executor.done(Act::Kill { unit: unit(&executor), signal: "SIGKILL".into() });
    let killed = ended(&mut executor);
    assert_eq!((killed.signal, killed.result.as_str(), killed.known), (Some(9), "signal", true));
    let second = executor.done(start(&executor, "exit 7"));
    eprintln!("from kill to running: {} ms", began.elapsed().as_millis());
    assert!(second.changed && second.pid != Some(pid));
    let exited = ended(&mut executor);
    assert_eq!((exited.code, exited.result.as_str()), (Some(7), "exit-code"));
    executor.done(start(&executor, "exit 0"));
    assert_eq!(ended(&mut executor).result, "success");
    assert!(executor.done(stop(&executor)).already);
}

#[test]
fn a_stop_takes_all_of_it() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let script = "trap '' TERM; sleep 601 & echo $! ; sleep 602 & echo $!; while true; do wait; done";
    let pid = executor.done(start(&executor, script)).pid.unwrap();
    let mut others = Vec::new();
    wait_for("its children", || {
        let text = fs::read_to_string(folder.path().join("out.log")).unwrap();
        others = text.lines().map(|line| line.parse::<u32>().unwrap()).collect();
        others.len() == 2
    });
    let began = Instant::now();
    let stopped = executor.done(stop(&executor));
    assert!(began.elapsed().as_millis() >= 300, "its grace");
    assert_eq!(stopped.ended.unwrap().signal, Some(9));
    for pid in others.into_iter().chain([pid]) {
        assert!(!lives(pid), "{pid}");
    }
    assert!(executor.done(Act::List).units.is_empty());
}

#[test]
fn what_takes_too_much_memory_is_known() {
    if !is_root() || !Path::new("/sys/fs/cgroup/memory").is_dir() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let mut hungry = process(&executor.folder, "exec tail /dev/zero");
    hungry.limits.memory_bytes = Some(16 << 20);
    let done = executor.done(Act::StartProcess { unit: unit(&executor), process: hungry });
    assert_eq!(done.text, None);
    let end = ended(&mut executor);
    assert_eq!((end.result.as_str(), end.signal), ("oom-kill", Some(9)));
    assert!(end.memory_peak_bytes.unwrap() > 15 << 20);
    executor.done(stop(&executor));
}

#[test]
fn it_outlives_its_executor() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let pid = executor.done(start(&executor, "sleep 603")).pid.unwrap();
    executor.signal(Signal::KILL);
    executor.child.wait().unwrap();
    assert!(lives(pid));
    drop(executor);
    let mut executor = Executor::start(folder.path(), "");
    let units = executor.done(Act::List).units;
    assert_eq!(units.iter().map(|unit| unit.pid).collect::<Vec<_>>(), [Some(pid)]);
    assert!(executor.done(start(&executor, "true")).already);
    executor.done(Act::Kill { unit: unit(&executor), signal: "SIGKILL".into() });
    assert!(!ended(&mut executor).known, "nobody could learn how it ended");
    executor.done(stop(&executor));
}

#[test]
fn what_can_not_start_says_why() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    let mut missing = process(&executor.folder, "");
    missing.command = vec!["/nowhere/api".into()];
    let failed = executor.ask(Act::StartProcess { unit: unit(&executor), process: missing });
    assert!(format!("{failed:?}").contains("start /nowhere/api: No such file or directory"), "{failed:?}");
    let mut nobody = process(&executor.folder, "true");
    nobody.user = Some("nobody-knows".into());
    let failed = executor.ask(Act::StartProcess { unit: unit(&executor), process: nobody });
    assert!(format!("{failed:?}").contains("there is no user nobody-knows"), "{failed:?}");
}
