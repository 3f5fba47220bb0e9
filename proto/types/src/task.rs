//! A task: steps that one node is asked to do in their order, and what became of them.

use crate::fetch::{FetchPath, TaskFile};
use crate::service::{FileAssignment, ServiceVerb};
use crate::spec::{Packages, Reboot};
use crate::state::words;
use crate::{Name, Stamp, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A node does a task of one id at most once, whatever it hears again.
///
/// It names the run that the task is of. Of a schedule's run it names the schedule and
/// the time at which that was due, since a node that is cut off begins it by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(String);

/// Names the unit that runs a step, which systemd limits to 255.
const TASK_ID_BYTES_MAX: usize = 120;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a task: up to {TASK_ID_BYTES_MAX} letters, digits, - and .")]
pub struct TaskIdError(String);

impl TaskId {
    pub fn of_run(lineage: u64, number: u64) -> Self {
        Self(format!("run-{lineage}-{number}"))
    }

    pub fn of_fire(schedule: &Name, due: Timestamp) -> Self {
        Self(format!("{schedule}.{}", due.as_millis() / 1000))
    }

    /// Which schedule it is of, and when that was due.
    pub fn fire(&self) -> Option<(Name, Timestamp)> {
        let (schedule, second) = self.0.rsplit_once('.')?;
        let due = second.parse::<u64>().ok()?.checked_mul(1000)?;
        Some((Name::new(schedule).ok()?, Timestamp::from_millis(due)))
    }

    pub fn parse(text: &str) -> Result<Self, TaskIdError> {
        let fits = !text.is_empty() && text.len() <= TASK_ID_BYTES_MAX;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits && begins && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TaskIdError(text.chars().take(TASK_ID_BYTES_MAX).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

words! {
    /// Where one node's task of a run stands.
    TaskState {
        /// Its turn has not come.
        Planned = "planned",
        /// It was sent, and the node has not said that it has it.
        Offered = "offered",
        /// The node has it on its disk.
        Accepted = "accepted",
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        /// It was ended, since it took longer than it may.
        TimedOut = "timed-out",
        /// Somebody ended it.
        Cancelled = "cancelled",
        /// Its host or its agent died in the middle of something that is not done twice.
        Interrupted = "interrupted",
        /// The host's own policy, or something that holds on the node, forbids it.
        Refused = "refused",
        /// The node had it, and was not heard of again: it may have been done, or not.
        Lost = "lost",
        /// It never reached the node, which did nothing.
        Undelivered = "undelivered",
        /// The run ended before its turn came.
        Skipped = "skipped",
    }
}

impl TaskState {
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Planned | Self::Offered | Self::Accepted | Self::Running)
    }

    /// The node has it, or may have.
    pub const fn is_out(self) -> bool {
        matches!(self, Self::Offered | Self::Accepted | Self::Running)
    }

    /// Its control plane said so by itself: a node that did it while it was cut off knows
    /// better.
    pub const fn may_be_another(self) -> bool {
        matches!(self, Self::Lost | Self::Undelivered | Self::Skipped)
    }

    /// It counts against the errors that a run may have. What never reached its node
    /// is told, and is no failure.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::Interrupted | Self::Refused | Self::Lost)
    }
}

/// One thing that a task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStep {
    Command(Command),
    Service {
        service: Name,
        verb: ServiceVerb,
    },
    Packages(Packages),
    Reboot(Reboot),
    /// Until the check passes, for so long at most.
    Check {
        check: Name,
        within: Duration,
    },
    Wait(Duration),
    /// Out of the load balancers, and back.
    Drain,
    Undrain,
    /// It is there afterwards.
    User(SystemUser),
    /// It stands so afterwards.
    File(Box<FileAssignment>),
    /// Rules of nftables, by their digest; those before come back unless the host reaches
    /// its control plane within that time.
    Firewall {
        rules: String,
        revert: Duration,
    },
    /// What a plugin plans and then does, each step of it under one key.
    Action(Box<Action>),
}

/// A plugin of world action, and what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub plugin: Name,
    /// A map of the plugin's own fields; secrets by their names.
    pub with_json: String,
}

/// As it is told: more of a value is in the spec.
const SHOWN_CHARACTERS_MAX: usize = 40;

