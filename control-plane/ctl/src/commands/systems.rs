//! `hostlerctl system`

use super::nodes::time;
use super::specs::{Commit, View, ask, changes_json, commit, nothing_done, show as show_plan, without_place};
use super::{backup, contents};
use crate::cli::{Format, Global, SystemCommand};
use crate::client::Client;
use crate::output::{Cell, Out, age, plural};
use crate::plan_view::{field_line, hanging, has_changes, title, tone};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::spec::{Kind, write_value};
use hostler_types::terminal::sanitize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Some lines of a terminal; `hostlerctl get` prints all.
const NAMES_SHOWN: usize = 40;

pub async fn run(mut client: Client, out: &Out, global: &Global, command: SystemCommand) -> Result<(), Problem> {
    match command {
        SystemCommand::Ls => list(&mut client, out, global.output).await,
        SystemCommand::Show { system } => show(&mut client, out, global.output, &system).await,
        SystemCommand::History { name, diff } => history(&mut client, out, global.output, &name, diff).await,
        SystemCommand::Backup { file, passphrase_file } => {
            backup::run(&mut client, out, global.output, &file, passphrase_file.as_deref()).await
        }
        SystemCommand::Rollback { system, message, yes, dry_run, .. } => {
            let (name, number) = at(&system)?;
            let number = number.ok_or_else(|| {
                Problem::Usage(format!(
                    "say which version: hostlerctl system rollback {name}@N (system history {name})"
                ))
            })?;
            rollback(&mut client, out, global, Back { name, number, message, yes, dry_run }).await
        }
    }
}

/// `shop@3`
fn at(text: &str) -> Result<(String, Option<u64>), Problem> {
    match text.split_once('@') {
        None => Ok((text.to_owned(), None)),
        Some((name, number)) => match number.parse::<u64>() {
            Ok(number) if number > 0 => Ok((name.to_owned(), Some(number))),
            _ => Err(Problem::Usage(format!("{text:?}: write NAME@N, as in shop@3"))),
        },
    }
}

/// A version, with one more thing of it.
fn version_json(version: &wire::Version, more: Option<(&str, Value)>) -> Value {
    let mut value = json!({
        "system": version.system,
        "version": version.number,
        "at": time(version.at_ms),
        "by": version.by,
        "approved_by": (!version.approved_by.is_empty()).then_some(&version.approved_by),
        "message": version.message,
        "env": version.env,
        "created": version.created,
        "updated": version.updated,
        "deleted": version.deleted,
    });
    if let (Some((key, more)), Some(map)) = (more, value.as_object_mut()) {
        map.insert(key.to_owned(), more);
    }
    value
}

async fn list(client: &mut Client, out: &Out, format: Format) -> Result<(), Problem> {
    let answer = client.list_systems(wire::ListSystemsRequest {}).await?.into_inner();
    if format != Format::Table {
        let system = |one: &wire::System| {
            let objects: BTreeMap<_, _> = one.objects.iter().collect();
            version_json(&one.version.clone().unwrap_or_default(), Some(("objects", json!(objects))))
        };
        return out.json(&answer.systems.iter().map(system).collect::<Vec<_>>());
    }
    if answer.systems.is_empty() {
        eprintln!("no system is applied: hostlerctl apply -f FOLDER");
        return Ok(());
    }
    let row = |one: &wire::System| {
        let version = one.version.clone().unwrap_or_default();
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            Cell::new(&one.name),
            Cell::new(dash(&version.env)),
            Cell::new(version.number.to_string()),
            Cell::new(one.objects.values().sum::<u32>().to_string()),
            Cell::new(age(version.at_ms, answer.wall_ms)),
            Cell::new(version.by),
            Cell::new(version.message),
        ]
    };
    let rows: Vec<_> = answer.systems.iter().map(row).collect();
    out.print(&out.table(&["SYSTEM", "ENV", "VERSION", "OBJECTS", "APPLIED", "BY", "MESSAGE"], &rows))
}

async fn show(client: &mut Client, out: &Out, format: Format, system: &str) -> Result<(), Problem> {
    let (name, number) = at(system)?;
    let request = wire::GetSystemRequest { name, number: number.unwrap_or_default(), compare: 0 };
    let answer = client.get_system(request).await?.into_inner();
    let version = answer.version.unwrap_or_default();
    let documents = answer.spec.unwrap_or_default().documents;
    let named = |kind: &Kind| -> Vec<&str> {
        documents.iter().filter(|one| one.kind == kind.word()).map(|one| one.name.as_str()).collect()
    };
    if format != Format::Table {
        let kinds = Kind::ALL.iter().map(|kind| (kind.word().to_owned(), json!(named(kind))));
        let objects = Value::Object(kinds.filter(|(_, names)| names != &json!([])).collect());
        let value = version_json(&version, Some(("objects", objects)));
        return if format == Format::Yaml { out.print(&write_value(&value)) } else { out.json(&value) };
    }
    out.line(title(&version.system, &version.env))?;
    out.line(format!("  {}", told(&version)))?;
    out.line(format!("  {}", counts(&version)))?;
    for kind in Kind::ALL {
        let names = named(kind);
        if !names.is_empty() {
            let head = format!("  {:10} {:4}  ", kind.word(), names.len());
            out.print(&hanging(&head, &sanitize(&listed(&names))))?;
        }
    }
    out.line(format!("next:  hostlerctl system history {} --diff", sanitize(&version.system)))
}

