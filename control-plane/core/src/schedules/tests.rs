use super::timetable::LOOKS_MAX;
use super::*;
use hostler_types::cron::Cron;
use hostler_types::spec::Zone;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Sunday the 1st of March 2026, midnight in UTC.
pub(super) const START: Timestamp = Timestamp::from_millis(1_772_323_200_000);

pub(super) fn recurrence(line: &str) -> Recurrence {
    Recurrence::new(Cron::parse(line).unwrap(), &Zone::utc()).unwrap()
}

pub(super) fn schedule(line: &str) -> Schedule {
    Schedule {
        recurrence: recurrence(line),
        window: None,
        missed: Missed::Once,
        deadline: HOUR,
        overlap: Overlap::Forbid,
        hold: None,
        since: START,
    }
}

pub(super) fn window(line: &str, lasts: Duration, cutoff: Duration) -> Option<Arc<Window>> {
    Some(Arc::new(Window::new(recurrence(line), lasts, cutoff)))
}

/// One schedule over time, and its runs.
struct Story {
    table: Timetable<&'static str>,
    now: Timestamp,
}

impl Story {
    fn of(schedule: Schedule) -> Self {
        let mut table = Timetable::default();
        table.insert("it", schedule, Ledger::default());
        let mut story = Self { table, now: START };
        assert_eq!(story.tick(Duration::ZERO), "");
        story
    }

    /// The clock goes on, and somebody looks: only once, as after an outage.
    fn tick(&mut self, span: Duration) -> String {
        self.now = self.now.plus(span);
        self.look()
    }

    fn back(&mut self, span: Duration) -> String {
        self.now = self.now.minus(span);
        self.look()
    }

    fn look(&mut self) -> String {
        let decisions: Vec<Decision> = self.table.tick(self.now).into_iter().map(|(_, decision)| decision).collect();
        self.say(&decisions)
    }

    fn say(&self, decisions: &[Decision]) -> String {
        let recurrence = &self.table.schedule(&"it").unwrap().recurrence;
        let time = |at: Timestamp| {
            let minutes = at.since(START).as_secs() / 60;
            format!("{}d{:02}:{:02}", minutes / 1_440, minutes / 60 % 24, minutes % 60)
        };
        let words = decisions.iter().map(|decision| match decision {
            Decision::Fire { at, late_by, replaces, until } => {
                let late = if late_by.is_zero() { String::new() } else { format!(" late {}s", late_by.as_secs()) };
                let replaces: String = replaces.iter().map(|old| format!(" for {}", time(*old))).collect();
                let until = until.map(|until| format!(" until {}", time(until))).unwrap_or_default();
                format!("fire {}{late}{replaces}{until}", time(*at))
            }
            Decision::Wait { at, delay } => format!("wait {}: {}", time(*at), delay.words(recurrence, self.now)),
            Decision::Skip { fires: Fires { first, last, count }, reason } => {
                let span = if first == last { time(*first) } else { format!("{}..{}", time(*first), time(*last)) };
                format!("skip {count} {span}: {}", reason.words(recurrence, self.now))
            }
        });
        words.collect::<Vec<_>>().join("; ")
    }

    fn finished(&mut self, fire: Duration) {
        self.table.finished(&"it", START.plus(fire));
    }

    fn change(&mut self, change: impl FnOnce(&mut Schedule)) -> String {
        let mut schedule = self.table.schedule(&"it").unwrap().clone();
        schedule.since = self.now;
        change(&mut schedule);
        let decisions = self.table.change(&"it", schedule, self.now);
        self.say(&decisions)
    }
}

#[test]
fn what_is_due_fires_once_and_a_little_late_is_not_missed() {
    let mut story = Story::of(Schedule { missed: Missed::Skip, ..schedule("0 * * * *") });
    assert_eq!(story.tick(HOUR - TICK), "");
    assert_eq!(story.tick(TICK), "fire 0d01:00");
    assert_eq!(story.tick(Duration::ZERO), "");
    story.finished(HOUR);
    assert_eq!(story.tick(HOUR + 59 * MINUTE / 60), "fire 0d02:00 late 59s");
    story.finished(HOUR * 2);
    assert_eq!(story.tick(HOUR + MINUTE), "skip 1 0d03:00: missed by 1 m 59 s; it says missed: skip");
    assert_eq!(story.table.next_deadline(), Some(START.plus(4 * HOUR)));
}

