//! What schedules do: a fire becomes a run, and the mark of its schedule is kept in one
//! commit with it; what comes to no run is kept with its mark before anything later.

use super::Word;
use crate::Sabotage;
use crate::plan::{Ms, SECOND, Wish, node};
use crate::store::{Became, Beside};
use crate::world::{Event, World};
use hostler_core::runs::Verb;
use hostler_core::schedules::{Decision, Fires, Ledger, Timetable, asked};
use hostler_types::{TaskId, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const LOOK: Ms = 60 * SECOND;
/// Between looks while something is being kept.
const SOON: Ms = 20;
const TICK: Duration = Duration::from_millis(1);

/// One commit.
enum Unit {
    Write { timer: usize, fires: Option<Fires>, ledger: Ledger },
    Begin { timer: usize, due: Timestamp, ledger: Ledger, replaces: Vec<Timestamp>, asks: bool },
}

#[derive(Default)]
pub struct Schedules {
    table: Timetable<usize>,
    /// What is kept of each, as far as it was carried out.
    ledgers: BTreeMap<usize, Ledger>,
    running: BTreeMap<u64, (usize, Timestamp)>,
    queue: VecDeque<Unit>,
    /// Something is on its way to the disk.
    waits: bool,
    looks_at: Ms,
}

impl Schedules {
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty() && !self.waits
    }
}

impl World {
    /// As they were kept; what runs is read from the runs.
    pub fn schedules_begin(&mut self, index: usize) {
        let held = self.held;
        let control = &mut self.controls[index];
        let mut all = Schedules::default();
        for (timer, one) in self.timers.iter().enumerate() {
            let mut ledger = control.store.ledgers.get(&timer).cloned().unwrap_or_default();
            for run in control.runs.iter().filter(|run| !run.state.is_over()) {
                let fire = run.order.fire.as_ref().filter(|fire| fire.schedule == one.name && !fire.only_on_time);
                if let Some(fire) = fire {
                    all.running.insert(run.order.number, (timer, fire.at));
                    ledger.running.insert(fire.at);
                }
            }
            all.ledgers.insert(timer, ledger.clone());
            all.table.insert(timer, one.schedule(held), ledger);
        }
        control.schedules = all;
        let ends: Vec<_> = control.store.ends.keys().filter(|(id, _)| control.store.has(id)).cloned().collect();
        for (id, host) in ends {
            self.hand_over(index, &id, host);
        }
        self.look_at_schedules(index, self.now);
    }

    pub fn look_at_schedules(&mut self, index: usize, at: Ms) {
        let control = &mut self.controls[index];
        control.schedules.looks_at = at;
        let life = control.life;
        if !self.timers.is_empty() {
            self.at(at, Event::Schedules { control: index, life, at });
        }
    }

    pub fn schedules(&mut self, index: usize, life: u32, at: Ms) {
        let control = &self.controls[index];
        if control.lives(life) && control.schedules.looks_at == at {
            self.decide_schedules(index);
        }
    }

    /// Somebody pauses all of them, for good.
    pub fn hold_schedules(&mut self) {
        self.held = true;
        let index = self.main;
        let wall = self.controls[index].clock(self.now).wall;
        for (timer, one) in self.timers.clone().iter().enumerate() {
            let decisions = self.controls[index].schedules.table.change(&timer, one.schedule(true), wall);
            self.carry_out_all(index, wall, decisions.into_iter().map(|one| (timer, one)).collect());
        }
        self.schedules_go_on(index);
        self.look_at_schedules(index, self.now);
    }

    fn decide_schedules(&mut self, index: usize) {
        let wall = self.controls[index].clock(self.now).wall;
        if !self.controls[index].schedules.is_quiet() {
            return self.look_at_schedules(index, self.now + SOON);
        }
        self.let_go(index);
        let decisions = self.controls[index].schedules.table.tick(wall);
        self.carry_out_all(index, wall, decisions);
        self.schedules_go_on(index);
        let next = self.controls[index].schedules.table.next_deadline();
        let span = next.map_or(LOOK, |next| u64::try_from(next.since(wall).as_millis()).expect("a span") + 1);
        self.look_at_schedules(index, self.now + span.min(LOOK));
    }

    /// Of fires whose run is over.
    fn let_go(&mut self, index: usize) {
        let control = &mut self.controls[index];
        let runs = &control.runs;
        let is_over = |number: &u64| runs.get(*number).is_none_or(|run| run.state.is_over());
        let over: Vec<u64> = control.schedules.running.keys().filter(|number| is_over(number)).copied().collect();
        for number in over {
            if let Some((timer, due)) = control.schedules.running.remove(&number) {
                control.schedules.table.finished(&timer, due);
                control.schedules.ledgers.entry(timer).or_default().finished(due);
            }
        }
    }

    fn carry_out_all(&mut self, index: usize, wall: Timestamp, decisions: Vec<(usize, Decision)>) {
        for (timer, decision) in decisions {
            self.tell(|| format!("control {index}: schedule {timer} {decision:?}"));
            let wrong = self.judge.decides(&self.timers[timer], wall, &decision);
            wrong.into_iter().for_each(|what| self.fail(what));
            let units = self.units(index, timer, wall, decision);
            self.controls[index].schedules.queue.extend(units);
        }
    }

