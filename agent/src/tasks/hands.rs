//! What a step does on the host, mostly through the executor.

use super::bring::{Brings, folder_of};
use super::plugin::Plugins;
use super::reboot;
use crate::executor::{Executor, Lost};
use crate::services::{self, Contents, HOME_MODE, OUTPUT_FOLDER_MODE, process, user_default};
use crate::vault::Vault;
use hostler_agent_core::supervision;
use hostler_agent_core::tasks::{Fate, GRACE, OnHost, Output, Stands, step_of, unit_of};
use hostler_executor::account;
use hostler_executor::protocol::{Act, Content, Done, Ended, Environment, Limits, Outcome, Process, Unit};
use hostler_types::service::FileAssignment;
use hostler_types::spec::{Packages, Reboot};
use hostler_types::task::{Command, SystemUser};
use hostler_types::time::whole_millis;
use hostler_types::{Name, ServiceVerb, TaskId};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

const SCRIPT_MODE: u32 = 0o755;
/// For its program alone.
const OWN_FOLDER_MODE: u32 = 0o700;
const ROOT: &str = "root";
/// Between the end of a program and the word of it: its parent is about to know.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 500;
/// After a question that was not answered.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// As much as a report carries.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;

/// Nothing: the executor is gone, and the agent with it; what is left is looked at then.
pub type Unfit = Option<Fate>;

#[derive(Clone)]
pub struct Hands {
    pub executor: Executor,
    pub vault: Arc<Vault>,
    pub output: PathBuf,
    pub scripts: Contents,
    pub services: mpsc::Sender<services::Ask>,
    pub plugins: Plugins,
}

impl Hands {
    pub(super) async fn done(&self, act: Act) -> Result<Done, Unfit> {
        match self.executor.ask(act).await {
            Ok(Outcome::Done(done)) => Ok(done),
            // It waited for another that took long, and was not done.
            Ok(Outcome::Refused { rule, words }) if rule == "expired" => Err(Some(Fate::Unknown(words))),
            Ok(Outcome::Refused { words, .. }) => Err(Some(Fate::Refused(words))),
            Ok(Outcome::Failed { words }) => Err(Some(Fate::Failed(words))),
            Err(Lost) => Err(None),
        }
    }

