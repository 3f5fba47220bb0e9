//! Specs: planned, then applied as a whole or not at all.

pub mod commit;
pub mod files;
mod read;
pub mod systems;

use crate::access::{self, Caller, in_system, require};
use crate::app::App;
use crate::approvals::Hand;
use crate::world::World;
use commit::{Outcome, Writer};
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::applied::LOOSE;
use hostler_core::effects::Host;
use hostler_core::plan::{self, Act, Basis, Change, Plan};
use hostler_proto::{admin as wire, agent};
use hostler_types::desired::SCHEDULES_MAX;
use hostler_types::spec::{Body, Kind, nearest};
use hostler_types::{DesiredState, Name};
use prost::Message;
pub use read::{Spec, message, spec};
use std::collections::BTreeSet;
use tonic::Status;

/// Agents take messages of 4 MiB; the signature and the frame are small, and a
/// mebibyte is left for what later versions add.
const DESIRED_STATE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What plans see of the nodes.
pub fn hosts(app: &App, world: &World) -> Vec<Host> {
    let host = |member: &std::sync::Arc<crate::records::Member>| {
        let live = app.fleet.live(&member.id).map(|live| live.facts);
        let facts = live.or_else(|| world.liveness.get(&member.id).and_then(|record| record.facts.clone()));
        Host {
            name: member.name.clone(),
            labels: member.labels.clone(),
            facts: facts.map(|facts| facts.selectable()).unwrap_or_default(),
        }
    };
    world.members.values().filter(|member| member.revoked.is_none()).map(host).collect()
}

/// The plan, with the problems that need more than specs to be seen.
pub fn made(app: &App, world: &World, spec: &Spec) -> Plan {
    let hosts = hosts(app, world);
    let basis = Basis { applied: &world.specs.applied, catalogue: &world.catalogue, hosts: &hosts };
    let mut plan = plan::plan(basis, &spec.wanted);
    if plan.problems.is_empty() && plan.has_changes() {
        plan.problems.extend(too_large(app, world, &plan));
    }
    plan
}

/// Each object that would change, and the system as such: a plan without changes
/// says what is there, too.
pub fn may_all(world: &World, caller: &Caller, verb: Verb, system: &Name, changes: &[Change]) -> Result<(), Status> {
    require(world, caller, &in_system(Ask::some_spec(verb), system))?;
    for change in changes.iter().filter(|change| change.act != Act::Unchanged) {
        require(
            world,
            caller,
            &in_system(Ask::new(verb, Noun::Spec(change.kind)), system).named(change.name.as_str()),
        )?;
    }
    Ok(())
}

pub fn plan(app: &App, caller: &Caller, request: wire::PlanRequest) -> Result<wire::PlanResponse, Status> {
    let spec = spec(request.spec.unwrap_or_default())?;
    let world = app.mirror.now();
    let plan = made(app, &world, &spec);
    may_all(&world, caller, Verb::Read, &spec.wanted.system, &plan.changes)?;
    Ok(plan_to_wire(app, &world, &spec.wanted.system, spec.env(), plan))
}

pub fn plan_to_wire(app: &App, world: &World, system: &Name, env: String, plan: Plan) -> wire::PlanResponse {
    let current = world.specs.versions.get(system).filter(|version| version.is_there());
    wire::PlanResponse {
        system: system.to_string(),
        seen: world.specs.number(system),
        changes: plan.changes.iter().map(change_to_wire).collect(),
        problems: plan.problems.into_iter().map(problem_to_wire).collect(),
        notes: plan.notes,
        lineage: app.lineage,
        env_before: current.map(|version| version.env.clone()).unwrap_or_default(),
        env,
    }
}

