//! Schedules for people. Times are those of the schedule's own zone.

use super::super::why::at_right;
use crate::output::{Cell, Out, Tone, plural};
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::calendar::{Recurrence, When, in_words};
use hostler_types::spec::Zone;
use hostler_types::terminal::sanitize;
use hostler_types::units::format_duration;
use std::time::Duration;

const FIRES_SHOWN: usize = 10;

/// On one line.
fn clean(text: &str) -> String {
    sanitize(text).replace(['\n', '\r'], " ")
}

/// Times of one schedule, as its zone's wall shows them.
struct Clock {
    recurrence: Option<Recurrence>,
    /// `Tue 20:00 Europe/Berlin`, or `every 6h`.
    due: String,
    zone: String,
    now: Timestamp,
}

impl Clock {
    fn of(one: &wire::Schedule, now_ms: u64) -> Self {
        let when = When::parse(&one.when).ok();
        let words = when.as_ref().map_or_else(|| one.when.clone(), When::words);
        let due = if matches!(when, Some(When::Every(_))) { words } else { format!("{words} {}", one.zone) };
        let recurrence = when.and_then(|when| Recurrence::new(when, &Zone(one.zone.clone())).ok());
        Self { recurrence, due, zone: one.zone.clone(), now: Timestamp::from_millis(now_ms) }
    }

    /// `Tue 24 Nov 20:00`.
    fn say(&self, at_ms: u64) -> String {
        let at = Timestamp::from_millis(at_ms);
        // A newer control plane may know more zones.
        let Some(recurrence) = &self.recurrence else { return at.to_string() };
        let said = recurrence.say(at, self.now);
        said.strip_suffix(recurrence.zone()).map_or(said.clone(), |said| said.trim_end().to_owned())
    }

    /// `in 2 d 4 h`, `3 m ago`.
    fn away(&self, at_ms: u64) -> String {
        let at = Timestamp::from_millis(at_ms);
        if at >= self.now {
            return format!("in {}", in_words(at.since(self.now)));
        }
        format!("{} ago", in_words(self.now.since(at)))
    }

    fn when(&self, at_ms: u64) -> String {
        format!("{}, {}", self.say(at_ms), self.away(at_ms))
    }
}

/// `run/12 succeeded`, or why there is none.
fn became(fire: &wire::ScheduleFire) -> String {
    match fire.run {
        0 if fire.words.is_empty() => "nothing is known of it".to_owned(),
        0 if fire.words.starts_with("waits: ") => fire.words.clone(),
        0 => format!("did not run: {}", fire.words),
        run if fire.run_state.is_empty() => format!("run/{run}"),
        run => format!("run/{run} {}", fire.run_state),
    }
}

fn tone(fire: &wire::ScheduleFire) -> Tone {
    match (fire.run, fire.run_state.as_str()) {
        (0, _) => Tone::Uneasy,
        (_, "succeeded") => Tone::Good,
        (_, "failed") => Tone::Bad,
        (_, "aborted") => Tone::Uneasy,
        _ => Tone::Plain,
    }
}

pub fn listed(out: &Out, answer: &wire::ListSchedulesResponse) -> String {
    if answer.schedules.is_empty() {
        return "no schedule is applied.  What one is: hostlerctl explain schedule\n".to_owned();
    }
    let row = |one: &wire::Schedule| {
        let clock = Clock::of(one, answer.wall_ms);
        let next = match (one.held.is_empty(), one.next_ms) {
            (false, _) => Cell::new(if one.paused { "paused" } else { "held" }).tone(Tone::Uneasy),
            (true, 0) => Cell::new("-"),
            (true, next) => Cell::new(clock.when(next)),
        };
        let last = match &one.last {
            Some(fire) => Cell::new(format!("{}, {}", became(fire), clock.away(fire.due_ms))).tone(tone(fire)),
            None => Cell::new("-"),
        };
        vec![Cell::new(&one.name), Cell::new(&clock.due), next, last, Cell::new(&one.does)]
    };
    let rows: Vec<Vec<Cell>> = answer.schedules.iter().map(row).collect();
    let mut text = out.table(&["NAME", "WHEN", "NEXT", "LAST", "DOES"], &rows);
    for one in &answer.schedules {
        text.push_str(&stands(one));
    }
    text
}

/// Why nothing of it runs, where that is so.
fn stands(one: &wire::Schedule) -> String {
    let mut text = String::new();
    let name = clean(&one.name);
    if !one.held.is_empty() {
        let undo = if one.paused { format!("  Undo: hostlerctl schedule resume {name}") } else { String::new() };
        text.push_str(&format!("{name} is {}: what is due meanwhile does not run.{undo}\n", clean(&one.held)));
    }
    if !one.problem.is_empty() {
        text.push_str(&format!("{name} does nothing when it is due: {}\n", clean(&one.problem)));
    }
    text
}

/// `Tue 20:00 Europe/Berlin (0 20 * * tue)`
fn due(one: &wire::Schedule, clock: &Clock) -> String {
    if clock.due.starts_with(&one.when) { clock.due.clone() } else { format!("{} ({})", clock.due, one.when) }
}

