//! Processes of this host, from /proc.
//!
//! Of every process one small file is read, to know its name, and runs of one moment
//! share that; the rest only of those that were asked for. One that ends meanwhile is
//! left out.

mod kernel;
mod parse;

use super::kept::Kept;
use super::{blocking, names};
use crate::answer::{Instant, Process};
use crate::call::CallError;
use crate::limits;
use kernel::Threads;
use std::io::Read;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const PROC: &str = "/proc";
const PASSWD: &str = "/etc/passwd";

/// What the kernel keeps of a name.
const NAME_BYTES: usize = 15;

type Names = Arc<[(u32, String)]>;

#[derive(Default)]
pub(super) struct Processes {
    names: Arc<Kept<Names>>,
    threads: Arc<Mutex<Threads>>,
    host: Arc<Kept<Arc<Host>>>,
}

impl Processes {
    /// `booted` is when this machine started, in seconds since 1970.
    pub async fn find(&self, name: &str, max: u32, booted: u64) -> Result<Vec<Process>, CallError> {
        let (name, names, host) = (name.to_owned(), self.names.clone(), self.host.clone());
        let threads = self.threads.clone();
        let max = max.min(limits::PROCESSES_MAX) as usize;
        blocking::run(move || {
            let names = names.or_read(limits::PROCESS_NAMES_AGE_MAX, || {
                read_names(&mut threads.lock().unwrap_or_else(PoisonError::into_inner))
            })?;
            let host =
                host.or_read(limits::PROCESS_NAMES_AGE_MAX, || Ok::<_, CallError>(Arc::new(Host::read(booted))))?;
            let found = names.iter().filter(|(_, one)| names::matches(&name, one));
            Ok(found.filter_map(|(pid, one)| host.process(*pid, one)).take(max).collect())
        })
        .await
    }
}

fn failed(path: &str, error: &std::io::Error) -> CallError {
    CallError::other("processes", format!("read {path}: {error}"))
}

/// In the order of their numbers.
fn read_names(threads: &mut Threads) -> Result<Names, CallError> {
    let entries = std::fs::read_dir(PROC).map_err(|error| failed(PROC, &error))?;
    let mut all: Vec<(u32, u64)> =
        entries.flatten().filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.ino()))).collect();
    all.sort_unstable();
    let name =
        |pid| Some((read_name(pid)?, move || parse::stat(&read_text(&folder(pid), "stat")?).map(|one| one.is_kernel)));
    Ok(threads.names(&all, name).into())
}

fn read_name(pid: u32) -> Option<String> {
    // The kernel takes a fourth of the time for it that `stat` takes.
    let name = read_text(&folder(pid), "comm")?.trim_end_matches('\n').to_owned();
    // Of a longer one it is all: the kernel's own workers have such.
    if name.len() != NAME_BYTES {
        return Some(name);
    }
    let whole = whole_name(&read_command(&folder(pid)));
    Some(whole.filter(|whole| whole.starts_with(&name)).unwrap_or(name))
}

fn folder(pid: u32) -> PathBuf {
    Path::new(PROC).join(pid.to_string())
}

