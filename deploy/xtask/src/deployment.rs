//! A control plane and one agent on this machine: the developer's own under
//! target/dev, and private ones to measure. Everything here can be done twice.

use crate::executor::{Executor, SERVICE_USER};
use crate::packages::is_root;
use crate::ports::{self, Ports};
use crate::process::{self, Daemon, Memory, State, memory_of_tree, wait_until};
use crate::workspace::Programs;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub const NODE: &str = "dev1";
pub const POLICY: &str = "operate";
/// To listen, with a new store, on a busy machine.
const START_MAX: Duration = Duration::from_secs(20);
/// A joined agent dials at once; the disk check is due within 5 s.
pub const READY_MAX: Duration = Duration::from_secs(30);

pub struct Deployment {
    dir: PathBuf,
    programs: Programs,
    pub ports: Ports,
    pub control_plane: Daemon,
    /// The executor with the agent below it, or the agent alone.
    pub agent: Daemon,
    executor: Option<Executor>,
}

/// A file for the demo's folder.
#[derive(Clone, Copy)]
pub struct Spec<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

/// What the demo's checks are, and how often.
#[derive(Clone, Copy)]
pub struct Demo {
    pub disk_every: &'static str,
    pub hello_every: &'static str,
}

impl Deployment {
    pub fn new(dir: &Path, programs: Programs, ports: Ports) -> Self {
        let control_plane = Daemon::new("control-plane", &programs.control_plane, dir);
        let agent = Daemon::new("agent", &programs.agent, dir);
        Self { dir: dir.to_owned(), programs, ports, control_plane, agent, executor: None }
    }

    /// With an executor above the agent, so that it acts and does not only watch.
    pub fn acting(self) -> Self {
        let agent = Daemon::new("agent", &self.programs.executor, &self.dir);
        Self { agent, executor: Some(Executor::new(&self.dir)), ..self }
    }

    pub fn context_file(&self) -> PathBuf {
        self.dir.join("contexts.toml")
    }

    fn agent_state(&self) -> PathBuf {
        self.dir.join("agent")
    }

    fn agent_config(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }

    pub fn ctl(&self) -> Command {
        let mut command = Command::new(&self.programs.ctl);
        command.arg("--context-file").arg(self.context_file());
        command
    }

