//! A host: its agent's shell around the ledger, what that has on its disk, and what
//! programs, services and the machine itself do.

use super::Sabotage;
use super::control::shown;
use super::plan::{Ms, SECOND};
use super::wire::{Down, Up};
use super::world::{Event, World};
use hostler_agent_core::tasks::{CheckStands, Effect, Fate, Found, Input, Kept, Ledger, OnHost, Over, Stands};
use hostler_types::{Brake, BrakeKind, Now, ServiceVerb, Stamp, TaskId, TaskReport, TaskState, Timestamp};
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
    service_started: Timestamp,
    sick: bool,
    pub stream: Option<u64>,
    shown: BTreeMap<TaskId, TaskReport>,
    skew_known: Option<i64>,
    pub cut_down: bool,
    pub cut_up: bool,
    pub dies_in: Option<(usize, Ms)>,
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
            service_started: Timestamp::default(),
            sick: false,
            stream: None,
            shown: BTreeMap::new(),
            skew_known: None,
            cut_down: false,
            cut_up: false,
            dies_in: None,
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
        (host.powered, host.boot) = (true, host.boot + 1);
        host.units.clear();
        host.starting.clear();
        host.restarting.clear();
        let boot = host.boot;
        self.judge.booted.insert(index, now);
        if now > 0 {
            self.later(SECOND, 5 * SECOND, Event::Restarts { host: index, boot, place: None });
        } else {
            self.hosts[index].service_started = shown(0, 0);
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
        let mut found = Found { boot: format!("boot {}", host.boot), ..Found::default() };
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
    }

    /// What runs there goes on without it.
    fn agent_dies(&mut self, index: usize) {
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
        self.hosts[index].skew += by;
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
            self.hosts[index].skew_known = Some(self.hosts[index].skew - self.controls[line.control].skew);
        }
    }

    pub fn sick(&mut self, index: usize, sick: bool) {
        self.hosts[index].sick = sick;
        if let Some(stream) = self.hosts[index].stream {
            self.send_up(stream, Up::Health(sick));
        }
    }

    // The link.

    pub fn dial(&mut self, index: usize, life: u32) {
        if !self.lives(index, life) || self.hosts[index].stream.is_some() || self.removed.contains(&index) {
            return;
        }
        // One that is of a time that is over may be asked still.
        let old = self.main > 0 && self.controls[0].up && self.dice.chance(400);
        let control = if old { 0 } else { self.main };
        if self.hosts[index].is_cut() || !self.controls[control].up {
            return self.later(200, 3 * SECOND, Event::Dial { host: index, life });
        }
        let stream = self.connect(index, control);
        let host = &mut self.hosts[index];
        host.stream = Some(stream);
        let (tasks, sick) = (host.shown.values().cloned().collect(), host.sick);
        self.send_up(stream, Up::Hello { tasks, sick });
        self.measures_soon(index);
    }

    pub fn gives_up(&mut self, index: usize, life: u32, stream: u64) {
        if self.lives(index, life) && self.hosts[index].stream == Some(stream) && self.hosts[index].is_cut() {
            self.breaks(stream);
        }
    }

    pub fn host_hears(&mut self, stream: u64) {
        let Some(index) = self.hosts.iter().position(|host| host.stream == Some(stream)) else { return };
        self.hosts[index].stream = None;
        let life = self.hosts[index].life;
        self.later(200, 3 * SECOND, Event::Dial { host: index, life });
    }

    pub fn hears(&mut self, index: usize, stream: u64, message: Down) {
        let life = self.hosts[index].life;
        match message {
            Down::Welcome { acked } => {
                self.hosts[index].spool.retain(|(seq, _)| *seq > acked);
                for (seq, report) in self.hosts[index].spool.clone() {
                    self.send_up(stream, Up::Spool { seq, report });
                }
            }
            Down::Orders { stamp, frozen } => {
                let host = &mut self.hosts[index];
                // Its gatekeeper.
                if host.ruled.is_none_or(|seen| stamp >= seen) {
                    (host.ruled, host.frozen) = (Some(stamp), frozen);
                    self.judge.ruled(index, stamp);
                }
            }
            Down::Ack { seq } => self.hosts[index].spool.retain(|(one, _)| *one > seq),
            ask => {
                let at = self.hosts[index].busy_until.max(self.now) + self.dice.between(0, 3);
                self.hosts[index].busy_until = at;
                self.at(at, Event::Ask { host: index, life, ask: Box::new(ask) });
            }
        }
    }

    // The worker.

    pub fn asked(&mut self, index: usize, life: u32, ask: Down) {
        if !self.lives(index, life) {
            return;
        }
        let host = &self.hosts[index];
        let wall = host.clock(self.now).wall;
        let skew = host.skew_known.unwrap_or(0);
        let corrected = Timestamp::from_millis(wall.as_millis().saturating_add_signed(-skew));
        let frozen = Brake { kind: BrakeKind::Frozen, check: None, until: None, words: "by ada".into() };
        let brakes = if host.frozen { vec![frozen] } else { Vec::new() };
        if let Some(stamp) = host.ruled.filter(|_| self.sabotage != Sabotage::ForgetsStamp) {
            self.step(index, Input::Ruled(stamp));
        }
        self.step(index, Input::Brakes(brakes));
        if !self.lives(index, life) {
            return;
        }
        match ask {
            Down::Offer(offer) => self.step(index, Input::Offer { offer, corrected }),
            Down::Cancel { id, stamp, words } => self.step(index, Input::Cancel { id, stamp, words }),
            _ => {}
        }
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
                if let Some((left, span)) = self.hosts[index].dies_in.as_mut() {
                    if *left == 0 {
                        let (span, life) = (*span, self.hosts[index].life + 1);
                        self.agent_dies(index);
                        return self.at(self.now + span, Event::AgentBack { host: index, life });
                    }
                    *left -= 1;
                }
                self.tell(|| format!("web{index}:     -> {}", brief(&effect)));
                inputs.extend(self.carry_out(index, effect, asked.as_ref()));
            }
        }
        self.tick_again(index);
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
                let started = Some(self.hosts[index].service_started);
                return Some(Input::ServiceSeen { id, step, started });
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

    fn answer(&mut self, index: usize, after: Ms, (id, step): Place, fate: Fate) {
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
        if let Some(stream) = host.stream {
            self.send_up(stream, Up::Spool { seq, report });
        }
    }

    // Programs, services, the machine.

    pub fn starts(&mut self, index: usize, boot: u32, place: Place, after: Ms, fate: Fate) {
        if !self.hosts[index].powered || self.hosts[index].boot != boot {
            return;
        }
        self.took_effect(index, &place);
        let host = &mut self.hosts[index];
        host.starting.remove(&place);
        host.units.insert(place.clone(), None);
        let (life, (id, step)) = (host.life, place.clone());
        if host.up && host.watched.contains(&place) {
            let input = Box::new(Input::Began { id, step });
            self.later(1, 5, Event::ToAgent { host: index, life, input });
        }
        self.at(self.now + after, Event::Ends { host: index, boot, place, fate });
    }

    pub fn ends(&mut self, index: usize, boot: u32, place: Place, fate: Fate) {
        let host = &mut self.hosts[index];
        if !host.powered || host.boot != boot {
            return;
        }
        let Some(unit) = host.units.get_mut(&place).filter(|unit| unit.is_none()) else { return };
        *unit = Some(fate.clone());
        if host.up && host.watched.contains(&place) {
            self.answer(index, 3, place, fate);
        }
    }

    pub fn stopped(&mut self, index: usize, boot: u32, life: u32, place: Place) {
        let host = &mut self.hosts[index];
        if !host.powered || host.boot != boot {
            return;
        }
        // The executor does one thing after the other with each unit.
        if host.starting.contains(&place) {
            return self.at(self.now + 20, Event::Stopped { host: index, boot, life, place });
        }
        let fate = match host.units.remove(&place) {
            Some(None) => Fate::Signal(15),
            Some(Some(fate)) => fate,
            None => Fate::Unknown("it is not there".into()),
        };
        let (id, step) = place;
        if self.lives(index, life) {
            self.step(index, Input::Ended { id, step, fate, output: None });
        }
    }

    /// By a task, or since the host began.
    pub fn restarts(&mut self, index: usize, boot: u32, place: Option<Place>) {
        let host = &mut self.hosts[index];
        if !host.powered || host.boot != boot {
            return;
        }
        let Some(place) = place else {
            host.service_started = host.clock(self.now).wall;
            return;
        };
        let Some(life) = host.restarting.remove(&place) else { return };
        host.service_started = host.clock(self.now).wall;
        self.took_effect(index, &place);
        if self.lives(index, life) {
            self.answer(index, 100, place, Fate::Done { words: String::new(), changed: true });
        }
    }

    pub fn shuts_down(&mut self, index: usize, boot: u32, place: Place) {
        if !self.hosts[index].powered || self.hosts[index].boot != boot {
            return;
        }
        self.took_effect(index, &place);
        let span = self.dice.between(3 * SECOND, 20 * SECOND);
        self.power_cut(index, span);
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
