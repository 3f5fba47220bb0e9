//! What operators hold back, and what holds now.

use super::nodes::find;
use crate::access::{self, Caller, on_node, require};
use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::pki::random;
use crate::records::brakes::{encode_freeze, encode_maintenance, freeze_key, maintenance_key};
use crate::records::{Member, NewEvent};
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::brakes::{FREEZES_MAX, Freeze, Maintenance, SPAN_MAX, span_words, words};
use hostler_proto::admin as wire;
use hostler_store::{OPERATIONS_MAX, Txn};
use hostler_types::spec::Kind;
use hostler_types::units::format_duration;
use hostler_types::{BrakeKind, EventKind, NodeId, Selector, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

const REASON_CHARACTERS_MAX: usize = 200;
/// Of one call: they are one commit, with an event each.
const NODES_MAX: usize = OPERATIONS_MAX - 1;

const NODE: Noun = Noun::Spec(Kind::Node);

fn millis(at: Option<Timestamp>) -> u64 {
    at.map_or(0, Timestamp::as_millis)
}

fn freeze_to_wire(freeze: &Freeze) -> wire::Brake {
    wire::Brake {
        kind: BrakeKind::Frozen.word().to_owned(),
        selector: freeze.selector.to_string(),
        since_ms: freeze.at.as_millis(),
        until_ms: millis(freeze.until),
        by: freeze.by.clone(),
        reason: freeze.reason.clone(),
        ..wire::Brake::default()
    }
}

fn maintenance_to_wire(name: &str, one: &Maintenance) -> wire::Brake {
    wire::Brake {
        kind: BrakeKind::Maintenance.word().to_owned(),
        node: name.to_owned(),
        since_ms: one.at.as_millis(),
        until_ms: millis(one.until),
        by: one.by.clone(),
        reason: one.reason.clone(),
        ..wire::Brake::default()
    }
}

/// As a listing of nodes shows it.
pub fn maintenance_of(world: &World, member: &Member) -> Option<wire::Brake> {
    world.brakes.maintenance.get(&member.id).map(|one| maintenance_to_wire(member.name.as_str(), one))
}

/// Whoever is let in may know why nothing heals; of nodes, those that they may see.
pub fn list(app: &App, caller: &Caller) -> wire::ListBrakesResponse {
    let world = app.mirror.now();
    let mut brakes: Vec<wire::Brake> = world.brakes.freezes.values().map(freeze_to_wire).collect();
    let seen = |id: &NodeId| {
        let member = world.members.get(id)?;
        let labels = world.labels(member);
        let ask = on_node(Ask::new(Verb::Read, NODE), member.name.as_str(), &labels);
        access::may(&world, caller, &ask).then_some(())?;
        maintenance_of(&world, member)
    };
    brakes.extend(world.brakes.maintenance.keys().filter_map(seen));
    brakes.extend(world.brakes.causes.values().map(|cause| wire::Brake {
        kind: BrakeKind::CommonCause.word().to_owned(),
        check: cause.check.to_string(),
        since_ms: cause.since.as_millis(),
        words: cause.words(),
        ..wire::Brake::default()
    }));
    wire::ListBrakesResponse { brakes, wall_ms: clock::wall().as_millis() }
}

/// `None`: without an end.
fn until(now: Timestamp, for_ms: u64) -> Result<Option<Timestamp>, Status> {
    let span = Duration::from_millis(for_ms);
    if span > SPAN_MAX {
        let most = format_duration(SPAN_MAX);
        return Err(Status::invalid_argument(format!("at most for {most}; without --for, until somebody ends it")));
    }
    Ok((for_ms != 0).then(|| now.plus(span)))
}

fn selector(text: &str) -> Result<Selector, Status> {
    let selector = match text {
        "" => Selector::all(),
        text => Selector::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    if selector.names_facts() {
        return Err(Status::invalid_argument(format!(
            "{selector} names facts, which a host claims itself: freeze by labels, or name=NODE"
        )));
    }
    Ok(selector)
}

fn server_event(at: Timestamp, message: String) -> NewEvent {
    NewEvent { at, kind: EventKind::SERVER, node: String::new(), subject: "freeze".to_owned(), message }
}

async fn commit(app: &App, txn: Txn, at: Timestamp, events: &[NewEvent]) -> Result<(), Status> {
    let revision = app.store.commit(app.journal.record(txn, at, events)).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(())
}

pub async fn freeze(app: &App, operator: &str, request: wire::FreezeRequest) -> Result<wire::Brake, Status> {
    let (world, now) = (app.mirror.now(), clock::wall());
    let selector = selector(&request.selector)?;
    let until = until(now, request.for_ms)?;
    // The same nodes again: the newest word counts.
    let known = world.brakes.freezes.values().find(|one| one.selector == selector);
    if known.is_none() && world.brakes.freezes.len() >= FREEZES_MAX {
        return Err(Status::resource_exhausted(format!("there are {FREEZES_MAX} freezes: hostlerctl thaw ends them")));
    }
    let id = match known {
        Some(known) => known.id.clone(),
        None => {
            let id = random::<4>().map_err(|error| Status::internal(error.to_string()))?;
            data_encoding::HEXLOWER.encode(&id)
        }
    };
    let reason: String = request.reason.chars().take(REASON_CHARACTERS_MAX).collect();
    let made = Freeze { id, selector, by: operator.to_owned(), reason, at: now, until };
    let message = format!(
        "{} frozen {}, {}",
        if made.selector == Selector::all() { "all nodes are".to_owned() } else { format!("{} is", made.selector) },
        words(&made.by, &made.reason),
        span_words(made.at, made.until)
    );
    let txn = Txn::new().put(freeze_key(&made.id), encode_freeze(&made));
    commit(app, txn, now, &[server_event(now, message)]).await?;
    Ok(freeze_to_wire(&made))
}

pub async fn thaw(app: &App, operator: &str, request: &wire::ThawRequest) -> Result<wire::ThawResponse, Status> {
    let (world, now) = (app.mirror.now(), clock::wall());
    let only = match request.selector.as_str() {
        "" => None,
        text => Some(selector(text)?),
    };
    let frozen = world.brakes.freezes.values();
    let thawed: Vec<&Freeze> = frozen.filter(|one| only.as_ref().is_none_or(|only| *only == one.selector)).collect();
    if let (Some(only), true) = (&only, thawed.is_empty()) {
        let there: Vec<String> = world.brakes.freezes.values().map(|one| one.selector.to_string()).collect();
        let help = match there.as_slice() {
            [] => "nothing is frozen".to_owned(),
            there => format!("frozen is {}", there.join("; ")),
        };
        return Err(Status::not_found(format!("no freeze was made with -l {only}: {help}")));
    }
    if thawed.is_empty() {
        return Ok(wire::ThawResponse { thawed: Vec::new(), wall_ms: now.as_millis() });
    }
    let mut txn = Txn::new();
    let mut events = Vec::new();
    // At most as many as there may be.
    for one in &thawed {
        txn = txn.delete(freeze_key(&one.id));
        events
            .push(server_event(now, format!("{} is thawed by {operator}; it was frozen by {}", one.selector, one.by)));
    }
    commit(app, txn, now, &events).await?;
    Ok(wire::ThawResponse { thawed: thawed.into_iter().map(freeze_to_wire).collect(), wall_ms: now.as_millis() })
}

pub async fn maintenance(
    app: &App,
    caller: &Caller,
    request: wire::SetMaintenanceRequest,
) -> Result<wire::SetMaintenanceResponse, Status> {
    let (world, now) = (app.mirror.now(), clock::wall());
    if request.nodes.is_empty() {
        return Err(Status::invalid_argument("say which nodes"));
    }
    if request.nodes.len() > NODES_MAX {
        return Err(Status::invalid_argument(format!(
            "at most {NODES_MAX} nodes at once; many at a time are frozen: hostlerctl freeze -l SELECTOR"
        )));
    }
    let until = until(now, request.for_ms)?;
    let reason: String = request.reason.chars().take(REASON_CHARACTERS_MAX).collect();
    // All of them or none: whoever may not one of them changes nothing.
    let mut members: BTreeMap<NodeId, &Arc<Member>> = BTreeMap::new();
    for text in &request.nodes {
        let member = find(&world, text)?;
        require(&world, caller, &on_node(Ask::new(Verb::Act, NODE), member.name.as_str(), &world.labels(member)))?;
        members.insert(member.id.clone(), member);
    }
    let made = Maintenance { by: caller.name().to_owned(), reason, at: now, until };
    let (mut txn, mut events) = (Txn::new(), Vec::new());
    for (id, member) in &members {
        let message = if request.on {
            format!("in maintenance {}, {}", words(&made.by, &made.reason), span_words(now, until))
        } else if world.brakes.maintenance.contains_key(id) {
            format!("out of maintenance, by {}", made.by)
        } else {
            continue;
        };
        let key = maintenance_key(id);
        txn = if request.on { txn.put(key, encode_maintenance(&made)) } else { txn.delete(key) };
        let name = member.name.to_string();
        events.push(NewEvent { at: now, kind: EventKind::NODE, node: name.clone(), subject: name, message });
    }
    if !events.is_empty() {
        commit(app, txn, now, &events).await?;
    }
    let stands = |member: &&Arc<Member>| maintenance_to_wire(member.name.as_str(), &made);
    Ok(wire::SetMaintenanceResponse {
        maintenance: if request.on { members.values().map(stands).collect() } else { Vec::new() },
        nodes: members.values().map(|member| member.name.to_string()).collect(),
        wall_ms: now.as_millis(),
    })
}
