//! Objects to YAML that reads back as the same objects, and reads like what a
//! person would have written: what is short stands on one line.

use super::compile::Object;
use super::kind::{Body, Kind};
use super::shape::push_step;
use super::yaml::is_number;
use crate::terminal::needs_care;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Fits beside a comment on most screens.
const WIDTH: usize = 100;

/// YAML takes no longer key without a mark before it.
const KEY_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What was written.
    Short,
    /// Every default as well, and where each value comes from.
    Full,
}

/// `kind: {name: body}`, kinds in their order, names sorted.
pub fn write_yaml(objects: &[Object], detail: Detail) -> String {
    let mut kinds: BTreeMap<Kind, Vec<&Object>> = BTreeMap::new();
    for object in objects {
        kinds.entry(object.kind()).or_default().push(object);
    }
    let mut text = String::new();
    for (kind, mut objects) in kinds {
        objects.sort_by(|left, right| left.name.cmp(&right.name));
        if !text.is_empty() {
            text.push('\n');
        }
        if kind == Kind::System {
            for object in objects {
                write_object(&mut text, kind.word(), 0, object, detail);
            }
            continue;
        }
        text.push_str(&format!("{kind}:\n"));
        for object in objects {
            write_object(&mut text, object.name.as_str(), 1, object, detail);
        }
    }
    text
}

fn write_object(text: &mut String, key: &str, depth: usize, object: &Object, detail: Detail) {
    let body = object.body.to_json(detail == Detail::Full);
    match detail {
        Detail::Short => entry(text, key, depth, &body),
        Detail::Full => {
            let mut written = BTreeMap::new();
            flatten(&object.body.to_json(false), &mut String::new(), &mut written);
            let comments = Comments { object, written };
            text.push_str(&head(key, depth));
            comments.children(text, depth, &body, &mut String::new());
        }
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// A key at the begin of its line, up to its colon.
fn head(key: &str, depth: usize) -> String {
    let (indent, key) = (indent(depth), word(key));
    if key.len() > KEY_BYTES_MAX { format!("{indent}? {key}\n{indent}:") } else { format!("{indent}{key}:") }
}

/// Any JSON value as YAML, for what is no object of a spec.
pub fn write_value(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                entry(&mut text, key, 0, value);
            }
        }
        other => text.push_str(&format!("{}\n", flow(other))),
    }
    text
}

/// `key: value`, on one line where it fits.
fn entry(text: &mut String, key: &str, depth: usize, value: &Value) {
    let head = head(key, depth);
    let line = flow(value);
    let short = head.len() + 1 + line.len() <= WIDTH;
    match value {
        Value::Object(map) if !(map.is_empty() || short && depth > 0 && map.len() <= 6) => {
            text.push_str(&head);
            text.push('\n');
            for (key, value) in map {
                entry(text, key, depth + 1, value);
            }
        }
        Value::Array(items) if !items.is_empty() && !short => {
            text.push_str(&head);
            text.push('\n');
            for item in items {
                text.push_str(&format!("{}- {}\n", indent(depth + 1), flow(item)));
            }
        }
        _ => text.push_str(&format!("{head} {line}\n")),
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => word(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let (key, value) = (word(key), flow(value));
                if key.len() > KEY_BYTES_MAX { format!("? {key} : {value}") } else { format!("{key}: {value}") }
            };
            let entries: Vec<String> = map.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Plain where every reader takes it as the same text, quoted otherwise.
fn word(text: &str) -> String {
    let first = text.chars().next();
    let begins = first.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '$'));
    let plain = |c: char| c.is_ascii_alphanumeric() || " /_.:@%+=-$()<>;~*|".contains(c);
    let simple = begins
        && text.chars().all(plain)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !is_number(text)
        && !text.contains("${");
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let numeric = first.is_some_and(|c| c.is_ascii_digit() || c == '.')
        && text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '_' | '-' | '+' | 'x' | 'o'))
        && !text.contains("..");
    let dated = numeric && text.chars().all(|c| c.is_ascii_digit() || "._-:+e".contains(c));
    if simple && !reserved.contains(&text.to_ascii_lowercase().as_str()) && !dated {
        return text.to_owned();
    }
    quoted(text)
}

/// As JSON, but for what terminals and YAML take as more than text.
fn quoted(text: &str) -> String {
    let mut whole = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => whole.push_str("\\\""),
            '\\' => whole.push_str("\\\\"),
            '\n' => whole.push_str("\\n"),
            '\t' => whole.push_str("\\t"),
            '\r' => whole.push_str("\\r"),
            c if needs_care(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => match u32::from(c) {
                code @ ..=0xffff => whole.push_str(&format!("\\u{code:04x}")),
                code => whole.push_str(&format!("\\U{code:08x}")),
            },
            c => whole.push(c),
        }
    }
    whole.push('"');
    whole
}

impl Body {
    /// Every value as it would be written, by its path: `rollout.max`.
    pub fn flat(&self) -> BTreeMap<String, Value> {
        let mut flat = BTreeMap::new();
        flatten(&self.to_json(false), &mut String::new(), &mut flat);
        flat
    }
}

/// Every value that is no map, by its path.
pub(super) fn flatten(value: &Value, path: &mut String, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let length = path.len();
                push_step(path, key);
                flatten(value, path, into);
                path.truncate(length);
            }
        }
        other => drop(into.insert(path.clone(), other.clone())),
    }
}

struct Comments<'a> {
    object: &'a Object,
    /// What was written, by its path; all else is a default.
    written: BTreeMap<String, Value>,
}

impl Comments<'_> {
    fn children(&self, text: &mut String, depth: usize, value: &Value, path: &mut String) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                text.push('\n');
                self.map(text, depth + 1, map, path);
            }
            other => text.push_str(&format!(" {}  # {}\n", flow(other), self.origin(path))),
        }
    }

    fn map(&self, text: &mut String, depth: usize, map: &Map<String, Value>, path: &mut String) {
        for (key, value) in map {
            let length = path.len();
            push_step(path, key);
            text.push_str(&head(key, depth));
            self.children(text, depth, value, path);
            path.truncate(length);
        }
    }

    fn origin(&self, path: &str) -> String {
        let written = path.is_empty()
            || self.written.contains_key(path)
            || self.written.keys().any(|known| {
                // A record in its short form, or a list inside.
                path.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']))
            });
        if !written {
            return "default".to_owned();
        }
        let origins = &self.object.origins;
        let mut at = path;
        loop {
            if let Some(origin) = origins.get(at) {
                return origin.clone();
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = at.get(..end).unwrap_or_default(),
                None if self.object.origin.is_empty() => return "written".to_owned(),
                None => return self.object.origin.clone(),
            }
        }
    }
}
