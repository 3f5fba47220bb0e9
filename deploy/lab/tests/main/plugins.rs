//! The life of a plugin: who may push what, what it is given, and how a new
//! version takes over or goes back.

use hostler_lab::{Agent, ControlPlane, wait_for};
use hostler_types::plugin::{Signature, attach_signature, embed_manifest, key_id, split_signature};
use ring::signature::KeyPair;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const WATCHED: &str =
    "check: {disk: {where: all, plugin: disk, every: 1s, fails: 1, with: {warn: 99%, critical: 100%}}}\n";

/// A built plugin under another name, version and with other grants.
fn packed(component: &str, name: &str, version: &str, grants: &str) -> Vec<u8> {
    let built = std::fs::read(hostler_lab::plugin(component)).unwrap();
    let manifest = format!("name = {name:?}\nversion = {version:?}\nworld = \"check\"\n[grants]\n{grants}\n");
    embed_manifest(&built, &manifest).unwrap()
}

fn file(control_plane: &ControlPlane, name: &str, component: &[u8]) -> PathBuf {
    let path = control_plane.path(name);
    std::fs::write(&path, component).unwrap();
    path
}

fn push(control_plane: &ControlPlane, component: &[u8]) -> hostler_lab::Ran {
    let path = file(control_plane, "pushed.wasm", component);
    control_plane.ctl(&["plugin", "push", path.to_str().unwrap()])
}

fn pushed(control_plane: &ControlPlane, component: &[u8]) -> String {
    let ran = push(control_plane, component);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out
}

/// How a node says its plugin stands.
fn plugin_on(control_plane: &ControlPlane, node: &str, plugin: &str) -> serde_json::Value {
    let shown = control_plane.ctl_json(&["node", "show", node]);
    let plugins = shown["plugins"].as_array().cloned().unwrap_or_default();
    plugins.into_iter().find(|one| one["name"] == plugin).unwrap_or_default()
}

