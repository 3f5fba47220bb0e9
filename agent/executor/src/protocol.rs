//! What the two halves of an agent say to each other over their socket pair: JSON,
//! each message after its length in four bytes, little end first.
//!
//! The agent asks with ids that rise, and says until when it may be done; every
//! request is answered once, by its id, in whatever order they end.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

mod container;
mod content;
mod file;
mod frame;

pub use container::{Container, Found};
pub use content::Content;
pub use file::{FileFound, LookAt, Stands, print_of};
pub use frame::{Decoder, FrameError, MESSAGE_BYTES_MAX, encode};

/// The number of the agent's end of the socket pair.
pub const FD_VARIABLE: &str = "HOSTLER_EXECUTOR_FD";

/// How the first line of a unit begins that is ours to write again, and to remove.
pub const WRITTEN: &str = "# Written by Hostler";

/// No request may be good for longer: what is that old was decided on by what was
/// so then.
pub const EXPIRY_MS_MAX: u64 = 10 * 60 * 1000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Higher than that of every request before it.
    pub id: u64,
    /// By `CLOCK_BOOTTIME` of this host: [`crate::clock::boottime_ms`].
    pub expires_at_ms: u64,
    pub act: Act,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// As a transient unit of its own. One that lives already is left alone.
    StartProcess {
        unit: String,
        process: Process,
    },
    Start {
        unit: String,
    },
    /// Answered when it is gone.
    Stop {
        unit: String,
    },
    Restart {
        unit: String,
    },
    Reload {
        unit: String,
    },
    ResetFailed {
        unit: String,
    },
    Kill {
        unit: String,
        signal: String,
    },
    /// In `/etc/systemd/system`; systemd reads it anew if it differs. One that somebody
    /// else wrote is left alone.
    WriteUnit {
        unit: String,
        text: String,
        enable: bool,
        /// What of its environment nobody else reads: in memory, until the host is off.
        #[serde(default)]
        env: Environment,
    },
    RemoveUnit {
        unit: String,
    },
    /// As `/etc/systemd/system/UNIT.d/NAME.conf`; without text it is removed.
    DropIn {
        unit: String,
        name: String,
        text: Option<String>,
    },
    PutFile {
        path: PathBuf,
        content_base64: Content,
        owner: Option<String>,
        mode: Option<u32>,
        /// A command that must end well before the file takes its place; in it
        /// `${file}` is the new file.
        validate: Option<Vec<String>>,
        /// Whom that runs as; without one root, and then not any program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// How they stand; answered in the same order.
    LookAtFiles {
        files: Vec<LookAt>,
    },
    MakeFolder {
        path: PathBuf,
        owner: Option<String>,
        mode: Option<u32>,
    },
    /// A system's user with a group of its own, and without a shell.
    MakeUser {
        name: String,
        home: Option<PathBuf>,
        /// Those that it is in besides.
        #[serde(default)]
        groups: Vec<String>,
    },
    InstallPackages {
        names: Vec<String>,
    },
    /// Of those that are installed; answered with what changed. Files that somebody
    /// edited stay as they are.
    UpgradePackages {
        security_only: bool,
        /// What the tools print is appended to it: `FOLDER/task.NAME`.
        output: PathBuf,
    },
    /// Rules of nftables, for a trial: unless they are kept in time, those before come back.
    TryFirewall {
        rules: Content,
        revert_ms: u64,
    },
    /// Those on trial stay. Answered with `already` where it is too late.
    KeepFirewall,
    /// Answered before the host goes down.
    Reboot,
    /// The last lines of a unit's journal.
    Tail {
        unit: String,
        lines: u32,
    },
    /// `PATH` to `PATH.1`, that to `PATH.2`, at most `keep` of them, while whoever
    /// appends to it goes on. `*` in its name stands for all such files in the folder.
    RotateOutput {
        path: PathBuf,
        keep: u32,
        compress: bool,
        /// When it is due; without any of these it is.
        #[serde(default)]
        over_bytes: Option<u64>,
        #[serde(default)]
        older_s: Option<u64>,
    },
    /// What a task left beside the output of services: `FOLDER/task.NAME`, with all in it.
    RemoveOutput {
        path: PathBuf,
    },
    /// A copy of a file for the agent, as the user of a task can read it.
    TakeFile {
        path: PathBuf,
        /// The task's own folder, `FOLDER/task.NAME`, if it is a file in there.
        #[serde(default)]
        within: Option<PathBuf>,
        /// Without one: whoever the agent runs as.
        #[serde(default)]
        user: Option<String>,
        /// Its task stands in no spec.
        #[serde(default)]
        free: bool,
        bytes_max: u64,
        /// `FOLDER/task.NAME`.
        copy: PathBuf,
    },
    Inspect {
        unit: String,
    },
    /// The open files and connections of programs and all that belongs to them.
    Open {
        pids: Vec<u32>,
    },
    /// Who listens there: in words, or nobody.
    Listener {
        port: u16,
    },
    /// One that runs already, made from the same, is left alone; another takes its place.
    StartContainer {
        name: String,
        container: Container,
    },
    /// Answered when it is gone.
    StopContainer {
        name: String,
        signal: String,
        grace_ms: u64,
    },
    KillContainer {
        name: String,
        signal: String,
    },
    InspectContainer {
        name: String,
    },
    /// The last lines that it printed.
    ContainerTail {
        name: String,
        lines: u32,
    },
    /// If it is not on this host.
    PullImage {
        image: String,
    },
    /// Whatever the agent's requests started, and is still known.
    List,
    /// What this host allows, whatever it allows.
    Policy,
    /// Nothing but the answer whether a plugin may change anything here: the agent runs it,
    /// within its grants.
    LetPlugin {
        plugin: String,
    },
}

