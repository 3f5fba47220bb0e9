//! `hostlerctl freeze`, `thaw` and `node maintenance`, and what every listing says of
//! what holds now.

use super::nodes::time;
use crate::cli::Format;
use crate::cli::brakes::{FreezeArgs, MaintenanceArgs, Switch, ThawArgs};
use crate::client::Client;
use crate::output::Out;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use hostler_types::{BrakeKind, Timestamp};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(86_400);
const ALL: &str = "all";
/// Nodes named in one line.
const NAMED_MAX: usize = 3;

fn now_ms() -> u64 {
    whole_millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub fn to_json(one: &wire::Brake) -> serde_json::Value {
    let words = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "kind": one.kind,
        "where": words(&one.selector),
        "node": words(&one.node),
        "check": words(&one.check),
        "since": time(one.since_ms),
        "until": time(one.until_ms),
        "by": words(&one.by),
        "reason": words(&one.reason),
        "words": words(&one.words),
    })
}

/// ` until 15:07 UTC`, with the day where it is another than today; nothing without
/// an end.
fn until(until_ms: u64, now_ms: u64) -> String {
    if until_ms == 0 {
        return String::new();
    }
    let (until, now) = (Timestamp::from_millis(until_ms), Timestamp::from_millis(now_ms));
    let text = until.to_string();
    let (day, minute) = (text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or(&text));
    if until.since(now) < DAY { format!(" until {minute} UTC") } else { format!(" until {day} {minute} UTC") }
}

/// ` by admin ("storage work")`
fn by(one: &wire::Brake) -> String {
    let reason = if one.reason.is_empty() { String::new() } else { format!(" (\"{}\")", sanitize(&one.reason)) };
    format!(" by {}{reason}", sanitize(&one.by))
}

fn place(selector: &str) -> String {
    if selector.is_empty() || selector == ALL { String::new() } else { format!(" where {}", sanitize(selector)) }
}

/// What undoes it, as it is typed.
fn undo(selector: &str) -> String {
    if selector.is_empty() || selector == ALL {
        return "hostlerctl thaw".to_owned();
    }
    let selector = sanitize(selector);
    let plain = |c: char| c.is_ascii_alphanumeric() || "=._-,/!".contains(c);
    if selector.chars().all(plain) {
        format!("hostlerctl thaw -l {selector}")
    } else {
        format!("hostlerctl thaw -l '{}'", selector.replace('\'', r"'\''"))
    }
}

pub async fn freeze(mut client: Client, out: &Out, format: Format, args: FreezeArgs) -> Result<(), Problem> {
    let request = wire::FreezeRequest {
        selector: args.selector.unwrap_or_default(),
        for_ms: args.for_.map_or(0, whole_millis),
        reason: args.reason,
    };
    let made = client.freeze(request).await?.into_inner();
    if format != Format::Table {
        return out.json(&to_json(&made));
    }
    out.print(&frozen(&made, now_ms()))
}

fn frozen(made: &wire::Brake, now_ms: u64) -> String {
    let head = format!("frozen{}{}", place(&made.selector), until(made.until_ms, now_ms));
    format!(
        "{head}: checks and alerts go on; healing, runs, schedules and deploys wait.\n\
         Undo: {}      On a host cut off: hostler-agent pause\n",
        undo(&made.selector)
    )
}

pub async fn thaw(mut client: Client, out: &Out, format: Format, args: ThawArgs) -> Result<(), Problem> {
    let request = wire::ThawRequest { selector: args.selector.unwrap_or_default() };
    let answer = client.thaw(request).await?.into_inner();
    if format != Format::Table {
        return out.json(&answer.thawed.iter().map(to_json).collect::<Vec<_>>());
    }
    if answer.thawed.is_empty() {
        return out.line("nothing was frozen.");
    }
    for one in &answer.thawed {
        out.line(thawed(one))?;
    }
    Ok(())
}

fn thawed(one: &wire::Brake) -> String {
    format!("thawed{}: it was frozen{}.  What waited goes on.", place(&one.selector), by(one))
}

pub async fn maintenance(mut client: Client, out: &Out, format: Format, args: MaintenanceArgs) -> Result<(), Problem> {
    let request = wire::SetMaintenanceRequest {
        nodes: args.nodes,
        on: args.switch == Switch::On,
        for_ms: args.for_.map_or(0, whole_millis),
        reason: args.reason,
    };
    let answer = client.set_maintenance(request).await?.into_inner();
    if format != Format::Table {
        return out.json(&answer.maintenance.iter().map(to_json).collect::<Vec<_>>());
    }
    out.print(&maintained(&answer))
}

fn maintained(answer: &wire::SetMaintenanceResponse) -> String {
    let nodes = answer.nodes.iter().map(|node| sanitize(node).replace('\n', " ")).collect::<Vec<_>>();
    let Some(first) = answer.maintenance.first() else {
        return format!("out of maintenance: {}.  Healing goes on.\n", nodes.join(", "));
    };
    format!(
        "in maintenance{}: {}.  Checks and alerts go on; healing, runs, schedules and deploys wait there.\n\
         Undo: hostlerctl node maintenance {} off\n",
        until(first.until_ms, answer.wall_ms),
        nodes.join(", "),
        nodes.join(" ")
    )
}

/// `by kim ("disk") until 15:07 UTC`
pub fn works(one: &wire::Brake, now_ms: u64) -> String {
    format!("{}{}", by(one), until(one.until_ms, now_ms)).trim_start().to_owned()
}

/// Under a listing for people, on standard error: whoever looks why nothing happens sees
/// it there. A control plane that is too old to know says nothing.
pub async fn tell(client: &mut Client) {
    let Ok(answer) = client.list_brakes(wire::ListBrakesRequest {}).await else { return };
    for line in lines(&answer.into_inner()) {
        eprintln!("{line}");
    }
}

fn lines(answer: &wire::ListBrakesResponse) -> Vec<String> {
    let mut lines = Vec::new();
    let mut nodes: Vec<&wire::Brake> = Vec::new();
    for one in &answer.brakes {
        match one.kind.parse() {
            Ok(BrakeKind::Frozen) => lines.push(format!(
                "frozen{}{}{}: healing, runs, schedules and deploys wait.  Undo: {}",
                place(&one.selector),
                until(one.until_ms, answer.wall_ms),
                by(one),
                undo(&one.selector)
            )),
            Ok(BrakeKind::CommonCause) => {
                lines.push(format!("{}: a common cause; healing on it waits", sanitize(&one.words)));
            }
            Ok(BrakeKind::Maintenance) => nodes.push(one),
            // Those of a host itself, and a newer control plane's.
            Ok(BrakeKind::Paused | BrakeKind::Stale) | Err(_) => {}
        }
    }
    if !nodes.is_empty() {
        let named =
            nodes.iter().take(NAMED_MAX).map(|one| format!("{} {}", sanitize(&one.node), works(one, answer.wall_ms)));
        let more = match nodes.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let undo = "hostlerctl node maintenance NODE off";
        let named = named.collect::<Vec<_>>().join(", ");
        lines.push(format!("in maintenance: {named}{more}: healing waits there.  Undo: {undo}"));
    }
    lines.into_iter().map(|line| line.replace(['\n', '\r'], " ")).collect()
}

#[cfg(test)]
mod tests;
