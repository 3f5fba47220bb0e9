//! A plan in words: what goes first, then what comes and what changes, each with
//! what it does. Pure: what the control plane answered goes in, text comes out.

use crate::output::{Out, Tone};
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use std::collections::BTreeMap;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const WIDTH: usize = 80;
/// More than anybody reads; all of it is in the JSON.
const CHANGES_SHOWN: usize = 200;
const SUBJECT_WIDTH_MAX: usize = 30;
const PATH_WIDTH: usize = 20;
const PATH_WIDTH_MAX: usize = 28;
/// Deletions that a question names.
const GONE_NAMED: usize = 5;

/// How many lines of a file's content come and go, by its digests.
pub type FileChanges = BTreeMap<(String, String), (usize, usize)>;

/// How a heading goes on: ` by anna, 2h ago` of the version that was planned
/// against, or `, made 2h ago` of a plan that was kept.
pub type Provenance = Option<String>;

/// `revitron (prod)`, or what has no system.
pub fn title(system: &str, env: &str) -> String {
    match (system, env) {
        ("default" | "", _) => "objects without a system".to_owned(),
        (system, "") => sanitize(system).into_owned(),
        (system, env) => format!("{} ({})", sanitize(system), sanitize(env)),
    }
}

pub fn has_changes(changes: &[wire::Change]) -> bool {
    changes.iter().any(|change| change.act != "unchanged")
}

pub fn render(plan: &wire::PlanResponse, files: &FileChanges, provenance: &Provenance, out: &Out) -> String {
    let title = title(&plan.system, &plan.env);
    if !has_changes(&plan.changes) {
        let version = if plan.seen == 0 { String::new() } else { format!(" is at version {}", plan.seen) };
        return format!("nothing to do: {title}{version}\n{}", notes(&plan.notes));
    }
    let against = match plan.seen {
        0 => ", which is new".to_owned(),
        seen => format!(", against version {seen}"),
    };
    let provenance = provenance.as_deref().map(sanitize).unwrap_or_default();
    let mut text = hanging("", &format!("plan for {title}{against}{provenance}"));
    if let Some(told) = other_environment(plan) {
        text.push_str(&out.paint(&told, Tone::Uneasy));
        text.push('\n');
    }
    text.push('\n');
    let mut changing: Vec<&wire::Change> = plan.changes.iter().filter(|change| change.act != "unchanged").collect();
    // Whatever the order in which they came.
    changing.sort_by_key(|change| change.act != "delete");
    let wide = changing.iter().map(|change| subject(change).width()).max().unwrap_or(0).min(SUBJECT_WIDTH_MAX);
    for change in changing.iter().take(CHANGES_SHOWN) {
        let act = out.paint(&format!("{:6}", sanitize(&change.act)), tone(&change.act));
        text.push_str(&effect_lines(&act, &subject(change), wide, &sanitize(&change.effect)));
        for field in &change.fields {
            text.push_str(&field_line(field, files));
        }
    }
    if changing.len() > CHANGES_SHOWN {
        text.push_str(&format!("  and {} more: -o json shows all\n", changing.len() - CHANGES_SHOWN));
    }
    text.push_str(&notes(&plan.notes));
    text.push_str(&format!("\n{}.\n", summary(&plan.changes)));
    text
}

pub fn tone(act: &str) -> Tone {
    match act {
        "create" => Tone::Good,
        "delete" => Tone::Bad,
        _ => Tone::Uneasy,
    }
}

fn subject(change: &wire::Change) -> String {
    sanitize(&format!("{} {}", change.kind, change.name)).into_owned()
}

/// One system in another environment than before is seldom what was meant.
fn other_environment(plan: &wire::PlanResponse) -> Option<String> {
    let (before, after) = (sanitize(&plan.env_before), sanitize(&plan.env));
    if plan.env_before == plan.env || plan.env_before.is_empty() {
        return None;
    }
    let after = if after.is_empty() { "this is without one".into() } else { format!("this is --env {after}") };
    Some(hanging("", &format!("it was applied with --env {before} until now, and {after}")).trim_end().to_owned())
}

fn notes(notes: &[String]) -> String {
    let line = |note: &String| hanging("  note    ", &sanitize(note));
    notes.iter().map(line).collect()
}

/// `1 to delete, 2 to create, 29 unchanged`
pub fn summary(changes: &[wire::Change]) -> String {
    counted(changes, [("delete", " to delete"), ("create", " to create"), ("update", " to update")])
}

/// `1 deleted, 2 created, 29 unchanged`
pub fn done(changes: &[wire::Change]) -> String {
    counted(changes, [("delete", " deleted"), ("create", " created"), ("update", " updated")])
}

