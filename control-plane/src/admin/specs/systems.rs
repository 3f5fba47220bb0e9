//! Systems and their versions.

use super::commit::{self, Outcome, Writer};
use super::{change_to_wire, hosts, may_all, read};
use crate::access::{self, Caller, require};
use crate::app::App;
use crate::approvals::Hand;
use crate::clock;
use crate::records::RecordError;
use crate::systems::{self, Document, SystemVersion};
use crate::world::World;
use hostler_core::access::{Ask, Noun, Place, Verb};
use hostler_core::plan::{self, Basis, Plan};
use hostler_proto::admin as wire;
use hostler_types::Name;
use hostler_types::spec::{Kind, Object, nearest, read_json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tonic::Status;

fn damaged(error: RecordError) -> Status {
    Status::data_loss(error.to_string())
}

fn named(world: &World, text: &str) -> Result<Name, Status> {
    let known = world.specs.versions.keys();
    known.clone().find(|name| name.as_str() == text).cloned().ok_or_else(|| {
        let help = match nearest(text, known.map(Name::as_str)) {
            Some(near) => format!("; did you mean {near}?"),
            None => "; hostlerctl system ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no system {text:?}{help}"))
    })
}

fn look(system: &str) -> Ask<'_> {
    Ask::new(Verb::Read, Noun::Spec(Kind::System)).within(Place::System(system))
}

pub fn version_to_wire(version: &SystemVersion) -> wire::Version {
    wire::Version {
        system: version.system.to_string(),
        number: version.number,
        at_ms: version.at.as_millis(),
        by: version.by.clone(),
        message: version.message.clone(),
        env: version.env.clone(),
        created: version.created,
        updated: version.updated,
        deleted: version.deleted,
        named: version.named.clone(),
        more: version.more,
        approved_by: version.approved_by.clone(),
    }
}

pub fn list(app: &App, caller: &Caller) -> wire::ListSystemsResponse {
    let world = app.mirror.now();
    let there = world.specs.versions.values().filter(|version| version.is_there());
    let there = there.filter(|version| access::may(&world, caller, &look(version.system.as_str())));
    let system = |version: &Arc<SystemVersion>| {
        let mut objects: HashMap<String, u32> = HashMap::new();
        for object in world.specs.applied.of_system(&version.system) {
            *objects.entry(object.kind().word().to_owned()).or_default() += 1;
        }
        wire::System { name: version.system.to_string(), version: Some(version_to_wire(version)), objects }
    };
    wire::ListSystemsResponse { systems: there.map(system).collect(), wall_ms: clock::wall().as_millis() }
}

pub async fn versions(
    app: &App,
    caller: &Caller,
    request: &wire::ListVersionsRequest,
) -> Result<wire::ListVersionsResponse, Status> {
    let world = app.mirror.now();
    require(&world, caller, &look(&request.name))?;
    let name = named(&world, &request.name)?;
    let versions = commit::kept(app, &name).await?.iter().map(version_to_wire).collect();
    Ok(wire::ListVersionsResponse { versions, wall_ms: clock::wall().as_millis() })
}

pub async fn get(
    app: &App,
    caller: &Caller,
    request: &wire::GetSystemRequest,
) -> Result<wire::GetSystemResponse, Status> {
    let world = app.mirror.now();
    require(&world, caller, &look(&request.name))?;
    let name = named(&world, &request.name)?;
    let kept = commit::kept(app, &name).await?;
    let pick = |number: u64| {
        let found = if number == 0 { kept.first() } else { kept.iter().find(|version| version.number == number) };
        found.ok_or_else(|| {
            let (newest, oldest) = (kept.first().map_or(0, |one| one.number), kept.last().map_or(0, |one| one.number));
            Status::not_found(format!(
                "version {number} of {name} is not kept; those from {oldest} to {newest} are: hostlerctl system history {name}"
            ))
        })
    };
    let version = pick(request.number)?;
    let documents = systems::read(&app.documents, version).map_err(damaged)?;
    let changes = if request.compare == 0 {
        Vec::new()
    } else {
        let before = systems::read(&app.documents, pick(request.compare)?).map_err(damaged)?;
        plan::compare(&objects(&before)?, &objects(&documents)?)
    };
    Ok(wire::GetSystemResponse {
        version: Some(version_to_wire(version)),
        spec: Some(wire::Spec { documents: documents.into_iter().map(document_to_wire).collect() }),
        changes: changes.iter().map(change_to_wire).collect(),
    })
}

fn objects(documents: &[Document]) -> Result<Vec<Arc<Object>>, Status> {
    let object = |one: &Document| read_json(&one.kind, &one.name, &one.body, &one.origin).map(Arc::new);
    documents.iter().map(object).collect::<Result<_, _>>().map_err(|problems| Status::data_loss(problems.to_string()))
}

fn document_to_wire(document: Document) -> wire::Document {
    wire::Document {
        kind: document.kind,
        name: document.name,
        body_json: document.body,
        origin: document.origin,
        origins: document.origins.into_iter().collect(),
    }
}

/// Where fields were written is not kept in memory.
pub fn add_origins(app: &App, world: &World, documents: &mut [wire::Document]) -> Result<(), Status> {
    let mut origins: BTreeMap<(String, String), BTreeMap<String, String>> = BTreeMap::new();
    for version in world.specs.versions.values() {
        for document in systems::read(&app.documents, version).map_err(damaged)? {
            origins.insert((document.kind, document.name), document.origins);
        }
    }
    for document in documents {
        if let Some(found) = origins.remove(&(document.kind.clone(), document.name.clone())) {
            document.origins = found.into_iter().collect();
        }
    }
    Ok(())
}

fn without(app: &App, world: &World, system: &Name) -> Plan {
    let hosts = hosts(app, world);
    let basis = Basis { applied: &world.specs.applied, catalogue: &world.catalogue, hosts: &hosts };
    plan::replace(basis, system, Vec::new())
}

pub fn deletions(app: &App, world: &World, names: &[String]) -> Result<Vec<(Name, Plan)>, Status> {
    let systems = names.iter().map(|text| named(world, text));
    systems.map(|system| system.map(|system| (system.clone(), without(app, world, &system)))).collect()
}

/// Whole systems go; their history stays.
pub async fn delete(app: &App, hand: &Hand, names: &[String]) -> Result<wire::DeleteObjectsResponse, Status> {
    let world = app.mirror.now();
    let systems: Vec<Name> = names.iter().map(|text| named(&world, text)).collect::<Result<_, _>>()?;
    // Before the first goes.
    for system in &systems {
        let objects: Vec<_> = world.specs.applied.of_system(system).cloned().collect();
        may_all(&world, &hand.caller, Verb::Change, system, &plan::compare(&objects, &[]))?;
    }
    let mut answer = wire::DeleteObjectsResponse::default();
    for system in systems {
        let writer = Writer { app, hand, message: String::new() };
        let outcome = writer.change(&system, None, |world| {
            let plan = without(app, world, &system);
            may_all(world, &hand.caller, Verb::Change, &system, &plan.changes)?;
            Ok((plan, String::new()))
        });
        match outcome.await? {
            Outcome::Applied { plan, revision, .. } => {
                answer.changes.extend(plan.changes.iter().map(change_to_wire));
                answer.revision = revision;
            }
            Outcome::Problems(problems) => return Err(Status::failed_precondition(read::told(&problems))),
            Outcome::Changed(_) => return Err(Status::aborted("specs change all the time: try again")),
        }
    }
    Ok(answer)
}
