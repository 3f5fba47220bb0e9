//! Specs: applied as a whole or not at all.

use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{NewEvent, encode_object, object_key};
use crate::world::World;
use hostler_core::apply::{Act, Applied, Change, plan_apply};
use hostler_proto::{admin as wire, agent};
use hostler_store::{OPERATIONS_MAX, Txn};
use hostler_types::spec::{Body, Kind, Object, Problems, nearest, read_json};
use hostler_types::{DesiredState, EventKind, Name};
use prost::Message;
use std::collections::BTreeMap;
use tonic::Status;

/// Each object is one write, and the event is one more. Larger systems wait for
/// plans that are committed in parts.
const OBJECTS_MAX: usize = OPERATIONS_MAX - 10;
/// Agents take messages of 4 MiB; the signature and the frame are small, and a
/// mebibyte is left for what later versions add.
const DESIRED_STATE_BYTES_MAX: usize = 3 * 1024 * 1024;

fn applied(world: &World) -> Applied {
    world.specs.iter().map(|(kind, name, body)| ((kind, name.clone()), body)).collect()
}

pub async fn apply(app: &App, operator: &str, request: wire::ApplyRequest) -> Result<wire::ApplyResponse, Status> {
    let objects = read(&request.documents)?;
    let world = app.mirror.now();
    let changes = plan_apply(&applied(&world), &objects, &world.catalogue)
        .map_err(|problems| Status::invalid_argument(Problems(problems).to_string()))?;
    let (after, desired) = planned(app, &world, &objects);
    refuse_too_large(&desired)?;
    let effects = effects(&after, &desired, &changes);
    let answer: Vec<wire::Change> =
        changes.iter().zip(effects).map(|(change, effect)| to_wire(change, effect)).collect();
    let changing: Vec<&Change> = changes.iter().filter(|change| change.act != Act::Unchanged).collect();
    if request.dry_run || changing.is_empty() {
        return Ok(wire::ApplyResponse { changes: answer, revision: world.revision });
    }
    if changing.len() > OBJECTS_MAX {
        return Err(Status::invalid_argument(format!(
            "{} objects change at once, and at most {OBJECTS_MAX} may: apply the folder in parts",
            changing.len()
        )));
    }
    let now = clock::wall();
    let mut txn = Txn::new();
    for change in &changing {
        let body = objects.iter().find(|one| one.body.kind() == change.kind && one.name == change.name);
        if let Some(object) = body {
            let bytes = encode_object(change.kind, &change.name, &object.body, now, operator);
            txn = txn.put(object_key(change.kind, &change.name), bytes);
        }
    }
    let txn = app.journal.record(txn, now, &[applied_event(operator, &changing)]);
    let revision = app.store.commit(txn).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(wire::ApplyResponse { changes: answer, revision })
}

fn read(documents: &[wire::Document]) -> Result<Vec<Object>, Status> {
    let mut objects: BTreeMap<(Kind, Name), Object> = BTreeMap::new();
    let mut problems = Vec::new();
    for document in documents {
        match read_json(&document.kind, &document.name, &document.body_json, &document.origin) {
            Ok(object) => drop(objects.insert((object.body.kind(), object.name.clone()), object)),
            Err(Problems(mut found)) => problems.append(&mut found),
        }
    }
    if problems.is_empty() {
        Ok(objects.into_values().collect())
    } else {
        Err(Status::invalid_argument(Problems(problems).to_string()))
    }
}

/// The world after it, and what every node should do then.
fn planned(app: &App, world: &World, objects: &[Object]) -> (World, Vec<DesiredState>) {
    let mut after = World::clone(world);
    let mut specs = (*after.specs).clone();
    for object in objects {
        specs.set(object.name.clone(), object.body.clone());
    }
    after.specs = specs.into();
    let desired = after.members.keys().filter_map(|node| app.desired_state(&after, node)).collect();
    (after, desired)
}

fn refuse_too_large(desired: &[DesiredState]) -> Result<(), Status> {
    for one in desired {
        let size = agent::DesiredState::from(one).encoded_len();
        if size > DESIRED_STATE_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "node {} would get {} checks in {size} bytes, and at most {DESIRED_STATE_BYTES_MAX} can be sent: \
                 shorten what their `with` holds, or select fewer",
                one.node_name,
                one.checks.len()
            )));
        }
    }
    Ok(())
}

