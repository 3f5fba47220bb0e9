//! What a node is asked to do.

use crate::calendar::When;
use crate::cron::Cron;
use crate::plugin::Grants;
use crate::service::{Brake, ServiceAssignment};
use crate::spec::Zone;
use crate::task::TaskStep;
use crate::{Name, NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Orders everything a control plane ever tells a node. A new lineage begins at
/// each restore, import or change of store, so that a control plane that forgot
/// its past still outranks it; the term is the leader's; the generation counts
/// within them. An agent refuses whatever is lower than it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub lineage: u64,
    pub term: u64,
    pub generation: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DesiredState {
    /// For whom: one node's orders mean nothing on another.
    pub node: NodeId,
    pub node_name: Name,
    pub plugins: Vec<PluginAssignment>,
    pub checks: Vec<CheckAssignment>,
    /// Those that the plugins and checks above are given, by name.
    pub secrets: Vec<SealedSecret>,
    /// Those that the node delivers by: to tell that the control plane is gone, or
    /// because their plugin runs here.
    pub notifiers: Vec<NotifierAssignment>,
    /// Whether the node tells people that its control plane is gone.
    pub watch: Option<WatchAssignment>,
    pub services: Vec<ServiceAssignment>,
    /// What holds acts on them back.
    pub brakes: Vec<Brake>,
    /// Those that the node begins by itself while it is cut off.
    pub schedules: Vec<ScheduleAssignment>,
}

/// Of one node: each is looked at whenever something is due there.
pub const SCHEDULES_MAX: usize = 200;

/// A schedule that fires without the control plane, and what it does on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleAssignment {
    pub name: Name,
    pub when: When,
    pub zone: Zone,
    /// Nodes begin spread over this time.
    pub jitter: Duration,
    /// What was due by then is not its own.
    pub since: Timestamp,
    /// It has to be open.
    pub window: Option<WindowAssignment>,
    pub steps: Vec<TaskStep>,
    /// All steps together.
    pub timeout: Duration,
    /// Where it is written.
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WindowAssignment {
    pub cron: Cron,
    pub zone: Zone,
    /// How long it stays open.
    pub lasts: Duration,
    /// Nothing starts in its last part.
    pub cutoff: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifierAssignment {
    pub name: Name,
    /// A built-in one's name, or a plugin's.
    pub plugin: Name,
    /// As it is written: secrets by their names.
    pub config_json: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchAssignment {
    pub gone_after: Duration,
    /// Names of notifiers.
    pub tell: Vec<Name>,
}

/// A secret's value, which only the node's own key opens.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedSecret {
    pub name: Name,
    /// Counts the values it has had.
    pub version: u64,
    pub sealed: Vec<u8>,
}

impl SealedSecret {
    /// What the sealing is bound to, so that one secret can't be passed off as
    /// another, an older value as a newer one, or one node's as another's.
    pub fn purpose(node: &NodeId, name: &Name, version: u64) -> Vec<u8> {
        format!("hostler secret {node} {name} {version}").into_bytes()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PluginAssignment {
    pub name: Name,
    pub version: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    pub size_bytes: u64,
    /// What manifest and operator both allow; the host's policy may narrow it.
    pub grants: Grants,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CheckAssignment {
    pub name: Name,
    pub plugin: Name,
    pub every: Duration,
    pub timeout: Duration,
    /// The plugin's own configuration, as JSON.
    pub config_json: String,
    /// Results in a row before a passing check stops passing.
    pub fails: u32,
    /// Results in a row before a failing check passes again.
    pub passes: u32,
    /// For how long after its start a failing check stays `starting`.
    pub grace: Duration,
}

impl CheckAssignment {
    /// Whether the running check can go on as it is: nothing that shapes its
    /// results has changed.
    pub fn same_target(&self, other: &CheckAssignment) -> bool {
        self.name == other.name && self.plugin == other.plugin && self.config_json == other.config_json
    }
}
