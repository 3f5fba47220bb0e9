//! Files to objects.

use super::body::{self, Body, Kind};
use super::fields::Report;
use super::problem::{Problem, Problems, nearest};
use super::yaml::{self, At, Node, Value};
use crate::Name;
use std::collections::BTreeMap;

/// A spec file, already in memory.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As the user named it, for messages.
    pub path: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub name: Name,
    pub body: Body,
    /// `web.yaml:12`; empty for what did not come from a file.
    pub origin: String,
}

/// Reads every file; either all is right, or all that is wrong is told.
pub fn read_files(files: &[SourceFile]) -> Result<Vec<Object>, Problems> {
    let mut objects: BTreeMap<(Kind, Name), Object> = BTreeMap::new();
    let mut problems = Vec::new();
    for file in files {
        let mut report = Report::new(&file.path, &file.text);
        match yaml::parse(&file.text) {
            Ok(Some(root)) => {
                for (at, object) in read_root(&root, &mut report) {
                    let key = (object.body.kind(), object.name.clone());
                    if let Some(first) = objects.get(&key) {
                        let message = format!("{} {} stands twice; the first is at {}", key.0, key.1, first.origin);
                        report.add(at, message, None);
                    } else {
                        objects.insert(key, object);
                    }
                }
            }
            Ok(None) => {}
            Err(error) => report.add(error.at, error.message, error.help),
        }
        problems.append(&mut report.problems);
    }
    if problems.is_empty() { Ok(objects.into_values().collect()) } else { Err(Problems(problems)) }
}

/// One object whose body is JSON: what comes over the wire or out of the store.
pub fn read_json(kind: &str, name: &str, body_json: &str, origin: &str) -> Result<Object, Problems> {
    let mut report = Report::new(origin, "");
    let object = read_json_parts(kind, name, body_json, origin, &mut report);
    match object {
        Some(object) if report.problems.is_empty() => Ok(object),
        _ => Err(Problems(report.problems)),
    }
}

fn read_json_parts(kind: &str, name: &str, json: &str, origin: &str, report: &mut Report) -> Option<Object> {
    let at = At::default();
    let Some(kind) = Kind::parse(kind) else {
        report.add(at, unknown_kind(kind).0, unknown_kind(kind).1);
        return None;
    };
    let name = Name::new(name).map_err(|error| report.add(at, error.to_string(), None)).ok()?;
    let value = serde_json::from_str(json)
        .map_err(|error| report.add(at, format!("{kind} {name}: its body is not JSON: {error}"), None))
        .ok()?;
    let body = Body::read(kind, &name, &body::from_json(&value), report)?;
    Some(Object { name, body, origin: origin.to_owned() })
}

fn read_root(root: &Node, report: &mut Report) -> Vec<(At, Object)> {
    let mut objects = Vec::new();
    let Value::Map(kinds) = &root.value else {
        let message = format!("a spec is a map of kinds, and this is {}", root.value.describe());
        report.add(root.at, message, Some("check: {disk: {where: all, plugin: disk}}".into()));
        return objects;
    };
    for (key, node) in kinds {
        if key.text == "version" {
            if node.value != Value::Number("1".into()) {
                report.add(
                    node.at,
                    "only version 1 of the language exists",
                    Some("version: 1, or leave it out".into()),
                );
            }
            continue;
        }
        let Some(kind) = Kind::parse(&key.text) else {
            let (message, help) = unknown_kind(&key.text);
            report.add(key.at, message, help);
            continue;
        };
        match &node.value {
            Value::Null => {}
            Value::Map(named) => {
                for (name_key, body_node) in named {
                    let name = match Name::new(name_key.text.clone()) {
                        Ok(name) => name,
                        Err(error) => {
                            report.add(name_key.at, format!("{kind}: {error}"), None);
                            continue;
                        }
                    };
                    let origin = format!("{}:{}", report.file, name_key.at.line);
                    if let Some(body) = Body::read(kind, &name, body_node, report) {
                        objects.push((name_key.at, Object { name, body, origin }));
                    }
                }
            }
            other => {
                let message = format!("{kind} is {}, and should be a map of names", other.describe());
                report.add(node.at, message, Some(format!("{kind}: {{NAME: {{...}}}}")));
            }
        }
    }
    objects
}

fn unknown_kind(word: &str) -> (String, Option<String>) {
    let kinds = Kind::ALL.map(Kind::word);
    let help = match nearest(word, kinds) {
        Some(kind) => format!("did you mean {kind}?"),
        None => format!("kinds are {}", kinds.join(", ")),
    };
    (format!("there is no kind {word:?}"), Some(help))
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
