//! A run that starts, stops, restarts or reloads services.

use super::{Draft, Right, chosen, labels_only, named, taken_by};
use crate::admin::services::{Host, Service, find, hosts};
use crate::app::App;
use crate::world::World;
use hostler_core::access::Noun;
use hostler_core::services::in_order;
use hostler_proto::admin as wire;
use hostler_types::spec::Kind;
use hostler_types::{Name, NodeId, ServiceVerb, TaskStep};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tonic::Status;

const TIMEOUT: Duration = Duration::from_secs(900);

pub fn draft(app: &App, world: &World, request: &wire::StartRunRequest) -> Result<Draft, Status> {
    labels_only(&request.selector)?;
    let unknown = |_| Status::invalid_argument(format!("{:?} is nothing that services do", request.verb));
    let verb: ServiceVerb = request.verb.parse().map_err(unknown)?;
    let names: BTreeSet<&String> = request.services.iter().collect();
    let services: Vec<Service<'_>> = names.into_iter().map(|name| find(world, name)).collect::<Result<_, _>>()?;
    let [first, ..] = services.as_slice() else {
        return Err(Status::invalid_argument("say which service: hostlerctl service ls shows them"));
    };
    let ordered = in_order(verb, &services.iter().map(Service::name).collect(), |name| {
        let spec = world.specs.applied.service(name);
        spec.map(|spec| spec.needs.iter().map(|need| &need.name).collect()).unwrap_or_default()
    });
    let (mut taken, mut absent, mut rights, mut is_running) = (Vec::new(), BTreeMap::new(), Vec::new(), false);
    for host in hosts(world, &request.selector, &request.nodes)? {
        let (here, elsewhere): (Vec<&Service<'_>>, Vec<_>) =
            services.iter().partition(|service| service.takes(&host.labels));
        if here.is_empty() {
            refuse_named(request, &host, &services)?;
            continue;
        }
        let right = |service: &&Service<'_>| {
            Right::of(Noun::Spec(Kind::Service), Some(service.system()), service.name(), &host.labels)
        };
        rights.extend(here.iter().map(right));
        is_running |= runs(app, &host.member.id, &here);
        if !elsewhere.is_empty() {
            let names: BTreeSet<Name> = elsewhere.into_iter().map(|service| service.name().clone()).collect();
            absent.insert(host.member.id.clone(), names);
        }
        taken.push(host);
    }
    if taken.is_empty() {
        return Err(Status::failed_precondition(format!("there is no such node: {}", places(&services))));
    }
    let any = taken_by(world, |labels| services.iter().any(|service| service.takes(labels)));
    let words = ordered.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    // Where nothing runs, nothing is taken away from anybody.
    let at_once = verb == ServiceVerb::Start || !is_running;
    Ok(Draft {
        title: format!("{verb} {words}"),
        origin: first.origin().to_owned(),
        system: first.system().to_string(),
        steps: ordered.iter().map(|name| TaskStep::Service { service: (*name).clone(), verb }).collect(),
        chosen: chosen(request, &selectors(&services), taken.len(), any),
        max: if at_once { taken.len() } else { 1 },
        max_errors: 0,
        canary: 0,
        hosts: named(taken.iter()),
        timeout: TIMEOUT,
        retries: 0,
        absent,
        schedule: String::new(),
        rights,
    })
}

/// A node that was named, and has none of the services.
fn refuse_named(request: &wire::StartRunRequest, host: &Host<'_>, services: &[Service<'_>]) -> Result<(), Status> {
    if request.nodes.is_empty() {
        return Ok(());
    }
    let (node, places) = (&host.member.name, places(services));
    Err(Status::failed_precondition(format!("nothing of that is on {node}: {places}")))
}

fn places(services: &[Service<'_>]) -> String {
    let places = services.iter().map(|one| format!("{} runs where {}", one.name(), one.selector()));
    places.collect::<Vec<_>>().join(", ")
}

fn selectors(services: &[Service<'_>]) -> String {
    let all: BTreeSet<String> = services.iter().map(|service| service.selector().to_string()).collect();
    all.into_iter().collect::<Vec<_>>().join("; ")
}

fn runs(app: &App, node: &NodeId, services: &[&Service<'_>]) -> bool {
    let standing = app.fleet.services(node);
    let mut here = standing.iter().filter(|((name, _), _)| services.iter().any(|service| service.name() == name));
    here.any(|(_, report)| report.pid > 0 || report.state == "running")
}
