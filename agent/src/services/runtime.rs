//! From what the supervisor decides to what the executor is asked, and back from what
//! it answers.

use super::files::Contents;
use super::{containers, process};
use crate::executor::{Executor, Lost};
use crate::vault::Vault;
use hostler_agent_core::supervision::{DROP_IN, End, How, Key, Seen, Trouble, UNIT_FOLDER};
use hostler_executor::account;
use hostler_executor::protocol::{Act, Done, Ended, Environment, Limits, Open, Outcome, Process, Unit, WRITTEN};
use hostler_types::ServiceAssignment;
use hostler_types::service::{Program, Runs};
use hostler_types::spec::{Restarter, names_secret};
use hostler_types::time::whole_millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As many as ride on an act.
pub(super) const TAIL_LINES: u32 = 50;
/// What programs say of a port that another has.
const PORT_TAKEN: [&str; 3] = ["in use", "EADDRINUSE", "ddress already used"];
/// What runs a host's services makes room for their output here.
pub const OUTPUT_FOLDER_MODE: u32 = 0o755;
pub(super) const DROP_IN_TEXT: &str = "[Service]\nRestart=no\n";
/// Whoever runs what no user is named for: never the agent itself, whose keys it could
/// read then.
const USER_DEFAULT: &str = "hostler-run";
/// What only a service's user and its agent read.
pub const HOME_MODE: u32 = 0o755;
pub(super) const DIR_MODE: u32 = 0o750;

/// The means to act on services: cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub executor: Executor,
    pub vault: Arc<Vault>,
    pub output: PathBuf,
    pub contents: Contents,
}

/// The unit that a replica runs as.
pub fn unit_of(key: &Key, service: Option<&ServiceAssignment>) -> String {
    match service.map(|one| &one.runs) {
        Some(Runs::Unit { name, .. } | Runs::Written { name, .. }) => name.clone(),
        _ => format!("hostler-{}-{}.service", key.service, key.replica),
    }
}

/// What of a program may name secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Texts {
    pub command: String,
    pub env: BTreeMap<String, String>,
}

pub fn is_own(service: Option<&ServiceAssignment>) -> bool {
    !matches!(service.map(|one| &one.runs), Some(Runs::Unit { .. } | Runs::Written { .. }))
}

impl Runtime {
    pub fn output_of(&self, key: &Key) -> PathBuf {
        self.output.join(format!("{}-{}.log", key.service, key.replica))
    }

    pub(super) async fn done(&self, act: Act) -> Result<Done, Trouble> {
        match self.executor.ask(act).await {
            Ok(Outcome::Done(done)) => Ok(done),
            // It waited for another that took long: not the policy's word.
            Ok(Outcome::Refused { rule, words }) if rule == "expired" => Err(Trouble::Lost(words)),
            Ok(Outcome::Refused { words, .. }) => Err(Trouble::Refused(words)),
            Ok(Outcome::Failed { words }) => Err(Trouble::Failed(words)),
            Err(Lost) => Err(Trouble::Lost("the executor is gone".to_owned())),
        }
    }

    pub async fn look(&self, key: &Key, service: Option<&ServiceAssignment>) -> Seen {
        let container = containers::of(service).is_some();
        let seen = if container { self.look_container(key, service).await } else { self.look_unit(key, service).await };
        if !is_own(service) || matches!(seen, Seen::Running { .. } | Seen::Coming) {
            return seen;
        }
        // It may run as the other kind still, that it was before its spec changed or went.
        let other = if container { self.look_unit(key, None).await } else { self.look_container(key, None).await };
        if matches!(other, Seen::Running { .. }) { other } else { seen }
    }

    async fn look_unit(&self, key: &Key, service: Option<&ServiceAssignment>) -> Seen {
        if let Some(Runs::Unit { name, restarter }) = service.map(|one| &one.runs) {
            self.one_restarter(name, *restarter).await;
        }
        let unit = match self.inspect(key, service).await {
            Ok(Some(unit)) => unit,
            Ok(None) | Err(_) => return Seen::Nothing,
        };
        if let Some(pid) = unit.pid {
            return Seen::Running { pid: Some(pid), age: process::age(pid) };
        }
        match (unit.active.as_str(), is_own(service), unit.ended) {
            ("activating" | "reloading" | "deactivating", _, _) => Seen::Coming,
            // Units that only start others have no process of their own.
            ("active", false, _) => Seen::Running { pid: None, age: None },
            (_, own, Some(ended)) if own || unit.active == "failed" => {
                Seen::Ended(self.end(key, service, Some(ended)).await)
            }
            _ => Seen::Nothing,
        }
    }