    pub fn ctl_json(&self, arguments: &[&str]) -> Result<Value> {
        let text = process::output(self.ctl().args(arguments).args(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("read the JSON of `hostlerctl {}`", arguments.join(" ")))
    }

    /// All of it, in order; what is there already stays.
    pub fn start(&self, plugins: &[PathBuf], spec: Spec<'_>) -> Result<()> {
        self.start_control_plane()?;
        self.join()?;
        self.start_agent()?;
        self.push(plugins)?;
        self.apply(spec)
    }

    pub fn start_control_plane(&self) -> Result<()> {
        let data = self.dir.join("control-plane");
        fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
        let loopback = |port: u16| format!("127.0.0.1:{port}");
        let mut command = Command::new(&self.programs.control_plane);
        command
            .arg("--data-dir")
            .arg(&data)
            .args(["--agents-listen", &loopback(self.ports.agents)])
            .args(["--operators-listen", &loopback(self.ports.operators)])
            .args(["--http-listen", &loopback(self.ports.http)])
            .args(["--advertise", &loopback(self.ports.agents)])
            .arg("--context-file")
            .arg(self.context_file())
            .arg("--agent-programs")
            .arg(self.agent_programs()?);
        restart_if_outdated(&self.control_plane, &mut command)?;
        let listens = || self.context_file().exists() && !ports::is_free(self.ports.operators);
        wait_alive(&self.control_plane, START_MAX, "listen", listens)
    }

    /// The programs that hosts install, in one folder.
    fn agent_programs(&self) -> Result<PathBuf> {
        let folder = self.dir.join("programs");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let programs = [
            ("hostler-agent", &self.programs.agent),
            ("hostler-executor", &self.programs.executor),
            ("hostler-plugin", &self.programs.plugin_tool),
        ];
        for (name, file) in programs {
            let link = folder.join(name);
            let _ = fs::remove_file(&link);
            symlink(file, &link).with_context(|| format!("link {}", link.display()))?;
        }
        Ok(folder)
    }

    /// Joins once; the node's identity is in its state folder from then on.
    fn join(&self) -> Result<()> {
        let joined = self.dir.join("joined");
        let config = self.agent_config();
        fs::write(&config, self.agent_settings()).with_context(|| format!("write {}", config.display()))?;
        fs::set_permissions(&config, Permissions::from_mode(0o644)).context("set the mode of the agent's settings")?;
        if joined.exists() {
            return Ok(());
        }
        // Left by a join that was cut off: its code is used up.
        let state = self.agent_state();
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(&state).with_context(|| format!("make {}", state.display()))?;
        let token = self.ctl_json(&["token", "create"])?;
        let code = token.get("code").and_then(Value::as_str).context("find `code` in what `token create` gave")?;
        let mut command = Command::new(&self.programs.agent);
        command.args(["join", code, "--name", NODE, "--policy", POLICY]);
        command.arg("--config").arg(&config).arg("--state-dir").arg(&state);
        process::output(&mut command).context("join the node")?;
        fs::write(&joined, NODE).with_context(|| format!("write {}", joined.display()))
    }

    fn agent_settings(&self) -> String {
        format!(
            "state_dir = {:?}\nruntime_dir = {:?}\npolicy = {POLICY:?}\nplugin_tool = {:?}\noutput_dir = {:?}\nhttp_listen = \"127.0.0.1:{}\"\n",
            self.agent_state(),
            self.agent_state().join("run"),
            self.programs.plugin_tool,
            self.dir.join("output"),
            self.ports.agent_http,
        )
    }

    fn start_agent(&self) -> Result<()> {
        let config = self.agent_config();
        let mut command = match &self.executor {
            None => {
                let mut command = Command::new(&self.programs.agent);
                command.arg("run").arg("--config").arg(&config);
                command
            }
            Some(executor) => {
                executor.prepare(&self.programs, &self.agent_state(), POLICY)?;
                executor.command(&self.programs, &config)
            }
        };
        restart_if_outdated(&self.agent, command.env("MALLOC_ARENA_MAX", "1"))
    }

    /// Of both halves, and of no service that they look after.
    pub fn agent_memory(&self) -> Result<Memory> {
        let pid = self.agent.pid().context("find the agent's process")?;
        memory_of_tree(pid, &self.executor.as_ref().map(Executor::services).unwrap_or_default())
    }

    /// Pushes what differs from what was pushed last.
    fn push(&self, plugins: &[PathBuf]) -> Result<()> {
        let pushed = self.dir.join("pushed");
        fs::create_dir_all(&pushed).with_context(|| format!("make {}", pushed.display()))?;
        for plugin in plugins {
            let copy = pushed.join(plugin.file_name().context("name the plugin")?);
            let bytes = fs::read(plugin).with_context(|| format!("read {}", plugin.display()))?;
            if fs::read(&copy).is_ok_and(|old| old == bytes) {
                continue;
            }
            process::output(self.ctl().args(["plugin", "push"]).arg(plugin))?;
            fs::write(&copy, bytes).with_context(|| format!("write {}", copy.display()))?;
        }
        Ok(())
    }

    fn apply(&self, spec: Spec<'_>) -> Result<()> {
        let folder = self.dir.join("demo");
        // With what an earlier version wrote there.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(folder.join(spec.file), spec.text).context("write the demo's spec")?;
        // By its short name, which acts tell.
        process::output(self.ctl().args(["apply", "--yes", "-f", "demo"]).current_dir(&self.dir)).map(drop)
    }

    /// Until the node is ready and both checks pass.
    pub fn wait_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let seen = self.look();
            if matches!(&seen, Ok(look) if look.is_ready()) {
                return Ok(());
            }
            self.must_run(&self.agent)?;
            self.must_run(&self.control_plane)?;
            if started.elapsed() > READY_MAX {
                let last = seen.map_or_else(|error| format!("{error:#}"), |look| look.to_string());
                bail!("not ready after {} s: {last}\n{}", READY_MAX.as_secs(), self.agent.log_tail());
            }
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    fn look(&self) -> Result<Look> {
        let listed = |kind| self.ctl_json(&[kind, "ls"]);
        Ok(Look { nodes: listed("node")?, checks: listed("check")?, services: listed("service")? })
    }

    pub fn agent_version(&self) -> Result<String> {
        let nodes = self.ctl_json(&["node", "ls"])?;
        let node = find(&nodes, "name", NODE).context("find the node in `node ls`")?;
        Ok(node.get("agent_version").and_then(Value::as_str).unwrap_or("?").to_owned())
    }

    pub fn must_run(&self, daemon: &Daemon) -> Result<()> {
        match daemon.state() {
            State::Stopped => bail!("the {} stopped; {}", daemon.name, daemon.log_tail()),
            State::Running(_) | State::Outdated(_) => Ok(()),
        }
    }

    /// The agent first: it says goodbye to a control plane that is still there.
    pub fn stop(&self) -> Result<bool> {
        let agent = self.agent.stop()?;
        let services = self.executor.as_ref().map_or(Ok(false), Executor::end_services)?;
        Ok(self.control_plane.stop()? || agent || services)
    }
}

/// What the control plane says of the node and its checks.
struct Look {
    nodes: Value,
    checks: Value,
    services: Value,
}

impl Look {
    fn is_ready(&self) -> bool {
        let node_ready = find(&self.nodes, "name", NODE).is_some_and(|node| text(node, "state") == "ready");
        let passing = |name| find(&self.checks, "check", name).is_some_and(|check| text(check, "state") == "passing");
        // How services stand comes a little after their checks.
        let run = self.services.as_array().is_none_or(|all| all.iter().all(|one| text(one, "state") == "running"));
        node_ready && passing("disk") && passing("hello") && run
    }
}

impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let node = find(&self.nodes, "name", NODE).map_or("unknown", |node| text(node, "state"));
        write!(f, "node {NODE} is {node}")?;
        for name in ["disk", "hello"] {
            match find(&self.checks, "check", name) {
                Some(check) => write!(f, ", {name} {}: {}", text(check, "state"), text(check, "summary"))?,
                None => write!(f, ", {name} not assigned")?,
            }
        }
        Ok(())
    }
}

