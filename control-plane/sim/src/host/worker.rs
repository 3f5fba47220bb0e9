//! The shell around the ledger of tasks: it carries out what that decides, in its order.

use super::Place;
use crate::Sabotage;
use crate::plan::{Deed, Ms, SECOND};
use crate::wire::{Down, Up};
use crate::world::{Event, World};
use hostler_agent_core::tasks::{CheckStands, Effect, Fate, Input, Kept};
use hostler_types::{Brake, BrakeKind, ServiceVerb, Stamp, TaskId, TaskReport, TaskState};
use std::collections::VecDeque;
use std::time::Duration;

impl World {
    pub fn asked(&mut self, index: usize, life: u32, ask: Down) {
        if !self.lives(index, life) {
            return;
        }
        let corrected = self.corrected(index).wall;
        self.what_holds(index);
        if !self.lives(index, life) {
            return;
        }
        match ask {
            Down::Offer(offer) => self.step(index, Input::Offer { offer, corrected }),
            Down::Cancel { id, stamp, words } => self.step(index, Input::Cancel { id, stamp, words }),
            _ => {}
        }
    }

    /// By the orders that are in force here.
    pub(super) fn what_holds(&mut self, index: usize) {
        let host = &self.hosts[index];
        let frozen = Brake { kind: BrakeKind::Frozen, check: None, until: None, words: "by ada".into() };
        let brakes = if host.frozen { vec![frozen] } else { Vec::new() };
        if let Some(stamp) = host.ruled.filter(|_| self.sabotage != Sabotage::ForgetsStamp) {
            self.step(index, Input::Ruled(stamp));
        }
        self.step(index, Input::Brakes(brakes));
    }

    pub fn tick(&mut self, index: usize, life: u32, at: Ms) {
        if self.lives(index, life) && self.hosts[index].ticks_at == at {
            self.hosts[index].ticks_at = Ms::MAX;
            self.step(index, Input::Tick);
        }
    }

