//! The program's life: it starts the agent proper beside it, serves what that asks
//! for, and starts it again when it ends.

use crate::account::{self, Account};
use crate::act::{Hand, Services};
use crate::engine::Engine;
use crate::launch::{AgentHalf, Launch};
use crate::parent::Parent;
use crate::serve::Server;
use crate::systemd::Systemd;
use crate::{memory, policy, program};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

/// Below the unit's own limit, above the agent's grace.
const STOP_MAX: Duration = Duration::from_secs(12);
/// The first time at once: an agent that broke once is needed now.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// After so long a life, its end counts as the first again.
const HEALTHY: Duration = Duration::from_secs(60);
const RUNTIME_FOLDER: &str = "/run/hostler-executor";
/// The agent's own, where nothing else is said.
const AGENT_FOLDERS: [(&str, &str, u32); 2] =
    [("state_dir", "/var/lib/hostler-agent", 0o700), ("runtime_dir", "/run/hostler-agent", 0o755)];

#[derive(clap::Args, Debug)]
pub struct Run {
    /// Whom the agent runs as; needed by root, and only root can choose
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Where it remembers processes [default: /run/hostler-executor]
    #[arg(long, value_name = "FOLDER")]
    runtime_dir: Option<PathBuf>,
    /// A folder that the agent may write, besides its own
    #[arg(long, value_name = "FOLDER")]
    writable: Vec<PathBuf>,
    #[command(flatten)]
    files: Files,
    /// Be the parent of services' processes, also where systemd runs
    #[arg(long)]
    parent: bool,
    /// The agent, and what it is told
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Files {
    /// What this host allows
    #[arg(long = "policy", value_name = "FILE", default_value = policy::FILE)]
    pub policy: PathBuf,
    /// The agent's settings
    #[arg(long, value_name = "FILE", default_value = policy::AGENT_FILE)]
    pub agent_config: PathBuf,
}

impl Run {
    /// The code with which to exit.
    pub fn run(self) -> Result<i32> {
        let root = rustix::process::geteuid().is_root();
        let account = self.account(root)?;
        if root {
            // Nobody, and nothing that was broken into, looks into its memory.
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
                .context("be private")?;
        }
        let net = if root { leave_network() } else { None };
        let runtime_dir = self.runtime_dir.clone().unwrap_or_else(|| default_runtime(root));
        std::fs::create_dir_all(&runtime_dir).with_context(|| format!("make {}", runtime_dir.display()))?;
        let mut writable = self.agent_folders(account.as_ref())?;
        writable.extend(self.writable.iter().cloned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let services = if !self.parent && Path::new(program::SYSTEMD).is_dir() {
                Services::Systemd(Systemd::new())
            } else {
                Services::Parent(Parent::new(net.number(), &runtime_dir).map_err(anyhow::Error::msg)?)
            };
            let user = account.as_ref().map(|account| account.name.clone());
            let hand = Hand { services, engine: Engine::of_host(), net: net.number(), user };
            let server = Rc::new(Server::new(hand, self.files.policy.clone(), self.files.agent_config.clone()));
            let mut launch = Launch { net: net.number(), umask: Some(0o077), ..Launch::default() };
            if let Some(account) = &account {
                launch = launch.user(account);
            }
            let parent = rustix::process::getpid().as_raw_nonzero().get();
            launch.agent = Some(AgentHalf { parent, writable });
            memory::give_back();
            supervise(&launch, &self.program, server).await
        })
    }

    fn account(&self, root: bool) -> Result<Option<Account>> {
        let me = rustix::process::geteuid().as_raw();
        let Some(name) = &self.user else {
            if root {
                bail!("the agent does not run as root: say whom it runs as, like --user hostler");
            }
            return Ok(None);
        };
        let account = account::find(name).map_err(anyhow::Error::msg)?;
        if !root && account.uid != me {
            bail!("only root can start the agent as {name}: run this as root, or leave out --user");
        }
        if account.uid == 0 {
            bail!("the agent does not run as root: --user {name} is root; name one without rights, like hostler");
        }
        Ok(Some(account))
    }

