//! Roles that people make, and the question what somebody may do.

use super::operators::{news, not_too_many, within_own};
use crate::access::{self, Caller, grant_of, in_system, on_node, require};
use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, role_key};
use crate::world::World;
use hostler_core::access::{
    Ask, CI, Grant, Identity, Noun, Place, ROLES_MAX, RULES_MAX, Role, Roles, Rule, Verb, Within,
};
use hostler_proto::admin as wire;
use hostler_store::Txn;
use hostler_types::spec::nearest;
use hostler_types::{Name, Selector};
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::Status;

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

/// All of them are there, and each can do something within the systems.
pub fn checked_roles(world: &World, roles: Vec<String>, systems: &[String]) -> Result<Vec<String>, Status> {
    not_too_many("roles", roles.len())?;
    for name in &roles {
        find(world, name)?;
    }
    if systems.is_empty() && roles.iter().any(|role| role == CI) {
        return Err(invalid(
            "the role ci works within the systems that its holder is limited to: say which with --system",
        ));
    }
    let unique: BTreeSet<String> = roles.into_iter().collect();
    Ok(unique.into_iter().collect())
}

/// They need not be there yet: a pipeline may be what makes them. `all` takes the
/// limit away.
pub fn checked_systems(systems: Vec<String>) -> Result<Vec<String>, Status> {
    not_too_many("systems", systems.len())?;
    if systems.iter().any(|system| system == "all") {
        return Ok(Vec::new());
    }
    let read = |text: String| Name::new(text).map_err(|error| invalid(format!("the system's name: {error}")));
    let unique = systems.into_iter().map(read).collect::<Result<BTreeSet<Name>, Status>>()?;
    Ok(unique.into_iter().map(String::from).collect())
}

fn find<'a>(world: &'a World, name: &str) -> Result<&'a Role, Status> {
    world.roles.get(name).map(|role| &**role).ok_or_else(|| {
        let help = match nearest(name, world.roles.iter().map(|role| role.name.as_str())) {
            Some(near) => format!("; did you mean {near}?"),
            None => "; hostlerctl role ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no role {name:?}{help}"))
    })
}

/// In words, what roles allow.
pub fn described(world: &World, roles: &[String]) -> Vec<String> {
    let rules = roles.iter().filter_map(|name| world.roles.get(name)).flat_map(|role| &role.rules);
    let mut lines: Vec<String> = rules.map(ToString::to_string).collect();
    lines.dedup();
    lines
}

