//! A control plane's shell: it takes words in turns, keeps what the core decides, and
//! only then sends it.

use super::Sabotage;
use super::plan::{HOSTS, Ms, SECOND, WALL, Wish, name, node};
use super::store::{Backup, Head, Put, Row, Store};
use super::wire::{Down, LEASE, Up};
use super::world::{Event, World};
use hostler_agent_core::tasks::Kept;
use hostler_core::runs::budget::Budget;
use hostler_core::runs::{Effect, Held, Input, Link, Run, Runs, Task, Verb, View};
use hostler_types::{NodeId, Now, Stamp, TaskId, TaskOffer, TaskReport, TaskState, TaskStep, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const LOOK: Ms = 60 * SECOND;
const BACKUP_EVERY: Ms = 10 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Ready,
    Away,
    Lost,
}

pub enum Word {
    Begin(Box<Wish>),
    Control { number: u64, verb: Verb },
    Report { host: usize, report: TaskReport, kept: Option<(u64, u64)> },
    Connected { host: usize },
}

/// A turn that was decided, and is being kept and sent.
pub struct Flight {
    txns: VecDeque<Vec<Put>>,
    sends: Vec<(usize, Down)>,
    over: Vec<u64>,
    /// Which host's spool is kept up to where, and on which stream that is said.
    acks: Vec<(usize, u64, u64)>,
    aborts: Vec<TaskId>,
}

pub struct Control {
    pub stamp: Stamp,
    pub up: bool,
    pub life: u32,
    pub skew: i64,
    started: Ms,
    pub store: Store,
    newest: u64,
    pub backups: VecDeque<Backup>,
    pub runs: Runs,
    steps: BTreeMap<u64, Vec<TaskStep>>,
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

/// What is so, as this control plane knows it.
pub struct Fleet<'a> {
    control: &'a Control,
    world: &'a World,
    budgets: Vec<Budget>,
}

impl<'a> Fleet<'a> {
    pub fn new(world: &'a World, control: &'a Control) -> Self {
        let mut budgets = world.budgets.clone();
        for budget in &mut budgets {
            budget.nodes.retain(|node, _| !world.places.get(node).is_some_and(|host| world.removed.contains(host)));
        }
        Self { control, world, budgets }
    }

    pub fn host(&self, node: &NodeId) -> usize {
        self.world.places[node]
    }

    /// A task that this control plane let begin, and has not given up, disturbs it.
    pub fn is_at_work(&self, host: usize) -> bool {
        let world = self.world;
        let disturbs = |kept: &Kept| match kept {
            Kept::Open(record) if record.offer.steps.iter().any(TaskStep::disturbs) => {
                let state = self.control.store.state_of(&record.offer.id, &node(host));
                world.controls.len() == 1 && state != Some(TaskState::Lost)
            }
            _ => false,
        };
        world.hosts[host].up && world.hosts[host].disk.values().any(disturbs)
    }
}

