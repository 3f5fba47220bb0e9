//! A turn: what came is decided on, what was decided is kept, and only then sent.

use super::{Fleet, Flight, Word};
use crate::Sabotage;
use crate::plan::{Ms, SECOND, Wish, name, node};
use crate::store::{Became, Beside, Head, Put, Row};
use crate::wire::Down;
use crate::world::{Event, World};
use hostler_core::runs::{Effect, Input, Run, Task, Verb};
use hostler_types::{Stamp, TaskId, TaskOffer, TaskReport, TaskState};
use std::collections::VecDeque;

const LOOK: Ms = 60 * SECOND;
const BACKUP_EVERY: Ms = 10 * SECOND;

impl World {
    pub fn look(&mut self, index: usize, life: u32, at: Ms) {
        let control = &self.controls[index];
        if control.lives(life) && control.looks_at == at {
            self.controls[index].looks_at = Ms::MAX;
            self.poke(index);
        }
    }

    pub fn turn(&mut self, index: usize, life: u32) {
        if !self.controls[index].lives(life) {
            return;
        }
        self.controls[index].waits = false;
        // One turn after the other.
        if self.controls[index].flight.is_some() {
            self.controls[index].again = true;
            return;
        }
        let now = self.controls[index].clock(self.now);
        let words = std::mem::take(&mut self.controls[index].inbox);
        let (mut acks, mut aborts, mut late) = (Vec::new(), Vec::new(), Vec::new());
        let mut inputs = Vec::new();
        for word in words {
            inputs.push(self.input(index, word, &mut acks, &mut aborts, &mut late));
        }
        let mut runs = std::mem::take(&mut self.controls[index].runs);
        let mut judge = std::mem::take(&mut self.judge);
        let fleet = Fleet::new(self, &self.controls[index]);
        let effects = runs.step(now, &fleet, inputs);
        let wrong = judge.decided(self.now, index, &fleet, &runs, &effects);
        self.judge = judge;
        self.controls[index].runs = runs;
        wrong.into_iter().for_each(|what| self.fail(what));
        let mut puts = self.puts(index, &effects);
        puts.extend(self.mended(index, late));
        puts.sort_by_key(Put::key);
        // Each key has one value, however often it was decided on.
        puts.dedup_by(|later, earlier| !matches!(later, Put::Note(_) | Put::End(..)) && later.key() == earlier.key());
        let mut txns = VecDeque::new();
        let size = if self.dice.chance(100) { 5 } else { 98 };
        while !puts.is_empty() {
            let rest = puts.split_off(size.min(puts.len()));
            txns.push_back(std::mem::replace(&mut puts, rest));
        }
        let sends = self.sends(index, &effects);
        let over =
            effects.iter().filter_map(|effect| if let Effect::Over { number } = effect { Some(*number) } else { None });
        let over = over.collect();
        let begun = std::mem::take(&mut self.controls[index].beside).into_iter().collect();
        let flight = Flight { txns, sends, over, acks, aborts, begun };
        self.controls[index].flight = Some(flight);
        self.look_again(index);
        if self.sabotage == Sabotage::SendsFirst && !self.sends_all(index) {
            return;
        }
        self.goes_on(index);
    }

    fn look_again(&mut self, index: usize) {
        let control = &mut self.controls[index];
        let due = control
            .runs
            .next_deadline()
            .map_or(Ms::MAX, |at| control.started + u64::try_from(at.as_millis()).expect("a span"));
        let at = due.max(self.now).min(self.now + LOOK);
        control.looks_at = at;
        let life = control.life;
        if self.sabotage != Sabotage::NeverLooks {
            self.at(at, Event::Look { control: index, life, at });
        }
    }

    /// A write takes some milliseconds.
    fn goes_on(&mut self, index: usize) {
        let Some(flight) = &self.controls[index].flight else { return };
        if !flight.txns.is_empty() {
            let life = self.controls[index].life;
            return self.later(1, 15, Event::Written { control: index, life });
        }
        if self.sends_all(index) {
            self.lands(index);
        }
    }

