//! Where there is no systemd: the executor is the parent of a service's process, in
//! a session of its own, and writes down which process is which, so that it finds
//! them again after its own restart.

use crate::account::Account;
use crate::launch::Launch;
use crate::protocol::{Done, Ended, Process, Unit};
use cgroup::Groups;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

mod cgroup;
mod notify;
mod sessions;

/// After the kill: what can't be killed waits for a disk or a network share.
const KILLED_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub struct Parent {
    net: Option<RawFd>,
    folder: PathBuf,
    children: RefCell<BTreeMap<String, Rc<Child>>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    /// In ticks since the host started: with the pid, one process only.
    started: u64,
    stop_signal: String,
    grace_ms: u64,
    groups: Groups,
}

struct Child {
    record: Record,
    ended: watch::Sender<Option<Ended>>,
}

impl Child {
    fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    fn pid(&self) -> Option<u32> {
        (!self.is_over()).then(|| u32::try_from(self.record.pid).ok()).flatten()
    }

    async fn over(&self) {
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }

    fn unit(&self, name: &str) -> Unit {
        let ended = self.ended.borrow().clone();
        let well = ended.as_ref().is_none_or(|ended| ended.result == "success");
        let (active, sub) = match (&ended, well) {
            (None, _) => ("active", "running"),
            (Some(_), true) => ("active", "exited"),
            (Some(_), false) => ("failed", "failed"),
        };
        Unit {
            name: name.to_owned(),
            load: "loaded".into(),
            active: active.into(),
            sub: sub.into(),
            pid: self.pid(),
            ended,
        }
    }
}

