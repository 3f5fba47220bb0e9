//! `hostlerctl service`

#[cfg(test)]
mod tests;

use super::nodes::time;
use super::{brakes, runs};
use crate::cli::{Format, ServiceCommand};
use crate::client::Client;
use crate::output::{Cell, Out, age, counts, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_proto::agent as agent_wire;
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use hostler_types::units::format_size;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

pub async fn run(mut client: Client, out: &Out, format: Format, command: ServiceCommand) -> Result<ExitCode, Problem> {
    match command {
        ServiceCommand::Ls { names, selector, node, system } => {
            let request = wire::ListServicesRequest {
                services: names,
                selector: selector.unwrap_or_default(),
                node: node.unwrap_or_default(),
                system: system.unwrap_or_default(),
            };
            let is_all = request == wire::ListServicesRequest::default();
            let answer = client.list_services(request).await?.into_inner();
            list(out, format, &answer, is_all)?;
            if format == Format::Table {
                brakes::tell(&mut client).await;
            }
            Ok(())
        }
        ServiceCommand::Show { service, node } => {
            let request = wire::GetServiceRequest { service, node: node.unwrap_or_default() };
            let answer = client.get_service(request).await?.into_inner();
            if format == Format::Table { out.print(&shown(out, &answer)) } else { out.json(&show_json(&answer)) }
        }
        ServiceCommand::Start(args) => return runs::of_services(client, out, format, "start", args).await,
        ServiceCommand::Stop(args) => return runs::of_services(client, out, format, "stop", args).await,
        ServiceCommand::Restart(args) => return runs::of_services(client, out, format, "restart", args).await,
        ServiceCommand::Reload(args) => return runs::of_services(client, out, format, "reload", args).await,
        ServiceCommand::Logs { service, lines, selector, node } => {
            let (selector, node) = (selector.unwrap_or_default(), node.unwrap_or_default());
            let request = wire::TailServiceRequest { service, selector, node, lines };
            let answer = client.tail_service(request).await?.into_inner();
            if format == Format::Table { out.print(&tails(out, &answer.tails)) } else { logs_json(out, &answer) }
        }
        ServiceCommand::History { service, node, limit } => {
            let request = wire::ListActsRequest { service, node: node.unwrap_or_default(), limit };
            let answer = client.list_acts(request.clone()).await?.into_inner();
            history(out, format, &request.service, &answer)
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

/// `hello`, or `hello[1]` where there are several on the node.
pub fn replica(name: &str, number: u32, count: u32) -> String {
    if count > 1 { format!("{name}[{number}]") } else { name.to_owned() }
}

/// What it said last is old news once its node is gone, and says so.
fn summary(row: &wire::ServiceRow) -> String {
    let by_wish = if row.stopped && row.words.is_empty() { "somebody wants it so" } else { &row.words };
    match row.node_state.as_str() {
        "ready" => by_wish.to_owned(),
        state => format!("(node {state}) {by_wish}").trim_end().to_owned(),
    }
}

fn row_json(row: &wire::ServiceRow) -> Value {
    let usage = row.usage.as_ref().map(|usage| {
        json!({
            "cpu_us": usage.cpu_us,
            "memory_bytes": usage.memory_bytes,
            "processes": usage.processes,
            "open_files": usage.open_files,
            "connections": usage.connections,
            "measured_at": time(usage.measured_ms),
        })
    });
    json!({
        "node": row.node,
        "service": row.service,
        "replica": row.replica,
        "system": row.system,
        "state": row.state,
        "since": time(row.since_ms),
        "pid": (row.pid != 0).then_some(row.pid),
        "started": time(row.started_ms),
        "restarts": row.restarts,
        "words": row.words,
        "stopped": row.stopped,
        "usage": usage,
        "node_state": row.node_state,
    })
}

fn list(out: &Out, format: Format, answer: &wire::ListServicesResponse, is_all: bool) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.rows.iter().map(row_json).collect::<Vec<_>>());
    }
    if answer.rows.is_empty() {
        return out.line(if is_all {
            "no service runs on any node.  What is applied: hostlerctl get service; write one: hostlerctl apply -f FILE"
        } else {
            "they run on none of these nodes.  Where they do: hostlerctl service ls"
        });
    }
    out.print(&table(out, &answer.rows, answer.wall_ms))
}

fn table(out: &Out, rows: &[wire::ServiceRow], now: u64) -> String {
    let row = |one: &wire::ServiceRow| {
        let memory = one.usage.as_ref().map_or_else(|| "-".to_owned(), |usage| format_size(usage.memory_bytes));
        vec![
            Cell::new(&one.node),
            Cell::new(replica(&one.service, one.replica, one.replicas)),
            Cell::state(&one.state),
            Cell::new(age(one.since_ms, now)),
            Cell::new(if one.pid == 0 { "-".to_owned() } else { one.pid.to_string() }),
            Cell::new(one.restarts.to_string()),
            Cell::new(memory),
            Cell::new(summary(one)),
        ]
    };
    let head = ["NODE", "SERVICE", "STATE", "SINCE", "PID", "RESTARTS", "MEMORY", "SUMMARY"];
    let mut text = out.table(&head, &rows.iter().map(row).collect::<Vec<_>>());
    let mut by_state: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows {
        *by_state.entry(&row.state).or_default() += 1;
    }
    let shown: String = counts(by_state);
    text.push_str(&format!("{}: {}\n", plural(rows.len(), "replica"), sanitize(&shown)));
    text
}

/// What each of them uses of its host.
fn uses(out: &Out, rows: &[wire::ServiceRow], now: u64) -> String {
    let row = |one: &wire::ServiceRow| {
        let usage = one.usage.as_ref()?;
        Some(vec![
            Cell::new(&one.node),
            Cell::new(replica(&one.service, one.replica, one.replicas)),
            Cell::new(age(one.started_ms, now)),
            Cell::new(format!("{:.1} s", Duration::from_micros(usage.cpu_us).as_secs_f64())),
            Cell::new(format_size(usage.memory_bytes)),
            Cell::new(usage.processes.to_string()),
            Cell::new(usage.open_files.to_string()),
            Cell::new(usage.connections.to_string()),
        ])
    };
    let rows: Vec<_> = rows.iter().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["NODE", "USES", "UP", "CPU TIME", "MEMORY", "PROCESSES", "FILES", "CONNECTIONS"];
    format!("\n{}", out.table(&head, &rows))
}

fn shown(out: &Out, one: &wire::GetServiceResponse) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<9}{}\n", sanitize(value)));
        }
    };
    let at = if one.origin.is_empty() { String::new() } else { format!(", {}", one.origin) };
    field("service", &format!("{} of system {}{at}", one.name, one.system));
    field("runs", &one.runs);
    field("type", &one.r#type);
    let each = if one.replicas == 1 { String::new() } else { format!(", {} on each", one.replicas) };
    field("where", &format!("{}{each}", one.r#where));
    field("restart", &one.restart);
    field("stop", &one.stop);
    field("limits", &one.limits);
    let heals = if one.heal.is_empty() { String::new() } else { format!(": {}", one.heal.join(", then ")) };
    field("live", &if one.live.is_empty() { String::new() } else { format!("{}{heals}", one.live.join(", ")) });
    field("ready", &one.ready.join(", "));
    field("files", &one.files.join(", "));
    text.push('\n');
    if one.rows.is_empty() {
        text.push_str("it runs on no node.  Which there are: hostlerctl node ls\n");
        return text;
    }
    text.push_str(&table(out, &one.rows, one.wall_ms));
    text.push_str(&uses(out, &one.rows, one.wall_ms));
    if !one.needs.is_empty() {
        let row = |need: &wire::ServiceNeed| {
            let well = if need.well { "is well" } else { "is waited for" };
            vec![Cell::new(&need.node), Cell::new(&need.service), Cell::state(&need.state), Cell::new(well)]
        };
        text.push('\n');
        text.push_str(&out.table(&["NODE", "NEEDS", "STATE", ""], &one.needs.iter().map(row).collect::<Vec<_>>()));
    }
    if !one.checks.is_empty() {
        let row = |check: &wire::Check| {
            vec![
                Cell::new(&check.node),
                Cell::new(&check.check),
                Cell::state(&check.state),
                Cell::new(age(check.since_ms, one.wall_ms)),
                Cell::new(&check.summary),
            ]
        };
        let head = ["NODE", "CHECK", "STATE", "SINCE", "SUMMARY"];
        text.push('\n');
        text.push_str(&out.table(&head, &one.checks.iter().map(row).collect::<Vec<_>>()));
    }
    text
}

fn show_json(one: &wire::GetServiceResponse) -> Value {
    let needs = one
        .needs
        .iter()
        .map(|need| json!({"node": need.node, "service": need.service, "well": need.well, "state": need.state}));
    let checks = one.checks.iter().map(|check| {
        json!({
            "node": check.node,
            "check": check.check,
            "state": check.state,
            "since": time(check.since_ms),
            "summary": check.summary,
        })
    });
    json!({
        "name": one.name,
        "system": one.system,
        "origin": one.origin,
        "type": one.r#type,
        "runs": one.runs,
        "where": one.r#where,
        "replicas": one.replicas,
        "needs": needs.collect::<Vec<_>>(),
        "live": one.live,
        "ready": one.ready,
        "heal": one.heal,
        "restart": one.restart,
        "stop": one.stop,
        "limits": one.limits,
        "files": one.files,
        "rows": one.rows.iter().map(row_json).collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
    })
}

fn tails(out: &Out, tails: &[wire::ServiceTail]) -> String {
    let width = tails.iter().map(|tail| tail.node.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for tail in tails {
        // Of one node alone, the lines as they are.
        let prefix = if tails.len() > 1 { format!("{:<width$}  ", sanitize(&tail.node)) } else { String::new() };
        for line in &tail.lines {
            text.push_str(&format!("{prefix}{}\n", sanitize(line)));
        }
        if tail.lines.is_empty() {
            let why = if tail.words.is_empty() { "it printed nothing yet" } else { &tail.words };
            let words = format!("{:<width$}  ({})", sanitize(&tail.node), sanitize(why));
            text.push_str(&format!("{}\n", out.paint(&words, crate::output::Tone::Faint)));
        }
    }
    text
}

fn logs_json(out: &Out, answer: &wire::TailServiceResponse) -> Result<(), Problem> {
    let one = |tail: &wire::ServiceTail| json!({"node": tail.node, "lines": tail.lines, "words": tail.words});
    out.json(&answer.tails.iter().map(one).collect::<Vec<_>>())
}

/// The time of day, and the date where that is another one.
pub fn when(at_ms: u64, now_ms: u64) -> String {
    let (at, now) = (Timestamp::from_millis(at_ms).to_string(), Timestamp::from_millis(now_ms).to_string());
    let (date, clock) = (at.get(..10).unwrap_or_default(), at.get(11..19).unwrap_or_default());
    if now.get(..10) == Some(date) { clock.to_owned() } else { format!("{date} {clock}") }
}

pub fn act_json(one: &wire::ServiceAct) -> Value {
    let act = one.act.clone().unwrap_or_default();
    json!({
        "id": act.id,
        "at": time(act.at_ms),
        "node": one.node,
        "service": act.service,
        "replica": act.replica,
        "deed": act.deed,
        "by": (!act.by.is_empty()).then_some(act.by),
        "saw": act.saw,
        "rule": act.rule,
        "origin": act.origin,
        "allowed": act.allowed,
        "refused": act.refused,
        "result": (!act.result.is_empty()).then_some(act.result),
        "tail": act.tail,
    })
}

fn history(out: &Out, format: Format, service: &str, answer: &wire::ListActsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.acts.iter().map(act_json).collect::<Vec<_>>());
    }
    if answer.acts.is_empty() {
        let name = sanitize(service);
        return out.line(format!("nothing was done to {name} yet.  How it stands: hostlerctl service show {name}"));
    }
    out.print(&acts(out, answer))
}

fn acts(out: &Out, answer: &wire::ListActsResponse) -> String {
    let none = agent_wire::Act::default();
    let row = |one: &wire::ServiceAct| {
        let act = one.act.as_ref().unwrap_or(&none);
        let ended = if act.result.is_empty() { act.refused.first() } else { Some(&act.result) };
        let words: Vec<&str> = act.saw.first().into_iter().chain(ended).map(String::as_str).collect();
        vec![
            Cell::new(when(act.at_ms, answer.wall_ms)),
            Cell::new(&one.node),
            Cell::new(&act.id),
            Cell::new(&act.deed),
            Cell::new(if act.by.is_empty() { "itself" } else { &act.by }),
            Cell::new(words.join("; ")),
        ]
    };
    out.table(&["TIME", "NODE", "ACT", "DEED", "BY", "SUMMARY"], &answer.acts.iter().map(row).collect::<Vec<_>>())
}
