//! A host: its power, its clock, its disk, and the agent on it that comes and goes.

mod alone;
mod link;
mod programs;
mod worker;

use alone::ByItself;

use super::Sabotage;
use super::control::shown;
use super::plan::{Ms, SECOND};
use super::wire::Up;
use super::world::{Event, World};
use hostler_agent_core::tasks::{Fate, Found, Input, Kept, Ledger, OnHost, Over, Stands};
use hostler_types::{Now, Stamp, TaskId, TaskReport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A step of a task.
pub type Place = (TaskId, u32);

pub struct Host {
    pub index: usize,
    pub powered: bool,
    pub up: bool,
    /// Of the agent; what was meant for an earlier one is lost.
    pub life: u32,
    pub boot: u32,
    pub skew: i64,
    started: Ms,
    ledger: Ledger,
    restored: bool,
    pub by_itself: ByItself,
    ticks_at: Ms,
    pub busy_until: Ms,
    /// On the disk.
    pub disk: BTreeMap<TaskId, Kept>,
    before: Option<(TaskId, Option<Kept>)>,
    pub ruled: Option<Stamp>,
    frozen: bool,
    spool: VecDeque<(u64, TaskReport)>,
    seq: u64,
    /// Nothing: it runs.
    pub units: BTreeMap<Place, Option<Fate>>,
    starting: BTreeSet<Place>,
    /// By which life of the agent.
    restarting: BTreeMap<Place, u32>,
    watched: BTreeSet<Place>,
    booted: Ms,
    /// Nothing: it does not run yet.
    service_started: Option<Ms>,
    sick: bool,
    pub stream: Option<u64>,
    shown: BTreeMap<TaskId, TaskReport>,
    skew_known: Option<i64>,
    pub cut_down: bool,
    pub cut_up: bool,
    pub dies_in: Option<(usize, Ms)>,
    /// After so many effects and so long behind that, and for how long.
    pub fails_in: Option<(usize, Ms, Ms)>,
    pub loses: bool,
}

impl Host {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            powered: false,
            up: false,
            life: 0,
            boot: 0,
            skew: 0,
            started: 0,
            ledger: Ledger::default(),
            restored: false,
            by_itself: ByItself::new(index),
            ticks_at: Ms::MAX,
            busy_until: 0,
            disk: BTreeMap::new(),
            before: None,
            ruled: None,
            frozen: false,
            spool: VecDeque::new(),
            seq: 0,
            units: BTreeMap::new(),
            starting: BTreeSet::new(),
            restarting: BTreeMap::new(),
            watched: BTreeSet::new(),
            booted: 0,
            service_started: None,
            sick: false,
            stream: None,
            shown: BTreeMap::new(),
            skew_known: None,
            cut_down: false,
            cut_up: false,
            dies_in: None,
            fails_in: None,
            loses: false,
        }
    }

    pub const fn is_cut(&self) -> bool {
        self.cut_down || self.cut_up
    }

    pub fn clock(&self, now: Ms) -> Now {
        Now { monotonic: Duration::from_millis(now.saturating_sub(self.started)), wall: shown(now, self.skew) }
    }

    /// It has nothing to do, and nothing to say.
    pub fn is_quiet(&self) -> bool {
        self.up && self.restored && self.stream.is_some() && self.spool.is_empty() && self.open().next().is_none()
    }

    /// What its disk says is not over.
    pub fn open(&self) -> impl Iterator<Item = &TaskId> {
        self.disk.iter().filter_map(|(id, kept)| matches!(kept, Kept::Open(_)).then_some(id))
    }

    pub fn end_of(&self, id: &TaskId) -> Option<&TaskReport> {
        match self.disk.get(id) {
            Some(Kept::Over { report, .. }) => Some(report),
            _ => None,
        }
    }
}

