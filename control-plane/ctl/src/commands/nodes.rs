//! `hostlerctl node`

mod policy;
mod why;

pub use why::why;

use super::{brakes, confirm};
use crate::cli::{Format, NodeCommand};
use crate::client::Client;
use crate::output::{Cell, Out, Tone, age, ago, counts, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use hostler_types::units::format_size;
use serde_json::json;
use std::collections::BTreeMap;

/// Further off, and times on the two clocks are not worth comparing.
const SKEW_UNEASY_MS: u64 = 500;
const SKEW_BAD_MS: u64 = 2_000;

pub async fn run(mut client: Client, out: &Out, format: Format, command: NodeCommand) -> Result<(), Problem> {
    match command {
        NodeCommand::Ls { selector } => {
            let request = wire::ListNodesRequest { selector: selector.unwrap_or_default() };
            let answer = client.list_nodes(request).await?.into_inner();
            list(out, format, &answer)?;
            if format == Format::Table {
                brakes::tell(&mut client).await;
            }
            Ok(())
        }
        NodeCommand::Maintenance(args) => brakes::maintenance(client, out, format, args).await,
        NodeCommand::Show { node } => {
            let node = client.get_node(wire::GetNodeRequest { node }).await?.into_inner();
            show(out, format, &node)
        }
        NodeCommand::Policy { node } => {
            policy::show(out, format, &client.get_node_policy(wire::GetNodePolicyRequest { node }).await?.into_inner())
        }
        NodeCommand::Revoke { node, reason, yes } => {
            confirm(&format!("{node} is cut off and must join again to come back."), yes)?;
            let node = client.revoke_node(wire::RevokeNodeRequest { node, reason }).await?.into_inner();
            out.line(format!("{} ({}) is revoked.  Forget it: hostlerctl node rm {}", node.name, node.id, node.name))
        }
        NodeCommand::Rm { node, yes } => {
            confirm(&format!("{node} and what is known of it are forgotten."), yes)?;
            let removed = client.remove_node(wire::RemoveNodeRequest { node }).await?.into_inner();
            out.line(format!("{} is removed.", removed.name))
        }
    }
}

fn labels(labels: &std::collections::HashMap<String, String>) -> String {
    let sorted: BTreeMap<_, _> = labels.iter().collect();
    let pairs: Vec<String> = sorted.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}

fn state(node: &wire::Node) -> Cell {
    match &node.maintenance {
        Some(_) => Cell::new(format!("{}, maintenance", node.state)).tone(Tone::Uneasy),
        None => Cell::state(&node.state),
    }
}

fn clock(node: &wire::Node) -> Cell {
    if !node.clock_skew_known {
        return Cell::new("-");
    }
    let skew = node.clock_skew_ms;
    // The number is a host's claim: any at all.
    let size = skew.unsigned_abs();
    let tone = match size {
        size if size >= SKEW_BAD_MS => Tone::Bad,
        size if size >= SKEW_UNEASY_MS => Tone::Uneasy,
        _ => Tone::Plain,
    };
    Cell::new(if size < 10_000 { format!("{skew:+} ms") } else { format!("{:+} s", skew / 1000) }).tone(tone)
}

fn check_counts(node: &wire::Node) -> String {
    counts(node.checks.iter().map(|(state, count)| (state.as_str(), *count)))
}

fn list_json(node: &wire::Node) -> serde_json::Value {
    json!({
        "id": node.id,
        "name": node.name,
        "state": node.state,
        "labels": node.labels.iter().collect::<BTreeMap<_, _>>(),
        "agent_version": node.agent_version,
        "policy": node.policy,
        "clock_skew_ms": node.clock_skew_known.then_some(node.clock_skew_ms),
        "last_seen": time(node.last_seen_ms),
        "checks": node.checks.iter().collect::<BTreeMap<_, _>>(),
        "maintenance": node.maintenance.as_ref().map(brakes::to_json),
    })
}

/// RFC 3339, or null for never.
pub fn time(at_ms: u64) -> Option<String> {
    (at_ms != 0).then(|| Timestamp::from_millis(at_ms).to_string())
}

fn list(out: &Out, format: Format, answer: &wire::ListNodesResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.nodes.iter().map(list_json).collect::<Vec<_>>());
    }
    if answer.nodes.is_empty() {
        return out.line("no nodes.  Add one: hostlerctl token create");
    }
    let row = |node: &wire::Node| {
        vec![
            Cell::new(&node.name),
            state(node),
            Cell::new(labels(&node.labels)),
            Cell::new(&node.agent_version),
            Cell::new(&node.policy),
            clock(node),
            Cell::new(check_counts(node)),
            Cell::new(age(node.last_seen_ms, answer.wall_ms)),
        ]
    };
    let head = ["NODE", "STATE", "LABELS", "AGENT", "POLICY", "CLOCK", "CHECKS", "SEEN"];
    out.print(&out.table(&head, &answer.nodes.iter().map(row).collect::<Vec<_>>()))
}

