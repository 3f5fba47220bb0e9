//! The common-cause brake: when many nodes fail the same check at about the same time,
//! what is wrong is not on any of them, and restarting them all makes it worse. Healing
//! on that check waits until most are well again.
//!
//! It counts by our own clock when a node's word of failing came, since hosts' clocks
//! may be wrong.

use super::Cause;
use hostler_types::{Name, NodeId, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Of two, both may well fail by chance, and healing a pair is what healing is for.
pub const NODES_MIN: usize = 3;
/// A third of a tier is what its budget never takes away at once: whoever loses that
/// much at a stroke has lost it to something else.
pub const PERCENT_MIN: usize = 30;
/// Twice the longest common interval of a check and its tries: what hit many at once is
/// seen on all of them within that; what falls further apart is coincidence.
pub const WINDOW: Duration = Duration::from_secs(120);
/// So that one node that comes and goes at the edge does not switch the brake.
pub const RELEASE: Duration = Duration::from_secs(30);
/// After so long the rest have failed, too, and the number that people and hosts were
/// told is put right, once: each time is a message to every node of the check.
pub const RECOUNT: Duration = Duration::from_secs(15);

/// How many failing nodes, of so many, have a cause in common.
pub fn threshold(nodes: usize) -> usize {
    nodes.saturating_mul(PERCENT_MIN).div_ceil(100).max(NODES_MIN)
}

#[derive(Clone, Debug)]
pub enum Input {
    /// Which nodes have which check now; checks that are not in it are no more.
    Nodes(BTreeMap<Name, BTreeSet<NodeId>>),
    /// It is critical there, and was so for a while before this was known here.
    Failing {
        check: Name,
        node: NodeId,
        before: Duration,
    },
    /// It is not, or is no more.
    Well {
        check: Name,
        node: NodeId,
    },
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Begin(Cause),
    /// It holds, and its numbers are others.
    Recount(Cause),
    End(Cause),
}

/// What is known of one node's failing check, for whoever asks to heal it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// That have the check.
    pub nodes: usize,
    pub failing: usize,
    /// Of these, who turned within [`WINDOW`].
    pub together: usize,
    /// How long this node is known to fail.
    pub failing_for: Option<Duration>,
}

#[derive(Debug, Default)]
pub struct Causes {
    checks: BTreeMap<Name, Check>,
}

#[derive(Debug, Default)]
struct Check {
    nodes: BTreeSet<NodeId>,
    failing: BTreeMap<NodeId, Failing>,
    held: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    /// When it was first heard of here.
    heard: Duration,
    before: Duration,
}

#[derive(Debug)]
struct Held {
    cause: Cause,
    recount: Option<Duration>,
    below_since: Option<Duration>,
}

impl Failing {
    fn age(self, now: Now) -> Duration {
        now.monotonic.saturating_sub(self.heard) + self.before
    }
}

impl Causes {
    /// As they were held. What is so now is to be given next.
    pub fn new(held: impl IntoIterator<Item = Cause>) -> Self {
        let checks = held.into_iter().map(|cause| {
            let name = cause.check.clone();
            (name, Check { held: Some(Held { cause, recount: None, below_since: None }), ..Check::default() })
        });
        Self { checks: checks.collect() }
    }

    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        match input {
            Input::Nodes(nodes) => return self.take_nodes(now, nodes),
            Input::Failing { check, node, before } => {
                let one = self.checks.entry(check.clone()).or_default();
                one.failing.entry(node).or_insert(Failing { heard: now.monotonic, before });
                return one.settle(now, &check).into_iter().collect();
            }
            Input::Well { check, node } => {
                if let Some(one) = self.checks.get_mut(&check) {
                    one.failing.remove(&node);
                    return one.settle(now, &check).into_iter().collect();
                }
            }
            Input::Tick => {
                let due =
                    self.checks.iter_mut().filter(|(_, one)| one.next_deadline().is_some_and(|at| at <= now.monotonic));
                return due.filter_map(|(check, one)| one.settle(now, check)).collect();
            }
        }
        Vec::new()
    }

    fn take_nodes(&mut self, now: Now, mut nodes: BTreeMap<Name, BTreeSet<NodeId>>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.checks.retain(|check, one| {
            if nodes.contains_key(check) {
                return true;
            }
            effects.extend(one.held.take().map(|held| Effect::End(held.cause)));
            false
        });
        for check in nodes.keys() {
            self.checks.entry(check.clone()).or_default();
        }
        for (check, one) in &mut self.checks {
            one.nodes = nodes.remove(check).unwrap_or_default();
            one.failing.retain(|node, _| one.nodes.contains(node));
            effects.extend(one.settle(now, check));
        }
        effects
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.checks.values().filter_map(Check::next_deadline).min()
    }

    /// Who is known to fail a check.
    pub fn failing(&self) -> impl Iterator<Item = (&Name, &NodeId)> {
        self.checks.iter().flat_map(|(check, one)| one.failing.keys().map(move |node| (check, node)))
    }

    pub fn standing(&self, now: Now, check: &Name, node: &NodeId) -> Standing {
        let Some(one) = self.checks.get(check) else { return Standing::default() };
        Standing {
            nodes: one.nodes.len(),
            failing: one.failing.len(),
            together: one.together(now),
            failing_for: one.failing.get(node).map(|failing| failing.age(now)),
        }
    }
}

impl Check {
    fn together(&self, now: Now) -> usize {
        self.failing.values().filter(|one| one.age(now) <= WINDOW).count()
    }

    fn settle(&mut self, now: Now, check: &Name) -> Option<Effect> {
        let (failing, enough) = (self.failing.len(), threshold(self.nodes.len()));
        let cause =
            |since| Cause { check: check.clone(), since, failing: count(failing), nodes: count(self.nodes.len()) };
        let Some(held) = &mut self.held else {
            if self.together(now) < enough {
                return None;
            }
            let longest = self.failing.values().map(|one| one.age(now)).filter(|age| *age <= WINDOW).max();
            let cause = cause(now.wall.minus(longest.unwrap_or_default()));
            let recount = Some(now.monotonic + RECOUNT);
            self.held = Some(Held { cause: cause.clone(), recount, below_since: None });
            return Some(Effect::Begin(cause));
        };
        if failing < enough {
            let below_since = *held.below_since.get_or_insert(now.monotonic);
            if now.monotonic >= below_since + RELEASE {
                return self.held.take().map(|held| Effect::End(held.cause));
            }
            return None;
        }
        held.below_since = None;
        held.recount.take_if(|at| *at <= now.monotonic)?;
        let cause = cause(held.cause.since);
        if cause == held.cause {
            return None;
        }
        held.cause = cause.clone();
        Some(Effect::Recount(cause))
    }

    fn next_deadline(&self) -> Option<Duration> {
        let held = self.held.as_ref()?;
        match held.below_since {
            Some(since) => Some(since + RELEASE),
            None => held.recount,
        }
    }
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}
