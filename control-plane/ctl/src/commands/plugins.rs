//! `hostlerctl plugin`

mod bills;
mod trust;

use super::confirm;
use super::nodes::time;
use crate::cli::{Format, Global, PluginCommand, ToolArgs};
use crate::client::{self, Client};
use crate::output::{Cell, Out, age};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::plugin::{Grants, Manifest, embedded_manifest};
use hostler_types::terminal::sanitize;
use hostler_types::units::format_size;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Well under what one message may have.
const PIECE_BYTES: usize = 256 * 1024;

pub async fn run(global: &Global, out: &Out, format: Format, command: PluginCommand) -> Result<ExitCode, Problem> {
    let client = || client::connect(global);
    match command {
        PluginCommand::New(args) => return tool("new", &args),
        PluginCommand::Build(args) => return tool("build", &args),
        PluginCommand::Test(args) => return tool("test", &args),
        PluginCommand::Record(args) => return tool("record", &args),
        PluginCommand::Lint(args) => return tool("lint", &args),
        PluginCommand::Keygen(args) => return tool("keygen", &args),
        PluginCommand::Sign(args) => return tool("sign", &args),
        PluginCommand::Push { file, approve } => push(global, out, format, &file, approve).await,
        PluginCommand::Approve { name, version, yes } => {
            give(&mut client().await?, out, format, &name, version, yes).await
        }
        PluginCommand::Diff { old, new } => diff(global, out, format, &old, &new).await,
        PluginCommand::Ls => {
            let answer = client().await?.list_plugins(wire::ListPluginsRequest {}).await?.into_inner();
            list(out, format, &answer)
        }
        PluginCommand::Rm { name, version } => {
            let request = wire::RemovePluginRequest { name: name.clone(), version: version.clone() };
            client().await?.remove_plugin(request).await?;
            out.line(sanitize(&format!("{name} {version}  removed")))
        }
        PluginCommand::Top { node, plugin, by_node } => {
            let request =
                wire::ListPluginBillsRequest { node: node.unwrap_or_default(), plugin: plugin.unwrap_or_default() };
            let answer = client().await?.list_plugin_bills(request).await?.into_inner();
            bills::print(out, format, &answer, by_node)
        }
        PluginCommand::Trust(command) => trust::run(&mut client().await?, out, format, command).await,
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The author's half is a program of its own: it brings the compiler and the
/// host that plugins run in.
fn tool(verb: &str, args: &ToolArgs) -> Result<ExitCode, Problem> {
    const NAME: &str = "hostler-plugin";
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| NAME.into());
    let mut command = std::process::Command::new(&program);
    // Advice names the command that was typed.
    command.arg(verb).args(&args.arguments).env("HOSTLER_PLUGIN_CALLED_AS", "hostlerctl plugin");
    match command.status() {
        Ok(status) => Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Problem::Failed(format!(
            "there is no {NAME} beside hostlerctl or in PATH, and `plugin {verb}` is its work: install it from the \
             same release"
        ))),
        Err(source) => Err(Problem::File { operation: "start", path: program, source }),
    }
}

fn read_plugin(file: &Path) -> Result<(Vec<u8>, Manifest), Problem> {
    let content =
        std::fs::read(file).map_err(|source| Problem::File { operation: "read", path: file.to_owned(), source })?;
    // What is no plugin is told without asking anybody.
    let manifest =
        embedded_manifest(&content).map_err(|error| Problem::Failed(format!("{}: {error}", file.display())))?;
    Ok((content, manifest))
}

async fn push(global: &Global, out: &Out, format: Format, file: &Path, approve: bool) -> Result<(), Problem> {
    let (content, _) = read_plugin(file)?;
    let pieces: Vec<_> =
        content.chunks(PIECE_BYTES).map(|piece| wire::PushPluginRequest { data: piece.to_vec().into() }).collect();
    let mut client = client::connect(global).await?;
    let mut plugin = client.push_plugin(tokio_stream::iter(pieces)).await?.into_inner();
    let added = plugin.added;
    if approve && plugin.waiting {
        let request = wire::ApprovePluginRequest { name: plugin.name.clone(), version: plugin.version.clone() };
        plugin = client.approve_plugin(request).await?.into_inner();
    }
    if format != Format::Table {
        return out.json(&to_json(&plugin));
    }
    let news = if added { "pushed" } else { "was there already" };
    let signed = if plugin.signed_by.is_empty() { String::new() } else { format!(", signed by {}", plugin.signed_by) };
    let (name, version) = (&plugin.name, &plugin.version);
    if plugin.waiting {
        out.line(sanitize(&format!("{name} {version}  {news}{signed}, waits: it asks for more than before")))?;
        out.line(sanitize(&format!("  more: {}", beyond(&plugin))))?;
        return out.line(sanitize(&format!("approve it: hostlerctl plugin approve {name} {version}")));
    }
    out.line(sanitize(&format!("{name} {version}  {news}{signed}, may use: {}", grants(&plugin))))
}

