//! What changes something on many nodes waits for a second person.

use crate::access::{As, person, program_with, spec};
use hostler_lab::{Agent, ControlPlane, Ran, wait_for};
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// Not done, not failed.
const WAITS: Option<i32> = Some(3);

/// Three nodes that have joined and do not run: what counts is that they are members.
struct Fleet {
    control_plane: ControlPlane,
    _agents: Vec<Agent>,
}

impl Fleet {
    fn started(above: &str) -> Self {
        let mut control_plane = ControlPlane::new();
        control_plane.settings = ["--second-approval", above].map(str::to_owned).into();
        control_plane.start();
        for plugin in ["disk", "http"] {
            control_plane.ctl_ok(&["plugin", "push", &hostler_lab::plugin(plugin).display().to_string()]);
        }
        let code = control_plane.join_code(&["--uses", "3", "--label", "role=web"]);
        let agents = ["web1", "web2", "web3"].map(Agent::new);
        for agent in &agents {
            assert_eq!(agent.join(&code, &[]).code, Some(0));
        }
        Self { control_plane, _agents: agents.into() }
    }

    fn admin(&self) -> As<'_> {
        As { control_plane: &self.control_plane, file: self.control_plane.context_file(), token: String::new() }
    }

    fn waiting(&self) -> Vec<Value> {
        self.control_plane.ctl_json(&["approve", "ls"]).as_array().unwrap().clone()
    }

    fn one(&self, id: &str) -> Value {
        self.control_plane.ctl_json(&["approve", "show", id])
    }

    /// The version of a system; 0 where it never was.
    fn version(&self, system: &str) -> u64 {
        let systems = self.control_plane.ctl_json(&["system", "ls"]);
        let found = systems.as_array().unwrap().iter().find(|one| one["system"] == system).cloned();
        found.unwrap_or_default()["version"].as_u64().unwrap_or_default()
    }

    fn said(&self, words: &str) -> bool {
        self.control_plane.events().iter().any(|event| event["message"].as_str().unwrap_or_default().contains(words))
    }
}