/// `a, b, c and 4997 more`
fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn counts(version: &wire::Version) -> String {
    let parts = [(version.deleted, "deleted"), (version.created, "created"), (version.updated, "updated")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

async fn history(client: &mut Client, out: &Out, format: Format, name: &str, diff: bool) -> Result<(), Problem> {
    let answer = client.list_versions(wire::ListVersionsRequest { name: name.to_owned() }).await?.into_inner();
    if format != Format::Table {
        let mut told = Vec::new();
        for (index, version) in answer.versions.iter().enumerate() {
            let changes = match answer.versions.get(index + 1).filter(|_| diff) {
                Some(before) => Some(("changes", changes_json(&compared(client, version, before).await?))),
                None => None,
            };
            told.push(version_json(version, changes));
        }
        return out.json(&told);
    }
    if !diff {
        let row = |one: &wire::Version| {
            vec![
                Cell::new(one.number.to_string()),
                Cell::new(age(one.at_ms, answer.wall_ms)),
                Cell::new(by(one)),
                Cell::new(if one.env.is_empty() { "-" } else { &one.env }),
                Cell::new(counts(one)),
                Cell::new(&one.message),
            ]
        };
        let rows: Vec<_> = answer.versions.iter().map(row).collect();
        return out.print(&out.table(&["VERSION", "AGE", "BY", "ENV", "CHANGES", "MESSAGE"], &rows));
    }
    for (index, version) in answer.versions.iter().enumerate() {
        out.line(told(version))?;
        // The oldest one that is kept has nothing to compare with.
        let Some(before) = answer.versions.get(index + 1) else {
            out.line(format!("  {}", counts(version)))?;
            break;
        };
        let changes = compared(client, version, before).await?;
        let plan = wire::PlanResponse { changes, ..wire::PlanResponse::default() };
        let files = contents::changes(client, &plan, None).await?;
        for change in &plan.changes {
            let act = out.paint(&format!("{:6}", sanitize(&change.act)), tone(&change.act));
            out.line(format!("  {act}  {}", sanitize(&format!("{} {}", change.kind, change.name))))?;
            let fields: String = change.fields.iter().map(|field| field_line(field, &files)).collect();
            out.print(&fields)?;
        }
    }
    Ok(())
}

async fn compared(
    client: &mut Client,
    version: &wire::Version,
    before: &wire::Version,
) -> Result<Vec<wire::Change>, Problem> {
    let request =
        wire::GetSystemRequest { name: version.system.clone(), number: version.number, compare: before.number };
    let mut changes = client.get_system(request).await?.into_inner().changes;
    changes.retain(|change| change.act != "unchanged");
    Ok(changes)
}

/// `anna`, `anna+ben` where two had to agree
fn by(version: &wire::Version) -> String {
    match version.approved_by.as_str() {
        "" => version.by.clone(),
        other => format!("{}+{other}", version.by),
    }
}

/// `version 12 by anna, 2026-03-01T14:02:15.250Z, "slower"`
fn told(version: &wire::Version) -> String {
    let message = if version.message.is_empty() { String::new() } else { format!(", \"{}\"", version.message) };
    let at = Timestamp::from_millis(version.at_ms);
    sanitize(&format!("version {} by {}, {at}{message}", version.number, by(version))).into_owned()
}

struct Back {
    name: String,
    number: u64,
    message: Option<String>,
    yes: bool,
    dry_run: bool,
}

/// An old version, planned and applied like any other spec.
async fn rollback(client: &mut Client, out: &Out, global: &Global, back: Back) -> Result<(), Problem> {
    let request = wire::GetSystemRequest { name: back.name.clone(), number: back.number, compare: 0 };
    let spec = client.get_system(request).await?.into_inner().spec.unwrap_or_default();
    if spec.documents.is_empty() {
        return Err(Problem::Failed(format!(
            "version {} is the one that deleted {}: choose one before it",
            back.number, back.name
        )));
    }
    let plan = client.plan(wire::PlanRequest { spec: Some(spec.clone()) }).await?.into_inner();
    if !plan.problems.is_empty() {
        return Err(Problem::Failed(format!(
            "version {} of {} can't be applied any more: {}\n{}",
            back.number,
            back.name,
            plural(plan.problems.len(), "problem"),
            without_place(&plan.problems)
        )));
    }
    let changes = has_changes(&plan.changes);
    let done = back.dry_run || !changes;
    // A script gets one document: of what was done, or else of what would be.
    if done || global.output == Format::Table {
        show_plan(client, out, View { format: global.output, dry_run: back.dry_run }, &plan, None).await?;
    }
    if done {
        return nothing_done(out, global.output, changes);
    }
    ask(&plan, back.yes)?;
    let words = back.message.map(|message| format!(": {message}")).unwrap_or_default();
    let message = format!("rollback to {}{words}", back.number);
    commit(client, global, out, Commit { plan, spec, message }, None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(listed(&["a", "b"]), "a, b");
        assert!(listed(&["a"; 5_000]).ends_with("a, a and 4960 more"));
    }

    #[test]
    fn a_version_is_named_after_its_system() {
        assert_eq!(at("shop@3").expect("valid"), ("shop".to_owned(), Some(3)));
        assert_eq!(at("shop").expect("valid"), ("shop".to_owned(), None));
        for wrong in ["shop@", "shop@x", "shop@0"] {
            assert!(at(wrong).expect_err(wrong).to_string().contains("write NAME@N"), "{wrong}");
        }
    }
}
