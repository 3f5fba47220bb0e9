//! Nodes and the checks on them.

use crate::access::{self, Caller, in_system, on_node, require};
use crate::app::App;
use crate::approvals::Hand;
use crate::clock;
use crate::enroll::store_status;
use crate::fleet::Live;
use crate::policies;
use crate::records::brakes::maintenance_key;
use crate::records::{
    HEALTH, Member, NewEvent, Revocation, acts_prefix, liveness_key, member_key, member_name_key, spool_key,
};
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::liveness::Input;
use hostler_proto::admin as wire;
use hostler_proto::agent::Facts as WireFacts;
use hostler_store::{StoreError, Txn};
use hostler_types::spec::{Kind, nearest};
use hostler_types::units::format_age;
use hostler_types::{CheckAssignment, CheckState, EventKind, Facts, NodeId, NodeState, Selector};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::Status;

const REASON_CHARACTERS_MAX: usize = 200;
/// A node renews seldom; this often in a row it cannot win against us.
const CONFLICTS_MAX: usize = 1000;
/// Deletes in one transaction when a node is forgotten.
const DELETE_BATCH: usize = 90;

pub fn find<'a>(world: &'a World, text: &str) -> Result<&'a Arc<Member>, Status> {
    world.find(text).ok_or_else(|| {
        let names = world.names.keys().map(|name| name.as_str());
        let help = match nearest(text, names) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; hostlerctl node ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no node {text:?}{help}"))
    })
}

fn to_wire(app: &App, world: &World, member: &Member) -> wire::Node {
    let seen = app.fleet.seen(&member.id);
    let live = app.fleet.live(&member.id);
    let stored_facts = || world.liveness.get(&member.id).and_then(|record| record.facts.clone());
    let facts: Option<Facts> = live.as_ref().map(|live| live.facts.clone()).or_else(stored_facts);
    let mut checks: HashMap<String, u32> = HashMap::new();
    if let Some((desired, _)) = app.desired_state(world, &member.id) {
        for check in &desired.checks {
            let standing = standing(world, live.as_ref(), member, check);
            *checks.entry(standing.state).or_default() += 1;
        }
    }
    let state = seen.map_or(NodeState::Joining, |seen| seen.state);
    wire::Node {
        id: member.id.to_string(),
        name: member.name.to_string(),
        state: state.word().to_owned(),
        labels: world.labels(member).into_iter().collect(),
        agent_version: live.as_ref().map_or_else(|| member.agent_version.clone(), |live| live.agent_version.clone()),
        policy: live.as_ref().map_or_else(|| member.policy.to_string(), |live| live.policy.clone()),
        clock_skew_ms: live.as_ref().and_then(|live| live.clock_skew_ms).unwrap_or(0),
        clock_skew_known: live.as_ref().is_some_and(|live| live.clock_skew_ms.is_some()),
        last_seen_ms: seen.map_or(0, |seen| seen.last_seen.as_millis()),
        joined_at_ms: member.joined_at.as_millis(),
        state_since_ms: seen.map_or(0, |seen| seen.since.as_millis()),
        facts: facts.as_ref().map(WireFacts::from),
        checks,
        certificate_not_after_ms: member.certificate_not_after.as_millis(),
        address: live.as_ref().map(|live| live.address.ip().to_string()).unwrap_or_default(),
        plugins: live.map(|live| live.plugins).unwrap_or_default(),
        wall_ms: clock::wall().as_millis(),
        maintenance: super::brakes::maintenance_of(world, member),
    }
}

const NODE: Noun = Noun::Spec(Kind::Node);
const CHECK: Noun = Noun::Spec(Kind::Check);

/// The node, for whoever may do that to it.
fn found<'a>(world: &'a World, caller: &Caller, verb: Verb, text: &str) -> Result<&'a Arc<Member>, Status> {
    let member = find(world, text)?;
    let labels = world.labels(member);
    require(world, caller, &on_node(Ask::new(verb, NODE), member.name.as_str(), &labels))?;
    Ok(member)
}