    pub fn written(&mut self, index: usize, life: u32) {
        if !self.controls[index].lives(life) || self.stage(index) {
            return;
        }
        let Some(flight) = &mut self.controls[index].flight else { return };
        let txn = flight.txns.pop_front().unwrap_or_default();
        for put in txn {
            let wrong = self.judge.kept(index, &self.controls[index].store, &put);
            wrong.into_iter().for_each(|what| self.fail(what));
            if let Put::Head(number, _, Some(beside)) = &put {
                let became = Became::Run { number: *number, at: self.now, asks: beside.asks };
                self.became(index, beside.timer, beside.due, became);
                self.keep_ledger(index, beside.timer, &beside.ledger);
            }
            self.controls[index].store.put(put);
        }
        self.goes_on(index);
    }

    fn sends_all(&mut self, index: usize) -> bool {
        let Some(flight) = &mut self.controls[index].flight else { return false };
        for (host, message) in std::mem::take(&mut flight.sends) {
            if self.stage(index) {
                return false;
            }
            self.tell(|| format!("control {index} -> web{host}: {}", brief(&message)));
            let Some(stream) = self.controls[index].live[host] else { continue };
            // Its queue is full: it is tried again as if it came back.
            if self.dice.chance(10) {
                self.controls[index].inbox.push(Word::Connected { host });
                continue;
            }
            self.send_down(stream, message);
        }
        true
    }

    fn lands(&mut self, index: usize) {
        let Some(flight) = self.controls[index].flight.take() else { return };
        for (number, beside) in flight.begun {
            self.fire_begun(index, number, &beside);
        }
        if !flight.over.is_empty() {
            self.look_at_schedules(index, self.now);
        }
        for number in flight.over {
            self.controls[index].runs.forget(number);
            self.controls[index].steps.remove(&number);
        }
        self.judge.aborted.extend(flight.aborts.into_iter().map(|id| (index, id)));
        for (host, seq, stream) in flight.acks {
            let mark = self.controls[index].store.marks.entry(host).or_default();
            *mark = seq.max(*mark);
            self.send_down(stream, Down::Ack { seq });
        }
        let newest = self.controls[index].backups.back().map_or(0, |(at, _)| *at);
        if self.now >= newest + BACKUP_EVERY {
            let copy = (self.now, self.controls[index].store.clone());
            self.controls[index].backups.push_back(copy);
        }
        if std::mem::take(&mut self.controls[index].again) || !self.controls[index].inbox.is_empty() {
            self.poke(index);
        }
    }

    fn input(
        &mut self,
        index: usize,
        word: Word,
        acks: &mut Vec<(usize, u64, u64)>,
        aborts: &mut Vec<TaskId>,
        late: &mut Vec<(usize, TaskReport)>,
    ) -> Input {
        let at = self.controls[index].clock(self.now).wall;
        match word {
            Word::Begin(wish, beside) => self.begin(index, *wish, beside),
            Word::Control { number, verb } => {
                let open = self.controls[index].runs.get(number).filter(|run| !run.state.is_over());
                aborts.extend(open.filter(|_| verb == Verb::Abort).map(|run| run.order.task.clone()));
                Input::Control { number, verb, words: format!("{verb:?} by ada at {at}") }
            }
            Word::Report { host, report, kept } => {
                acks.extend(kept.map(|(stream, seq)| (host, seq, stream)));
                let known = self.controls[index].runs.iter().any(|run| run.order.task == report.id);
                if report.state.is_over() && !known {
                    late.push((host, report.clone()));
                }
                self.tell(|| format!("control {index} hears web{host}: {} {}", report.id, report.state));
                Input::Report { node: node(host), report }
            }
            Word::Connected { host } => Input::Connected { node: node(host) },
        }
    }

