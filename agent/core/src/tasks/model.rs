//! The ledger against a host that does what it likes: the agent dies between any two
//! effects, the host reboots, messages come twice, late or never.

mod plugin;

use super::*;
use hostler_types::{BrakeKind, Now, TaskStep};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const TIMEOUT: Duration = Duration::from_secs(40);
/// One that ends late was being stopped, and its program may not want to.
const LATE_MAX: Duration = Duration::from_secs(31);

#[derive(Clone, Debug)]
enum Deed {
    Pass(u16),
    Offer(Vec<u8>),
    /// Of a control plane whose time is over; too late.
    Stale(Vec<u8>),
    Late(Vec<u8>),
    /// One that was offered before.
    Again(usize),
    Cancel(usize),
    /// Of one that is offered next.
    CancelAhead,
    AgentDies,
    /// After so many effects more.
    AgentDiesIn(usize),
    Reboot,
    /// Neither the agent, nor, where that is said, the host is there for so long.
    Away(u32, bool),
    /// Nobody knows whether what is asked next is done.
    Lose,
    Freeze(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    let steps = || proptest::collection::vec(0u8..13, 1..4);
    prop_oneof![
        8 => (1u16..20_000).prop_map(Deed::Pass),
        8 => steps().prop_map(Deed::Offer),
        1 => steps().prop_map(Deed::Stale),
        1 => steps().prop_map(Deed::Late),
        3 => (0usize..8).prop_map(Deed::Again),
        3 => (0usize..8).prop_map(Deed::Cancel),
        1 => Just(Deed::CancelAhead),
        2 => Just(Deed::AgentDies),
        4 => (0usize..12).prop_map(Deed::AgentDiesIn),
        2 => Just(Deed::Reboot),
        2 => (1u32..90_000, any::<bool>()).prop_map(|(millis, host)| Deed::Away(millis, host)),
        1 => Just(Deed::Lose),
        1 => any::<bool>().prop_map(Deed::Freeze),
    ]
}

type Place = (TaskId, u32);

#[derive(Clone, Debug)]
enum Coming {
    ToAgent(Input),
    /// A program that ends after so many milliseconds, if nobody stops it.
    Starts(Place, u64, Fate),
    /// A program ends by itself, or since it was stopped.
    Ends(Place, Fate),
    Stopped(Place),
    Restarts,
    Shutdown,
}

struct World {
    now: Now,
    ledger: Ledger,
    disk: BTreeMap<TaskId, Kept>,
    /// Nothing: it runs.
    units: BTreeMap<Place, Option<Fate>>,
    watched: BTreeSet<Place>,
    coming: BTreeMap<(Duration, u64), Coming>,
    count: u64,
    boot: u64,
    service_started: Timestamp,
    offers: Vec<TaskOffer>,
    /// Of what is not done twice.
    effects: BTreeMap<Place, u32>,
    told: BTreeMap<TaskId, TaskState>,
    refused: BTreeSet<TaskId>,
    plugins: plugin::Plugin,
    brakes: Vec<Brake>,
    dies_in: Option<usize>,
    lose: bool,
    away: bool,
    back: Timestamp,
    log: Vec<String>,
}

const STAMP: Stamp = Stamp { lineage: 5, term: 3, generation: 0 };

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn step(kind: u8) -> TaskStep {
    let service = |verb| TaskStep::Service { service: name("api"), verb };
    match kind {
        0..=2 => TaskStep::Command(Command { argv: vec![kind.to_string()], ..Command::default() }),
        3 => service(ServiceVerb::Restart),
        4 => service(ServiceVerb::Start),
        5 => TaskStep::Packages(Packages::Security),
        6 => TaskStep::Reboot(Reboot::Always),
        7 => TaskStep::Check { check: name("ok"), within: Duration::from_secs(9) },
        8 => TaskStep::Wait(Duration::from_secs(3)),
        11..=12 => plugin::step(kind == 12),
        10 => TaskStep::User(SystemUser { name: "shop".to_owned(), ..SystemUser::default() }),
        _ => TaskStep::Drain,
    }
}

impl World {
    fn new() -> Self {
        let now = Now { monotonic: Duration::from_secs(9), wall: Timestamp::from_millis(1_000_000_000) };
        let mut world = Self {
            now,
            ledger: Ledger::default(),
            disk: BTreeMap::new(),
            units: BTreeMap::new(),
            watched: BTreeSet::new(),
            coming: BTreeMap::new(),
            count: 0,
            boot: 1,
            service_started: now.wall,
            offers: Vec::new(),
            effects: BTreeMap::new(),
            told: BTreeMap::new(),
            refused: BTreeSet::new(),
            plugins: plugin::Plugin::default(),
            brakes: Vec::new(),
            dies_in: None,
            lose: false,
            away: false,
            back: now.wall,
            log: Vec::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        if self.away {
            return;
        }
        self.watched.clear();
        self.coming.retain(|_, one| !matches!(one, Coming::ToAgent(_)));
        // What the executor has begun it finishes, before it does anything else with the same.
        for (at, one) in std::mem::take(&mut self.coming) {
            match one {
                Coming::Starts(..) => self.later(10, one),
                one => drop(self.coming.insert(at, one)),
            }
        }
        self.ledger = Ledger::default();
        let (boot, uptime) = (format!("boot {}", self.boot), self.now.monotonic);
        let mut found = Found { boot, uptime, ..Found::default() };
        for kept in self.disk.values() {
            match kept {
                Kept::Open(record) => found.open.push((**record).clone()),
                Kept::Over { report, stamp } => {
                    found.over.push(Over { id: report.id.clone(), at: report.at, stamp: *stamp });
                }
            }
        }
        found.on_host.extend(self.units.iter().map(|((id, step), ended)| OnHost {
            id: id.clone(),
            step: *step,
            stands: match ended {
                None => Stands::Runs,
                Some(fate) => Stands::Ended { fate: fate.clone(), output: None },
            },
        }));
        self.step(Input::Ruled(STAMP));
        self.step(Input::Brakes(self.brakes.clone()));
        self.step(Input::Restored(Box::new(found)));
    }

    fn later(&mut self, millis: u64, what: Coming) {
        self.count += 1;
        self.coming.insert((self.now.monotonic + Duration::from_millis(millis), self.count), what);
    }

    fn answer(&mut self, millis: u64, (id, step): Place, fate: Fate) {
        let fate = if std::mem::take(&mut self.lose) { Fate::Unknown("lost".into()) } else { fate };
        self.later(millis, Coming::ToAgent(Input::Ended { id, step, fate, output: None }));
    }

    fn step(&mut self, input: Input) {
        if self.away {
            return;
        }
        self.log.push(format!("{:?} {input:?}", self.now.monotonic));
        for effect in self.ledger.step(self.now, input) {
            if let Some(left) = self.dies_in {
                self.dies_in = left.checked_sub(1);
                if left == 0 {
                    self.log.push("    it dies".into());
                    return self.begin();
                }
            }
            self.carry_out(effect);
        }
        assert!(self.ledger.open.len() <= AT_ONCE_MAX);
    }

    /// The intent is on the disk.
    fn acts(&mut self, place: &Place, once: bool) {
        match self.disk.get(&place.0) {
            Some(Kept::Open(record)) => {
                assert_eq!(record.report.done, place.1, "{place:?} is not kept as begun");
                assert_eq!(record.cancel, None, "{place:?} is begun after it was cancelled");
                let due = record.report.began.map(|began| began.plus(TIMEOUT));
                assert!(due.is_some_and(|due| self.now.wall < due), "{place:?} is begun too late");
            }
            other => panic!("{place:?} is done, and on the disk is {other:?}"),
        }
        let count = self.effects.entry(place.clone()).or_default();
        *count += 1;
        assert!(!once || *count == 1, "{place:?} took effect twice");
    }

    fn carry_out(&mut self, effect: Effect) {
        self.log.push(format!("    -> {effect:?}"));
        match effect {
            Effect::Keep(kept) => self.keep(kept),
            Effect::Start { id, step, command } => {
                let place = (id, step);
                self.acts(&place, true);
                self.watched.insert(place.clone());
                let (after, fate) = match command.argv[0].as_str() {
                    "0" => (30, Fate::Exit(0)),
                    "1" => (7_000, Fate::Exit(3)),
                    _ => (60_000, Fate::Exit(0)),
                };
                self.later(40, Coming::Starts(place, after, fate));
            }
            Effect::Follow { id, step } => {
                self.watched.insert((id, step));
            }
            Effect::Stop { id, step } => {
                let stubborn = step % 2 == 1;
                self.later(if stubborn { 10_000 } else { 20 }, Coming::Stopped((id, step)));
            }
            Effect::Service { id, step, verb, .. } => {
                let place = (id, step);
                self.acts(&place, verb == ServiceVerb::Restart);
                self.later(1_500, Coming::Restarts);
                self.answer(2_000, place, Fate::Done { words: String::new(), changed: true });
            }
            Effect::LookAtService { id, step, .. } => {
                // It is older by the time that this is heard of.
                let runs_for = Some(self.now.wall.since(self.service_started).saturating_add(Duration::from_millis(1)));
                self.later(1, Coming::ToAgent(Input::ServiceSeen { id, step, runs_for }));
            }
            Effect::LookAtCheck { id, step, .. } => {
                let well = self.count.is_multiple_of(3);
                let seen = CheckStands { passing: well, last_run: self.now.wall, words: "503".into() };
                self.later(40, Coming::ToAgent(Input::CheckSeen { id, step, seen: Some(seen) }));
            }
            Effect::Packages { id, step, .. } => {
                self.acts(&(id.clone(), step), false);
                self.answer(5_000, (id, step), Fate::Done { words: "2 packages".into(), changed: true });
            }
            Effect::User { id, step, .. } | Effect::File { id, step, .. } | Effect::Firewall { id, step, .. } => {
                self.acts(&(id.clone(), step), false);
                self.answer(30, (id, step), Fate::Done { words: String::new(), changed: true });
            }
            Effect::Reboot { id, step, .. } => {
                self.acts(&(id, step), false);
                self.later(900, Coming::Shutdown);
            }
            Effect::Plugin { id, step, action, ask } => self.plugin((id, step), &action, ask),
            Effect::Stale { id, .. } => drop(self.refused.insert(id)),
            Effect::Report(_) => {}
            Effect::End(report) => self.tell(&report.id),
            Effect::TellAgain(id) => self.tell(&id),
            Effect::Forget(id) => drop(self.disk.remove(&id)),
        }
    }

    fn keep(&mut self, kept: Kept) {
        if let Kept::Over { report, .. } = &kept
            && let Some(began) = report.began
        {
            let late = report.at.since(began.plus(TIMEOUT).max(self.back));
            assert!(late <= LATE_MAX, "{} is over {late:?} late", report.id);
        }
        let before = self.disk.insert(kept.id().clone(), kept.clone());
        let changed = matches!(before, Some(Kept::Over { .. })).then_some(before);
        assert_eq!(changed, None, "it was over, and is {kept:?}");
    }

    fn tell(&mut self, id: &TaskId) {
        let Some(Kept::Over { report, .. }) = self.disk.get(id) else { panic!("{id} is told, and not kept as over") };
        let before = self.told.insert(id.clone(), report.state);
        assert!(before.is_none_or(|before| before == report.state), "{id} was {before:?}, and is {report:?}");
    }

    fn come(&mut self, what: Coming) {
        match what {
            Coming::ToAgent(input) => self.step(input),
            Coming::Starts(place, after, fate) => {
                assert!(self.units.insert(place.clone(), None).is_none(), "there is one already");
                if self.watched.contains(&place) {
                    let (id, step) = place.clone();
                    self.later(1, Coming::ToAgent(Input::Began { id, step }));
                }
                self.later(after, Coming::Ends(place, fate));
            }
            Coming::Ends(place, fate) => {
                let Some(unit) = self.units.get_mut(&place).filter(|unit| unit.is_none()) else { return };
                *unit = Some(fate.clone());
                if self.watched.contains(&place) {
                    self.answer(3, place, fate);
                }
            }
            Coming::Stopped((id, step)) => {
                let fate = match self.units.remove(&(id.clone(), step)) {
                    Some(None) => Fate::Signal(15),
                    Some(Some(fate)) => fate,
                    None => Fate::Unknown("it is not there".into()),
                };
                self.step(Input::Ended { id, step, fate, output: None });
            }
            Coming::Restarts => self.service_started = self.now.wall,
            Coming::Shutdown => self.reboot(),
        }
    }

    fn reboot(&mut self) {
        self.boot += 1;
        self.units.clear();
        self.coming.clear();
        self.later(3_000, Coming::Restarts);
        self.begin();
    }

    /// What runs on the host goes on where only the agent is gone.
    fn away(&mut self, span: Duration, host: bool) {
        self.away = true;
        self.ledger = Ledger::default();
        self.watched.clear();
        self.coming.retain(|_, one| !matches!(one, Coming::ToAgent(_)));
        if host {
            self.reboot();
            self.coming.clear();
        }
        self.pass(span);
        (self.away, self.back) = (false, self.now.wall);
        if host {
            self.later(3_000, Coming::Restarts);
        }
        self.begin();
    }

    fn pass(&mut self, span: Duration) {
        let until = self.now.monotonic + span;
        for _ in 0..100_000 {
            let coming = self.coming.first_key_value().map(|((at, _), _)| *at);
            let next = coming.into_iter().chain(self.ledger.next_deadline()).min().filter(|next| *next <= until);
            let at = next.unwrap_or(until);
            self.now = self.now.plus(at.saturating_sub(self.now.monotonic));
            match next {
                None => return,
                Some(_) if coming == next => {
                    let (_, what) = self.coming.pop_first().expect("one");
                    self.come(what);
                }
                Some(_) => self.step(Input::Tick),
            }
        }
        panic!("it does not come to rest");
    }

    fn offer_of(&self, kinds: &[u8]) -> TaskOffer {
        TaskOffer {
            id: TaskId::of_run(5, self.offers.len() as u64),
            stamp: STAMP,
            title: "run/1".into(),
            by: "ada".into(),
            reason: String::new(),
            steps: kinds.iter().copied().map(step).collect(),
            timeout: TIMEOUT,
            begin_by: self.now.wall.plus(Duration::from_secs(60)),
        }
    }

    fn offer(&mut self, offer: TaskOffer) {
        self.step(Input::Offer { offer: Box::new(offer), corrected: self.now.wall });
    }

    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Pass(millis) => self.pass(Duration::from_millis(millis.into())),
            Deed::Offer(kinds) => {
                let offer = self.offer_of(&kinds);
                self.offers.push(offer.clone());
                self.offer(offer);
            }
            Deed::Stale(kinds) => {
                let mut offer = self.offer_of(&kinds);
                (offer.id, offer.stamp.term) = (TaskId::of_run(4, self.count), 2);
                let (id, open) = (offer.id.clone(), self.ledger.open.len());
                self.dies_in = None;
                self.offer(offer);
                assert!(self.refused.contains(&id) && !self.disk.contains_key(&id) && self.ledger.open.len() == open);
            }
            Deed::Late(kinds) => {
                let mut offer = self.offer_of(&kinds);
                offer.begin_by = self.now.wall.minus(Duration::from_millis(1));
                self.offers.push(offer.clone());
                self.offer(offer);
            }
            Deed::Again(index) => {
                if let Some(offer) = self.offers.iter().rev().nth(index).cloned() {
                    self.offer(offer);
                }
            }
            Deed::Cancel(index) => {
                if let Some(id) = self.offers.iter().rev().nth(index).map(|offer| offer.id.clone()) {
                    self.step(Input::Cancel { id, stamp: STAMP, words: "by ada".into() });
                }
            }
            Deed::CancelAhead => {
                let id = TaskId::of_run(5, self.offers.len() as u64);
                self.step(Input::Cancel { id, stamp: STAMP, words: "by ada".into() });
            }
            Deed::AgentDies => self.begin(),
            Deed::AgentDiesIn(effects) => self.dies_in = Some(effects),
            Deed::Reboot => self.reboot(),
            Deed::Away(millis, host) => self.away(Duration::from_millis(millis.into()), host),
            Deed::Lose => self.lose = true,
            Deed::Freeze(on) => {
                let words = "by ada".to_owned();
                let brake = Brake { kind: BrakeKind::Frozen, check: None, until: None, words };
                self.brakes = if on { vec![brake] } else { Vec::new() };
                self.step(Input::Brakes(self.brakes.clone()));
            }
        }
    }

