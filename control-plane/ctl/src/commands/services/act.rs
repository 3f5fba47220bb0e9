//! `hostlerctl service start`, `stop`, `restart`, `reload`

use super::super::confirm;
use crate::cli::{ActArgs, Format};
use crate::client::Client;
use crate::output::{Out, Tone, json_line, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use serde_json::json;
use std::process::ExitCode;

pub async fn run(
    mut client: Client,
    out: &Out,
    format: Format,
    verb: &str,
    args: ActArgs,
) -> Result<ExitCode, Problem> {
    let mut request = wire::ActOnServicesRequest {
        verb: verb.to_owned(),
        services: args.names,
        selector: args.selector.unwrap_or_default(),
        nodes: args.nodes,
        reason: args.reason,
        max: args.max.unwrap_or_default(),
        dry_run: true,
    };
    let mut asked = client.act_on_services(request.clone()).await?.into_inner();
    let choice = asked.message().await?.and_then(|first| first.choice);
    let choice =
        choice.ok_or_else(|| Problem::Failed("the control plane did not say which nodes it would be".into()))?;
    if matches!(verb, "stop" | "restart") && choice.running > 1 {
        confirm(&question(verb, &choice), args.yes)?;
    }
    // Those that were shown, and no others that came meanwhile.
    (request.nodes, request.dry_run) = (choice.nodes.clone(), false);
    let mut steps = client.act_on_services(request).await?.into_inner();
    while let Some(told) = steps.message().await? {
        if let Some(step) = &told.step {
            if format == Format::Table {
                out.print(&line(out, &choice, step))?;
            } else {
                out.print(&json_line(&step_json(step)))?;
            }
        }
        if let Some(summary) = &told.summary {
            let is_well = summary.failed + summary.refused + summary.unreachable + summary.skipped == 0;
            if format == Format::Table {
                out.print(&summed(&choice, summary, is_well))?;
            } else {
                out.print(&json_line(&summary_json(summary)))?;
            }
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    Err(Problem::Failed(
        "the control plane ended the stream; what it has begun goes on: hostlerctl service history shows it".into(),
    ))
}

/// `restart hello on 2 nodes, one at a time.`
pub fn question(verb: &str, choice: &wire::ActChoice) -> String {
    let count = choice.nodes.len();
    let pace = match choice.max {
        1 => "one at a time".to_owned(),
        max if max as usize >= count => "all at once".to_owned(),
        max => format!("{max} at a time"),
    };
    let services = sanitize(&choice.services.join(", ")).into_owned();
    format!("{verb} {services} on {}, {pace}.", plural(count, "node"))
}

pub fn line(out: &Out, choice: &wire::ActChoice, step: &wire::ActStep) -> String {
    // Nothing to tell yet.
    if step.outcome == "begun" && step.words.is_empty() {
        return String::new();
    }
    let widest = |names: &[String]| names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let (node, service) = (sanitize(&step.node), sanitize(&step.service));
    let mut text = format!("{node:<width$}  ", width = widest(&choice.nodes));
    if choice.services.len() > 1 {
        text.push_str(&format!("{service:<width$}  ", width = widest(&choice.services)));
    }
    let (word, tone) = match step.outcome.as_str() {
        "done" => ("ok", Tone::Good),
        "begun" => ("begun", Tone::Faint),
        "failed" => ("failed", Tone::Bad),
        "refused" => ("refused", Tone::Bad),
        "skipped" => ("skipped", Tone::Uneasy),
        _ => ("unreachable", Tone::Bad),
    };
    let gap = " ".repeat("refused".len().saturating_sub(word.len()) + 2);
    text.push_str(&format!("{}{gap}{}", out.paint(word, tone), sanitize(&step.words)));
    let mut text = format!("{}\n", text.trim_end());
    for printed in &step.tail {
        text.push_str(&format!("    {}\n", sanitize(printed)));
    }
    text
}

pub fn summed(choice: &wire::ActChoice, summary: &wire::ActSummary, is_well: bool) -> String {
    let word = if is_well { "succeeded" } else { "failed" };
    let mut text = format!(
        "{word} in {:.1} s: {} ok, {} failed, {} unreachable",
        summary.took_ms as f64 / 1000.0,
        summary.done,
        summary.failed,
        summary.unreachable
    );
    for (count, word) in [(summary.refused, "refused"), (summary.skipped, "skipped")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    let service = choice.services.first().map(String::as_str).unwrap_or_default();
    let reason =
        if is_well { String::new() } else { format!("  Reason: hostlerctl why service/{}", sanitize(service)) };
    format!("{text}.{reason}\n")
}

fn step_json(step: &wire::ActStep) -> serde_json::Value {
    json!({
        "node": step.node,
        "service": step.service,
        "outcome": step.outcome,
        "words": step.words,
        "after_ms": step.after_ms,
        "tail": step.tail,
    })
}

fn summary_json(summary: &wire::ActSummary) -> serde_json::Value {
    json!({
        "done": summary.done,
        "failed": summary.failed,
        "refused": summary.refused,
        "unreachable": summary.unreachable,
        "skipped": summary.skipped,
        "took_ms": summary.took_ms,
    })
}
