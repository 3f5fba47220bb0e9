//! What a look at a schedule decides: which of its fires run, wait, or are left out, and
//! why. [`timetable`] says which schedules to look at, and when.
//!
//! A fire is known by its schedule and the time that it is due at, and runs once at most:
//! its time is below the **ledger**'s mark from the moment something is decided about it.
//! So a clock that is put back fires nothing again, and a restart nothing twice, if the
//! ledger is kept in the same commit as what was decided.
//!
//! How a run is spread over nodes, and what a host does that is alone, are not decided
//! here; what hosts are asked afterwards is ([`asked`]).

mod alone;
mod reason;
pub mod spec;
pub mod timetable;

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;

pub use alone::{ASKED_MAX, asked};
pub use reason::{Delay, Hold, Reason};
pub use timetable::Timetable;

use hostler_types::Timestamp;
use hostler_types::calendar::{Admission, Recurrence, Window};
use hostler_types::spec::{Missed, Overlap};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Who looks so much later still looks on time: cron's own step, and longer than a restart
/// of the control plane takes. Beyond it a fire was missed.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// Fires of one schedule that are made up for at most: four days of an hourly one. Who was
/// away for longer does not want each of them.
pub const MADE_UP_MAX: usize = 100;
/// Fires that are left out together are counted up to here.
pub const COUNTED_MAX: usize = 1_000;
/// How often fires that pass while a schedule is held are written down.
pub const HELD_LOOK: Duration = Duration::from_secs(3_600);
/// What waits is not looked at more often than this.
const LOOK_MIN: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

/// What people wrote, read.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub recurrence: Recurrence,
    pub window: Option<Arc<Window>>,
    pub missed: Missed,
    /// How late a fire may still begin.
    pub deadline: Duration,
    pub overlap: Overlap,
    pub hold: Option<Hold>,
    /// When it was made, changed or resumed: what was due before is not its own.
    pub since: Timestamp,
}

/// What was decided before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Whatever was due up to here is decided, or waits.
    pub mark: Option<Timestamp>,
    pub waiting: BTreeSet<Timestamp>,
    pub running: BTreeSet<Timestamp>,
}

/// Fires one after the other of which the same is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fires {
    pub first: Timestamp,
    pub last: Timestamp,
    /// Up to [`COUNTED_MAX`]; then there may be more.
    pub count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs now, once the runs that it replaces were told to end.
    Fire {
        at: Timestamp,
        late_by: Duration,
        replaces: Vec<Timestamp>,
        /// Its window's cutoff: from there on nothing of it starts.
        until: Option<Timestamp>,
    },
    Wait {
        at: Timestamp,
        delay: Delay,
    },
    Skip {
        fires: Fires,
        reason: Reason,
    },
}

impl Ledger {
    pub fn record(&mut self, decision: &Decision) {
        match decision {
            Decision::Fire { at, replaces, .. } => {
                self.running.retain(|running| !replaces.contains(running));
                self.running.insert(*at);
                self.waiting.remove(at);
                self.mark = self.mark.max(Some(*at));
            }
            Decision::Wait { at, .. } => {
                self.waiting.insert(*at);
                self.mark = self.mark.max(Some(*at));
            }
            Decision::Skip { fires, .. } => {
                self.waiting.retain(|at| !(fires.first..=fires.last).contains(at));
                self.mark = self.mark.max(Some(fires.last));
            }
        }
    }

    /// The run of this fire ended, however it ended.
    pub fn finished(&mut self, fire: Timestamp) {
        self.running.remove(&fire);
    }

    fn after(&self, schedule: &Schedule) -> Timestamp {
        self.mark.unwrap_or_default().max(schedule.since)
    }
}

impl Schedule {
    /// Whether each fire counts; otherwise the newest stands for those before it. Of runs
    /// that replace each other, only the last would be seen.
    fn wants_each(&self) -> bool {
        self.missed == Missed::All && self.overlap != Overlap::Replace
    }

    fn reach(&self) -> Duration {
        self.deadline.max(ON_TIME)
    }
}

/// What is to be done with whatever came due by now, in this order. Nothing is, twice: the
/// ledger is to [record](Ledger::record) all of it before the next look.
pub fn due(schedule: &Schedule, ledger: &Ledger, now: Timestamp) -> Vec<Decision> {
    let mut look = Look { schedule, ledger, now, begun: Vec::new(), decisions: Vec::new() };
    match &schedule.hold {
        Some(hold) => look.held(hold),
        None => look.free(),
    }
    look.decisions
}

/// When there is something to decide again, if nothing ends or changes before. All that
/// is due at `now` is decided.
pub fn next_look(schedule: &Schedule, ledger: &Ledger, now: Timestamp) -> Option<Timestamp> {
    let next = schedule.recurrence.next_after(ledger.after(schedule)).map(|fire| fire.at);
    if schedule.hold.is_some() {
        return next.map(|next| next.max(now.plus(HELD_LOOK)));
    }
    let Some(oldest) = ledger.waiting.first() else { return next };
    let oldest = oldest.plus(schedule.reach()).plus(TICK);
    let opens = match schedule.window.as_ref().map(|window| window.admission(now)) {
        Some(Admission::Later(opens)) => opens.min(oldest),
        _ => oldest,
    };
    let waiting = opens.max(now.plus(LOOK_MIN));
    Some(next.map_or(waiting, |next| next.min(waiting)))
}

struct Look<'a> {
    schedule: &'a Schedule,
    ledger: &'a Ledger,
    now: Timestamp,
    /// Fires that were decided to run at this look.
    begun: Vec<Timestamp>,
    decisions: Vec<Decision>,
}

