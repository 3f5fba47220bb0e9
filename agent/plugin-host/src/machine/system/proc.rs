//! Processors, load and memory, from /proc.

use super::{SystemError, read_file};
use crate::answer::{Cpu, Memory};

/// Since boot, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuTicks {
    user: u64,
    system: u64,
    iowait: u64,
    steal: u64,
    idle: u64,
    cores: u32,
}

pub(super) const STAT: &str = "/proc/stat";
const LOADAVG: &str = "/proc/loadavg";
const MEMINFO: &str = "/proc/meminfo";

pub(super) fn cpu_ticks(stat: &str) -> Result<CpuTicks, SystemError> {
    parse_stat(stat).ok_or(SystemError::Format { path: STAT })
}

fn parse_stat(text: &str) -> Option<CpuTicks> {
    let mut fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || fields.next()?.ok();
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    // Absent on the oldest kernels.
    let mut later = || next().unwrap_or(0);
    let (iowait, irq, softirq, steal) = (later(), later(), later(), later());
    Some(CpuTicks { user: user + nice, system: system + irq + softirq, iowait, steal, idle, cores: cores(text) })
}

/// After the line of all of them, one each.
pub(super) fn cores(stat: &str) -> u32 {
    let each = stat.lines().skip(1).take_while(|line| line.starts_with("cpu"));
    u32::try_from(each.count()).unwrap_or(u32::MAX)
}

pub(super) fn cpu_since(before: &CpuTicks, now: &CpuTicks, load: [f64; 3]) -> Cpu {
    // The kernel lets iowait go back at times.
    let since = |now: u64, before: u64| now.saturating_sub(before) as f64;
    let (user, system) = (since(now.user, before.user), since(now.system, before.system));
    let (iowait, steal) = (since(now.iowait, before.iowait), since(now.steal, before.steal));
    let idle = since(now.idle, before.idle);
    let all = (user + system + iowait + steal + idle).max(1.0);
    let [load1, load5, load15] = load;
    Cpu {
        user: user / all,
        system: system / all,
        iowait: iowait / all,
        steal: steal / all,
        idle: idle / all,
        load1,
        load5,
        load15,
        cores: now.cores,
    }
}

pub(super) fn read_load() -> Result<[f64; 3], SystemError> {
    parse_load(&read_file(LOADAVG)?).ok_or(SystemError::Format { path: LOADAVG })
}

fn parse_load(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace().map(str::parse::<f64>);
    let mut next = || fields.next()?.ok();
    Some([next()?, next()?, next()?])
}

pub(super) fn read_memory() -> Result<Memory, SystemError> {
    parse_meminfo(&read_file(MEMINFO)?).ok_or(SystemError::Format { path: MEMINFO })
}

fn parse_meminfo(text: &str) -> Option<Memory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (total, available) = (bytes("MemTotal")?, bytes("MemAvailable")?);
    let (swap_total, swap_free) = (bytes("SwapTotal").unwrap_or(0), bytes("SwapFree").unwrap_or(0));
    Some(Memory {
        total,
        available,
        used: total.saturating_sub(available),
        swap_total,
        swap_used: swap_total.saturating_sub(swap_free),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between() {
        let before = parse_stat("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 1\n").expect("stat");
        let now = parse_stat("cpu  30 10 20 120 10 5 5 10 0 0\ncpu0 1\ncpu1 1\nintr 1\n").expect("stat");
        let cpu = cpu_since(&before, &now, [0.5, 0.25, 0.125]);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(cpu.user, 30.0 / 110.0) && close(cpu.system, 20.0 / 110.0), "{cpu:?}");
        assert!(close(cpu.user + cpu.system + cpu.iowait + cpu.steal + cpu.idle, 1.0), "{cpu:?}");
        assert_eq!(cpu.cores, 2);
    }

    #[test]
    fn reads_meminfo() {
        let memory =
            parse_meminfo("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\nSwapTotal: 8 kB\nSwapFree: 6 kB\n")
                .expect("meminfo");
        assert_eq!((memory.total, memory.used, memory.swap_used), (102_400, 61_440, 2_048));
        assert!(parse_meminfo("").is_none());
    }

    #[test]
    fn reads_this_machine() {
        assert!(read_memory().is_ok_and(|memory| memory.total > 0));
        assert!(read_file(STAT).and_then(|stat| cpu_ticks(&stat)).is_ok_and(|ticks| ticks.cores > 0));
        assert!(read_load().is_ok());
    }
}
