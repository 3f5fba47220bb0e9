//! What holds healing back: an operator's freeze, a node's maintenance, and a check
//! that fails on many nodes at once ([`causes`]). [`ask`] answers a node that wants to
//! climb a step. Nothing here heals, and checks and alerts go on under every brake.

pub mod ask;
pub mod causes;

use hostler_types::units::format_duration;
use hostler_types::{Brake, BrakeKind, Labels, Name, NodeId, Selector, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// One for each team and task of a large fleet; more are forgotten ones.
pub const FREEZES_MAX: usize = 100;
/// Who froze for longer has forgotten it; without an end it is said in every listing.
pub const SPAN_MAX: Duration = Duration::from_secs(30 * 86_400);

/// An operator's word that nothing is to act by itself, on the nodes that a selector
/// takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Freeze {
    pub id: String,
    /// Labels only, `name` among them: facts are a host's own claims.
    pub selector: Selector,
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    /// Without one, until somebody thaws it.
    pub until: Option<Timestamp>,
}

impl Freeze {
    pub fn takes(&self, node: &Name, labels: &Labels) -> bool {
        let mut labels = labels.clone();
        labels.entry("name".to_owned()).or_insert_with(|| node.to_string());
        self.selector.matches(&labels, &BTreeMap::new())
    }
}

/// An operator works on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    pub until: Option<Timestamp>,
}

/// A check that fails on so many nodes that its cause is none of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub check: Name,
    /// When the first of them turned.
    pub since: Timestamp,
    pub failing: u32,
    pub nodes: u32,
}

impl Cause {
    /// `check disk fails on 6 of 6 nodes since 14:02 UTC`.
    pub fn words(&self) -> String {
        let Self { check, since, failing, nodes } = self;
        format!("check {check} fails on {failing} of {nodes} nodes since {}", minute(*since))
    }
}

/// All of them, as they are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brakes {
    pub freezes: BTreeMap<String, Freeze>,
    pub maintenance: BTreeMap<NodeId, Maintenance>,
    pub causes: BTreeMap<Name, Cause>,
}

/// A brake whose time is over.
#[derive(Clone, Debug, PartialEq)]
pub enum Over {
    Freeze(Freeze),
    Maintenance(NodeId, Maintenance),
}

impl Brakes {
    /// What holds acts back on a node that has these checks.
    pub fn on<'a>(
        &self,
        id: &NodeId,
        name: &Name,
        labels: &Labels,
        checks: impl IntoIterator<Item = &'a Name>,
    ) -> Vec<Brake> {
        let frozen = self.freezes.values().filter(|one| one.takes(name, labels));
        let mut brakes: Vec<Brake> = frozen
            .map(|one| by_hand(BrakeKind::Frozen, one.until, &one.by, &one.reason))
            .chain(self.maintenance.get(id).map(|one| by_hand(BrakeKind::Maintenance, one.until, &one.by, &one.reason)))
            .collect();
        if !self.causes.is_empty() {
            let causes = checks.into_iter().filter_map(|check| self.causes.get(check));
            brakes.extend(causes.map(|cause| Brake {
                kind: BrakeKind::CommonCause,
                check: Some(cause.check.clone()),
                until: None,
                words: cause.words(),
            }));
        }
        brakes
    }

    pub fn over(&self, now: Timestamp) -> Vec<Over> {
        let ended = |until: &Option<Timestamp>| until.is_some_and(|until| until <= now);
        let freezes = self.freezes.values().filter(|one| ended(&one.until)).cloned().map(Over::Freeze);
        let maintenance = self.maintenance.iter().filter(|(_, one)| ended(&one.until));
        freezes.chain(maintenance.map(|(id, one)| Over::Maintenance(id.clone(), one.clone()))).collect()
    }
}

fn by_hand(kind: BrakeKind, until: Option<Timestamp>, by: &str, reason: &str) -> Brake {
    Brake { kind, check: None, until, words: words(by, reason) }
}

/// `by admin: storage work`.
pub fn words(by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("by {by}") } else { format!("by {by}: {reason}") }
}

/// `for 1h`, or `until somebody ends it`.
pub fn span_words(at: Timestamp, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!("for {}", format_duration(until.since(at))),
        None => "until somebody ends it".to_owned(),
    }
}

/// `14:02 UTC`: nothing here knows where its reader is.
pub fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", text.get(11..16).unwrap_or(&text))
}

#[cfg(test)]
mod tests;