impl fmt::Display for Action {
    /// `haproxy-server backend=shop server=web1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.plugin)?;
        let with: Map<String, Value> = serde_json::from_str(&self.with_json).unwrap_or_default();
        for (key, value) in with {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
                Some((at, _)) => write!(f, " {key}={}...", text.get(..at).unwrap_or_default())?,
                None => write!(f, " {key}={text}")?,
            }
        }
        Ok(())
    }
}

/// A user without a shell, with a group of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemUser {
    pub name: String,
    pub home: Option<String>,
    /// Those that it is in besides its own.
    pub groups: Vec<String>,
}

/// Without any output or after any end it is done once: what it does is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// A program and its arguments.
    pub argv: Vec<String>,
    /// The digest of a script, which is the program then.
    pub script: Option<String>,
    /// Without one: a user without rights, and never the agent's.
    pub user: Option<String>,
    /// Secrets by their names.
    pub env: BTreeMap<String, String>,
    /// It stands in no spec: a host may refuse such.
    pub free: bool,
    /// Files that come back when it has ended, as its user can read them. With any, it
    /// begins in an empty folder of its own, which goes with it.
    pub fetch: Vec<FetchPath>,
}

impl TaskStep {
    /// Whether it takes something away from those that the node serves.
    pub const fn disturbs(&self) -> bool {
        match self {
            Self::Service { verb, .. } => matches!(verb, ServiceVerb::Restart | ServiceVerb::Stop),
            Self::Reboot(_) | Self::Drain => true,
            // It may be anything that its grants allow.
            Self::Action(_) => true,
            Self::Packages(_) | Self::Command(_) | Self::Check { .. } | Self::Wait(_) | Self::Undrain => false,
            Self::User(_) | Self::File(_) | Self::Firewall { .. } => false,
        }
    }

    /// Whether its node is not known to be well when it is done.
    pub const fn settles(&self) -> bool {
        matches!(self, Self::Reboot(_) | Self::Service { verb: ServiceVerb::Stop, .. })
    }

    /// Whether their node is not known to be well when all of them are done: a check behind
    /// says that it is.
    pub fn leave_unsettled(steps: &[Self]) -> bool {
        let last = steps.iter().rposition(Self::settles);
        last.is_some_and(|last| !steps.iter().skip(last).any(|step| matches!(step, Self::Check { .. })))
    }

    /// The digest of what its node has to have for it.
    pub fn content(&self) -> Option<&str> {
        match self {
            Self::File(file) => Some(&file.digest),
            Self::Firewall { rules, .. } => Some(rules),
            Self::Command(command) => command.script.as_deref(),
            _ => None,
        }
    }

    /// Whether it may be done again when nobody knows if it was done.
    pub const fn is_idempotent(&self) -> bool {
        match self {
            Self::Command(_) => false,
            Self::Service { verb, .. } => matches!(verb, ServiceVerb::Start | ServiceVerb::Stop),
            Self::Packages(_) | Self::Reboot(_) | Self::Check { .. } => true,
            Self::Wait(_) | Self::Drain | Self::Undrain => true,
            Self::User(_) | Self::File(_) | Self::Firewall { .. } => true,
            // By its keys.
            Self::Action(_) => true,
        }
    }
}

impl fmt::Display for TaskStep {
    /// As listings say it: `restart hello`, `reboot if-needed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(Command { argv, script, .. }) => {
                let shell = argv.first().is_some_and(|program| program == "/bin/sh");
                match argv.as_slice() {
                    [_, flag, text] if shell && flag == "-c" => f.write_str(text),
                    _ if script.is_some() => write!(f, "script {}", argv.join(" ")),
                    _ => f.write_str(&argv.join(" ")),
                }
            }
            Self::Service { service, verb } => write!(f, "{verb} {service}"),
            Self::Packages(which) => write!(f, "packages {}", which.word()),
            Self::Reboot(when) => write!(f, "reboot {}", when.word()),
            Self::Check { check, .. } => write!(f, "check {check}"),
            Self::Wait(time) => write!(f, "wait {}", crate::units::format_duration(*time)),
            Self::Drain => f.write_str("drain"),
            Self::Undrain => f.write_str("undrain"),
            Self::User(user) => write!(f, "user {}", user.name),
            Self::File(file) => write!(f, "file {}", file.path),
            Self::Firewall { .. } => f.write_str("firewall"),
            Self::Action(action) => write!(f, "action {action}"),
        }
    }
}