/// As what it waits, from what was said.
fn id(ran: &Ran) -> String {
    assert_eq!(ran.code, WAITS, "{ran:#?}");
    let after = ran.err.split("approval, as ").nth(1).unwrap_or_else(|| panic!("{ran:#?}"));
    after.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn one_asks_another_agrees_and_then_it_is_done() {
    let fleet = Fleet::started("1");
    let control_plane = &fleet.control_plane;
    let (anna, ben) =
        (person(control_plane, "anna", &["--role", "operator"]), person(control_plane, "ben", &["--role", "operator"]));
    let eve = person(control_plane, "eve", &["--role", "viewer"]);
    let shop = spec(control_plane, "shop", "a");
    let asked = anna.ctl(&["apply", "-f", &shop, "-m", "disks"]);
    let waiting = id(&asked);
    assert!(asked.err.contains("nothing was done yet") && asked.err.contains("on 3 nodes"), "{asked:#?}");
    assert!(asked.err.contains("admin, ben may say yes"), "{asked:#?}");
    assert_eq!((fleet.version("shop"), fleet.waiting().len()), (0, 1));

    // Not by whoever asked, with another credential either; not by who may not apply.
    anna.refused(&["approve", "yes", &waiting], "you asked for it yourself");
    let token = anna.ok(&["operator", "token", "create"]).trim().to_owned();
    let other = As { control_plane, file: control_plane.context_file(), token };
    other.refused(&["approve", "yes", &waiting], "you asked for it yourself");
    eve.refused(&["approve", "yes", &waiting], "may not change");
    eve.refused(&["approve", "no", &waiting], "may not change");

    // What is agreed to is seen first, as `plan` shows it.
    let shown = ben.ok(&["approve", "show", &waiting]);
    assert!(shown.contains("asked by  anna") && shown.contains("why       disks"), "{shown}");
    assert!(shown.contains("create  check a") && shown.contains("runs on 3 nodes"), "{shown}");
    let done = ben.ok(&["approve", "yes", &waiting, "--reason", "looks right"]);
    assert!(done.starts_with("done, approved by ben: looks right: apply shop: 2 to create on 3 nodes"), "{done}");

    // In the name of who asked, and with who agreed wherever it is written down.
    let history = control_plane.ctl_json(&["system", "history", "shop"]);
    assert_eq!((&history[0]["by"], &history[0]["approved_by"]), (&"anna".into(), &"ben".into()), "{history}");
    assert!(fleet.said("anna (approved by ben): version 1 (disks)"), "{:#?}", control_plane.events());
    assert!(fleet.said("ben said yes to what anna asked for (looks right)"));
    let audit = control_plane.ctl_ok(&["audit", "--by", "ben", "--on", &format!("approval/{waiting}"), "-o", "json"]);
    assert!(audit.contains("DecideApproval") && audit.contains("operator/anna") && audit.contains("system/shop"));
    ben.refused(&["approve", "yes", &waiting], "it is done");
    assert_eq!((fleet.version("shop"), fleet.waiting().len()), (1, 0));

    // What changes nothing, and what changes little, waits for nobody.
    anna.ok(&["apply", "-f", &shop]);
    anna.ok(&["node", "revoke", "web3", "--yes"]);
    // A program waits as people do, and its token is what it may do it by.
    let ci = program_with(control_plane, "ci", &["--role", "ci", "--system", "shop"]);
    let more = spec(control_plane, "shop", "b");
    let waiting = id(&ci.ctl(&["apply", "-f", &more, "--yes"]));
    control_plane.ctl_ok(&["operator", "set", "ci", "--role", "viewer", "--system", "all"]);
    ben.refused(&["approve", "yes", &waiting], "ci asked for it, and may not do it any more");
    control_plane.ctl_ok(&["operator", "set", "ci", "--role", "ci", "--system", "shop"]);
    ben.ok(&["approve", "yes", &waiting]);
    assert_eq!(fleet.version("shop"), 2);
}

#[test]
fn no_and_too_late_do_nothing_and_whoever_waits_is_told() {
    let fleet = Fleet::started("1");
    let control_plane = &fleet.control_plane;
    let anna = person(control_plane, "anna", &["--role", "operator"]);
    let admin = fleet.admin();
    let shop = spec(control_plane, "shop", "a");
    let waited = |args: &[&str]| {
        let mut command = anna.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let child = waited(&["apply", "-f", &shop, "--wait"]);
    let first = wait_for("it to wait", SOON, || fleet.waiting().first().cloned().ok_or(()));
    admin.ok(&["approve", "no", first["id"].as_str().unwrap(), "--reason", "not today"]);
    let told = child.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stdout).contains("admin said no: not today"), "{told:?}");

    // Somebody else was faster with the same system.
    let waiting = id(&anna.ctl(&["apply", "-f", &shop]));
    let other = spec(control_plane, "shop", "b");
    admin.ok(&["apply", "-f", &other, "--override-approval", "the shop is down"]);
    assert!(fleet.said("admin did without the second approval that was due"), "{:#?}", control_plane.events());
    let seen = admin.ok(&["approve", "show", &waiting]);
    assert!(seen.contains("too late"), "{seen}");
    admin.refused(&["approve", "yes", &waiting], "let anna ask for it again");
    assert_eq!((fleet.version("shop"), fleet.one(&waiting)["state"].clone()), (1, "outdated".into()));
    anna.refused(&["apply", "-f", &shop, "--yes", "--override-approval", "hurry"], "may not approve server");

    // Another node came under it.
    let waiting = id(&anna.ctl(&["apply", "-f", &shop, "--yes"]));
    let late = Agent::new("web4");
    assert_eq!(late.join(&control_plane.join_code(&[]), &[]).code, Some(0));
    admin.refused(&["approve", "yes", &waiting], "has changed since");

    // One's own is taken back.
    let waiting = id(&anna.ctl(&["delete", "system", "shop", "--yes"]));
    assert!(anna.ok(&["approve", "no", &waiting]).contains("taken back by anna"));
    assert_eq!(fleet.version("shop"), 1);
}

