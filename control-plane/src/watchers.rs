//! Keeps the choice of the nodes that watch this control plane up to date.

use crate::app::App;
use crate::config::{Config, Watchers};
use crate::world::World;
use hostler_core::watchers::{Candidate, WATCHERS_MAX, choose};
use hostler_types::{NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Changes come many at once.
const SETTLE: Duration = Duration::from_secs(1);
/// Nodes that come back do so within a dozen seconds, one by one: nobody takes over
/// from who is about to be there again.
const SETTLE_LIVENESS: Duration = Duration::from_secs(15);
const MACHINE_ID: &str = "/etc/machine-id";

pub fn chosen(world: &World, config: &Config) -> BTreeSet<NodeId> {
    let Watchers::Where(selector) = &config.watchers else { return BTreeSet::new() };
    let here = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
    let no_facts = BTreeMap::new();
    let members = world.members.values().filter(|member| member.revoked.is_none());
    let members = members.filter(|member| selector.matches(&world.labels(member), &no_facts));
    let candidates = members.map(|member| Candidate {
        id: &member.id,
        ready: world.liveness.get(&member.id).is_some_and(|record| record.state == NodeState::Ready),
        beside: !here.trim().is_empty() && member.machine_id == here.trim(),
    });
    choose("watch", candidates, WATCHERS_MAX).into_iter().collect()
}

pub async fn run(app: Arc<App>) {
    let mut newest = app.mirror.follow();
    let mut seen = app.mirror.now();
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            changed = newest.changed() => if changed.is_err() { return },
        }
        let now = app.mirror.now();
        let same = Arc::ptr_eq(&now.members, &seen.members) && Arc::ptr_eq(&now.specs, &seen.specs);
        if same && Arc::ptr_eq(&now.liveness, &seen.liveness) {
            continue;
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(if same { SETTLE_LIVENESS } else { SETTLE }) => {}
        }
        seen = app.mirror.now();
        let watchers = chosen(&seen, &app.config);
        app.watchers.send_if_modified(|held| {
            let changed = **held != watchers;
            if changed {
                let name = |id: &NodeId| seen.members.get(id).map(|member| member.name.to_string()).unwrap_or_default();
                let names: Vec<String> = watchers.iter().map(name).collect();
                tracing::info!(nodes = names.join(", "), "these tell people when this control plane is gone");
                *held = Arc::new(watchers);
            }
            changed
        });
    }
}