/// How many nodes each change reaches, after it.
fn effects(after: &World, desired: &[DesiredState], changes: &[Change]) -> Vec<String> {
    let effect = |change: &Change| match change.kind {
        Kind::Check => {
            let count = desired.iter().filter(|one| one.checks.iter().any(|check| check.name == change.name)).count();
            format!("runs on {}", nodes(count))
        }
        Kind::Plugin => {
            let count =
                desired.iter().filter(|one| one.plugins.iter().any(|plugin| plugin.name == change.name)).count();
            format!("used on {}", nodes(count))
        }
        Kind::Node => match after.names.contains_key(&change.name) {
            true => "its labels".to_owned(),
            false => "waits for a node of that name to join".to_owned(),
        },
    };
    changes.iter().map(effect).collect()
}

fn nodes(count: usize) -> String {
    match count {
        0 => "no node".to_owned(),
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    }
}

fn to_wire(change: &Change, effect: String) -> wire::Change {
    wire::Change {
        kind: change.kind.word().to_owned(),
        name: change.name.to_string(),
        act: change.act.word().to_owned(),
        effect,
    }
}

fn applied_event(operator: &str, changing: &[&Change]) -> NewEvent {
    const NAMED: usize = 5;
    let mut named: Vec<String> = changing
        .iter()
        .take(NAMED)
        .map(|change| format!("{} {} {}", change.act.word(), change.kind, change.name))
        .collect();
    if changing.len() > NAMED {
        named.push(format!("and {} more", changing.len() - NAMED));
    }
    NewEvent {
        at: clock::wall(),
        kind: EventKind::SPEC,
        node: String::new(),
        subject: changing.first().map(|change| change.name.to_string()).unwrap_or_default(),
        message: format!("{operator}: {}", named.join(", ")),
    }
}

fn kind_of(word: &str) -> Result<Kind, Status> {
    Kind::parse(word).ok_or_else(|| {
        let kinds = Kind::ALL.map(Kind::word);
        let help = match nearest(word, kinds) {
            Some(kind) => format!("did you mean {kind}?"),
            None => format!("kinds are {}", kinds.join(", ")),
        };
        Status::invalid_argument(format!("there is no kind {word:?}; {help}"))
    })
}

fn missing(kind: Kind, name: &str, known: impl Iterator<Item = String>) -> Status {
    let known: Vec<String> = known.collect();
    let help = match nearest(name, known.iter().map(String::as_str)) {
        Some(word) => format!("; did you mean {word}?"),
        None if known.is_empty() => format!("; no {kind} is applied"),
        None => String::new(),
    };
    Status::not_found(format!("no {kind} {name:?} is applied{help}"))
}

pub fn get(app: &App, request: &wire::GetObjectsRequest) -> Result<wire::GetObjectsResponse, Status> {
    let kind = kind_of(&request.kind)?;
    let world = app.mirror.now();
    let of_kind = || world.specs.iter().filter(|(found, ..)| *found == kind);
    let documents: Vec<wire::Document> = of_kind()
        .filter(|(_, name, _)| request.name.is_empty() || name.as_str() == request.name)
        .map(|(kind, name, body): (Kind, &Name, Body)| wire::Document {
            kind: kind.word().to_owned(),
            name: name.to_string(),
            body_json: body.to_json(false).to_string(),
            origin: String::new(),
        })
        .collect();
    if documents.is_empty() && !request.name.is_empty() {
        return Err(missing(kind, &request.name, of_kind().map(|(_, name, _)| name.to_string())));
    }
    Ok(wire::GetObjectsResponse { documents })
}

pub async fn delete(
    app: &App,
    operator: &str,
    request: &wire::DeleteObjectsRequest,
) -> Result<wire::DeleteObjectsResponse, Status> {
    let kind = kind_of(&request.kind)?;
    let world = app.mirror.now();
    let known: Vec<Name> =
        world.specs.iter().filter(|(found, ..)| *found == kind).map(|(_, name, _)| name.clone()).collect();
    if request.names.len() > OBJECTS_MAX {
        return Err(Status::invalid_argument(format!("at most {OBJECTS_MAX} objects in one call")));
    }
    let mut changes = Vec::new();
    let mut txn = Txn::new();
    for text in &request.names {
        let name = known
            .iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| missing(kind, text, known.iter().map(ToString::to_string)))?;
        if changes.iter().any(|change: &Change| change.name == *name) {
            continue;
        }
        txn = txn.delete(object_key(kind, name));
        changes.push(Change { kind, name: name.clone(), act: Act::Delete });
    }
    let event = applied_event(operator, &changes.iter().collect::<Vec<_>>());
    let txn = if changes.is_empty() { txn } else { app.journal.record(txn, clock::wall(), &[event]) };
    let revision = app.store.commit(txn).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    let changes = changes.iter().map(|change| to_wire(change, String::new())).collect();
    Ok(wire::DeleteObjectsResponse { changes, revision })
}