#[test]
fn nodes_plugins_and_secrets_wait_as_specs_do() {
    let fleet = Fleet::started("0");
    let control_plane = &fleet.control_plane;
    let anna = person(control_plane, "anna", &["--role", "operator"]);
    let admin = fleet.admin();
    let yes = |ran: &Ran| admin.ok(&["approve", "yes", &id(ran)]);
    let file = control_plane.path("token.yaml");
    let text = "secret: {token: {}}\ncheck: {a: {where: role=web, plugin: http, with: {url: 'http://127.0.0.1:9/${secret:token}'}}}\n";
    fs::write(&file, text).unwrap();
    yes(&anna.ctl(&["apply", "-f", &file.display().to_string()]));

    let value = control_plane.path("value");
    fs::write(&value, "planted-Hh72kcnE").unwrap();
    let set = anna.ctl(&["secret", "set", "token", "--file", &value.display().to_string()]);
    let waits_sealed = |folder: &std::path::Path| {
        fs::read_dir(folder).unwrap().flatten().all(|entry| {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            !bytes.windows(16).any(|part| part == b"planted-Hh72kcnE")
        })
    };
    assert!(waits_sealed(&control_plane.path("data/documents")), "the value is sealed while it waits");
    yes(&set);
    let secrets = control_plane.ctl_json(&["secret", "ls"]);
    assert!(secrets.to_string().contains("\"set_by\":\"anna\""), "{secrets}");

    yes(&anna.ctl(&["node", "revoke", "web1", "--yes", "--reason", "stolen"]));
    assert_eq!(control_plane.node_state("web1"), "revoked");
    yes(&anna.ctl(&["node", "rm", "web1", "--yes"]));
    assert_eq!(control_plane.node_state("web1"), "absent");
    assert!(fleet.said("revoked by anna (approved by admin): stolen"), "{:#?}", control_plane.events());

    // A new version of what runs waits; a plugin that nobody runs does not.
    let built = fs::read(hostler_lab::plugin("http")).unwrap();
    let manifest = hostler_types::plugin::embedded_manifest(&built).unwrap();
    let newer = control_plane.path("newer.wasm");
    let text = format!("name = \"http\"\nversion = \"9.0.0\"\nworld = \"{}\"\n[grants]\n", manifest.world);
    fs::write(&newer, hostler_types::plugin::embed_manifest(&built, &text).unwrap()).unwrap();
    let pushed = anna.ctl(&["plugin", "push", &newer.display().to_string()]);
    yes(&pushed);
    let plugins = control_plane.ctl_json(&["plugin", "ls"]);
    assert!(plugins.to_string().contains("9.0.0"), "{plugins}");
    anna.ok(&["plugin", "push", &hostler_lab::plugin("memory").display().to_string()]);
}