pub async fn apply(app: &App, hand: &Hand, request: wire::ApplyRequest) -> Result<wire::ApplyResponse, Status> {
    if request.lineage != 0 && request.lineage != app.lineage {
        return Err(Status::failed_precondition(
            "the plan was made against another control plane, or against this one before it was restored: plan again",
        ));
    }
    let spec = spec(request.spec.unwrap_or_default())?;
    let writer = Writer { app, hand, message: message(&request.message) };
    let system = spec.wanted.system.clone();
    let outcome = writer.change(&system, request.seen, |world| {
        let mut plan = made(app, world, &spec);
        may_all(world, &hand.caller, Verb::Change, &spec.wanted.system, &plan.changes)?;
        plan.problems.extend(spec.missing_files(&app.blobs));
        Ok((plan, spec.env()))
    });
    let mut answer = wire::ApplyResponse { system: system.to_string(), ..wire::ApplyResponse::default() };
    match outcome.await? {
        Outcome::Applied { plan, number, revision } => {
            answer.changes = plan.changes.iter().map(change_to_wire).collect();
            answer.notes = plan.notes;
            (answer.version, answer.revision) = (number, revision);
        }
        Outcome::Problems(problems) => answer.problems = problems.into_iter().map(problem_to_wire).collect(),
        Outcome::Changed(since) => answer.since = since.iter().map(systems::version_to_wire).collect(),
    }
    Ok(answer)
}

/// A node's orders travel in one message.
fn too_large(app: &App, world: &World, plan: &Plan) -> Vec<plan::Problem> {
    let mut after = World::clone(world);
    let mut specs = (*after.specs).clone();
    specs.applied = plan.after.clone();
    after.specs = specs.into();
    let large = |(one, secrets): (DesiredState, BTreeSet<Name>)| {
        if one.schedules.len() > SCHEDULES_MAX {
            return too_many_schedules(&one);
        }
        let sealed = |name| world.secrets.get(name)?.versions.last().map(|newest| newest.sealed.len());
        let secrets: usize = secrets.iter().filter_map(sealed).sum();
        let size = agent::DesiredState::from(&one).encoded_len() + secrets;
        let check = one.checks.iter().max_by_key(|check| check.config_json.len())?;
        (size > DESIRED_STATE_BYTES_MAX).then(|| plan::Problem {
            kind: Kind::Check,
            name: check.name.clone(),
            path: "with".to_owned(),
            message: format!(
                "is one of {} checks that node {} would get in {size} bytes, and at most {DESIRED_STATE_BYTES_MAX} can be sent",
                one.checks.len(),
                one.node_name
            ),
            help: Some("shorten what their `with` holds, or select fewer".to_owned()),
            origin: String::new(),
        })
    };
    after.members.keys().filter_map(|node| app.desired_state(&after, node)).filter_map(large).collect()
}

/// A host looks at each of them whenever one is due there.
fn too_many_schedules(one: &DesiredState) -> Option<plan::Problem> {
    let last = one.schedules.last()?;
    Some(plan::Problem {
        kind: Kind::Schedule,
        name: last.name.clone(),
        path: "offline".to_owned(),
        message: format!(
            "is one of {} schedules that node {} would fire by itself, and it holds at most {SCHEDULES_MAX}",
            one.schedules.len(),
            one.node_name
        ),
        help: Some("write offline: skip in some of them, or select fewer nodes".to_owned()),
        origin: last.origin.clone(),
    })
}

pub fn change_to_wire(change: &Change) -> wire::Change {
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let fields = change.fields.iter().map(|field| wire::FieldChange {
        path: field.path.clone(),
        before_json: json(&field.before),
        after_json: json(&field.after),
    });
    wire::Change {
        kind: change.kind.word().to_owned(),
        name: change.name.to_string(),
        act: change.act.word().to_owned(),
        effect: change.effect.clone(),
        fields: fields.collect(),
    }
}

fn problem_to_wire(problem: plan::Problem) -> wire::Problem {
    wire::Problem {
        kind: problem.kind.word().to_owned(),
        name: problem.name.to_string(),
        path: problem.path,
        message: problem.message,
        help: problem.help.unwrap_or_default(),
        origin: problem.origin,
    }
}

