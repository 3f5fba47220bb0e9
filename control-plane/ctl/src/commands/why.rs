//! `hostlerctl why`: the newest act, with what was seen, which rule, what was allowed
//! and what was refused.

#[cfg(test)]
mod tests;

use super::services::{act_json, replica, when};
use crate::cli::{Format, WhyArgs};
use crate::client::Client;
use crate::output::{Out, age};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_proto::agent::Act;
use hostler_types::spec::nearest;
use hostler_types::terminal::sanitize;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

/// Where what stands at the right ends; as wide as a terminal, and a little less.
const COLUMNS: usize = 74;
const INDENT: usize = 11;
/// Acts of so many nodes, of which each has one at least.
const ACTS_MAX: u32 = 1_000;

pub async fn run(mut client: Client, out: &Out, format: Format, args: WhyArgs) -> Result<(), Problem> {
    if args.subject.starts_with("run/") {
        return super::runs::why(client, out, format, &args.subject).await;
    }
    if let Some(name) = args.subject.strip_prefix("node/").filter(|name| !name.is_empty()) {
        return super::nodes::why(client, out, format, name).await;
    }
    if let Some(name) = args.subject.strip_prefix("schedule/").filter(|name| !name.is_empty()) {
        return super::schedules::why(client, out, format, name).await;
    }
    let name = subject(&args.subject)?;
    let node = args.node.unwrap_or_default();
    let request = wire::GetServiceRequest { service: name.to_owned(), node: node.clone() };
    let service = client.get_service(request).await?.into_inner();
    let request = wire::ListActsRequest { service: name.to_owned(), node, limit: ACTS_MAX };
    let mut answer = client.list_acts(request).await?.into_inner();
    let limit = usize::try_from(args.limit.max(1)).unwrap_or(usize::MAX);
    newest(&mut answer.acts, limit);
    if format != Format::Table {
        let standing = service
            .rows
            .iter()
            .map(|row| json!({"node": row.node, "replica": row.replica, "state": row.state, "words": row.words}));
        return out.json(&json!({
            "service": service.name,
            "standing": standing.collect::<Vec<_>>(),
            "acts": answer.acts.iter().map(act_json).collect::<Vec<_>>(),
        }));
    }
    out.print(&told(&service, &answer))
}

fn subject(text: &str) -> Result<&str, Problem> {
    match text.split_once('/') {
        Some(("service", name)) if !name.is_empty() => Ok(name),
        Some((kind, name)) if nearest(kind, ["run"]).is_some() && !name.is_empty() => {
            Err(Problem::Usage(format!("there is nothing to ask about a {kind}; did you mean run/{name}?")))
        }
        Some((kind, name)) if nearest(kind, ["schedule"]).is_some() && !name.is_empty() => {
            Err(Problem::Usage(format!("there is nothing to ask about a {kind}; did you mean schedule/{name}?")))
        }
        Some((kind, name)) if nearest(kind, ["service"]).is_some() && !name.is_empty() => {
            Err(Problem::Usage(format!("there is nothing to ask about a {kind}; did you mean service/{name}?")))
        }
        _ => {
            Err(Problem::Usage(format!("{text} is no KIND/NAME: write it like service/hello, run/7 or schedule/patch")))
        }
    }
}

/// The newest of each node, in the order in which they are.
fn newest(acts: &mut Vec<wire::ServiceAct>, limit: usize) {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    acts.retain(|one| {
        let count = seen.entry(one.node.clone()).or_default();
        *count += 1;
        *count <= limit
    });
}