impl World {
    pub fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].up && self.hosts[host].life == life
    }

    pub fn power_on(&mut self, index: usize) {
        let now = self.now;
        let host = &mut self.hosts[index];
        (host.powered, host.boot, host.booted) = (true, host.boot + 1, now);
        host.service_started = (now == 0).then_some(now);
        host.units.clear();
        host.starting.clear();
        host.restarting.clear();
        let boot = host.boot;
        self.judge.booted.insert(index, now);
        if now > 0 {
            self.later(SECOND, 5 * SECOND, Event::Restarts { host: index, boot, place: None });
        }
        self.agent_begins(index);
    }

    fn agent_begins(&mut self, index: usize) {
        let now = self.now;
        let slow = self.dice.chance(100);
        let wait = if slow { self.dice.between(SECOND, 8 * SECOND) } else { self.dice.between(20, 500) };
        let host = &mut self.hosts[index];
        (host.up, host.started, host.restored) = (true, now, false);
        host.ledger = Ledger::default();
        (host.ticks_at, host.skew_known, host.stream) = (Ms::MAX, None, None);
        host.watched.clear();
        host.shown.clear();
        host.by_itself.linked = false;
        host.busy_until = now + wait;
        let life = host.life;
        self.tell(|| format!("web{index}: its agent begins"));
        self.at(now + wait, Event::Restored { host: index, life });
        self.later(20, 500, Event::Dial { host: index, life });
    }

    pub fn restored(&mut self, index: usize, life: u32) {
        if !self.lives(index, life) {
            return;
        }
        let host = &mut self.hosts[index];
        host.restored = true;
        let (boot, uptime) = (format!("boot {}", host.boot), Duration::from_millis(self.now - host.booted));
        let mut found = Found { boot, uptime, ..Found::default() };
        for kept in host.disk.values() {
            match kept {
                Kept::Open(record) => found.open.push((**record).clone()),
                Kept::Over { report, stamp } => {
                    found.over.push(Over { id: report.id.clone(), at: report.at, stamp: *stamp });
                }
            }
        }
        let stands = |ended: &Option<Fate>| match ended {
            None => Stands::Runs,
            Some(fate) => Stands::Ended { fate: fate.clone(), output: None },
        };
        let unit = |((id, step), ended): (&Place, &Option<Fate>)| OnHost {
            id: id.clone(),
            step: *step,
            stands: stands(ended),
        };
        found.on_host.extend(host.units.iter().map(unit));
        self.step(index, Input::Restored(Box::new(found)));
        if self.lives(index, life) {
            self.alone_begins(index);
        }
    }

    /// What runs there goes on without it.
    fn agent_dies(&mut self, index: usize) {
        self.unwatch(index);
        self.tell(|| format!("web{index}: its agent dies"));
        let host = &mut self.hosts[index];
        (host.up, host.life, host.dies_in) = (false, host.life + 1, None);
        let lost = host.before.take().filter(|_| self.sabotage == Sabotage::LosesJournal);
        if let Some((id, before)) = lost {
            match before {
                Some(kept) => drop(host.disk.insert(id, kept)),
                None => drop(host.disk.remove(&id)),
            }
        }
        // A restart that had not begun went with the agent.
        let begun = self.dice.chance(500);
        if !begun {
            self.hosts[index].restarting.clear();
        }
        if let Some(stream) = self.hosts[index].stream.take() {
            self.breaks(stream);
        }
    }

    pub fn agent_back(&mut self, index: usize, life: u32) {
        let host = &self.hosts[index];
        if host.powered && !host.up && host.life == life {
            self.agent_begins(index);
        }
    }

    pub fn power_cut(&mut self, index: usize, span: Ms) {
        if !self.hosts[index].powered {
            return;
        }
        if self.hosts[index].up {
            self.agent_dies(index);
        }
        self.tell(|| format!("web{index}: it has no power"));
        self.judge.cuts.insert((index, self.now));
        let host = &mut self.hosts[index];
        host.powered = false;
        let boot = host.boot;
        self.at(self.now + span, Event::PowerBack { host: index, boot });
    }

    pub fn power_back(&mut self, index: usize, boot: u32) {
        if !self.hosts[index].powered && self.hosts[index].boot == boot {
            self.power_on(index);
        }
    }

    pub fn heal_host(&mut self, index: usize) {
        if !self.hosts[index].powered {
            self.power_on(index);
        } else if !self.hosts[index].up {
            self.agent_begins(index);
        }
    }

    pub fn host_clock(&mut self, index: usize, by: i64) {
        self.unwatch(index);
        self.hosts[index].skew += by;
        self.watch_again(index);
        if by < 0 {
            self.judge.put_back.insert(index, self.now);
        }
        self.measures_soon(index);
    }

    /// The next heartbeat shows how clocks differ.
    pub fn measures_soon(&mut self, index: usize) {
        let life = self.hosts[index].life;
        self.later(10, 4 * SECOND, Event::Measured { host: index, life });
    }

    pub fn measured(&mut self, index: usize, life: u32) {
        if !self.lives(index, life) || self.hosts[index].is_cut() {
            return;
        }
        let stream = self.hosts[index].stream.and_then(|stream| self.streams.get(&stream));
        if let Some(line) = stream.filter(|line| !line.broken) {
            let found = self.hosts[index].skew - self.controls[line.control].skew;
            self.unwatch(index);
            self.hosts[index].skew_known = Some(found);
            self.watch_again(index);
        }
    }

    pub fn sick(&mut self, index: usize, sick: bool) {
        self.hosts[index].sick = sick;
        if let Some(stream) = self.hosts[index].stream {
            self.send_up(stream, Up::Health(sick));
        }
    }
}
