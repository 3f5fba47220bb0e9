//! Services: where they stand, what was done to them, and what they print.

mod tail;

pub use tail::tail;

use super::nodes;
use crate::access::{self, Caller, in_system, on_node, require};
use crate::acts::{self, ActsError};
use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::fleet::Standing;
use crate::records::Member;
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::applied::Owned;
use hostler_core::services::words;
use hostler_proto::admin as wire;
use hostler_proto::agent::Act as WireAct;
use hostler_types::spec::{Body, CheckTarget, Kind, ServiceSpec, nearest};
use hostler_types::{Labels, Name, NodeId, NodeState, Selector, ServiceAssignment, ServiceState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tonic::Status;

const SERVICE: Noun = Noun::Spec(Kind::Service);
const ACTS_DEFAULT: usize = 20;
/// Of all nodes together; one node keeps fewer of a service.
const ACTS_MAX: usize = 1_000;

/// An applied service.
#[derive(Clone, Copy)]
pub struct Service<'a> {
    owned: &'a Owned,
    spec: &'a ServiceSpec,
}

impl<'a> Service<'a> {
    pub fn name(&self) -> &'a Name {
        &self.owned.object.name
    }

    pub fn system(&self) -> &'a Name {
        &self.owned.system
    }

    /// Where it is written.
    pub fn origin(&self) -> &'a str {
        &self.owned.object.origin
    }

    pub fn selector(&self) -> &'a Selector {
        &self.spec.where_
    }

    /// Facts choose no services.
    pub fn takes(&self, labels: &Labels) -> bool {
        self.spec.where_.matches(labels, &BTreeMap::new())
    }
}

fn all(world: &World) -> impl Iterator<Item = Service<'_>> {
    world.specs.applied.of_kind(Kind::Service).filter_map(|owned| match &owned.object.body {
        Body::Service(spec) => Some(Service { owned, spec }),
        _ => None,
    })
}

pub fn find<'a>(world: &'a World, text: &str) -> Result<Service<'a>, Status> {
    all(world).find(|service| service.name().as_str() == text).ok_or_else(|| {
        let help = match nearest(text, all(world).map(|service| service.name().as_str())) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; hostlerctl service ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no service {text:?}{help}"))
    })
}

/// A node that is not shut out, with what it is chosen by.
pub struct Host<'a> {
    pub member: &'a Arc<Member>,
    pub labels: Labels,
}

/// Which nodes are meant: by a selector, by their names, or all of them.
pub fn hosts<'a>(world: &'a World, selector: &str, names: &[String]) -> Result<Vec<Host<'a>>, Status> {
    let selector = match selector {
        "" => Selector::all(),
        text => Selector::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    let named = names.iter().map(|name| Ok(nodes::find(world, name)?.id.clone()));
    let named: BTreeSet<_> = named.collect::<Result<_, Status>>()?;
    let meant = |member: &&Arc<Member>| member.revoked.is_none() && (named.is_empty() || named.contains(&member.id));
    let hosts = world.members.values().filter(meant).map(|member| Host { member, labels: world.labels(member) });
    let mut hosts: Vec<Host<'a>> = hosts
        .filter(|host| {
            let facts = world.liveness.get(&host.member.id).and_then(|record| record.facts.as_ref());
            selector.matches(&host.labels, &facts.map(hostler_types::Facts::selectable).unwrap_or_default())
        })
        .collect();
    hosts.sort_by(|left, right| left.member.name.cmp(&right.member.name));
    Ok(hosts)
}

pub fn ask<'a>(verb: Verb, service: Service<'a>, labels: &'a Labels) -> Ask<'a> {
    on_node(in_system(Ask::new(verb, SERVICE), &service.owned.system), service.name().as_str(), labels)
}