    /// Never two who start a unit again: by a drop-in that is there only while it is us.
    async fn one_restarter(&self, unit: &str, restarter: Restarter) {
        let path = Path::new(UNIT_FOLDER).join(format!("{unit}.d/{DROP_IN}.conf"));
        let text = (restarter == Restarter::Hostler).then(|| DROP_IN_TEXT.to_owned());
        if std::fs::read_to_string(path).ok() == text {
            return;
        }
        let act = Act::DropIn { unit: unit.to_owned(), name: DROP_IN.to_owned(), text };
        if let Err(trouble) = self.done(act).await {
            let words = trouble.into_words();
            tracing::warn!(unit, words, "who restarts this unit can't be settled: systemd may do it as well");
        }
    }

    async fn inspect(&self, key: &Key, service: Option<&ServiceAssignment>) -> Result<Option<Unit>, Trouble> {
        let done = self.done(Act::Inspect { unit: unit_of(key, service) }).await?;
        Ok(done.units.into_iter().next())
    }

    /// How a program that is gone ended; and what runs in its place, if something does.
    pub async fn ended(&self, key: &Key, service: Option<&ServiceAssignment>) -> (End, Option<u32>) {
        if let Some(program) = containers::of(service) {
            return self.container_ended(key, program).await;
        }
        let unit = self.inspect(key, service).await;
        let stopped = || End { how: How::Stopped, tail: Vec::new() };
        match unit {
            // Whoever stops a unit by hand makes systemd forget it, or calls it well.
            Ok(None) => (stopped(), None),
            Ok(Some(unit)) => {
                let well = unit.ended.as_ref().is_none_or(|ended| ended.result == "success");
                if unit.active == "inactive" && well && unit.pid.is_none() {
                    return (stopped(), None);
                }
                (self.end(key, service, unit.ended).await, unit.pid)
            }
            Err(_) => (End { how: How::Unknown, tail: Vec::new() }, None),
        }
    }

    async fn end(&self, key: &Key, service: Option<&ServiceAssignment>, ended: Option<Ended>) -> End {
        let limit = service.and_then(program).and_then(|one| one.limits.memory_bytes);
        let tail = self.tail(key, service, TAIL_LINES).await;
        let mut how = how(ended, limit);
        let in_use = || tail.iter().any(|line| PORT_TAKEN.iter().any(|words| line.contains(words)));
        if let (How::Exit(code @ 1..), Some(port)) = (&how, service.and_then(program).and_then(|one| one.port))
            && in_use()
            && let Ok(Done { text: Some(by), .. }) = self.done(Act::Listener { port }).await
        {
            how = How::PortTaken { code: *code, port, by };
        }
        End { how, tail }
    }

    /// What programs have open, as far as anybody can tell.
    pub async fn open(&self, pids: Vec<u32>) -> Vec<Open> {
        self.done(Act::Open { pids }).await.map(|done| done.open).unwrap_or_default()
    }

    pub async fn tail(&self, key: &Key, service: Option<&ServiceAssignment>, lines: u32) -> Vec<String> {
        let read = if containers::of(service).is_some() {
            self.container_tail(key, lines).await
        } else if is_own(service) {
            let path = self.output_of(key);
            let count = usize::try_from(lines).unwrap_or(usize::MAX);
            tokio::task::spawn_blocking(move || process::tail(&path, count)).await.ok().and_then(Result::ok)
        } else {
            let asked = self.done(Act::Tail { unit: unit_of(key, service), lines }).await;
            asked.ok().and_then(|done| done.text).map(|text| text.lines().map(str::to_owned).collect())
        };
        read.unwrap_or_default().into_iter().map(|line| self.vault.redact(line)).collect()
    }

    /// Its unit, if it has one of ours, was written before.
    pub async fn start(&self, key: &Key, service: &ServiceAssignment) -> Result<Option<u32>, Trouble> {
        let unit = unit_of(key, Some(service));
        match &service.runs {
            Runs::Unit { .. } | Runs::Written { .. } => {
                let done = self.done(Act::Start { unit }).await?;
                Ok(done.pid)
            }
            Runs::Process(program) => {
                self.prepare(program).await?;
                let process = self.process(key, service, program)?;
                // Without a pid it ended at once, which is no failure to start.
                Ok(self.done(Act::StartProcess { unit, process }).await?.pid)
            }
            Runs::Container { image, program } => self.start_container(key, service, image, program).await,
        }
    }

