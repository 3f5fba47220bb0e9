//! Plugins that misbehave are stopped, and nothing else notices.

use hostler_lab::{Agent, ControlPlane, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn each_is_stopped_within_a_second_and_the_others_go_on() {
    let hostile = ["spin", "allocate", "recurse", "flood", "trap"];
    let control_plane = ControlPlane::with_plugins(&["disk"]);
    for name in hostile {
        let path = hostler_lab::plugin(&format!("fixtures/{name}"));
        control_plane.ctl_ok(&["plugin", "push", &path.display().to_string()]);
    }
    let mut spec =
        "check:\n  disk: {where: all, plugin: disk, every: 1s, with: {warn: 99%, critical: 100%}}\n".to_owned();
    for name in hostile {
        spec.push_str(&format!("  {name}: {{where: all, plugin: {name}, every: 2s, fails: 1}}\n"));
    }
    control_plane.apply(&spec);
    let agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_check("web1", "disk", "passing", SOON);
    for name in hostile {
        let check = control_plane.wait_check("web1", name, "unknown", SOON);
        println!("{name}: {}", check["summary"]);
        let shown = control_plane.ctl_json(&["check", "show", name]);
        let took = shown[0]["duration_us"].as_u64().unwrap();
        assert!(took < 1_000_000, "{name} was stopped after {took} us");
    }
    // Ten seconds of it: the agent stays, and the good check misses no run.
    let since = control_plane.check("web1", "disk")["since"].clone();
    let pid = agent.pid();
    std::thread::sleep(Duration::from_secs(10));
    let disk = control_plane.ctl_json(&["check", "show", "disk"]);
    assert_eq!(
        (&disk[0]["state"], &disk[0]["since"], &disk[0]["overruns"]),
        (&"passing".into(), &since, &0.into()),
        "{disk:#}"
    );
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(control_plane.node_state("web1"), "ready");
    assert_eq!(control_plane.transitions("web1", "disk"), ["starting -> passing"]);
}

#[test]
fn what_is_no_plugin_is_refused_with_advice() {
    let control_plane = ControlPlane::started();
    let file = control_plane.path("x.wasm");
    std::fs::write(&file, b"hello").unwrap();
    let ran = control_plane.ctl(&["plugin", "push", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("x.wasm"), "{ran:?}");
    let missing = control_plane.ctl(&["plugin", "push", "/nowhere.wasm"]);
    assert!(missing.err.contains("read /nowhere.wasm"), "{missing:?}");
}

#[test]
fn a_check_without_the_grant_is_told_so() {
    let control_plane = ControlPlane::with_plugins(&["http"]);
    control_plane.apply("plugin: {http: {allow: {http: [\"https://example.com\"]}}}\ncheck: {site: {where: all, plugin: http, every: 1s, fails: 1, with: {url: \"http://127.0.0.1:9/\"}}}");
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    let check = wait_for("a refusal", SOON, || {
        let check = control_plane.check("web1", "site");
        let told =
            check["summary"].as_str().is_some_and(|text| text.contains("not granted") || text.contains("denied"));
        if told { Ok(check) } else { Err(check) }
    });
    assert_eq!(check["state"], "unknown", "{check}");
}
