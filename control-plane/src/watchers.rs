//! Keeps up to date which nodes have a duty beside their checks: to watch this
//! control plane, and to run the plugins that notifiers deliver by.

use crate::app::App;
use crate::config::{Config, Watchers};
use crate::world::World;
use hostler_core::watchers::{Candidate, DELIVERERS_MAX, WATCHERS_MAX, choose};
use hostler_types::notifier::is_built_in;
use hostler_types::spec::{Body, Kind};
use hostler_types::{Name, NodeId, NodeState, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Changes come many at once.
const SETTLE: Duration = Duration::from_secs(1);
/// Nodes that come back do so within a dozen seconds, one by one: nobody takes over
/// from who is about to be there again.
const SETTLE_LIVENESS: Duration = Duration::from_secs(15);
const MACHINE_ID: &str = "/etc/machine-id";

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Duties {
    pub watchers: BTreeSet<NodeId>,
    /// By notifier: who runs its plugin, and who takes over.
    pub deliverers: BTreeMap<Name, Vec<NodeId>>,
}

/// One node's share of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duty {
    pub watches: bool,
    pub delivers: BTreeSet<Name>,
}

impl Duties {
    pub fn of(&self, node: &NodeId) -> Duty {
        let delivers = self.deliverers.iter().filter(|(_, nodes)| nodes.contains(node));
        Duty {
            watches: self.watchers.contains(node),
            delivers: delivers.map(|(notifier, _)| notifier.clone()).collect(),
        }
    }
}

pub fn chosen(world: &World, config: &Config) -> Duties {
    let here = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
    let here = here.trim();
    let watchers = match &config.watchers {
        // It goes down together with what it watches.
        Watchers::Where(selector) => pick(world, "watch", selector, WATCHERS_MAX, |machine| machine == here),
        Watchers::Nobody => Vec::new(),
    };
    let deliverers = world.specs.applied.of_kind(Kind::Notifier).filter_map(|one| {
        let Body::Notifier(spec) = &one.object.body else { return None };
        if is_built_in(spec.plugin.as_str()) {
            return None;
        }
        let (name, everywhere) = (one.object.name.clone(), Selector::all());
        let selector = spec.where_.as_ref().unwrap_or(&everywhere);
        let nodes = pick(world, &format!("deliver {name}"), selector, DELIVERERS_MAX, |machine| machine != here);
        Some((name, nodes))
    });
    Duties { watchers: watchers.into_iter().collect(), deliverers: deliverers.collect() }
}

/// `last` tells by its machine whether a node is chosen after others.
fn pick(world: &World, duty: &str, by: &Selector, most: usize, last: impl Fn(&str) -> bool) -> Vec<NodeId> {
    let no_facts = BTreeMap::new();
    let members = world.members.values().filter(|member| member.revoked.is_none());
    let members = members.filter(|member| by.matches(&world.labels(member), &no_facts));
    let candidates = members.map(|member| Candidate {
        id: &member.id,
        ready: world.liveness.get(&member.id).is_some_and(|record| record.state == NodeState::Ready),
        last: !member.machine_id.is_empty() && last(&member.machine_id),
    });
    choose(duty, candidates, most)
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
        let duties = chosen(&seen, &app.config);
        app.duties.send_if_modified(|held| {
            let changed = **held != duties;
            if held.watchers != duties.watchers {
                let name = |id: &NodeId| seen.members.get(id).map(|member| member.name.to_string()).unwrap_or_default();
                let names: Vec<String> = duties.watchers.iter().map(name).collect();
                tracing::info!(nodes = names.join(", "), "these tell people when this control plane is gone");
            }
            if changed {
                *held = Arc::new(duties);
            }
            changed
        });
    }
}
