//! Services of this host: in which order they start, what happens when one ends or
//! fails its checks, and what holds that back.
//!
//! It decides only. Units, processes and checks are the shell's: it says what it saw
//! ([`Input`]), and carries out what comes back ([`Effect`]). Every decision is made
//! anew from how things stand, so that whatever was missed is caught up with.
//!
//! Absent here: how a service is run, and what the fleet knows (whether others fail as
//! well is asked of the control plane).

mod doing;
mod drift;
mod files;
mod fingerprint;
mod healing;
mod machine;
mod orders;
mod pace;
mod replica;
mod seen;
mod service;
mod words;

pub use drift::{DROP_IN, Drifted, Found, Looking, Stands, Stood, Tries, UNIT_FOLDER, unit_path};
pub use files::{Prints, files_fingerprint};
pub use fingerprint::fingerprint;
pub use machine::Supervisor;

use hostler_types::service::Act;
use hostler_types::{Brake, CheckState, Name, ServiceAssignment, ServiceState, ServiceVerb, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A program that has run for so long did not fail to start; it is well if it has no
/// check that says so.
pub const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// For so long after its start a service's failing checks do not count, unless their
/// own grace is longer: as long as most services take to start.
pub const START_GRACE: Duration = Duration::from_secs(30);
/// While a service is not well yet, its checks run each time that its age has grown
/// by a twelfth: what waits for it waits a tenth longer than it must, at most.
pub const PROBE_SHARE: u32 = 12;
pub const PROBE_MIN: Duration = Duration::from_millis(20);
pub const PROBE_MAX: Duration = Duration::from_secs(1);
/// From here on its checks come at their own turns alone.
pub const PROBE_FOR: Duration = Duration::from_secs(300);
/// How long the control plane may take to say whether a node may heal; it waits for
/// other nodes up to a minute.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(90);
/// After a refusal. Others' troubles end by themselves, and then it heals soon.
pub const ASK_AGAIN: Duration = Duration::from_secs(10);
/// What the host's own policy refused is not tried at once again.
pub const REFUSED_AGAIN: Duration = Duration::from_secs(300);
/// A stop or a look that failed.
pub const RETRY: Duration = Duration::from_secs(5);
/// Between looks at a unit that systemd is to start again.
pub const THEIRS_AGAIN: Duration = Duration::from_secs(1);

/// One of the programs that a service consists of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub service: Name,
    pub replica: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.replica)
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    Exit(i32),
    /// Another one, by its name, listens where it wanted to.
    PortTaken {
        code: i32,
        port: u16,
        by: String,
    },
    Signal(i32),
    OutOfMemory {
        limit_bytes: Option<u64>,
        peak_bytes: Option<u64>,
    },
    /// By somebody's wish, who did not tell us.
    Stopped,
    /// It could not be started.
    Never(String),
    /// It is gone, and nobody knows how.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub how: How,
    /// The last lines that it printed.
    pub tail: Vec<String>,
}

/// What a look at a replica found.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Running {
        pid: Option<u32>,
        /// For how long, if it is known.
        age: Option<Duration>,
    },
    /// Somebody else is about to start it.
    Coming,
    Ended(End),
    /// It was not started since the host was.
    Nothing,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The host's own policy does not allow it.
    Refused(String),
    Failed(String),
    /// Nobody knows whether it was done.
    Lost(String),
}

