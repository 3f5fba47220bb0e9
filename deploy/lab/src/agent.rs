//! An agent as a process, with its own folders.

use crate::control_plane::{Ran, run, tail, terminate, with_clock};
use crate::{ControlPlane, program};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub struct Agent {
    pub name: String,
    /// Log and configuration; the state too, unless it is elsewhere.
    pub folder: TempDir,
    pub state: PathBuf,
    pub clock: Option<String>,
    child: Option<Child>,
}

impl Agent {
    /// Made, not joined.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        Self { name: name.to_owned(), folder, state, clock: None, child: None }
    }

    /// Joined and running.
    pub fn joined(control_plane: &ControlPlane, name: &str, labels: &[&str]) -> Self {
        let mut agent = Self::new(name);
        let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
        let ran = agent.join(&control_plane.join_code(&labels), &[]);
        assert_eq!(ran.code, Some(0), "join: {ran:#?}");
        agent.start();
        agent
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn join(&self, code: &str, more: &[&str]) -> Ran {
        let mut command = with_clock(self.clock.as_deref(), &program("hostler-agent"));
        command.args(["join", code, "--name", &self.name]).args(more);
        command.arg("--config").arg(self.config()).arg("--state-dir").arg(&self.state);
        command.arg("--runtime-dir").arg(self.folder.path().join("run"));
        let ran = run(command.stdin(Stdio::null()));
        if ran.code == Some(0) {
            self.no_http();
        }
        ran
    }

    /// Many agents on one machine would want the same port.
    fn no_http(&self) {
        let text = fs::read_to_string(self.config()).expect("a configuration");
        let kept = text.lines().filter(|line| !line.starts_with("http_listen"));
        let text: String = kept.map(|line| format!("{line}\n")).collect();
        fs::write(self.config(), format!("http_listen = \"off\"\n{text}")).expect("write the configuration");
    }

    /// With its page on a port of its own, from its next start on.
    pub fn with_http(&self) -> u16 {
        let port = crate::free_port();
        let text = fs::read_to_string(self.config()).expect("a configuration");
        let text = text.replace("http_listen = \"off\"", &format!("http_listen = \"127.0.0.1:{port}\""));
        fs::write(self.config(), text).expect("write the configuration");
        port
    }

    pub fn start(&mut self) {
        let path = self.folder.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(path).expect("a log");
        let mut command = with_clock(self.clock.as_deref(), &program("hostler-agent"));
        command.arg("run").arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("start the agent"));
    }

    /// As a crash ends it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        terminate(&child);
        child.wait().ok().and_then(|status| status.code())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub fn command(&self, args: &[&str]) -> Ran {
        let mut command = with_clock(self.clock.as_deref(), &program("hostler-agent"));
        run(command.args(args).arg("--config").arg(self.config()).stdin(Stdio::null()))
    }

    pub fn state_dir(&self) -> &Path {
        &self.state
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of agent {} ---\n{}", self.name, tail(&self.log()));
        }
    }
}

/// How soon a fleet is whole again after its control plane came back.
pub const BACK: Duration = Duration::from_secs(5);
