//! An agent under its executor, which is the parent of what it runs: services come and
//! go on this machine, and leave nothing in its system.

use crate::control_plane::terminate;
use crate::{Agent, ControlPlane, program};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Whom root's agent runs as: there on every Linux.
const USER: &str = "daemon";

pub struct Acting {
    pub agent: Agent,
    executor: Option<Child>,
}

impl Acting {
    /// Joined and running, with a policy of its own.
    pub fn joined(control_plane: &ControlPlane, name: &str, policy: &str) -> Self {
        let agent = Agent::new(name);
        let ran = agent.join(&control_plane.join_code(&[]), &["--policy", "operate"]);
        assert_eq!(ran.code, Some(0), "join: {ran:#?}");
        let settings = fs::read_to_string(agent.config()).expect("a configuration");
        let output = agent.folder.path().join("output");
        fs::write(agent.config(), format!("output_dir = {output:?}\n{settings}")).expect("write the configuration");
        let mut acting = Self { agent, executor: None };
        acting.write_policy(policy);
        acting.start();
        acting
    }

    fn folder(&self) -> &Path {
        self.agent.folder.path()
    }

    /// Read anew at every request.
    pub fn write_policy(&self, text: &str) {
        fs::write(self.folder().join("policy.toml"), text).expect("write the policy");
    }

    fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder().join("log")).expect("a log");
        let mut command = Command::new(program("hostler-executor"));
        command.args(["run", "--parent", "--runtime-dir"]).arg(self.folder().join("executor"));
        command.arg("--policy").arg(self.folder().join("policy.toml"));
        command.arg("--agent-config").arg(self.agent.config());
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = daemon();
            fs::set_permissions(self.folder(), fs::Permissions::from_mode(0o755)).expect("open the folder");
            give(self.agent.state_dir(), uid, gid);
            command.args(["--user", USER]);
        }
        command.arg("--").arg(program("hostler-agent")).arg("run").arg("--config").arg(self.agent.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.executor = Some(command.spawn().expect("start the executor"));
    }

    /// Its services go on.
    pub fn stop(&mut self) {
        if let Some(mut executor) = self.executor.take() {
            terminate(&executor);
            let _ = executor.wait();
        }
    }

    /// As a crash ends it; its executor starts another.
    pub fn kill_agent(&self) {
        let pid = self.executor.as_ref().expect("it runs").id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        let agent = children.split_whitespace().find_map(|child| {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
            name.starts_with("hostler-agent").then(|| child.parse().ok()).flatten()
        });
        let agent = rustix::process::Pid::from_raw(agent.expect("an agent")).expect("a pid");
        rustix::process::kill_process(agent, rustix::process::Signal::KILL).expect("kill the agent");
    }

    fn end_services(&self) {
        let entries = fs::read_dir(self.folder().join("executor/processes")).into_iter().flatten().flatten();
        for record in entries.filter_map(|entry| serde_json::from_slice::<Value>(&fs::read(entry.path()).ok()?).ok()) {
            if let Some(pid) = record["pid"].as_i64() {
                let _ = Command::new("kill").args(["-9", "--", &format!("-{pid}")]).stderr(Stdio::null()).status();
            }
            for folder in record["groups"]["folders"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                // Not while something is still in it.
                let gone = || fs::remove_dir(folder).is_ok() || !Path::new(folder).exists();
                (0..100).any(|_| {
                    gone() || {
                        std::thread::sleep(std::time::Duration::from_millis(10));
                        false
                    }
                });
            }
        }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.stop();
        self.end_services();
    }
}

fn daemon() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("the users");
    let line = passwd.lines().find(|line| line.split(':').next() == Some(USER)).expect("the user daemon");
    let number = |at: usize| line.split(':').nth(at).and_then(|text| text.parse().ok()).expect("a number");
    (number(2), number(3))
}

fn give(path: &Path, uid: u32, gid: u32) {
    let mut open: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        chown(&path, Some(uid), Some(gid)).expect("give it away");
        open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
}
