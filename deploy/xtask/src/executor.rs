//! The agent under its executor, as on a host, with all that they keep in one folder.
//!
//! It is the parent of services also where systemd runs: nothing of a demo belongs
//! into a developer's own system.

use crate::packages::is_root;
use crate::process::wait_until;
use crate::workspace::Programs;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Whom a root's agent runs as, and what its demo runs as: there is either on every
/// Linux, and neither is made for this.
const AGENT_USER: &str = "daemon";
pub const SERVICE_USER: &str = "nobody";
/// Longer than what `up` runs takes to end.
const END_MAX: Duration = Duration::from_secs(5);

pub struct Executor {
    dir: PathBuf,
}

struct Account {
    uid: u32,
    gid: u32,
}

/// A service's process, as the executor wrote it down.
#[derive(Debug, PartialEq)]
struct Process {
    pid: u32,
    /// In ticks since the host started: with the pid, one process only.
    started: u64,
    groups: Vec<PathBuf>,
}

impl Executor {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn runtime(&self) -> PathBuf {
        self.dir.join("executor")
    }

    /// What `prepare` wrote, and how both halves are started.
    pub fn command(&self, programs: &Programs, config: &Path) -> Command {
        let mut command = Command::new(&programs.executor);
        command.args(["run", "--parent", "--runtime-dir"]).arg(self.runtime());
        command.arg("--policy").arg(self.dir.join("policy.toml")).arg("--agent-config").arg(config);
        if is_root() {
            command.args(["--user", AGENT_USER]);
        }
        command.arg("--").arg(&programs.agent).arg("run").arg("--config").arg(config);
        command
    }

    /// A policy of its own, and the agent's state for the agent.
    pub fn prepare(&self, programs: &Programs, state: &Path, policy: &str) -> Result<()> {
        let file = self.dir.join("policy.toml");
        if !file.exists() {
            let text = format!("# What this host lets Hostler do; read anew at every request.\nprofile = {policy:?}\n");
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            fs::set_permissions(&file, Permissions::from_mode(0o644)).context("set the policy's mode")?;
        }
        if !is_root() {
            return Ok(());
        }
        let account = account(AGENT_USER)?;
        can_run(&programs.agent, &account)?;
        give(state, &account)
    }

    /// The processes of services, which outlive the executor.
    pub fn services(&self) -> Vec<u32> {
        self.processes().into_iter().map(|one| one.pid).collect()
    }

    fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir(self.runtime().join("processes")).into_iter().flatten().flatten();
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        entries.filter_map(|entry| process(&read(entry.path())?)).filter(Process::lives).collect()
    }

    /// With the executor gone: else it would start them again.
    pub fn end_services(&self) -> Result<bool> {
        let processes = self.processes();
        let signal = |one: &Process, signal| {
            // Each is the leader of a session of its own.
            let group = i32::try_from(one.pid).ok().and_then(Pid::from_raw);
            group.map(|group| kill_process_group(group, signal));
        };
        processes.iter().for_each(|one| signal(one, Signal::TERM));
        if wait_until(END_MAX, || !processes.iter().any(Process::lives)).is_err() {
            processes.iter().for_each(|one| signal(one, Signal::KILL));
            wait_until(END_MAX, || !processes.iter().any(Process::lives)).context("kill the demo's process")?;
        }
        let _ = fs::remove_dir_all(self.runtime().join("processes"));
        // They can't be removed while something is in them.
        let folders = processes.iter().flat_map(|one| &one.groups);
        let _ =
            wait_until(END_MAX, || folders.clone().all(|folder| fs::remove_dir(folder).is_ok() || !folder.exists()));
        Ok(!processes.is_empty())
    }
}

impl Process {
    fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

fn process(record: &Value) -> Option<Process> {
    let folders = record.pointer("/groups/folders").and_then(Value::as_array);
    let groups = folders.into_iter().flatten().filter_map(|one| one.as_str().map(PathBuf::from)).collect();
    let pid = record.get("pid")?.as_u64()?.try_into().ok()?;
    Some(Process { pid, started: record.get("started")?.as_u64()?, groups })
}

/// Nothing of one that has ended and that nobody waited for yet.
fn started(pid: u32) -> Option<u64> {
    const STARTED: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.clone().next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(STARTED)?.parse().ok()
}

fn account(name: &str) -> Result<Account> {
    let passwd = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (is_it, _) = (fields.next()? == name, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        is_it.then_some(Account { uid, gid })
    });
    found.with_context(|| {
        format!(
            "there is no user {name} on this machine, whom root's agent runs as: run this as another user than root"
        )
    })
}

fn can_run(program: &Path, account: &Account) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("--version").uid(account.uid).gid(account.gid).current_dir("/");
    let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(
        ran.is_ok_and(|status| status.success()),
        "root's agent runs as {AGENT_USER}, who can't start {}: put the source where everybody may read it, \
         or run this as another user than root",
        program.display()
    );
    Ok(())
}

fn give(path: &Path, account: &Account) -> Result<()> {
    let told = || format!("give {} to {AGENT_USER}", path.display());
    lchown(path, Some(account.uid), Some(account.gid)).with_context(told)?;
    if fs::symlink_metadata(path).with_context(told)?.is_dir() {
        for entry in fs::read_dir(path).with_context(told)? {
            give(&entry.with_context(told)?.path(), account)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_is_one_only_with_the_time_of_its_start() {
        let me = std::process::id();
        let record = json!({"pid": me, "started": started(me), "groups": {"folders": ["/sys/fs/cgroup/x"]}});
        let mut found = process(&record).unwrap();
        assert_eq!(found.groups, [PathBuf::from("/sys/fs/cgroup/x")]);
        assert!(found.lives());
        found.started += 1;
        assert!(!found.lives());
        assert_eq!(process(&json!({"pid": -1})), None);
    }

    #[test]
    fn what_runs_on_is_ended() {
        let dir = std::env::temp_dir().join(format!("xtask-executor-{}", std::process::id()));
        let executor = Executor::new(&dir);
        fs::create_dir_all(dir.join("executor/processes")).unwrap();
        assert!(!executor.end_services().unwrap());
        fs::create_dir_all(dir.join("executor/processes")).unwrap();
        let mut child = Command::new("sleep").arg("100").process_group(0).spawn().unwrap();
        let record = json!({"pid": child.id(), "started": started(child.id()), "groups": {"folders": []}});
        fs::write(dir.join("executor/processes/hostler-hello-0.service"), record.to_string()).unwrap();
        assert_eq!(executor.services(), [child.id()]);
        let waits = std::thread::spawn(move || child.wait());
        assert!(executor.end_services().unwrap());
        assert!(!waits.join().unwrap().unwrap().success());
        assert!(!executor.end_services().unwrap());
        fs::remove_dir_all(dir).unwrap();
    }
}
