//! How far the host's clock is from the control plane's.

use hostler_types::{Now, Timestamp};
use std::time::Duration;

/// A slower answer says too little: the error is up to half of the round trip.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

/// Positive: the host is ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    pub millis: i64,
}

impl Skew {
    /// The server read its clock somewhere between our sending and our
    /// receiving; the middle is the best guess.
    pub fn measure(now: Now, sent: Duration, server_wall: Timestamp) -> Option<Self> {
        let round_trip = now.monotonic.checked_sub(sent).filter(|span| *span <= ROUND_TRIP_MAX)?;
        let ours = i64::try_from(now.wall.minus(round_trip / 2).as_millis()).ok()?;
        let theirs = i64::try_from(server_wall.as_millis()).ok()?;
        Some(Self { millis: ours.saturating_sub(theirs) })
    }
}