/// The hosts of a service that whoever asks may look at.
fn seen<'h, 'a>(world: &World, caller: &Caller, service: Service<'_>, hosts: &'h [Host<'a>]) -> Vec<&'h Host<'a>> {
    let may = |labels| access::may(world, caller, &ask(Verb::Read, service, labels));
    hosts.iter().filter(|host| service.takes(&host.labels) && may(&host.labels)).collect()
}

fn node_state(app: &App, member: &Member) -> NodeState {
    app.fleet.seen(&member.id).map_or(NodeState::Joining, |seen| seen.state)
}

fn rows(app: &App, service: Service<'_>, member: &Member, standing: &Standing) -> Vec<wire::ServiceRow> {
    let replicas = service.spec.replicas.0;
    let node_state = node_state(app, member);
    let row = |replica: u32| {
        let report = standing.get(&(service.name().clone(), replica)).cloned();
        let words = if report.is_none() { "not heard of yet" } else { "" };
        let report = report.unwrap_or_default();
        let state: ServiceState = report.state.parse().unwrap_or(ServiceState::Unknown);
        wire::ServiceRow {
            service: service.name().to_string(),
            node: member.name.to_string(),
            replica,
            state: state.word().to_owned(),
            since_ms: report.since_ms,
            pid: report.pid,
            started_ms: report.started_ms,
            restarts: report.restarts,
            words: if words.is_empty() { report.words } else { words.to_owned() },
            stopped: report.stopped,
            usage: report.usage,
            node_state: node_state.word().to_owned(),
            system: service.owned.system.to_string(),
            replicas,
        }
    };
    (0..replicas).map(row).collect()
}

pub fn list(
    app: &App,
    caller: &Caller,
    request: &wire::ListServicesRequest,
) -> Result<wire::ListServicesResponse, Status> {
    let world = app.mirror.now();
    let nodes: Vec<String> = Some(&request.node).filter(|node| !node.is_empty()).cloned().into_iter().collect();
    let hosts = hosts(&world, &request.selector, &nodes)?;
    let services: Vec<Service<'_>> = if request.services.is_empty() {
        all(&world).collect()
    } else {
        let names: BTreeSet<&String> = request.services.iter().collect();
        names.into_iter().map(|name| find(&world, name)).collect::<Result<_, _>>()?
    };
    let systems = world.specs.versions.keys().map(|name| name.as_str());
    if !request.system.is_empty() && !systems.clone().any(|name| name == request.system) {
        let help = match nearest(&request.system, systems) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; hostlerctl system ls shows them".to_owned(),
        };
        return Err(Status::not_found(format!("there is no system {:?}{help}", request.system)));
    }
    let standings: BTreeMap<_, _> =
        hosts.iter().map(|host| (&host.member.id, app.fleet.services(&host.member.id))).collect();
    let empty = Standing::default();
    let mut found = Vec::new();
    for service in services {
        if !request.system.is_empty() && service.owned.system.as_str() != request.system {
            continue;
        }
        for host in seen(&world, caller, service, &hosts) {
            let standing = standings.get(&host.member.id).unwrap_or(&empty);
            found.extend(rows(app, service, host.member, standing));
        }
    }
    Ok(wire::ListServicesResponse { rows: found, wall_ms: clock::wall().as_millis() })
}

pub fn get(app: &App, caller: &Caller, request: &wire::GetServiceRequest) -> Result<wire::GetServiceResponse, Status> {
    let world = app.mirror.now();
    let service = find(&world, &request.service)?;
    let nodes: Vec<String> = Some(&request.node).filter(|node| !node.is_empty()).cloned().into_iter().collect();
    let hosts = hosts(&world, "", &nodes)?;
    let hosts = seen(&world, caller, service, &hosts);
    if hosts.is_empty() {
        let anywhere = in_system(Ask::new(Verb::Read, SERVICE), &service.owned.system);
        require(&world, caller, &anywhere.named(service.name().as_str()))?;
    }
    let (name, spec, object) = (service.name(), service.spec, &service.owned.object);
    let as_written = hostler_core::services::assignment(object, spec, |_| true, &|_| None);
    let (mut found, mut needs, mut checks) = (Vec::new(), Vec::new(), Vec::new());
    let about = |check: &Name| {
        let of_service = world
            .specs
            .applied
            .checks()
            .find(|(one, _)| *one == check)
            .is_some_and(|(_, spec)| matches!(spec.target(), CheckTarget::Service(target) if target == name));
        of_service || as_written.live.contains(check) || as_written.ready.contains(check)
    };
    for host in hosts {
        let standing = app.fleet.services(&host.member.id);
        found.extend(rows(app, service, host.member, &standing));
        needs.extend(needs_of(&world, host, &as_written, &standing));
        checks.extend(nodes::checks_on(app, &world, caller, host.member, about));
    }
    checks.sort_by(|left, right| (&left.check, &left.node).cmp(&(&right.check, &right.node)));
    let texts = |names: &[Name]| names.iter().map(ToString::to_string).collect();
    Ok(wire::GetServiceResponse {
        name: name.to_string(),
        system: service.owned.system.to_string(),
        origin: object.origin.clone(),
        r#type: spec.type_.word().to_owned(),
        runs: words::runs(&as_written.runs),
        r#where: spec.where_.to_string(),
        replicas: spec.replicas.0,
        needs,
        live: texts(&as_written.live),
        ready: texts(&as_written.ready),
        heal: if as_written.live.is_empty() { Vec::new() } else { heal(&as_written) },
        restart: words::restart(&as_written),
        stop: words::stop(&as_written),
        limits: words::limits(&as_written),
        files: as_written.files.iter().map(|file| file.path.clone()).collect(),
        rows: found,
        checks,
        wall_ms: clock::wall().as_millis(),
    })
}