fn told(service: &wire::GetServiceResponse, answer: &wire::ListActsResponse) -> String {
    // Whoever something was done to last comes first.
    let mut nodes: Vec<&str> = Vec::new();
    let all = answer.acts.iter().map(|one| &one.node).chain(service.rows.iter().map(|row| &row.node));
    for node in all {
        if !nodes.contains(&node.as_str()) {
            nodes.push(node);
        }
    }
    if nodes.is_empty() {
        let name = sanitize(&service.name);
        return format!("{name} runs on no node, and nothing was done to it.  Which there are: hostlerctl node ls\n");
    }
    let mut text = String::new();
    for node in nodes {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&standing(service, node));
        let acts: Vec<&Act> =
            answer.acts.iter().filter(|one| one.node == *node).filter_map(|one| one.act.as_ref()).collect();
        for act in &acts {
            text.push('\n');
            text.push_str(&act_text(act, node, answer.wall_ms));
        }
        if acts.is_empty() {
            text.push_str("  nothing was done to it there, as far as is known\n");
        }
    }
    text
}

/// `hello on dev1: running, passing for 31s`.
fn standing(service: &wire::GetServiceResponse, node: &str) -> String {
    let mut text = String::new();
    let rows = service.rows.iter().filter(|row| row.node == node);
    for row in rows {
        let name = replica(&row.service, row.replica, row.replicas);
        let mut line = format!("{name} on {node}: {}", row.state);
        match check_words(service, node) {
            Some(words) if row.state == "running" || row.state == "unwell" => line.push_str(&format!(", {words}")),
            _ => line.push_str(&format!(" for {}", age(row.since_ms, service.wall_ms))),
        }
        if !row.words.is_empty() {
            line.push_str(&format!(", {}", row.words));
        }
        if row.node_state != "ready" {
            line.push_str(&format!(" (node {})", row.node_state));
        }
        text.push_str(&format!("{}\n", sanitize(&line)));
    }
    if text.is_empty() {
        text.push_str(&format!("{}\n", sanitize(&format!("{} is not on {node} any more", service.name))));
    }
    text
}

/// The check that is worst, of those that heal first.
fn check_words(service: &wire::GetServiceResponse, node: &str) -> Option<String> {
    const ORDER: [&str; 5] = ["critical", "warning", "unknown", "starting", "passing"];
    let here = service.checks.iter().filter(|check| check.node == node);
    let rank = |check: &&wire::Check| {
        let state = ORDER.iter().position(|word| *word == check.state).unwrap_or(ORDER.len());
        (state, !service.live.contains(&check.check), std::cmp::Reverse(check.since_ms))
    };
    let worst = here.min_by_key(rank)?;
    let age = age(worst.since_ms, service.wall_ms);
    Some(match worst.state.as_str() {
        "passing" => format!("passing for {age}"),
        state => format!("check {} {state} for {age}", worst.check),
    })
}

fn act_text(act: &Act, node: &str, now_ms: u64) -> String {
    let by = match (act.deed.as_str(), act.by.as_str()) {
        // Nobody does these.
        ("ended" | "crashing" | "recovered" | "drifted", "") => format!("{} on {node}", act.deed),
        (deed, "") => format!("{deed} by {node} itself"),
        (deed, by) => format!("{deed} by {by}"),
    };
    let mut text = at_right(&format!("{}  {by}", when(act.at_ms, now_ms)), &format!("act {}", act.id));
    lines(&mut text, "saw", &act.saw);
    if !act.rule.is_empty() {
        text.push_str(&at_right(&format!("  {:<9}{}", "rule", act.rule), &act.origin));
    }
    if !act.allowed.is_empty() {
        lines(&mut text, "allowed", &[act.allowed.join("; ")]);
    }
    lines(&mut text, "refused", &act.refused);
    if !act.result.is_empty() {
        lines(&mut text, "result", std::slice::from_ref(&act.result));
    }
    lines(&mut text, "printed", &act.tail);
    text
}

fn lines(text: &mut String, label: &str, all: &[String]) {
    for (index, line) in all.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        let line = format!("  {label:<width$}{}", sanitize(line), width = INDENT - 2);
        text.push_str(&format!("{}\n", line.trim_end()));
    }
}

pub(super) fn at_right(left: &str, right: &str) -> String {
    let (left, right) = (sanitize(left), sanitize(right));
    let gap = COLUMNS.saturating_sub(left.width() + right.width()).max(2);
    format!("{}\n", format!("{left}{}{right}", " ".repeat(gap)).trim_end())
}
