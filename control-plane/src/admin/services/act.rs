//! Starting, stopping, restarting and reloading services: node by node, and told as
//! it goes.

use super::{Host, Service, Verb, ask, find, hosts};
use crate::access::{Caller, require};
use crate::app::App;
use crate::audit::Call;
use crate::orders::{Silence, order};
use hostler_core::services::{in_order, words};
use hostler_proto::admin as wire;
use hostler_proto::agent::ServiceOrder;
use hostler_types::time::whole_millis;
use hostler_types::{Name, NodeId, ServiceVerb};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Beside the time that a service has to end: to begin, and until its checks pass. Each
/// answer in between begins it anew.
const PATIENCE: Duration = Duration::from_secs(120);
/// A step is a line on a terminal; whoever reads them is waited for.
const QUEUE: usize = 64;
const REASON_CHARACTERS_MAX: usize = 200;

pub type Steps = ReceiverStream<Result<wire::ActOnServicesResponse, Status>>;

/// What is done on one node, in this order.
struct Turn {
    id: NodeId,
    node: Name,
    services: Vec<(Name, Duration)>,
}

struct Work {
    verb: ServiceVerb,
    by: String,
    reason: String,
    max: usize,
    turns: Vec<Turn>,
}

pub fn act(app: &Arc<App>, caller: &Caller, call: &Call, request: wire::ActOnServicesRequest) -> Result<Steps, Status> {
    let dry_run = request.dry_run;
    let (work, choice) = choose(app, caller, call, request)?;
    let (steps, stream) = mpsc::channel(QUEUE);
    let first = wire::ActOnServicesResponse { choice: Some(choice), ..wire::ActOnServicesResponse::default() };
    // The queue is empty: there is room.
    let _ = steps.try_send(Ok(first));
    if !dry_run {
        app.tracker.spawn(roll(Arc::clone(app), work, steps));
    }
    Ok(ReceiverStream::new(stream))
}

fn choose(
    app: &App,
    caller: &Caller,
    call: &Call,
    request: wire::ActOnServicesRequest,
) -> Result<(Work, wire::ActChoice), Status> {
    let world = app.mirror.now();
    let unknown = |_| Status::invalid_argument(format!("{:?} is nothing that services do", request.verb));
    let verb: ServiceVerb = request.verb.parse().map_err(unknown)?;
    let names: BTreeSet<&String> = request.services.iter().collect();
    let services: Vec<Service<'_>> = names.into_iter().map(|name| find(&world, name)).collect::<Result<_, _>>()?;
    if services.is_empty() {
        return Err(Status::invalid_argument("say which service: hostlerctl service ls shows them"));
    }
    let hosts = hosts(&world, &request.selector, &request.nodes)?;
    let ordered = in_order(verb, &services.iter().map(Service::name).collect(), |name| {
        let spec = world.specs.applied.service(name);
        spec.map(|spec| spec.needs.iter().map(|need| &need.name).collect()).unwrap_or_default()
    });
    let (mut turns, mut running) = (Vec::new(), 0);
    for host in &hosts {
        let here: Vec<Service<'_>> = ordered
            .iter()
            .filter_map(|name| services.iter().find(|one| one.name() == *name))
            .copied()
            .filter(|service| service.takes(&host.labels))
            .collect();
        if here.is_empty() {
            refuse_named(&request, host, &services)?;
            continue;
        }
        for service in &here {
            require(&world, caller, &ask(Verb::Act, *service, &host.labels))?;
        }
        running += u32::from(runs(app, host, &here));
        turns.push(turn(host, &here));
    }
    if turns.is_empty() {
        let there: Vec<String> =
            services.iter().map(|one| format!("{} runs where {}", one.name(), one.spec.where_)).collect();
        return Err(Status::failed_precondition(format!("there is no such node: {}", there.join(", "))));
    }
    let max = match request.max.as_str() {
        "" if verb == ServiceVerb::Start || running == 0 => turns.len(),
        "" => 1,
        text => words::at_once(text, turns.len()).map_err(Status::invalid_argument)?,
    };
    services.iter().for_each(|service| call.on("service", service.name().as_str()));
    turns.iter().for_each(|turn| call.on("node", turn.node.as_str()));
    let choice = wire::ActChoice {
        nodes: turns.iter().map(|turn| turn.node.to_string()).collect(),
        services: ordered.iter().map(ToString::to_string).collect(),
        max: u32::try_from(max).unwrap_or(u32::MAX),
        running,
    };
    let reason = request.reason.chars().take(REASON_CHARACTERS_MAX).collect();
    Ok((Work { verb, by: caller.name().to_owned(), reason, max, turns }, choice))
}

/// A node that was named, and has none of the services.
fn refuse_named(request: &wire::ActOnServicesRequest, host: &Host<'_>, services: &[Service<'_>]) -> Result<(), Status> {
    if request.nodes.is_empty() {
        return Ok(());
    }
    let there = services.iter().map(|one| format!("{} runs where {}", one.name(), one.spec.where_));
    Err(Status::failed_precondition(format!(
        "nothing of that is on {}: {}",
        host.member.name,
        there.collect::<Vec<_>>().join(", ")
    )))
}

fn runs(app: &App, host: &Host<'_>, services: &[Service<'_>]) -> bool {
    let standing = app.fleet.services(&host.member.id);
    services.iter().any(|service| {
        standing
            .iter()
            .any(|((name, _), report)| name == service.name() && (report.pid > 0 || report.state == "running"))
    })
}