impl Act {
    /// It changes nothing on the host: every profile allows it.
    pub const fn only_looks(&self) -> bool {
        use Act::{ContainerTail, Inspect, InspectContainer, List, Listener, LookAtFiles, Open, Policy, Tail};
        matches!(self, Inspect { .. } | List | Listener { .. } | Open { .. } | Policy | Tail { .. })
            || matches!(self, InspectContainer { .. } | ContainerTail { .. } | LookAtFiles { .. })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub command: Vec<String>,
    /// Without one: whoever the agent runs as.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub folder: Option<String>,
    #[serde(default)]
    pub env: Environment,
    #[serde(default)]
    pub limits: Limits,
    /// `SIGTERM` or alike.
    pub stop_signal: String,
    pub grace_ms: u64,
    /// Appended to.
    pub output: PathBuf,
    /// Running means that it said `READY=1`.
    #[serde(default)]
    pub ready_notify: bool,
    /// It stands in no spec: somebody asks for it now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub free: bool,
}

/// Secrets may be in the values.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment(pub BTreeMap<String, String>);

impl Deref for Environment {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// In processors: 0.5 is half of one.
    pub cpu: Option<f64>,
    pub files: Option<u64>,
    pub processes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub id: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done(Done),
    /// It will never be done, unless the policy or the request changes.
    Refused {
        /// `expired`, `replayed`, `malformed` or `policy`.
        rule: String,
        words: String,
    },
    /// It was tried.
    Failed {
        words: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// The main process, if it lives.
    pub pid: Option<u32>,
    /// It was so before: nothing was done.
    pub already: bool,
    /// Something is different from before.
    pub changed: bool,
    pub text: Option<String>,
    /// How the main process ended, if it did.
    pub ended: Option<Ended>,
    pub units: Vec<Unit>,
    pub open: Vec<Open>,
    pub policy: Option<Box<Told>>,
    pub container: Option<Box<Found>>,
    /// Of files that were looked at, or put.
    pub files: Vec<FileFound>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Open {
    pub pid: u32,
    pub files: u32,
    pub connections: u32,
}

/// The policy in force, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    pub profile: String,
    pub said_by: String,
    /// Why the file is not what is in force.
    pub problem: Option<String>,
    pub lists: Vec<ToldList>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ToldList {
    pub name: String,
    /// `None`: whatever the profile allows.
    pub values: Option<Vec<String>>,
    pub line: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// systemd's word: `success`, `exit-code`, `signal`, `oom-kill`, `timeout`.
    pub result: String,
    /// Otherwise it ended while nobody watched who could have learned how.
    pub known: bool,
    pub memory_peak_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unit {
    pub name: String,
    /// systemd's words.
    pub load: String,
    pub active: String,
    pub sub: String,
    pub pid: Option<u32>,
    pub ended: Option<Ended>,
}

/// What goes over the socket pair, either way.
pub trait Message: Serialize + DeserializeOwned {}
impl Message for Request {}
impl Message for Answer {}

#[cfg(test)]
mod tests;
