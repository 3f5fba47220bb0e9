//! Budgets as specs say them, and who is down.

use crate::world::World;
use hostler_core::brakes::ask::most_down;
use hostler_core::runs::budget::{Budget, part};
use hostler_types::spec::{Body, Kind};
use hostler_types::{CheckState, Name, NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};

/// Each with its nodes; one that counts by a label is one for each of its values.
pub fn all(world: &World) -> Vec<Budget> {
    let no_facts = BTreeMap::new();
    let mut budgets = Vec::new();
    for one in world.specs.applied.of_kind(Kind::Budget) {
        let Body::Budget(spec) = &one.object.body else { continue };
        let mut parts: BTreeMap<String, BTreeMap<NodeId, Name>> = BTreeMap::new();
        for member in world.members.values().filter(|member| member.revoked.is_none()) {
            let labels = world.labels(member);
            if spec.where_.matches(&labels, &no_facts) {
                let name = part(&one.object.name, spec.per.as_ref(), &labels);
                parts.entry(name).or_default().insert(member.id.clone(), member.name.clone());
            }
        }
        budgets.extend(parts.into_iter().map(|(name, nodes)| Budget {
            name,
            origin: one.object.origin.clone(),
            max_down: most_down(spec.max_down, nodes.len()),
            nodes,
        }));
    }
    budgets
}

/// The checks that heal: a node that fails one is down.
pub fn live_checks(world: &World) -> BTreeSet<Name> {
    let services = world.specs.applied.of_kind(Kind::Service);
    let live = services.filter_map(|one| match &one.object.body {
        Body::Service(spec) => Some(spec.live.iter().map(|check| check.name.clone())),
        _ => None,
    });
    live.flatten().collect()
}

/// Why a node counts as down: it is lost, or fails a check that heals.
pub fn down(world: &World, live: &BTreeSet<Name>, node: &NodeId) -> Option<String> {
    if world.liveness.get(node).is_some_and(|record| record.state == NodeState::Lost) {
        return Some("is lost".to_owned());
    }
    let fails = |check: &&Name| {
        let health = world.health.get(&(node.clone(), (*check).clone()));
        health.is_some_and(|health| health.state == CheckState::Critical)
    };
    live.iter().find(fails).map(|check| format!("fails check {check}"))
}
