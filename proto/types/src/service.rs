//! A service as a node is asked to run it, what the node says of it, and the record
//! of each act on it.

use crate::spec::{Drift, HealStep, OnChange, OnNeeds, Restarter, Signal};
use crate::state::words;
use crate::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a restart waits for at first where the spec does not say: nothing, and then
/// this.
pub const DELAY_DEFAULT: Duration = Duration::from_secs(1);
pub const FACTOR_DEFAULT: f64 = 2.0;
pub const CAP_DEFAULT: Duration = Duration::from_secs(300);
pub const ATTEMPTS_DEFAULT: u32 = 5;
pub const WITHIN_DEFAULT: Duration = Duration::from_secs(600);
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);
pub const LOG_FILES_DEFAULT: u32 = 5;

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceAssignment {
    pub name: Name,
    pub runs: Runs,
    pub replicas: u32,
    /// Those that run on this node too.
    pub needs: Vec<Name>,
    pub on_needs: OnNeeds,
    pub restart: RestartPolicy,
    pub stop: StopPolicy,
    pub live: Vec<Name>,
    pub ready: Vec<Name>,
    pub heal: Vec<HealStep>,
    pub files: Vec<FileAssignment>,
    pub packages: Vec<String>,
    /// What happens when others change its files.
    pub drift: Drift,
    /// Where its lines were written, by their paths; the service itself is at "".
    pub origins: BTreeMap<String, String>,
}

impl ServiceAssignment {
    /// One replica that needs nothing, with whatever holds where a spec says nothing.
    pub fn new(name: Name, runs: Runs) -> Self {
        Self {
            name,
            runs,
            replicas: 1,
            needs: Vec::new(),
            on_needs: OnNeeds::Stay,
            restart: RestartPolicy::default(),
            stop: StopPolicy::default(),
            live: Vec::new(),
            ready: Vec::new(),
            heal: Vec::new(),
            files: Vec::new(),
            packages: Vec::new(),
            drift: Drift::Alarm,
            origins: BTreeMap::new(),
        }
    }
}

/// What runs a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Runs {
    /// A unit of its own for each replica, which the agent makes and owns.
    Process(Program),
    /// A unit that is there already.
    Unit {
        name: String,
        restarter: Restarter,
    },
    /// A unit that is written from the spec and stays when the agent goes.
    Written {
        name: String,
        program: Program,
    },
    Container {
        image: String,
        program: Program,
    },
}

/// Texts may hold `${secret:NAME}`, which only the host resolves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Empty for a container that runs what its image says.
    pub command: String,
    pub user: Option<String>,
    pub home: Option<String>,
    pub dirs: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub port: Option<u16>,
    pub limits: Limits,
    pub logs: LogPolicy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// In processors.
    pub cpu: Option<f64>,
    pub files: Option<u64>,
    pub processes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    /// Files that it writes itself.
    pub path: Option<String>,
    pub rotate_bytes: Option<u64>,
    pub every: Option<Duration>,
    pub keep: u32,
    pub compress: bool,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self { path: None, rotate_bytes: None, every: None, keep: LOG_FILES_DEFAULT, compress: true }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RestartPolicy {
    /// Before the first restart.
    pub first: Duration,
    /// Before the second, and growing from there.
    pub delay: Duration,
    pub factor: f64,
    pub cap: Duration,
    pub attempts: u32,
    pub within: Duration,
    /// Healthy for so long, and the counting begins anew.
    pub reset: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first: Duration::ZERO,
            delay: DELAY_DEFAULT,
            factor: FACTOR_DEFAULT,
            cap: CAP_DEFAULT,
            attempts: ATTEMPTS_DEFAULT,
            within: WITHIN_DEFAULT,
            reset: WITHIN_DEFAULT,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopPolicy {
    pub signal: Signal,
    pub grace: Duration,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self { signal: Signal::Term, grace: GRACE_DEFAULT }
    }
}

/// A file that a service reads; its content is fetched by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAssignment {
    pub path: String,
    pub digest: String,
    pub size_bytes: u64,
    pub validate: Option<String>,
    pub change: OnChange,
    /// What its places are filled with; secrets by their names.
    pub with: BTreeMap<String, String>,
    pub owner: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
}

/// Something that holds acts back on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    pub kind: BrakeKind,
    /// The check, where it is about one.
    pub check: Option<Name>,
    /// Until somebody takes it away, where there is none.
    pub until: Option<Timestamp>,
    /// By whom and why.
    pub words: String,
}

