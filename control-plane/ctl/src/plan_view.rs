//! A plan in words: what goes first, then what comes and what changes, each with
//! what it does.

use crate::output::{Out, Tone, plural};
use hostler_proto::admin as wire;
use hostler_types::terminal::sanitize;
use std::collections::BTreeMap;

const WIDTH: usize = 80;
/// More than anybody reads; all of it is in the JSON.
const CHANGES_SHOWN: usize = 200;
const SUBJECT_WIDTH_MAX: usize = 30;
const PATH_WIDTH_MAX: usize = 28;

/// How many lines of a file's content came and went, by its digests.
pub type FileChanges = BTreeMap<(String, String), (usize, usize)>;

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

pub fn render(plan: &wire::PlanResponse, files: &FileChanges, out: &Out) -> String {
    let title = title(&plan.system, &plan.env);
    if !has_changes(&plan.changes) {
        let version = if plan.seen == 0 { String::new() } else { format!(" is at version {}", plan.seen) };
        return format!("nothing to do: {title}{version}\n{}", notes(&plan.notes));
    }
    let against = match plan.seen {
        0 => ", which is new".to_owned(),
        seen => format!(", against version {seen}"),
    };
    let mut text = format!("plan for {title}{against}\n\n");
    let changing: Vec<&wire::Change> = plan.changes.iter().filter(|change| change.act != "unchanged").collect();
    let subject = |change: &wire::Change| sanitize(&format!("{} {}", change.kind, change.name)).into_owned();
    let wide = changing.iter().map(|change| subject(change).chars().count()).max().unwrap_or(0).min(SUBJECT_WIDTH_MAX);
    for change in changing.iter().take(CHANGES_SHOWN) {
        let tone = match change.act.as_str() {
            "create" => Tone::Good,
            "delete" => Tone::Bad,
            _ => Tone::Uneasy,
        };
        let act = out.paint(&format!("{:6}", change.act), tone);
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

fn effect_lines(act: &str, subject: &str, wide: usize, effect: &str) -> String {
    // Eight columns of indent and act before it.
    let head = format!("  {act}  {subject:wide$}");
    let used = 10 + subject.chars().count().max(wide);
    if effect.is_empty() {
        return format!("{}\n", head.trim_end());
    }
    if used + 2 + effect.chars().count() <= WIDTH {
        return format!("{head}  {effect}\n");
    }
    let indent = " ".repeat(12 + wide);
    if WIDTH.saturating_sub(indent.len()) < 24 || subject.chars().count() > wide {
        return format!("{}\n{}", head.trim_end(), hanging("            ", effect));
    }
    let wrapped = hanging(&indent, effect);
    format!("{head}  {}", wrapped.trim_start())
}

fn hanging(head: &str, text: &str) -> String {
    let indent = " ".repeat(head.chars().count());
    let (mut whole, mut line, mut begun) = (String::new(), head.to_owned(), false);
    for word in text.split_whitespace() {
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            whole.push_str(line.trim_end());
            whole.push('\n');
            (line, begun) = (indent.clone(), false);
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    format!("{whole}{}\n", line.trim_end())
}

pub fn field_line(field: &wire::FieldChange, files: &FileChanges) -> String {
    let path = sanitize(&field.path).into_owned();
    let head = format!("          {:20}  ", middle(&path, PATH_WIDTH_MAX));
    let room = WIDTH.saturating_sub(head.chars().count());
    let (before, after) = (value(&field.before_json), value(&field.after_json));
    let told = match (before, after) {
        (Some(before), Some(after)) => match (before.split_once("@sha256:"), after.split_once("@sha256:")) {
            (Some((old, from)), Some((new, to))) if old == new => {
                let lines = files.get(&(from.to_owned(), to.to_owned()));
                let counts =
                    lines.map_or_else(|| "its content".to_owned(), |(came, went)| format!("+{came} -{went} lines"));
                format!("{new}  {counts}")
            }
            _ => {
                let half = room.saturating_sub(4) / 2;
                let (one, other) = (before.chars().count(), after.chars().count());
                let left = middle(&before, half.max(room.saturating_sub(4 + other)));
                let right = middle(&after, half.max(room.saturating_sub(4 + one)));
                format!("{left} -> {right}")
            }
        },
        (None, Some(after)) => format!("+ {}", middle(&after, room.saturating_sub(2))),
        (Some(before), None) => format!("- {}", middle(&before, room.saturating_sub(2))),
        (None, None) => String::new(),
    };
    format!("{}\n", format!("{head}{told}").trim_end())
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
    Some(sanitize(&text.replace('\n', " ")).into_owned())
}

/// Cut in the middle, since both ends tell what it is.
fn middle(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(1);
    let head: String = text.chars().take(keep.div_ceil(2)).collect();
    let tail: String = text.chars().skip(length - keep / 2).collect();
    format!("{head}…{tail}")
}

/// Who was faster, and with what.
pub fn since(system: &str, seen: u64, versions: &[wire::Version], ago: impl Fn(u64) -> String) -> String {
    let mut text = format!("{system} changed under this plan, and nothing was applied. Since version {seen}:\n");
    for version in versions {
        let message = if version.message.is_empty() { String::new() } else { format!(" \"{}\"", version.message) };
        text.push_str(&format!("  version {} by {}, {}{message}\n", version.number, version.by, ago(version.at_ms)));
        for named in &version.named {
            text.push_str(&format!("    {named}\n"));
        }
        if version.more > 0 {
            text.push_str(&format!("    and {}\n", plural(version.more as usize, "change")));
        }
    }
    text.push_str("Plan again, look at it, and apply that.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(act: &str, kind: &str, name: &str, effect: &str) -> wire::Change {
        wire::Change {
            kind: kind.into(),
            name: name.into(),
            act: act.into(),
            effect: effect.into(),
            fields: Vec::new(),
        }
    }

    fn field(path: &str, before: &str, after: &str) -> wire::FieldChange {
        wire::FieldChange { path: path.into(), before_json: before.into(), after_json: after.into() }
    }

    fn plan() -> wire::PlanResponse {
        let mut service = change(
            "update",
            "service",
            "revitron",
            "restarts revitron on 3 nodes, one at a time; accepted; takes effect in a later version",
        );
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        service.fields = vec![
            field("restart.delay", "\"10s\"", "\"20s\""),
            field("env.LOG_LEVEL", "", "\"debug\""),
            field("user", "\"root\"", ""),
            field(
                "release.files.\"config/production.yaml\"",
                &format!("\"files/p@sha256:{old}\""),
                &format!("\"files/p@sha256:{new}\""),
            ),
            field("command", &format!("\"{}\"", "x".repeat(90)), &format!("\"{}\"", "y".repeat(90))),
        ];
        wire::PlanResponse {
            system: "revitron".into(),
            env: "prod".into(),
            seen: 11,
            changes: vec![
                change("delete", "backup", "nightly", "accepted; takes effect in a later version"),
                change("create", "check", "health\u{1b}[2J", "runs on 3 nodes"),
                service,
                change("unchanged", "check", "disk", ""),
            ],
            notes: vec!["no node has role=drill yet: backup revitron".into()],
            ..wire::PlanResponse::default()
        }
    }

    #[test]
    fn a_plan_reads_well_and_fits() {
        let files = FileChanges::from([(("a".repeat(64), "b".repeat(64)), (3, 1))]);
        let text = render(&plan(), &files, &Out::plain(None));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn nothing_to_do_says_so() {
        let mut plan = plan();
        plan.changes.retain(|change| change.act == "unchanged");
        plan.notes.clear();
        assert_eq!(
            render(&plan, &FileChanges::new(), &Out::plain(None)),
            "nothing to do: revitron (prod) is at version 11\n"
        );
    }
}
