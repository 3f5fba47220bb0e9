//! What a host begins by itself while it is cut off.

use crate::plan::{Ms, node};
use crate::timers::Timer;
use crate::world::{Event, World};
use hostler_agent_core::alone::{Alone, Effect, Input, Kept};
use hostler_agent_core::tasks;
use hostler_types::{Name, Now, ScheduleAssignment, Timestamp};
use std::collections::BTreeMap;

/// The part of a host that goes by schedules.
pub struct ByItself {
    alone: Alone,
    /// On the disk.
    kept: Kept,
    looks_at: Ms,
    /// The newest of each that it has begun, or is not to begin any more.
    pub newest: BTreeMap<Name, Timestamp>,
    /// Since when the agent has been there and cut off, while nobody set a clock.
    pub watched: Option<Ms>,
    /// To a control plane that greeted it.
    pub linked: bool,
}

impl ByItself {
    pub fn new(host: usize) -> Self {
        let alone = Alone::new(Now::default(), node(host), Kept::default());
        Self { alone, kept: Kept::default(), looks_at: Ms::MAX, newest: BTreeMap::new(), watched: None, linked: false }
    }
}

impl World {
    /// What its clock shows once it is put right by what the last heartbeat said.
    pub fn corrected(&self, index: usize) -> Now {
        let host = &self.hosts[index];
        let now = host.clock(self.now);
        let skew = host.skew_known.unwrap_or(0);
        let wall = Timestamp::from_millis(now.wall.as_millis().saturating_add_signed(-skew));
        Now { wall, ..now }
    }

    /// Its agent begins, and is not connected yet.
    pub fn alone_begins(&mut self, index: usize) {
        let now = self.corrected(index);
        let own = self.timers.iter().filter(|timer| timer.alone && timer.hosts.contains(&index));
        let schedules: Vec<ScheduleAssignment> = own.map(Timer::assignment).collect();
        let by_itself = &mut self.hosts[index].by_itself;
        by_itself.alone = Alone::new(now, node(index), by_itself.kept.clone());
        by_itself.looks_at = Ms::MAX;
        if schedules.is_empty() {
            return;
        }
        self.watch_again(index);
        self.alone_link(index, self.hosts[index].by_itself.linked);
        self.alone(index, Input::Schedules(schedules));
    }

    pub fn alone_link(&mut self, index: usize, linked: bool) {
        let before = std::mem::replace(&mut self.hosts[index].by_itself.linked, linked);
        if !self.hosts[index].restored || !self.hosts[index].up {
            return;
        }
        if before != linked {
            self.unwatch(index);
            self.watch_again(index);
        }
        self.alone(index, if linked { Input::Connected } else { Input::Away });
    }

    /// From now on, if its agent is there and cut off.
    pub fn watch_again(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.by_itself.watched = (host.up && host.restored && !host.by_itself.linked).then_some(self.now);
    }

    pub fn look_alone(&mut self, index: usize, life: u32, at: Ms) {
        if self.lives(index, life) && self.hosts[index].by_itself.looks_at == at {
            self.hosts[index].by_itself.looks_at = Ms::MAX;
            self.alone(index, Input::Tick);
        }
    }

    fn alone(&mut self, index: usize, input: Input) {
        if !self.hosts[index].up {
            return;
        }
        let now = self.corrected(index);
        let effects = self.hosts[index].by_itself.alone.step(now, input);
        for effect in &effects {
            let Effect::Begin { schedule, offer } = effect else { continue };
            let due = offer.id.fire().map(|(_, due)| due).unwrap_or_default();
            let newest = self.hosts[index].by_itself.newest.entry(schedule.clone()).or_default();
            *newest = due.max(*newest);
        }
        for effect in effects {
            if self.dies_now(index) {
                return;
            }
            match effect {
                Effect::Keep => {
                    let by_itself = &mut self.hosts[index].by_itself;
                    by_itself.kept = by_itself.alone.kept().clone();
                }
                Effect::Begin { schedule, offer } => {
                    self.begins_alone(index, &offer.id);
                    self.what_holds(index);
                    if !self.hosts[index].up {
                        return;
                    }
                    let corrected = self.corrected(index).wall;
                    self.step(index, tasks::Input::Alone { schedule, offer, corrected });
                    if !self.hosts[index].up {
                        return;
                    }
                }
            }
        }
        self.look_alone_again(index);
    }

    fn look_alone_again(&mut self, index: usize) {
        let now = self.corrected(index);
        let host = &mut self.hosts[index];
        let Some(due) = host.by_itself.alone.next_deadline(now) else {
            host.by_itself.looks_at = Ms::MAX;
            return;
        };
        let at = (host.started + u64::try_from(due.as_millis()).expect("a span")).max(self.now + 1);
        if host.by_itself.looks_at != at {
            host.by_itself.looks_at = at;
            let life = host.life;
            self.at(at, Event::Alone { host: index, life, at });
        }
    }
}
