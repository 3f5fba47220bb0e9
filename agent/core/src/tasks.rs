//! Tasks of this host: what of them is done when, and that nothing is done twice.
//!
//! It decides only. The journal, units, services and checks are the shell's: it says
//! what it saw ([`Input`]), and carries out what comes back ([`Effect`]) in its order,
//! since what is to be kept is on the disk before anything is done.
//!
//! Absent here: whose turn it is, and what else the fleet does (the control plane's),
//! and what programs print, which the shell reads.

mod action;
mod machine;
mod restored;
mod steps;
mod words;

pub use action::{Acting, Back, Part, PluginAsk, PluginSaid};
pub use machine::Ledger;
pub use restored::{Found, OnHost, Over, Stands};

use hostler_types::service::{FileAssignment, ServiceVerb};
use hostler_types::spec::{Packages, Reboot};
use hostler_types::task::{Action, Command, SystemUser};
use hostler_types::{
    Brake, FetchPath, Name, Stamp, TaskFile, TaskId, TaskOffer, TaskReport, TaskState, TaskStep, Timestamp,
};
use std::time::Duration;

/// Tasks under way at once: more of them would only wait for one disk.
pub const AT_ONCE_MAX: usize = 16;
/// What a task's programs print lies on the host's disk, and nobody reads so much.
pub const PRINTED_MAX: u64 = 64 * 1024 * 1024;
/// How long a program may take to end after it was asked to, before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);
/// With the grace and the executor's own patience behind the kill, it has said what
/// became of it by then, or never does.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Ends are told again when they are asked for. Of so many, or for so long, whichever
/// is more.
pub const OVER_KEPT: usize = 1_000;
pub const OVER_KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// An end takes some tens of bytes in memory and up to 10 KiB on the disk.
pub const OVER_MAX: usize = 10_000;
/// Between looks at a check or a service that a step waits for.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After something of which nobody knows whether it was done, and that can be done again.
pub const RETRY: Duration = Duration::from_secs(5);
/// How long a service that was being restarted may take to be there again after the
/// agent, or the host, was.
pub const SERVICE_PATIENCE: Duration = Duration::from_secs(60);

/// What is kept of a task that is not over. It is written before what it says is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub offer: TaskOffer,
    pub report: TaskReport,
    /// When its present step began: the first that is not done.
    pub step_began: Timestamp,
    /// In which life of the host.
    pub boot: String,
    /// For how long the host had been up then: nobody sets that clock.
    pub uptime: Duration,
    /// How much was left then of the time that all of it may take.
    pub left: Duration,
    /// What its steps said that are done.
    pub said: String,
    /// What its plugins did, for people: a part of the output.
    pub notes: String,
    /// Of the present step, where that is a plugin's and has its plan.
    pub acting: Option<Acting>,
    /// Why it is to end, by somebody's wish.
    pub cancel: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    Open(Box<Record>),
    /// For good: whoever asks for it again hears this.
    Over {
        report: Box<TaskReport>,
        stamp: Stamp,
    },
}

impl Record {
    /// What the program of that step is to bring back, while it is the present one.
    pub fn fetch_of(&self, step: u32) -> Option<Fetch> {
        let present = self.offer.steps.get(usize::try_from(step).ok()?).filter(|_| self.report.done == step);
        let Some(TaskStep::Command(Command { fetch, user, free, .. })) = present else { return None };
        let first = self.report.files.len();
        let all = || Fetch { paths: fetch.clone(), user: user.clone(), free: *free, first };
        (!fetch.is_empty()).then(all)
    }
}

impl Kept {
    pub const fn id(&self) -> &TaskId {
        match self {
            Self::Open(record) => &record.offer.id,
            Self::Over { report, .. } => &report.id,
        }
    }
}

/// What a task's programs left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The last of what they printed.
    pub text: String,
    /// So much came before that.
    pub cut_bytes: u64,
    /// Those of one program that were asked to come back, in their order.
    pub files: Vec<TaskFile>,
}

/// What the present program is to bring back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub paths: Vec<FetchPath>,
    /// Who has to be able to read them.
    pub user: Option<String>,
    /// The program stands in no spec.
    pub free: bool,
    /// Files of the steps before: by its place among all, each is known.
    pub first: usize,
}

/// How a step came to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Done {
        words: String,
        changed: bool,
    },
    Failed(String),
    /// By the host's own policy.
    Refused(String),
    Exit(i32),
    Signal(i32),
    OutOfMemory,
    /// It may have been done, or not.
    Unknown(String),
}