fn heal(one: &ServiceAssignment) -> Vec<String> {
    one.heal.iter().map(|step| step.word().to_owned()).collect()
}

/// What a service needs on a node, as the node sees it. One that runs elsewhere is not
/// waited for.
fn needs_of(world: &World, host: &Host<'_>, one: &ServiceAssignment, standing: &Standing) -> Vec<wire::ServiceNeed> {
    let here = |need: &&Name| {
        let service = all(world).find(|service| service.name() == *need);
        service.is_some_and(|service| service.takes(&host.labels))
    };
    let state_of = |need: &Name| {
        let replicas = standing.iter().filter(|((service, _), _)| service == need).map(|(_, report)| report);
        // The first that is not well stands for all of them.
        let mut replicas = replicas.map(|report| report.state.parse().unwrap_or(ServiceState::Unknown)).peekable();
        let none = replicas.peek().is_none();
        let worst = replicas.find(|state| *state != ServiceState::Running);
        worst.unwrap_or(if none { ServiceState::Unknown } else { ServiceState::Running })
    };
    let need = |need: &Name| {
        let state = state_of(need);
        wire::ServiceNeed {
            node: host.member.name.to_string(),
            service: need.to_string(),
            well: state == ServiceState::Running,
            state: state.word().to_owned(),
        }
    };
    one.needs.iter().filter(here).map(need).collect()
}

pub async fn acts(
    app: &App,
    caller: &Caller,
    request: &wire::ListActsRequest,
) -> Result<wire::ListActsResponse, Status> {
    let world = app.mirror.now();
    let applied = find(&world, &request.service);
    let name = match (&applied, Name::new(&request.service)) {
        (Ok(service), _) => service.name().clone(),
        // Its acts are kept beyond its spec.
        (Err(_), Ok(name)) => name,
        (Err(status), Err(_)) => return Err(status.clone()),
    };
    let nodes: Vec<String> = Some(&request.node).filter(|node| !node.is_empty()).cloned().into_iter().collect();
    let limit = match request.limit {
        0 => ACTS_DEFAULT,
        limit => (limit as usize).min(ACTS_MAX),
    };
    // Also where it ran once.
    let hosts = hosts(&world, "", &nodes)?;
    // Of which system it was is not known any more: whoever reads all of them sees it.
    let look = |host: &Host<'_>| match &applied {
        Ok(service) => access::may(&world, caller, &ask(Verb::Read, *service, &host.labels)),
        Err(_) => access::may(&world, caller, &on_node(Ask::new(Verb::Read, SERVICE), name.as_str(), &host.labels)),
    };
    let may = |host: &&Host<'_>| look(host);
    let nodes: Vec<(NodeId, Name)> =
        hosts.iter().filter(may).map(|host| (host.member.id.clone(), host.member.name.clone())).collect();
    drop(hosts);
    let found = acts::newest(&*app.store, &name, &nodes, limit).await.map_err(|error| match error {
        ActsError::Store(error) => store_status(error),
        ActsError::Record(error) => Status::internal(error.to_string()),
    })?;
    if let Err(status) = applied
        && found.is_empty()
    {
        return Err(status);
    }
    let to_wire = |(node, act): &(Name, hostler_types::Act)| wire::ServiceAct {
        node: node.to_string(),
        act: Some(WireAct::from(act)),
    };
    Ok(wire::ListActsResponse { acts: found.iter().map(to_wire).collect(), wall_ms: clock::wall().as_millis() })
}