fn counted(changes: &[wire::Change], words: [(&str, &str); 3]) -> String {
    let count = |act: &str| changes.iter().filter(|change| change.act == act).count();
    let mut parts: Vec<String> = words
        .iter()
        .map(|(act, word)| (count(act), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count}{word}"))
        .collect();
    let unchanged = count("unchanged");
    if unchanged > 0 || parts.is_empty() {
        parts.push(format!("{unchanged} unchanged"));
    }
    parts.join(", ")
}

/// What a plan deletes, as a question begins; `None` where nothing goes.
pub fn gone(plan: &wire::PlanResponse) -> Option<String> {
    let gone: Vec<String> = plan.changes.iter().filter(|change| change.act == "delete").map(subject).collect();
    let mut named = gone.iter().take(GONE_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match gone.len() {
        0 => return None,
        count if count > GONE_NAMED => named.push_str(&format!(" and {} more", count - GONE_NAMED)),
        _ => {}
    }
    let objects = if gone.len() == 1 { "1 object".to_owned() } else { format!("{} objects", gone.len()) };
    Some(format!("{objects} of {} will be deleted: {named}.", title(&plan.system, &plan.env)))
}

fn effect_lines(act: &str, subject: &str, wide: usize, effect: &str) -> String {
    let gap = " ".repeat(wide.saturating_sub(subject.width()));
    let head = format!("  {act}  {subject}{gap}");
    // The indent, the act and what is between.
    let used = 10 + subject.width().max(wide);
    if effect.is_empty() {
        return format!("{}\n", head.trim_end());
    }
    if used + 2 + effect.width() <= WIDTH {
        return format!("{head}  {effect}\n");
    }
    let indent = " ".repeat(12 + wide);
    if WIDTH.saturating_sub(indent.len()) < 24 || subject.width() > wide {
        return format!("{}\n{}", head.trim_end(), hanging("            ", effect));
    }
    let wrapped = hanging(&indent, effect);
    format!("{head}  {}", wrapped.trim_start())
}

/// Words in lines that fit; a word that fits nowhere is cut.
pub fn hanging(head: &str, text: &str) -> String {
    let indent = " ".repeat(head.width());
    let room = WIDTH.saturating_sub(head.width());
    let (mut whole, mut line, mut begun) = (String::new(), head.to_owned(), false);
    for word in text.split_whitespace() {
        let word = middle(word, room);
        if begun && line.width() + 1 + word.width() > WIDTH {
            whole.push_str(line.trim_end());
            whole.push('\n');
            (line, begun) = (indent.clone(), false);
        }
        if begun {
            line.push(' ');
        }
        line.push_str(&word);
        begun = true;
    }
    format!("{whole}{}\n", line.trim_end())
}

pub fn field_line(field: &wire::FieldChange, files: &FileChanges) -> String {
    let path = middle(&sanitize(&field.path), PATH_WIDTH_MAX);
    let gap = " ".repeat(PATH_WIDTH.saturating_sub(path.width()));
    let head = format!("          {path}{gap}  ");
    let room = WIDTH.saturating_sub(head.width());
    let (before, after) = (value(&field.before_json), value(&field.after_json));
    let told = match (before, after) {
        (Some(before), Some(after)) => both(&before, &after, files, room),
        (None, Some(after)) => format!("+ {}", middle(&short(&after), room.saturating_sub(2))),
        (Some(before), None) => format!("- {}", middle(&short(&before), room.saturating_sub(2))),
        (None, None) => String::new(),
    };
    format!("{}\n", format!("{head}{told}").trim_end())
}

fn both(before: &str, after: &str, files: &FileChanges, room: usize) -> String {
    if let (Some((old, from)), Some((new, to))) = (before.split_once("@sha256:"), after.split_once("@sha256:"))
        && old == new
    {
        let lines = files.get(&(from.to_owned(), to.to_owned()));
        let counts = lines.map_or_else(|| "its content".to_owned(), |(came, went)| format!("+{came} -{went} lines"));
        return format!("{}  {counts}", middle(new, room.saturating_sub(counts.width() + 2)));
    }
    let (before, after) = (short(before), short(after));
    let room = room.saturating_sub(4);
    let half = room / 2;
    let left = middle(&before, half.max(room.saturating_sub(after.width())));
    let right = middle(&after, half.max(room.saturating_sub(before.width())));
    format!("{left} -> {right}")
}

/// A digest tells people nothing after its first figures.
fn short(value: &str) -> String {
    match value.split_once("@sha256:") {
        Some((file, digest)) => format!("{file}@{}", digest.chars().take(8).collect::<String>()),
        None => value.to_owned(),
    }
}

/// As a person would write it: text without quotes.
fn value(json: &str) -> Option<String> {
    if json.is_empty() {
        return None;
    }
    let text = match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => text,
        _ => json.to_owned(),
    };
    Some(sanitize(&text).into_owned())
}

/// Cut in the middle, since both ends tell what it is.
fn middle(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(1);
    let head = fitting(text.chars(), keep.div_ceil(2));
    let tail: Vec<char> = fitting(text.chars().rev(), keep / 2);
    head.into_iter().chain(['…']).chain(tail.into_iter().rev()).collect()
}

fn fitting(characters: impl Iterator<Item = char>, room: usize) -> Vec<char> {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= room
    };
    characters.take_while(fits).collect()
}

/// Who was faster, and with what.
pub fn since(system: &str, seen: u64, versions: &[wire::Version], ago: impl Fn(u64) -> String) -> String {
    let system = title(system, "");
    let mut text = format!("{system} changed under this plan, and nothing was applied. Since version {seen}:\n");
    for version in versions {
        let (by, message) = (sanitize(&version.by), sanitize(&version.message));
        let message = if message.is_empty() { String::new() } else { format!(" \"{message}\"") };
        text.push_str(&format!("  version {} by {by}, {}{message}\n", version.number, ago(version.at_ms)));
        for named in &version.named {
            text.push_str(&format!("    {}\n", sanitize(named)));
        }
        if version.more > 0 {
            text.push_str(&format!("    and {} more\n", version.more));
        }
    }
    text.push_str("Plan again, look at it, and apply that.");
    text
}

#[cfg(test)]
mod tests;