    /// Its user and its folders; what is there already is left as it is.
    pub(super) async fn prepare(&self, program: &Program) -> Result<(), Trouble> {
        let home = program.home.as_ref().map(PathBuf::from);
        let user = user_of(program);
        if let Some(user) = user.as_ref().filter(|user| account::find(user).is_err()) {
            self.done(Act::MakeUser { name: user.clone(), home: home.clone(), groups: Vec::new() }).await?;
        }
        let make = |path: PathBuf, mode| Act::MakeFolder { path, owner: user.clone(), mode: Some(mode) };
        if let Some(home) = home.as_ref().filter(|home| !home.is_dir()) {
            self.done(make(home.clone(), HOME_MODE)).await?;
        }
        for dir in &program.dirs {
            let path = home.as_deref().unwrap_or(Path::new("/")).join(dir);
            if !path.is_dir() {
                self.done(make(path, DIR_MODE)).await?;
            }
        }
        if !self.output.is_dir() {
            let mode = Some(OUTPUT_FOLDER_MODE);
            self.done(Act::MakeFolder { path: self.output.clone(), owner: None, mode }).await?;
        }
        Ok(())
    }

    /// With their secrets in place.
    pub(super) fn texts(&self, program: &Program) -> Result<Texts, Trouble> {
        let texts = Texts { command: program.command.clone(), env: program.env.clone() };
        let unreadable = |error| Trouble::Failed(format!("its command or environment can't be read: {error}"));
        let texts = serde_json::to_string(&texts).map_err(unreadable)?;
        let texts = self.vault.configure(&texts.into()).map_err(Trouble::Failed)?;
        serde_json::from_str(&texts).map_err(unreadable)
    }

    fn process(&self, key: &Key, service: &ServiceAssignment, program: &Program) -> Result<Process, Trouble> {
        let Texts { command, env } = self.texts(program)?;
        let command = process::command(&command, program.home.as_deref()).map_err(Trouble::Failed)?;
        Ok(Process {
            command,
            user: user_of(program),
            folder: program.home.clone(),
            env: Environment(env),
            limits: limits(program),
            stop_signal: signal(service),
            grace_ms: whole_millis(service.stop.grace),
            output: self.output_of(key),
            ready_notify: false,
            free: false,
        })
    }

    /// What a written unit of it runs.
    pub(super) fn process_of(&self, service: &ServiceAssignment, program: &Program) -> Result<Process, Trouble> {
        self.process(&Key { service: service.name.clone(), replica: 0 }, service, program)
    }

    pub async fn stop(&self, key: &Key, service: Option<&ServiceAssignment>) -> Result<(), Trouble> {
        if containers::of(service).is_some() {
            // Before its spec changed it may have been a process.
            let _ = self.done(Act::Stop { unit: unit_of(key, None) }).await;
            return self.stop_container(key, service).await;
        }
        if is_own(service) {
            self.stop_stray_container(key).await?;
        }
        self.done(Act::Stop { unit: unit_of(key, service) }).await.map(|_| ())
    }

    /// Takes away what was written for a service that is none of ours any more.
    pub async fn leave(&self, service: &ServiceAssignment) {
        let act = match &service.runs {
            Runs::Written { name, .. } => Act::RemoveUnit { unit: name.clone() },
            Runs::Unit { name, restarter: Restarter::Hostler } => {
                Act::DropIn { unit: name.clone(), name: DROP_IN.to_owned(), text: None }
            }
            Runs::Container { .. } => {
                for replica in 0..service.replicas {
                    self.sweep_container(&Key { service: service.name.clone(), replica }).await;
                }
                return;
            }
            Runs::Unit { .. } | Runs::Process(_) => return,
        };
        if let Err(trouble) = self.done(act).await {
            let words = trouble.into_words();
            tracing::warn!(service = %service.name, words, "what was written for a service can't be removed: remove it by hand");
        }
    }

    pub async fn reload(&self, key: &Key, service: Option<&ServiceAssignment>) -> Result<(), Trouble> {
        let unit = unit_of(key, service);
        if containers::of(service).is_some() {
            return self.reload_container(key).await;
        }
        if is_own(service) {
            return self.done(Act::Kill { unit, signal: "SIGHUP".to_owned() }).await.map(|_| ());
        }
        self.done(Act::Reload { unit }).await.map(|_| ())
    }
}

pub(super) fn program(service: &ServiceAssignment) -> Option<&Program> {
    match &service.runs {
        Runs::Process(program) | Runs::Written { program, .. } | Runs::Container { program, .. } => Some(program),
        Runs::Unit { .. } => None,
    }
}