fn rule_to_wire(rule: &Rule) -> wire::RoleRule {
    wire::RoleRule {
        verbs: rule.verbs.words(Verb::word),
        kinds: rule.nouns.words(Noun::word),
        systems: match &rule.within {
            Within::Systems(systems) => systems.iter().cloned().collect(),
            Within::Everywhere | Within::Limit => Vec::new(),
        },
        r#where: rule.nodes.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn to_wire(world: &World, role: &Role) -> wire::Role {
    let record = world.role_records.get(&role.name);
    let holders =
        world.operators.values().filter(|one| one.revoked_at_ms == 0 && grant_of(one).roles.contains(&role.name));
    wire::Role {
        name: role.name.clone(),
        rules: role.rules.iter().map(rule_to_wire).collect(),
        builtin: Roles::is_builtin(&role.name),
        set_at_ms: record.map_or(0, |record| record.set_at_ms),
        set_by: record.map(|record| record.set_by.clone()).unwrap_or_default(),
        operators: holders.map(|one| one.name.clone()).collect(),
        may: role.rules.iter().map(ToString::to_string).collect(),
    }
}

pub fn list(app: &App) -> wire::ListRolesResponse {
    let world = app.mirror.now();
    let words = |words: Vec<&'static str>| words.into_iter().map(str::to_owned).collect();
    wire::ListRolesResponse {
        roles: world.roles.iter().map(|role| to_wire(&world, role)).collect(),
        verbs: words(Verb::words()),
        kinds: words(Noun::words()),
        wall_ms: clock::wall().as_millis(),
    }
}

fn read_rules(rules: &[wire::RoleRule]) -> Result<Vec<Rule>, Status> {
    let read = |rule: &wire::RoleRule| {
        let systems = checked_systems(rule.systems.clone())?;
        let rule = records::read_rule(&rule.verbs, &rule.kinds, &systems, &rule.r#where).map_err(invalid)?;
        rule.check().map_err(invalid)?;
        Ok(rule)
    };
    rules.iter().map(read).collect()
}

pub async fn set(app: &App, caller: &Caller, request: wire::SetRoleRequest) -> Result<wire::Role, Status> {
    let world = app.mirror.now();
    let name = Name::new(request.name).map_err(|error| invalid(format!("the role's name: {error}")))?;
    if Roles::is_builtin(name.as_str()) {
        return Err(Status::failed_precondition(format!(
            "the role {name} is built in and stays as it is: make one of your own under another name"
        )));
    }
    let before = world.roles.get(name.as_str());
    let mut rules = before.filter(|_| request.add).map(|role| role.rules.clone()).unwrap_or_default();
    rules.extend(read_rules(&request.rules)?);
    if rules.is_empty() {
        return Err(invalid("a role without a rule allows nothing: give --verb and --kind, or a file"));
    }
    if rules.len() > RULES_MAX {
        return Err(invalid(format!("a role may have at most {RULES_MAX} rules")));
    }
    if before.is_none() && world.role_records.len() >= ROLES_MAX {
        return Err(Status::resource_exhausted(format!("there are {ROLES_MAX} roles: hostlerctl role rm one")));
    }
    let role = Role { name: name.to_string(), rules };
    // Under a name that nobody can have: whoever holds the role is judged by what it
    // is, and not by what they would make of it.
    let wanted = format!("{name}, as wanted");
    let mut beside = World::clone(&world);
    Arc::make_mut(&mut beside.roles).set(Role { name: wanted.clone(), rules: role.rules.clone() });
    let alone = Grant { roles: vec![wanted], systems: BTreeSet::new() };
    within_own(&beside, caller, &alone, &format!("whoever has the role {name}"))?;
    let now = clock::wall();
    let event =
        news(&role.name, format!("role set by {}: {}", caller.name(), described(&beside, &alone.roles).join("; ")));
    let key = role_key(&role.name);
    let txn = Txn::new().put(key, records::encode_role(&role, now, caller.name()));
    let revision = app.store.commit(app.journal.record(txn, now, &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(to_wire(&app.mirror.now(), &role))
}

pub async fn remove(
    app: &App,
    caller: &Caller,
    request: &wire::RemoveRoleRequest,
) -> Result<wire::RemoveRoleResponse, Status> {
    let world = app.mirror.now();
    let role = find(&world, &request.name)?;
    if Roles::is_builtin(&role.name) {
        return Err(Status::failed_precondition(format!("the role {} is built in and stays", role.name)));
    }
    let holders = to_wire(&world, role).operators;
    if let Some(holder) = holders.first() {
        return Err(Status::failed_precondition(format!(
            "{} still have the role {}: give them another first (hostlerctl operator set {holder} --role ...)",
            holders.join(", "),
            role.name
        )));
    }
    let event = news(&role.name, format!("role removed by {}", caller.name()));
    let txn = Txn::new().delete(role_key(&role.name));
    let revision = app.store.commit(app.journal.record(txn, event.at, &[event])).await.map_err(store_status)?;
    app.mirror.reach(revision).await;
    Ok(wire::RemoveRoleResponse {})
}

pub fn can(app: &App, caller: &Caller, request: &wire::CanRequest) -> Result<wire::CanResponse, Status> {
    let world = app.mirror.now();
    let identity = if request.operator.is_empty() || request.operator == caller.name() {
        caller.identity.clone()
    } else {
        require(&world, caller, &Ask::new(Verb::Read, Noun::Operator).named(&request.operator))?;
        let found = world.operators.get(&request.operator).filter(|one| one.revoked_at_ms == 0);
        let found = found.ok_or_else(|| Status::not_found(format!("there is no operator {:?}", request.operator)))?;
        Identity { operator: found.name.clone(), grant: grant_of(found), token: None }
    };
    let ask = Ask::new(Verb::parse(&request.verb).map_err(invalid)?, Noun::parse(&request.kind).map_err(invalid)?);
    let answer = each_question(&world, &identity, ask.named(&request.name), request)?;
    let (allowed, reason) = match answer {
        Ok(reason) => (true, reason),
        Err(reason) => (false, reason),
    };
    Ok(wire::CanResponse { allowed, reason })
}

/// Of everything that the question names: all of it, or the first that is refused.
fn each_question(
    world: &World,
    identity: &Identity,
    ask: Ask<'_>,
    request: &wire::CanRequest,
) -> Result<Result<String, String>, Status> {
    let judge = |ask: &Ask<'_>| {
        let allowed = access::judge(world, identity, ask)?;
        Ok(format!("operator {} may {ask}, by the role {}", identity.operator, allowed.role))
    };
    let system = match request.system.as_str() {
        "" => owner(world, &ask, &request.name),
        text => Some(Name::new(text).map_err(invalid)?),
    };
    let ask = match &system {
        Some(system) => in_system(ask, system),
        None => ask.within(Place::Everywhere),
    };
    let selector = match request.selector.as_str() {
        "" => None,
        text => Some(Selector::parse(text).map_err(invalid)?),
    };
    let by_name = world.find(&request.name).filter(|_| ask.noun == Some(Noun::Spec(hostler_types::spec::Kind::Node)));
    let Some(selector) = selector else {
        return Ok(match by_name {
            Some(member) => judge(&on_node(ask, member.name.as_str(), &world.labels(member))),
            None => judge(&ask),
        });
    };
    let mut last = None;
    for member in world.members.values() {
        let labels = world.labels(member);
        // Facts are a host's claims, and give nobody a right.
        if selector.matches(&labels, &std::collections::BTreeMap::new()) {
            match judge(&on_node(ask, member.name.as_str(), &labels)) {
                Err(refused) => return Ok(Err(refused)),
                allowed => last = Some(allowed),
            }
        }
    }
    last.map_or_else(|| Err(Status::not_found(format!("no node has the labels {selector}"))), Ok)
}

/// The system that an applied object belongs to.
fn owner(world: &World, ask: &Ask<'_>, name: &str) -> Option<Name> {
    let Some(Noun::Spec(kind)) = ask.noun else { return None };
    if kind == hostler_types::spec::Kind::Node && !matches!(ask.verb, Verb::Change) {
        return None;
    }
    Some(world.specs.applied.get(kind, &Name::new(name).ok()?)?.system.clone())
}