/// Gives a waiting version what it asks for.
async fn give(
    client: &mut Client,
    out: &Out,
    format: Format,
    name: &str,
    version: Option<String>,
    yes: bool,
) -> Result<(), Problem> {
    let listed = client.list_plugins(wire::ListPluginsRequest {}).await?.into_inner().plugins;
    let wanted = |one: &&wire::Plugin| {
        one.name == name && one.waiting && version.as_ref().is_none_or(|version| *version == one.version)
    };
    if let Some(waiting) = listed.iter().rfind(wanted) {
        let question = format!("{name} {} asks for more: {}.", waiting.version, beyond(waiting));
        confirm(&sanitize(&question), yes)?;
    }
    let request = wire::ApprovePluginRequest { name: name.to_owned(), version: version.unwrap_or_default() };
    let plugin = client.approve_plugin(request).await?.into_inner();
    if format != Format::Table {
        return out.json(&to_json(&plugin));
    }
    let news = if plugin.added { "approved" } else { "was approved already" };
    out.line(sanitize(&format!("{} {}  {news}, may use: {}", plugin.name, plugin.version, grants(&plugin))))
}

/// One side of a comparison: what it is called, and what it asks for.
async fn side(global: &Global, text: &str) -> Result<(String, Grants), Problem> {
    if Path::new(text).is_file() {
        let (_, manifest) = read_plugin(Path::new(text))?;
        return Ok((format!("{} {}", manifest.name, manifest.version), manifest.grants));
    }
    let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
    let listed = client::connect(global).await?.list_plugins(wire::ListPluginsRequest {}).await?.into_inner().plugins;
    let fits = |one: &&wire::Plugin| one.name == name && version.map_or(one.current, |version| version == one.version);
    let found = listed.iter().find(fits).ok_or_else(|| {
        Problem::Failed(format!(
            "there is no file and no plugin {text}: write a file, NAME or NAME@VERSION (hostlerctl plugin ls shows them)"
        ))
    })?;
    Ok((format!("{} {}", found.name, found.version), asked(found)))
}

async fn diff(global: &Global, out: &Out, format: Format, old: &str, new: &str) -> Result<(), Problem> {
    let ((old, before), (new, after)) = (side(global, old).await?, side(global, new).await?);
    let (more, less) = (after.beyond(&before), before.beyond(&after));
    if format != Format::Table {
        return out.json(&json!({ "old": old, "new": new, "more": more, "less": less }));
    }
    if more.is_empty() && less.is_empty() {
        return out.line(sanitize(&format!("{new} asks for the same as {old}: {after}")));
    }
    let line = |sign: char, (key, text): (&str, String)| match text.as_str() {
        "" => format!("{sign} {key}"),
        text => format!("{sign} {key}  {text}"),
    };
    for text in more.lines().map(|one| line('+', one)).chain(less.lines().map(|one| line('-', one))) {
        out.line(sanitize(&text))?;
    }
    Ok(())
}

fn beyond(plugin: &wire::Plugin) -> Grants {
    Grants::try_from(plugin.beyond.clone().unwrap_or_default()).unwrap_or_default()
}

fn asked(plugin: &wire::Plugin) -> Grants {
    Grants::try_from(plugin.asks.clone().unwrap_or_default()).unwrap_or_default()
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
        "waiting": plugin.waiting,
        "beyond": beyond(plugin),
        "signed_by": plugin.signed_by,
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
            Cell::new(match (plugin.current, plugin.waiting) {
                (true, _) => "yes",
                (false, true) => "waits",
                (false, false) => "no",
            }),
            Cell::new(plugin.used_by_checks.to_string()),
            Cell::new(format_size(plugin.size_bytes)),
            Cell::new(age(plugin.pushed_at_ms, answer.wall_ms)),
            Cell::new(grants(plugin).to_string()),
        ]
    };
    let head = ["PLUGIN", "VERSION", "CURRENT", "CHECKS", "SIZE", "PUSHED", "MAY USE"];
    out.print(&out.table(&head, &answer.plugins.iter().map(row).collect::<Vec<_>>()))
}
