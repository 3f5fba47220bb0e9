//! The clock that both halves of an agent read: it goes on while the host sleeps,
//! and nobody sets it. And the one that files are dated by.

use rustix::time::{ClockId, clock_gettime};

pub fn boottime_ms() -> u64 {
    read_ms(ClockId::Boottime)
}

pub fn wall_ms() -> u64 {
    read_ms(ClockId::Realtime)
}

fn read_ms(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1000).saturating_add(nanos.unwrap_or(0) / 1_000_000)
}