#[test]
fn of_missed_ones_as_many_are_made_up_for_as_it_says() {
    let after = |missed, deadline, span| {
        let overlap = Overlap::Allow;
        Story::of(Schedule { missed, deadline, overlap, ..schedule("0 * * * *") }).tick(span)
    };
    let late = 5 * HOUR + 10 * MINUTE;
    assert_eq!(after(Missed::Skip, DAY, late), "skip 5 0d01:00..0d05:00: missed by 10 m; it says missed: skip");
    assert_eq!(
        after(Missed::Once, DAY, late),
        "skip 4 0d01:00..0d04:00: the one of Sun 1 Mar 05:00 UTC stands for it; fire 0d05:00 late 600s"
    );
    assert_eq!(after(Missed::Once, 5 * MINUTE, late), "skip 5 0d01:00..0d05:00: 10 m late, and its deadline is 5 m");
    assert_eq!(
        after(Missed::All, 2 * HOUR, late),
        "skip 3 0d01:00..0d03:00: 2 h 10 m late, and its deadline is 2 h; fire 0d04:00 late 4200s; fire 0d05:00 late 600s"
    );
    let many = after(Missed::All, 30 * DAY, 10 * DAY);
    assert!(many.starts_with("skip 140 0d01:00..5d20:00: more than 100 were missed; the newest"), "{many}");
    assert_eq!(many.matches("fire").count(), MADE_UP_MAX);
}

#[test]
fn what_still_runs_is_not_disturbed_unless_it_says_so() {
    let overlap = |overlap| Story::of(Schedule { overlap, ..schedule("0 * * * *") });
    let mut forbid = overlap(Overlap::Forbid);
    assert_eq!(forbid.tick(HOUR), "fire 0d01:00");
    assert_eq!(forbid.tick(HOUR), "skip 1 0d02:00: the one of Sun 1 Mar 01:00 UTC still runs; it says overlap: forbid");
    let mut allow = overlap(Overlap::Allow);
    assert_eq!(allow.tick(HOUR), "fire 0d01:00");
    assert_eq!(allow.tick(HOUR), "fire 0d02:00");
    let mut replace = overlap(Overlap::Replace);
    assert_eq!(replace.tick(HOUR), "fire 0d01:00");
    assert_eq!(replace.tick(HOUR), "fire 0d02:00 for 0d01:00");
    assert_eq!(replace.table.ledger(&"it").unwrap().running, BTreeSet::from([START.plus(2 * HOUR)]));
}

#[test]
fn each_that_is_made_up_for_waits_for_the_one_before() {
    let mut story = Story::of(Schedule { missed: Missed::All, deadline: 5 * HOUR, ..schedule("0 * * * *") });
    assert_eq!(
        story.tick(3 * HOUR),
        "fire 0d01:00 late 7200s; wait 0d02:00: the one of Sun 1 Mar 01:00 UTC still runs; \
         wait 0d03:00: the one of Sun 1 Mar 01:00 UTC still runs"
    );
    assert_eq!(story.tick(MINUTE), "");
    story.finished(HOUR);
    assert_eq!(story.tick(MINUTE), "fire 0d02:00 late 3720s");
    assert_eq!(story.tick(HOUR), "wait 0d04:00: the one of Sun 1 Mar 02:00 UTC still runs");
    // It never ends: whoever waits is told when its deadline has passed.
    assert_eq!(story.table.next_deadline(), Some(START.plus(5 * HOUR)));
    story.tick(58 * MINUTE);
    let deadline = story.tick(3 * HOUR + TICK);
    assert!(deadline.contains("skip 1 0d03:00: 5 h late, and its deadline is 5 h"), "{deadline}");
}

#[test]
fn a_fire_waits_for_its_window_within_its_deadline() {
    let evening = window("0 20 * * *", 4 * HOUR, HOUR);
    let deadline = 3 * HOUR;
    let mut story = Story::of(Schedule { window: evening, deadline, ..schedule("0 12,18 * * *") });
    assert_eq!(
        story.tick(12 * HOUR),
        "skip 1 0d12:00: its window is closed until Sun 1 Mar 20:00 UTC, and its deadline is 3 h"
    );
    assert_eq!(story.tick(6 * HOUR), "wait 0d18:00: its window opens Sun 1 Mar 20:00 UTC, in 2 h");
    assert_eq!(story.table.next_deadline(), Some(START.plus(20 * HOUR)));
    assert_eq!(story.tick(2 * HOUR), "fire 0d18:00 late 7200s until 0d23:00");
}

#[test]
fn nothing_starts_after_the_cutoff() {
    let evening = window("0 20 * * *", 4 * HOUR, HOUR);
    let all = |line| Schedule { window: evening.clone(), overlap: Overlap::Allow, ..schedule(line) };
    let mut story = Story::of(all("59 22 * * *"));
    assert_eq!(story.tick(22 * HOUR + 59 * MINUTE), "fire 0d22:59 until 0d23:00");
    let closed = ": its window is closed until Mon 2 Mar 20:00 UTC, and its deadline is 1 h";
    assert_eq!(Story::of(all("0 23 * * *")).tick(23 * HOUR), format!("skip 1 0d23:00{closed}"));
    let mut missed = Story::of(all("59 22 * * *"));
    assert_eq!(missed.tick(23 * HOUR + MINUTE), format!("skip 1 0d22:59{closed}"));
}

