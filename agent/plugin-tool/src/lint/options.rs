//! `[with.*]`: whether the plugin takes what its own manifest says of it.

use super::finding::{Findings, Level};
use super::manifest::with_line;
use crate::case::{Case, Expect, NOW};
use crate::subject::{Subject, within};
use crate::test::Stage;
use anyhow::Result;
use hostler_plugin_host::{Fault, Notice, Work};
use hostler_types::plugin::{With, WithField, WithType, check_with};
use hostler_types::spec::yaml;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub fn check(subject: &Subject, stage: &Stage, findings: &mut Findings) -> Result<()> {
    let Some(with) = &subject.manifest.with else { return Ok(()) };
    let text = subject.manifest_text.as_deref().unwrap_or_default();
    let file = match subject.manifest_text {
        Some(_) => within(&subject.folder).join("plugin.toml"),
        None => subject.wasm.clone(),
    };
    let file = file.display().to_string();
    for (name, field) in with {
        let mut told = |level: Level, key: &str, message: String| {
            findings.add(level, &file, with_line(text, name, key), format!("[with.{name}]: {message}"));
        };
        match value(&field.example) {
            Err(why) => told(
                Level::Error,
                "example",
                format!("example {:?} can't be written after {name}: {why}", field.example),
            ),
            Ok(value) => match judged(with, name, &value) {
                Some(why) => told(Level::Error, "example", format!("example {} {why}", field.example)),
                None => {
                    if let Some(why) = refused(subject, stage, with, name, value)? {
                        told(
                            Level::Error,
                            "example",
                            format!("the plugin refuses the example {}: {why}", field.example),
                        );
                    }
                }
            },
        }
        let Some(default) = &field.default else { continue };
        // It may be said in words; what could be either is no error.
        let Some(value) = value(default).ok().filter(|value| judged(with, name, value).is_none()) else { continue };
        if let Some(why) = refused(subject, stage, with, name, value)? {
            let level = if may_be_words(field) { Level::Warning } else { Level::Error };
            told(level, "default", format!("the plugin refuses its default {default}: {why}"));
        }
    }
    Ok(())
}

fn may_be_words(field: &WithField) -> bool {
    let one = match field.type_ {
        WithType::List => field.of.unwrap_or(WithType::Any),
        other => other,
    };
    matches!(one, WithType::Text | WithType::Any)
}

/// As it would be read behind its name in a spec.
fn value(written: &str) -> Result<Value, String> {
    let mut faults = Vec::new();
    let node = yaml::parse(&format!("x: {written}"), 0, &mut faults);
    match (faults.first(), node) {
        (Some(fault), _) => Err(fault.message.clone()),
        (None, node) => Ok(node.and_then(|node| Some(node.get("x")?.to_json())).unwrap_or(Value::Null)),
    }
}

/// A configuration with this field and what else must be there.
fn config(with: &With, name: &str, value: Value) -> Map<String, Value> {
    let others = with.iter().filter(|(other, field)| field.required && *other != name);
    let example = |field: &WithField| self::value(&field.example).unwrap_or_default();
    let mut config: Map<String, Value> = others.map(|(other, field)| (other.clone(), example(field))).collect();
    config.insert(name.to_owned(), value);
    config
}

/// What the manifest's own table says against it.
fn judged(with: &With, name: &str, value: &Value) -> Option<String> {
    let problems = check_with(with, &config(with, name, value.clone()));
    let own = |path: &str| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[']));
    problems.into_iter().find(|problem| own(&problem.path)).map(|problem| problem.message)
}

/// What the plugin itself says against it, alone and among the other examples:
/// one field may need another.
fn refused(subject: &Subject, stage: &Stage, with: &With, name: &str, value: Value) -> Result<Option<String>> {
    let alone = config(with, name, value.clone());
    let Some(why) = judgement(subject, stage, name, alone)? else { return Ok(None) };
    let mut all: Map<String, Value> =
        with.iter().filter_map(|(other, field)| Some((other.clone(), self::value(&field.example).ok()?))).collect();
    all.insert(name.to_owned(), value);
    Ok(judgement(subject, stage, name, all)?.map(|_| why))
}

fn judgement(subject: &Subject, stage: &Stage, name: &str, config: Map<String, Value>) -> Result<Option<String>> {
    let work = match subject.manifest.world.as_str() {
        "check" => Work::Check,
        "collector" => Work::Collect,
        "notifier" => Work::Notify(Notice::default()),
        _ => Work::Plan { parameters_json: "{}".to_owned() },
    };
    let case = Case {
        name: "lint".to_owned(),
        file: String::new(),
        config_json: Value::Object(config).to_string(),
        now: NOW,
        state: BTreeMap::new(),
        work,
        answers: Vec::new(),
        expect: Expect::default(),
    };
    let played = stage.play(subject, &case)?;
    // Whatever else becomes of a run without answers is of no matter.
    let Err(Fault::ConfigInvalid(problems)) = played.run.outcome else { return Ok(None) };
    let own = |pointer: &str| {
        let first = pointer.trim_start_matches('/').split('/').next().unwrap_or_default();
        first.is_empty() || first == name
    };
    Ok(problems.into_iter().find(|problem| own(&problem.pointer)).map(|problem| problem.to_string()))
}
