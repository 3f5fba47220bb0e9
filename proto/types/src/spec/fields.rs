//! Reading a body's fields: each is taken by name, with its type, and whatever
//! is left over is not a field.

use super::problem::{Problem, nearest};
use super::yaml::{At, Node, Value};
use crate::units;
use std::time::Duration;

/// Where problems of one file are collected.
pub(super) struct Report<'file> {
    pub file: &'file str,
    pub lines: Vec<&'file str>,
    pub problems: Vec<Problem>,
}

impl<'file> Report<'file> {
    pub fn new(file: &'file str, text: &'file str) -> Self {
        Self { file, lines: text.lines().collect(), problems: Vec::new() }
    }

    pub fn add(&mut self, at: At, message: impl Into<String>, help: Option<String>) {
        let text = self.lines.get(at.line.saturating_sub(1)).copied().unwrap_or_default();
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: at.line,
            column: at.column,
            text: text.to_owned(),
            message: message.into(),
            help,
        });
    }
}

/// The fields of one object's body.
pub(super) struct Fields<'node, 'report, 'file> {
    /// How messages call it: `check disk`.
    owner: String,
    at: At,
    entries: Vec<(&'node str, At, &'node Node)>,
    known: Vec<&'static str>,
    pub report: &'report mut Report<'file>,
}

impl<'node, 'report, 'file> Fields<'node, 'report, 'file> {
    /// A body that is no map is a problem of its own, and has no fields.
    pub fn new(owner: String, node: &'node Node, report: &'report mut Report<'file>) -> Self {
        let mut entries = Vec::new();
        match &node.value {
            Value::Map(map) => {
                entries = map.iter().map(|(key, value)| (key.text.as_str(), key.at, value)).collect();
            }
            Value::Null => {}
            other => {
                report.add(node.at, format!("{owner} is {}, and should be a map of fields", other.describe()), None);
            }
        }
        Self { owner, at: node.at, entries, known: Vec::new(), report }
    }

    pub fn take(&mut self, name: &'static str) -> Option<&'node Node> {
        self.known.push(name);
        let index = self.entries.iter().position(|(key, ..)| *key == name)?;
        Some(self.entries.remove(index).2)
    }

    fn wrong(&mut self, node: &Node, name: &str, expected: &str, help: Option<String>) {
        let found = node.value.describe();
        let message = format!("{}: {name} is {found}, and should be {expected}", self.owner);
        self.report.add(node.at, message, help);
    }

    pub fn problem(&mut self, at: At, message: impl std::fmt::Display, help: Option<String>) {
        let message = format!("{}: {message}", self.owner);
        self.report.add(at, message, help);
    }

    pub fn missing(&mut self, name: &str, help: &str) {
        let at = self.at;
        self.problem(at, format!("{name} is missing"), Some(help.to_owned()));
    }

    pub fn text(&mut self, name: &'static str) -> Option<(String, At)> {
        let node = self.take(name)?;
        match &node.value {
            Value::Text(text) => Some((text.clone(), node.at)),
            Value::Number(text) => {
                self.wrong(node, name, "text", Some(format!("quote it: {name}: \"{text}\"")));
                None
            }
            _ => {
                self.wrong(node, name, "text", None);
                None
            }
        }
    }

    pub fn duration(&mut self, name: &'static str, least: Duration, most: Duration) -> Option<Duration> {
        let node = self.take(name)?;
        let text = match &node.value {
            Value::Text(text) | Value::Number(text) => text,
            _ => {
                self.wrong(node, name, "a duration like 10s", None);
                return None;
            }
        };
        match units::parse_duration(text) {
            Ok(span) if span < least || span > most => {
                let (least, most) = (units::format_duration(least), units::format_duration(most));
                self.problem(node.at, format!("{name} is {text}, and may be {least} to {most}"), None);
                None
            }
            Ok(span) => Some(span),
            Err(error) => {
                self.problem(node.at, format!("{name}: {error}"), None);
                None
            }
        }
    }

    pub fn count(&mut self, name: &'static str, least: u32, most: u32) -> Option<u32> {
        let node = self.take(name)?;
        let Value::Number(text) = &node.value else {
            self.wrong(node, name, "a whole number", None);
            return None;
        };
        match text.parse::<u32>() {
            Ok(count) if (least..=most).contains(&count) => Some(count),
            _ => {
                self.problem(node.at, format!("{name} is {text}, and may be {least} to {most}"), None);
                None
            }
        }
    }

    /// Says of every field that nobody took that it is none.
    pub fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for (name, at, _) in std::mem::take(&mut self.entries) {
            let help = match nearest(name, known.iter().copied()) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("its fields are {}", known.join(", ")),
            };
            self.problem(at, format!("there is no field {name:?}"), Some(help));
        }
    }
}