fn turn(host: &Host<'_>, services: &[Service<'_>]) -> Turn {
    let grace = |service: &Service<'_>| {
        let stop = service.spec.stop.as_ref();
        stop.map_or(hostler_types::service::GRACE_DEFAULT, |stop| stop.grace.0)
    };
    Turn {
        id: host.member.id.clone(),
        node: host.member.name.clone(),
        services: services.iter().map(|service| (service.name().clone(), grace(service))).collect(),
    }
}

type Sender = mpsc::Sender<Result<wire::ActOnServicesResponse, Status>>;

/// What has begun goes on when nobody listens any more; nothing else is begun.
async fn roll(app: Arc<App>, work: Work, steps: Sender) {
    let began = Instant::now();
    let (verb, max) = (work.verb, work.max);
    let mut summary = wire::ActSummary::default();
    let mut under_way = JoinSet::new();
    let mut turns = work.turns.into_iter();
    let mut stopped_by = None;
    loop {
        while under_way.len() < max && stopped_by.is_none() && !steps.is_closed() && !app.stop.is_cancelled() {
            let Some(turn) = turns.next() else { break };
            let one = One {
                app: Arc::clone(&app),
                steps: steps.clone(),
                verb,
                by: work.by.clone(),
                reason: work.reason.clone(),
            };
            under_way.spawn(one.run(turn));
        }
        let Some(ended) = under_way.join_next().await else { break };
        let Ok(ended) = ended else { continue };
        for outcome in ended.outcomes {
            match outcome.as_str() {
                "done" => summary.done += 1,
                "refused" => summary.refused += 1,
                "unreachable" => summary.unreachable += 1,
                "skipped" => summary.skipped += 1,
                _ => summary.failed += 1,
            }
        }
        stopped_by = stopped_by.or(ended.stops);
    }
    if let Some(why) = stopped_by {
        for turn in turns {
            for (service, _) in turn.services {
                summary.skipped += 1;
                let words = format!("not tried: {why}");
                let step = step(&turn.node, &service, "skipped", &words);
                let _ = steps.send(Ok(step)).await;
            }
        }
    }
    summary.took_ms = whole_millis(began.elapsed());
    let last = wire::ActOnServicesResponse { summary: Some(summary), ..wire::ActOnServicesResponse::default() };
    let _ = steps.send(Ok(last)).await;
}

fn step(node: &Name, service: &Name, outcome: &str, words: &str) -> wire::ActOnServicesResponse {
    let step = wire::ActStep {
        node: node.to_string(),
        service: service.to_string(),
        outcome: outcome.to_owned(),
        words: words.to_owned(),
        ..wire::ActStep::default()
    };
    wire::ActOnServicesResponse { step: Some(step), ..wire::ActOnServicesResponse::default() }
}

#[derive(Default)]
struct Ended {
    /// One a service.
    outcomes: Vec<String>,
    /// Why no other node has its turn.
    stops: Option<String>,
}

/// One node's turn.
struct One {
    app: Arc<App>,
    steps: Sender,
    verb: ServiceVerb,
    by: String,
    reason: String,
}

impl One {
    async fn run(self, turn: Turn) -> Ended {
        let mut ended = Ended::default();
        for (service, grace) in &turn.services {
            if let Some(why) = &ended.stops {
                let _ = self.steps.send(Ok(step(&turn.node, service, "skipped", &format!("not tried: {why}")))).await;
                ended.outcomes.push("skipped".to_owned());
                continue;
            }
            let (outcome, lost) = self.ask(&turn, service, *grace + PATIENCE).await;
            // What does not come back on one node is not tried on all others.
            let breaks = matches!(self.verb, ServiceVerb::Restart | ServiceVerb::Reload);
            if breaks && (lost || outcome == "failed") {
                ended.stops = Some(format!("{service} on {} came to no good end", turn.node));
            }
            ended.outcomes.push(outcome);
        }
        ended
    }

    /// How it ended, and whether that is not known.
    async fn ask(&self, turn: &Turn, service: &Name, patience: Duration) -> (String, bool) {
        let began = Instant::now();
        let wanted = ServiceOrder {
            service: service.to_string(),
            verb: self.verb.word().to_owned(),
            by: self.by.clone(),
            reason: self.reason.clone(),
            ..ServiceOrder::default()
        };
        let mut asked = order(&self.app, &turn.id, wanted);
        loop {
            let answer = match &mut asked {
                Ok(answers) => answers.next(patience).await,
                Err(silence) => Err(silence.clone()),
            };
            let (outcome, words, tail, lost) = match answer {
                Ok(answer) => {
                    let known = ["begun", "done", "failed", "refused"].contains(&answer.outcome.as_str());
                    let outcome = if known { answer.outcome } else { "failed".to_owned() };
                    (outcome, answer.words, answer.tail, false)
                }
                Err(silence) => {
                    let lost = matches!(silence, Silence::Lost(_));
                    ("unreachable".to_owned(), silence.words().to_owned(), Vec::new(), lost)
                }
            };
            let mut told = step(&turn.node, service, &outcome, &words);
            if let Some(step) = &mut told.step {
                (step.after_ms, step.tail) = (whole_millis(began.elapsed()), tail);
            }
            let _ = self.steps.send(Ok(told)).await;
            if outcome != "begun" {
                return (outcome, lost);
            }
        }
    }
}