    fn units(&mut self, index: usize, timer: usize, wall: Timestamp, decision: Decision) -> Vec<Unit> {
        let one = &self.timers[timer];
        let ledger = self.controls[index].schedules.ledgers.entry(timer).or_default();
        let before = ledger.clone();
        match &decision {
            Decision::Fire { at, replaces, .. } => {
                ledger.record(&decision);
                let (due, replaces, ledger) = (*at, replaces.clone(), ledger.clone());
                vec![Unit::Begin { timer, due, ledger, replaces, asks: false }]
            }
            Decision::Wait { .. } => {
                ledger.record(&decision);
                vec![Unit::Write { timer, fires: None, ledger: ledger.clone() }]
            }
            Decision::Skip { fires, reason } => {
                let schedule = one.schedule(self.held);
                let alone = || asked(&schedule, &before, &decision, wall);
                let (left, asks) = if one.alone { alone() } else { (Some(*fires), Vec::new()) };
                let mut units = Vec::new();
                if let Some(fires) = left {
                    ledger.record(&Decision::Skip { fires, reason: reason.clone() });
                    units.push(Unit::Write { timer, fires: Some(fires), ledger: ledger.clone() });
                }
                for due in asks {
                    let fires = Fires { first: due, last: due, count: 1 };
                    ledger.record(&Decision::Skip { fires, reason: reason.clone() });
                    let (ledger, replaces) = (ledger.clone(), Vec::new());
                    units.push(Unit::Begin { timer, due, ledger, replaces, asks: true });
                }
                units
            }
        }
    }

    /// One after the other, each on the disk before the next.
    fn schedules_go_on(&mut self, index: usize) {
        let control = &mut self.controls[index];
        if control.schedules.waits {
            return;
        }
        match control.schedules.queue.front() {
            None => {}
            Some(Unit::Write { .. }) => {
                control.schedules.waits = true;
                let life = control.life;
                self.later(1, 15, Event::ScheduleWritten { control: index, life });
            }
            Some(Unit::Begin { .. }) => self.begin_fire(index),
        }
    }

    fn begin_fire(&mut self, index: usize) {
        let schedules = &mut self.controls[index].schedules;
        let Some(Unit::Begin { timer, due, ledger, replaces, asks }) = schedules.queue.pop_front() else { return };
        schedules.waits = true;
        let replaced: Vec<u64> = schedules
            .running
            .iter()
            .filter(|(_, (of, at))| *of == timer && replaces.contains(at))
            .map(|(number, _)| *number)
            .collect();
        for number in replaced {
            self.word(index, Word::Control { number, verb: Verb::Abort });
        }
        let one = &self.timers[timer];
        let hosts = one.hosts.iter().copied().filter(|host| !self.removed.contains(host)).collect();
        let wish = Wish { order: one.order(due, asks), steps: one.steps.clone(), hosts };
        self.word(index, Word::Begin(Box::new(wish), Some(Box::new(Beside { timer, due, ledger, asks }))));
    }

    pub fn schedule_written(&mut self, index: usize, life: u32) {
        if !self.controls[index].lives(life) || self.stage(index) {
            return;
        }
        let schedules = &mut self.controls[index].schedules;
        schedules.waits = false;
        if let Some(Unit::Write { timer, fires, ledger }) = schedules.queue.pop_front() {
            self.keep_ledger(index, timer, &ledger);
            let recurrence = &self.timers[timer].recurrence;
            let all = fires.map(|fires| recurrence.between(fires.first.minus(TICK), fires.last, usize::MAX));
            for fire in all.unwrap_or_default() {
                self.became(index, timer, fire.at, Became::Nothing);
            }
        }
        self.schedules_go_on(index);
    }

    pub fn keep_ledger(&mut self, index: usize, timer: usize, ledger: &Ledger) {
        if self.sabotage != Sabotage::LosesMark {
            self.controls[index].store.put_ledger(timer, ledger);
        }
    }

    /// What a fire came to is on the disk.
    pub fn became(&mut self, index: usize, timer: usize, due: Timestamp, became: Became) {
        let name = &self.timers[timer].name;
        if let Some(before) = self.controls[index].store.fires.insert((timer, due), became) {
            let what = format!("control {index} decides twice on {name} of {due}: {before:?}, and {became:?}");
            self.fail(what);
        }
    }

    /// Its run is kept.
    pub fn fire_begun(&mut self, index: usize, number: u64, begun: &Beside) {
        let schedules = &mut self.controls[index].schedules;
        schedules.waits = false;
        if !begun.asks {
            schedules.running.insert(number, (begun.timer, begun.due));
        }
        let id = TaskId::of_fire(&self.timers[begun.timer].name, begun.due);
        let store = &self.controls[index].store;
        let hosts: Vec<usize> = store.ends.keys().filter(|(of, _)| *of == id).map(|(_, host)| *host).collect();
        for host in hosts {
            self.hand_over(index, &id, host);
        }
        self.schedules_go_on(index);
    }

    /// What a host did alone is its part of the run, now that there is one.
    fn hand_over(&mut self, index: usize, id: &TaskId, host: usize) {
        let store = &self.controls[index].store;
        if store.row(id, &node(host)).is_some()
            && let Some(report) = store.ends.get(&(id.clone(), host)).cloned()
        {
            self.word(index, Word::Report { host, report, kept: None });
        }
    }
}
