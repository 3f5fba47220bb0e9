//! Notices by a plugin that a node runs.

use hostler_lab::receivers::Hook;
use hostler_lab::site::Site;
use hostler_lab::{Agent, ControlPlane, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const TOKEN: &str = "the hook's token";

/// What the hook took: titles, and the ids of each time.
fn taken(hook: &Hook) -> BTreeMap<String, Vec<String>> {
    let mut titles: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for got in hook.taken() {
        let title = got.json()["title"].as_str().unwrap_or_default().to_owned();
        titles.entry(title).or_default().push(got.headers["idempotency-key"].clone());
    }
    titles
}

fn wait_taken(hook: &Hook, title: &str) {
    wait_for(&format!("the hook to be told that {title}"), SOON, || {
        let taken = taken(hook);
        if taken.keys().any(|found| found.starts_with(title)) { Ok(()) } else { Err(taken) }
    });
}

/// Which node delivers, as the plugin's words are shown with it.
fn tested(control_plane: &ControlPlane) -> String {
    wait_for("a test to be taken", SOON, || {
        let ran = control_plane.ctl(&["alert", "test", "ops"]);
        let node = ran.out.split("http-post on ").nth(1).and_then(|rest| rest.split(':').next()).map(str::to_owned);
        node.filter(|_| ran.code == Some(0) && ran.out.contains("200 ok")).ok_or(ran)
    })
}

#[test]
fn a_plugin_on_a_node_delivers_each_notice_once_and_another_takes_over() {
    let (hook, site) = (Hook::started(), Site::started());
    let control_plane = ControlPlane::with_plugins(&["http", "http-post"]);
    let file = control_plane.path("token");
    fs::write(&file, TOKEN).unwrap();
    control_plane.ctl_ok(&["secret", "set", "http-post-token", "--file", file.to_str().unwrap()]);
    let spec = format!(
        "secret: {{http-post-token: {{}}}}
notifier:
  ops: {{default: true, plugin: http-post, where: role=ops, with: {{url: \"{}\", secret: http-post-token}}}}
check:
  site: {{where: role=web, plugin: http, every: 1s, fails: 1, passes: 1, with: {{url: \"{}\"}}}}
",
        hook.url(),
        site.url()
    );
    let wrong = control_plane.path("wrong.yaml");
    for (plugin, told) in [
        ("http", "a plugin of world check"),
        ("http-pots", "no such plugin was pushed"),
        ("smpt", "did you mean smtp?"),
    ] {
        fs::write(&wrong, spec.replace("plugin: http-post", &format!("plugin: {plugin}"))).unwrap();
        let refused = control_plane.ctl(&["apply", "-f", wrong.to_str().unwrap(), "--yes"]);
        assert!(refused.code == Some(1) && refused.err.contains(told), "{refused:?}");
    }
    control_plane.apply(&spec);
    let _web = Agent::joined(&control_plane, "web1", &["role=web"]);
    let mut ops = ["ops1", "ops2"].map(|name| Agent::joined(&control_plane, name, &["role=ops"]));
    control_plane.wait_check("web1", "site", "passing", SOON);
    let first = tested(&control_plane);
    let secrets = control_plane.ctl_json(&["secret", "ls"]);
    assert_eq!(secrets[0]["used_by"], serde_json::json!(["notifier/ops"]), "{secrets}");
    wait_for("the second to hold the secret", SOON, || {
        let secrets = control_plane.ctl_json(&["secret", "ls"]);
        if secrets[0]["nodes"] == serde_json::json!(["ops1", "ops2"]) { Ok(()) } else { Err(secrets) }
    });

    // Refused at first, and then taken under the same id.
    hook.answer(500);
    let refused = control_plane.ctl(&["alert", "test", "ops"]);
    assert!(refused.code == Some(1) && refused.err.contains("to be tried again after 5s"), "{refused:?}");
    let before = hook.got().len();
    site.answer(503);
    wait_for("a refusal", SOON, || if hook.got().len() > before { Ok(()) } else { Err(hook.got().len()) });
    hook.answer(200);
    wait_taken(&hook, "site on web1 is critical");
    let got = hook.taken().pop().unwrap();
    assert_eq!(got.headers["authorization"], format!("Bearer {TOKEN}"));
    assert!(got.json()["body"].as_str().unwrap().contains("hostlerctl check show site --node web1"));

    // An answer that is lost with its node means another delivery, under the same id.
    wait_for("the control plane to know", SOON, || {
        let events = control_plane.ctl_ok(&["events", "--kind", "notice"]);
        if events.contains("told ops: site on web1 is critical") { Ok(()) } else { Err(events) }
    });
    // The other one has the plugin already.
    let gone = ops.iter_mut().find(|agent| agent.name == first).unwrap();
    gone.kill();
    site.answer(200);
    wait_taken(&hook, "site on web1 is well again");
    assert_ne!(tested(&control_plane), first);

    let about: BTreeMap<_, _> = taken(&hook).into_iter().filter(|(title, _)| title.contains("site on web1")).collect();
    assert_eq!(about.len(), 2, "{about:?}");
    assert!(about.values().all(|ids| ids.len() == 1), "{about:?}");
    let refused: BTreeSet<_> =
        hook.got().iter().skip(before).map(|got| got.headers["idempotency-key"].clone()).collect();
    assert!(about.values().flatten().all(|id| refused.contains(id)), "{refused:?}");
}