pub fn shown(answer: &wire::GetScheduleResponse) -> String {
    let one = answer.schedule.clone().unwrap_or_default();
    let clock = Clock::of(&one, answer.wall_ms);
    let mut text = format!("{}  {}\n", clean(&one.name), clean(&one.does));
    let mut line = |label: &str, words: String| {
        if !words.is_empty() {
            text.push_str(&format!("  {label:<9}{}\n", clean(&words)));
        }
    };
    line("due", due(&one, &clock));
    line("window", one.window.clone());
    let late = format_duration(Duration::from_millis(one.deadline_ms));
    let missed = match one.missed.as_str() {
        "skip" => "skip: left out".to_owned(),
        "once" => format!("once: one stands for all, up to {late} late"),
        "all" => format!("all: each is made up for, up to {late} late"),
        other => other.to_owned(),
    };
    line("missed", missed);
    line("overlap", one.overlap.clone());
    line("offline", one.offline.clone());
    if one.jitter_ms > 0 {
        line("jitter", format_duration(Duration::from_millis(one.jitter_ms)));
    }
    line("tell", one.tell.join(", "));
    line("system", one.system.clone());
    line("from", one.origin.clone());
    for (index, next) in answer.next.iter().enumerate() {
        line(if index == 0 { "next" } else { "" }, next_words(&clock, next));
    }
    text.push_str(&stands(&one));
    text.push_str(&fires(answer, &clock));
    text
}

fn next_words(clock: &Clock, due: &wire::ScheduleDue) -> String {
    let moved = if due.moved { "  (clocks are put forward over its time: right after that)" } else { "" };
    format!("{}{moved}", clock.when(due.at_ms))
}

fn fires(answer: &wire::GetScheduleResponse, clock: &Clock) -> String {
    if answer.fires.is_empty() {
        return "it was not due yet, since it was applied\n".to_owned();
    }
    let mut text = String::new();
    for fire in answer.fires.iter().take(FIRES_SHOWN) {
        let words = if fire.run != 0 && !fire.words.is_empty() { format!("  {}", fire.words) } else { String::new() };
        text.push_str(&format!("{}\n", clean(&format!("{}  {}{words}", times(fire, clock), became(fire)))));
    }
    let more = answer.fires.len().saturating_sub(FIRES_SHOWN);
    if more > 0 {
        text.push_str(&format!("{} more: -o json\n", plural(more, "line")));
    }
    text
}

/// `Tue 24 Nov 20:00`, or from when to when so many were due.
fn times(fire: &wire::ScheduleFire, clock: &Clock) -> String {
    match fire.count {
        0 | 1 => clock.say(fire.due_ms),
        count => format!("{} to {} ({count} times)", clock.say(fire.first_ms), clock.say(fire.due_ms)),
    }
}

pub fn next(answer: &wire::GetScheduleResponse) -> String {
    let one = answer.schedule.clone().unwrap_or_default();
    let clock = Clock::of(&one, answer.wall_ms);
    let mut text = format!("{}  {}\n", clean(&one.name), clean(&due(&one, &clock)));
    for due in &answer.next {
        text.push_str(&format!("  {}\n", clean(&next_words(&clock, due))));
    }
    if answer.next.is_empty() && one.problem.is_empty() {
        text.push_str("  it never comes again\n");
    }
    text + &stands(&one)
}

pub fn set(one: &wire::Schedule, now_ms: u64) -> String {
    let name = clean(&one.name);
    if one.paused {
        return format!(
            "{name} is {}.  What is due meanwhile does not run, and is not made up for.\n\
             Undo: hostlerctl schedule resume {name}\n",
            clean(&one.held)
        );
    }
    let clock = Clock::of(one, now_ms);
    let next = match one.next_ms {
        0 => "it never comes again".to_owned(),
        next => format!("next {} {}, {}", clock.say(next), clock.zone, clock.away(next)),
    };
    let held = if one.held.is_empty() { String::new() } else { format!("  It is {} still.", clean(&one.held)) };
    format!("{name} goes on: {}.{}\n", clean(&next), held)
}

/// What was due, what became of it, and why.
pub fn why(answer: &wire::GetScheduleResponse) -> String {
    let one = answer.schedule.clone().unwrap_or_default();
    let clock = Clock::of(&one, answer.wall_ms);
    let head = format!("schedule {}: {}, {}", one.name, one.does, due(&one, &clock));
    let mut text = at_right(&clean(&head), &clean(&one.origin));
    text.push_str(&stands(&one));
    for fire in &answer.fires {
        let line = format!("{}  {}", times(fire, &clock), became(fire));
        text.push_str(&format!("{}\n", clean(&line)));
        if fire.run != 0 && !fire.words.is_empty() {
            text.push_str(&format!("  {}\n", clean(&fire.words)));
        }
    }
    if answer.fires.is_empty() {
        text.push_str("it was not due yet, since it was applied\n");
    }
    if let Some(fire) = answer.fires.iter().find(|fire| fire.run != 0) {
        text.push_str(&format!("what was decided on its nodes: hostlerctl why run/{}\n", fire.run));
    }
    if let Some(due) = answer.next.first().filter(|_| one.held.is_empty() && one.problem.is_empty()) {
        text.push_str(&format!("next: {}\n", clean(&next_words(&clock, due))));
    }
    text
}