impl fmt::Display for Brake {
    /// As acts and listings say it: `frozen by ada: "storage work"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            BrakeKind::CommonCause | BrakeKind::Stale => f.write_str(&self.words),
            kind if self.words.is_empty() => kind.fmt(f),
            kind => write!(f, "{kind} {}", self.words),
        }
    }
}

words! {
    /// What holds acts back.
    BrakeKind {
        /// The whole fleet, by an operator.
        Frozen = "frozen",
        /// This node, by an operator.
        Maintenance = "maintenance",
        /// A check fails on many nodes at once: its cause is none of theirs.
        CommonCause = "common-cause",
        /// This host, by somebody on it.
        Paused = "paused",
        /// What this host knows to be wanted is too old to act on.
        Stale = "stale",
    }
}

words! {
    /// How one replica of a service stands on its node.
    ServiceState {
        /// Not looked at yet.
        Unknown = "unknown",
        /// It waits for what it needs.
        Waiting = "waiting",
        /// It was started and is not known to be well yet.
        Starting = "starting",
        /// It runs, and all that is asked of it is well.
        Running = "running",
        /// It runs, and one of its checks is not passing.
        Unwell = "unwell",
        Stopping = "stopping",
        /// Somebody wants it so.
        Stopped = "stopped",
        /// It ended, and is started again in a while.
        Backoff = "backoff",
        /// It ended too often, and is tried now and then.
        Crashing = "crashing",
        /// It should be started, and something holds that back.
        Held = "held",
    }
}

words! {
    /// What was done, or was not.
    Deed {
        Started = "started",
        Restarted = "restarted",
        Reloaded = "reloaded",
        Stopped = "stopped",
        /// It ran already when the agent came.
        Adopted = "adopted",
        /// It ended, and is not started again yet.
        Ended = "ended",
        /// It should have been done, and was held back.
        Held = "held",
        /// It ends too often.
        Crashing = "crashing",
        /// It is well again after it crashed too often.
        Recovered = "recovered",
        /// Somebody is to look at it.
        Paged = "paged",
        /// It could not be done.
        Failed = "failed",
        /// Others changed what the spec decides.
        Drifted = "drifted",
        /// What others changed is as the spec says again.
        Repaired = "repaired",
    }
}

impl Deed {
    /// People hear of it at once; of the others, who looks.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::Crashing | Self::Paged | Self::Recovered | Self::Drifted)
    }

    /// Somebody did it; the others befell it, or were not done.
    pub const fn is_done(self) -> bool {
        matches!(self, Self::Started | Self::Restarted | Self::Reloaded | Self::Stopped | Self::Repaired)
    }
}

/// One act on one replica, or its refusal, with the reasons. What becomes of it
/// comes later, as the same act with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub id: String,
    pub at: Timestamp,
    pub service: Name,
    pub replica: u32,
    pub deed: Deed,
    /// Who did it, such as an operator; empty: the node itself.
    pub by: String,
    pub saw: Vec<String>,
    pub rule: String,
    /// Where the rule is written, such as `demo/hello.yaml:9`.
    pub origin: String,
    pub allowed: Vec<String>,
    pub refused: Vec<String>,
    pub result: Option<String>,
    /// The last lines that it printed, where it ended.
    pub tail: Vec<String>,
}

impl fmt::Display for Act {
    /// As an event says it: `restarted by itself: ended by KILL after 3m; passing 62 ms later`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deed.is_done() {
            write!(f, "{} by {}", self.deed, if self.by.is_empty() { "itself" } else { &self.by })?;
        }
        match self.saw.first() {
            // It says itself that it ended.
            Some(saw) if self.deed == Deed::Ended => f.write_str(saw)?,
            Some(saw) if self.deed.is_done() => write!(f, ": {saw}")?,
            Some(saw) => write!(f, "{}: {saw}", self.deed)?,
            None if self.deed.is_done() => {}
            None => self.deed.fmt(f)?,
        }
        if let Some(result) = &self.result {
            write!(f, "; {result}")?;
        } else if let Some(refused) = self.refused.first() {
            write!(f, "; {refused}")?;
        }
        Ok(())
    }
}

words! {
    /// What an operator asks of services.
    ServiceVerb {
        Start = "start",
        Stop = "stop",
        Restart = "restart",
        Reload = "reload",
    }
}

impl ServiceVerb {
    pub const fn past(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Restart => "restarted",
            Self::Reload => "reloaded",
        }
    }
}