impl Parent {
    /// Finds again what ran before.
    pub fn new(net: Option<RawFd>, runtime: &Path) -> Result<Self, String> {
        let folder = runtime.join("processes");
        crate::files::make_own(&folder)?;
        let parent = Self { net, folder, children: RefCell::default() };
        let entries =
            std::fs::read_dir(&parent.folder).map_err(|error| format!("list {}: {error}", parent.folder.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let read = std::fs::read(entry.path()).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            match read {
                Some(record) => parent.adopt(name, record),
                None => eprintln!("hostler-executor: {} can't be read, and is left out", entry.path().display()),
            }
        }
        Ok(parent)
    }

    /// Nobody learns how it ends: its exit status goes to another parent.
    fn adopt(&self, name: String, record: Record) {
        let unknown = || Ended { result: "unknown".into(), known: false, ..Ended::default() };
        let lives = sessions::started(record.pid) == Some(record.started);
        let descriptor = Pid::from_raw(record.pid).filter(|_| lives);
        let descriptor = descriptor.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        let child = Rc::new(Child { record, ended: watch::Sender::new(descriptor.is_none().then(unknown)) });
        self.children.borrow_mut().insert(name, Rc::clone(&child));
        if let Some(descriptor) = descriptor {
            tokio::task::spawn_local(async move {
                // Of another's child, that is when it ended.
                crate::wait::readable(descriptor).await;
                let ended = child.record.groups.explain(unknown());
                child.ended.send_replace(Some(ended));
            });
        }
    }

    pub async fn start_process(
        &self,
        unit: &str,
        process: &Process,
        account: Option<&Account>,
        output: &File,
    ) -> Result<Done, String> {
        if let Some(child) = self.child(unit) {
            if let Some(pid) = child.pid() {
                return Ok(Done { pid: Some(pid), already: true, ..Done::default() });
            }
            // What its main process left behind would be in the way.
            self.clear(unit, &child).await?;
        }
        let (groups, unkept) = Groups::make(unit, &process.limits);
        let mut launch = Launch {
            net: self.net,
            folder: Some(process.folder.as_deref().unwrap_or("/").into()),
            files: process.limits.files,
            umask: Some(0o022),
            cgroups: groups.folders(),
            session: true,
            ..Launch::default()
        };
        if let Some(account) = account {
            launch = launch.user(account);
        }
        let ready = if process.ready_notify { Some(notify::Ready::new(&self.folder, unit)?) } else { None };
        let (pid, mut child) =
            self.spawn(&launch, process, account, ready.as_ref(), output).await.inspect_err(|_| groups.remove())?;
        let record = Record {
            pid,
            started: sessions::started(pid).unwrap_or_default(),
            stop_signal: process.stop_signal.clone(),
            grace_ms: process.grace_ms,
            groups,
        };
        let written = serde_json::to_vec(&record).map_err(|error| error.to_string());
        written.and_then(|bytes| {
            crate::files::Place::of(&self.folder.join(unit))?.put(&bytes, None, Some(0o600), |_| Ok(()))
        })?;
        let known = Rc::new(Child { record, ended: watch::Sender::new(None) });
        self.children.borrow_mut().insert(unit.to_owned(), Rc::clone(&known));
        let watched = Rc::clone(&known);
        tokio::task::spawn_local(async move {
            let ended = match child.wait().await {
                Ok(status) => explained(status),
                Err(_) => Ended { result: "unknown".into(), known: false, ..Ended::default() },
            };
            watched.ended.send_replace(Some(watched.record.groups.explain(ended)));
        });
        if let Some(ready) = ready {
            tokio::select! {
                said = ready.said() => said.map_err(|words| format!("{unit}: {words}"))?,
                () = known.over() => return Err(format!("{unit} ended before it was ready; see {}", process.output.display())),
            }
        }
        let ended = known.ended.borrow().clone();
        Ok(Done { pid: known.pid(), changed: true, ended, text: unkept, ..Done::default() })
    }

    async fn spawn(
        &self,
        launch: &Launch,
        process: &Process,
        account: Option<&Account>,
        ready: Option<&notify::Ready>,
        output: &File,
    ) -> Result<(i32, tokio::process::Child), String> {
        use tokio::io::AsyncReadExt;
        let failed =
            |error: std::io::Error| format!("start {}: {error}", crate::launch::program(&process.command).display());
        let (output, both) = (output.try_clone().map_err(failed)?, output.try_clone().map_err(failed)?);
        let (reader, status) = std::io::pipe().map_err(failed)?;
        let mut command = tokio::process::Command::from(launch.command(&process.command)?);
        command.stdin(Stdio::from(status)).stdout(output).stderr(both).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(account) = account {
            command.env("HOME", &account.home).env("USER", &account.name).env("LOGNAME", &account.name);
        }
        if let Some(ready) = ready {
            command.env("NOTIFY_SOCKET", ready.path());
        }
        command.envs(process.env.iter());
        let mut child = command.spawn().map_err(failed)?;
        drop(command);
        let mut words = String::new();
        let mut reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
        reader.read_to_string(&mut words).await.map_err(failed)?;
        if !words.is_empty() {
            let _ = child.wait().await;
            return Err(words);
        }
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Ok((pid.ok_or("the process is gone already")?, child))
    }

    fn child(&self, unit: &str) -> Option<Rc<Child>> {
        self.children.borrow().get(unit).cloned()
    }

    /// The signal to all of it, and when its grace is over the kill. Answered when
    /// nothing of it is left.
    pub async fn stop(&self, unit: &str) -> Result<Done, String> {
        let Some(child) = self.child(unit) else { return Ok(Done { already: true, ..Done::default() }) };
        let already = child.is_over();
        if !already {
            let signal = crate::signals::find(&child.record.stop_signal).unwrap_or(Signal::TERM);
            sessions::signal(child.record.pid, child.record.started, signal);
            let grace = Duration::from_millis(child.record.grace_ms);
            let _ = tokio::time::timeout(grace, child.over()).await;
        }
        let ended = self.clear(unit, &child).await?;
        Ok(Done { already, changed: !already, ended, ..Done::default() })
    }

    /// Kills what is left, and forgets it.
    async fn clear(&self, unit: &str, child: &Child) -> Result<Option<Ended>, String> {
        let record = &child.record;
        let all_gone = async {
            loop {
                let left = sessions::signal(record.pid, record.started, Signal::KILL) + record.groups.kill();
                if left == 0 && child.is_over() {
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(KILLED_MAX, all_gone).await.is_err() {
            return Err(format!(
                "{unit} was killed, and does not end: it may wait for a disk; see ps -o pid,stat,wchan"
            ));
        }
        record.groups.remove();
        let _ = std::fs::remove_file(self.folder.join(unit));
        self.children.borrow_mut().remove(unit);
        Ok(child.ended.borrow().clone())
    }

    pub fn kill(&self, unit: &str, signal: Signal) -> Result<Done, String> {
        let child = self.child(unit).filter(|child| !child.is_over());
        let pid = child.and_then(|child| Pid::from_raw(child.record.pid));
        let pid = pid.ok_or_else(|| format!("{unit} does not run"))?;
        rustix::process::kill_process(pid, signal).map_err(|error| format!("signal {unit}: {error}"))?;
        Ok(Done { changed: true, ..Done::default() })
    }

    pub async fn reset_failed(&self, unit: &str) -> Result<Done, String> {
        match self.child(unit).filter(|child| child.is_over()) {
            Some(child) => self.clear(unit, &child).await.map(|_| Done { changed: true, ..Done::default() }),
            None => Ok(Done { already: true, ..Done::default() }),
        }
    }

    pub fn inspect(&self, unit: &str) -> Option<Unit> {
        self.child(unit).map(|child| child.unit(unit))
    }

    pub fn list(&self) -> Vec<Unit> {
        self.children.borrow().iter().map(|(name, child)| child.unit(name)).collect()
    }
}

fn explained(status: ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    let (code, signal) = (status.code(), status.signal());
    let result = match (code, signal) {
        (Some(0), _) => "success",
        (_, Some(_)) if status.core_dumped() => "core-dump",
        (_, Some(_)) => "signal",
        _ => "exit-code",
    };
    Ended { code, signal, result: result.into(), known: true, memory_peak_bytes: None }
}
