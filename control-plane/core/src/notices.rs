//! Telling people: what is worth telling, whom, when, and in which words.
//!
//! [`alerts`] decides from the states of checks and nodes what is wrong and what
//! of it is to be told; [`outbox`] keeps each notice until a notifier's server has
//! taken it. Both are level-triggered: after a restart they are given what is kept
//! and what is now, and go on. Nothing here sends.

pub mod alerts;
mod fleet;
pub mod notice;
pub mod outbox;
pub mod rules;
pub mod silence;

pub use alerts::{Ack, Alert, Alerts, Effect, Input, Seen, Tell, Told};
pub use hostler_types::notice::{Notice, What};
pub use hostler_types::notifier::Notifier;
pub use outbox::{Outbox, Outcome, Waiting};
pub use rules::{Rule, Rules};
pub use silence::Silence;

use hostler_types::Name;
use std::fmt;

/// What an alert is about; there is at most one alert about each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Most of the fleet together: then the fault is likely here, or in the network.
    Fleet,
    /// A check that fails on many nodes at once, and waits to be looked at as one.
    Cause(Name),
    /// A schedule whose newest run failed.
    Schedule(Name),
    Node(Name),
    Check {
        node: Name,
        check: Name,
    },
}

/// No name is written in capitals, so that no node can be meant.
const FLEET: &str = "FLEET";
const SCHEDULE: &str = "SCHEDULE";

impl Subject {
    pub fn node(&self) -> Option<&Name> {
        match self {
            Self::Fleet | Self::Cause(_) | Self::Schedule(_) => None,
            Self::Node(node) | Self::Check { node, .. } => Some(node),
        }
    }

    pub fn check(&self) -> Option<&Name> {
        match self {
            Self::Cause(check) | Self::Check { check, .. } => Some(check),
            Self::Fleet | Self::Schedule(_) | Self::Node(_) => None,
        }
    }

    pub fn schedule(&self) -> Option<&Name> {
        match self {
            Self::Schedule(schedule) => Some(schedule),
            _ => None,
        }
    }

    /// As it is printed: `web1`, `web1/disk`, `FLEET`, `FLEET/disk` or `SCHEDULE/nightly`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == FLEET {
            return Some(Self::Fleet);
        }
        match text.split_once('/') {
            None => Some(Self::Node(Name::new(text).ok()?)),
            Some((FLEET, check)) => Some(Self::Cause(Name::new(check).ok()?)),
            Some((SCHEDULE, schedule)) => Some(Self::Schedule(Name::new(schedule).ok()?)),
            Some((node, check)) => Some(Self::Check { node: Name::new(node).ok()?, check: Name::new(check).ok()? }),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str(FLEET),
            Self::Cause(check) => write!(f, "{FLEET}/{check}"),
            Self::Schedule(schedule) => write!(f, "{SCHEDULE}/{schedule}"),
            Self::Node(node) => write!(f, "{node}"),
            Self::Check { node, check } => write!(f, "{node}/{check}"),
        }
    }
}

/// How it is bad; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Warning,
    Unknown,
    Critical,
    Lost,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Warning, Self::Unknown, Self::Critical, Self::Lost];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
            Self::Lost => "lost",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}
