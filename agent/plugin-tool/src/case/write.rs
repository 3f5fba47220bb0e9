//! Cases as text, as a person would have written them.

use hostler_types::spec::write_value;
use serde_json::{Map, Value, json};

/// On one line.
pub fn flow(value: &Value) -> String {
    match value {
        // Only a map's own lines are broken; a list stands on one.
        Value::Object(_) => {
            let text = write_value(&json!([value]));
            let line = text.trim_end();
            line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).unwrap_or(line).to_owned()
        }
        other => write_value(other).trim_end().to_owned(),
    }
}

/// `key: value`, whose continuation is indented by so many blanks.
pub fn entry(key: &str, value: &Value, indent: usize) -> String {
    if let Value::String(text) = value
        && let Some(block) = block(text, indent + 2)
    {
        return format!("{key}: {block}\n");
    }
    let line = flow(value);
    let is_map = matches!(value, Value::Object(map) if !map.is_empty());
    if indent + key.len() + 2 + line.len() <= WIDTH || !is_map && !long_list(value) {
        return format!("{key}: {line}\n");
    }
    let mut text = format!("{key}:\n");
    let deeper = indent + 2;
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                text.push_str(&" ".repeat(deeper));
                text.push_str(&entry(&word(key), value, deeper));
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push_str(&format!("{}- {}", " ".repeat(deeper), item_of(item, deeper + 2)));
            }
        }
        _ => {}
    }
    text
}

/// Fits beside a comment on most screens.
const WIDTH: usize = 100;

fn long_list(value: &Value) -> bool {
    matches!(value, Value::Array(items) if !items.is_empty())
}

/// What stands behind the dash of a list's item.
pub fn item_of(value: &Value, indent: usize) -> String {
    let line = flow(value);
    match value {
        Value::Object(map) if indent + line.len() > WIDTH && !map.is_empty() => {
            let entries = map.iter().map(|(key, value)| entry(&word(key), value, indent));
            entries.collect::<Vec<_>>().join(&" ".repeat(indent))
        }
        _ => format!("{line}\n"),
    }
}

/// A key, quoted where it has to be.
fn word(key: &str) -> String {
    flow(&Value::String(key.to_owned()))
}

/// Text of several lines as it is, where YAML gives the same back.
fn block(text: &str, indent: usize) -> Option<String> {
    let plain = |c: char| c == '\n' || !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}');
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    let sound = lines.len() > 1
        && text.chars().all(plain)
        && lines.iter().all(|line| !line.starts_with(' ') && !line.ends_with(' '))
        && lines.first().is_some_and(|line| !line.is_empty())
        && lines.last().is_some_and(|line| !line.is_empty());
    if !sound {
        return None;
    }
    let mut block = if text.ends_with('\n') { "|".to_owned() } else { "|-".to_owned() };
    for line in lines {
        block.push('\n');
        if !line.is_empty() {
            block.push_str(&" ".repeat(indent));
            block.push_str(line);
        }
    }
    Some(block)
}

/// One answer, as an item of `answers:`.
pub fn answer(call: &str, fields: &Map<String, Value>, answer: Option<(&str, &Value)>) -> String {
    let mut text = format!("  - call: {call}\n");
    if !fields.is_empty() {
        text.push_str(&format!("    {}", entry("with", &Value::Object(fields.clone()), 4)));
    }
    if let Some((key, value)) = answer {
        text.push_str(&format!("    {}", entry(key, value, 4)));
    }
    text
}
