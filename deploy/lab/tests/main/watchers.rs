//! Hosts tell people themselves when their control plane is gone.

use hostler_lab::receivers::{Got, Hook};
use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane, wait_for};
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// The least that may be set, with a try or two.
const GONE: Duration = Duration::from_secs(45);
/// An agent that starts connects first, if it can.
const GRACE: Duration = Duration::from_secs(23);
const KEY: &str = "the webhook's key";

fn watched(heart: &Hook) -> ControlPlane {
    let mut made = ControlPlane::new();
    let url = heart.url();
    let settings = ["--gone-after", "30s", "--heartbeat-every", "1s", "--heartbeat-url", &url];
    made.settings = settings.into_iter().map(str::to_owned).collect();
    made.start();
    let file = made.path("hook");
    fs::write(&file, KEY).unwrap();
    made.ctl_ok(&["secret", "set", "hook", "--file", file.to_str().unwrap()]);
    made.ctl_ok(&["plugin", "push", &hostler_lab::plugin("http").display().to_string()]);
    made
}

fn wait_watches(agent: &Agent) {
    wait_for(&format!("{} to be a watcher", agent.name), SOON, || {
        let log = agent.log();
        let last = log.lines().rfind(|line| line.contains("desired state is in force")).unwrap_or_default();
        if last.contains("\"watches\":true") { Ok(()) } else { Err(log) }
    });
}

/// What the hook took about the control plane, as `what node`.
fn told(hook: &Hook) -> Vec<String> {
    about(hook).iter().map(|got| format!("{} {}", got.json()["what"], got.json()["node"]).replace('"', "")).collect()
}

fn about(hook: &Hook) -> Vec<Got> {
    let is = |got: &Got| got.json()["title"].as_str().is_some_and(|title| title.starts_with("control plane"));
    hook.taken().into_iter().filter(is).collect()
}

fn wait_told(hook: &Hook, most: Duration, expect: &[&str]) {
    let expect: BTreeSet<&str> = expect.iter().copied().collect();
    wait_for(&format!("{expect:?} to be told"), most, || {
        let told = told(hook);
        let found: BTreeSet<&str> = told.iter().map(String::as_str).collect();
        if expect.is_subset(&found) { Ok(()) } else { Err(told) }
    });
}

#[test]
fn slow_a_control_plane_that_is_gone_is_told_by_its_hosts_once_and_so_is_its_return() {
    let (hook, other, heart, site) = (Hook::started(), Hook::started(), Hook::started(), Site::started());
    let mut control_plane = watched(&heart);
    let (url, late) = (hook.url(), other.url());
    control_plane.apply(&format!(
        "secret: {{hook: {{}}}}
notifier:
  ops: {{default: true, plugin: webhook, with: {{url: \"{url}\", secret: \"${{secret:hook}}\"}}}}
  late: {{default: true, plugin: webhook, with: {{url: \"{late}\"}}}}
check:
  shop: {{where: role=web, plugin: http, every: 1s, fails: 1, passes: 1, timeout: 2s, with: {{url: \"{}\"}}}}
",
        site.url()
    ));
    let mut web1 = Agent::joined(&control_plane, "web1", &["role=web"]);
    let (web2, web3) = (Agent::joined(&control_plane, "web2", &[]), Agent::joined(&control_plane, "web3", &[]));
    for agent in [&web1, &web2, &web3] {
        wait_watches(agent);
    }
    // Whoever was revoked speaks for nobody.
    control_plane.ctl_ok(&["node", "revoke", "web3", "--yes"]);
    site.answer(503);
    control_plane.wait_check("web1", "shop", "critical", SOON);
    wait_for("a heartbeat", SOON, || if heart.got().is_empty() { Err(control_plane.log()) } else { Ok(()) });

    control_plane.kill();
    other.down(true);
    std::thread::sleep(Duration::from_secs(2));
    let beats = heart.got().len();
    web1.kill();
    std::thread::sleep(Duration::from_secs(5));
    web1.start();
    wait_told(&hook, GONE, &["opened web1", "opened web2"]);
    let notices = about(&hook);
    let ids: BTreeSet<&String> = notices.iter().map(|got| &got.headers["idempotency-key"]).collect();
    assert_eq!(ids.len(), 1, "receivers may take one: {notices:?}");
    for got in &notices {
        let signed = [got.headers["hostler-timestamp"].as_bytes(), b".", &got.body].concat();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, KEY.as_bytes());
        let signature = data_encoding::HEXLOWER.decode(&got.headers["hostler-signature"].as_bytes()[7..]).unwrap();
        ring::hmac::verify(&key, &signed, &signature).expect("signed with the secret");
    }
    let mine = notices.iter().map(Got::json).find(|one| one["node"] == "web1").unwrap();
    assert_eq!((&mine["severity"], &mine["state"]), (&"page".into(), &"gone".into()));
    assert!(mine["summary"].as_str().unwrap().contains("1 check of web1 is critical"), "{mine}");
    assert!(mine["events"][0].as_str().unwrap().starts_with("shop: "), "{mine}");
    assert!(mine["summary"].as_str().unwrap().contains("refused"), "{mine}");

    // A restart tells nobody anew, and forgets nobody who was not told yet.
    web1.kill();
    web1.start();
    std::thread::sleep(GRACE);
    assert_eq!(told(&hook).len(), 2, "{:?}", told(&hook));
    assert_eq!(heart.got().len(), beats, "nobody beats any more");
    other.down(false);
    wait_told(&other, GONE, &["opened web1", "opened web2"]);

    control_plane.start();
    let all = ["opened web1", "opened web2", "closed web1", "closed web2"];
    wait_told(&hook, SOON, &all);
    wait_told(&other, SOON, &all);
    wait_for("events about it", SOON, || {
        let events = control_plane.ctl_ok(&["events", "--node", "web1"]);
        if events.contains("told ops: control plane gone") { Ok(()) } else { Err(events) }
    });
    std::thread::sleep(Duration::from_secs(3));
    for hook in [&hook, &other] {
        let mut told = told(hook);
        told.sort();
        assert_eq!(told, ["closed web1", "closed web2", "opened web1", "opened web2"]);
    }
}

#[test]
fn slow_a_short_absence_is_told_by_nobody() {
    let (hook, heart) = (Hook::started(), Hook::started());
    let mut control_plane = watched(&heart);
    control_plane
        .apply(&format!("notifier: {{ops: {{default: true, plugin: webhook, with: {{url: \"{}\"}}}}}}\n", hook.url()));
    let mut web1 = Agent::joined(&control_plane, "web1", &[]);
    wait_watches(&web1);
    control_plane.kill();
    std::thread::sleep(Duration::from_secs(15));
    control_plane.start();
    wait_for("web1 to be back", SOON, || {
        let nodes = control_plane.ctl_ok(&["node", "ls"]);
        if nodes.contains("ready") { Ok(()) } else { Err(nodes) }
    });
    // An agent that stops tells nobody either.
    control_plane.kill();
    std::thread::sleep(Duration::from_secs(20));
    assert_eq!(web1.stop(), Some(0));
    std::thread::sleep(Duration::from_secs(15));
    assert!(told(&hook).is_empty(), "{:?}", told(&hook));
}