pub fn list(app: &App, caller: &Caller, request: &wire::ListNodesRequest) -> Result<wire::ListNodesResponse, Status> {
    let selector = match request.selector.as_str() {
        "" => Selector::all(),
        text => Selector::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    let world = app.mirror.now();
    let takes = |node: &wire::Node| {
        let labels = node.labels.clone().into_iter().collect();
        let facts = node.facts.clone().map(|facts| Facts::from(facts).selectable()).unwrap_or_default();
        selector.matches(&labels, &facts)
    };
    let look = Ask::new(Verb::Read, NODE);
    let all = access::may(&world, caller, &look);
    let seen = |member: &&Arc<Member>| {
        all || access::may(&world, caller, &on_node(look, member.name.as_str(), &world.labels(member)))
    };
    let mut nodes: Vec<wire::Node> =
        world.members.values().filter(seen).map(|member| to_wire(app, &world, member)).filter(takes).collect();
    nodes.sort_by(|left, right| left.name.cmp(&right.name).then_with(|| left.id.cmp(&right.id)));
    // A listing is a table of many; what is long has `node show`.
    for node in &mut nodes {
        node.facts = None;
        node.plugins.clear();
    }
    Ok(wire::ListNodesResponse { nodes, wall_ms: clock::wall().as_millis() })
}

pub fn get(app: &App, caller: &Caller, request: &wire::GetNodeRequest) -> Result<wire::Node, Status> {
    let world = app.mirror.now();
    let member = found(&world, caller, Verb::Read, &request.node)?;
    Ok(to_wire(app, &world, member))
}

pub async fn policy(
    app: &App,
    caller: &Caller,
    request: &wire::GetNodePolicyRequest,
) -> Result<wire::GetNodePolicyResponse, Status> {
    let world = app.mirror.now();
    let member = Arc::clone(found(&world, caller, Verb::Read, &request.node)?);
    drop(world);
    match policies::policy(app, &member.id).await {
        Ok(policy) => Ok(wire::GetNodePolicyResponse { node: member.name.to_string(), policy: Some(policy) }),
        Err(words) => {
            let seen = app.fleet.seen(&member.id);
            let state = match seen.filter(|seen| seen.state != NodeState::Ready) {
                Some(seen) => format!("{} for {}: ", seen.state.word(), format_age(clock::wall().since(seen.since))),
                None => String::new(),
            };
            Err(Status::unavailable(format!(
                "what {} allows is known on it alone, and {state}{words}.  On the host: hostler-executor policy",
                member.name
            )))
        }
    }
}

pub async fn revoke(app: &App, hand: &Hand, request: wire::RevokeNodeRequest) -> Result<wire::Node, Status> {
    let world = app.mirror.now();
    let id = found(&world, &hand.caller, Verb::Act, &request.node)?.id.clone();
    let reason: String = request.reason.chars().take(REASON_CHARACTERS_MAX).collect();
    // Whatever the node itself writes at this moment must not keep it in.
    let mut outcome = revoke_once(app, hand, &id, &reason).await;
    for _ in 0..CONFLICTS_MAX {
        if !outcome.as_ref().is_err_and(StoreError::is_conflict) {
            break;
        }
        outcome = revoke_once(app, hand, &id, &reason).await;
    }
    outcome.map_err(store_status)?;
    // Also for one that is revoked already: level-triggered, so that a stream
    // that slipped through is cut by saying it again.
    app.fleet.cut(&id, Input::Revoked { node: id.clone() });
    let world = app.mirror.now();
    Ok(to_wire(app, &world, find(&world, id.as_str())?))
}

async fn revoke_once(app: &App, hand: &Hand, id: &NodeId, reason: &str) -> Result<(), StoreError> {
    let key = member_key(id);
    let Some(entry) = app.store.get(&key).await? else { return Ok(()) };
    let Ok(member) = Member::decode(&key, &entry.value) else { return Ok(()) };
    if member.revoked.is_some() {
        return Ok(());
    }
    let now = clock::wall();
    let told = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let event = NewEvent {
        at: now,
        kind: EventKind::NODE,
        node: member.name.to_string(),
        subject: member.name.to_string(),
        message: format!("revoked by {}{told}", hand.told()),
    };
    let revocation = Revocation { at: now, by: hand.name().to_owned(), reason: reason.to_owned() };
    let revoked = Member { revoked: Some(revocation), ..member };
    let txn = Txn::new().expect(key.as_str(), entry.modified).put(key.as_str(), revoked.encode());
    let revision = app.store.commit(hand.seal(app, txn, 0, vec![event])).await?;
    app.mirror.reach(revision).await;
    Ok(())
}

/// Only what is not there any more.
pub fn removable(app: &App, member: &Member) -> Result<(), Status> {
    let state = app.fleet.seen(&member.id).map(|seen| seen.state);
    if matches!(state, Some(NodeState::Ready | NodeState::Disconnected)) {
        return Err(Status::failed_precondition(format!(
            "node {} is {}: revoke it first (hostlerctl node revoke {})",
            member.name,
            state.map_or("there", NodeState::word),
            member.name
        )));
    }
    Ok(())
}

/// Forgets a node that is revoked, lost or never came.
pub async fn remove(
    app: &App,
    hand: &Hand,
    request: &wire::RemoveNodeRequest,
) -> Result<wire::RemoveNodeResponse, Status> {
    let world = app.mirror.now();
    let member = found(&world, &hand.caller, Verb::Act, &request.node)?;
    removable(app, member)?;
    let services = world.specs.applied.of_kind(Kind::Service).map(|one| acts_prefix(&one.object.name, &member.id));
    for known in services.chain([format!("{HEALTH}{}/", member.id)]) {
        let standing = app.store.scan(&known, None).await.map_err(store_status)?;
        for keys in standing.entries.chunks(DELETE_BATCH) {
            let txn = keys.iter().fold(Txn::new(), |txn, (key, _)| txn.delete(key.as_ref()));
            app.store.commit(txn).await.map_err(store_status)?;
        }
    }
    let now = clock::wall();
    let event = NewEvent {
        at: now,
        kind: EventKind::NODE,
        node: member.name.to_string(),
        subject: member.name.to_string(),
        message: format!("removed by {}", hand.told()),
    };
    let mut txn = Txn::new()
        .delete(member_key(&member.id))
        .delete(liveness_key(&member.id))
        .delete(spool_key(&member.id))
        .delete(maintenance_key(&member.id));
    let name_key = member_name_key(&member.name);
    let claim = app.store.get(&name_key).await.map_err(store_status)?;
    // The name may be another node's by now.
    if let Some(claim) = claim.filter(|claim| claim.value == member.id.as_str().as_bytes()) {
        txn = txn.expect(name_key.as_str(), claim.modified).delete(name_key.as_str());
    }
    let revision = app.store.commit(hand.seal(app, txn, 0, vec![event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    app.fleet.cut(&member.id, Input::Removed { node: member.id.clone() });
    Ok(wire::RemoveNodeResponse { name: member.name.to_string() })
}

/// Where a check stands: what the node said last, else what is stored, else at
/// its start.
///
/// A transition is stored at once, a report comes with the next heartbeat: what
/// was stored since the report is the news.
fn standing(world: &World, live: Option<&Live>, member: &Member, check: &CheckAssignment) -> wire::Check {
    let report = live.and_then(|live| live.checks.get(check.name.as_str()));
    let stored = world.health.get(&(member.id.clone(), check.name.clone()));
    let mut one = wire::Check {
        node: member.name.to_string(),
        check: check.name.to_string(),
        plugin: check.plugin.to_string(),
        every_ms: hostler_types::time::whole_millis(check.every),
        config_json: check.config_json.clone(),
        fails: check.fails,
        passes: check.passes,
        state: CheckState::Starting.word().to_owned(),
        ..wire::Check::default()
    };
    if let Some(report) = report {
        let state: CheckState = report.state.parse().unwrap_or(CheckState::Unknown);
        one.state = state.word().to_owned();
        one.summary = report.summary.clone();
        one.since_ms = report.since_ms;
        one.last_run_ms = report.last_run_ms;
        one.overruns = report.overruns;
        one.duration_us = report.duration_us;
        one.details = report.details.clone();
    }
    let news = stored.filter(|stored| report.is_none_or(|report| stored.since.as_millis() > report.since_ms));
    if let Some(stored) = news {
        one.state = stored.state.word().to_owned();
        one.summary = stored.summary.clone();
        one.since_ms = stored.since.as_millis();
        one.last_run_ms = one.last_run_ms.max(stored.since.as_millis());
        one.details.clear();
    }
    one
}

/// A check on a node is seen by whoever may see both.
fn sees(world: &World, caller: &Caller, check: &CheckAssignment, labels: &hostler_types::Labels) -> bool {
    let owned = world.specs.applied.get(Kind::Check, &check.name);
    owned.is_some_and(|owned| {
        let ask = in_system(Ask::new(Verb::Read, CHECK), &owned.system);
        access::may(world, caller, &on_node(ask, check.name.as_str(), labels))
    })
}

/// The checks on one node that are wanted, as far as whoever asks may see them.
pub fn checks_on(
    app: &App,
    world: &World,
    caller: &Caller,
    member: &Member,
    wanted: impl Fn(&hostler_types::Name) -> bool,
) -> Vec<wire::Check> {
    let Some((desired, _)) = app.desired_state(world, &member.id) else { return Vec::new() };
    let live = app.fleet.live(&member.id);
    let state = app.fleet.seen(&member.id).map_or(NodeState::Joining, |seen| seen.state);
    let labels = world.labels(member);
    let all = access::may(world, caller, &Ask::new(Verb::Read, CHECK));
    let shown = |check: &&CheckAssignment| wanted(&check.name) && (all || sees(world, caller, check, &labels));
    let to_wire = |check: &CheckAssignment| wire::Check {
        node_state: state.word().to_owned(),
        ..standing(world, live.as_ref(), member, check)
    };
    desired.checks.iter().filter(shown).map(to_wire).collect()
}

pub fn checks(
    app: &App,
    caller: &Caller,
    request: &wire::ListChecksRequest,
) -> Result<wire::ListChecksResponse, Status> {
    let world = app.mirror.now();
    let only = match request.node.as_str() {
        "" => None,
        text => Some(find(&world, text)?.id.clone()),
    };
    let mut checks = Vec::new();
    for member in world.members.values().filter(|member| only.as_ref().is_none_or(|id| *id == member.id)) {
        let wanted = |name: &hostler_types::Name| request.check.is_empty() || name.as_str() == request.check;
        checks.extend(checks_on(app, &world, caller, member, wanted));
    }
    if checks.is_empty()
        && !request.check.is_empty()
        && !world.specs.applied.checks().any(|(name, _)| name.as_str() == request.check)
    {
        let help = match nearest(&request.check, world.specs.applied.checks().map(|(name, _)| name.as_str())) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; hostlerctl get check shows them".to_owned(),
        };
        return Err(Status::not_found(format!("there is no check {:?}{help}", request.check)));
    }
    checks.sort_by(|left, right| (&left.node, &left.check).cmp(&(&right.node, &right.check)));
    Ok(wire::ListChecksResponse { checks, wall_ms: clock::wall().as_millis() })
}
