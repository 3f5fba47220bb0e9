//! A host joins, a check runs on it, the control plane knows, hostlerctl shows.

use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

pub fn spec(site: &Site) -> String {
    format!(
        "check:\n  site: {{where: all, plugin: http, every: 1s, fails: 2, passes: 2, timeout: 2s, with: {{url: \"{}\"}}}}\n  disk: {{where: all, plugin: disk, every: 1s, with: {{warn: 99%, critical: 100%}}}}\n",
        site.url()
    )
}

#[test]
fn a_check_fails_and_recovers_and_the_events_say_why() {
    let (control_plane, site) = (ControlPlane::with_plugins(&["http", "disk"]), Site::started());
    control_plane.apply(&spec(&site));
    let agent = Agent::joined(&control_plane, "web1", &["role=web"]);
    control_plane.wait_node("web1", "ready", SOON);
    control_plane.wait_check("web1", "site", "passing", SOON);
    control_plane.wait_check("web1", "disk", "passing", SOON);

    site.answer(503);
    let critical = control_plane.wait_check("web1", "site", "critical", Duration::from_secs(6));
    assert_eq!(critical["summary"], "503, want 200");
    let event = control_plane.events().pop().expect("an event");
    assert_eq!((&event["kind"], &event["node"], &event["subject"]), (&"check".into(), &"web1".into(), &"site".into()));
    assert_eq!(event["message"], "passing -> critical: 503, want 200 (2 of 2)");
    site.answer(200);
    control_plane.wait_check("web1", "site", "passing", Duration::from_secs(6));
    assert_eq!(
        control_plane.transitions("web1", "site"),
        ["starting -> passing", "passing -> critical", "critical -> passing"]
    );

    // The skew is known once a heartbeat was answered and the next one tells it.
    let node = hostler_lab::wait_for("every field that scripts may rely on", SOON, || {
        let node = control_plane.ctl_json(&["node", "ls"])[0].clone();
        let fields = ["id", "name", "state", "labels", "agent_version", "policy", "clock_skew_ms", "last_seen"];
        if fields.iter().any(|field| node[field].is_null()) { Err(node) } else { Ok(node) }
    });
    assert_eq!(node["labels"]["role"], "web");
    let shown = control_plane.ctl_json(&["node", "show", "web1"]);
    assert!(shown["facts"]["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{shown:#}");
    let local = agent.command(&["status"]);
    assert_eq!(local.code, Some(0), "{local:?}");
    assert!(local.out.contains("web1"), "{local:?}");
}

#[test]
fn specs_change_what_runs_and_deleting_stops_it() {
    let (control_plane, site) = (ControlPlane::with_plugins(&["http", "disk"]), Site::started());
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_node("web1", "ready", SOON);
    control_plane.apply("check: {disk: {where: role=db, plugin: disk, every: 1s, with: {warn: 99%, critical: 100%}}}");
    assert_eq!(control_plane.ctl_json(&["check", "ls"]), serde_json::json!([]));
    control_plane.apply("node: {web1: {labels: {role: db}}}");
    control_plane.wait_check("web1", "disk", "passing", SOON);
    control_plane.apply(&format!(
        "check: {{disk: {{where: role=db, plugin: http, every: 1s, with: {{url: \"{}\"}}}}}}",
        site.url()
    ));
    let by_http = hostler_lab::wait_for("the other plugin's words", SOON, || {
        let check = control_plane.check("web1", "disk");
        if check["summary"].as_str().is_some_and(|text| text.starts_with("200 ")) { Ok(check) } else { Err(check) }
    });
    assert_eq!(by_http["state"], "passing");
    control_plane.ctl_ok(&["delete", "check", "disk", "--yes"]);
    assert_eq!(control_plane.ctl_json(&["check", "ls"]), serde_json::json!([]));
}

#[test]
fn nothing_is_applied_when_anything_is_wrong() {
    let control_plane = ControlPlane::with_plugins(&["disk"]);
    let file = control_plane.path("bad.yaml");
    std::fs::write(&file, "check:\n  good: {where: all, plugin: disk}\n  bad: {where: all, plugin: dsik}\n").unwrap();
    let ran = control_plane.ctl(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("bad.yaml:3:") && ran.err.contains("did you mean disk?"), "{}", ran.err);
    assert_eq!(control_plane.ctl_json(&["get", "check"]), serde_json::json!({}));
}

#[test]
fn both_daemons_stop_in_time_when_asked() {
    let mut control_plane = ControlPlane::with_plugins(&["disk"]);
    let mut agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_node("web1", "ready", SOON);
    let started = std::time::Instant::now();
    assert_eq!(agent.stop(), Some(0));
    assert_eq!(control_plane.stop(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
}
