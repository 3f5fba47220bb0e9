use crate::half::{Executor, is_root, wait_for};
use rustix::process::Signal;
use std::fs;
use std::process::Command;

#[test]
fn the_agent_half_has_no_rights_and_the_root_half_no_network() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let executor = Executor::start(folder.path(), "");
    assert_eq!(executor.probe("shadow"), "PermissionDenied");
    assert_ne!(executor.probe("unit"), "allowed");
    assert_eq!(executor.probe("uid"), "65534\t65534\t65534\t65534");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(executor.probe(set), "0000000000000000", "{set}");
    }
    assert_eq!((executor.probe("NoNewPrivs"), executor.probe("Seccomp")), ("1", "2"));
    assert_eq!(executor.probe("unshare"), "false");
    assert_eq!(executor.probe("own folder"), "allowed");
    assert_eq!(executor.probe("root"), "ro");
    // It has the host's network; the executor has one in which nothing is.
    assert_eq!(executor.probe("network"), fs::read_link("/proc/self/ns/net").unwrap().display().to_string());
    assert_eq!(executor.probe("open networks"), "0");
    let routes = fs::read_to_string(format!("/proc/{}/net/dev", executor.child.id())).unwrap();
    let devices: Vec<&str> = routes.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    assert!(
        devices.iter().all(|name| *name == "lo" || name.ends_with('0')) && !devices.contains(&"eth0"),
        "{devices:?}"
    );
    let network = fs::read_link(format!("/proc/{}/ns/net", executor.child.id())).unwrap();
    assert_ne!(network, fs::read_link("/proc/self/ns/net").unwrap());
}

#[test]
fn the_agent_half_is_started_again_and_ends_with_it() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut executor = Executor::start(folder.path(), "");
    executor.meet_after_kill();
    executor.signal(Signal::TERM);
    let status = executor.child.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15), "its agent ended by the signal that was passed on");
}

impl Executor {
    fn meet_after_kill(&mut self) {
        let pid = self.child.id();
        let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let half = children().trim().to_owned();
        assert!(Command::new("kill").args(["-9", &half]).status().unwrap().success());
        self.meet_again();
        wait_for("another half", || children().trim() != half);
    }
}

#[test]
fn what_can_not_be_is_said() {
    let run = |arguments: &[&str]| {
        let ran = Command::new(env!("CARGO_BIN_EXE_hostler-executor")).args(arguments).output().unwrap();
        assert!(!ran.status.success());
        String::from_utf8(ran.stderr).unwrap()
    };
    if is_root() {
        assert!(run(&["run", "--", "/bin/true"]).contains("say whom it runs as, like --user hostler"));
        assert!(run(&["run", "--user", "nobody-knows", "--", "/bin/true"]).contains("there is no user nobody-knows"));
        assert!(run(&["run", "--user", "root", "--", "/bin/true"]).contains("does not run as root"));
    }
}
