//! What is so, as a control plane knows it.

use super::{Control, Seen};
use crate::plan::node;
use crate::world::World;
use hostler_agent_core::tasks::Kept;
use hostler_core::runs::budget::Budget;
use hostler_core::runs::{Held, Link, View};
use hostler_types::{NodeId, TaskState, TaskStep};

pub struct Fleet<'a> {
    control: &'a Control,
    world: &'a World,
    budgets: Vec<Budget>,
}

impl<'a> Fleet<'a> {
    pub fn new(world: &'a World, control: &'a Control) -> Self {
        let mut budgets = world.budgets.clone();
        for budget in &mut budgets {
            budget.nodes.retain(|node, _| !world.places.get(node).is_some_and(|host| world.removed.contains(host)));
        }
        Self { control, world, budgets }
    }

    pub fn host(&self, node: &NodeId) -> usize {
        self.world.places[node]
    }

    /// A task that this control plane let begin, and has not given up, disturbs it.
    pub fn is_at_work(&self, host: usize) -> bool {
        let world = self.world;
        let disturbs = |kept: &Kept| match kept {
            Kept::Open(record) if record.offer.steps.iter().any(TaskStep::disturbs) => {
                let state = self.control.store.state_of(&record.offer.id, &node(host));
                world.controls.len() == 1 && state != Some(TaskState::Lost)
            }
            _ => false,
        };
        world.hosts[host].up && world.hosts[host].disk.values().any(disturbs)
    }
}

impl View for Fleet<'_> {
    fn link(&self, node: &NodeId) -> Link {
        let host = self.host(node);
        if self.world.removed.contains(&host) {
            return Link::Gone;
        }
        let ready = self.control.seen[host] == Seen::Ready && self.control.live[host].is_some();
        if ready { Link::Ready } else { Link::Away }
    }

    fn may_lack_some(&self) -> bool {
        !self.world.removed.is_empty()
    }

    fn brake(&self, node: &NodeId) -> Option<Held> {
        let held = || Held { words: "frozen by ada".into(), origin: String::new() };
        self.world.frozen.contains(&self.host(node)).then(held)
    }

    fn down(&self, node: &NodeId) -> Option<String> {
        let host = self.host(node);
        match self.control.seen[host] {
            Seen::Ready => self.control.sick.contains(&host).then(|| "fails check ok".to_owned()),
            Seen::Away => Some("is away".to_owned()),
            Seen::Lost => Some("is lost".to_owned()),
        }
    }

    fn budgets(&self) -> &[Budget] {
        &self.budgets
    }
}
