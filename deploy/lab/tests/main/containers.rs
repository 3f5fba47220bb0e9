//! Services in containers, from a spec to a real engine and back: with the whole agent,
//! its root half included.

use crate::dockerd::Dockerd;
use hostler_lab::agent::Agent;
use hostler_lab::control_plane::{Ran, run};
use hostler_lab::{ControlPlane, program, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An engine that is begun anew, and the waits between restarts, are among it.
const SOON: Duration = Duration::from_secs(30);
/// Without rights, and on every host.
const USER: &str = "nobody";

fn spec(greeting: &str) -> String {
    format!(
        r#"secret: {{key: {{}}}}
service:
  web:
    where: role=app
    type: container
    image: tiny:1
    command: echo $GREETING $KEY; trap "exit 0" TERM; while true; do sleep 0.1; done
    env: {{GREETING: {greeting}, KEY: "${{secret:key}}"}}
    limits: {{memory: 64MiB, processes: 50}}
    stop: {{grace: 5s}}
  deaf:
    where: role=app
    type: container
    image: tiny:1
    command: trap "" TERM; while true; do sleep 0.1; done
    stop: {{grace: 100ms}}
  hungry:
    where: role=app
    type: container
    image: tiny:1
    command: sleep 1; x=a; while true; do x=$x$x; done
    limits: {{memory: 16MiB}}
    restart: {{delay: 1h}}
"#
    )
}

struct Host {
    dockerd: Dockerd,
    agent: Agent,
    executor: Option<Child>,
}

impl Host {
    /// Joined, with both halves of its agent.
    fn joined(control_plane: &ControlPlane) -> Self {
        let (dockerd, agent) = (Dockerd::new(), Agent::new("h1"));
        let ran = agent.join(&control_plane.join_code(&["--label", "role=app"]), &[]);
        assert_eq!(ran.code, Some(0), "join: {ran:#?}");
        let folder = agent.folder.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        // Where whoever runs the agent can reach it.
        fs::copy(program("hostler-agent"), folder.join("hostler-agent")).unwrap();
        fs::create_dir_all(folder.join("run")).unwrap();
        let given = Command::new("chown").args(["-R", USER]).args([&agent.state, &folder.join("run")]).status();
        assert!(given.unwrap().success());
        fs::set_permissions(agent.config(), fs::Permissions::from_mode(0o644)).unwrap();
        let mut host = Self { dockerd, agent, executor: None };
        host.dockerd.start();
        host.start();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.agent.folder.path().join(name)
    }

    fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(program("hostler-executor"));
        command.args(["run", "--parent", "--user", USER, "--runtime-dir"]).arg(self.path("executor"));
        command.arg("--policy").arg(self.path("policy.toml")).arg("--agent-config").arg(self.agent.config());
        command.arg("--writable").arg(self.agent.folder.path());
        command.arg("--").arg(self.path("hostler-agent")).arg("run").arg("--config").arg(self.agent.config());
        command.env("DOCKER_HOST", self.dockerd.host());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.executor = Some(command.spawn().unwrap());
    }

    /// As a crash ends it; its agent goes with it.
    fn kill(&mut self) {
        if let Some(mut executor) = self.executor.take() {
            let _ = executor.kill();
            let _ = executor.wait();
        }
    }

    /// On the host, with or without a control plane.
    fn ask(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(program("hostler-agent"));
        run(command.arg("service").arg("--config").arg(self.agent.config()).args(args).stdin(Stdio::null()))
    }

    /// As the host itself says it, once it is so.
    fn wait(&self, what: &str, service: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, SOON, || {
            let ran = self.ask(&["ls", "-o", "json"]);
            let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap_or_default();
            let row = rows.iter().find(|row| row["service"] == service);
            row.filter(|row| is_so(row)).cloned().ok_or(ran)
        })
    }

    fn wait_running(&self, what: &str, service: &str, not: u64) -> u64 {
        let other = |row: &Value| row["state"] == "running" && row["pid"].as_u64().is_some_and(|pid| pid != not);
        self.wait(what, service, other)["pid"].as_u64().unwrap()
    }

    fn containers(&self) -> String {
        self.dockerd.curl(&["http://engine/containers/json?all=1"]).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Each act's words, the newest first.
fn history(control_plane: &ControlPlane, service: &str) -> Vec<Value> {
    control_plane.ctl_json(&["service", "history", service, "-n", "100"]).as_array().cloned().unwrap_or_default()
}

fn wait_told(control_plane: &ControlPlane, service: &str, words: &str) -> Value {
    wait_for(words, SOON, || {
        let acts = history(control_plane, service);
        acts.iter().find(|act| act.to_string().contains(words)).cloned().ok_or(acts)
    })
}

#[test]
fn a_container_is_one_more_way_to_run() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: this needs root");
        return;
    }
    let control_plane = ControlPlane::started();
    control_plane.apply(&spec("hello"));
    control_plane.ctl_ok(&["secret", "set", "key", "--generate"]);
    let mut host = Host::joined(&control_plane);
    let first = host.wait_running("the first start", "web", 0);
    let deaf = host.wait_running("the first start", "deaf", 0);
    let logs = wait_for("its output", SOON, || {
        let logs = control_plane.ctl(&["service", "logs", "web"]);
        if logs.out.contains("hello") { Ok(logs.out) } else { Err(logs) }
    });
    assert_eq!(logs, "hello (secret)\n");
    wait_told(&control_plane, "hungry", "ended for want of memory (limit 16 MiB)");

    host.kill();
    assert!(fs::exists(format!("/proc/{first}")).unwrap(), "it outlives both halves");
    host.start();
    assert_eq!(host.wait_running("another agent", "web", 0), first, "adopted");

    let killed = Command::new("kill").args(["-9", &first.to_string()]).status().unwrap();
    assert!(killed.success());
    let second = host.wait_running("the kill", "web", first);
    wait_told(&control_plane, "web", "ended by KILL");

    control_plane.apply(&spec("goodbye"));
    let third = host.wait_running("the change", "web", second);
    wait_told(&control_plane, "web", "its spec changed");
    let why = control_plane.ctl_ok(&["why", "service/web"]);
    assert!(why.contains("restarted by"), "{why}");
    let show = control_plane.ctl_ok(&["service", "show", "web"]);
    assert!(show.contains("in the image tiny:1"), "{show}");
    let changes = |acts: &[Value]| acts.iter().filter(|act| act.to_string().contains("its spec changed")).count();
    assert_eq!(changes(&history(&control_plane, "web")), 1);

    // What does not listen is killed, and what is stopped is gone.
    control_plane.ctl_ok(&["service", "stop", "deaf"]);
    assert!(!fs::exists(format!("/proc/{deaf}")).unwrap());
    assert!(!host.containers().contains("/hostler-deaf-0"), "{}", host.containers());

    // The engine goes, and comes back.
    host.dockerd.stop();
    wait_told(&control_plane, "web", "no container engine answers at /");
    host.dockerd.start();
    let fourth = host.wait_running("the engine's return", "web", third);
    assert_eq!(host.wait_running("a while", "web", 0), fourth);

    // Whoever leaves the spec leaves the host, also while nobody looks.
    host.kill();
    control_plane.ctl_ok(&["delete", "service", "web", "deaf", "hungry", "--yes"]);
    host.start();
    wait_for("the host to be empty", SOON, || {
        let left = host.containers();
        if left.contains("/hostler-") { Err(left) } else { Ok(()) }
    });
    assert!(!fs::exists(format!("/proc/{fourth}")).unwrap());
}