    /// What is there. A question that fails says nothing of that, and is asked until it is answered.
    async fn seen(&self, question: Act) -> Option<Vec<Unit>> {
        loop {
            match self.done(question.clone()).await {
                Ok(Done { units, .. }) => return Some(units),
                Err(None) => return None,
                Err(Some(why)) => tracing::warn!(?why, "units of tasks can't be looked at: asked again"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    pub fn log_of(&self, id: &TaskId) -> PathBuf {
        self.output.join(format!("task.{id}.log"))
    }

    fn script_of(&self, id: &TaskId, step: u32) -> PathBuf {
        self.output.join(format!("task.{id}.{step}.script"))
    }

    /// What upgrades print: told only where one fails, and kept as long as the rest.
    pub fn upgrade_log_of(&self, id: &TaskId) -> PathBuf {
        self.output.join(format!("task.{id}.packages.log"))
    }

    async fn output_folder(&self) -> Result<(), Unfit> {
        if !self.output.is_dir() {
            let mode = Some(OUTPUT_FOLDER_MODE);
            self.done(Act::MakeFolder { path: self.output.clone(), owner: None, mode }).await?;
        }
        Ok(())
    }

    pub async fn start(&self, id: &TaskId, step: u32, command: Command) -> Result<(), Unfit> {
        self.output_folder().await?;
        let Command { argv, script, user, env, free, fetch } = command;
        let env = services::resolved(&self.vault, &env);
        let env = env.map_err(|words| Some(Fate::Failed(format!("its environment: {words}"))))?;
        let user = match user {
            Some(user) => Some(user),
            None => self.user().await?,
        };
        let command = match script {
            Some(digest) => self.script(id, step, &digest, argv).await?,
            None => program(argv).map_err(|words| Some(Fate::Failed(words)))?,
        };
        let folder = match fetch.as_slice() {
            [] => None,
            _ => Some(self.own_folder(id, step, user.clone()).await?),
        };
        let process = Process {
            command,
            user,
            folder: folder.as_ref().map(|folder| folder.to_string_lossy().into_owned()),
            env: Environment(env),
            limits: Limits::default(),
            stop_signal: "SIGTERM".to_owned(),
            grace_ms: whole_millis(GRACE),
            output: self.log_of(id),
            ready_notify: false,
            free,
        };
        let started = self.done(Act::StartProcess { unit: unit_of(id, step), process }).await;
        if let (Err(Some(_)), Some(folder)) = (&started, folder) {
            self.remove(folder).await;
        }
        match started {
            Ok(_) => Ok(()),
            // What expired was not begun.
            Err(Some(Fate::Unknown(words))) => Err(Some(Fate::Failed(words))),
            Err(unfit) => Err(unfit),
        }
    }

    /// What it writes there by name comes back by that name.
    async fn own_folder(&self, id: &TaskId, step: u32, owner: Option<String>) -> Result<PathBuf, Unfit> {
        let path = folder_of(&self.output, id, step);
        self.done(Act::MakeFolder { path: path.clone(), owner, mode: Some(OWN_FOLDER_MODE) }).await?;
        Ok(path)
    }

    /// Whom services run as that name nobody: never the agent itself.
    async fn user(&self) -> Result<Option<String>, Unfit> {
        let user = user_default();
        if let Some(name) = user.as_ref().filter(|name| account::find(name).is_err()) {
            self.done(Act::MakeUser { name: name.clone(), home: None, groups: Vec::new() }).await?;
        }
        Ok(user)
    }

    async fn script(&self, id: &TaskId, step: u32, digest: &str, argv: Vec<String>) -> Result<Vec<String>, Unfit> {
        let content = self.scripts.get(digest).await;
        let content = content.map_err(|words| Some(Fate::Failed(format!("its script: {words}"))))?;
        let path = self.script_of(id, step);
        let put = Act::PutFile {
            path: path.clone(),
            content_base64: Content(content),
            owner: None,
            mode: Some(SCRIPT_MODE),
            validate: None,
            user: None,
        };
        self.done(put).await?;
        Ok(std::iter::once(path.to_string_lossy().into_owned()).chain(argv).collect())
    }

    /// Until its program has ended, and what it brings is taken.
    pub async fn follow(&self, id: &TaskId, step: u32, brings: Option<Brings>) -> Option<(Fate, Option<Output>)> {
        let (fate, output) = self.end_of(id, step).await?;
        Some((fate, self.bring(id, step, output, brings).await?))
    }

    async fn end_of(&self, id: &TaskId, step: u32) -> Option<(Fate, Option<Output>)> {
        for _ in 0..LOOKS_MAX {
            let unit = self.seen(Act::Inspect { unit: unit_of(id, step) }).await?.into_iter().next();
            let gone = || Fate::Unknown("somebody removed its unit, and nobody knows how it ended".to_owned());
            let Some(Unit { pid, ended, .. }) = unit else { return Some((gone(), self.output(id).await)) };
            match (pid, ended) {
                (Some(pid), _) => process::ended(pid).await,
                (None, Some(ended)) => return Some((fate(&ended), self.output(id).await)),
                (None, None) => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Some((Fate::Unknown("nobody says how it ended".to_owned()), self.output(id).await))
    }

    /// With all that it started, and what it needed.
    pub async fn stop(&self, id: &TaskId, step: u32, brings: Option<Brings>) -> Option<(Fate, Option<Output>)> {
        let unit = unit_of(id, step);
        let fate = match self.done(Act::Stop { unit: unit.clone() }).await {
            Ok(Done { ended: Some(ended), .. }) => fate(&ended),
            Ok(_) => Fate::Unknown("it was stopped".to_owned()),
            Err(unfit) => unfit?,
        };
        let output = self.bring(id, step, self.output(id).await, brings).await?;
        // Where systemd remembers how it failed, it is told to forget that.
        let _ = self.done(Act::ResetFailed { unit }).await;
        self.remove(self.script_of(id, step)).await;
        self.remove(folder_of(&self.output, id, step)).await;
        Some((fate, output))
    }

    pub async fn remove(&self, path: PathBuf) {
        if path.exists()
            && let Err(Some(Fate::Refused(words) | Fate::Failed(words))) = self.done(Act::RemoveOutput { path }).await
        {
            tracing::warn!(words, "what a task left can't be removed: remove it by hand");
        }
    }

    /// What was said so far.
    pub async fn output(&self, id: &TaskId) -> Option<Output> {
        self.last_of(self.log_of(id)).await
    }

    async fn last_of(&self, path: PathBuf) -> Option<Output> {
        let read = tokio::task::spawn_blocking(move || tail(&path)).await.ok()?;
        let Output { text, cut_bytes, files } = read.ok()?;
        Some(Output { text: self.vault.redact(text), cut_bytes, files })
    }

    /// The units of tasks that are there; of those that ended, what they bring.
    pub async fn on_host(&self, brings: impl Fn(&TaskId, u32) -> Option<Brings>) -> Vec<OnHost> {
        let mut all = Vec::new();
        if self.executor.is_absent() {
            return all;
        }
        // The agent ends too; what it did not see is not taken for gone.
        let Some(units) = self.seen(Act::List).await else { return std::future::pending().await };
        for Unit { name, pid, ended, .. } in units {
            let Some((id, step)) = step_of(&name) else { continue };
            let stands = match (pid, ended) {
                (None, Some(ended)) => {
                    let output = self.bring(&id, step, self.output(&id).await, brings(&id, step)).await;
                    let Some(output) = output else { return std::future::pending().await };
                    Stands::Ended { fate: fate(&ended), output }
                }
                _ => Stands::Runs,
            };
            all.push(OnHost { id, step, stands });
        }
        all
    }

    pub async fn service(&self, service: Name, verb: ServiceVerb, by: String, reason: String) -> Unfit {
        let (answer, answered) = oneshot::channel();
        self.services.send(services::Ask::Act { verb, service, by, reason, answer }).await.ok()?;
        let (outcome, words) = answered.await.ok()?;
        Some(match outcome {
            supervision::Outcome::Done => Fate::Done { words, changed: true },
            supervision::Outcome::Failed => Fate::Failed(words),
            supervision::Outcome::Refused => Fate::Refused(words),
        })
    }

    pub async fn upgrade(&self, id: &TaskId, which: Packages) -> (Unfit, Option<Output>) {
        let log = self.upgrade_log_of(id);
        match self.upgraded(which, log.clone()).await {
            Ok(Done { changed: true, text, .. }) => {
                (Some(Fate::Done { words: format!("upgraded {}", text.unwrap_or_default()), changed: true }), None)
            }
            Ok(_) => (Some(Fate::Done { words: "nothing to upgrade".to_owned(), changed: false }), None),
            Err(unfit @ Some(Fate::Failed(_))) => (unfit, self.last_of(log).await),
            Err(unfit) => (unfit, None),
        }
    }

    async fn upgraded(&self, which: Packages, output: PathBuf) -> Result<Done, Unfit> {
        self.output_folder().await?;
        self.done(Act::UpgradePackages { security_only: which == Packages::Security, output }).await
    }

    /// A home of another user's is never given away, and one that is there is not moved.
    pub async fn make_user(&self, user: SystemUser) -> Result<Fate, Unfit> {
        let SystemUser { name, home, groups } = user;
        if let (Ok(found), Some(home)) = (account::find(&name), &home)
            && found.home != *home
        {
            let words = format!(
                "the user {name} is there, with the home {} and not {home}: change that by hand, with usermod --home, \
                 while nothing runs as {name}",
                found.home
            );
            return Err(Some(Fate::Failed(words)));
        }
        let home = home.map(PathBuf::from);
        let Done { changed, text, .. } =
            self.done(Act::MakeUser { name: name.clone(), home: home.clone(), groups }).await?;
        let folder = home.filter(|home| !home.is_dir());
        if let Some(path) = folder.clone() {
            self.done(Act::MakeFolder { path, owner: Some(name), mode: Some(HOME_MODE) }).await?;
        }
        let made = folder.map(|path| format!("made {}", path.display()));
        let words = text.into_iter().chain(made).collect::<Vec<_>>();
        Ok(Fate::Done { changed: changed || !words.is_empty(), words: words.join(", ") })
    }

    pub async fn put_file(&self, file: FileAssignment) -> Result<Fate, Unfit> {
        let failed = |words| Some(Fate::Failed(words));
        let content = services::filled_in(&self.scripts, &self.vault, &file).await;
        let content = content.map_err(|trouble| failed(trouble.into_words()))?;
        let validate = services::validate(&self.vault, &file, None).map_err(failed)?;
        let mode = Some(services::mode_of(&file));
        // Whoever owns it may check it; of root's, only well-known programs do.
        let user = validate.as_ref().and(file.owner.clone()).filter(|owner| owner != ROOT);
        let put = Act::PutFile {
            path: PathBuf::from(&file.path),
            content_base64: Content(content),
            owner: file.owner.or_else(|| services::by_root().then(|| ROOT.to_owned())),
            mode,
            validate,
            user,
        };
        let done = self.done(put).await.map_err(|unfit| match unfit {
            // What a check prints of a file may be what nobody is to read.
            Some(Fate::Failed(words)) => Some(Fate::Failed(self.vault.redact(words))),
            unfit => unfit,
        })?;
        let words = if done.changed { format!("put {}", file.path) } else { String::new() };
        Ok(Fate::Done { words, changed: done.changed })
    }

    /// One that is on its way says nothing.
    pub async fn reboot(&self, when: Reboot) -> Unfit {
        let why = match when {
            Reboot::Always => "always".to_owned(),
            Reboot::IfNeeded => match tokio::task::spawn_blocking(reboot::needed).await {
                Ok(Some(why)) => why,
                Ok(None) => return Some(Fate::Done { words: "no reboot is needed".to_owned(), changed: false }),
                Err(error) => return Some(Fate::Failed(error.to_string())),
            },
        };
        tracing::info!(why, "the host is rebooted");
        self.done(Act::Reboot).await.err().flatten()
    }
}

fn program(argv: Vec<String>) -> Result<Vec<String>, String> {
    let mut words = argv.into_iter();
    let program = words.next().ok_or("it names no program")?;
    if !program.starts_with('/') && program.contains('/') {
        return Err(format!("{program} is named from a folder that is not known: begin it with /"));
    }
    Ok(std::iter::once(process::found(program)?).chain(words).collect())
}

fn fate(ended: &Ended) -> Fate {
    match (ended.code, ended.signal) {
        _ if ended.result == "oom-kill" => Fate::OutOfMemory,
        (Some(code), _) => Fate::Exit(code),
        (None, Some(signal)) => Fate::Signal(signal),
        (None, None) => Fate::Unknown("it ended while nobody was there who could have learned how".to_owned()),
    }
}

/// The last of what it printed, from the beginning of a character.
fn tail(path: &Path) -> io::Result<Output> {
    let mut file = std::fs::File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(OUTPUT_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let torn = if from > 0 { bytes.iter().take_while(|byte| **byte & 0xc0 == 0x80).count() } else { 0 };
    let text = String::from_utf8_lossy(bytes.get(torn..).unwrap_or_default()).into_owned();
    Ok(Output { text, cut_bytes: from + torn as u64, files: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_the_output_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "well\n").expect("written");
        assert_eq!(tail(&path).expect("read"), Output { text: "well\n".into(), ..Output::default() });
        std::fs::write(&path, format!("{}end", "ä".repeat(OUTPUT_BYTES_MAX))).expect("written");
        let Output { text, cut_bytes, .. } = tail(&path).expect("read");
        assert!(text.starts_with('ä') && text.ends_with("end"), "{}", &text[..10]);
        assert_eq!(text.len() as u64 + cut_bytes, 2 * OUTPUT_BYTES_MAX as u64 + 3);
    }

    #[test]
    fn programs_are_named_whole_or_searched_for() {
        let argv = |words: &[&str]| program(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(argv(&["/bin/x", "a b"]), Ok(vec!["/bin/x".to_owned(), "a b".to_owned()]));
        assert!(argv(&["sh", "-c"]).is_ok_and(|words| words[0].ends_with("/sh")));
        assert!(argv(&["bin/x"]).is_err_and(|words| words.contains("begin it with /")));
        assert!(argv(&["no-such-program-here"]).is_err());
    }

    #[test]
    fn ends_are_told_apart() {
        let ended = |code, signal, result: &str| Ended { code, signal, result: result.into(), ..Ended::default() };
        assert_eq!(fate(&ended(Some(3), None, "exit-code")), Fate::Exit(3));
        assert_eq!(fate(&ended(None, Some(9), "oom-kill")), Fate::OutOfMemory);
        assert_eq!(fate(&ended(None, Some(15), "signal")), Fate::Signal(15));
        assert!(matches!(fate(&ended(None, None, "unknown")), Fate::Unknown(_)));
    }
}
