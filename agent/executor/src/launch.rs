//! From the executor to another program, under another user: the executor starts
//! itself as `hostler-executor launch`, which has one thread and may do at leisure
//! what must not be done between fork and exec, and then becomes the program.
//!
//! Its standard input is the agent's end of the socket pair, or a pipe on which it
//! says why it failed; whoever holds the other end reads nothing when it went well.

use crate::account::Account;
use crate::protocol::FD_VARIABLE;
use crate::{sandbox, seccomp};
use rustix::io::FdFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first descriptor that is not standard input, output or error.
const FIRST_FD: RawFd = 3;
/// What a shell says of a program that it could not start.
pub const FAILED_CODE: i32 = 126;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Launch {
    /// The host's network, if this runs without one.
    pub net: Option<RawFd>,
    /// User id, group id, groups; without them it stays who it is.
    pub user: Option<(u32, u32, Vec<u32>)>,
    pub folder: Option<PathBuf>,
    pub files: Option<u64>,
    pub umask: Option<u32>,
    /// Folders of control groups to be in.
    pub cgroups: Vec<PathBuf>,
    /// Apart from the executor's session, so that it outlives it.
    pub session: bool,
    pub agent: Option<AgentHalf>,
}

/// What only the agent proper is given and denied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AgentHalf {
    pub parent: i32,
    /// All else is read-only to it.
    pub writable: Vec<PathBuf>,
}

impl Launch {
    pub fn user(mut self, account: &Account) -> Self {
        self.user = Some((account.uid, account.gid, account.groups.clone()));
        self
    }

    pub fn command(&self, argv: &[String]) -> Result<Command, String> {
        let spec = serde_json::to_string(self).map_err(|error| format!("write down what to launch: {error}"))?;
        // Also of a program that was replaced by a newer one since it started.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("hostler-executor").args(["launch", &spec, "--"]).args(argv);
        Ok(command)
    }
}

/// Becomes the program, or says why not.
pub fn launched(spec: &str, argv: &[String]) -> String {
    let Ok(launch) = serde_json::from_str::<Launch>(spec) else {
        return "launch is for hostler-executor itself".into();
    };
    let Err(words) = become_it(&launch, argv);
    words
}

/// To whoever holds the other end of what was standard input.
fn become_it(launch: &Launch, argv: &[String]) -> Result<std::convert::Infallible, String> {
    let other = take_input(launch.agent.is_some())?;
    let done = (|| {
        prepare(launch)?;
        let (program, arguments) = argv.split_first().ok_or("no program is named")?;
        let mut command = Command::new(program);
        command.args(arguments);
        if launch.agent.is_some() {
            command.env(FD_VARIABLE, other.as_raw_fd().to_string());
        }
        Err(format!("start {program}: {}", command.exec()))
    })();
    if launch.agent.is_none()
        && let Err(words) = &done
    {
        let _ = File::from(other).write_all(str::as_bytes(words));
    }
    done
}

/// The program sees an empty input, and of other descriptors only its socket.
fn take_input(keep: bool) -> Result<OwnedFd, String> {
    let failed = |error: rustix::io::Errno| format!("set up descriptors: {error}");
    let input = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), FIRST_FD).map_err(failed)?;
    let null = File::open("/dev/null").map_err(|error| format!("open /dev/null: {error}"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed)?;
    drop(null);
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .map_err(|error| format!("list descriptors: {error}"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= FIRST_FD)
        .collect();
    for fd in open {
        let _ = rustix::io::fcntl_setfd(borrowed(fd), FdFlags::CLOEXEC);
    }
    if keep {
        rustix::io::fcntl_setfd(&input, FdFlags::empty()).map_err(failed)?;
    }
    Ok(input)
}

#[allow(unsafe_code, reason = "descriptors that were inherited have no owner yet")]
fn borrowed(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the number is not -1, and at most answered with EBADF: the kernel alone
    // looks at it, and nothing here keeps it.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn prepare(launch: &Launch) -> Result<(), String> {
    if let Some(net) = launch.net {
        let net =
            File::open(format!("/proc/self/fd/{net}")).map_err(|error| format!("find the host's network: {error}"))?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(net.as_fd(), kind).map_err(said("go to the host's network"))?;
    }
    for folder in &launch.cgroups {
        let pid = rustix::process::getpid().as_raw_nonzero().to_string();
        std::fs::write(folder.join("cgroup.procs"), pid)
            .map_err(|error| format!("enter the control group {}: {error}", folder.display()))?;
    }
    if launch.session {
        rustix::process::setsid().map_err(said("begin a session"))?;
    }
    if let Some(files) = launch.files {
        let limit = Rlimit { current: Some(files), maximum: Some(files) };
        rustix::process::setrlimit(Resource::Nofile, limit).map_err(said("limit open files"))?;
    }
    if let Some(umask) = launch.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    let root = rustix::process::geteuid().is_root();
    if let Some(agent) = &launch.agent
        && root
    {
        sandbox::read_only_but(&agent.writable).unwrap_or_else(|problem| {
            eprintln!("hostler-executor: the agent's files are not protected from it by a namespace: {problem}");
        });
        drop_bounding()?;
    }
    if let Some((uid, gid, groups)) = &launch.user
        && root
    {
        become_user(*uid, *gid, groups)?;
    }
    // As that user: it may not look everywhere.
    if let Some(folder) = &launch.folder {
        std::env::set_current_dir(folder).map_err(|error| format!("go to the folder {}: {error}", folder.display()))?;
    }
    launch.agent.as_ref().map_or(Ok(()), |agent| confine(agent, launch.user.is_some()))
}

fn said<E: std::fmt::Display>(verb: &str) -> impl Fn(E) -> String {
    move |error| format!("{verb}: {error}")
}

pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), String> {
    use rustix::process::{Gid, Uid};
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&groups).map_err(said("take the user's groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(said("take the user's group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(said("become the user"))
}

fn drop_bounding() -> Result<(), String> {
    use rustix::thread::CapabilitySet;
    // Those that this kernel does not know are refused, and are not there either.
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false) {
            rustix::thread::remove_capability_from_bounding_set(one).map_err(said("drop capabilities"))?;
        }
    }
    Ok(())
}

fn confine(agent: &AgentHalf, unprivileged: bool) -> Result<(), String> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    rustix::thread::set_no_new_privs(true).map_err(said("give up new privileges"))?;
    if unprivileged {
        let _ = rustix::thread::clear_ambient_capability_set();
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).map_err(said("drop capabilities"))?;
    }
    // After the change of the user, which resets it.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(said("hear of the executor's end"))?;
    if rustix::process::getppid() != Pid::from_raw(agent.parent) {
        return Err("the executor has ended".into());
    }
    seccomp::deny()
}

/// For messages: without its arguments, which may be long.
pub fn program(argv: &[String]) -> &Path {
    Path::new(argv.first().map_or("", String::as_str))
}
