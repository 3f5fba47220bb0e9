//! What the processes of a service use of the host, as far as anybody may see it.

use super::process::stat_field;
use hostler_proto::agent::Usage;
use std::fs;
use std::path::{Path, PathBuf};

/// Of `/proc/PID/stat`.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
/// A fork bomb is not counted to its end.
const PROCESSES_MAX: usize = 1024;

/// All processes of the unit that the main one is in.
pub fn measure(pid: u32, now_ms: u64) -> Option<Usage> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let pids = group_of(&groups).and_then(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok());
    let pids: Vec<u32> = match pids {
        Some(pids) => pids.lines().filter_map(|line| line.parse().ok()).take(PROCESSES_MAX).collect(),
        None => vec![pid],
    };
    let (page, ticks) = (rustix::param::page_size() as u64, rustix::param::clock_ticks_per_second().max(1));
    let mut usage = Usage { measured_ms: now_ms, ..Usage::default() };
    for pid in pids {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        // Those that have just ended count no more.
        let (Ok(stat), Ok(memory)) = (read("stat"), read("statm")) else { continue };
        usage.processes += 1;
        usage.cpu_us += cpu_ticks(&stat).unwrap_or(0).saturating_mul(1_000_000) / ticks;
        usage.memory_bytes += resident_pages(&memory).unwrap_or(0).saturating_mul(page);
    }
    (usage.processes > 0).then_some(usage)
}

/// Where systemd keeps the unit's processes, on either kind of control groups.
fn group_of(groups: &str) -> Option<PathBuf> {
    let named = groups.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    let (roots, path) = match named {
        Some(path) => (["/sys/fs/cgroup/systemd"].as_slice(), path),
        None => (
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].as_slice(),
            groups.lines().find_map(|line| line.strip_prefix("0::"))?,
        ),
    };
    // The root of all holds every process of the host.
    let below = path.trim_start_matches('/');
    let folders = roots.iter().map(|root| Path::new(root).join(below));
    folders.filter(|_| !below.is_empty()).find(|folder| folder.join("cgroup.procs").exists())
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    Some(stat_field(stat, USER_TICKS)? + stat_field(stat, SYSTEM_TICKS)?)
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 99 1 2";
        assert_eq!(cpu_ticks(stat), Some(46));
        assert_eq!(resident_pages("900 25 10 1 0 5 0"), Some(25));
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = measure(std::process::id(), 7).expect("it runs");
        assert!(usage.processes >= 1 && usage.memory_bytes > 100_000 && usage.measured_ms == 7);
        assert_eq!(measure(u32::MAX, 7), None);
    }
}
