//! Points in time, as arguments.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A wall-clock instant: milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(span)))
    }

    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(span)))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, to the millisecond: `2026-03-01T14:02:15.250Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match stamp {
            Some(stamp) => write!(f, "{stamp:.3}"),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// What a pure core is told about time. Delays and leases go by `monotonic`,
/// which never jumps; what people read goes by `wall`, which may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub monotonic: Duration,
    pub wall: Timestamp,
}

impl Now {
    /// Both clocks moved on by `span`: for tests and simulations.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self { monotonic: self.monotonic + span, wall: self.wall.plus(span) }
    }
}

/// The milliseconds of a duration, for fields that hold a `u64`.
pub fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_as_rfc_3339() {
        assert_eq!(Timestamp::from_millis(1_772_373_735_250).to_string(), "2026-03-01T14:02:15.250Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "18446744073709551615ms");
    }

    #[test]
    fn time_that_ran_backwards_is_no_time() {
        let (early, late) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.since(early), Duration::from_millis(4));
    }
}
