//! A control plane: what it has in memory, how it begins from what was kept, and how it
//! ends.

mod fleet;
mod link;
mod schedules;
mod turn;

pub use fleet::Fleet;
use schedules::Schedules;

use super::plan::{HOSTS, Ms, WALL, Wish};
use super::store::{Backup, Beside, Put, Store};
use super::wire::{Down, LEASE};
use super::world::{Event, World};
use hostler_core::runs::{Runs, Verb};
use hostler_types::{Now, Stamp, TaskId, TaskReport, TaskStep, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Ready,
    Away,
    Lost,
}

pub enum Word {
    /// With the fire that it is of, if it is one.
    Begin(Box<Wish>, Option<Box<Beside>>),
    Control {
        number: u64,
        verb: Verb,
    },
    Report {
        host: usize,
        report: TaskReport,
        kept: Option<(u64, u64)>,
    },
    Connected {
        host: usize,
    },
}

/// A turn that was decided, and is being kept and sent.
pub struct Flight {
    txns: VecDeque<Vec<Put>>,
    sends: Vec<(usize, Down)>,
    over: Vec<u64>,
    /// Which host's spool is kept up to where, and on which stream that is said.
    acks: Vec<(usize, u64, u64)>,
    aborts: Vec<TaskId>,
    /// Runs of schedules that begin.
    begun: Vec<(u64, Beside)>,
}

pub struct Control {
    pub stamp: Stamp,
    pub up: bool,
    pub life: u32,
    pub skew: i64,
    started: Ms,
    pub store: Store,
    pub newest: u64,
    pub backups: VecDeque<Backup>,
    pub runs: Runs,
    steps: BTreeMap<u64, Vec<TaskStep>>,
    pub schedules: Schedules,
    /// What is kept with the heads of runs that begin.
    beside: BTreeMap<u64, Beside>,
    pub inbox: Vec<Word>,
    waits: bool,
    again: bool,
    pub flight: Option<Flight>,
    looks_at: Ms,
    pub dies_in: Option<(usize, Ms)>,
    pub seen: Vec<Seen>,
    live: Vec<Option<u64>>,
    pub renewed: Vec<Ms>,
    pub sick: BTreeSet<usize>,
}

impl Control {
    pub fn new() -> Self {
        Self {
            stamp: Stamp { lineage: 1, term: 0, generation: 0 },
            up: false,
            life: 0,
            skew: 0,
            started: 0,
            store: Store::default(),
            newest: 0,
            backups: VecDeque::new(),
            runs: Runs::default(),
            steps: BTreeMap::new(),
            schedules: Schedules::default(),
            beside: BTreeMap::new(),
            inbox: Vec::new(),
            waits: false,
            again: false,
            flight: None,
            looks_at: Ms::MAX,
            dies_in: None,
            seen: vec![Seen::Away; HOSTS],
            live: vec![None; HOSTS],
            renewed: vec![0; HOSTS],
            sick: BTreeSet::new(),
        }
    }

    /// A second one, with records of its own.
    pub fn beside(stamp: Stamp, store: Store, skew: i64) -> Self {
        Self { stamp, store, skew, ..Self::new() }
    }

    pub fn lives(&self, life: u32) -> bool {
        self.up && self.life == life
    }

    pub fn clock(&self, now: Ms) -> Now {
        Now { monotonic: Duration::from_millis(now - self.started), wall: shown(now, self.skew) }
    }
}

pub fn shown(now: Ms, skew: i64) -> Timestamp {
    Timestamp::from_millis((WALL + now).saturating_add_signed(skew))
}

impl World {
    /// A term of its own, all that was kept, and nobody heard of yet.
    pub fn control_begins(&mut self, index: usize) {
        let now = self.now;
        let control = &mut self.controls[index];
        if control.up {
            return;
        }
        control.up = true;
        control.life += 1;
        control.stamp.term += 1;
        control.stamp.generation = 0;
        control.started = now;
        control.runs = Runs::default();
        (control.flight, control.waits, control.again, control.looks_at) = (None, false, false, Ms::MAX);
        control.inbox.clear();
        control.beside.clear();
        control.live = vec![None; HOSTS];
        control.seen = vec![Seen::Away; HOSTS];
        control.renewed = vec![now; HOSTS];
        let runs = control.store.load(control.clock(now));
        let open = control.store.heads.iter().filter(|(_, head)| !head.state.is_over());
        control.steps = open.map(|(number, head)| (*number, head.steps.clone())).collect();
        control.runs.restore(control.clock(now), runs);
        control.newest = control.store.newest;
        let (life, stamp) = (control.life, control.stamp);
        self.judge.begins_anew(now, index, &self.controls[index], &self.places);
        self.tell(|| format!("control {index} begins, {}.{}", stamp.lineage, stamp.term));
        for host in 0..HOSTS {
            self.at(now + LEASE, Event::LeaseEnds { control: index, life, host, renewed: now });
        }
        self.schedules_begin(index);
        self.poke(index);
    }

    fn control_dies(&mut self, index: usize, span: Ms) {
        self.tell(|| format!("control {index} dies"));
        self.control_ends(index);
        if index == self.main {
            self.at(self.now + span, Event::ControlBack { control: index });
        }
    }

    pub fn control_ends(&mut self, index: usize) {
        let control = &mut self.controls[index];
        (control.up, control.flight, control.dies_in) = (false, None, None);
        control.life += 1;
        let own = |(id, line): (&u64, &super::wire::Stream)| (line.control == index && !line.broken).then_some(*id);
        let streams: Vec<u64> = self.streams.iter().filter_map(own).collect();
        streams.into_iter().for_each(|stream| self.breaks(stream));
    }

    /// Whether it dies now, between two of the things it does.
    fn stage(&mut self, index: usize) -> bool {
        let Some((left, span)) = &mut self.controls[index].dies_in else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        let span = *span;
        self.control_dies(index, span);
        true
    }

    pub fn word(&mut self, index: usize, word: Word) {
        if self.controls[index].up {
            self.controls[index].inbox.push(word);
            self.poke(index);
        }
    }

    fn poke(&mut self, index: usize) {
        let control = &mut self.controls[index];
        if control.up && !control.waits {
            control.waits = true;
            let life = control.life;
            self.later(0, 30, Event::Turn { control: index, life });
        }
    }

    /// Something of the fleet changed that may let something go on.
    fn poke_if_held(&mut self, index: usize) {
        let held = self.controls[index].runs.iter().flat_map(|run| run.tasks.values()).any(|task| task.held.is_some());
        if held {
            self.poke(index);
        }
    }
}
