//! One program of a service.

use super::pace::Pace;
use super::{End, Key, Prints, Standing};
use hostler_types::service::Act;
use hostler_types::{Name, Now, ServiceState, Timestamp};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// It is being looked at.
    Unknown,
    /// It was looked at in vain; again then.
    LookAt(Duration),
    Down,
    Waiting(Vec<Name>),
    Held {
        words: String,
        /// Tried again then, whatever holds.
        again: Option<Duration>,
    },
    Backoff {
        until: Duration,
        crashing: bool,
    },
    /// systemd starts it again; looked at then.
    Theirs {
        until: Duration,
    },
    Starting {
        op: u64,
    },
    Up,
    Stopping {
        op: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub phase: Phase,
    pub since: Timestamp,
    pub pid: Option<u32>,
    /// Of the program that runs; monotonic and wall.
    pub started: Option<(Duration, Timestamp)>,
    /// What it was started as.
    pub runs_as: Option<u64>,
    /// The files as it has read them; where nobody knows, as they are.
    pub read: Option<Prints>,
    /// It is told to read these.
    pub reading: Option<Prints>,
    /// It is to be stopped, and then started again.
    pub bounce: bool,
    /// A stop or a reload that failed is not tried again before then.
    pub not_before: Duration,
    /// Somebody asked for it, so that what holds the host's own acts back does not hold.
    pub forced: bool,
    pub restarts: u64,
    pub pace: Pace,
    pub last_end: Option<End>,
    /// Its next start is one of its own accord, and counts.
    pub by_itself: bool,
    /// The act whose result is not known yet, and when it began.
    pub act: Option<(Act, Duration)>,
    /// It ended too often, and nobody was told that it is over.
    pub crashing: bool,
}

impl Replica {
    pub fn new(now: Now) -> Self {
        Self {
            phase: Phase::Unknown,
            since: now.wall,
            pid: None,
            started: None,
            runs_as: None,
            read: None,
            reading: None,
            bounce: false,
            not_before: Duration::ZERO,
            forced: false,
            restarts: 0,
            pace: Pace::default(),
            last_end: None,
            by_itself: false,
            act: None,
            crashing: false,
        }
    }

    pub fn enter(&mut self, now: Now, phase: Phase) {
        if std::mem::discriminant(&self.phase) != std::mem::discriminant(&phase) {
            self.since = now.wall;
        }
        if !matches!(phase, Phase::Up | Phase::Stopping { .. }) {
            (self.pid, self.started) = (None, None);
        }
        self.phase = phase;
    }

    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Nothing of it runs, or will without us.
    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Down | Phase::Waiting(_) | Phase::Held { .. } | Phase::Backoff { .. })
    }

    pub fn deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::LookAt(until) | Phase::Backoff { until, .. } | Phase::Theirs { until } => Some(*until),
            Phase::Held { again, .. } => *again,
            Phase::Up if !self.not_before.is_zero() => Some(self.not_before),
            _ => None,
        }
    }

    pub fn standing(&self, key: Key, now: Now, well: bool, stopped: bool) -> Standing {
        let ended = || self.last_end.as_ref().map(ToString::to_string).unwrap_or_default();
        let soon = |until: &Duration| {
            let wait = until.saturating_sub(now.monotonic);
            hostler_types::units::format_age(wait)
        };
        let (state, words) = match &self.phase {
            Phase::Unknown | Phase::LookAt(_) => (ServiceState::Unknown, String::new()),
            Phase::Down if stopped => (ServiceState::Stopped, String::new()),
            Phase::Down => (ServiceState::Stopped, ended()),
            Phase::Waiting(needs) => {
                let needs: Vec<&str> = needs.iter().map(Name::as_str).collect();
                (ServiceState::Waiting, format!("for {}", needs.join(", ")))
            }
            Phase::Held { words, .. } => (ServiceState::Held, words.clone()),
            Phase::Backoff { until, crashing } => {
                let state = if *crashing { ServiceState::Crashing } else { ServiceState::Backoff };
                (state, format!("{}; again in {}", ended(), soon(until)))
            }
            Phase::Theirs { .. } => (ServiceState::Backoff, format!("{}; systemd starts it again", ended())),
            Phase::Starting { .. } => (ServiceState::Starting, String::new()),
            Phase::Up if well => (ServiceState::Running, String::new()),
            Phase::Up => (ServiceState::Starting, String::new()),
            Phase::Stopping { .. } => (ServiceState::Stopping, String::new()),
        };
        let started = self.started.map(|(_, wall)| wall);
        let (pid, since, restarts) = (self.pid, self.since, self.restarts);
        Standing { key, state, since, pid, started, restarts, words, stopped }
    }
}
