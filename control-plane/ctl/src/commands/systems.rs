//! `hostlerctl system`

use super::nodes::time;
use super::specs::{ask, finish, yaml};
use crate::cli::{Format, Global, SystemCommand};
use crate::client::Client;
use crate::output::{Cell, Out, age, plural};
use crate::plan_view::{self, FileChanges, field_line, has_changes, title};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::spec::Kind;
use hostler_types::terminal::sanitize;
use serde_json::{Value, json};

pub async fn run(mut client: Client, out: &Out, global: &Global, command: SystemCommand) -> Result<(), Problem> {
    match command {
        SystemCommand::Ls => list(&mut client, out, global.output).await,
        SystemCommand::Show { system } => show(&mut client, out, global.output, &system).await,
        SystemCommand::History { name, diff } => history(&mut client, out, global.output, &name, diff).await,
        SystemCommand::Rollback { system, message, yes, dry_run } => {
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

fn version_json(version: &wire::Version, objects: Option<Value>) -> Value {
    let mut value = json!({
        "system": version.system,
        "version": version.number,
        "at": time(version.at_ms),
        "by": version.by,
        "message": version.message,
        "env": version.env,
        "created": version.created,
        "updated": version.updated,
        "deleted": version.deleted,
    });
    if let (Value::Object(map), Some(objects)) = (&mut value, objects) {
        map.insert("objects".to_owned(), objects);
    }
    value
}

async fn list(client: &mut Client, out: &Out, format: Format) -> Result<(), Problem> {
    let answer = client.list_systems(wire::ListSystemsRequest {}).await?.into_inner();
    if format != Format::Table {
        let system =
            |one: &wire::System| version_json(&one.version.clone().unwrap_or_default(), Some(json!(one.objects)));
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
        let value = version_json(&version, Some(objects));
        return if format == Format::Yaml { yaml(out, &value) } else { out.json(&value) };
    }
    out.line(title(&version.system, &version.env))?;
    let message = if version.message.is_empty() { String::new() } else { format!(", \"{}\"", version.message) };
    let told =
        format!("version {} by {}, {}{message}", version.number, version.by, Timestamp::from_millis(version.at_ms));
    out.line(format!("  {}", sanitize(&told)))?;
    out.line(format!("  {}", counts(&version)))?;
    for kind in Kind::ALL {
        let names = named(kind);
        if !names.is_empty() {
            out.line(sanitize(&format!("  {:10} {:4}  {}", kind.word(), names.len(), names.join(", "))))?;
        }
    }
    out.line(format!("next:  hostlerctl system history {} --diff", sanitize(&version.system)))
}

fn counts(version: &wire::Version) -> String {
    let parts = [(version.deleted, "deleted"), (version.created, "created"), (version.updated, "updated")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    parts.join(", ")
}

async fn history(client: &mut Client, out: &Out, format: Format, name: &str, diff: bool) -> Result<(), Problem> {
    let answer = client.list_versions(wire::ListVersionsRequest { name: name.to_owned() }).await?.into_inner();
    if format != Format::Table {
        return out.json(&answer.versions.iter().map(|one| version_json(one, None)).collect::<Vec<_>>());
    }
    if !diff {
        let row = |one: &wire::Version| {
            vec![
                Cell::new(one.number.to_string()),
                Cell::new(age(one.at_ms, answer.wall_ms)),
                Cell::new(&one.by),
                Cell::new(if one.env.is_empty() { "-" } else { &one.env }),
                Cell::new(counts(one)),
                Cell::new(&one.message),
            ]
        };
        let rows: Vec<_> = answer.versions.iter().map(row).collect();
        return out.print(&out.table(&["VERSION", "AGE", "BY", "ENV", "CHANGES", "MESSAGE"], &rows));
    }
    for (index, version) in answer.versions.iter().enumerate() {
        let message = if version.message.is_empty() { String::new() } else { format!(", \"{}\"", version.message) };
        let told =
            format!("version {} by {}, {}{message}", version.number, version.by, Timestamp::from_millis(version.at_ms));
        out.line(sanitize(&told))?;
        // The oldest one that is kept has nothing to compare with.
        let Some(before) = answer.versions.get(index + 1) else {
            out.line(format!("  {}", counts(version)))?;
            break;
        };
        let request = wire::GetSystemRequest { name: name.to_owned(), number: version.number, compare: before.number };
        for change in client.get_system(request).await?.into_inner().changes {
            out.line(sanitize(&format!("  {:6}  {} {}", change.act, change.kind, change.name)))?;
            for field in &change.fields {
                out.print(&field_line(field, &FileChanges::new()))?;
            }
        }
    }
    Ok(())
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
        let told = plan.problems.iter().map(|one| format!("  {} {} {}; {}", one.kind, one.name, one.message, one.help));
        let told: Vec<String> = told.collect();
        return Err(Problem::Failed(format!(
            "version {} of {} can't be applied any more: {}\n{}",
            back.number,
            back.name,
            plural(told.len(), "problem"),
            told.join("\n")
        )));
    }
    if global.output == Format::Table {
        out.print(&plan_view::render(&plan, &FileChanges::new(), out))?;
    }
    if back.dry_run || !has_changes(&plan.changes) {
        return Ok(());
    }
    ask(&plan, back.yes)?;
    let words = back.message.map(|message| format!(": {message}")).unwrap_or_default();
    let request = wire::ApplyRequest {
        spec: Some(spec),
        seen: Some(plan.seen),
        lineage: plan.lineage,
        message: format!("rollback to {}{words}", back.number),
    };
    let answer = client.apply(request).await?.into_inner();
    finish(global, out, &plan, &answer, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_after_its_system() {
        assert_eq!(at("shop@3").expect("valid"), ("shop".to_owned(), Some(3)));
        assert_eq!(at("shop").expect("valid"), ("shop".to_owned(), None));
        for wrong in ["shop@", "shop@x", "shop@0"] {
            assert!(at(wrong).expect_err(wrong).to_string().contains("write NAME@N"), "{wrong}");
        }
    }
}
