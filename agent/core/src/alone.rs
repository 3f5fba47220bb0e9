//! What a host begins by itself, when it is due, while it is cut off from its control
//! plane. As long as they are connected only the control plane's offer begins anything,
//! and nothing is decided here.
//!
//! A fire that is passed by more than [`ON_TIME`] is not made up for: the control plane
//! does that when it is back, by the same ids. The **mark** of a schedule is the newest
//! fire that was begun here, kept before it is begun: so a clock that is put back begins
//! nothing again. Behind it stands the ledger of tasks, which does one id once.
//!
//! Absent here: whether the host holds it back, and whether the one before still runs,
//! which the ledger knows.

use hostler_types::calendar::{Admission, Recurrence, UnknownZone, Window, jittered};
use hostler_types::{Name, NodeId, Now, ScheduleAssignment, Stamp, TaskId, TaskOffer, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// As late as the control plane itself is still on time.
pub const ON_TIME: Duration = Duration::from_secs(60);
/// An agent that has just started first gets its chance to connect: a fleet is back
/// within 12 s.
pub const START_GRACE: Duration = Duration::from_secs(20);
/// It is not waited for longer than this after a fire, which would be missed then.
const LAST_CALL: Duration = Duration::from_secs(55);
/// The clock may be moved: while the host is cut off, nothing that is due for a whole
/// minute is slept through.
pub const LOOK: Duration = Duration::from_secs(30);
/// A mark that is further ahead was made by a clock that was wrong, and would hold its
/// schedule for as long.
const AHEAD_MAX: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(1);

pub const REASON: &str = "the control plane could not be reached";

#[derive(Clone, Debug)]
pub enum Input {
    /// All of them, as they should be from now on.
    Schedules(Vec<ScheduleAssignment>),
    Connected,
    Away,
    /// The control plane was there, and does not want this host: nothing begins until it
    /// is connected again.
    Refused,
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make [`Alone::kept`] durable, before anything that follows.
    Keep,
    Begin {
        schedule: Name,
        offer: Box<TaskOffer>,
    },
}

/// What must survive; empty where there is nothing to remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    refused: bool,
    marks: BTreeMap<Name, Timestamp>,
}

impl Kept {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Connected,
    Away,
    Refused,
}

/// A schedule that the host holds, for whoever looks.
#[derive(Clone, Debug)]
pub struct Held {
    pub name: Name,
    due: Result<Due, UnknownZone>,
}

/// When it is due on this node.
#[derive(Clone, Debug)]
struct Due {
    recurrence: Recurrence,
    window: Option<Window>,
    /// The node's own place within the jitter.
    place: Duration,
}

#[derive(Debug)]
struct Entry {
    schedule: ScheduleAssignment,
    due: Due,
}

#[derive(Debug)]
pub struct Alone {
    node: NodeId,
    entries: BTreeMap<Name, Entry>,
    held: Vec<Held>,
    link: Link,
    /// From here on nobody waits for the first connection.
    settled: Duration,
    marks: BTreeMap<Name, Timestamp>,
    /// What the shell was last asked to keep.
    kept: Kept,
}

impl Alone {
    /// With what was kept, and not connected yet. `now` is corrected, here and below.
    pub fn new(now: Now, node: NodeId, kept: Kept) -> Self {
        Self {
            node,
            entries: BTreeMap::new(),
            held: Vec::new(),
            link: if kept.refused { Link::Refused } else { Link::Away },
            settled: now.monotonic.saturating_add(START_GRACE),
            marks: kept.marks.clone(),
            kept,
        }
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// The digests of what a node has to have for them.
    pub fn contents(&self) -> BTreeSet<String> {
        let steps = self.entries.values().flat_map(|entry| &entry.schedule.steps);
        steps.filter_map(|step| step.content().map(str::to_owned)).collect()
    }

    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        match input {
            Input::Tick => {}
            Input::Schedules(schedules) => self.take(schedules),
            Input::Connected => self.link = Link::Connected,
            Input::Away if self.link == Link::Refused => {}
            Input::Away => self.link = Link::Away,
            Input::Refused => self.link = Link::Refused,
        }
        let mut effects = self.begin(now);
        let kept = Kept { refused: self.link == Link::Refused, marks: self.marks.clone() };
        if kept != self.kept {
            self.kept = kept;
            effects.insert(0, Effect::Keep);
        }
        effects
    }

    /// When [`Alone::step`] is to be called even if nothing happens. Never while it is
    /// connected.
    pub fn next_deadline(&self, now: Now) -> Option<Duration> {
        if self.link != Link::Away {
            return None;
        }
        let next = self.entries.values().filter_map(|entry| self.next(entry, now)).min()?;
        Some(now.monotonic.saturating_add(next.since(now.wall).clamp(TICK, LOOK)))
    }

