//! What happened, in order.

use crate::Name;
use crate::state::CheckState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A check changed its state on one node. The agent decides it, keeps it on disk
/// until the control plane has it durably, and never sends it twice under
/// another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub check: Name,
    pub from: CheckState,
    pub to: CheckState,
    pub at: Timestamp,
    pub summary: String,
    /// How many results in a row led here, of how many needed.
    pub streak: u32,
    pub needed: u32,
}

impl fmt::Display for Transition {
    /// `passing -> critical: 503, want 200 (3 of 3)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {} ({} of {})", self.from, self.to, self.summary, self.streak, self.needed)
    }
}

/// The kinds of events, each with the word that scripts match on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct EventKind(String);

impl EventKind {
    pub const CHECK: &'static str = "check";
    /// What was done about a service, or was not.
    pub const SERVICE: &'static str = "service";
    pub const NODE: &'static str = "node";
    pub const PLUGIN: &'static str = "plugin";
    pub const SPEC: &'static str = "spec";
    pub const AGENT: &'static str = "agent";
    /// Operators, their roles and tokens.
    pub const OPERATOR: &'static str = "operator";
    /// The control plane itself.
    pub const SERVER: &'static str = "server";
    pub const SECRET: &'static str = "secret";
    /// Who was told of something, and who could not be.
    pub const NOTICE: &'static str = "notice";
    /// Work across nodes, from its beginning to its end.
    pub const RUN: &'static str = "run";
    /// What waits for a second person, and what they said.
    pub const APPROVAL: &'static str = "approval";

    pub fn new(word: &str) -> Self {
        Self(word.to_owned())
    }

    pub fn word(&self) -> &str {
        &self.0
    }
}

impl From<String> for EventKind {
    fn from(word: String) -> Self {
        Self(word)
    }
}

impl From<EventKind> for String {
    fn from(kind: EventKind) -> String {
        kind.0
    }
}

/// One line of the fleet's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Opaque to clients; ordered; `lineage.revision.index` inside.
    pub seq: String,
    pub at: Timestamp,
    pub kind: EventKind,
    /// The node it is about; empty where it is about none.
    pub node: String,
    /// The object it is about: a check's or plugin's name, or the node again.
    pub subject: String,
    pub message: String,
}
