//! What is so in the fleet, as runs ask for it.

use crate::app::App;
use crate::budgets;
use crate::world::World;
use hostler_core::runs::budget::Budget;
use hostler_core::runs::{Held, Link, View};
use hostler_types::{Name, NodeId, NodeState};
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct FleetView<'a> {
    app: &'a App,
    world: Arc<World>,
    budgets: Vec<Budget>,
    /// The checks that heal.
    live: BTreeSet<Name>,
}

impl<'a> FleetView<'a> {
    /// Budgets are counted only for whom they concern.
    pub fn new(app: &'a App, disturbs: bool) -> Self {
        let world = app.mirror.now();
        let (budgets, live) =
            if disturbs { (budgets::all(&world), budgets::live_checks(&world)) } else { (Vec::new(), BTreeSet::new()) };
        Self { app, world, budgets, live }
    }
}

impl View for FleetView<'_> {
    fn link(&self, node: &NodeId) -> Link {
        let member = self.world.members.get(node).filter(|member| member.revoked.is_none());
        if member.is_none() {
            return Link::Gone;
        }
        let is_ready = self.app.fleet.seen(node).is_some_and(|seen| seen.state == NodeState::Ready);
        if is_ready && self.app.fleet.live(node).is_some() { Link::Ready } else { Link::Away }
    }

    fn brake(&self, node: &NodeId) -> Option<Held> {
        let member = self.world.members.get(node)?;
        let labels = self.world.labels(member);
        let brakes = self.world.brakes.on(node, &member.name, &labels, []);
        brakes.first().map(|brake| Held { words: brake.to_string(), origin: String::new() })
    }

    fn down(&self, node: &NodeId) -> Option<String> {
        let state = self.app.fleet.seen(node).map(|seen| seen.state);
        // It may be back in a moment; until then nobody knows how it is.
        let away = state.filter(|state| *state != NodeState::Ready).map(|state| format!("is {state}"));
        away.or_else(|| budgets::down(&self.world, &self.live, node))
    }

    fn budgets(&self) -> &[Budget] {
        &self.budgets
    }
}
