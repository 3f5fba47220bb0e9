//! `hostlerctl why node/web1`: what is so of it, what holds it back, what waits for it,
//! and how it came to that.

use super::{brakes, list_json};
use crate::cli::Format;
use crate::client::Client;
use crate::commands::services::when;
use crate::output::{Out, age};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use serde_json::json;

const EVENTS: u32 = 12;
const RUNS: u32 = 100;

struct Story {
    node: wire::Node,
    /// Those that do not pass, and those that do not run.
    checks: Vec<wire::Check>,
    services: Vec<wire::ServiceRow>,
    /// Its task of each run that is not over.
    tasks: Vec<(wire::Run, wire::RunTask)>,
    events: Vec<wire::Event>,
}

pub async fn why(mut client: Client, out: &Out, format: Format, name: &str) -> Result<(), Problem> {
    let story = ask(&mut client, name).await?;
    if format == Format::Table {
        out.print(&told(&story))?;
        brakes::tell(&mut client).await;
        return Ok(());
    }
    let tasks = story.tasks.iter().map(|(run, task)| {
        json!({"run": run.number, "title": run.title, "state": task.state, "held": task.held, "words": task.words})
    });
    let checks = story.checks.iter().map(|check| {
        json!({"check": check.check, "state": check.state, "since_ms": check.since_ms, "summary": check.summary})
    });
    let services = story
        .services
        .iter()
        .map(|row| json!({"service": row.service, "replica": row.replica, "state": row.state, "words": row.words}));
    let events = story.events.iter().map(
        |event| json!({"at_ms": event.at_ms, "kind": event.kind, "subject": event.subject, "message": event.message}),
    );
    out.json(&json!({
        "node": list_json(&story.node),
        "checks": checks.collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
        "tasks": tasks.collect::<Vec<_>>(),
        "events": events.collect::<Vec<_>>(),
    }))
}

async fn ask(client: &mut Client, name: &str) -> Result<Story, Problem> {
    let node = client.get_node(wire::GetNodeRequest { node: name.to_owned() }).await?.into_inner();
    let name = node.name.clone();
    let request = wire::ListChecksRequest { node: name.clone(), ..wire::ListChecksRequest::default() };
    let mut checks = client.list_checks(request).await?.into_inner().checks;
    checks.retain(|check| check.state != "passing");
    let request = wire::ListServicesRequest { node: name.clone(), ..wire::ListServicesRequest::default() };
    let mut services = client.list_services(request).await?.into_inner().rows;
    services.retain(|row| row.state != "running");
    let request = wire::ListRunsRequest { running: true, limit: RUNS, ..wire::ListRunsRequest::default() };
    let mut tasks = Vec::new();
    for run in client.list_runs(request).await?.into_inner().runs {
        let answer = client.get_run(wire::GetRunRequest { number: run.number }).await?.into_inner();
        tasks.extend(answer.tasks.into_iter().find(|task| task.node == name).map(|task| (run, task)));
    }
    let request = wire::ListEventsRequest { node: name, limit: EVENTS, ..wire::ListEventsRequest::default() };
    let events = client.list_events(request).await?.into_inner().events;
    Ok(Story { node, checks, services, tasks, events })
}

fn told(story: &Story) -> String {
    let Story { node, checks, services, tasks, events } = story;
    let now = node.wall_ms;
    let name = sanitize(&node.name).into_owned();
    let mut text = format!("{name} is {} for {}\n", sanitize(&node.state), age(node.state_since_ms, now));
    let mut line = |label: &str, words: &str| text.push_str(&format!("  {label:<12}{}\n", sanitize(words)));
    if let Some(brake) = &node.maintenance {
        line("maintenance", &brake.words);
    }
    for check in checks {
        line("check", &format!("{} {} for {}: {}", check.check, check.state, age(check.since_ms, now), check.summary));
    }
    for row in services {
        let words = if row.words.is_empty() { String::new() } else { format!(": {}", row.words) };
        line("service", &format!("{} {}{words}  (hostlerctl why service/{0} --node {name})", row.service, row.state));
    }
    for (run, task) in tasks {
        let words = if task.held.is_empty() { task.state.clone() } else { format!("held: {}", task.held) };
        line("run", &format!("{}, {}: {words}  (hostlerctl why run/{0})", run.number, run.title));
    }
    if checks.is_empty() && services.is_empty() && tasks.is_empty() {
        line("", "its checks pass, its services run, and no run waits for it");
    }
    if !events.is_empty() {
        text.push_str("how it came to that:\n");
    }
    for event in events {
        let subject = if event.subject == node.name { String::new() } else { format!("{}: ", event.subject) };
        let words = format!("{}  {:<8} {subject}{}", when(event.at_ms, now), event.kind, event.message);
        text.push_str(&format!("  {}\n", sanitize(&words)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_keeps_a_node_from_being_well_is_told() {
        let node = wire::Node {
            name: "web1".into(),
            state: "ready".into(),
            state_since_ms: 1_000,
            wall_ms: 61_000,
            ..wire::Node::default()
        };
        let check = wire::Check {
            check: "disk".into(),
            state: "critical".into(),
            since_ms: 31_000,
            summary: "97 % used\u{1b}[2J".into(),
            ..wire::Check::default()
        };
        let row = wire::ServiceRow {
            service: "hello".into(),
            state: "backoff".into(),
            words: "again in 20s".into(),
            ..wire::ServiceRow::default()
        };
        let run = wire::Run { number: 7, title: "restart hello".into(), ..wire::Run::default() };
        let task = wire::RunTask { held: "budget web: 1 of 1 down: web2 in run/6".into(), ..wire::RunTask::default() };
        let event = |subject: &str, message: &str| wire::Event {
            at_ms: 31_000,
            kind: "check".into(),
            subject: subject.into(),
            message: message.into(),
            ..wire::Event::default()
        };
        let events = vec![event("web1", "connected"), event("disk", "passing -> critical: 97 % used")];
        let story = Story { node, checks: vec![check], services: vec![row], tasks: vec![(run, task)], events };
        insta::assert_snapshot!(told(&story), @r"
        web1 is ready for 60s
          check       disk critical for 30s: 97 % used\u{1b}[2J
          service     hello backoff: again in 20s  (hostlerctl why service/hello --node web1)
          run         7, restart hello: held: budget web: 1 of 1 down: web2 in run/6  (hostlerctl why run/7)
        how it came to that:
          00:00:31  check    connected
          00:00:31  check    disk: passing -> critical: 97 % used
        ");
        let well = Story { checks: Vec::new(), services: Vec::new(), tasks: Vec::new(), events: Vec::new(), ..story };
        assert!(told(&well).contains("its checks pass, its services run"), "{}", told(&well));
    }
}
