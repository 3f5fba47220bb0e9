//! What is so in the fleet, as runs ask for it.

use crate::app::App;
use crate::budgets;
use crate::records::Member;
use crate::world::World;
use hostler_core::runs::budget::Budget;
use hostler_core::runs::{Held, Link, View};
use hostler_types::{Name, NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct FleetView<'a> {
    app: &'a App,
    world: Arc<World>,
    budgets: Vec<Budget>,
    /// The checks that heal.
    live: BTreeSet<Name>,
    may_lack_some: bool,
}

/// The members of the last look.
pub type Members = Arc<BTreeMap<NodeId, Arc<Member>>>;

impl<'a> FleetView<'a> {
    /// Since the last look at it; budgets are counted only for whom they concern.
    pub fn new(app: &'a App, disturbs: bool, before: &Members) -> Self {
        let world = app.mirror.now();
        let (budgets, live) =
            if disturbs { (budgets::all(&world), budgets::live_checks(&world)) } else { (Vec::new(), BTreeSet::new()) };
        let may_lack_some = !Arc::ptr_eq(before, &world.members);
        Self { app, world, budgets, live, may_lack_some }
    }

    pub fn members(&self) -> Members {
        Arc::clone(&self.world.members)
    }
}

impl View for FleetView<'_> {
    fn link(&self, node: &NodeId) -> Link {
        // The quick answer first: this is asked of each node, and often.
        if self.app.fleet.is_there(node) {
            return Link::Ready;
        }
        let member = self.world.members.get(node).filter(|member| member.revoked.is_none());
        if member.is_none() { Link::Gone } else { Link::Away }
    }

    fn may_lack_some(&self) -> bool {
        self.may_lack_some
    }

    fn brake(&self, node: &NodeId) -> Option<Held> {
        let known = &self.world.brakes;
        if known.freezes.is_empty() && known.maintenance.is_empty() {
            return None;
        }
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