    /// Nothing disturbs any more: everything has its end, and only one.
    fn settles(&mut self) {
        (self.dies_in, self.lose) = (None, false);
        self.pass(Duration::from_secs(7_200));
        // What never arrived is offered once more.
        for offer in self.offers.clone() {
            self.offer(offer);
        }
        self.pass(Duration::from_secs(7_200));
        assert_eq!((self.ledger.next_deadline(), self.ledger.open.len()), (None, 0));
        assert!(self.units.is_empty(), "left running: {:?}", self.units);
        let told = std::mem::take(&mut self.told);
        for offer in self.offers.clone() {
            let Some(Kept::Over { report, .. }) = self.disk.get(&offer.id) else { panic!("{} is not over", offer.id) };
            self.judge_actions(report, &offer.steps);
            assert!(told.contains_key(&offer.id), "nobody was told how {} ended", offer.id);
            self.offer(offer);
        }
        assert_eq!(self.told, self.offers.iter().map(|one| (one.id.clone(), told[&one.id])).collect());
    }
}

proptest! {
    #[test]
    fn whatever_happens(deeds in proptest::collection::vec(deed(), 1..60)) {
        let mut world = World::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for deed in deeds {
                world.log.push(format!("== {deed:?}"));
                world.does(deed);
            }
            world.log.push("== settles".into());
            world.settles();
        }));
        if let Err(panic) = result {
            let from = world.log.len().saturating_sub(80);
            eprintln!("{}", world.log[from..].join("\n"));
            std::panic::resume_unwind(panic);
        }
    }
}
