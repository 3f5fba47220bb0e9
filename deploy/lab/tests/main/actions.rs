//! Steps of tasks that plugins do, on a host with its executor: each once, under one
//! key, whatever dies; and undone where one fails.

use hostler_lab::{Acting, ControlPlane, wait_for};
use hostler_types::plugin::embed_manifest;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// What the plugin acts on: it writes down what it is asked, and does it once a key.
#[derive(Clone)]
struct Balancer {
    socket: PathBuf,
    inside: Arc<Mutex<Inside>>,
}

#[derive(Default)]
struct Inside {
    asked: Vec<String>,
    keys: BTreeSet<String>,
    effects: Vec<String>,
    /// It does this step, and does not say so.
    silent: Option<&'static str>,
    /// It does not do this one.
    fails: Option<&'static str>,
    held: Vec<UnixStream>,
}

impl Balancer {
    fn started(folder: &std::path::Path) -> Self {
        let socket = folder.join("balancer.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
        let balancer = Self { socket, inside: Arc::default() };
        let answering = balancer.clone();
        // It ends with the test's process.
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answering.answer(stream)));
        balancer
    }

    fn answer(&self, mut stream: UnixStream) {
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what, step, key] = words[..] else { return };
        let mut inside = self.inside.lock().unwrap();
        inside.asked.push(line.trim().to_owned());
        if what == "apply" && inside.fails == Some(step) {
            let _ = stream.write_all(b"it is locked\n");
            return;
        }
        if inside.keys.insert(format!("{what} {key}")) {
            inside.effects.push(format!("{what} {step}"));
        }
        if inside.silent == Some(step) {
            return inside.held.push(stream);
        }
        let _ = stream.write_all(b"ok 3 sessions\n");
    }

    fn with(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.inside.lock().unwrap());
    }

    fn asked(&self) -> Vec<String> {
        self.inside.lock().unwrap().asked.clone()
    }

    fn effects(&self) -> Vec<String> {
        std::mem::take(&mut self.inside.lock().unwrap().effects)
    }
}

fn output(run: &serde_json::Value) -> &str {
    run["tasks"][0]["output"].as_str().unwrap_or_default()
}

#[test]
fn a_plugin_does_a_step_once_through_a_kill_and_goes_back_where_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let balancer = Balancer::started(folder.path());
    let control_plane = ControlPlane::started();
    let built = std::fs::read(hostler_lab::plugin("fixtures/ask")).unwrap();
    let manifest = format!(
        "name = \"ask\"\nversion = \"1.0.0\"\nworld = \"action\"\n[grants]\ntcp = [\"unix:{}\"]\n",
        balancer.socket.display()
    );
    let pushed = control_plane.path("ask.wasm");
    std::fs::write(&pushed, embed_manifest(&built, &manifest).unwrap()).unwrap();
    control_plane.ctl_ok(&["plugin", "push", pushed.to_str().unwrap()]);
    let acting = Acting::joined(&control_plane, "web1", "profile = \"operate\"\n");
    control_plane.wait_node("web1", "ready", SOON);
    control_plane.apply(&format!(
        "task: {{out: {{where: all, steps: [{{action: {{plugin: ask, with: {{steps: [drain, mark, stop], socket: {}}}}}}}]}}}}",
        balancer.socket.display()
    ));
    let refused = control_plane.ctl(&["plugin", "rm", "ask", "1.0.0"]);
    assert!(refused.code == Some(1) && refused.err.contains("1 tasks have steps of ask 1.0.0"), "{refused:?}");
    let dry = control_plane.ctl_ok(&["run", "task", "out", "--dry-run"]);
    assert!(dry.contains("step   action ask steps=[\"drain\",\"mark\",\"stop\"] socket=/"), "{dry}");

    // The agent dies when a part took effect and nobody had said so.
    balancer.with(|inside| inside.silent = Some("mark"));
    control_plane.ctl_ok(&["run", "task", "out", "--yes", "--detach"]);
    wait_for("the second part", SOON, || {
        let asked = balancer.asked();
        if asked.len() == 2 { Ok(()) } else { Err((asked, control_plane.ctl_ok(&["run", "show", "1"]))) }
    });
    // The next agent may ask before anybody here looks.
    balancer.with(|inside| inside.silent = None);
    acting.kill_agent();
    balancer.with(|inside| inside.held.clear());
    let ran = control_plane.ctl(&["run", "watch", "1"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}\n{}", acting.agent.log());
    let asked = balancer.asked();
    let steps: Vec<&str> = asked.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(steps, ["drain", "mark", "mark", "stop"], "{asked:?}");
    assert_eq!(asked[1], asked[2], "under the same key");
    assert_eq!(balancer.effects(), ["apply drain", "apply mark", "apply stop"]);
    let run = control_plane.ctl_json(&["run", "show", "1"]);
    let said = "plan: drain it\nplan: mark it\nplan: stop it\ndone: drain it: answer=3 sessions\n";
    assert!(output(&run).starts_with(said), "{run:#}");
    assert_eq!(run["tasks"][0]["changed"], true, "{run:#}");

    balancer.with(|inside| inside.fails = Some("stop"));
    let ran = control_plane.ctl(&["run", "task", "out", "--yes"]);
    let words = "stop it: it is locked; undone: drain it; not undone: mark it (it can't be)";
    assert!(ran.code == Some(1) && ran.out.contains(words), "{ran:#?}");
    assert_eq!(balancer.effects(), ["apply drain", "apply mark", "undo drain"]);

    acting.write_policy("profile = \"watch\"\n");
    let ran = control_plane.ctl(&["run", "task", "out", "--yes"]);
    assert!(ran.code == Some(1) && ran.out.contains("let_plugin: profile watch"), "{ran:#?}");
    assert_eq!(balancer.effects(), Vec::<String>::new());
}