fn show(out: &Out, format: Format, node: &wire::Node) -> Result<(), Problem> {
    let facts = node.facts.clone().unwrap_or_default();
    if format != Format::Table {
        let mut value = list_json(node);
        if let Some(map) = value.as_object_mut() {
            map.insert("joined_at".into(), json!(time(node.joined_at_ms)));
            map.insert("state_since".into(), json!(time(node.state_since_ms)));
            map.insert("certificate_not_after".into(), json!(time(node.certificate_not_after_ms)));
            map.insert("address".into(), json!(node.address));
            map.insert("facts".into(), json!(hostler_types::Facts::from(facts)));
            let plugins = node.plugins.iter().map(
                |one| json!({ "name": one.name, "version": one.version, "state": one.state, "message": one.message }),
            );
            map.insert("plugins".into(), plugins.collect());
        }
        return out.json(&value);
    }
    let now = node.wall_ms;
    let mut text = String::new();
    let mut field = |name: &str, value: String| {
        text.push_str(&format!("{name:<13}{}\n", sanitize(&value)));
    };
    field("node", format!("{}  {}", node.name, node.id));
    field(
        "state",
        format!("{} for {}, seen {}", node.state, age(node.state_since_ms, now), ago(node.last_seen_ms, now)),
    );
    if let Some(works) = &node.maintenance {
        field("maintenance", brakes::works(works, now));
    }
    field("labels", labels(&node.labels));
    field("agent", format!("{}, policy: {}", node.agent_version, node.policy));
    field("address", if node.address.is_empty() { "not connected".into() } else { node.address.clone() });
    field("joined", time(node.joined_at_ms).unwrap_or_default());
    field("certificate", format!("until {}", time(node.certificate_not_after_ms).unwrap_or_default()));
    field(
        "clock",
        if node.clock_skew_known { format!("{:+} ms", node.clock_skew_ms) } else { "not measured yet".into() },
    );
    field("checks", check_counts(node));
    if !facts.hostname.is_empty() {
        field("host", facts.hostname);
        field("os", format!("{} (os.id={}, kernel {}, {})", facts.os_name, facts.os_id, facts.kernel, facts.arch));
        field("cpu", format!("{} x {}", facts.cpu_count, facts.cpu_model));
        field("memory", format!("{}, swap {}", format_size(facts.memory_bytes), format_size(facts.swap_bytes)));
        for disk in &facts.disks {
            let size = format_size(disk.size_bytes);
            field("disk", format!("{}  {size}  {} on {}", disk.mount, disk.filesystem, disk.device));
        }
        for address in &facts.addresses {
            field("interface", format!("{}  {}", address.interface, address.address));
        }
        field("machine id", facts.machine_id);
        field("booted", ago(facts.booted_at_ms, now));
    }
    for plugin in &node.plugins {
        let message = if plugin.message.is_empty() { String::new() } else { format!(": {}", plugin.message) };
        field("plugin", format!("{} {} {}{message}", plugin.name, plugin.version, plugin.state));
    }
    out.print(&text)?;
    if node.state == "revoked" {
        eprintln!("{} is out for good; it can join again with a new code.", plural(1, "node"));
    }
    Ok(())
}