fn read_text(folder: &Path, file: &str) -> Option<String> {
    read(folder.join(file)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn read_command(folder: &Path) -> Vec<String> {
    read(folder.join("cmdline")).map(|bytes| parse::command(&bytes)).unwrap_or_default()
}

/// What all processes have in common.
struct Host {
    booted: u64,
    passwd: String,
    ticks_per_second: u64,
    page_bytes: u64,
}

impl Host {
    fn read(booted: u64) -> Host {
        Host {
            booted,
            passwd: std::fs::read_to_string(PASSWD).unwrap_or_default(),
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_bytes: rustix::param::page_size() as u64,
        }
    }

    fn process(&self, pid: u32, name: &str) -> Option<Process> {
        let folder = folder(pid);
        let text = |file: &str| read_text(&folder, file);
        let stat = parse::stat(&text("stat")?)?;
        let user = parse::user_id(&text("status")?)?;
        Some(Process {
            pid,
            ppid: stat.ppid,
            name: name.to_owned(),
            command: read_command(&folder),
            user: parse::user_name(&self.passwd, user).map_or_else(|| user.to_string(), str::to_owned),
            state: parse::state(stat.state).to_owned(),
            threads: stat.threads,
            resident_bytes: stat.resident_pages.saturating_mul(self.page_bytes),
            cpu_seconds: stat.cpu_ticks as f64 / self.ticks_per_second as f64,
            open_files: open_files(&folder.join("fd")),
            started: self.started(stat.started_ticks),
            cgroup: parse::cgroup(&text("cgroup").unwrap_or_default()),
        })
    }

    fn started(&self, ticks: u64) -> Instant {
        let (seconds, rest) = (ticks / self.ticks_per_second, ticks % self.ticks_per_second);
        let nanoseconds = rest.saturating_mul(1_000_000_000) / self.ticks_per_second;
        Instant { seconds: self.booted + seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or_default() }
    }
}

/// Since Linux 6.2 the folder's size says it; before, and where it is empty, that is 0.
fn open_files(folder: &Path) -> Option<u32> {
    let said = std::fs::metadata(folder).ok()?.len();
    let count = if said > 0 { said } else { std::fs::read_dir(folder).ok()?.count() as u64 };
    u32::try_from(count).ok()
}

/// A command line can have megabytes: its beginning is what it is known by. The
/// kernel gives such a file whole where there is room for it: one read does for most.
fn read(path: PathBuf) -> Option<Vec<u8>> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut first = [0; 1024];
    let count = file.read(&mut first).ok()?;
    let mut bytes = first.get(..count)?.to_vec();
    if count == first.len() {
        file.take(limits::PROCESS_FILE_BYTES_MAX - count as u64).read_to_end(&mut bytes).ok()?;
    }
    Some(bytes)
}

fn whole_name(command: &[String]) -> Option<String> {
    Some(command.first()?.rsplit('/').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::system::System;
    use crate::machine::testing::eventually;
    use std::process::{Child, Command};
    use std::time::Duration;

    /// Under a name that no other test has.
    struct Sleeper {
        child: Child,
        _folder: tempfile::TempDir,
    }

    impl Sleeper {
        fn start(name: &str) -> Sleeper {
            let folder = tempfile::tempdir().expect("tempdir");
            let program = folder.path().join(name);
            std::os::unix::fs::symlink("/bin/sleep", &program).expect("link");
            let child = Command::new(&program).arg("1000").spawn().expect("sleep");
            // It is there a moment before it has its name.
            let words = || std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
            while words().is_empty() {
                std::thread::yield_now();
            }
            Sleeper { child, _folder: folder }
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn booted() -> u64 {
        System::default().machine().expect("a machine").booted.seconds
    }

    #[tokio::test]
    async fn finds_by_name() {
        let name = format!("hz{}", std::process::id());
        let sleeper = Sleeper::start(&name);
        for pattern in [name.clone(), format!("{name}*")] {
            let found = Processes::default().find(&pattern, 10, booted()).await.expect("processes");
            let [one] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!((one.pid, one.ppid, one.name.as_str()), (sleeper.child.id(), std::process::id(), name.as_str()));
            assert_eq!(one.command.get(1).map(String::as_str), Some("1000"));
            assert!(
                one.threads == 1 && one.resident_bytes > 0 && one.open_files.is_some_and(|count| count >= 3),
                "{one:?}"
            );
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
            assert!(now.abs_diff(one.started.seconds) < 60, "{now} {one:?}");
            assert!(!one.user.is_empty() && one.cgroup.starts_with('/'), "{one:?}");
        }
        assert_eq!(Processes::default().find("no-such-*-process", 10, booted()).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn a_long_name_is_whole() {
        let name = format!("hostler-long-name-{}", std::process::id());
        let _sleeper = Sleeper::start(&name);
        let found = Processes::default().find(&name, 10, booted()).await.expect("processes");
        assert!(matches!(found.as_slice(), [one] if one.name == name), "{found:?}");
    }

    #[tokio::test]
    async fn who_asks_later_sees_who_came() {
        let processes = Processes::default();
        let name = format!("hs{}", std::process::id());
        assert_eq!(processes.find(&name, 10, booted()).await, Ok(Vec::new()));
        let first = processes.names.younger_than(Duration::MAX).expect("kept");
        let _sleeper = Sleeper::start(&name);
        eventually("the names are old", || processes.names.younger_than(limits::PROCESS_NAMES_AGE_MAX).is_none()).await;
        assert_eq!(processes.find(&name, 10, booted()).await.expect("processes").len(), 1);
        let second = processes.names.younger_than(Duration::MAX).expect("kept");
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn in_order_and_no_more_than_asked_for() {
        let all = Processes::default().find("*", u32::MAX, booted()).await.expect("processes");
        assert!(all.len() > 1 && all.is_sorted_by_key(|one| one.pid));
        let one = Processes::default().find("*", 1, booted()).await.expect("processes");
        assert_eq!(one.first().map(|one| one.pid), all.first().map(|one| one.pid));
        assert_eq!((one.len(), Processes::default().find("*", 0, booted()).await), (1, Ok(Vec::new())));
    }
}