#[test]
fn a_run_on_many_waits_and_is_begun_once_somebody_agrees() {
    let fleet = Fleet::started("2");
    let control_plane = &fleet.control_plane;
    let (anna, ben) =
        (person(control_plane, "anna", &["--role", "admin"]), person(control_plane, "ben", &["--role", "admin"]));
    let eve = person(control_plane, "eve", &["--role", "viewer"]);
    let run = ["run", "--yes", "--detach", "-l", "role=web", "--reason", "tidy up", "--", "rm", "-rf", "/srv/old"];
    let waiting = id(&anna.ctl(&run));
    assert!(fleet.one(&waiting).to_string().contains("run rm -rf /srv/old"), "{:#}", fleet.one(&waiting));
    let runs = || control_plane.ctl_json(&["run", "ls"]).as_array().unwrap().clone();
    assert_eq!(runs().len(), 0);
    anna.refused(&["approve", "yes", &waiting], "you asked for it yourself");
    eve.refused(&["approve", "yes", &waiting], "may not");
    ben.ok(&["approve", "yes", &waiting]);
    let begun = runs();
    assert_eq!((&begun[0]["by"], &begun[0]["reason"]), (&"anna".into(), &"tidy up (approved by ben)".into()));
    ben.refused(&["approve", "yes", &waiting], "it is done");
    assert_eq!((runs().len(), fleet.waiting().len()), (1, 0));

    // One of them was shut out meanwhile: not what was asked for any more.
    let waiting = id(&anna.ctl(&run));
    anna.ok(&["node", "revoke", "web3", "--yes"]);
    ben.refused(&["approve", "yes", &waiting], "nothing was done");
    let late = Agent::new("web4");
    assert_eq!(late.join(&control_plane.join_code(&["--label", "role=web"]), &[]).code, Some(0));
    // Of few, and of what does nothing, nobody is asked.
    anna.ok(&["run", "--yes", "--detach", "--node", "web1", "--node", "web2", "--", "true"]);
    anna.ok(&["run", "--dry-run", "-l", "role=web", "--", "true"]);
    fleet.admin().ok(&[&["--override-approval", "nobody is awake"], &run[..]].concat());
    assert_eq!(runs().len(), 3);
    assert!(fleet.said("did without the second approval that was due: run rm -rf /srv/old on 3 nodes"));
}

#[test]
fn a_crash_between_yes_and_act_loses_nothing_and_does_nothing_twice() {
    const ROUNDS: u64 = 6;
    let mut fleet = Fleet::started("1");
    for round in 0..ROUNDS {
        let anna_file = {
            let control_plane = &fleet.control_plane;
            let anna = person(control_plane, &format!("anna{round}"), &["--role", "operator"]);
            anna.file.clone()
        };
        let shop = spec(&fleet.control_plane, "shop", &format!("c{round}"));
        let before = fleet.version("shop");
        let waiting = {
            let anna = As { control_plane: &fleet.control_plane, file: anna_file, token: String::new() };
            id(&anna.ctl(&["apply", "-f", &shop, "--yes"]))
        };
        fleet.control_plane.kill();
        fleet.control_plane.start();
        assert_eq!(fleet.one(&waiting)["state"], "waiting", "it is still there after a crash");

        let mut yes = fleet.admin().command(&["approve", "yes", &waiting]).stderr(Stdio::null()).spawn().unwrap();
        // From before the question arrives to after it is answered.
        std::thread::sleep(Duration::from_millis(12 * round));
        fleet.control_plane.kill();
        yes.wait().unwrap();
        fleet.control_plane.start();
        let state = fleet.one(&waiting)["state"].as_str().unwrap().to_owned();
        let after = fleet.version("shop");
        match state.as_str() {
            "waiting" => assert_eq!(after, before, "round {round}"),
            "done" => assert_eq!(after, before + 1, "round {round}"),
            other => panic!("round {round}: {other}"),
        }
        if state == "waiting" {
            fleet.admin().ok(&["approve", "yes", &waiting]);
        }
        assert_eq!(fleet.version("shop"), before + 1, "round {round}: once, and once only");
        fleet.admin().refused(&["approve", "yes", &waiting], "it is done");
    }
}

#[test]
fn what_nobody_decides_on_ends_after_a_day() {
    let mut fleet = Fleet::started("1");
    let waiting = {
        let anna = person(&fleet.control_plane, "anna", &["--role", "operator"]);
        id(&anna.ctl(&["apply", "-f", &spec(&fleet.control_plane, "shop", "a")]))
    };
    fleet.control_plane.stop();
    fleet.control_plane.clock = Some("+25h".to_owned());
    fleet.control_plane.start();
    wait_for("it to expire", SOON, || {
        let one = fleet.one(&waiting);
        if one["state"] == "expired" { Ok(()) } else { Err(one) }
    });
    assert!(fleet.said("nobody decided in time on what anna asked for"));
    fleet.admin().refused(&["approve", "yes", &waiting], "it is expired");
    assert_eq!(fs::read_dir(fleet.control_plane.path("data/documents")).unwrap().count(), 0, "nothing is left of it");
}
