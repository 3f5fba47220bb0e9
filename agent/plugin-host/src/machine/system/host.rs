//! What this machine is.

use super::{SystemError, proc};
use crate::answer::{Instant, Machine};

/// From the text of /proc/stat.
pub(super) fn machine(stat: &str) -> Result<Machine, SystemError> {
    let booted = booted(stat).ok_or(SystemError::Format { path: proc::STAT })?;
    let uname = rustix::system::uname();
    Ok(Machine {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        booted: Instant { seconds: booted, nanoseconds: 0 },
        cores: proc::cores(stat),
    })
}

fn booted(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_boot() {
        assert_eq!(booted("cpu 1\nctxt 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
        assert_eq!(booted("cpu 1\n"), None);
    }

    #[test]
    fn reads_this_machine() {
        let stat = super::super::read_file(proc::STAT).expect("readable");
        let machine = machine(&stat).expect("a machine");
        assert!(!machine.kernel.is_empty() && machine.cores > 0 && machine.booted.seconds > 0, "{machine:?}");
    }
}