impl Look<'_> {
    fn held(&mut self, hold: &Hold) {
        for at in &self.ledger.waiting {
            self.skip_one(*at, Reason::Held(hold.clone()));
        }
        self.skip_new(self.now, |_| Reason::Held(hold.clone()));
    }

    fn free(&mut self) {
        let mut owed = self.choose_new();
        // Of a clock that was put back: it waits until it is due once more.
        owed.extend(self.ledger.waiting.iter().copied().filter(|at| *at <= self.now));
        owed.sort_unstable();
        let most = if self.schedule.wants_each() { MADE_UP_MAX } else { 1 };
        let newest = owed.last().copied().unwrap_or_default();
        for at in owed.drain(..owed.len().saturating_sub(most)) {
            self.skip_one(at, if most == 1 { Reason::Newer(newest) } else { Reason::TooMany });
        }
        for at in owed {
            self.place(at);
        }
    }

    /// Of what came due since the mark, what is to run; all older ones are left out.
    fn choose_new(&mut self) -> Vec<Timestamp> {
        let recurrence = &self.schedule.recurrence;
        let after = self.ledger.after(self.schedule);
        let Some(newest) = recurrence.newest(after, self.now).map(|fire| fire.at) else { return Vec::new() };
        let late_by = self.now.since(newest);
        let on_time = late_by < ON_TIME;
        let Schedule { missed, deadline, .. } = *self.schedule;
        if late_by > self.schedule.reach() || (missed == Missed::Skip && !on_time) {
            let reason =
                if missed == Missed::Skip { Reason::Missed { late_by } } else { Reason::TooLate { late_by, deadline } };
            self.skip_new(self.now, |_| reason.clone());
            return Vec::new();
        }
        if !self.schedule.wants_each() {
            let missed =
                |late_by| if missed == Missed::Skip { Reason::Missed { late_by } } else { Reason::Newer(newest) };
            self.skip_new(newest.minus(TICK), missed);
            return vec![newest];
        }
        let reach = after.max(self.now.minus(self.schedule.reach()).minus(TICK));
        let chosen = newest_of(recurrence, reach, newest);
        let Some(oldest) = chosen.iter().min().map(|oldest| oldest.minus(TICK)) else { return chosen };
        let too_many = recurrence.newest(reach, oldest).is_some();
        self.skip_new(oldest, |late_by| if too_many { Reason::TooMany } else { Reason::TooLate { late_by, deadline } });
        chosen
    }

    /// Leaves out all that came due since the mark, up to `to`.
    fn skip_new(&mut self, to: Timestamp, reason: impl Fn(Duration) -> Reason) {
        let recurrence = &self.schedule.recurrence;
        let after = self.ledger.after(self.schedule);
        let Some(last) = recurrence.newest(after, to).map(|fire| fire.at) else { return };
        let passed = recurrence.after(after).take_while(|fire| fire.at <= last).take(COUNTED_MAX);
        let first = recurrence.next_after(after).map_or(last, |fire| fire.at);
        let fires = Fires { first, last, count: passed.count() };
        self.decisions.push(Decision::Skip { fires, reason: reason(self.now.since(last)) });
    }

    fn skip_one(&mut self, at: Timestamp, reason: Reason) {
        let fires = Fires { first: at, last: at, count: 1 };
        self.decisions.push(Decision::Skip { fires, reason });
    }

    fn place(&mut self, at: Timestamp) {
        let Schedule { deadline, overlap, .. } = *self.schedule;
        let late_by = self.now.since(at);
        if late_by > self.schedule.reach() {
            return self.skip_one(at, Reason::TooLate { late_by, deadline });
        }
        let admission = self.schedule.window.as_ref().map(|window| window.admission(self.now));
        let until = match admission {
            Some(Admission::Later(opens)) if opens <= at.plus(self.schedule.reach()) => {
                return self.wait(at, Delay::Window { opens });
            }
            Some(Admission::Later(opens)) => {
                return self.skip_one(at, Reason::WindowClosed { opens: Some(opens), deadline });
            }
            Some(Admission::Never) => return self.skip_one(at, Reason::WindowClosed { opens: None, deadline }),
            Some(Admission::Now { until }) => until,
            None => None,
        };
        let mut replaces = Vec::new();
        let running = self.begun.last().or_else(|| self.ledger.running.last()).copied();
        match (overlap, running) {
            (Overlap::Forbid, Some(running)) if self.schedule.wants_each() => {
                return self.wait(at, Delay::Running(running));
            }
            (Overlap::Forbid, Some(running)) => return self.skip_one(at, Reason::StillRunning(running)),
            (Overlap::Replace, _) => replaces.extend(&self.ledger.running),
            (Overlap::Forbid | Overlap::Allow, _) => {}
        }
        self.begun.push(at);
        self.decisions.push(Decision::Fire { at, late_by, replaces, until });
    }

    fn wait(&mut self, at: Timestamp, delay: Delay) {
        if !self.ledger.waiting.contains(&at) {
            self.decisions.push(Decision::Wait { at, delay });
        }
    }
}

/// The newest fires after `after`, up to `newest` itself: as many as are made up for.
fn newest_of(recurrence: &Recurrence, after: Timestamp, newest: Timestamp) -> Vec<Timestamp> {
    let first = recurrence.between(after, newest, MADE_UP_MAX + 1);
    if first.len() <= MADE_UP_MAX {
        return first.into_iter().map(|fire| fire.at).collect();
    }
    let before = |at: &Timestamp| recurrence.newest(after, at.minus(TICK)).map(|fire| fire.at);
    std::iter::successors(Some(newest), before).take(MADE_UP_MAX).collect()
}
