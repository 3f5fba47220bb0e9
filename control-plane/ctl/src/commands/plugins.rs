//! `hostlerctl plugin`

use super::nodes::time;
use crate::cli::{Format, PluginCommand};
use crate::client::Client;
use crate::output::{Cell, Out, age};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::plugin::Grants;
use hostler_types::terminal::sanitize;
use hostler_types::units::format_size;
use serde_json::json;

/// Well under what one message may have.
const PIECE_BYTES: usize = 256 * 1024;

pub async fn run(mut client: Client, out: &Out, format: Format, command: PluginCommand) -> Result<(), Problem> {
    match command {
        PluginCommand::Push { file } => {
            let content = std::fs::read(&file).map_err(|source| Problem::File {
                operation: "read",
                path: file.clone(),
                source,
            })?;
            // What is no plugin is told without asking anybody.
            hostler_types::plugin::embedded_manifest(&content)
                .map_err(|error| Problem::Failed(format!("{}: {error}", file.display())))?;
            let pieces: Vec<_> = content
                .chunks(PIECE_BYTES)
                .map(|piece| wire::PushPluginRequest { data: piece.to_vec().into() })
                .collect();
            let plugin = client.push_plugin(tokio_stream::iter(pieces)).await?.into_inner();
            if format != Format::Table {
                return out.json(&to_json(&plugin));
            }
            let news = if plugin.added { "pushed" } else { "was there already" };
            let text = format!("{} {}  {news}, may use: {}", plugin.name, plugin.version, grants(&plugin));
            out.line(sanitize(&text))
        }
        PluginCommand::Ls => {
            let answer = client.list_plugins(wire::ListPluginsRequest {}).await?.into_inner();
            list(out, format, &answer)
        }
    }
}

fn grants(plugin: &wire::Plugin) -> Grants {
    // What this version does not know is not shown; the rest is.
    Grants::try_from(plugin.grants.clone().unwrap_or_default()).unwrap_or_default()
}

fn to_json(plugin: &wire::Plugin) -> serde_json::Value {
    json!({
        "name": plugin.name,
        "version": plugin.version,
        "digest": plugin.digest,
        "size_bytes": plugin.size_bytes,
        "world": plugin.world,
        "summary": plugin.summary,
        "grants": grants(plugin),
        "current": plugin.current,
        "used_by_checks": plugin.used_by_checks,
        "pushed_at": time(plugin.pushed_at_ms),
        "pushed_by": plugin.pushed_by,
    })
}

fn list(out: &Out, format: Format, answer: &wire::ListPluginsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.plugins.iter().map(to_json).collect::<Vec<_>>());
    }
    if answer.plugins.is_empty() {
        return out.line("no plugins.  Push one: hostlerctl plugin push FILE");
    }
    let row = |plugin: &wire::Plugin| {
        vec![
            Cell::new(&plugin.name),
            Cell::new(&plugin.version),
            Cell::new(if plugin.current { "yes" } else { "no" }),
            Cell::new(plugin.used_by_checks.to_string()),
            Cell::new(format_size(plugin.size_bytes)),
            Cell::new(age(plugin.pushed_at_ms, answer.wall_ms)),
            Cell::new(grants(plugin).to_string()),
        ]
    };
    let head = ["PLUGIN", "VERSION", "CURRENT", "CHECKS", "SIZE", "PUSHED", "MAY USE"];
    out.print(&out.table(&head, &answer.plugins.iter().map(row).collect::<Vec<_>>()))
}