/// What a node is asked to do once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskOffer {
    pub id: TaskId,
    /// Of the control plane that asks: one whose history ended asks for nothing.
    pub stamp: Stamp,
    /// What people call the run: `run/7`, or the schedule that fired.
    pub title: String,
    pub by: String,
    pub reason: String,
    pub steps: Vec<TaskStep>,
    /// All steps together, from the first one's beginning.
    pub timeout: Duration,
    /// It is not begun later than this, by corrected time.
    pub begin_by: Timestamp,
}

/// How a task stands, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReport {
    pub id: TaskId,
    pub state: TaskState,
    pub at: Timestamp,
    /// When its first step began.
    pub began: Option<Timestamp>,
    /// Steps that are done.
    pub done: u32,
    /// Why it ended so, or what it does now.
    pub words: String,
    /// Of the last program that ended by itself.
    pub exit: Option<i32>,
    /// What its programs printed: the last of it.
    pub output: String,
    /// So much came before that.
    pub output_cut_bytes: u64,
    /// Whether anything on the host is another than before.
    pub changed: bool,
    /// What was asked to come back.
    pub files: Vec<TaskFile>,
}

impl TaskReport {
    pub fn new(id: TaskId, state: TaskState, at: Timestamp, words: impl Into<String>) -> Self {
        Self {
            id,
            state,
            at,
            began: None,
            done: 0,
            words: words.into(),
            exit: None,
            output: String::new(),
            output_cut_bytes: 0,
            changed: false,
            files: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_units_and_nothing_else() {
        let id = TaskId::of_run(1_763_000_000, 7);
        assert_eq!(id.as_str(), "run-1763000000-7");
        assert_eq!(TaskId::parse(id.as_str()), Ok(id));
        let patch = Name::new("patch").expect("a name");
        assert_eq!(TaskId::of_fire(&patch, Timestamp::from_millis(5_500)).as_str(), "patch.5");
        let dotted = Name::new("shop.2").expect("a name");
        let due = Timestamp::from_millis(7_000);
        assert_eq!(TaskId::of_fire(&dotted, due).fire(), Some((dotted, due)));
        assert_eq!(TaskId::of_run(1, 7).fire(), None);
        for text in ["", "../x", "a/b", ".hidden", "a b", "-x", &"x".repeat(121)] {
            assert!(TaskId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn steps_say_what_they_do() {
        let shell = Command { argv: ["/bin/sh", "-c", "df | tail"].map(str::to_owned).into(), ..Command::default() };
        assert_eq!(TaskStep::Command(shell).to_string(), "df | tail");
        let plain = Command { argv: ["uptime", "-p"].map(str::to_owned).into(), ..Command::default() };
        assert_eq!(TaskStep::Command(plain).to_string(), "uptime -p");
        let hello = Name::new("hello").expect("a name");
        let restart = TaskStep::Service { service: hello, verb: ServiceVerb::Restart };
        assert_eq!(restart.to_string(), "restart hello");
        assert!(restart.disturbs() && !restart.is_idempotent());
        let with_json = r#"{"backend": "shop", "password": "${secret:x}", "ports": [80], "server": "web1"}"#.to_owned();
        let plugin = Name::new("haproxy-server").expect("a name");
        let action = TaskStep::Action(Box::new(Action { plugin, with_json }));
        let words = "action haproxy-server backend=shop password=${secret:x} ports=[80] server=web1";
        assert_eq!(action.to_string(), words);
        assert!(action.disturbs() && action.is_idempotent());
    }

    #[test]
    fn a_check_behind_a_reboot_says_that_its_node_is_well() {
        let check = || TaskStep::Check { check: Name::new("ok").expect("a name"), within: Duration::ZERO };
        let reboot = || TaskStep::Reboot(Reboot::IfNeeded);
        assert!(TaskStep::leave_unsettled(&[check(), reboot()]));
        assert!(!TaskStep::leave_unsettled(&[check(), reboot(), TaskStep::Undrain, check()]));
        assert!(!TaskStep::leave_unsettled(&[check()]));
    }
}
