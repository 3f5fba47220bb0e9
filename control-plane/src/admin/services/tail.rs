//! The last lines of a service, asked of its nodes.

use super::{Verb, ask, find, hosts, seen};
use crate::access::{Caller, require};
use crate::app::App;
use crate::orders::{Answers, order};
use hostler_proto::admin as wire;
use hostler_proto::agent::ServiceOrder;
use hostler_proto::convert::TAIL_LINES_MAX;
use hostler_types::{Name, NodeId};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Status;

/// They are read from the host's own files.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than anybody reads side by side.
const NODES_MAX: usize = 50;

pub async fn tail(
    app: &Arc<App>,
    caller: &Caller,
    request: &wire::TailServiceRequest,
) -> Result<wire::TailServiceResponse, Status> {
    let world = app.mirror.now();
    let service = find(&world, &request.service)?;
    let nodes: Vec<String> = Some(&request.node).filter(|node| !node.is_empty()).cloned().into_iter().collect();
    let meant = hosts(&world, &request.selector, &nodes)?;
    let shown = seen(&world, caller, service, &meant);
    if shown.is_empty() {
        // Either it may not be looked at, or it does not run there.
        if let Some(host) = meant.iter().find(|host| service.takes(&host.labels)) {
            require(&world, caller, &ask(Verb::Read, service, &host.labels))?;
        }
        let there = &service.spec.where_;
        return Err(Status::not_found(format!(
            "{} runs on none of these nodes: it runs where {there}",
            service.name()
        )));
    }
    if shown.len() > NODES_MAX {
        return Err(Status::invalid_argument(format!(
            "{} runs on {} nodes, and {NODES_MAX} are read at once: choose some with --node or -l",
            service.name(),
            shown.len()
        )));
    }
    let lines = (request.lines as usize).clamp(1, TAIL_LINES_MAX);
    let mut asking = JoinSet::new();
    for host in shown {
        let (id, name) = (host.member.id.clone(), host.member.name.clone());
        asking.spawn(read(Arc::clone(app), id, name, service.name().clone(), lines, caller.name().to_owned()));
    }
    let mut tails = asking.join_all().await;
    tails.sort_by(|left, right| left.node.cmp(&right.node));
    Ok(wire::TailServiceResponse { tails })
}

async fn read(app: Arc<App>, id: NodeId, node: Name, service: Name, lines: usize, by: String) -> wire::ServiceTail {
    let tail_lines = u32::try_from(lines).unwrap_or(u32::MAX);
    let wanted = ServiceOrder { service: service.to_string(), by, tail_lines, ..ServiceOrder::default() };
    let tail = wire::ServiceTail { node: node.to_string(), ..wire::ServiceTail::default() };
    let asked = order(&app, &id, wanted);
    match last(asked).await {
        Ok(answer) if answer.outcome == "done" => wire::ServiceTail { lines: answer.tail, words: answer.words, ..tail },
        Ok(answer) => wire::ServiceTail { words: format!("{}: {}", answer.outcome, answer.words), ..tail },
        Err(silence) => wire::ServiceTail { words: silence.0, ..tail },
    }
}

async fn last(
    asked: Result<Answers, crate::orders::Silence>,
) -> Result<hostler_proto::agent::ServiceAnswer, crate::orders::Silence> {
    let mut answers = asked?;
    loop {
        let answer = answers.next(PATIENCE).await?;
        if answer.outcome != "begun" {
            return Ok(answer);
        }
    }
}