    fn take(&mut self, schedules: Vec<ScheduleAssignment>) {
        self.entries.clear();
        self.held.clear();
        for schedule in schedules {
            let due = Due::of(&schedule, &self.node);
            self.held.push(Held { name: schedule.name.clone(), due: due.clone() });
            if let Ok(due) = due {
                self.entries.insert(schedule.name.clone(), Entry { schedule, due });
            }
        }
        let held = &self.held;
        self.marks.retain(|name, _| held.iter().any(|one| one.name == *name));
    }

    fn begin(&mut self, now: Now) -> Vec<Effect> {
        if self.link != Link::Away {
            return Vec::new();
        }
        let ready = |entry: &Entry| {
            let fire = self.owed(entry, now)?;
            let (at, until) = self.when(entry, fire, now)?;
            (at <= now.wall).then(|| (entry.schedule.name.clone(), fire, entry.offer(fire, now, until)))
        };
        let begun: Vec<_> = self.entries.values().filter_map(ready).collect();
        let effects = begun.into_iter().map(|(schedule, fire, offer)| {
            self.marks.insert(schedule.clone(), fire);
            Effect::Begin { schedule, offer: Box::new(offer) }
        });
        effects.collect()
    }

    /// The newest that is due and still on time, and was not begun.
    fn owed(&self, entry: &Entry, now: Now) -> Option<Timestamp> {
        let reach = now.wall.minus(entry.due.place).minus(ON_TIME).minus(TICK);
        let to = now.wall.minus(entry.due.place);
        entry.due.recurrence.newest(self.after(entry, now).max(reach), to).map(|fire| fire.at)
    }

    /// When there is something to do about it, as far as is known now.
    fn next(&self, entry: &Entry, now: Now) -> Option<Timestamp> {
        let owed = self.owed(entry, now).and_then(|fire| self.when(entry, fire, now));
        let after = self.after(entry, now).max(now.wall.minus(entry.due.place));
        let next = entry.due.recurrence.next_after(after).map(|fire| fire.at.plus(entry.due.place));
        owed.map(|(at, _)| at).into_iter().chain(next).min()
    }

    fn after(&self, entry: &Entry, now: Now) -> Timestamp {
        let mark = self.marks.get(&entry.schedule.name).filter(|mark| **mark <= now.wall.plus(AHEAD_MAX));
        entry.schedule.since.max(mark.copied().unwrap_or_default())
    }

    /// When a fire may begin, and by when at the latest; nothing if that is too late.
    fn when(&self, entry: &Entry, fire: Timestamp, now: Now) -> Option<(Timestamp, Option<Timestamp>)> {
        let due = fire.plus(entry.due.place);
        let settled = now.wall.plus(self.settled.saturating_sub(now.monotonic));
        let at = due.max(settled.min(due.plus(LAST_CALL))).max(now.wall);
        let (at, until) = match entry.due.window.as_ref().map(|window| window.admission(at)) {
            None => (at, None),
            Some(Admission::Now { until }) => (at, until),
            Some(Admission::Later(opens)) => (opens, None),
            Some(Admission::Never) => return None,
        };
        (at <= due.plus(ON_TIME)).then_some((at, until))
    }
}

impl Due {
    fn of(schedule: &ScheduleAssignment, node: &NodeId) -> Result<Self, UnknownZone> {
        let recurrence = Recurrence::new(schedule.when.clone(), &schedule.zone)?;
        let window = schedule.window.as_ref().map(|window| -> Result<Window, UnknownZone> {
            let opens = Recurrence::new(window.cron.clone(), &window.zone)?;
            Ok(Window::new(opens, window.lasts, window.cutoff))
        });
        let start = Timestamp::default();
        let place = jittered(schedule.name.as_str(), node, start, schedule.jitter).since(start);
        Ok(Self { recurrence, window: window.transpose()?, place })
    }
}

impl Held {
    /// `Tue 24 Nov 20:00 Europe/Berlin, in 2 d 4 h`, the time at which this node begins;
    /// or why it never does.
    pub fn words(&self, now: Timestamp) -> String {
        let due = match &self.due {
            Ok(due) => due,
            Err(error) => return format!("never: {error}"),
        };
        match self.next(now) {
            Some(at) => due.recurrence.say_when(at, now),
            None => "never".to_owned(),
        }
    }

    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.due.as_ref().ok()?;
        let next = due.recurrence.next_after(now.minus(due.place))?;
        Some(next.at.plus(due.place))
    }
}

impl Entry {
    /// Its stamp is the ledger's to say.
    fn offer(&self, fire: Timestamp, now: Now, until: Option<Timestamp>) -> TaskOffer {
        let ScheduleAssignment { name, steps, timeout, .. } = &self.schedule;
        let begin_by = now.wall.plus(ON_TIME);
        TaskOffer {
            id: TaskId::of_fire(name, fire),
            stamp: Stamp::default(),
            title: format!("schedule/{name}"),
            by: format!("schedule/{name}"),
            reason: REASON.to_owned(),
            steps: steps.clone(),
            timeout: *timeout,
            begin_by: until.map_or(begin_by, |until| begin_by.min(until)),
        }
    }
}

#[cfg(test)]
mod history;
#[cfg(test)]
mod tests;