fn kind_of(word: &str) -> Result<Kind, Status> {
    Kind::parse(word).ok_or_else(|| {
        let help = match nearest(word, Kind::words()) {
            Some(kind) => format!("did you mean {kind}?"),
            None => format!("kinds are {}", Kind::words().join(", ")),
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

pub fn get(app: &App, caller: &Caller, request: &wire::GetObjectsRequest) -> Result<wire::GetObjectsResponse, Status> {
    let kind = kind_of(&request.kind)?;
    let world = app.mirror.now();
    let of_kind = || world.specs.applied.of_kind(kind);
    let ask = Ask::new(Verb::Read, Noun::Spec(kind));
    // What was named is refused; of all of them, those that may be seen are shown.
    for one in of_kind().filter(|one| one.object.name.as_str() == request.name) {
        require(&world, caller, &in_system(ask, &one.system).named(&request.name))?;
    }
    let all = access::may(&world, caller, &ask);
    let chosen = of_kind()
        .filter(|one| request.name.is_empty() || one.object.name.as_str() == request.name)
        .filter(|one| all || access::may(&world, caller, &in_system(ask, &one.system)));
    let mut documents: Vec<wire::Document> = chosen.map(|one| read::to_wire(&one.object)).collect();
    if documents.is_empty() && !request.name.is_empty() {
        return Err(missing(kind, &request.name, of_kind().map(|one| one.object.name.to_string())));
    }
    if request.full {
        systems::add_origins(app, &world, &mut documents)?;
    }
    Ok(wire::GetObjectsResponse { documents })
}

/// What deleting would do: loose objects, or whole systems, of which each has a plan
/// of its own.
pub fn deletions(app: &App, world: &World, request: &wire::DeleteObjectsRequest) -> Result<Vec<(Name, Plan)>, Status> {
    let kind = kind_of(&request.kind)?;
    if kind == Kind::System {
        return systems::deletions(app, world, &request.names);
    }
    let loose = loose()?;
    Ok(vec![(loose.clone(), without(app, world, kind, &request.names, &loose)?)])
}

fn loose() -> Result<Name, Status> {
    Name::new(LOOSE).map_err(|error| Status::internal(error.to_string()))
}

fn without(app: &App, world: &World, kind: Kind, names: &[String], loose: &Name) -> Result<Plan, Status> {
    let applied = &world.specs.applied;
    for text in names {
        let found = applied.of_kind(kind).find(|one| one.object.name.as_str() == text);
        let Some(found) = found else {
            return Err(missing(kind, text, applied.of_kind(kind).map(|one| one.object.name.to_string())));
        };
        if found.system != *loose {
            return Err(Status::failed_precondition(format!(
                "{kind} {text} belongs to system {0}: take it out of its folder and apply, or hostlerctl delete \
                 system {0}",
                found.system
            )));
        }
    }
    let named = |name: &Name| names.iter().any(|text| text == name.as_str());
    let kept = applied.of_system(loose).filter(|one| one.kind() != kind || !named(&one.name));
    let hosts = hosts(app, world);
    let basis = Basis { applied, catalogue: &world.catalogue, hosts: &hosts };
    Ok(plan::replace(basis, loose, kept.cloned().collect()))
}

pub async fn delete(
    app: &App,
    hand: &Hand,
    request: &wire::DeleteObjectsRequest,
) -> Result<wire::DeleteObjectsResponse, Status> {
    let kind = kind_of(&request.kind)?;
    if kind == Kind::System {
        return systems::delete(app, hand, &request.names).await;
    }
    let loose = loose()?;
    let writer = Writer { app, hand, message: String::new() };
    let outcome = writer.change(&loose, None, |world| {
        let plan = without(app, world, kind, &request.names, &loose)?;
        may_all(world, &hand.caller, Verb::Change, &loose, &plan.changes)?;
        Ok((plan, String::new()))
    });
    match outcome.await? {
        Outcome::Applied { plan, revision, .. } => {
            let gone = plan.changes.iter().filter(|change| change.act == Act::Delete);
            Ok(wire::DeleteObjectsResponse { changes: gone.map(change_to_wire).collect(), revision })
        }
        Outcome::Problems(problems) => Err(Status::failed_precondition(read::told(&problems))),
        Outcome::Changed(_) => Err(Status::aborted("specs change all the time: try again")),
    }
}

/// The environment that a system's own document names.
fn env_of(body: &Body) -> Option<String> {
    match body {
        Body::System(system) => Some(system.env.as_ref().map(ToString::to_string).unwrap_or_default()),
        _ => None,
    }
}
