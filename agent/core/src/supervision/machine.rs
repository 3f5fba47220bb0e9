//! The machine: what came in is noted, and then the services that it may concern are
//! looked at anew, and those beside them for which that made a difference.

use super::drift::Watch;
use super::files::{Files, name_secrets};
use super::replica::{Phase, Replica};
use super::service::{CheckSeen, Face, Ladder, Service};
use super::{Effect, How, Input, Kept, KeptService, Key, Prints, Standing, files_fingerprint, fingerprint};
use crate::hash::fnv1a;
use crate::jitter::Jitter;
use hostler_types::service::{Act, Program, Runs};
use hostler_types::{Brake, BrakeKind, Deed, Name, Now, ServiceAssignment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) const ON_THE_HOST: &str = "somebody on the host";

pub struct Supervisor {
    pub(super) services: BTreeMap<Name, Service>,
    pub(super) brakes: Vec<Brake>,
    pub(super) connected: bool,
    pub(super) effects: Vec<Effect>,
    pub(super) jitter: Jitter,
    /// Of services that are not assigned yet, too.
    kept: Kept,
    seed: u64,
    acts: u64,
    pub(super) ops: u64,
    /// Looked at since it was last said how they stand.
    news: BTreeSet<Name>,
}

impl Supervisor {
    pub fn new(seed: u64, kept: Kept) -> Self {
        Self {
            services: BTreeMap::new(),
            brakes: Vec::new(),
            connected: false,
            effects: Vec::new(),
            jitter: Jitter::new(seed),
            kept,
            seed,
            acts: 0,
            ops: 0,
            news: BTreeSet::new(),
        }
    }

    pub fn assignment(&self, service: &Name) -> Option<&Arc<ServiceAssignment>> {
        self.services.get(service).map(|one| &one.assignment)
    }

    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    pub fn kept(&self) -> Kept {
        let mut kept = self.kept.clone();
        for (name, service) in &self.services {
            let started = service.replicas.iter().enumerate();
            let started = started.filter_map(|(index, one)| Some((u32::try_from(index).ok()?, one.runs_as?))).collect();
            let owned = !service.is_adopted();
            let read = service.replicas.iter().enumerate();
            let read = read.filter_map(|(index, one)| Some((u32::try_from(index).ok()?, one.read.clone()?)));
            // What is put back now may be read as others left it.
            let surely = |mut read: Prints| {
                read.retain(|path, _| !service.watch.repairing.contains(path));
                read
            };
            let read = read.map(|(index, read)| (index, surely(read))).collect();
            let (stopped, restarts) = (service.stopped.clone(), service.restarts);
            let unit = match &service.assignment.runs {
                Runs::Written { name, .. } => Some(name.clone()),
                _ => None,
            };
            let container = matches!(service.assignment.runs, Runs::Container { .. });
            // What an agent that dies now may have changed is not known any more.
            let watch = &service.watch;
            // Of what others changed, a put of the same leaves either that or ours.
            let same = service.files.settled == Some(service.files_wanted);
            let sure = |path: &String| !service.is_putting() || (same && watch.drifted.contains_key(path));
            let (mut placed, mut stood) = (service.files.placed.clone(), watch.stood.clone());
            placed.retain(|path, _| sure(path));
            stood.retain(|path, _| sure(path));
            let (drifted, tries, settled) = (watch.drifted.clone(), watch.tries.clone(), service.files.settled);
            let one = KeptService {
                stopped,
                started,
                restarts,
                placed,
                read,
                stood,
                drifted,
                tries,
                settled,
                owned,
                unit,
                container,
            };
            kept.services.insert(name.clone(), one);
        }
        kept
    }

    pub fn standings(&self, now: Now) -> Vec<Standing> {
        self.services.values().flat_map(|one| one.standings(now)).collect()
    }

    /// How those stand that were looked at since this was last asked: empty for one that
    /// is gone.
    pub fn news(&mut self, now: Now) -> Vec<(Name, Vec<Standing>)> {
        let standings = |name: &Name| self.services.get(name).map(|one| one.standings(now)).unwrap_or_default();
        std::mem::take(&mut self.news).into_iter().map(|name| (name.clone(), standings(&name))).collect()
    }

