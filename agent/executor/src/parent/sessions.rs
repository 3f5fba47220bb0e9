//! Who belongs to a session: whatever a service's process started, unless it began
//! a session of its own.

use rustix::process::{Pid, Signal};
use std::fs;

/// When a process started, in ticks; `None` if it is not there, or has ended.
pub(super) fn started(pid: i32) -> Option<u64> {
    Stat::of(pid).filter(|stat| !stat.ended).map(|stat| stat.started)
}

struct Stat {
    ended: bool,
    session: i32,
    started: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A program's name may have anything in it, a bracket too.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let session = fields.nth(2)?.parse().ok()?;
        let started = fields.nth(15)?.parse().ok()?;
        Some(Self { ended, session, started })
    }
}

/// To every process of the session that the process began; how many there were.
pub(super) fn signal(leader: i32, began: u64, signal: Signal) -> usize {
    // The number is another's by now: of this session nobody can be left.
    if Stat::of(leader).is_some_and(|stat| stat.started != began) {
        return 0;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let members = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.session == leader && !stat.ended));
    members.filter_map(Pid::from_raw).filter(|pid| rustix::process::kill_process(*pid, signal).is_ok()).count()
}
