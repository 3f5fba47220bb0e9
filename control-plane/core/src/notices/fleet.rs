//! Who of the fleet is there, so that many that go together are seen as one.

use hostler_types::{Name, NodeState};
use std::collections::BTreeSet;
use std::time::Duration;

/// Of fewer, half may well go by chance.
const TOGETHER_MIN: usize = 5;
/// A fleet comes back within half a minute; whoever is still away then is away for
/// reasons of their own.
pub const RELEASE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Fleet {
    ready: BTreeSet<Name>,
    /// Lost, and nobody was told of them by name.
    fresh: BTreeSet<Name>,
    /// Since when it is not most any more.
    pub below_since: Option<Duration>,
}

impl Fleet {
    pub fn set(&mut self, node: &Name, state: Option<NodeState>, has_alert: bool) {
        self.ready.remove(node);
        self.fresh.remove(node);
        match state {
            Some(NodeState::Ready | NodeState::Disconnected) => drop(self.ready.insert(node.clone())),
            Some(NodeState::Lost) if !has_alert => drop(self.fresh.insert(node.clone())),
            _ => {}
        }
    }

    pub fn told_of(&mut self, node: &Name) {
        self.fresh.remove(node);
    }

    pub fn is_most_lost(&self) -> bool {
        let (lost, all) = self.counts();
        lost >= TOGETHER_MIN && lost * 2 > all
    }

    /// Lost together, and of how many.
    pub fn counts(&self) -> (usize, usize) {
        (self.fresh.len(), self.fresh.len() + self.ready.len())
    }

    pub fn lost(&self) -> impl Iterator<Item = &Name> {
        self.fresh.iter()
    }
}
