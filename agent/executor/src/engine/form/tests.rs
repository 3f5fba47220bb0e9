use super::*;
use crate::protocol::{Environment, Limits};

fn container() -> Container {
    Container {
        image: "registry.example.com/shop:1.2".into(),
        command: vec!["server".into(), "--port".into(), "80".into()],
        user: None,
        folder: Some("/opt/shop".into()),
        env: Environment(BTreeMap::from([("TOKEN".into(), "hunter2".into())])),
        limits: Limits { memory_bytes: Some(64 << 20), cpu: Some(1.5), files: Some(1024), processes: Some(50) },
        mounts: vec!["/opt/shop/data".into()],
        log_bytes_max: 1 << 20,
        log_files_max: 3,
        log_compress: true,
        stop_signal: "SIGTERM".into(),
        grace_ms: 1_000,
        made_from: "00ff".into(),
    }
}

#[test]
fn what_an_engine_is_asked_for() {
    let volumes = ["/opt/shop/data".to_owned(), "/var/lib/x".to_owned()];
    let asked = created("hostler-shop-web-1", &container(), Some("100:101"), &volumes, Some("sha256:0a"));
    insta::assert_snapshot!(serde_json::to_string_pretty(&asked).unwrap());
    let plain = Container { command: Vec::new(), folder: None, log_files_max: 1, ..container() };
    let asked = created("hostler-shop-0", &plain, None, &[], None);
    for absent in ["Entrypoint", "Cmd", "User", "WorkingDir"] {
        assert!(asked.get(absent).is_none(), "{absent} is the image's");
    }
    assert!(asked["HostConfig"]["LogConfig"]["Config"].get("compress").is_none(), "engines refuse it for one file");
}

fn found(state: &str) -> Found {
    let text = format!(r#"{{"Id": "a1", "Image": "sha256:0b", "Config": {{"Labels": null}}, "State": {state}}}"#);
    serde_json::from_str::<Inspected>(&text).unwrap().found()
}

#[test]
fn ends_are_read_from_one_number() {
    let ended = |code: i32, oom: bool| {
        let state =
            format!(r#"{{"Status": "exited", "Running": false, "Pid": 0, "ExitCode": {code}, "OOMKilled": {oom}}}"#);
        let ended = found(&state).ended.unwrap();
        (ended.code, ended.signal, ended.result)
    };
    assert_eq!(ended(0, false), (Some(0), None, "success".into()));
    assert_eq!(ended(1, false), (Some(1), None, "exit-code".into()));
    assert_eq!(ended(137, false), (None, Some(9), "signal".into()));
    assert_eq!(ended(143, false), (None, Some(15), "signal".into()));
    assert_eq!(ended(137, true), (None, Some(9), "oom-kill".into()));
    assert_eq!(ended(1, true), (Some(1), None, "oom-kill".into()));
    assert_eq!(ended(0, true), (Some(0), None, "success".into()));
    assert_eq!(ended(255, false), (Some(255), None, "exit-code".into()));
}

#[test]
fn what_runs_has_a_pid_and_what_was_only_made_has_nothing() {
    let running = found(r#"{"Status": "running", "Running": true, "Pid": 4711, "ExitCode": 0}"#);
    assert_eq!((running.running, running.pid, running.ended), (true, Some(4711), None));
    let made = found(r#"{"Status": "created", "Running": false, "Pid": 0, "ExitCode": 127, "Error": "no such file"}"#);
    assert_eq!((made.running, made.pid, made.ended), (false, None, None));
}
