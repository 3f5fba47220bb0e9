//! Runs for people. Identical outputs are told once.

use super::super::why::at_right;
use crate::output::{Out, Tone, plural};
use hostler_proto::admin as wire;
use hostler_types::TaskState;
use hostler_types::terminal::sanitize;
use hostler_types::units::{format_duration, format_size};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

const NAMES_SHOWN: usize = 8;
/// Of one output; `run show` has all that was kept.
const LINES_SHOWN: usize = 40;
const BAR: usize = 20;

/// `uptime on 6 nodes, all at once.`
pub fn question(run: &wire::Run) -> String {
    let pace = match run.max {
        1 => "one at a time".to_owned(),
        max if max >= run.nodes => "all at once".to_owned(),
        max => format!("{max} at a time"),
    };
    let canary = if run.canary > 0 { format!(", {} first", run.canary) } else { String::new() };
    format!("{} on {}, {pace}{canary}.", sanitize(&run.title), plural(run.nodes as usize, "node"))
}

pub fn would(run: &wire::Run, tasks: &[wire::RunTask], warnings: &[String]) -> String {
    let mut text = format!("{}  Nothing was done.\n", question(run));
    for step in &run.steps {
        text.push_str(&format!("  step   {}\n", sanitize(step)));
    }
    for path in &run.fetch {
        text.push_str(&format!("  fetch  {}\n", sanitize(path)));
    }
    text.push_str(&format!("  nodes  {}\n", sanitize(&names(tasks.iter().map(|task| task.node.as_str())))));
    for warning in warnings {
        text.push_str(&format!("  note   {}\n", sanitize(warning)));
    }
    text
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    let shown = all.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(NAMES_SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

/// A newer control plane may know more of them.
fn word(state: &str) -> (Cow<'_, str>, Tone) {
    let (word, tone) = match state {
        "succeeded" => ("ok", Tone::Good),
        "failed" | "timed-out" | "interrupted" | "refused" | "lost" => (state, Tone::Bad),
        "undelivered" | "skipped" | "cancelled" => (state, Tone::Uneasy),
        other => (other, Tone::Faint),
    };
    (sanitize(word), tone)
}

fn is_over(state: &str) -> bool {
    state.parse::<TaskState>().is_ok_and(TaskState::is_over)
}

/// What is told of one node as it goes: that it waits and for what, and how it ended
/// where it printed nothing of its own.
pub fn step(
    out: &Out,
    number: u64,
    task: &wire::RunTask,
    before: Option<&wire::RunTask>,
    all: &BTreeMap<String, wire::RunTask>,
) -> String {
    let held_before = before.map(|before| before.held.as_str()).unwrap_or_default();
    let was_over = before.is_some_and(|before| is_over(&before.state));
    let (word, tone, words) = if is_over(&task.state) && !was_over {
        if task.state == "skipped" || !task.output.is_empty() {
            return String::new();
        }
        let (word, tone) = word(&task.state);
        (word, tone, after(task))
    } else if !task.held.is_empty() && task.held != held_before {
        ("held".into(), Tone::Uneasy, task.held.clone())
    } else {
        return String::new();
    };
    let width = all.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    let gap = " ".repeat("failed".len().saturating_sub(word.len()) + 2);
    let line =
        format!("run {number}  {:<width$}  {}{gap}{}", sanitize(&task.node), out.paint(&word, tone), sanitize(&words));
    format!("{}\n", line.trim_end())
}

/// Its words, and how long it took.
fn after(task: &wire::RunTask) -> String {
    let took = task.at_ms.saturating_sub(task.began_ms);
    match task.began_ms {
        0 => task.words.clone(),
        _ if task.words.is_empty() => format!("in {}", seconds(took)),
        _ => format!("{}, in {}", task.words, seconds(took)),
    }
}

fn seconds(ms: u64) -> String {
    if ms < 60_000 { format!("{:.1} s", ms as f64 / 1000.0) } else { format_duration(Duration::from_secs(ms / 1000)) }
}

/// `37 hosts said:`, once for each different output; then those that came to no good end.
pub fn said(out: &Out, number: u64, tasks: &[wire::RunTask]) -> String {
    let mut groups: BTreeMap<(&str, &str, &str, u64), Vec<&wire::RunTask>> = BTreeMap::new();
    for task in tasks.iter().filter(|task| !task.output.is_empty()) {
        let words = if task.state == "succeeded" { "" } else { task.words.as_str() };
        groups.entry((&task.state, words, &task.output, task.output_cut_bytes)).or_default().push(task);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    // The good ones first, and the most common of them.
    groups.sort_by_key(|((state, ..), tasks)| (*state != "succeeded", std::cmp::Reverse(tasks.len())));
    let mut text = String::new();
    for ((state, words, output, cut), tasks) in groups {
        let who = sanitize(&names(tasks.iter().map(|task| task.node.as_str()))).into_owned();
        let (words, (told, tone)) = (sanitize(words), word(state));
        let head = match (tasks.len(), state) {
            (1, "succeeded") => format!("{who} said:"),
            (count, "succeeded") => format!("{count} hosts said ({who}):"),
            (1, _) => format!("{who} {}: {words}", out.paint(&told, tone)),
            (count, _) => format!("{count} hosts {} ({who}): {words}", out.paint(&told, tone)),
        };
        text.push_str(&format!("{head}\n"));
        if cut > 0 {
            text.push_str(&format!("  ({cut} bytes before this were left out)\n"));
        }
        let lines: Vec<&str> = output.lines().collect();
        let hidden = lines.len().saturating_sub(LINES_SHOWN);
        if hidden > 0 {
            text.push_str(&format!("  ({hidden} lines more: hostlerctl run show {number})\n"));
        }
        for line in lines.iter().skip(hidden) {
            text.push_str(&format!("  {}\n", sanitize(line)));
        }
    }
    text
}

pub fn tally(run: &wire::Run) -> String {
    let mut parts = Vec::new();
    for state in TaskState::ALL {
        if let Some(count) = run.tasks.get(state.word()).filter(|count| **count > 0) {
            parts.push(format!("{count} {}", word(state.word()).0));
        }
    }
    parts.join(", ")
}

pub fn progress(run: &wire::Run) -> String {
    let over: u32 = run.tasks.iter().filter(|(state, _)| is_over(state)).map(|(_, count)| *count).sum();
    let full = (over as usize * BAR).checked_div(run.nodes as usize).unwrap_or_default();
    let bar = format!("{}{}", "=".repeat(full.min(BAR)), " ".repeat(BAR.saturating_sub(full)));
    format!("run {}  [{bar}] {over} of {}: {}", run.number, run.nodes, tally(run))
}

/// `run 7 failed in 9.2 s: 4 ok, 1 failed.  Again there: hostlerctl run retry 7`
pub fn ended(run: &wire::Run, tasks: &[wire::RunTask]) -> String {
    let took = seconds(run.ended_ms.saturating_sub(run.at_ms));
    let why =
        if run.words.is_empty() || run.state == "succeeded" { String::new() } else { format!(" ({})", run.words) };
    let number = run.number;
    let again = tasks.iter().any(|task| task.state != "succeeded");
    let next = if again { format!("  Again there: hostlerctl run retry {number}") } else { String::new() };
    format!("run {number} {} in {took}: {}{}.{next}\n", sanitize(&run.state), tally(run), sanitize(&why))
}

pub fn controlled(run: &wire::Run) -> String {
    let number = run.number;
    let next = match run.state.as_str() {
        "paused" => format!("  Go on: hostlerctl run resume {number}"),
        "running" | "stopping" | "aborting" => format!("  Follow it: hostlerctl run watch {number}"),
        _ => String::new(),
    };
    format!("run {number} is {}: {}.{next}", sanitize(&run.state), tally(run))
}

/// All that is kept of it.
pub fn shown(out: &Out, answer: &wire::GetRunResponse) -> String {
    let run = answer.run.clone().unwrap_or_default();
    let mut text =
        format!("run {}  {}  {}\n", run.number, out.paint(&sanitize(&run.state), Tone::Plain), sanitize(&run.title));
    let mut line = |label: &str, words: String| {
        if !words.is_empty() {
            text.push_str(&format!("  {label:<9}{}\n", sanitize(&words)));
        }
    };
    line("by", if run.reason.is_empty() { run.by.clone() } else { format!("{}, \"{}\"", run.by, run.reason) });
    line("chosen", run.chosen.clone());
    for step in &run.steps {
        line("step", step.clone());
    }
    for path in &run.fetch {
        line("fetch", path.clone());
    }
    line("from", run.origin.clone());
    line("why", run.words.clone());
    for held in &run.held {
        line("held", held.clone());
    }
    text.push_str(&story(&answer.notes));
    let width = answer.tasks.iter().map(|task| task.node.chars().count()).max().unwrap_or_default();
    for task in &answer.tasks {
        let (word, tone) = word(&task.state);
        let words = if task.held.is_empty() { after(task) } else { format!("held: {}", task.held) };
        let one = format!("{:<width$}  {}  {}", sanitize(&task.node), out.paint(&word, tone), sanitize(&words));
        text.push_str(&format!("{}\n", one.trim_end()));
        for printed in task.output.lines() {
            text.push_str(&format!("    {}\n", sanitize(printed)));
        }
        for file in &task.files {
            text.push_str(&format!("    file {}\n", sanitize(&stands(file))));
        }
    }
    text
}

/// `report.txt, 12 KiB`, or why it is not here.
fn stands(file: &wire::RunFile) -> String {
    match file.words.as_str() {
        "" => format!("{}, {}", file.path, format_size(file.size_bytes)),
        words => format!("{}: {words}", file.path),
    }
}

/// `run 7: restart hello, by admin, "new certificate"`, and what was decided.
pub fn why(answer: &wire::GetRunResponse) -> String {
    let run = answer.run.clone().unwrap_or_default();
    let reason = if run.reason.is_empty() { String::new() } else { format!(", \"{}\"", run.reason) };
    let head = format!("run {}: {}, by {}{reason}", run.number, run.title, run.by);
    let mut text = format!("{}\n{}", sanitize(&head), story(&answer.notes));
    for held in &run.held {
        text.push_str(&format!("now       held    {}\n", sanitize(held)));
    }
    let bad = answer.tasks.iter().filter(|task| is_over(&task.state) && task.state != "succeeded");
    for task in bad.take(NAMES_SHOWN) {
        let line = format!("{:<9} {}  {}", task.node, word(&task.state).0, after(task));
        text.push_str(&format!("{}\n", sanitize(&line)));
    }
    text
}

/// What was decided, with the place of its rule at the right.
fn story(notes: &[wire::RunNote]) -> String {
    let width = notes.iter().map(|note| note.node.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for note in notes {
        let at = hostler_types::Timestamp::from_millis(note.at_ms).to_string();
        let time: String = at.chars().skip(11).take(8).collect();
        let node = if width == 0 || note.node.is_empty() { String::new() } else { format!("{:<width$}  ", note.node) };
        let left = format!("{time}  {:<7} {node}{}", note.what, note.words);
        text.push_str(&at_right(&left, &note.origin));
    }
    text
}
