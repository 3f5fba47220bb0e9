//! The one place that reads clocks.

use hostler_types::{Now, Timestamp};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static STARTED: OnceLock<Instant> = OnceLock::new();

pub fn now() -> Now {
    let started = STARTED.get_or_init(Instant::now);
    Now { monotonic: started.elapsed(), wall: wall() }
}

pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(hostler_types::time::whole_millis(since))
}
