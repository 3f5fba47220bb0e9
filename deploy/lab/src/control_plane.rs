//! A control plane as a process, and `hostlerctl` against it.

use crate::{free_ports, program, wait_for};
use hostler_proto::context::Contexts;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const READY: Duration = Duration::from_secs(20);

pub struct ControlPlane {
    pub folder: TempDir,
    pub agents_port: u16,
    pub operators_port: u16,
    pub http_port: u16,
    /// What agents are told to connect to: the port, or a proxy before it.
    pub advertise: Option<String>,
    /// As `faketime -f` understands it: `+8d`.
    pub clock: Option<String>,
    /// More of the control plane's settings: `--page-lost-after`, `5s`.
    pub settings: Vec<String>,
    /// Whose certificates it trusts, instead of those that this machine does.
    pub trusts: Option<PathBuf>,
    child: Option<Child>,
}

/// What a command printed.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl ControlPlane {
    /// Made, not started.
    pub fn new() -> Self {
        let [agents_port, operators_port, http_port] = free_ports();
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            agents_port,
            operators_port,
            http_port,
            advertise: None,
            clock: None,
            settings: Vec::new(),
            trusts: None,
            child: None,
        }
    }

    pub fn started() -> Self {
        let mut made = Self::new();
        made.start();
        made
    }

    /// Started, with plugins pushed.
    pub fn with_plugins(names: &[&str]) -> Self {
        let made = Self::started();
        for name in names {
            made.ctl_ok(&["plugin", "push", &crate::plugin(name).display().to_string()]);
        }
        made
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn context_file(&self) -> PathBuf {
        self.path("contexts.toml")
    }

    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    pub fn spawn(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = with_clock(self.clock.as_deref(), &program("hostler-control-plane"));
        let listen = |port: u16| format!("127.0.0.1:{port}");
        command.arg("--data-dir").arg(self.path("data"));
        command.args(["--agents-listen", &listen(self.agents_port)]);
        command.args(["--operators-listen", &listen(self.operators_port)]);
        command.args(["--http-listen", &listen(self.http_port)]);
        if let Some(address) = &self.advertise {
            command.args(["--advertise", address]);
        }
        command.arg("--context-file").arg(self.context_file()).args(&self.settings);
        if let Some(file) = &self.trusts {
            command.env("SSL_CERT_FILE", file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("start the control plane"));
    }

    pub fn wait_ready(&self) {
        wait_for("the control plane", READY, || {
            let ran = self.ctl(&["status"]);
            if ran.code == Some(0) { Ok(()) } else { Err((ran, self.log())) }
        });
    }

    /// As a crash ends it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As an operator ends it.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        terminate(&child);
        child.wait().ok().and_then(|status| status.code())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub fn ctl(&self, args: &[&str]) -> Ran {
        let mut command = with_clock(self.clock.as_deref(), &program("hostlerctl"));
        command.args(args).env("HOSTLER_CONTEXT_FILE", self.context_file()).stdin(Stdio::null());
        run(&mut command)
    }

    pub fn ctl_ok(&self, args: &[&str]) -> String {
        let ran = self.ctl(args);
        assert_eq!(ran.code, Some(0), "hostlerctl {args:?}: {ran:#?}");
        ran.out
    }

    pub fn ctl_json(&self, args: &[&str]) -> Value {
        let text = self.ctl_ok(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect(&text)
    }

    pub fn apply(&self, spec: &str) {
        let file = self.path("spec.yaml");
        fs::write(&file, spec).expect("write the spec");
        self.ctl_ok(&["apply", "-f", &file.display().to_string()]);
    }

    pub fn join_code(&self, args: &[&str]) -> String {
        let made = self.ctl_json(&[&["token", "create"], args].concat());
        made["code"].as_str().expect("a code").to_owned()
    }

    pub fn node_state(&self, name: &str) -> String {
        let nodes = self.ctl_json(&["node", "ls"]);
        let found = nodes.as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == name));
        found.and_then(|node| node["state"].as_str()).unwrap_or("absent").to_owned()
    }

    pub fn wait_node(&self, name: &str, state: &str, most: Duration) {
        wait_for(&format!("node {name} to be {state}"), most, || {
            let seen = self.node_state(name);
            if seen == state { Ok(()) } else { Err((seen, tail(&self.log()))) }
        });
    }

    /// A check as `check ls` shows it.
    pub fn check(&self, node: &str, check: &str) -> Value {
        let checks = self.ctl_json(&["check", "ls", "--node", node]);
        let found = checks.as_array().and_then(|all| all.iter().find(|one| one["check"] == check));
        found.cloned().unwrap_or_default()
    }

    pub fn wait_check(&self, node: &str, check: &str, state: &str, most: Duration) -> Value {
        wait_for(&format!("check {check} on {node} to be {state}"), most, || {
            let seen = self.check(node, check);
            if seen["state"] == state { Ok(seen) } else { Err(seen) }
        })
    }

    /// Every event kept, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let text = self.ctl_ok(&["events", "-n", "10000", "-o", "json"]);
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// `passing -> critical` of each transition of a check, oldest first.
    pub fn transitions(&self, node: &str, check: &str) -> Vec<String> {
        let of_check = |event: &Value| event["kind"] == "check" && event["node"] == node && event["subject"] == check;
        let step = |event: &Value| {
            event["message"].as_str().unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
        };
        self.events().iter().filter(|event| of_check(event)).map(step).collect()
    }

    pub fn contexts(&self) -> Contexts {
        Contexts::parse(&fs::read_to_string(self.context_file()).expect("a context file")).expect("readable")
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- control plane's log ---\n{}", tail(&self.log()));
        }
    }
}

pub fn tail(log: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}

/// By the library and not by the `faketime` command, which would stand between
/// us and the program that is to be killed.
pub fn with_clock(clock: Option<&str>, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(shift) = clock {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
        assert!(Path::new(&library).exists(), "{library} is missing: apt-get install faketime");
        // Time spans are still real: only the calendar moves.
        command.env("LD_PRELOAD", library).env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    command
}

pub fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("run a program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub fn terminate(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}
