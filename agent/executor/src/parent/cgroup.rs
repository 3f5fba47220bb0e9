//! Control groups for limits, where there are some that the executor may write.

use crate::protocol::{Ended, Limits};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";
const OURS: &str = "hostler";
/// The kernel's period for shares of a processor, in microseconds.
const PERIOD_US: u64 = 100_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Groups {
    /// One for all, or one for each controller of the old kind.
    folders: Vec<PathBuf>,
}

/// A controller, what it limits, and the file and value of either kind of groups.
type Asked = (&'static str, &'static str, [(&'static str, String); 2]);

impl Groups {
    /// What is asked for as far as it can be kept, and what can't be.
    pub fn make(unit: &str, limits: &Limits) -> (Self, Option<String>) {
        let mut asked: Vec<Asked> = Vec::new();
        let none = || ("", String::new());
        // Always a group for memory: it says what killed a process, and how much it took.
        let memory = limits.memory_bytes.map(|bytes| bytes.to_string());
        asked.push(match memory {
            Some(bytes) => ("memory", "memory", [("memory.limit_in_bytes", bytes.clone()), ("memory.max", bytes)]),
            None => ("memory", "", [none(), none()]),
        });
        if let Some(cpu) = limits.cpu {
            let quota = (cpu * PERIOD_US as f64) as u64;
            let new = format!("{quota} {PERIOD_US}");
            asked.push(("cpu", "cpu", [("cpu.cfs_quota_us", quota.to_string()), ("cpu.max", new)]));
        }
        if let Some(processes) = limits.processes {
            asked.push((
                "pids",
                "processes",
                [("pids.max", processes.to_string()), ("pids.max", processes.to_string())],
            ));
        }
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let mut groups = Self::default();
        let mut unkept = Vec::new();
        for (controller, limit, [old, new]) in asked {
            let root = if unified { PathBuf::from(ROOT) } else { Path::new(ROOT).join(controller) };
            let (file, value) = if unified { new } else { old };
            let made = made(&root, unit, unified.then_some(controller));
            let set = made.and_then(|folder| {
                if !groups.folders.contains(&folder) {
                    groups.folders.push(folder.clone());
                }
                if limit.is_empty() { Some(()) } else { fs::write(folder.join(file), value).ok() }
            });
            if set.is_none() && !limit.is_empty() {
                unkept.push(limit);
            }
        }
        let words = (!unkept.is_empty())
            .then(|| format!("no control group could be made for: {}; it runs without", unkept.join(", ")));
        (groups, words)
    }

    pub fn folders(&self) -> Vec<PathBuf> {
        self.folders.clone()
    }

    fn read(&self, file: &str) -> Option<String> {
        self.folders.iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok())
    }

    /// Whether it ended for want of memory, and the most it took.
    pub fn explain(&self, mut ended: Ended) -> Ended {
        let counts = self.read("memory.oom_control").or_else(|| self.read("memory.events")).unwrap_or_default();
        let kills = counts.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
        if kills.unwrap_or(0) > 0 && ended.signal.is_none_or(|signal| signal == libc::SIGKILL) && ended.code.is_none() {
            ended.result = "oom-kill".into();
        }
        let peak = self.read("memory.max_usage_in_bytes").or_else(|| self.read("memory.peak"));
        ended.memory_peak_bytes = peak.and_then(|text| text.trim().parse().ok());
        ended
    }

    /// Kills all that is in them; how many there were.
    pub fn kill(&self) -> usize {
        let mut left = 0;
        for folder in &self.folders {
            let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            let members: Vec<Pid> = members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
            left += members.len();
            if members.is_empty() || fs::write(folder.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            for pid in members {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        left
    }

    pub fn remove(&self) {
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn made(root: &Path, unit: &str, controller: Option<&str>) -> Option<PathBuf> {
    let ours = root.join(OURS);
    if !root.is_dir() {
        return None;
    }
    let folder = ours.join(unit);
    fs::create_dir_all(&folder).ok()?;
    if let Some(controller) = controller {
        for above in [root, &ours] {
            let _ = fs::write(above.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Some(folder)
}