    fn begin(&mut self, index: usize, wish: Wish, beside: Option<Box<Beside>>) -> Input {
        let control = &mut self.controls[index];
        control.newest += 1;
        let number = control.newest;
        let at = control.clock(self.now).wall;
        let id = TaskId::of_run(control.stamp.lineage, number);
        let id = if beside.is_some() { wish.order.task.clone() } else { id };
        control.beside.extend(beside.map(|beside| (number, *beside)));
        let mut order = wish.order;
        (order.number, order.task, order.title, order.at) = (number, id.clone(), format!("run/{number}"), at);
        control.steps.insert(number, wish.steps);
        let tasks = wish.hosts.iter().enumerate().map(|(place, host)| {
            let report = TaskReport::new(id.clone(), TaskState::Planned, at, "");
            (node(*host), Task::new(name(*host), u32::try_from(place).expect("few"), report))
        });
        Input::Begin(Box::new(Run::new(order, tasks.collect())))
    }

    /// What was taken for lost was not.
    fn mended(&self, index: usize, late: Vec<(usize, TaskReport)>) -> Vec<Put> {
        let store = &self.controls[index].store;
        let put = |(host, report): (usize, TaskReport)| {
            let of_it = |number: &u64| Some((*number, store.tasks.get(&(*number, node(host)))?));
            let mut numbers =
                store.heads.iter().filter(|(_, head)| head.order.task == report.id).map(|(number, _)| number);
            let Some((number, row)) = numbers.find_map(of_it) else {
                let alone = report.id.fire().is_some() && report.state != TaskState::Undelivered;
                return alone.then(|| Put::End(report.id.clone(), host, Box::new(report)));
            };
            let was = row.report.state;
            let news = was == TaskState::Lost || (was.may_be_another() && report.state != TaskState::Undelivered);
            news.then(|| Put::Task(number, node(host), Box::new(Row { report, ..row.clone() })))
        };
        late.into_iter().filter_map(put).collect()
    }

    fn puts(&self, index: usize, effects: &[Effect]) -> Vec<Put> {
        let control = &self.controls[index];
        let put = |effect: &Effect| match effect {
            Effect::SaveRun { number } => {
                let run = control.runs.get(*number)?;
                let steps = control.steps.get(number)?.clone();
                let (state, words, ended) = (run.state, run.words.clone(), run.ended);
                let head = Head { order: run.order.clone(), steps, state, words, ended };
                let beside = control.beside.get(number).cloned().map(Box::new);
                Some(vec![Put::Newest(control.newest), Put::Head(*number, Box::new(head), beside)])
            }
            Effect::SaveTask { number, node } => {
                let task = control.runs.get(*number)?.tasks.get(node)?;
                Some(vec![Put::Task(*number, node.clone(), Box::new(Row::of(task)))])
            }
            Effect::Note { number, .. } => Some(vec![Put::Note(*number)]),
            Effect::Offer { .. } | Effect::Cancel { .. } | Effect::Over { .. } => None,
        };
        effects.iter().filter_map(put).flatten().collect()
    }

    fn sends(&self, index: usize, effects: &[Effect]) -> Vec<(usize, Down)> {
        let control = &self.controls[index];
        let stamp = Stamp { generation: 0, ..control.stamp };
        let send = |effect: &Effect| match effect {
            Effect::Offer { number, node, begin_by } => {
                let (order, steps) = (&control.runs.get(*number)?.order, control.steps.get(number)?.clone());
                let offer = TaskOffer {
                    id: order.task.clone(),
                    stamp,
                    title: order.title.clone(),
                    by: order.by.clone(),
                    reason: order.reason.clone(),
                    steps,
                    timeout: order.timeout,
                    begin_by: *begin_by,
                };
                Some((self.places[node], Down::Offer(Box::new(offer))))
            }
            Effect::Cancel { node, task, words } => {
                Some((self.places[node], Down::Cancel { id: task.clone(), stamp, words: words.clone() }))
            }
            _ => None,
        };
        effects.iter().filter_map(send).collect()
    }
}

fn brief(message: &Down) -> String {
    match message {
        Down::Offer(offer) => format!("offer {} by {}", offer.id, offer.begin_by),
        Down::Cancel { id, .. } => format!("cancel {id}"),
        other => format!("{other:?}"),
    }
}
