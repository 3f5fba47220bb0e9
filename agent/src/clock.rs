//! The one place that reads clocks.

use hostler_types::{Now, Timestamp};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static STARTED: OnceLock<Instant> = OnceLock::new();

fn started() -> Instant {
    *STARTED.get_or_init(Instant::now)
}

pub fn now() -> Now {
    Now { monotonic: started().elapsed(), wall: wall() }
}

pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(hostler_types::time::whole_millis(since))
}

/// Sleeps until [`now`]'s monotonic clock shows `deadline`; for ever without one.
pub async fn sleep_until(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until((started() + deadline).into()).await,
        None => std::future::pending().await,
    }
}