    /// Effects in their order, each as the worker does it. It may die between any two.
    pub fn step(&mut self, index: usize, input: Input) {
        if !self.hosts[index].up {
            return;
        }
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let asked = asked_by(&input);
            self.tell(|| format!("web{index}: {input:?}"));
            let now = self.hosts[index].clock(self.now);
            let mut effects = self.hosts[index].ledger.step(now, input);
            if self.sabotage == Sabotage::ActsFirst {
                effects.sort_by_key(|effect| matches!(effect, Effect::Keep(_)));
            }
            for effect in effects {
                if self.dies_now(index) {
                    return;
                }
                self.tell(|| format!("web{index}:     -> {}", brief(&effect)));
                inputs.extend(self.carry_out(index, effect, asked.as_ref()));
            }
        }
        self.tick_again(index);
    }

    /// Between two things that it does.
    pub(super) fn dies_now(&mut self, index: usize) -> bool {
        self.power_may_fail(index);
        let Some((left, span)) = self.hosts[index].dies_in.as_mut() else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        let (span, life) = (*span, self.hosts[index].life + 1);
        self.agent_dies(index);
        self.at(self.now + span, Event::AgentBack { host: index, life });
        true
    }

    fn power_may_fail(&mut self, index: usize) {
        let Some((left, delay, span)) = self.hosts[index].fails_in.as_mut() else { return };
        if *left > 0 {
            *left -= 1;
            return;
        }
        let (delay, span) = (*delay, *span);
        self.hosts[index].fails_in = None;
        self.at(self.now + delay, Event::Deed(Deed::PowerCut(index, span)));
    }

    fn tick_again(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let Some(due) = host.ledger.next_deadline() else { return };
        let at = (host.started + u64::try_from(due.as_millis()).expect("a span")).max(self.now);
        if at < host.ticks_at {
            host.ticks_at = at;
            let life = host.life;
            self.at(at, Event::Tick { host: index, life, at });
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect, asked: Option<&(TaskId, Stamp)>) -> Option<Input> {
        self.begins(index, &effect);
        let boot = self.hosts[index].boot;
        match effect {
            Effect::Keep(kept) => self.keep(index, kept, asked),
            Effect::Start { id, step, command } => {
                let place = (id, step);
                self.hosts[index].watched.insert(place.clone());
                self.hosts[index].starting.insert(place.clone());
                let (after, fate) = self.program(&command.argv);
                self.later(5, 200, Event::Starts { host: index, boot, place, after, fate });
            }
            Effect::Follow { id, step } => drop(self.hosts[index].watched.insert((id, step))),
            Effect::Stop { id, step } => {
                let life = self.hosts[index].life;
                let slow = if self.dice.chance(200) { 10 * SECOND } else { 100 };
                self.later(10, slow, Event::Stopped { host: index, boot, life, place: (id, step) });
            }
            Effect::Service { id, step, verb, .. } => {
                let place = (id, step);
                if verb == ServiceVerb::Restart {
                    let life = self.hosts[index].life;
                    self.hosts[index].restarting.insert(place.clone(), life);
                    self.later(500, 3 * SECOND, Event::Restarts { host: index, boot, place: Some(place) });
                } else {
                    self.answer(index, SECOND, place, Fate::Done { words: String::new(), changed: false });
                }
            }
            Effect::Packages { id, step, .. } => {
                let slow = self.dice.between(SECOND, 15 * SECOND);
                self.answer(index, slow, (id, step), Fate::Done { words: "2 packages".into(), changed: true });
            }
            Effect::User { id, step, .. } | Effect::File { id, step, .. } | Effect::Firewall { id, step, .. } => {
                self.answer(index, SECOND, (id, step), Fate::Done { words: String::new(), changed: true });
            }
            Effect::Reboot { id, step, .. } => {
                self.later(500, 2 * SECOND, Event::Shutdown { host: index, boot, place: (id, step) });
            }
            Effect::LookAtService { id, step, .. } => {
                let runs_for = self.hosts[index].service_started.map(|at| Duration::from_millis(self.now - at));
                return Some(Input::ServiceSeen { id, step, runs_for });
            }
            Effect::LookAtCheck { id, step, .. } => {
                let (wall, passing) = (self.hosts[index].clock(self.now).wall, self.dice.chance(700));
                let seen = CheckStands { passing, last_run: wall, words: "503".into() };
                return Some(Input::CheckSeen { id, step, seen: Some(seen) });
            }
            // No run here has one: the ledger's own model plays them.
            Effect::Plugin { .. } => {}
            Effect::Stale { .. } => self.judge.tally.stale += 1,
            Effect::Report(report) => self.shows(index, report),
            Effect::End(report) => {
                self.hosts[index].shown.remove(&report.id);
                self.spools(index, *report);
            }
            Effect::TellAgain(id) => {
                let at = self.hosts[index].clock(self.now).wall;
                let unknown = || TaskReport::new(id.clone(), TaskState::Interrupted, at, "how it ended was not kept");
                let report = self.hosts[index].end_of(&id).cloned().unwrap_or_else(unknown);
                self.spools(index, report);
            }
            Effect::Forget(id) => drop(self.hosts[index].disk.remove(&id)),
        }
        None
    }

    fn keep(&mut self, index: usize, kept: Kept, asked: Option<&(TaskId, Stamp)>) {
        let wrong = self.judge.keeps(self.now, &self.hosts[index], &kept, asked);
        wrong.into_iter().for_each(|what| self.fail(what));
        let id = kept.id().clone();
        let before = self.hosts[index].disk.insert(id.clone(), kept);
        self.hosts[index].before = Some((id, before));
    }

    fn program(&mut self, argv: &[String]) -> (Ms, Fate) {
        let fails = self.dice.chance(60);
        match argv[0].as_str() {
            "quick" => (self.dice.between(10, 300), Fate::Exit(i32::from(fails))),
            "short" => (self.dice.between(SECOND, 8 * SECOND), Fate::Exit(i32::from(fails))),
            "fails" => (2 * SECOND, Fate::Exit(3)),
            "long" => (self.dice.between(20 * SECOND, 90 * SECOND), Fate::Exit(0)),
            _ => (3_600 * SECOND, Fate::Exit(0)),
        }
    }

    pub(super) fn answer(&mut self, index: usize, after: Ms, (id, step): Place, fate: Fate) {
        let lost = std::mem::take(&mut self.hosts[index].loses);
        let fate = if lost { Fate::Unknown("lost".into()) } else { fate };
        let life = self.hosts[index].life;
        let input = Box::new(Input::Ended { id, step, fate, output: None });
        self.at(self.now + after, Event::ToAgent { host: index, life, input });
    }

    fn shows(&mut self, index: usize, report: TaskReport) {
        let host = &mut self.hosts[index];
        if host.ledger.reports().any(|one| one.id == report.id) {
            host.shown.insert(report.id.clone(), report.clone());
        }
        if let Some(stream) = host.stream {
            self.send_up(stream, Up::Task(report));
        }
    }

    fn spools(&mut self, index: usize, report: TaskReport) {
        let wrong = self.judge.tells(index, &report);
        wrong.into_iter().for_each(|what| self.fail(what));
        let host = &mut self.hosts[index];
        host.seq += 1;
        let seq = host.seq;
        host.spool.push_back((seq, report.clone()));
        // All of it is sent once it is greeted.
        if let Some(stream) = host.stream.filter(|_| host.by_itself.linked) {
            self.send_up(stream, Up::Spool { seq, report });
        }
    }
}

/// Who asks for what.
fn asked_by(input: &Input) -> Option<(TaskId, Stamp)> {
    match input {
        Input::Offer { offer, .. } => Some((offer.id.clone(), offer.stamp)),
        Input::Cancel { id, stamp, .. } => Some((id.clone(), *stamp)),
        _ => None,
    }
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Keep(Kept::Open(record)) => format!("keep {} at step {}", record.offer.id, record.report.done),
        Effect::Keep(Kept::Over { report, .. }) => format!("keep {} as {}", report.id, report.state),
        Effect::Report(report) => format!("show {} as {}", report.id, report.state),
        Effect::End(report) => format!("tell {} as {}: {}", report.id, report.state, report.words),
        other => format!("{other:?}"),
    }
}