fn find<'a>(list: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| text(item, key) == value)
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `hello` looks at the control plane's own health: something that surely answers.
pub fn demo_spec(demo: Demo, http: u16) -> String {
    let Demo { disk_every, hello_every } = demo;
    format!(
        "check:\n  \
           disk: {{where: all, plugin: disk, every: {disk_every}, passes: 1, with: {{warn: 90%, critical: 97%}}}}\n  \
           hello: {{where: all, plugin: http, every: {hello_every}, with: {{url: \"http://127.0.0.1:{http}/health\"}}}}\n"
    )
}

/// The demo: a service that answers, and is started again when it does not.
pub fn hello_spec(demo: Demo, port: u16) -> String {
    let Demo { disk_every, hello_every } = demo;
    let user = if is_root() { format!("    user: {SERVICE_USER}\n") } else { String::new() };
    format!(
        "# The demo: `hostlerctl dev break hello` breaks it.\n\
         check:\n  \
           disk: {{where: all, plugin: disk, every: {disk_every}, passes: 1, with: {{warn: 90%, critical: 97%}}}}\n  \
           hello: {{service: hello, plugin: http, every: {hello_every}, with: {{url: \"http://127.0.0.1:{port}/\"}}}}\n\
         service:\n  \
           hello:\n    \
             where: all\n    \
             live: [hello]\n    \
             heal: [restart, restart, page]\n    \
             command: hostler-agent demo --port {port}\n    \
             port: {port}\n{user}"
    )
}

fn restart_if_outdated(daemon: &Daemon, command: &mut Command) -> Result<()> {
    if let State::Running(_) = daemon.state() {
        return Ok(());
    }
    daemon.stop()?;
    daemon.start(command).map(drop)
}

/// Waits for what a program does after its start; a dead one ends the wait.
fn wait_alive(daemon: &Daemon, max: Duration, what: &str, done: impl Fn() -> bool) -> Result<()> {
    let waited = wait_until(max, || done() || daemon.pid().is_none());
    if daemon.pid().is_none() {
        bail!("the {} ended before it could {what}; {}", daemon.name, daemon.log_tail());
    }
    waited.with_context(|| format!("wait for the {} to {what}; {}", daemon.name, daemon.log_tail()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_means_the_node_and_both_checks() {
        let nodes = json!([{"name": "dev1", "state": "ready"}]);
        let check = |name: &str, state: &str| json!({"node": "dev1", "check": name, "state": state, "summary": "s"});
        let look = |disk, hello| {
            let checks = json!([check("disk", disk), check("hello", hello)]);
            Look { nodes: nodes.clone(), checks, services: json!([]) }
        };
        assert!(look("passing", "passing").is_ready());
        assert!(!look("passing", "starting").is_ready());
        assert_eq!(look("passing", "critical").to_string(), "node dev1 is ready, disk passing: s, hello critical: s");
        assert!(!Look { nodes: json!([]), checks: json!([]), services: json!([]) }.is_ready());
        assert_eq!(
            Look { nodes: json!([]), checks: json!(null), services: json!(null) }.to_string(),
            "node dev1 is unknown, disk not assigned, hello not assigned"
        );
    }

    #[test]
    fn the_demo_heals_by_what_is_on_its_ninth_line() {
        let spec = hello_spec(Demo { disk_every: "5s", hello_every: "2s" }, 7484);
        assert_eq!(spec.lines().nth(8), Some("    heal: [restart, restart, page]"), "{spec}");
        assert!(spec.contains("hostler-agent demo --port 7484\n    port: 7484\n"), "{spec}");
    }

    #[test]
    fn the_demo_is_a_spec_of_two_checks() {
        let spec = demo_spec(Demo { disk_every: "5s", hello_every: "2s" }, 7481);
        assert!(spec.contains("\n  disk: {where: all, plugin: disk, every: 5s"), "{spec}");
        assert!(spec.contains("http://127.0.0.1:7481/health"), "{spec}");
    }
}
