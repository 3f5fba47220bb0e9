//! The machine against a host that does what it likes: programs end, answers come
//! late or never, checks fail, people interfere, the agent itself dies.

use super::*;
use hostler_types::service::{FileAssignment, Program, RestartPolicy, Runs, StopPolicy};
use hostler_types::spec::{Drift, HealStep, OnChange, OnNeeds};
use hostler_types::{BrakeKind, Now};
use proptest::prelude::*;

const ATTEMPTS: u32 = 3;
const WITHIN: Duration = Duration::from_secs(120);
const CHECK_EVERY: u64 = 5_000;
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// From here on a content is another hand's.
const OTHERS: u64 = 100;

/// What each service needs: a diamond and one that stands alone.
const NEEDS: [(&str, &[&str], OnNeeds); 5] = [
    ("db", &[], OnNeeds::Stay),
    ("cache", &[], OnNeeds::Stay),
    ("api", &["db", "cache"], OnNeeds::Restart),
    ("web", &["api"], OnNeeds::Reload),
    ("cron", &[], OnNeeds::Stay),
];

#[derive(Clone, Debug)]
enum Deed {
    Pass(u16),
    Kill(usize),
    /// Ends at once whenever it is started, or does not any more.
    Crashes(usize, bool),
    Sick(usize, bool),
    Order(usize, ServiceVerb),
    /// The next answers: lost though done, lost and not done, failed.
    Trouble(u8),
    AgentDies,
    Reboot,
    Freeze(bool),
    Cut(bool),
    /// Another version of what runs.
    Change(usize),
    Replicas(usize, u32),
    Drop(usize, bool),
    /// Another version of its file; one that is not valid.
    File(usize, u64),
    BadFile(usize, bool),
    /// Somebody else writes it, removes it, or puts it right.
    Edit(usize, u64),
    Remove(usize),
    Right(usize),
    /// For minutes, whatever it is, it is written again.
    Fight(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let service = 0..NEEDS.len();
    let verb = proptest::sample::select(ServiceVerb::ALL);
    prop_oneof![
        6 => (1u16..20_000).prop_map(Deed::Pass),
        5 => service.clone().prop_map(Deed::Kill),
        2 => (service.clone(), any::<bool>()).prop_map(|(one, on)| Deed::Crashes(one, on)),
        3 => (service.clone(), any::<bool>()).prop_map(|(one, on)| Deed::Sick(one, on)),
        2 => (service.clone(), verb).prop_map(|(one, verb)| Deed::Order(one, verb)),
        2 => (0u8..3).prop_map(Deed::Trouble),
        1 => Just(Deed::AgentDies),
        1 => Just(Deed::Reboot),
        1 => any::<bool>().prop_map(Deed::Freeze),
        1 => any::<bool>().prop_map(Deed::Cut),
        1 => service.clone().prop_map(Deed::Change),
        1 => (service.clone(), 0u32..3).prop_map(|(one, count)| Deed::Replicas(one, count)),
        1 => (service.clone(), any::<bool>()).prop_map(|(one, on)| Deed::Drop(one, on)),
        2 => (service.clone(), 0u64..3).prop_map(|(one, version)| Deed::File(one, version)),
        1 => (service.clone(), any::<bool>()).prop_map(|(one, on)| Deed::BadFile(one, on)),
        2 => (service.clone(), OTHERS..OTHERS + 3).prop_map(|(one, content)| Deed::Edit(one, content)),
        1 => service.clone().prop_map(Deed::Remove),
        1 => service.clone().prop_map(Deed::Right),
        1 => service.prop_map(Deed::Fight),
    ]
}

#[derive(Clone, Debug)]
struct Real {
    version: u32,
    replicas: u32,
    assigned: bool,
    crashes: bool,
    sick: bool,
    bad_in_a_row: u32,
    forgiven: Duration,
    passed: bool,
    file: u64,
    bad_file: bool,
}

struct World {
    now: Now,
    supervisor: Supervisor,
    reals: BTreeMap<Name, Real>,
    /// What runs in truth, and as which version.
    running: BTreeMap<Key, (u32, Duration)>,
    /// Its file as it stands on the host, and as each program has read it.
    disk: BTreeMap<Name, u64>,
    read: BTreeMap<Key, u64>,
    /// What others changed: what our hand had put there, and whether the spec is still
    /// the one that put it.
    changed: BTreeMap<Name, (u64, bool)>,
    /// What a program read may be what others wrote.
    tainted: std::collections::BTreeSet<Name>,
    /// When what others wrote was put back, though no start and no new spec asked for it.
    put_back: BTreeMap<Name, Vec<Duration>>,
    looked: Duration,
    fights: Option<(Name, Duration)>,
    /// As far as the supervisor was told.
    told: BTreeMap<Key, u32>,
    pids: u32,
    seed: u64,
    kept: Kept,
    /// What comes in, and when.
    coming: BTreeMap<(Duration, u64), Input>,
    count: u64,
    troubles: Vec<u8>,
    connected: bool,
    /// Restarts by itself, by key: the counter as it was last seen, and when it grew.
    restarts: BTreeMap<Key, (u64, Vec<Duration>)>,
    /// As whoever keeps up with the news has it.
    shown: BTreeMap<Key, Standing>,
    log: Vec<String>,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn change_of(service: &str) -> OnChange {
    match service {
        "db" | "api" => OnChange::Reload,
        "cron" => OnChange::Nothing,
        _ => OnChange::Restart,
    }
}

fn drift_of(service: &str) -> Drift {
    if matches!(service, "cache" | "cron") { Drift::Alarm } else { Drift::Repair }
}

fn stood(print: u64) -> Stood {
    Stood { print, mode: 0o644, uid: 0, gid: 0 }
}

fn check_of(service: &Name) -> Name {
    name(&format!("{service}-ok"))
}

impl World {
    fn new(seed: u64) -> Self {
        let real = Real {
            version: 0,
            replicas: 1,
            assigned: true,
            crashes: false,
            sick: false,
            bad_in_a_row: 0,
            forgiven: Duration::ZERO,
            passed: false,
            file: 0,
            bad_file: false,
        };
        let now = Now { monotonic: Duration::from_secs(1_000), wall: Timestamp::from_millis(1_000_000_000) };
        let mut world = Self {
            now,
            supervisor: Supervisor::new(seed, Kept::default()),
            reals: NEEDS.iter().map(|(service, ..)| (name(service), real.clone())).collect(),
            running: BTreeMap::new(),
            disk: BTreeMap::new(),
            read: BTreeMap::new(),
            changed: BTreeMap::new(),
            tainted: std::collections::BTreeSet::new(),
            put_back: BTreeMap::new(),
            looked: Duration::ZERO,
            fights: None,
            told: BTreeMap::new(),
            pids: 100,
            seed,
            kept: Kept::default(),
            coming: BTreeMap::new(),
            count: 0,
            troubles: Vec::new(),
            connected: true,
            restarts: BTreeMap::new(),
            shown: BTreeMap::new(),
            log: Vec::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.step(Input::Link { connected: self.connected });
        self.configure();
        for service in self.reals.keys().cloned().collect::<Vec<_>>() {
            self.later(CHECK_EVERY, Input::Checked(self.result(&service)));
        }
    }

    fn configure(&mut self) {
        let assigned = NEEDS.iter().filter_map(|(service, needs, on_needs)| {
            let real = self.reals.get(&name(service)).filter(|real| real.assigned)?;
            // cron has no checks: it is well by itself.
            let live = if *service == "cron" { Vec::new() } else { vec![check_of(&name(service))] };
            Some(ServiceAssignment {
                name: name(service),
                runs: Runs::Process(Program { command: format!("v{}", real.version), ..Program::default() }),
                replicas: real.replicas,
                needs: needs.iter().map(|need| name(need)).collect(),
                on_needs: *on_needs,
                restart: RestartPolicy {
                    attempts: ATTEMPTS,
                    within: WITHIN,
                    reset: WITHIN,
                    ..RestartPolicy::default()
                },
                stop: StopPolicy::default(),
                live,
                ready: Vec::new(),
                heal: vec![HealStep::Restart, HealStep::Drain, HealStep::Page],
                files: vec![FileAssignment {
                    path: format!("/etc/{service}"),
                    digest: format!("{}{}", real.file, real.bad_file),
                    size_bytes: 0,
                    validate: None,
                    change: change_of(service),
                    with: BTreeMap::new(),
                    owner: None,
                    mode: None,
                }],
                packages: Vec::new(),
                drift: drift_of(service),
                origins: BTreeMap::new(),
            })
        });
        let assigned = assigned.collect();
        self.step(Input::Configure(assigned));
    }

    fn later(&mut self, millis: u64, input: Input) {
        self.count += 1;
        self.coming.insert((self.now.monotonic + Duration::from_millis(millis), self.count), input);
    }

    fn result(&self, service: &Name) -> Checked {
        let real = &self.reals[service];
        let up = (0..real.replicas.max(1))
            .all(|replica| self.running.contains_key(&Key { service: service.clone(), replica }));
        let good = up && !real.sick;
        Checked {
            check: check_of(service),
            good,
            state: CheckState::Passing,
            summary: String::new(),
            began: self.now.monotonic,
            proven: real.passed,
        }
    }

    fn step(&mut self, input: Input) {
        self.log.push(format!("{:?} {input:?}", self.now.monotonic));
        match &input {
            Input::Started { key, result: Ok(pid), .. } | Input::Appeared { key, pid } => {
                self.told.insert(key.clone(), pid.unwrap_or_default());
            }
            Input::Looked { key, seen: Seen::Running { pid, .. } } => {
                self.told.insert(key.clone(), pid.unwrap_or_default());
            }
            Input::Ended { key, pid, .. } if self.told.get(key).copied() == *pid => {
                self.told.remove(key);
            }
            Input::Stopped { key, result: Ok(()), .. } | Input::Looked { key, .. } => {
                self.told.remove(key);
            }
            _ => {}
        }
        let effects = self.supervisor.step(self.now, input);
        // Whom nothing concerned, there was nothing to do about.
        self.supervisor.touch_all();
        let news = self.supervisor.news(self.now);
        self.supervisor.reconcile(self.now);
        let left = std::mem::take(&mut self.supervisor.effects);
        assert_eq!(left, [], "left over");
        self.supervisor.news(self.now);
        for (service, standings) in news {
            self.shown.retain(|key, _| key.service != service);
            self.shown.extend(standings.into_iter().map(|one| (one.key.clone(), one)));
        }
        // Words count down.
        let bare = |one: Standing| Standing { words: String::new(), ..one };
        let shown: Vec<Standing> = self.shown.values().cloned().map(bare).collect();
        assert_eq!(shown, self.supervisor.standings(self.now).into_iter().map(bare).collect::<Vec<_>>());
        for effect in effects {
            self.carry_out(effect);
        }
        self.count_restarts();
    }

    fn carry_out(&mut self, effect: Effect) {
        self.log.push(format!("    -> {effect:?}"));
        match effect {
            Effect::Look { key } => {
                let age = Some(Duration::from_secs(1));
                let seen = match self.running.get(&key) {
                    Some((pid, _)) => Seen::Running { pid: Some(*pid), age },
                    None => Seen::Nothing,
                };
                self.later(1, Input::Looked { key, seen });
            }
            Effect::Start { key, op } => self.start(key, op),
            Effect::Stop { key, op } => {
                let result = match self.troubles.pop() {
                    Some(0) => {
                        self.running.remove(&key);
                        Err(Trouble::Lost("gone".into()))
                    }
                    Some(1) => Err(Trouble::Lost("gone".into())),
                    Some(_) => Err(Trouble::Failed("busy".into())),
                    None => {
                        self.running.remove(&key);
                        Ok(())
                    }
                };
                self.later(10, Input::Stopped { key, op, result });
            }
            Effect::Reload { key } => {
                if let (true, Some(print)) = (self.running.contains_key(&key), self.disk.get(&key.service)) {
                    self.read.insert(key.clone(), *print);
                }
                self.later(3, Input::Reloaded { key, result: Ok(()) });
            }
            Effect::PutFiles { service, op } => {
                let mut put = match self.troubles.pop() {
                    Some(1) => FilesPut { trouble: Some(Trouble::Lost("cut".into())), ..FilesPut::default() },
                    Some(trouble) => {
                        let put = self.put(&service, false);
                        let lost = FilesPut { trouble: Some(Trouble::Lost("cut".into())), ..FilesPut::default() };
                        if trouble == 0 { lost } else { put }
                    }
                    None => self.put(&service, false),
                };
                (put.op, put.wanted) = (Some(op), self.wanted(&service));
                self.later(6, Input::FilesPut { service, put });
            }
            Effect::Probe { check } => {
                let service = name(check.as_str().trim_end_matches("-ok"));
                self.later(2, Input::Checked(self.result(&service)));
            }
            Effect::Forgive { check, until } => {
                let service = name(check.as_str().trim_end_matches("-ok"));
                self.reals.get_mut(&service).expect("one").forgiven = until;
            }
            Effect::Ask { id, .. } => {
                assert!(self.connected, "asked while cut off");
                self.later(5, Input::HealAnswer { id, allowed: true, words: vec!["not frozen".into()] });
            }
            Effect::Left(_) => {}
            Effect::Keep => self.kept = self.supervisor.kept(),
            Effect::Record(_) | Effect::Answer { .. } | Effect::PutUnit { .. } => {}
        }
    }

    fn wanted(&self, service: &Name) -> u64 {
        self.supervisor.assignment(service).map(|one| files_fingerprint(one)).unwrap_or_default()
    }

    /// As another hand leaves it.
    fn edit(&mut self, service: &Name, content: Option<u64>) {
        let before = self.changed.get(service).copied().or_else(|| Some((*self.disk.get(service)?, true)));
        let Some((ours, same)) = before else { return };
        // Who puts it right has it read as well, or not.
        if content == Some(ours) || drift_of(service.as_str()) == Drift::Alarm {
            self.tainted.insert(service.clone());
        }
        match content {
            Some(content) => drop(self.disk.insert(service.clone(), content)),
            None => drop(self.disk.remove(service)),
        }
        self.changed.insert(service.clone(), (ours, same));
        if content == Some(ours) {
            self.changed.remove(service);
        }
    }

    /// What others left there was told of.
    fn is_told(&self, service: &Name) -> bool {
        let stands = self.disk.get(service).map_or(Stands::Gone, |print| Stands::There(stood(*print)));
        let drifted = self.supervisor.services.get(service).map(|one| &one.watch.drifted);
        drifted.is_some_and(|all| all.values().any(|one| one.is_told_as(stands)))
    }

    /// Once a minute, as the shell does.
    fn look_at_files(&mut self) {
        if self.now.monotonic < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = self.now.monotonic;
        if let Some((service, until)) = self.fights.clone()
            && self.now.monotonic < until
        {
            self.edit(&service, Some(OTHERS + self.count % 7));
        }
        for Looking { service, era, files } in self.supervisor.to_look_at() {
            let (path, _) = files.first().cloned().expect("a file");
            let disk = self.disk.get(&service).copied();
            let stands = Some(disk.map_or(Stands::Gone, |print| Stands::There(stood(print))));
            let found = vec![Found { path, mark: disk, stands, changed: Some(self.now.wall) }];
            self.later(5, Input::FilesLooked { service, era, found });
        }
    }

    /// What is put over what others wrote, and whether it may be.
    fn overwrites(&mut self, service: &Name, print: u64, at_start: bool) {
        let Some((ours, same)) = self.changed.remove(service) else { return };
        let gone = !self.disk.contains_key(service);
        if ours != print || !same || (at_start && gone) {
            return;
        }
        if drift_of(service.as_str()) == Drift::Alarm {
            assert!(!self.is_told(service), "{service}: what others wrote was told, and is left");
        } else if !at_start {
            let times = self.put_back.entry(service.clone()).or_default();
            times.push(self.now.monotonic);
            let within = times.iter().filter(|at| **at + Duration::from_secs(600) > self.now.monotonic).count();
            assert!(within <= 3, "{service} was put back {within} times within ten minutes");
        }
    }

    fn put(&mut self, service: &Name, at_start: bool) -> FilesPut {
        let real = &self.reals[service];
        let (path, print) = (format!("/etc/{service}"), real.file);
        if real.bad_file {
            return FilesPut { trouble: Some(Trouble::Failed("bad".into())), ..FilesPut::default() };
        }
        // What stands there by our hand is not touched, nor what others left of it.
        let known = self.supervisor.placed(service).get(&path) == Some(&print);
        let there = self.disk.get(service).copied();
        let skipped = match drift_of(service.as_str()) {
            _ if !at_start => known,
            Drift::Alarm => known && there.is_some(),
            Drift::Repair => false,
        };
        if skipped {
            let stands = there.map(|print| Stands::There(stood(print))).filter(|_| at_start);
            let found = Found { path: path.clone(), mark: None, stands, changed: None };
            let placed = vec![Placed { path, print, changed: false, stood: None }];
            return FilesPut { placed, found: vec![found], ..FilesPut::default() };
        }
        self.overwrites(service, print, at_start);
        let changed = self.disk.insert(service.clone(), print) != Some(print);
        FilesPut { placed: vec![Placed { path, print, changed, stood: Some(stood(print)) }], ..FilesPut::default() }
    }

    fn start(&mut self, key: Key, op: u64) {
        let alive = self.running.contains_key(&key);
        assert!(!alive, "{key} was started while it runs");
        let (_, needs, _) = NEEDS.iter().find(|(one, ..)| *one == key.service.as_str()).expect("one");
        for need in *needs {
            let need = name(need);
            let Some(real) = self.reals.get(&need).filter(|real| real.assigned) else { continue };
            for replica in 0..real.replicas {
                let other = Key { service: need.clone(), replica };
                assert!(self.told.contains_key(&other), "{key} was started before {other} ran");
            }
        }
        let real = self.reals[&key.service].clone();
        let lost = match self.troubles.pop() {
            Some(2) => {
                return self.later(4, Input::Started { key, op, result: Err(Trouble::Failed("no such file".into())) });
            }
            trouble => trouble,
        };
        let mut put = self.put(&key.service, true);
        put.wanted = self.wanted(&key.service);
        if put.trouble.is_some() && !self.disk.contains_key(&key.service) {
            return self.later(4, Input::Started { key, op, result: Err(Trouble::Failed("bad".into())) });
        }
        self.later(7, Input::FilesPut { service: key.service.clone(), put });
        self.read.insert(key.clone(), self.disk[&key.service]);
        self.pids += 1;
        let pid = self.pids;
        let result = match lost {
            Some(1) => return self.later(30, Input::Started { key, op, result: Err(Trouble::Lost("cut".into())) }),
            Some(_) => Err(Trouble::Lost("cut".into())),
            None => Ok(Some(pid)),
        };
        self.running.insert(key.clone(), (pid, self.now.monotonic));
        self.later(8, Input::Started { key: key.clone(), op, result });
        if real.crashes {
            self.running.remove(&key);
            self.later(9, ended(key, pid, How::Exit(1)));
        }
    }

    /// By the supervisor's own count.
    fn count_restarts(&mut self) {
        for standing in self.supervisor.standings(self.now) {
            let entry = self.restarts.entry(standing.key.clone()).or_default();
            if standing.restarts > entry.0 {
                entry.1.push(self.now.monotonic);
                let within = entry.1.iter().filter(|at| **at + WITHIN > self.now.monotonic).count();
                assert!(within <= ATTEMPTS as usize, "{} restarts of {} within the window", within, standing.key);
            }
            entry.0 = standing.restarts;
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now.monotonic + span;
        for _ in 0..20_000 {
            self.look_at_files();
            let coming = self.coming.keys().next().map(|(at, _)| *at);
            let deadline = self.supervisor.next_deadline(self.now).map(|at| at.max(self.now.monotonic));
            let Some(next) = coming.into_iter().chain(deadline).min().filter(|at| *at <= end) else {
                self.now = self.now.plus(end.saturating_sub(self.now.monotonic));
                return;
            };
            self.now = self.now.plus(next.saturating_sub(self.now.monotonic));
            match self.coming.first_entry().filter(|entry| entry.key().0 <= self.now.monotonic) {
                Some(entry) => {
                    let input = entry.remove();
                    self.come(input);
                }
                None => self.step(Input::Tick),
            }
        }
        panic!("it does not come to rest: {:#?}", self.log.iter().rev().take(60).rev().collect::<Vec<_>>());
    }

    fn come(&mut self, input: Input) {
        let input = match input {
            Input::Checked(mut checked) => {
                let service = name(checked.check.as_str().trim_end_matches("-ok"));
                let turn = checked.began + Duration::from_millis(CHECK_EVERY) <= self.now.monotonic;
                if turn {
                    checked = self.result(&service);
                    self.later(CHECK_EVERY, Input::Checked(self.result(&service)));
                }
                let real = self.reals.get_mut(&service).expect("one");
                if checked.good {
                    real.bad_in_a_row = 0;
                    real.passed = true;
                } else if self.now.monotonic >= real.forgiven {
                    real.bad_in_a_row += 1;
                }
                checked.proven = real.passed;
                checked.state = if real.bad_in_a_row >= 3 { CheckState::Critical } else { CheckState::Passing };
                Input::Checked(checked)
            }
            input => input,
        };
        self.step(input);
    }

    fn kill(&mut self, service: &Name) {
        let key = Key { service: service.clone(), replica: 0 };
        if let Some((pid, _)) = self.running.remove(&key) {
            // It is watched from when its start is known.
            if self.told.get(&key) == Some(&pid) {
                self.step(ended(key, pid, How::Signal(9)));
            } else {
                self.later(10, ended(key, pid, How::Signal(9)));
            }
        }
    }

    fn agent_dies(&mut self) {
        self.coming.clear();
        self.told.clear();
        self.restarts.clear();
        self.shown.clear();
        self.seed += 1;
        self.supervisor = Supervisor::new(self.seed, self.kept.clone());
        self.begin();
    }

    fn does(&mut self, deed: Deed) {
        let service = |index: usize| name(NEEDS[index].0);
        match deed {
            Deed::Pass(millis) => self.pass(Duration::from_millis(millis.into())),
            Deed::Kill(one) => self.kill(&service(one)),
            Deed::Crashes(one, on) => self.reals.get_mut(&service(one)).expect("one").crashes = on,
            Deed::Sick(one, on) => self.reals.get_mut(&service(one)).expect("one").sick = on,
            Deed::Order(one, verb) => {
                self.restarts.values_mut().for_each(|(_, at)| at.clear());
                let order = Order { id: 7, service: service(one), verb, by: "ada".into(), reason: String::new() };
                self.step(Input::Order(order));
            }
            Deed::Trouble(kind) => self.troubles.push(kind),
            Deed::AgentDies => self.agent_dies(),
            Deed::Reboot => {
                self.running.clear();
                self.agent_dies();
            }
            Deed::Freeze(on) => {
                let words = "by ada".to_owned();
                let brake = Brake { kind: BrakeKind::Frozen, check: None, until: None, words };
                self.step(Input::Brakes(if on { vec![brake] } else { Vec::new() }));
            }
            Deed::Cut(on) => {
                self.connected = !on;
                self.step(Input::Link { connected: self.connected });
            }
            Deed::Change(one) => {
                self.restarts.values_mut().for_each(|(_, at)| at.clear());
                self.reals.get_mut(&service(one)).expect("one").version += 1;
                self.configure();
            }
            Deed::Replicas(one, count) => {
                self.restarts.values_mut().for_each(|(_, at)| at.clear());
                self.reals.get_mut(&service(one)).expect("one").replicas = count;
                self.configure();
            }
            Deed::File(one, version) => {
                self.changed.entry(service(one)).and_modify(|(_, same)| *same = false);
                self.reals.get_mut(&service(one)).expect("one").file = version;
                self.configure();
            }
            Deed::BadFile(one, on) => {
                self.changed.entry(service(one)).and_modify(|(_, same)| *same = false);
                self.reals.get_mut(&service(one)).expect("one").bad_file = on;
                self.configure();
            }
            Deed::Edit(one, content) => self.edit(&service(one), Some(content)),
            Deed::Remove(one) => self.edit(&service(one), None),
            Deed::Right(one) => {
                if let Some((ours, _)) = self.changed.get(&service(one)).copied() {
                    self.edit(&service(one), Some(ours));
                }
            }
            Deed::Fight(one) => {
                self.fights = Some((service(one), self.now.monotonic + Duration::from_secs(1_800)));
            }
            Deed::Drop(one, on) => {
                self.changed.entry(service(one)).and_modify(|(_, same)| *same = false);
                self.restarts.values_mut().for_each(|(_, at)| at.clear());
                self.reals.get_mut(&service(one)).expect("one").assigned = !on;
                self.configure();
            }
        }
    }

    /// Nothing disturbs any more: everything comes to be as it should.
    fn settles(&mut self) {
        self.troubles.clear();
        self.fights = None;
        self.connected = true;
        self.step(Input::Link { connected: true });
        self.step(Input::Brakes(Vec::new()));
        for (service, real) in &mut self.reals {
            if real.bad_file || !real.assigned {
                self.changed.entry(service.clone()).and_modify(|(_, same)| *same = false);
            }
            (real.crashes, real.sick, real.assigned, real.bad_file) = (false, false, true, false);
            real.replicas = real.replicas.max(1);
        }
        self.configure();
        for (index, (service, ..)) in NEEDS.iter().enumerate() {
            if self.supervisor.services[&name(service)].stopped.is_some() {
                self.does(Deed::Order(index, ServiceVerb::Start));
            }
        }
        // As long as it rests after a fight, and a while.
        self.pass(Duration::from_secs(3_900));
        let standings = self.supervisor.standings(self.now);
        for standing in &standings {
            assert_eq!(standing.state, ServiceState::Running, "{standing:?}");
            let key = &standing.key;
            assert!(self.running.contains_key(key), "{key} does not run");
            let wanted = self.reals[&key.service].file;
            if let Some((ours, _)) = self.changed.get(&key.service) {
                assert_eq!(drift_of(key.service.as_str()), Drift::Alarm, "what others wrote for {key}");
                assert!(self.is_told(&key.service) && *ours == wanted, "what others wrote for {key} is told");
                assert!(standing.words.contains("changed by others"), "{standing:?}");
                continue;
            }
            assert_eq!(self.disk[&key.service], wanted, "the file of {key}");
            let known = !self.tainted.contains(&key.service);
            if change_of(key.service.as_str()) != OnChange::Nothing && known {
                assert_eq!(self.read[key], wanted, "what {key} has read of its file");
            }
        }
        let wanted: u32 = self.reals.values().map(|real| real.replicas).sum();
        assert_eq!((standings.len(), self.running.len()), (wanted as usize, wanted as usize));
    }
}

fn ended(key: Key, pid: u32, how: How) -> Input {
    Input::Ended { key, pid: Some(pid), end: End { how, tail: Vec::new() } }
}

fn comes_to_rest(deeds: Vec<Deed>, seed: u64) {
    let mut world = World::new(seed);
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

proptest! {
    #[test]
    fn whatever_happens(deeds in proptest::collection::vec(deed(), 1..60), seed: u64) {
        comes_to_rest(deeds, seed);
    }
}

/// A start leaves a file as it stands, since it is known, while an answer is lost by
/// which it is not known any more; or it was put, and the answer about it next is lost
/// before anybody has read it.
#[test]
fn answers_that_cross() {
    use Deed::{BadFile, Drop, Edit, File, Kill, Order, Pass, Trouble};
    comes_to_rest(vec![Pass(11), File(0, 1), Trouble(0), BadFile(0, true), Pass(6)], 0);
    comes_to_rest(vec![Pass(9), Trouble(0), Order(1, ServiceVerb::Reload), Kill(1), Edit(1, 100)], 0);
    comes_to_rest(vec![Pass(11), File(1, 1), Drop(2, true), Order(1, ServiceVerb::Stop), Kill(1), File(1, 0)], 0);
}