/// How a check stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStands {
    pub passing: bool,
    pub last_run: Timestamp,
    /// What it says of itself.
    pub words: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Restored(Box<Found>),
    Offer {
        offer: Box<TaskOffer>,
        /// What the control plane's clock shows.
        corrected: Timestamp,
    },
    /// What the host begins by itself, since it is cut off: nobody else asked for it.
    Alone {
        schedule: Name,
        offer: Box<TaskOffer>,
        corrected: Timestamp,
    },
    Cancel {
        id: TaskId,
        stamp: Stamp,
        words: String,
    },
    /// The program of that step runs.
    Began {
        id: TaskId,
        step: u32,
    },
    /// So much so far, of all its steps.
    Printed {
        id: TaskId,
        bytes: u64,
    },
    Ended {
        id: TaskId,
        step: u32,
        fate: Fate,
        output: Option<Output>,
    },
    /// Nothing: there is no such check on this node.
    CheckSeen {
        id: TaskId,
        step: u32,
        seen: Option<CheckStands>,
    },
    /// For how long all of it runs, if it does.
    ServiceSeen {
        id: TaskId,
        step: u32,
        runs_for: Option<Duration>,
    },
    /// What a plugin answers to what it was asked.
    PluginSaid {
        id: TaskId,
        step: u32,
        ask: PluginAsk,
        said: PluginSaid,
    },
    /// What holds acts back on this host, all of it.
    Brakes(Vec<Brake>),
    /// Whoever signs what is wanted here has this stamp.
    Ruled(Stamp),
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Durable before any effect behind it is carried out.
    Keep(Kept),
    /// Answered by [`Input::Began`] and, in the end, [`Input::Ended`].
    Start {
        id: TaskId,
        step: u32,
        command: Command,
    },
    /// It runs already: its end is waited for.
    Follow {
        id: TaskId,
        step: u32,
    },
    /// With all that it started, after [`GRACE`]; also what is left of one that ended.
    Stop {
        id: TaskId,
        step: u32,
    },
    Service {
        id: TaskId,
        step: u32,
        service: Name,
        verb: ServiceVerb,
        by: String,
        reason: String,
    },
    LookAtService {
        id: TaskId,
        step: u32,
        service: Name,
    },
    /// It runs now, whenever its turn would be.
    LookAtCheck {
        id: TaskId,
        step: u32,
        check: Name,
    },
    Packages {
        id: TaskId,
        step: u32,
        which: Packages,
    },
    User {
        id: TaskId,
        step: u32,
        user: SystemUser,
    },
    File {
        id: TaskId,
        step: u32,
        file: Box<FileAssignment>,
    },
    Firewall {
        id: TaskId,
        step: u32,
        rules: String,
        revert: Duration,
    },
    /// Answered by [`Input::PluginSaid`].
    Plugin {
        id: TaskId,
        step: u32,
        action: Action,
        ask: PluginAsk,
    },
    /// Nothing answers one that is done.
    Reboot {
        id: TaskId,
        step: u32,
        when: Reboot,
    },
    /// For this host's log alone: whoever rules by now offers the same, and would take a
    /// word of it for the answer to that.
    Stale {
        id: TaskId,
        words: String,
    },
    /// A picture, for whoever is connected.
    Report(TaskReport),
    /// To be told until it is heard.
    End(Box<TaskReport>),
    /// As it was kept.
    TellAgain(TaskId),
    Forget(TaskId),
}

impl Effect {
    /// The step it begins, if it is what `kept` was written down for: it is not done where
    /// that can't be. What is undone is undone all the same.
    pub fn begun_by(&self, kept: &Kept) -> Option<u32> {
        let Kept::Open(record) = kept else { return None };
        let (Self::Start { id, step, .. }
        | Self::Service { id, step, .. }
        | Self::LookAtCheck { id, step, .. }
        | Self::Packages { id, step, .. }
        | Self::User { id, step, .. }
        | Self::File { id, step, .. }
        | Self::Firewall { id, step, .. }
        | Self::Plugin { id, step, ask: PluginAsk::Plan | PluginAsk::Apply { .. }, .. }
        | Self::Reboot { id, step, .. }) = self
        else {
            return None;
        };
        (*id == record.offer.id && *step == record.report.done).then_some(*step)
    }
}

/// The unit that runs a step.
pub fn unit_of(id: &TaskId, step: u32) -> String {
    format!("{UNIT_HEAD}{id}.{step}.service")
}

const UNIT_HEAD: &str = "hostler-task-";

/// Whose step a unit is.
pub fn step_of(unit: &str) -> Option<(TaskId, u32)> {
    let (id, step) = unit.strip_prefix(UNIT_HEAD)?.strip_suffix(".service")?.rsplit_once('.')?;
    Some((TaskId::parse(id).ok()?, step.parse().ok()?))
}

/// A control plane whose time is over asks for nothing.
const fn is_older(stamp: Stamp, highest: Stamp) -> bool {
    stamp.lineage < highest.lineage || (stamp.lineage == highest.lineage && stamp.term < highest.term)
}

fn over(id: TaskId, state: TaskState, at: Timestamp, words: impl Into<String>) -> TaskReport {
    debug_assert!(state.is_over());
    TaskReport::new(id, state, at, words)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
