//! Tasks on a host with an executor, which is the parent of what they run.

use crate::fake::Fake;
use crate::{Host, term};
use hostler_agent::clock;
use hostler_proto::agent::task_step::Does;
use hostler_proto::agent::{self as wire, to_agent};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const NOBODY: u32 = 65_534;
const STAMP: wire::Stamp = wire::Stamp { lineage: 1, term: 1, generation: 0 };

/// Beside the agent, if it was built; and only root can start it.
pub fn executor() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_hostler-agent")).with_file_name("hostler-executor");
    let usable = rustix::process::geteuid().is_root() && path.is_file();
    if !usable {
        eprintln!("not run: this needs root, and {}", path.display());
    }
    usable.then_some(path)
}

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("given");
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            give(&entry.path());
        } else {
            chown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("given");
        }
    }
}

impl Host {
    /// Joined, and run by an executor.
    pub async fn with_executor(fake: &Fake, executor: &Path) -> (Self, Child) {
        let host = Self::new();
        std::fs::set_permissions(host.folder.path(), PermissionsExt::from_mode(0o755)).expect("open");
        let settings = std::fs::read_to_string(host.path("agent.toml")).expect("there");
        std::fs::write(host.path("agent.toml"), format!("{settings}output_dir = {:?}\n", host.path("output")))
            .expect("written");
        std::fs::write(host.path("policy.toml"), "profile = \"operate\"\n").expect("written");
        assert!(host.join(fake).await.status.success());
        for folder in ["state", "run"] {
            std::fs::create_dir_all(host.path(folder)).expect("made");
            give(&host.path(folder));
        }
        let log = std::fs::File::create(host.path("log")).expect("a log");
        let mut command = Command::new(executor);
        command.args(["run", "--parent", "--user", "nobody", "--runtime-dir"]).arg(host.path("executor"));
        command.arg("--policy").arg(host.path("policy.toml")).arg("--agent-config").arg(host.path("agent.toml"));
        command.arg("--").arg(env!("CARGO_BIN_EXE_hostler-agent")).arg("run").arg("--config");
        command.arg(host.path("agent.toml")).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        (host, command.spawn().expect("starts"))
    }
}

pub fn shell(script: &str, free: bool) -> wire::TaskStep {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).into();
    let command = wire::TaskCommand { argv, user: "nobody".into(), free, ..wire::TaskCommand::default() };
    wire::TaskStep { does: Some(Does::Command(command)) }
}

/// Its executor starts another.
pub fn kill_agent(executor: &Child) {
    let pid = executor.id().expect("runs");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("there");
    let agent = children.split(' ').find_map(|child| {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        name.starts_with("hostler-agent").then(|| child.parse().ok()).flatten()
    });
    let agent = rustix::process::Pid::from_raw(agent.expect("an agent")).expect("a pid");
    rustix::process::kill_process(agent, rustix::process::Signal::KILL).expect("killed");
}

impl Fake {
    async fn offer(&self, id: &str, timeout: Duration, steps: Vec<wire::TaskStep>) {
        let offer = wire::TaskOffer {
            id: id.into(),
            stamp: Some(STAMP),
            title: id.into(),
            by: "ada".into(),
            reason: String::new(),
            steps,
            timeout_ms: timeout.as_millis() as u64,
            begin_by_ms: clock::wall().plus(Duration::from_secs(60)).as_millis(),
        };
        self.say(to_agent::Message::TaskOffer(offer)).await;
    }

    async fn end(&self, id: &str) -> wire::TaskReport {
        self.wait(id, |memory| !memory.ends(id).is_empty()).await;
        self.memory.lock().expect("unpoisoned").ends(id).remove(0)
    }

    async fn printed(&self, id: &str, text: &str) {
        let said = |one: &wire::TaskReport| one.id == id && one.state == "running" && one.output == text;
        self.wait("what it prints", |memory| memory.tasks.iter().any(said)).await;
    }
}

/// Ids are of one test each: control groups have a name on the whole host.
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn programs_of_tasks_run_and_are_ended() {
    let Some(executor) = executor() else { return };
    let (fake, _stop) = Fake::start().await;
    let (host, mut running) = Host::with_executor(&fake, &executor).await;
    fake.wait("a heartbeat", |memory| !memory.heartbeats.is_empty()).await;

    let steps = || vec![shell("id -un", false), shell("echo $((6 * 7)); exit 3", false), shell("echo no", false)];
    fake.offer("run-1-1", MINUTE, steps()).await;
    let end = fake.end("run-1-1").await;
    assert_eq!((end.state.as_str(), end.exit, end.done), ("failed", Some(3), 1), "{end:?}\n{}", host.log());
    assert!(
        end.words.starts_with("step 2 of 3, run echo $((6 * 7))") && end.words.ends_with(": exit 3"),
        "{}",
        end.words
    );
    assert_eq!(end.output, "nobody\n42\n");
    fake.offer("run-1-1", MINUTE, steps()).await;
    fake.wait("its end again", |memory| memory.ends("run-1-1") == [end.clone(), end.clone()]).await;

    fake.offer("run-1-2", Duration::from_secs(6), vec![shell("echo begun; sleep 604", false)]).await;
    fake.printed("run-1-2", "begun\n").await;
    assert!(host.status().await.contains("run-1-2: run echo begun; sleep 604"), "{}", host.status().await);
    let end = fake.end("run-1-2").await;
    assert_eq!((end.state.as_str(), end.output.as_str()), ("timed-out", "begun\n"), "{end:?}");

    fake.offer("run-1-3", MINUTE, vec![shell("trap 'echo asked; exit 0' TERM; echo begun; sleep 605 & wait", false)])
        .await;
    fake.printed("run-1-3", "begun\n").await;
    let cancel = wire::TaskCancel { id: "run-1-3".into(), stamp: Some(STAMP), words: "by ada".into() };
    fake.say(to_agent::Message::TaskCancel(cancel)).await;
    let end = fake.end("run-1-3").await;
    assert_eq!((end.state.as_str(), end.output.as_str()), ("cancelled", "begun\nasked\n"), "{end:?}");

    fake.offer("run-1-4", MINUTE, vec![shell("id", true)]).await;
    let end = fake.end("run-1-4").await;
    assert!(end.state == "refused" && end.words.contains("refuses free commands"), "{end:?}");
    term(&mut running).await;
    let _ = running.wait().await;
}

#[tokio::test]
async fn a_program_outlives_its_agent_and_is_begun_once() {
    let Some(executor) = executor() else { return };
    let (fake, _stop) = Fake::start().await;
    let (host, mut running) = Host::with_executor(&fake, &executor).await;
    fake.wait("a heartbeat", |memory| !memory.heartbeats.is_empty()).await;
    let gate = host.path("gate");
    let script = format!("echo begun; while [ ! -e {} ]; do sleep 0.05; done; echo done", gate.display());
    fake.offer("run-2-1", MINUTE, vec![shell(&script, false), shell("echo second", false)]).await;
    fake.printed("run-2-1", "begun\n").await;
    kill_agent(&running);
    fake.wait("another agent", |memory| memory.hellos.len() == 2).await;
    fake.offer("run-2-1", MINUTE, vec![shell("echo twice", false)]).await;
    std::fs::write(gate, "").expect("written");
    let end = fake.end("run-2-1").await;
    assert_eq!((end.state.as_str(), end.output.as_str()), ("succeeded", "begun\ndone\nsecond\n"), "{end:?}");
    term(&mut running).await;
    let _ = running.wait().await;
}