#[test]
fn of_those_that_wait_for_a_window_the_newest_stands_for_all() {
    let evening = window("0 20 * * *", 4 * HOUR, HOUR);
    let mut story = Story::of(Schedule { window: evening, deadline: DAY, ..schedule("0 18,19 * * *") });
    assert_eq!(story.tick(18 * HOUR), "wait 0d18:00: its window opens Sun 1 Mar 20:00 UTC, in 2 h");
    assert_eq!(
        story.tick(HOUR),
        "skip 1 0d18:00: the one of Sun 1 Mar 19:00 UTC stands for it; \
         wait 0d19:00: its window opens Sun 1 Mar 20:00 UTC, in 1 h"
    );
    assert_eq!(story.tick(HOUR), "fire 0d19:00 late 3600s until 0d23:00");
}

#[test]
fn what_passes_while_it_is_paused_is_told_once_and_not_made_up_for() {
    let mut story = Story::of(schedule("*/10 * * * *"));
    let hold = Hold::Paused { by: "jane".to_owned() };
    assert_eq!(story.change(|schedule| schedule.hold = Some(hold)), "");
    assert_eq!(story.tick(HOUR - MINUTE), "skip 5 0d00:10..0d00:50: paused by jane");
    assert_eq!(story.tick(30 * MINUTE), "");
    assert_eq!(story.change(|schedule| schedule.hold = None), "skip 3 0d01:00..0d01:20: paused by jane");
    assert_eq!(story.tick(MINUTE), "fire 0d01:30");
}

#[test]
fn a_freeze_takes_what_waits() {
    let evening = window("0 20 * * *", 4 * HOUR, HOUR);
    let mut story = Story::of(Schedule { window: evening, deadline: DAY, ..schedule("0 18 * * *") });
    story.tick(18 * HOUR);
    let hold = Hold::Frozen { by: "jane".to_owned(), reason: "the fair".to_owned() };
    story.change(|schedule| schedule.hold = Some(hold));
    assert_eq!(story.tick(HOUR), "skip 1 0d18:00: frozen by jane: the fair");
    story.change(|schedule| schedule.hold = None);
    assert_eq!(story.tick(2 * HOUR), "");
}

#[test]
fn what_was_due_before_it_was_made_or_changed_is_not_its_own() {
    let mut story = Story::of(Schedule { since: START.plus(90 * MINUTE), ..schedule("0 * * * *") });
    assert_eq!(story.tick(2 * HOUR), "fire 0d02:00");
    story.finished(2 * HOUR);
    story.tick(30 * MINUTE);
    assert_eq!(story.change(|schedule| schedule.recurrence = recurrence("15 * * * *")), "");
    assert_eq!(story.tick(MINUTE), "");
    assert_eq!(story.tick(44 * MINUTE), "fire 0d03:15");
}

#[test]
fn a_clock_that_jumps_fires_nothing_twice() {
    for jump in [HOUR, DAY] {
        let mut story = Story::of(Schedule { overlap: Overlap::Allow, ..schedule("0 * * * *") });
        assert_eq!(story.tick(HOUR), "fire 0d01:00");
        assert_eq!(story.back(jump), "");
        // All that was decided passes once more.
        assert_eq!(story.tick(jump - MINUTE), "");
        assert_eq!(story.tick(MINUTE), "");
        assert_eq!(story.tick(HOUR), "fire 0d02:00");
        // Forward: what was left out counts as missed.
        let forward = story.tick(jump + 30 * MINUTE);
        assert_eq!(forward.matches("fire").count(), 1, "{forward}");
        // And back to where it was.
        assert_eq!(story.back(jump), "");
        assert_eq!(story.tick(jump), "");
        assert_eq!(story.tick(30 * MINUTE).matches("fire").count(), 1);
    }
}

#[test]
fn a_timetable_keeps_no_looks_that_do_not_count() {
    let mut table = Timetable::default();
    for round in 0..1_000_u64 {
        table.insert(7, schedule("0 * * * *"), Ledger::default());
        table.change(&7, schedule("* * * * *"), START.plus(MINUTE * (round as u32)));
        table.insert(8, schedule("0 * * * *"), Ledger::default());
        table.remove(&8);
    }
    assert_eq!((table.len(), table.ledger(&8)), (1, None));
    assert_eq!(table.next_deadline(), Some(Timestamp::default()));
    assert_eq!(table.tick(START.plus(DAY)).len(), 2);
    assert!(table.next_deadline().is_some_and(|next| next > START.plus(DAY)));
}

#[test]
fn what_one_tick_leaves_the_next_one_takes() {
    let mut table = Timetable::default();
    let many = 2 * LOOKS_MAX + 1;
    (0..many).for_each(|key| table.insert(key, schedule("0 * * * *"), Ledger::default()));
    let looks = |table: &mut Timetable<usize>, now: Timestamp| {
        let mut all = Vec::new();
        while table.next_deadline().is_some_and(|at| at <= now) {
            all.push(table.tick(now).len());
        }
        all
    };
    assert_eq!(looks(&mut table, START), [0, 0, 0]);
    let now = START.plus(HOUR);
    assert_eq!(looks(&mut table, now), [LOOKS_MAX, LOOKS_MAX, 1]);
    assert_eq!(table.tick(now).len(), 0, "once each");
}