    /// Made if they are not there, and the agent's. Its settings say which.
    fn agent_folders(&self, account: Option<&Account>) -> Result<Vec<PathBuf>> {
        let text = std::fs::read_to_string(&self.files.agent_config).unwrap_or_default();
        let settings: toml::Table = text.parse().unwrap_or_default();
        let Some(account) = account.filter(|_| rustix::process::geteuid().is_root()) else { return Ok(Vec::new()) };
        let mut folders = Vec::new();
        for (setting, default, mode) in AGENT_FOLDERS {
            let folder: PathBuf = settings.get(setting).and_then(toml::Value::as_str).unwrap_or(default).into();
            if !folder.exists() {
                std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode))
                    .with_context(|| format!("set the mode of {}", folder.display()))?;
                std::os::unix::fs::lchown(&folder, Some(account.uid), Some(account.gid))
                    .with_context(|| format!("give {} to {}", folder.display(), account.name))?;
            }
            folders.push(folder);
        }
        Ok(folders)
    }
}

fn default_runtime(root: bool) -> PathBuf {
    if root {
        return RUNTIME_FOLDER.into();
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    own.join(format!("hostler-executor-{}", rustix::process::geteuid().as_raw()))
}

trait Number {
    fn number(&self) -> Option<RawFd>;
}

impl Number for Option<OwnedFd> {
    fn number(&self) -> Option<RawFd> {
        use std::os::fd::AsRawFd;
        self.as_ref().map(AsRawFd::as_raw_fd)
    }
}

/// Into an empty network of its own. The host's stays open for those programs that
/// need it; they are told its number.
fn leave_network() -> Option<OwnedFd> {
    let net: OwnedFd = std::fs::File::open("/proc/self/ns/net").ok()?.into();
    match unshare_network() {
        Ok(()) => {
            rustix::io::fcntl_setfd(net.as_fd(), rustix::io::FdFlags::empty()).ok()?;
            Some(net)
        }
        Err(error) => {
            eprintln!("hostler-executor: it keeps the host's network, since it may not leave it: {error}");
            None
        }
    }
}

#[allow(unsafe_code, reason = "the kernel's own call; its safe name is deprecated")]
fn unshare_network() -> rustix::io::Result<()> {
    // SAFETY: only the network is made anew; descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

async fn supervise(launch: &Launch, argv: &[String], server: Rc<Server>) -> Result<i32> {
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut pause = Duration::ZERO;
    loop {
        let began = Instant::now();
        let mut child = start(launch, argv, &server)?;
        let told = tokio::select! {
            status = child.wait() => {
                let status = status.context("wait for the agent")?;
                eprintln!("hostler-executor: the agent ended ({}), and is started again", ended(status));
                false
            }
            _ = term.recv() => true,
            _ = int.recv() => true,
        };
        if told {
            return stop(child).await;
        }
        if began.elapsed() >= HEALTHY {
            pause = Duration::ZERO;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = term.recv() => return Ok(0),
            _ = int.recv() => return Ok(0),
        }
        pause = (pause + Duration::from_secs(1)).min(PAUSE_MAX);
    }
}

/// Each agent has a socket pair of its own.
fn start(launch: &Launch, argv: &[String], server: &Rc<Server>) -> Result<tokio::process::Child> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("make a socket pair")?;
    ours.set_nonblocking(true).context("make a socket pair")?;
    let ours = UnixStream::from_std(ours).context("make a socket pair")?;
    let mut command = tokio::process::Command::from(launch.command(argv).map_err(anyhow::Error::msg)?);
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn().with_context(|| format!("start {}", argv.first().map_or("", String::as_str)))?;
    let server = Rc::clone(server);
    tokio::task::spawn_local(async move {
        if let Err(words) = server.serve(ours).await {
            eprintln!("hostler-executor: {words}");
        }
    });
    Ok(child)
}

async fn stop(mut child: tokio::process::Child) -> Result<i32> {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let status = match tokio::time::timeout(STOP_MAX, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            eprintln!("hostler-executor: the agent did not end within {} s, and is killed", STOP_MAX.as_secs());
            child.start_kill().context("kill the agent")?;
            child.wait().await
        }
    };
    use std::os::unix::process::ExitStatusExt;
    let status = status.context("wait for the agent")?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn ended(status: ExitStatus) -> String {
    status.to_string()
}
