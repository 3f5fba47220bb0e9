//! `hostlerctl check`

use super::brakes;
use super::nodes::time;
use crate::cli::{CheckCommand, Format};
use crate::client::Client;
use crate::output::{Cell, Out, age, ago, counts, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::{sanitize, sanitize_lines};
use hostler_types::units::format_duration;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

pub async fn run(mut client: Client, out: &Out, format: Format, command: CheckCommand) -> Result<(), Problem> {
    let (request, one) = match command {
        CheckCommand::Ls { node } => {
            (wire::ListChecksRequest { node: node.unwrap_or_default(), check: String::new() }, false)
        }
        CheckCommand::Show { check, node } => (wire::ListChecksRequest { node: node.unwrap_or_default(), check }, true),
    };
    let answer = client.list_checks(request.clone()).await?.into_inner();
    if format != Format::Table {
        return out.json(&answer.checks.iter().map(|check| to_json(check, one)).collect::<Vec<_>>());
    }
    if answer.checks.is_empty() {
        let what = if one { format!("check {} runs on no node", request.check) } else { "no checks".to_owned() };
        return out.line(format!("{what}.  Write one: hostlerctl apply -f FILE"));
    }
    if one {
        return show(out, &answer);
    }
    list(out, &answer)?;
    brakes::tell(&mut client).await;
    Ok(())
}

fn to_json(check: &wire::Check, full: bool) -> serde_json::Value {
    let mut value = json!({
        "node": check.node,
        "check": check.check,
        "state": check.state,
        "summary": check.summary,
        "since": time(check.since_ms),
        "last_run": time(check.last_run_ms),
        "node_state": check.node_state,
    });
    if let Some(map) = value.as_object_mut().filter(|_| full) {
        map.insert("plugin".into(), json!(check.plugin));
        map.insert("every_ms".into(), json!(check.every_ms));
        map.insert("fails".into(), json!(check.fails));
        map.insert("passes".into(), json!(check.passes));
        map.insert("overruns".into(), json!(check.overruns));
        map.insert("duration_us".into(), json!(check.duration_us));
        map.insert("details".into(), json!(check.details));
        map.insert("with".into(), serde_json::from_str(&check.config_json).unwrap_or_default());
    }
    value
}

/// What a check said last is old news once its node is gone, and says so.
fn summary(check: &wire::Check) -> String {
    match check.node_state.as_str() {
        "ready" => check.summary.clone(),
        state => format!("(node {state}) {}", check.summary),
    }
}

fn list(out: &Out, answer: &wire::ListChecksResponse) -> Result<(), Problem> {
    let row = |check: &wire::Check| {
        vec![
            Cell::new(&check.node),
            Cell::new(&check.check),
            Cell::state(&check.state),
            Cell::new(age(check.since_ms, answer.wall_ms)),
            Cell::new(age(check.last_run_ms, answer.wall_ms)),
            Cell::new(summary(check)),
        ]
    };
    let head = ["NODE", "CHECK", "STATE", "SINCE", "LAST", "SUMMARY"];
    let table = out.table(&head, &answer.checks.iter().map(row).collect::<Vec<_>>());
    let mut by_state: BTreeMap<&str, u32> = BTreeMap::new();
    for check in &answer.checks {
        *by_state.entry(&check.state).or_default() += 1;
    }
    out.print(&table)?;
    out.line(format!("{}: {}", plural(answer.checks.len(), "check"), counts(by_state)))
}

fn show(out: &Out, answer: &wire::ListChecksResponse) -> Result<(), Problem> {
    let mut text = String::new();
    for (index, check) in answer.checks.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let mut field = |name: &str, value: &str| text.push_str(&format!("{name:<10}{value}\n"));
        field("check", &format!("{} on {}", sanitize(&check.check), sanitize(&check.node)));
        field("state", &format!("{} for {}", sanitize(&check.state), age(check.since_ms, answer.wall_ms)));
        field("summary", &sanitize(&summary(check)));
        let took = check.duration_us as f64 / 1000.0;
        let every = format_duration(Duration::from_millis(check.every_ms));
        let ran = ago(check.last_run_ms, answer.wall_ms);
        field("last run", &if check.last_run_ms == 0 { ran } else { format!("{ran}, took {took:.1} ms") });
        field("runs", &format!("every {every}; {} to fail, {} to pass again", check.fails, check.passes));
        if check.overruns > 0 {
            field(
                "skipped",
                &format!("{}: a run was still going on when the next was due", plural_runs(check.overruns)),
            );
        }
        field("plugin", &sanitize(&check.plugin));
        field("with", &sanitize(&check.config_json));
        if !check.details.is_empty() {
            field("details", "");
            for line in sanitize_lines(&check.details).lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    out.print(&text)
}

fn plural_runs(count: u64) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), "run")
}