impl Trouble {
    pub fn into_words(self) -> String {
        match self {
            Self::Refused(words) | Self::Failed(words) | Self::Lost(words) => words,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Input {
    /// All services, as they should be from now on.
    Configure(Vec<ServiceAssignment>),
    Looked {
        key: Key,
        seen: Seen,
    },
    Started {
        key: Key,
        op: u64,
        result: Result<Option<u32>, Trouble>,
    },
    Stopped {
        key: Key,
        op: u64,
        result: Result<(), Trouble>,
    },
    Reloaded {
        key: Key,
        result: Result<(), Trouble>,
    },
    /// Its files were put in place, as far as they could be.
    FilesPut {
        service: Name,
        put: FilesPut,
    },
    /// How files stand of which it was asked: [`Supervisor::to_look_at`].
    FilesLooked {
        service: Name,
        era: u64,
        found: Vec<Found>,
    },
    /// The file that systemd reads for it was written, or stands there as it should.
    UnitPut {
        service: Name,
        put: Result<Placed, Trouble>,
    },
    /// Its main process is gone.
    Ended {
        key: Key,
        pid: Option<u32>,
        end: End,
    },
    /// It runs by another hand, or under another number.
    Appeared {
        key: Key,
        pid: Option<u32>,
    },
    Checked(Checked),
    Order(Order),
    Brakes(Vec<Brake>),
    Link {
        connected: bool,
    },
    HealAnswer {
        id: u64,
        allowed: bool,
        words: Vec<String>,
    },
    Tick,
}

/// What became of a service's files.
#[derive(Clone, Debug, Default)]
pub struct FilesPut {
    /// Of [`Effect::PutFiles`]; without one it was a part of a start.
    pub op: Option<u64>,
    /// Which ones: [`files_fingerprint`].
    pub wanted: u64,
    /// Those that stand there now as they should.
    pub placed: Vec<Placed>,
    /// Why the rest does not.
    pub trouble: Option<Trouble>,
    /// Those that were looked at and left, since others changed them.
    pub found: Vec<Found>,
}

#[derive(Clone, Debug)]
pub struct Placed {
    pub path: String,
    pub print: u64,
    /// Another stood there before, or none.
    pub changed: bool,
    /// How it was put; nothing where it was left as it is.
    pub stood: Option<Stood>,
}

/// One result of a check.
#[derive(Clone, Debug)]
pub struct Checked {
    pub check: Name,
    pub good: bool,
    /// What it led to, after thresholds.
    pub state: CheckState,
    pub summary: String,
    /// When the run began: one from before a start says nothing about it.
    pub began: Duration,
    /// It has passed since its own last change.
    pub proven: bool,
}

/// What a person asks, through the control plane or on the host itself.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: u64,
    pub service: Name,
    pub verb: ServiceVerb,
    pub by: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    Refused,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Say how it stands: [`Input::Looked`].
    Look {
        key: Key,
    },
    Start {
        key: Key,
        op: u64,
    },
    Stop {
        key: Key,
        op: u64,
    },
    Reload {
        key: Key,
    },
    /// Put its files in place and its packages, while it runs: [`Input::FilesPut`].
    PutFiles {
        service: Name,
        op: u64,
    },
    /// Write the file that systemd reads for it, as the spec says: [`Input::UnitPut`].
    PutUnit {
        service: Name,
    },
    /// Run it now.
    Probe {
        check: Name,
    },
    /// Its bad results do not count before then.
    Forgive {
        check: Name,
        until: Duration,
    },
    /// Ask the control plane.
    Ask {
        id: u64,
        service: Name,
        check: Name,
        step: &'static str,
    },
    Record(Box<Act>),
    Answer {
        id: u64,
        outcome: Outcome,
        words: String,
    },
    /// Make [`Supervisor::kept`] durable.
    Keep,
    /// It is none of ours any more: nothing that was written for it stays.
    Left(Arc<ServiceAssignment>),
}

/// What must survive a restart of the agent and of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub services: BTreeMap<Name, KeptService>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptService {
    /// By whose wish it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// What each replica was started as.
    #[serde(default)]
    pub started: BTreeMap<u32, u64>,
    #[serde(default)]
    pub restarts: u64,
    /// Its files as they stand on the host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placed: Prints,
    /// What each replica has read of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub read: BTreeMap<u32, Prints>,
    /// How its files were put, which of them others changed, and what was done about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stood: BTreeMap<String, Stood>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drifted: BTreeMap<String, Drifted>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tries: BTreeMap<String, Tries>,
    /// Which files were all put last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<u64>,
    /// What runs of it goes with its spec, even if that goes while nobody looks.
    #[serde(default)]
    pub owned: bool,
    /// The unit that was written for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub container: bool,
}

/// How one replica stands, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub key: Key,
    pub state: ServiceState,
    pub since: Timestamp,
    pub pid: Option<u32>,
    pub started: Option<Timestamp>,
    pub restarts: u64,
    pub words: String,
    /// By an operator's wish.
    pub stopped: bool,
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