/// `None` only where executor and agent are one user, as for whoever works on both.
pub(super) fn user_of(program: &Program) -> Option<String> {
    program.user.clone().or_else(user_default)
}

pub fn user_default() -> Option<String> {
    let apart = executor_uid() != Some(rustix::process::getuid().as_raw());
    apart.then(|| USER_DEFAULT.to_owned())
}

fn executor_uid() -> Option<u32> {
    let parent = rustix::process::getppid().map(|pid| format!("/proc/{}", pid.as_raw_nonzero()));
    parent.and_then(|path| std::fs::metadata(path).ok()).map(|one| MetadataExt::uid(&one))
}

/// Whether what is done here is done by root.
pub fn by_root() -> bool {
    executor_uid() == Some(0)
}

pub(super) fn limits(program: &Program) -> Limits {
    let limits = program.limits;
    Limits { memory_bytes: limits.memory_bytes, cpu: limits.cpu, files: limits.files, processes: limits.processes }
}

pub(super) fn signal(service: &ServiceAssignment) -> String {
    format!("SIG{}", service.stop.signal.word())
}

pub(super) fn how(ended: Option<Ended>, limit_bytes: Option<u64>) -> How {
    match ended {
        Some(Ended { result, memory_peak_bytes, .. }) if result == "oom-kill" => {
            How::OutOfMemory { limit_bytes, peak_bytes: memory_peak_bytes }
        }
        Some(Ended { code: Some(code), .. }) => How::Exit(code),
        Some(Ended { signal: Some(signal), .. }) => How::Signal(signal),
        _ => How::Unknown,
    }
}

/// How its unit is written, and the text that stands there then.
pub(super) fn unit_text_of(
    unit: &str,
    service: &ServiceAssignment,
    program: &Program,
    mut process: Process,
) -> (Act, String) {
    let is_secret = |name: &str| program.env.get(name).is_some_and(|text| names_secret(text));
    let (secret, open) = mem::take(&mut process.env.0).into_iter().partition(|(name, _)| is_secret(name));
    let text = unit_text(service, program, &process.command, &open);
    // With secrets, which are in memory only, nobody but the agent can start it.
    let enable = secret.is_empty();
    let write = Act::WriteUnit { unit: unit.to_owned(), text: text.clone(), enable, env: Environment(secret) };
    (write, text)
}

/// A unit that stands by itself when the agent is gone, and starts with the host.
fn unit_text(
    service: &ServiceAssignment,
    program: &Program,
    command: &[String],
    env: &BTreeMap<String, String>,
) -> String {
    let mut text = format!(
        "{WRITTEN} from the spec of service {0}; changes here are overwritten.\n[Unit]\nDescription={0}\n\
         After=network.target\n\n[Service]\nExecStart={1}\nRestart=no\nKillMode=mixed\nKillSignal=SIG{2}\n\
         TimeoutStopSec={3}ms\n",
        service.name,
        command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        service.stop.signal.word(),
        service.stop.grace.as_millis(),
    );
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!("{key}={value}\n"));
        }
    };
    line("User", user_of(program));
    line("WorkingDirectory", program.home.clone());
    for (key, value) in env {
        line("Environment", Some(quoted(&format!("{key}={value}"))));
    }
    line("MemoryMax", program.limits.memory_bytes.map(|one| one.to_string()));
    line("CPUQuota", program.limits.cpu.map(|one| format!("{:.0}%", one * 100.0)));
    line("LimitNOFILE", program.limits.files.map(|one| one.to_string()));
    line("TasksMax", program.limits.processes.map(|one| one.to_string()));
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}

/// As systemd reads it back.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    if escaped.contains([' ', '\t', '"', '\'', ';']) || escaped.is_empty() { format!("\"{escaped}\"") } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_what_systemd_says() {
        let ended = |code, signal, result: &str| {
            let result = result.to_owned();
            Some(Ended { code, signal, result, known: true, memory_peak_bytes: Some(9) })
        };
        assert_eq!(how(ended(Some(1), None, "exit-code"), None), How::Exit(1));
        assert_eq!(how(ended(None, Some(9), "signal"), None), How::Signal(9));
        let out = How::OutOfMemory { limit_bytes: Some(8), peak_bytes: Some(9) };
        assert_eq!(how(ended(None, Some(9), "oom-kill"), Some(8)), out);
        assert_eq!(how(None, None), How::Unknown);
    }

    #[test]
    fn words_reach_a_unit_as_they_are() {
        assert_eq!(quoted("/bin/x"), "/bin/x");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("50%$x"), "50%%$$x");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("say \"hi\""), "\"say \\\"hi\\\"\"");
    }
}
