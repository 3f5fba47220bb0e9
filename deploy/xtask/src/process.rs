//! Programs that outlive the command which started them: a pid file, a log file,
//! and never a signal to a process that is not ours.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Above the programs' own grace for a stop.
const STOP_MAX: Duration = Duration::from_secs(20);
const LOG_TAIL_LINES: usize = 15;

/// A program of ours, known by its pid file; running or not.
pub struct Daemon {
    pub name: &'static str,
    exe: PathBuf,
    pid_file: PathBuf,
    pub log_file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Running(u32),
    /// It runs, but from a file that was replaced since.
    Outdated(u32),
    Stopped,
}

impl Daemon {
    pub fn new(name: &'static str, exe: &Path, dir: &Path) -> Self {
        Self {
            name,
            // As the kernel will name it.
            exe: fs::canonicalize(exe).unwrap_or_else(|_| exe.to_owned()),
            pid_file: dir.join(format!("{name}.pid")),
            log_file: dir.join(format!("{name}.log")),
        }
    }

    /// A pid is believed only where the process runs our program: the number may
    /// have gone to someone else since.
    pub fn state(&self) -> State {
        let Some(pid) = fs::read_to_string(&self.pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok()) else {
            return State::Stopped;
        };
        let Ok(link) = fs::read_link(format!("/proc/{pid}/exe")) else { return State::Stopped };
        if link == self.exe {
            return State::Running(pid);
        }
        let replaced = link.to_str().and_then(|link| link.strip_suffix(" (deleted)"));
        if replaced.is_some_and(|link| Path::new(link) == self.exe) { State::Outdated(pid) } else { State::Stopped }
    }

    pub fn pid(&self) -> Option<u32> {
        match self.state() {
            State::Running(pid) | State::Outdated(pid) => Some(pid),
            State::Stopped => None,
        }
    }

    /// Starts it in a process group of its own: a Ctrl-C at the terminal is for
    /// xtask, which then stops it in order.
    pub fn start(&self, command: &mut Command) -> Result<u32> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log_file)
            .with_context(|| format!("open {}", self.log_file.display()))?;
        let errors = log.try_clone().context("open the log twice")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", self.exe.display()))?;
        fs::write(&self.pid_file, format!("{}\n", child.id()))
            .with_context(|| format!("write {}", self.pid_file.display()))?;
        reap(child);
        Ok(self.pid().unwrap_or_default())
    }

    /// Asks it to end, waits, and only then makes it.
    pub fn stop(&self) -> Result<bool> {
        let Some(pid) = self.pid() else {
            let _ = fs::remove_file(&self.pid_file);
            return Ok(false);
        };
        let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("read the pid")?;
        kill_process(target, Signal::TERM).with_context(|| format!("stop {} (pid {pid})", self.name))?;
        if wait_until(STOP_MAX, || self.pid().is_none()).is_err() {
            eprintln!("  {} did not end within {} s of SIGTERM: killing it", self.name, STOP_MAX.as_secs());
            kill_process(target, Signal::KILL).with_context(|| format!("kill {} (pid {pid})", self.name))?;
        }
        let _ = fs::remove_file(&self.pid_file);
        Ok(true)
    }

    pub fn log_tail(&self) -> String {
        let text =
            fs::read(&self.log_file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
        format!("the end of {}:\n    {}", self.log_file.display(), tail.join("\n    "))
    }
}

/// A dead child that nobody waits for keeps its entry in /proc and looks alive.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || child.wait());
}

/// Polls until `done`; an error when it takes longer than `max`.
pub fn wait_until(max: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    const POLL: Duration = Duration::from_millis(50);
    let started = Instant::now();
    while !done() {
        ensure!(started.elapsed() < max, "not done within {} s", max.as_secs());
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Runs a program to its end and gives its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("`{shown}` failed with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of `{shown}`"))
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
}

/// Memory of a process and all its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    pub pss_kib: u64,
    pub rss_kib: u64,
    pub processes: u64,
}

/// The kernel's unit in /proc/PID/stat on Linux, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Of a process (`self` for this one) and its children that have ended: forking
/// counts, as it would for any program that runs checks this way.
pub fn cpu_seconds(process: &str) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    cpu_ticks(&stat)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .with_context(|| format!("read the CPU time in {path}"))
}

/// The program's name may hold blanks: fields are counted from its closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    const USER: usize = 11;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(USER..USER + 4)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

pub fn memory_of_tree(root: u32, without: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in tree(root, without) {
        // A short-lived child may be gone by now.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        sum.pss_kib += field_kib(&text, "Pss:");
        sum.rss_kib += field_kib(&text, "Rss:");
        sum.processes += 1;
    }
    ensure!(sum.processes > 0, "read the memory of process {root}: it is gone, or belongs to another user");
    Ok(sum)
}

fn field_kib(rollup: &str, name: &str) -> u64 {
    let value =
        rollup.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok());
    value.unwrap_or_default()
}

/// Those that are left out with all that they started.
fn tree(root: u32, without: &[u32]) -> Vec<u32> {
    let mut pids = vec![root];
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
            pids.extend(children.filter(|pid| !without.contains(pid)));
        }
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_an_odd_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 3 4 50 60 20 0 1 0 9";
        assert_eq!(cpu_ticks(stat), Some(117));
        assert_eq!(cpu_ticks("7 (x) S 1"), None);
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_daemon_starts_is_found_and_stops() {
        let dir = scratch("daemon");
        let exe = fs::canonicalize("/bin/sleep").unwrap();
        let daemon = Daemon::new("sleeper", &exe, &dir);
        assert_eq!(daemon.state(), State::Stopped);
        daemon.start(Command::new(&exe).arg("100")).unwrap();
        wait_until(Duration::from_secs(5), || matches!(daemon.state(), State::Running(_))).unwrap();
        assert!(daemon.stop().unwrap());
        assert_eq!(daemon.state(), State::Stopped);
        assert!(!daemon.stop().unwrap());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_pid_of_another_program_is_left_alone() {
        let dir = scratch("stranger");
        let daemon = Daemon::new("stranger", Path::new("/bin/false"), &dir);
        fs::write(dir.join("stranger.pid"), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(daemon.state(), State::Stopped);
        assert!(!daemon.stop().unwrap());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn memory_is_read_and_summed() {
        assert_eq!(field_kib("Rss:      10 kB\nPss:       7 kB\nPss_Anon:  3 kB\n", "Pss:"), 7);
        let memory = memory_of_tree(std::process::id(), &[]).unwrap();
        assert!(memory.pss_kib > 0 && memory.rss_kib >= memory.pss_kib, "{memory:?}");
    }

    #[test]
    fn a_failed_program_says_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such node >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().contains("no such node"), "{error}");
    }
}