fn wait_plugin(control_plane: &ControlPlane, version: &str, state: &str) {
    wait_for(&format!("disk {version} to be {state}"), SOON, || {
        let seen = plugin_on(control_plane, "web1", "disk");
        if seen["version"] == version && seen["state"] == state { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn a_new_version_takes_over_without_a_missed_run() {
    let control_plane = ControlPlane::started();
    pushed(&control_plane, &packed("disk", "disk", "1.0.0", "system = true"));
    pushed(&control_plane, &packed("memory", "memory", "1.0.0", "system = true"));
    control_plane.apply(&WATCHED.replace("}}}", "}}, memory: {where: all, plugin: memory, every: 1s}}"));
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_check("web1", "disk", "passing", SOON);
    control_plane.wait_check("web1", "memory", "passing", SOON);
    // What this machine is late with, it is late with for both.
    let overruns = |name: &str| control_plane.ctl_json(&["check", "show", name])[0]["overruns"].as_u64().unwrap();
    for version in ["1.1.0", "1.2.0"] {
        pushed(&control_plane, &packed("disk", "disk", version, "system = true"));
        // Every look finds a run of this second or the one before, whatever is
        // compiled meanwhile; heartbeats come every three.
        let until = Instant::now() + SOON;
        loop {
            let check = &control_plane.ctl_json(&["check", "show", "disk"])[0];
            assert!(check["state"] == "passing" && overruns("disk") <= overruns("memory"), "{check:#}");
            let seen = plugin_on(&control_plane, "web1", "disk");
            if seen["version"] == version && seen["state"] == "ready" {
                break;
            }
            assert!(Instant::now() < until, "{seen}");
        }
    }
    assert_eq!(control_plane.transitions("web1", "disk"), ["starting -> passing"]);
}

#[test]
fn a_version_that_breaks_goes_back_by_itself() {
    let control_plane = ControlPlane::started();
    pushed(&control_plane, &packed("memory", "disk", "1.0.0", "system = true"));
    // Without options: the fixture has none.
    control_plane.apply("check: {disk: {where: all, plugin: disk, every: 1s, fails: 1}}");
    let mut agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_check("web1", "disk", "passing", SOON);

    pushed(&control_plane, &packed("fixtures/hostile", "disk", "1.1.0", "system = true"));
    wait_plugin(&control_plane, "1.1.0", "reverted");
    let told = wait_for("the event", SOON, || {
        let events = control_plane.events();
        let found = events.iter().find(|event| {
            event["message"]
                .as_str()
                .is_some_and(|text| text.contains("1.1.0 broke in its first runs, 1.0.0 runs again"))
        });
        found.cloned().ok_or(events)
    });
    assert!(told["message"].as_str().unwrap().contains("the fixture panics"), "{told}");
    assert_eq!(told["node"], "web1");

    // A restart does not try it again, and the check never noticed.
    agent.stop();
    agent.start();
    wait_plugin(&control_plane, "1.1.0", "reverted");
    control_plane.wait_check("web1", "disk", "passing", SOON);
    assert_eq!(control_plane.transitions("web1", "disk"), ["starting -> passing"]);

    // A mended one takes over.
    pushed(&control_plane, &packed("memory", "disk", "1.2.0", "system = true"));
    wait_plugin(&control_plane, "1.2.0", "ready");
    assert_eq!(control_plane.transitions("web1", "disk"), ["starting -> passing"]);
}

#[test]
fn what_asks_for_more_waits_for_approval() {
    let control_plane = ControlPlane::started();
    let first = pushed(&control_plane, &packed("disk", "disk", "1.0.0", "system = true"));
    assert!(first.contains("may use: system"), "{first}");
    control_plane.apply(WATCHED);
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_check("web1", "disk", "passing", SOON);

    let more = "system = true\nhttp = [\"https://*\"]\nfiles = [\"/etc/*\"]";
    let told = pushed(&control_plane, &packed("disk", "disk", "1.1.0", more));
    for line in ["waits: it asks for more", "more: http https://*, files /etc/*", "plugin approve disk 1.1.0"] {
        assert!(told.contains(line), "{told}");
    }
    let diff = control_plane.ctl_ok(&["plugin", "diff", "disk", "disk@1.1.0"]);
    assert_eq!(diff, "+ http  https://*\n+ files  /etc/*\n");
    // It runs nowhere, also not by name.
    let listed = control_plane.ctl_ok(&["plugin", "ls"]);
    assert!(listed.contains("waits"), "{listed}");
    wait_plugin(&control_plane, "1.0.0", "ready");
    let named = control_plane.path("named.yaml");
    std::fs::write(&named, "plugin: {disk: {version: 1.1.0}}").unwrap();
    let refused = control_plane.ctl(&["apply", "-f", named.to_str().unwrap()]);
    assert!(refused.err.contains("plugin approve disk 1.1.0"), "{refused:?}");

    let unasked = control_plane.ctl(&["plugin", "approve", "disk"]);
    assert_eq!(unasked.code, Some(2), "it asks first: {unasked:?}");
    control_plane.ctl_ok(&["plugin", "approve", "disk", "--yes"]);
    wait_plugin(&control_plane, "1.1.0", "ready");
    // The same or less does not wait.
    let less = pushed(&control_plane, &packed("disk", "disk", "1.2.0", "system = true"));
    assert!(less.contains("may use: system"), "{less}");
    let events: Vec<String> = control_plane.events().iter().map(|event| event["message"].to_string()).collect();
    assert!(events.iter().any(|text| text.contains("1.1.0 approved by")), "{events:#?}");

    let used = control_plane.ctl(&["plugin", "rm", "disk", "1.2.0"]);
    assert!(used.err.contains("1 checks run disk 1.2.0"), "{used:?}");
    control_plane.ctl_ok(&["plugin", "rm", "disk", "1.0.0"]);
    let gone = control_plane.ctl(&["plugin", "rm", "disk", "1.0.0"]);
    assert!(gone.err.contains("there is no plugin disk 1.0.0"), "{gone:?}");
}

#[test]
fn what_is_taken_away_is_denied_at_the_next_run() {
    let control_plane = ControlPlane::started();
    pushed(&control_plane, &packed("disk", "disk", "1.0.0", "system = true"));
    control_plane.apply(WATCHED);
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    control_plane.wait_check("web1", "disk", "passing", SOON);
    control_plane.apply("plugin: {disk: {allow: {http: [\"https://*\"]}}}");
    let check = control_plane.wait_check("web1", "disk", "unknown", SOON);
    assert!(check["summary"].as_str().unwrap().contains("denied: grants.system = true"), "{check}");
    control_plane.apply("plugin: {disk: {allow: {system: true}}}");
    control_plane.wait_check("web1", "disk", "passing", SOON);
}

/// A signing key, as `plugin keygen` makes one.
struct Key(ring::signature::Ed25519KeyPair);

impl Key {
    fn new() -> Self {
        let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        Self(ring::signature::Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
    }

    fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn sign(&self, component: &[u8], name: &str, version: &str, expires_ms: Option<u64>) -> Vec<u8> {
        let (rest, _) = split_signature(component).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &rest);
        let mut signature = Signature {
            key: key_id(self.public()),
            name: name.to_owned(),
            version: version.to_owned(),
            expires_ms,
            signature: String::new(),
        };
        let made = self.0.sign(&signature.message(digest.as_ref()));
        signature.signature = data_encoding::HEXLOWER.encode(made.as_ref());
        attach_signature(&rest, &signature)
    }
}

#[test]
fn once_a_key_is_trusted_only_what_it_signed_is_taken() {
    let control_plane = ControlPlane::started();
    let plain = |version: &str| packed("disk", "disk", version, "system = true");
    pushed(&control_plane, &plain("1.0.0"));
    let key = Key::new();
    let public = data_encoding::BASE64.encode(key.public());
    let path = file(&control_plane, "ci.pub", format!("hostler-plugin-key {public} ci\n").as_bytes());
    let path = path.to_str().unwrap();
    control_plane.ctl_ok(&["plugin", "trust", "add", "ci", path]);
    let twice = control_plane.ctl(&["plugin", "trust", "add", "other", path]);
    assert!(twice.err.contains("trusted already, as ci"), "{twice:?}");
    let no_key = control_plane.ctl(&["plugin", "trust", "add", "other", "/etc/hostname"]);
    assert!(no_key.err.contains("is no public key"), "{no_key:?}");

    let good = key.sign(&plain("2.0.0"), "disk", "2.0.0", None);
    let mut tampered = good.clone();
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    let foreign = Key::new().sign(&plain("2.0.0"), "disk", "2.0.0", None);
    for (component, says) in [
        (plain("2.0.0"), "it is not signed, and only signed plugins are taken here"),
        (foreign, "which is not trusted here"),
        (tampered, "it was changed since"),
        (key.sign(&plain("2.0.0"), "disk", "2.0.0", Some(1_000)), "expired on 1970-01-01"),
        (key.sign(&plain("2.0.0"), "disk", "1.9.0", None), "signature is for disk 1.9.0, and it is disk 2.0.0"),
        (key.sign(&plain("0.9.0"), "disk", "0.9.0", None), "is older than 1.0.0, which was pushed before"),
    ] {
        let refused = push(&control_plane, &component);
        assert_eq!(refused.code, Some(1), "{says}: {refused:?}");
        assert!(refused.err.contains(says), "{says}: {refused:?}");
    }
    let told = pushed(&control_plane, &good);
    assert!(told.contains("signed by ci"), "{told}");
    // An old version does not come back by being removed first.
    control_plane.ctl_ok(&["plugin", "rm", "disk", "2.0.0"]);
    let back = push(&control_plane, &key.sign(&plain("1.5.0"), "disk", "1.5.0", None));
    assert!(back.err.contains("is older than 2.0.0"), "{back:?}");
    control_plane.ctl_ok(&["plugin", "trust", "rm", "ci", "--yes"]);
    pushed(&control_plane, &plain("3.0.0"));
}

#[test]
fn what_no_agent_could_load_is_refused_at_the_push() {
    let control_plane = ControlPlane::started();
    let wasi = push(&control_plane, &std::fs::read(hostler_lab::plugin("fixtures/wasi")).unwrap());
    assert!(wasi.err.contains("imports wasi:cli/environment") && wasi.err.contains("plugin build"), "{wasi:?}");
    let built = std::fs::read(hostler_lab::plugin("disk")).unwrap();
    let manifest = "name = \"disk\"\nversion = \"1.0.0\"\nworld = \"collector\"\n";
    let other = push(&control_plane, &embed_manifest(&built, manifest).unwrap());
    assert!(other.err.contains("world = \"collector\"") && other.err.contains("check-api"), "{other:?}");
}

#[test]
fn a_pinned_digest_runs_nothing_else() {
    let control_plane = ControlPlane::started();
    pushed(&control_plane, &packed("disk", "disk", "1.0.0", "system = true"));
    let listed = control_plane.ctl_json(&["plugin", "ls"]);
    let digest = listed[0]["digest"].as_str().unwrap().to_owned();
    let pin = |digest: &str| {
        let file = control_plane.path("pin.yaml");
        std::fs::write(&file, format!("plugin: {{disk: {{version: 1.0.0, digest: \"{digest}\"}}}}")).unwrap();
        control_plane.ctl(&["apply", "-f", file.to_str().unwrap()])
    };
    assert_eq!(pin(&digest).code, Some(0));
    let refused = pin(&"0".repeat(64));
    assert!(refused.err.contains(&format!("write digest: {digest}")), "{refused:?}");
}

#[test]
fn every_plugin_has_a_bill() {
    let control_plane = ControlPlane::with_plugins(&["disk", "memory"]);
    control_plane.apply(
        "check:\n  disk: {where: all, plugin: disk, every: 1s, with: {warn: 99%, critical: 100%}}\n  memory: {where: all, plugin: memory, every: 1s}\n",
    );
    let _agents = [Agent::joined(&control_plane, "web1", &[]), Agent::joined(&control_plane, "web2", &[])];
    let bills = wait_for("bills of two nodes", Duration::from_secs(60), || {
        let bills = control_plane.ctl_json(&["plugin", "top", "--by-node"]);
        let whole = |one: &serde_json::Value| one["runs"].as_u64().is_some_and(|runs| runs > 0);
        let count = bills.as_array().map_or(0, |all| all.iter().filter(|one| whole(one)).count());
        if count == 4 { Ok(bills) } else { Err(bills) }
    });
    for bill in bills.as_array().unwrap() {
        assert!(bill["cpu_us"].as_u64().unwrap() > 0 && bill["memory_peak_bytes"].as_u64().unwrap() > 0, "{bill}");
        assert_eq!(bill["faults"], 0, "{bill}");
    }
    let table = control_plane.ctl_ok(&["plugin", "top"]);
    assert!(table.starts_with("PLUGIN") && table.lines().count() == 3, "{table}");
    let unknown = control_plane.ctl(&["plugin", "top", "--node", "web9"]);
    assert!(unknown.err.contains("there is no node web9"), "{unknown:?}");
}
