//! Windows: when something that disturbs may happen.

use super::Recurrence;
use crate::time::Timestamp;
use std::time::Duration;

/// Openings in a row that are followed to where they end. Who needs more of them has a
/// window that is always open.
const JOINED_MAX: usize = 32;

/// Opens by cron, and stays open for a span of time that really passes, whatever clocks
/// do meanwhile. Openings that overlap or touch are one.
#[derive(Clone, Debug)]
pub struct Window {
    opens: Recurrence,
    lasts: Duration,
    cutoff: Duration,
}

/// One time that it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The newest of those that are joined.
    pub opens: Timestamp,
    /// The first moment at which it is closed; none while no end is in sight.
    pub closes: Option<Timestamp>,
    /// From here on nothing starts.
    pub cutoff: Option<Timestamp>,
}

impl Opening {
    fn admits(&self, at: Timestamp) -> bool {
        self.opens <= at && self.cutoff.is_none_or(|cutoff| at < cutoff)
    }
}

/// How a window is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Open(Opening),
    Closed { next: Option<Opening> },
}

/// Whether something may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As long as it is before `until`.
    Now {
        until: Option<Timestamp>,
    },
    Later(Timestamp),
    Never,
}

impl Window {
    pub fn new(opens: Recurrence, lasts: Duration, cutoff: Duration) -> Self {
        Self { opens, lasts, cutoff }
    }

    pub fn recurrence(&self) -> &Recurrence {
        &self.opens
    }

    pub fn at(&self, now: Timestamp) -> Look {
        match self.opens.newest(now.minus(self.lasts), now) {
            Some(fire) => Look::Open(self.opening(fire.at)),
            None => Look::Closed { next: self.opens.next_after(now).map(|fire| self.opening(fire.at)) },
        }
    }

    pub fn admission(&self, now: Timestamp) -> Admission {
        let next = match self.at(now) {
            Look::Open(opening) if opening.admits(now) => return Admission::Now { until: opening.cutoff },
            Look::Open(opening) => opening.closes.and_then(|closes| self.opens.next_after(closes)).map(|fire| fire.at),
            Look::Closed { next } => next.map(|opening| opening.opens),
        };
        next.map_or(Admission::Never, Admission::Later)
    }

    fn opening(&self, opens: Timestamp) -> Opening {
        let closes = self.closes(opens);
        Opening { opens, closes, cutoff: closes.map(|closes| closes.minus(self.cutoff)) }
    }

    fn closes(&self, opens: Timestamp) -> Option<Timestamp> {
        let mut newest = opens;
        for _ in 0..JOINED_MAX {
            let closes = newest.plus(self.lasts);
            match self.opens.newest(newest, closes) {
                Some(fire) => newest = fire.at,
                None => return Some(closes),
            }
        }
        None
    }
}
