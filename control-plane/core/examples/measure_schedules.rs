//! What planning 100,000 schedules costs: one figure a line, a name and a number.
//! `cargo run --release -p hostler-core --example measure_schedules`.
#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "it measures: it reads clocks and its own memory")]

use hostler_core::schedules::{Ledger, Schedule, Timetable};
use hostler_types::Timestamp;
use hostler_types::calendar::{Recurrence, Window};
use hostler_types::cron::Cron;
use hostler_types::spec::{Missed, Overlap, Zone};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SCHEDULES: u64 = 100_000;
const ZONES: [&str; 5] = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"];
/// Wednesday the 4th of March 2026, 00:00:30 UTC: nothing is due.
const START: Timestamp = Timestamp::from_millis(1_772_582_430_000);
const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    calls();
    let before = resident_kib();
    let (mut table, spent) = timed(|| table(&line));
    say("build-ms", millis(spent));
    // The first looks decide nothing and find out when to look next.
    let (decided, most) = ticks(&mut table, START);
    assert_eq!(decided, 0, "nothing is due");
    say("first-tick-ms", millis(most));
    say("resident-mib", (resident_kib() - before) / 1_024.0);
    let idle = (0..1_000).map(|_| timed(|| assert!(table.tick(START).is_empty())).1).max();
    say("idle-tick-us", idle.unwrap_or_default().as_secs_f64() * 1e6);
    let mut now = START;
    for _ in 0..3 {
        now = now.plus(MINUTE);
        let (decided, spent) = timed(|| table.tick(now));
        say("some-due", decided.len() as f64);
        say("some-due-ms", millis(spent));
    }
    // The control plane was away for a day.
    let (decided, most) = ticks(&mut table, now.plus(MINUTE * 1_440));
    say("day-missed", decided as f64);
    say("day-missed-ms", millis(most));
    all_at_once();
}

/// The worst minute: whoever wrote all of them wrote the same.
fn all_at_once() {
    let mut table = table(&|_| "1 0 * * *".to_owned());
    assert_eq!(ticks(&mut table, START).0, 0, "nothing is due");
    for zone in ["UTC", "others"] {
        let now = if zone == "UTC" { START.plus(MINUTE) } else { START.plus(MINUTE * 1_441) };
        let (decided, most) = ticks(&mut table, now);
        say(&format!("all-due-{zone}"), decided as f64);
        say(&format!("all-due-{zone}-ms"), millis(most));
    }
}

/// Until nothing more is due: how much was decided, and what the longest tick took.
fn ticks(table: &mut Timetable<String>, now: Timestamp) -> (usize, Duration) {
    let (mut count, mut most) = (0, Duration::ZERO);
    while table.next_deadline().is_some_and(|at| at <= now) {
        let (decided, spent) = timed(|| table.tick(now));
        (count, most) = (count + decided.len(), most.max(spent));
    }
    (count, most)
}

/// Each at its own minute of the day; a few are intervals.
fn line(number: u64) -> String {
    let (minute, hour) = (number * 7 % 60, number / 60 % 24);
    match number % 100 {
        0 => "*/15 * * * *".to_owned(),
        1..=10 => format!("{minute} * * * *"),
        11..=30 => format!("{minute} {hour} * * mon-fri"),
        31..=40 => format!("{minute} {hour} 1,15 * *"),
        _ => format!("{minute} {hour} * * *"),
    }
}

fn recurrence(line: &str, zone: &str) -> Recurrence {
    Recurrence::new(Cron::parse(line).expect("a line"), &Zone(zone.to_owned())).expect("a zone")
}

fn table(line: &dyn Fn(u64) -> String) -> Timetable<String> {
    let hour = MINUTE * 60;
    let window = Arc::new(Window::new(recurrence("0 20 * * mon-thu", "Europe/Berlin"), hour * 4, MINUTE * 45));
    let mut table = Timetable::default();
    for number in 0..SCHEDULES {
        let zone = ZONES.get(number as usize % ZONES.len()).expect("a zone");
        let schedule = Schedule {
            recurrence: recurrence(&line(number), zone),
            window: number.is_multiple_of(10).then(|| Arc::clone(&window)),
            missed: [Missed::Once, Missed::Skip, Missed::All].into_iter().nth(number as usize % 3).expect("three"),
            deadline: hour,
            overlap: Overlap::Forbid,
            hold: None,
            since: START,
        };
        table.insert(format!("system{}/schedule{number}", number % 500), schedule, Ledger::default());
    }
    table
}

/// One question at a time.
fn calls() {
    for (name, line) in [("daily", "30 2 * * *"), ("quarters", "*/15 * * * *"), ("leap-day", "0 0 29 2 *")] {
        let recurrence = recurrence(line, "Europe/Berlin");
        let (count, spent) = timed(|| {
            let asked = (0..1_000_000_u64).map(|number| START.plus(Duration::from_secs(number * 317)));
            asked.filter_map(|at| std::hint::black_box(recurrence.next_after(at))).count()
        });
        say(&format!("next-{name}-ns"), spent.as_secs_f64() * 1e9 / count as f64);
    }
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = act();
    (result, started.elapsed())
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn say(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