impl View for Fleet<'_> {
    fn link(&self, node: &NodeId) -> Link {
        let host = self.host(node);
        if self.world.removed.contains(&host) {
            return Link::Gone;
        }
        let ready = self.control.seen[host] == Seen::Ready && self.control.live[host].is_some();
        if ready { Link::Ready } else { Link::Away }
    }

    fn may_lack_some(&self) -> bool {
        !self.world.removed.is_empty()
    }

    fn brake(&self, node: &NodeId) -> Option<Held> {
        let held = || Held { words: "frozen by ada".into(), origin: String::new() };
        self.world.frozen.contains(&self.host(node)).then(held)
    }

    fn down(&self, node: &NodeId) -> Option<String> {
        let host = self.host(node);
        match self.control.seen[host] {
            Seen::Ready => self.control.sick.contains(&host).then(|| "fails check ok".to_owned()),
            Seen::Away => Some("is away".to_owned()),
            Seen::Lost => Some("is lost".to_owned()),
        }
    }

    fn budgets(&self) -> &[Budget] {
        &self.budgets
    }
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
        control.live = vec![None; HOSTS];
        control.seen = vec![Seen::Away; HOSTS];
        control.renewed = vec![now; HOSTS];
        let runs = control.store.load(control.clock(now));
        let open = control.store.heads.iter().filter(|(_, head)| !head.state.is_over());
        control.steps = open.map(|(number, head)| (*number, head.steps.clone())).collect();
        control.runs.restore(control.clock(now), runs);
        control.newest = control.store.newest;
        let (life, stamp) = (control.life, control.stamp);
        self.judge.begins_anew(now, index, &self.controls[index].store, &self.places);
        self.tell(|| format!("control {index} begins, {}.{}", stamp.lineage, stamp.term));
        for host in 0..HOSTS {
            self.at(now + LEASE, Event::LeaseEnds { control: index, life, host, renewed: now });
        }
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
        puts.dedup_by(|later, earlier| !matches!(later, Put::Note(_)) && later.key() == earlier.key());
        let mut txns = VecDeque::new();
        let size = if self.dice.chance(100) { 5 } else { 98 };
        while !puts.is_empty() {
            let rest = puts.split_off(size.min(puts.len()));
            txns.push_back(std::mem::replace(&mut puts, rest));
        }
        let sends = self.sends(index, &effects);
        let over =
            effects.iter().filter_map(|effect| if let Effect::Over { number } = effect { Some(*number) } else { None });
        let flight = Flight { txns, sends, over: over.collect(), acks, aborts };
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
            Word::Begin(wish) => self.begin(index, *wish),
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

    fn begin(&mut self, index: usize, wish: Wish) -> Input {
        let control = &mut self.controls[index];
        control.newest += 1;
        let number = control.newest;
        let at = control.clock(self.now).wall;
        let id = TaskId::of_run(control.stamp.lineage, number);
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
            let (number, _) = store.heads.iter().find(|(_, head)| head.order.task == report.id)?;
            let row = store.tasks.get(&(*number, node(host)))?;
            let lost = row.report.state == TaskState::Lost;
            lost.then(|| Put::Task(*number, node(host), Box::new(Row { report, ..row.clone() })))
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
                Some(vec![Put::Newest(control.newest), Put::Head(*number, Box::new(head))])
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

    pub fn hears_of(&mut self, index: usize, host: usize, stream: u64, message: Up) {
        if let Up::Hello { tasks, sick } = message {
            return self.opens(index, host, stream, tasks, sick);
        }
        if self.controls[index].live[host] != Some(stream) {
            return;
        }
        match message {
            Up::Task(report) => {
                if self.controls[index].runs.waits_for(&node(host), &report.id) {
                    self.word(index, Word::Report { host, report, kept: None });
                }
            }
            Up::Health(sick) => {
                if sick {
                    self.controls[index].sick.insert(host)
                } else {
                    self.controls[index].sick.remove(&host)
                };
                self.poke_if_held(index);
            }
            Up::Spool { seq, report } => {
                let acked = self.controls[index].store.marks.get(&host).copied().unwrap_or_default();
                if seq <= acked {
                    return self.send_down(stream, Down::Ack { seq: acked });
                }
                self.word(index, Word::Report { host, report, kept: Some((stream, seq)) });
            }
            Up::Hello { .. } => {}
        }
    }

    fn opens(&mut self, index: usize, host: usize, stream: u64, tasks: Vec<TaskReport>, sick: bool) {
        if self.removed.contains(&host) {
            return self.breaks(stream);
        }
        self.tell(|| format!("web{host} is connected to control {index}"));
        let control = &mut self.controls[index];
        control.live[host] = Some(stream);
        (control.seen[host], control.renewed[host]) = (Seen::Ready, self.now);
        if sick {
            control.sick.insert(host)
        } else {
            control.sick.remove(&host)
        };
        let acked = control.store.marks.get(&host).copied().unwrap_or_default();
        self.send_down(stream, Down::Welcome { acked });
        self.send_orders(index, host);
        for report in tasks {
            if self.controls[index].runs.waits_for(&node(host), &report.id) {
                self.word(index, Word::Report { host, report, kept: None });
            }
        }
        self.word(index, Word::Connected { host });
    }

    pub fn send_orders(&mut self, index: usize, host: usize) {
        let Some(stream) = self.controls[index].live[host] else { return };
        self.controls[index].stamp.generation += 1;
        let (stamp, frozen) = (self.controls[index].stamp, self.frozen.contains(&host));
        self.send_down(stream, Down::Orders { stamp, frozen });
    }

    pub fn control_hears(&mut self, stream: u64) {
        let line = &self.streams[&stream];
        let (index, host, life) = (line.control, line.host, line.control_life);
        self.streams.remove(&stream);
        let now = self.now;
        let control = &mut self.controls[index];
        if !control.lives(life) || control.live[host] != Some(stream) {
            return;
        }
        control.live[host] = None;
        if control.seen[host] == Seen::Ready {
            control.seen[host] = Seen::Away;
        }
        control.renewed[host] = now;
        self.at(now + LEASE, Event::LeaseEnds { control: index, life, host, renewed: now });
        self.poke_if_held(index);
    }

    pub fn lease_ends(&mut self, index: usize, life: u32, host: usize, renewed: Ms) {
        let silent = self.hosts[host].cut_up;
        let control = &mut self.controls[index];
        if !control.lives(life) || control.renewed[host] != renewed {
            return;
        }
        if silent || control.live[host].is_none() {
            control.seen[host] = Seen::Lost;
            self.poke_if_held(index);
        }
    }

    /// A stream that was silent goes on.
    pub fn heard_again(&mut self, index: usize, host: usize) {
        let now = self.now;
        let control = &mut self.controls[index];
        if control.up && control.live[host].is_some() {
            (control.seen[host], control.renewed[host]) = (Seen::Ready, now);
            self.poke_if_held(index);
        }
    }
}

fn brief(message: &Down) -> String {
    match message {
        Down::Offer(offer) => format!("offer {} by {}", offer.id, offer.begin_by),
        Down::Cancel { id, .. } => format!("cancel {id}"),
        other => format!("{other:?}"),
    }
}
