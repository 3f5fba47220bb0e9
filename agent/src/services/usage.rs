//! What the processes of a service use of the host, as far as anybody may see it.

use super::process::stat_field;
use hostler_executor::usage::processes_with;
use hostler_proto::agent::Usage;
use std::fs;

/// Of `/proc/PID/stat`.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

/// All processes of the unit that the main one is in.
pub fn measure(pid: u32, now_ms: u64) -> Option<Usage> {
    let (page, ticks) = (rustix::param::page_size() as u64, rustix::param::clock_ticks_per_second().max(1));
    let mut usage = Usage { measured_ms: now_ms, ..Usage::default() };
    for pid in processes_with(pid) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        // Those that have just ended count no more.
        let (Ok(stat), Ok(memory)) = (read("stat"), read("statm")) else { continue };
        usage.processes += 1;
        usage.cpu_us += cpu_ticks(&stat).unwrap_or(0).saturating_mul(1_000_000) / ticks;
        usage.memory_bytes += resident_pages(&memory).unwrap_or(0).saturating_mul(page);
    }
    (usage.processes > 0).then_some(usage)
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
