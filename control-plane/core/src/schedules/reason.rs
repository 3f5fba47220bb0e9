//! Why a fire does not run, or not yet, in words.

use hostler_types::Timestamp;
use hostler_types::calendar::{Recurrence, in_words};
use std::time::Duration;

/// Nothing fires while it lasts, and nothing is made up for afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    Paused { by: String },
    Frozen { by: String, reason: String },
}

/// What a fire waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    Window { opens: Timestamp },
    Running(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Missed { late_by: Duration },
    TooLate { late_by: Duration, deadline: Duration },
    TooMany,
    Newer(Timestamp),
    WindowClosed { opens: Option<Timestamp>, deadline: Duration },
    StillRunning(Timestamp),
    Held(Hold),
}

impl Hold {
    pub fn words(&self) -> String {
        match self {
            Self::Paused { by } => format!("paused by {by}"),
            Self::Frozen { by, reason } => format!("frozen {}", crate::brakes::words(by, reason)),
        }
    }
}

impl Delay {
    /// Times are said in the schedule's own zone.
    pub fn words(&self, recurrence: &Recurrence, now: Timestamp) -> String {
        match self {
            Self::Window { opens } => format!("its window opens {}", recurrence.say_when(*opens, now)),
            Self::Running(fire) => format!("the one of {} still runs", recurrence.say(*fire, now)),
        }
    }
}

impl Reason {
    pub fn words(&self, recurrence: &Recurrence, now: Timestamp) -> String {
        match self {
            Self::Missed { late_by } => {
                format!("missed by {}; it says missed: skip", in_words(*late_by))
            }
            Self::TooLate { late_by, deadline } => {
                format!("{} late, and its deadline is {}", in_words(*late_by), in_words(*deadline))
            }
            Self::TooMany => {
                format!("more than {} were missed; the newest are made up for", super::MADE_UP_MAX)
            }
            Self::Newer(at) => format!("the one of {} stands for it", recurrence.say(*at, now)),
            Self::WindowClosed { opens: Some(opens), deadline } => format!(
                "its window is closed until {}, and its deadline is {}",
                recurrence.say(*opens, now),
                in_words(*deadline)
            ),
            Self::WindowClosed { opens: None, .. } => "its window does not open again".to_owned(),
            Self::StillRunning(fire) => {
                format!("the one of {} still runs; it says overlap: forbid", recurrence.say(*fire, now))
            }
            Self::Held(hold) => hold.words(),
        }
    }
}