    pub fn next_deadline(&self, now: Now) -> Option<Duration> {
        if self.services.is_empty() {
            return None;
        }
        let end = |brake: &Brake| Some(now.monotonic.saturating_add(brake.until?.since(now.wall)));
        let brakes = self.brakes.iter().filter_map(end);
        self.services.values().filter_map(|one| one.wakes_at).chain(brakes).min()
    }

    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        self.touch(&input);
        match input {
            Input::Configure(services) => self.configure(now, services),
            Input::Looked { key, seen } => self.looked(now, &key, seen),
            Input::Started { key, op, result } => self.started(now, &key, op, result),
            Input::Stopped { key, op, result } => self.stopped(now, &key, op, result),
            Input::Reloaded { key, result } => self.reloaded(now, &key, result),
            Input::FilesPut { service, put } => self.files_put(now, &service, put),
            Input::FilesLooked { service, era, found } => self.files_looked(now, &service, era, found),
            Input::UnitPut { service, put } => self.unit_put(now, &service, put),
            Input::Ended { key, pid, end } => self.ended(now, &key, pid, end),
            Input::Appeared { key, pid } => self.appeared(now, &key, pid),
            Input::Checked(checked) => self.checked(&checked),
            Input::Order(order) => self.order(now, order),
            Input::Brakes(brakes) => self.brakes = brakes,
            Input::Link { connected } => {
                self.connected = connected;
                if connected {
                    self.fetch_anew(now);
                } else {
                    self.forget_asks();
                }
            }
            Input::HealAnswer { id, allowed, words } => self.heal_answered(now, id, allowed, words),
            Input::Tick => {}
        }
        self.reconcile(now);
        std::mem::take(&mut self.effects)
    }

    /// Marks those that it may concern.
    fn touch(&mut self, input: &Input) {
        let service = match input {
            Input::Looked { key, .. }
            | Input::Started { key, .. }
            | Input::Stopped { key, .. }
            | Input::Reloaded { key, .. }
            | Input::Ended { key, .. }
            | Input::Appeared { key, .. } => &key.service,
            Input::Order(order) => &order.service,
            Input::FilesPut { service, .. } | Input::FilesLooked { service, .. } | Input::UnitPut { service, .. } => {
                service
            }
            // Those whose check or time it is are found when it is taken.
            Input::Checked(_) | Input::Tick => return,
            Input::Configure(_) | Input::Brakes(_) | Input::Link { .. } | Input::HealAnswer { .. } => {
                return self.touch_all();
            }
        };
        if let Some(service) = self.services.get_mut(service) {
            service.touched = true;
        }
    }

    pub(super) fn touch_all(&mut self) {
        self.services.values_mut().for_each(|one| one.touched = true);
    }

    fn configure(&mut self, now: Now, assignments: Vec<ServiceAssignment>) {
        let named: BTreeSet<Name> = assignments.iter().map(|one| one.name.clone()).collect();
        for (name, service) in &mut self.services {
            if !named.contains(name) {
                service.leaving = true;
            }
        }
        let orphans = self.kept.services.iter().filter(|(name, one)| {
            one.owned && !one.started.is_empty() && !named.contains(*name) && !self.services.contains_key(*name)
        });
        let orphans: Vec<ServiceAssignment> = orphans.map(|(name, one)| orphan(name.clone(), one)).collect();
        let assigned = assignments.into_iter().map(|one| (one, false));
        let orphans = orphans.into_iter().map(|one| (one, true));
        for (assignment, leaving) in assigned.chain(orphans) {
            let fingerprint = fingerprint(&assignment);
            let files_wanted = files_fingerprint(&assignment);
            let checks = |old: &BTreeMap<Name, CheckSeen>| {
                let names = assignment.live.iter().chain(&assignment.ready);
                names.map(|check| (check.clone(), old.get(check).cloned().unwrap_or_default())).collect()
            };
            let count = usize::try_from(assignment.replicas).unwrap_or(usize::MAX);
            let name = assignment.name.clone();
            match self.services.get_mut(&name) {
                Some(service) => {
                    service.checks = checks(&service.checks);
                    service.leaving = false;
                    // What could not be started at all may lack what came now.
                    for replica in &mut service.replicas {
                        let never = replica.last_end.as_ref().is_some_and(|end| matches!(end.how, How::Never(_)));
                        if never && matches!(replica.phase, Phase::Backoff { .. }) {
                            replica.enter(now, Phase::Down);
                            // It is the change that asks for it.
                            replica.by_itself = false;
                        }
                    }
                    // A changed spec may be what mends it.
                    if service.fingerprint != fingerprint {
                        for replica in &mut service.replicas {
                            if matches!(replica.phase, Phase::Backoff { .. } | Phase::Held { .. }) {
                                replica.enter(now, Phase::Down);
                            }
                            replica.pace.reset();
                        }
                        service.ladder = Ladder::default();
                    }
                    if service.files_wanted != files_wanted || name_secrets(&assignment) {
                        service.files.try_anew();
                    }
                    service.files_wanted = files_wanted;
                    service.watch.only(&assignment);
                    if service.assignment.drift != assignment.drift {
                        service.watch.judge_anew();
                    }
                    (service.assignment, service.fingerprint) = (Arc::new(assignment), fingerprint);
                }
                None => {
                    let checks = checks(&BTreeMap::new());
                    let held = self.kept.services.get(&name).cloned().unwrap_or_default();
                    let mut watch = Watch::new(&held);
                    if !leaving {
                        watch.only(&assignment);
                    }
                    let service = Service {
                        watch,
                        assignment: Arc::new(assignment),
                        fingerprint,
                        files: Files { placed: held.placed, settled: held.settled, ..Files::default() },
                        files_wanted,
                        stopped: held.stopped,
                        leaving,
                        replicas: Vec::new(),
                        checks,
                        ladder: Ladder::default(),
                        well_since: None,
                        fresh: false,
                        probe_at: None,
                        orders: Vec::new(),
                        restarts: held.restarts,
                        touched: true,
                        wakes_at: None,
                        face: None,
                    };
                    self.services.insert(name.clone(), service);
                }
            }
            self.set_replicas(now, &name, count);
        }
    }

    /// More are looked at first: they may run already. Fewer are stopped where they are.
    fn set_replicas(&mut self, now: Now, name: &Name, count: usize) {
        let held = self.kept.services.get(name).cloned().unwrap_or_default();
        let Some(service) = self.services.get_mut(name) else { return };
        // What ran when nobody looked and is too many now is known before it is stopped.
        let ran = held.started.keys().max().map_or(0, |last| usize::try_from(*last).unwrap_or(0) + 1);
        let count = if service.replicas.is_empty() { count.max(ran) } else { count };
        while service.replicas.len() < count {
            let replica = u32::try_from(service.replicas.len()).unwrap_or(u32::MAX);
            let mut one = Replica::new(now);
            one.runs_as = held.started.get(&replica).copied();
            one.read = held.read.get(&replica).cloned();
            service.replicas.push(one);
            self.effects.push(Effect::Look { key: Key { service: name.clone(), replica } });
        }
    }

    /// What could not be started for want of its files may be now.
    fn fetch_anew(&mut self, now: Now) {
        for service in self.services.values_mut().filter(|one| !one.assignment.files.is_empty()) {
            service.files.again = None;
            for replica in service.replicas.iter_mut().filter(|one| matches!(one.phase, Phase::Backoff { .. })) {
                if replica.last_end.as_ref().is_some_and(|end| matches!(end.how, How::Never(_))) {
                    replica.enter(now, Phase::Down);
                    replica.by_itself = false;
                }
            }
        }
    }

    pub(super) fn replica(&mut self, key: &Key) -> Option<&mut Replica> {
        self.services.get_mut(&key.service)?.replicas.get_mut(usize::try_from(key.replica).ok()?)
    }

    /// Brings services nearer to how they should be.
    pub(super) fn reconcile(&mut self, now: Now) {
        let brakes = self.brakes.len();
        self.brakes.retain(|brake| brake.until.is_none_or(|until| until > now.wall));
        if self.brakes.len() < brakes {
            self.touch_all();
        }
        for service in self.services.values_mut() {
            service.touched |= service.wakes_at.is_some_and(|at| at <= now.monotonic);
        }
        // What one becomes reaches who needs it, and who needs that: no further than
        // there are services.
        for _ in 0..=self.services.len() {
            let touched = self
                .services
                .values_mut()
                .filter_map(|one| std::mem::take(&mut one.touched).then(|| one.name().clone()));
            let touched: Vec<Name> = touched.collect();
            if touched.is_empty() {
                return;
            }
            self.reconcile_these(now, &touched);
            for name in touched {
                self.show_neighbours(now, &name);
                self.news.insert(name);
            }
        }
    }

    fn reconcile_these(&mut self, now: Now, names: &[Name]) {
        for name in names {
            self.heal(now, name);
            self.files(now, name);
            self.reconcile_replicas(now, name);
            self.drop_surplus(name);
            // What is to be put back depends on whether it runs on.
            self.drift(now, name);
        }
        // Twice at most: what became well lets others start, and those take a while.
        for name in names {
            self.became_well(now, name);
        }
        for name in names {
            self.reconcile_replicas(now, name);
            self.probe(now, name);
            self.settle_orders(now, name);
        }
    }

    fn reconcile_replicas(&mut self, now: Now, name: &Name) {
        let keys: Vec<Key> = self.services.get(name).map(|one| one.keys().collect()).unwrap_or_default();
        for key in keys {
            self.reconcile_one(now, &key);
        }
    }

    /// Those that need it, or that it needs, are looked at if they see it otherwise now.
    fn show_neighbours(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.wakes_at = service.deadline(now);
        let is_down = service.replicas.iter().all(Replica::is_down);
        let gone = service.leaving && (service.is_adopted() || is_down);
        let face = (!gone).then(|| Face { is_well: service.is_well(now), stays: service.stays(), is_down });
        let news = service.face != face || gone;
        service.face = face;
        let assignment = Arc::clone(&service.assignment);
        if gone {
            self.services.remove(name);
            self.effects.push(Effect::Left(Arc::clone(&assignment)));
            self.kept.services.remove(name);
            self.effects.push(Effect::Keep);
        }
        if news {
            for (other, service) in &mut self.services {
                service.touched |= assignment.needs.contains(other) || service.assignment.needs.contains(name);
            }
        }
    }

    /// Those beyond the wanted number go once they are down.
    fn drop_surplus(&mut self, name: &Name) {
        let Some(service) = self.services.get_mut(name) else { return };
        let count = usize::try_from(service.assignment.replicas).unwrap_or(usize::MAX);
        while service.replicas.len() > count && service.replicas.last().is_some_and(Replica::is_down) {
            service.replicas.pop();
            // What is left may do what was held up by those.
            service.touched = true;
        }
    }

    /// What holds acts back now, in words; those about a check only where it is that.
    pub(super) fn brake(&self, now: Now, check: Option<&Name>) -> Option<String> {
        let holds = |brake: &&Brake| {
            brake.until.is_none_or(|until| until > now.wall)
                && (brake.kind != BrakeKind::CommonCause || (check.is_some() && brake.check.as_ref() == check))
        };
        self.brakes.iter().find(holds).map(Brake::to_string)
    }

    pub(super) fn act(&mut self, now: Now, key: &Key, deed: Deed, field: &str) -> Act {
        self.acts += 1;
        let origin = self.services.get(&key.service).map(|one| one.origin(field)).unwrap_or_default();
        Act {
            id: act_id(self.seed, self.acts),
            at: now.wall,
            service: key.service.clone(),
            replica: key.replica,
            deed,
            // The node itself, unless somebody asked.
            by: String::new(),
            saw: Vec::new(),
            rule: String::new(),
            origin,
            allowed: Vec::new(),
            refused: Vec::new(),
            result: None,
            tail: Vec::new(),
        }
    }

    /// Records what became of an act that was under way.
    pub(super) fn settle(&mut self, now: Now, key: &Key, act: Option<(Act, Duration)>, result: String, deed: Deed) {
        let mut act = act.map_or_else(|| self.act(now, key, deed, ""), |(act, _)| act);
        if matches!(deed, Deed::Held | Deed::Failed) {
            act.deed = deed;
        }
        act.result = Some(result);
        self.effects.push(Effect::Record(Box::new(act)));
    }
}

/// What is still known of a service whose spec went while no agent ran.
fn orphan(name: Name, kept: &KeptService) -> ServiceAssignment {
    let program = Program::default();
    let runs = match kept.unit.clone() {
        Some(name) => Runs::Written { name, program },
        None if kept.container => Runs::Container { image: String::new(), program },
        None => Runs::Process(program),
    };
    let replicas = kept.started.keys().max().map_or(0, |last| last.saturating_add(1));
    ServiceAssignment { replicas, ..ServiceAssignment::new(name, runs) }
}

/// Short enough to be said aloud; one host does not make so many that two are alike.
fn act_id(seed: u64, count: u64) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut hash = fnv1a(&[&seed.to_string(), &count.to_string()]);
    let mut id = String::with_capacity(8);
    for _ in 0..8 {
        let letter = usize::try_from(hash & 31).ok().and_then(|index| LETTERS.get(index)).copied().unwrap_or(b'a');
        id.push(char::from(letter));
        hash >>= 5;
    }
    id
}
