//! The task that owns alerts and outbox: it looks at what changed, writes what was
//! decided, and has sent what waits.

use super::{Asked, Board, Command, Refusal, about, deliver, now, way};
use crate::app::App;
use crate::journal::Filter;
use crate::pki::random;
use crate::records::brakes::CAUSES;
use crate::records::schedules::{FAILURES, Failure, decode_failure, failure_key};
use crate::records::{self, NewEvent};
use crate::world::World;
use hostler_core::notices::notice::{EVENTS_MAX, of_alert};
use hostler_core::notices::outbox::Effect as Sent;
use hostler_core::notices::{Alert, Alerts, Effect, Input, Notice, Outbox, Outcome, Rules, Seen, Subject, Tell};
use hostler_store::{Change, OPERATIONS_MAX, StoreError, Txn};
use hostler_types::spec::Kind;
use hostler_types::{CheckState, Deed, Event, EventKind, Name, NodeId, NodeState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// So long at most without a look at the time, which somebody may have set.
const LOOK: Duration = Duration::from_secs(60);
/// One try, whatever the server does. Tries of one notifier follow each other, and
/// hold up no other's.
const TRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Within the half megabyte that many small records take; one transaction may have
/// twice that.
const TXN_BYTES: usize = 512 * 1024;
const NEWS: Duration = Duration::from_secs(3600);
/// More than a control plane says of itself before it can tell people.
const EVENTS_CAUGHT_UP: usize = 100;

enum Op {
    Put(String, bytes::Bytes),
    Delete(String),
}

/// What is written together, or not at all.
#[derive(Default)]
struct Group {
    ops: Vec<Op>,
    events: Vec<NewEvent>,
}

struct Done {
    number: u64,
    notifier: Name,
    title: String,
    outcome: Result<String, Refusal>,
}

pub async fn run(app: Arc<App>, mut asked: mpsc::Receiver<Asked>) {
    let mut keeper =
        Keeper { app: Arc::clone(&app), tries: JoinSet::new(), told_up_to: (0, 0, 0), failures: BTreeMap::new() };
    let stop = app.stop.clone();
    let Some(mut watch) = keeper.load().await else { return };
    loop {
        keeper.advance().await;
        let wait = keeper.wait();
        // Each of these takes nothing before it is chosen.
        tokio::select! {
            () = stop.cancelled() => break,
            commit = watch.next() => match commit {
                Ok(commit) => keeper.take(commit.revision, &commit.changes).await,
                Err(StoreError::Compacted { .. }) => {
                    tracing::warn!("notices fell behind the store and look at everything anew");
                    watch = app.store.watch("/", app.mirror.now().revision);
                    keeper.look_at_all().await;
                }
                Err(error) => {
                    tracing::error!(error = %error, "following the store for notices failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            },
            Some((command, done)) = asked.recv() => {
                keeper.decide(command).await;
                let _ = done.send(());
            }
            Some(done) = keeper.tries.join_next(), if !keeper.tries.is_empty() => match done {
                Ok(done) => keeper.finish(done).await,
                Err(error) => tracing::error!(error = %error, "a try to send a notice broke"),
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Keeper {
    app: Arc<App>,
    tries: JoinSet<Done>,
    /// The newest event that was made a notice.
    told_up_to: (u64, u64, u64),
    /// Of schedules whose newest time came to no success.
    failures: BTreeMap<Name, Failure>,
}

impl Keeper {
    /// What was kept, and then what is so.
    async fn load(&mut self) -> Option<hostler_store::Watch> {
        let kept = loop {
            match read(&self.app).await {
                Ok(kept) => break kept,
                Err(error) => tracing::error!(error, "reading alerts and notices failed"),
            }
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        };
        let world = self.app.mirror.now();
        let watch = self.app.store.watch("/", world.revision);
        let (alerts, outbox, failures, told_up_to) = kept;
        self.failures = failures;
        *self.app.notices.board() = Board { alerts, outbox };
        self.look_at_all().await;
        self.catch_up(told_up_to).await;
        Some(watch)
    }

    /// What the control plane said of itself since the last notice about it.
    async fn catch_up(&mut self, told_up_to: Option<String>) {
        let lineage = self.app.lineage;
        let after = told_up_to.as_deref().and_then(records::parse_seq).filter(|(of, ..)| *of == lineage);
        self.told_up_to = after.unwrap_or((lineage, 0, 0));
        // Before there were notices at all, only what is news still.
        let since = if after.is_some() { Timestamp::default() } else { now().wall.minus(NEWS) };
        let filter = Filter { since, ..Filter::default() };
        let events = self.app.journal.list(&filter, None, crate::journal::EVENTS_KEPT).unwrap_or_default();
        let mut told: Vec<Event> = events.into_iter().filter(is_told).collect();
        told.drain(..told.len().saturating_sub(EVENTS_CAUGHT_UP));
        self.tell_events(told).await;
    }

    /// Lets time go on: what is due is told, what has gathered is closed, and what
    /// is ready is sent.
    async fn advance(&mut self) {
        self.step(Input::Tick).await;
        let gone: Vec<Sent> = {
            let mut board = self.app.notices.board();
            let there = board.alerts.rules().notifiers().clone();
            let gone: Vec<Name> = board.outbox.notifiers().difference(&there).cloned().collect();
            gone.iter().flat_map(|name| board.outbox.drop_notifier(name)).collect()
        };
        for effect in gone {
            self.write_sent(vec![effect], None).await;
        }
        loop {
            let effects = self.app.notices.board().outbox.step(now());
            if effects.is_empty() {
                break;
            }
            self.write_sent(effects, None).await;
        }
        let ready: Vec<_> = {
            let mut board = self.app.notices.board();
            let names = board.outbox.notifiers();
            names.iter().filter_map(|name| board.outbox.take(now(), name)).collect()
        };
        for waiting in ready {
            let app = Arc::clone(&self.app);
            self.tries.spawn(async move {
                let sending = async {
                    let way = way(&app, &waiting.notifier)?;
                    deliver(&app, &waiting.notifier, &way, &waiting.notice).await
                };
                let outcome = tokio::time::timeout(TRY_TIMEOUT, sending).await;
                let outcome =
                    outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", TRY_TIMEOUT.as_secs()).into()));
                Done { number: waiting.number, notifier: waiting.notifier, title: waiting.notice.title, outcome }
            });
        }
    }

    fn wait(&self) -> Duration {
        let board = self.app.notices.board();
        let next = board.alerts.next_deadline().into_iter().chain(board.outbox.next_deadline()).min();
        next.map_or(LOOK, |at| at.saturating_sub(now().monotonic)).min(LOOK)
    }

    async fn finish(&mut self, done: Done) {
        // Without randomness the servers are met all at once, which is no reason to stop.
        let jitter = random::<4>().map_or(500, u32::from_le_bytes) % 1000;
        let outcome = match &done.outcome {
            Ok(_) => Outcome::Taken,
            Err(Refusal { why, pause: None }) => Outcome::Failed(why.clone()),
            Err(Refusal { why, pause: Some(pause) }) => Outcome::Later(why.clone(), *pause),
        };
        let effect = self.app.notices.board().outbox.finish(now(), done.number, outcome, jitter);
        let message = match (&done.outcome, &effect) {
            (Ok(answer), _) => Some(format!("told {}: {} ({answer})", done.notifier, done.title)),
            // Once a notice: the following tries are in `alert show`.
            (Err(Refusal { why, .. }), Some(Sent::Keep(waiting))) if waiting.attempts == 1 => {
                Some(format!("{} can't be told yet: {} ({why})", done.notifier, done.title))
            }
            (Err(_), _) => None,
        };
        let mut group = Group::default();
        group.extend(effect.into_iter().collect(), message);
        if done.outcome.is_ok() {
            let (key, taken) = records::taken(&done.notifier, now().wall);
            group.ops.push(Op::Put(key, taken));
        }
        self.write(vec![group]).await;
    }

    async fn decide(&mut self, command: Command) {
        let input = match command {
            Command::Ack(subject, ack) => Input::Ack { subject, ack },
            Command::Silence(silence) => Input::Silence(silence),
            Command::EndSilence(id) => Input::EndSilence(id),
        };
        self.step(input).await;
    }

    /// What a commit changed, by its keys.
    async fn take(&mut self, revision: u64, changes: &[Change]) {
        let concerns = |change: &&Change| {
            const THOSE: [&str; 7] = [
                records::MEMBERS,
                records::SYSTEMS,
                records::LIVENESS,
                records::HEALTH,
                CAUSES,
                FAILURES,
                records::EVENTS,
            ];
            THOSE.iter().any(|prefix| change.key.starts_with(prefix))
        };
        let changes: Vec<&Change> = changes.iter().filter(concerns).collect();
        if changes.is_empty() {
            return;
        }
        self.app.mirror.reach(revision).await;
        let world = self.app.mirror.now();
        let mut inputs = Vec::new();
        for change in changes {
            let key = change.key.as_ref();
            if key.starts_with(records::SYSTEMS) {
                return self.look_at_all().await;
            }
            if let Some(id) = key.strip_prefix(records::MEMBERS).or_else(|| key.strip_prefix(records::LIVENESS)) {
                match NodeId::parse(id).ok().filter(|id| world.members.contains_key(id)) {
                    Some(id) => inputs.extend(node_input(&world, &id)),
                    // Its name is known no more.
                    None => return self.look_at_all().await,
                }
            } else if let Some((id, check)) = key.strip_prefix(records::HEALTH).and_then(|rest| rest.split_once('/')) {
                if let (Ok(id), Ok(check)) = (NodeId::parse(id), Name::new(check)) {
                    inputs.extend(check_input(&world, &id, &check));
                }
            } else if let Some(check) = key.strip_prefix(CAUSES) {
                inputs.extend(Name::new(check).ok().map(|check| cause_input(&world, &check)));
            } else if let Some(name) = key.strip_prefix(FAILURES).and_then(|name| Name::new(name).ok()) {
                let failure = change.after.as_ref().and_then(|entry| decode_failure(key, &entry.value).ok());
                match failure {
                    Some((name, failure)) => drop(self.failures.insert(name, failure)),
                    None => drop(self.failures.remove(&name)),
                }
                inputs.push(schedule_input(&world, &name, self.failures.get(&name)));
            } else if let Some(entry) = change.after.as_ref().filter(|_| key.starts_with(records::EVENTS)) {
                let events = records::decode_events(key, &entry.value, self.app.lineage, revision).unwrap_or_default();
                self.tell_events(events.into_iter().filter(is_told).collect()).await;
            }
        }
        self.step_all(inputs).await;
    }

    /// Everything as it is now, and the rules that hold.
    async fn look_at_all(&mut self) {
        let world = self.app.mirror.now();
        let rules = Rules::new(&world.specs.applied, self.app.config.page_lost_after);
        let mut inputs = Vec::new();
        let (changed, mut known) = {
            let board = self.app.notices.board();
            (*board.alerts.rules() != rules, board.alerts.subjects())
        };
        if changed {
            inputs.push(Input::Rules(rules));
        }
        let nodes = world.names.values().filter_map(|id| node_input(&world, id));
        let checks = world.health.keys().filter_map(|(id, check)| check_input(&world, id, check));
        let ended = known.iter().filter(|one| matches!(one, Subject::Cause(_))).filter_map(Subject::check).cloned();
        let causes: BTreeSet<Name> = world.brakes.causes.keys().cloned().chain(ended).collect();
        let causes = causes.iter().map(|check| cause_input(&world, check));
        let known_schedules = known.iter().filter_map(Subject::schedule).chain(self.failures.keys());
        let schedules: BTreeSet<Name> = known_schedules.cloned().collect();
        let schedules = schedules.iter().map(|name| schedule_input(&world, name, self.failures.get(name)));
        let schedules: Vec<Input> = schedules.collect();
        for input in causes.chain(nodes).chain(checks).chain(schedules) {
            if let Input::Seen { subject, .. } = &input {
                known.remove(subject);
            }
            inputs.push(input);
        }
        known.remove(&Subject::Fleet);
        inputs.extend(known.into_iter().map(|subject| Input::Seen { subject, seen: Seen::Gone }));
        self.step_all(inputs).await;
        let is_applied = |name: &Name| world.specs.applied.get(Kind::Schedule, name).is_some();
        let gone: Vec<Name> = self.failures.keys().filter(|name| !is_applied(name)).cloned().collect();
        let mut group = Group::default();
        for name in gone {
            self.failures.remove(&name);
            group.ops.push(Op::Delete(failure_key(&name)));
        }
        self.write(vec![group]).await;
    }

    async fn step(&mut self, input: Input) {
        self.step_all(vec![input]).await;
    }

    async fn step_all(&mut self, inputs: Vec<Input>) {
        if inputs.is_empty() {
            return;
        }
        let mut groups = Vec::new();
        {
            let mut board = self.app.notices.board();
            let now = now();
            for input in inputs {
                for effect in board.alerts.step(now, input) {
                    groups.push(self.group(&mut board, effect));
                }
            }
        }
        self.write(groups).await;
    }

    fn group(&self, board: &mut Board, effect: Effect) -> Group {
        let mut group = Group::default();
        match effect {
            Effect::Keep(alert) => group.ops.push(put_alert(&alert)),
            Effect::Forget(subject) => group.ops.push(Op::Delete(records::alert_key(&subject))),
            Effect::KeepSilence(silence) => {
                group.ops.push(Op::Put(records::silence_key(&silence.id), records::encode_silence(&silence)));
            }
            Effect::ForgetSilence(id) => group.ops.push(Op::Delete(records::silence_key(&id))),
            Effect::Tell(Tell { what, alert, to }) => {
                group.ops.push(put_alert(&alert));
                let events = self.events_about(&alert);
                let notice = of_alert(what, &alert, &events, now().wall);
                self.push(board, &mut group, &to, &notice);
            }
        }
        group
    }

    fn push(&self, board: &mut Board, group: &mut Group, to: &BTreeSet<Name>, notice: &Notice) {
        for notifier in to {
            let effect = board.outbox.push(now(), notifier, notice.clone());
            group.extend(effect.into_iter().collect(), None);
        }
    }

    fn events_about(&self, alert: &Alert) -> Vec<Event> {
        let filter = about(&alert.subject);
        filter.and_then(|filter| self.app.journal.list(&filter, None, EVENTS_MAX).ok()).unwrap_or_default()
    }

    async fn tell_events(&mut self, events: Vec<Event>) {
        let mut groups = Vec::new();
        {
            let mut board = self.app.notices.board();
            let to = board.alerts.rules().defaults().clone();
            for event in events {
                let Some(place) = records::parse_seq(&event.seq).filter(|place| *place > self.told_up_to) else {
                    continue;
                };
                self.told_up_to = place;
                let mut group = Group::default();
                group.ops.push(Op::Put(records::EVENTS_TOLD.to_owned(), event.seq.clone().into()));
                self.push(&mut board, &mut group, &to, &Notice::of_event(&event));
                groups.push(group);
            }
        }
        self.write(groups).await;
    }

    async fn write_sent(&self, effects: Vec<Sent>, message: Option<String>) {
        let mut group = Group::default();
        group.extend(effects, message);
        self.write(vec![group]).await;
    }

    /// Until it is written: what was decided is not decided again.
    async fn write(&self, groups: Vec<Group>) {
        let mut txn = (Vec::new(), Vec::new(), 0);
        for group in groups {
            let bytes: usize = group.ops.iter().map(Op::bytes).sum();
            if txn.0.len() + group.ops.len() >= OPERATIONS_MAX || txn.2 + bytes > TXN_BYTES {
                self.commit(std::mem::take(&mut txn)).await;
            }
            txn.0.extend(group.ops);
            txn.1.extend(group.events);
            txn.2 += bytes;
        }
        self.commit(txn).await;
    }

    async fn commit(&self, (ops, events, _): (Vec<Op>, Vec<NewEvent>, usize)) {
        if ops.is_empty() && events.is_empty() {
            return;
        }
        let mut txn = Txn::new();
        for op in ops {
            txn = match op {
                Op::Put(key, value) => txn.put(key, value),
                Op::Delete(key) => txn.delete(key),
            };
        }
        let txn = self.app.journal.record(txn, now().wall, &events);
        loop {
            match self.app.store.commit(txn.clone()).await {
                Ok(_) => return,
                Err(error) if !error.may_pass() => {
                    tracing::error!(error = %error, "alerts or notices could not be written and are left out");
                    return;
                }
                Err(error) => tracing::error!(error = %error, "writing alerts and notices failed"),
            }
            tokio::select! {
                () = self.app.stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }
}

impl Op {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Delete(key) => key.len(),
        }
    }
}

impl Group {
    fn extend(&mut self, effects: Vec<Sent>, message: Option<String>) {
        for effect in effects {
            match effect {
                Sent::Keep(waiting) => {
                    self.ops.push(Op::Put(records::waiting_key(waiting.number), records::encode_waiting(&waiting)));
                }
                Sent::Forget(number) => self.ops.push(Op::Delete(records::waiting_key(number))),
                Sent::GaveUp(waiting) => {
                    self.ops.push(Op::Delete(records::waiting_key(waiting.number)));
                    let (to, title, why) = (&waiting.notifier, &waiting.notice.title, &waiting.last_error);
                    self.say(format!("gave up telling {to} after {} tries: {title} ({why})", waiting.attempts));
                }
            }
        }
        if let Some(message) = message {
            self.say(message);
        }
    }

    fn say(&mut self, message: String) {
        let (at, kind) = (now().wall, EventKind::NOTICE);
        self.events.push(NewEvent { at, kind, node: String::new(), subject: "notice".to_owned(), message });
    }
}

fn put_alert(alert: &Alert) -> Op {
    Op::Put(records::alert_key(&alert.subject), records::encode_alert(alert))
}

/// Events that are told as they are: what the control plane says of itself, which is
/// damage found and mended; and services that go on crashing, or ask for somebody.
fn is_told(event: &Event) -> bool {
    let deed = || event.message.split(':').next().and_then(|word| word.parse::<Deed>().ok());
    match event.kind.word() {
        EventKind::SERVER => true,
        EventKind::SERVICE => deed().is_some_and(Deed::is_told),
        _ => false,
    }
}

type Kept = (Alerts, Outbox, BTreeMap<Name, Failure>, Option<String>);

/// A record that can't be read is left out, and said: the others must be told.
async fn read(app: &App) -> Result<Kept, String> {
    let scan = async |prefix: &str| app.store.scan(prefix, None).await.map_err(|error| error.to_string());
    let said = |error: &records::RecordError| tracing::error!(error = %error, "left out");
    let (alerts, silences, waiting) =
        (scan(records::ALERTS).await?, scan(records::SILENCES).await?, scan(records::WAITING).await?);
    let failures = scan(FAILURES).await?;
    let failures = failures.entries.iter().map(|(key, entry)| decode_failure(key, &entry.value));
    let alerts = alerts.entries.iter().map(|(key, entry)| records::decode_alert(key, &entry.value));
    let silences = silences.entries.iter().map(|(key, entry)| records::decode_silence(key, &entry.value));
    let waiting = waiting.entries.iter().map(|(key, entry)| records::decode_waiting(key, &entry.value));
    let told = app.store.get(records::EVENTS_TOLD).await.map_err(|error| error.to_string())?;
    let told = told.and_then(|entry| String::from_utf8(entry.value.to_vec()).ok());
    let rules = Rules::new(&app.mirror.now().specs.applied, app.config.page_lost_after);
    let alerts = Alerts::new(
        now(),
        rules,
        alerts.filter_map(|one| one.inspect_err(said).ok()),
        silences.filter_map(|one| one.inspect_err(said).ok()),
    );
    let outbox = Outbox::new(now(), waiting.filter_map(|one| one.inspect_err(said).ok()));
    let failures = failures.filter_map(|one| one.inspect_err(said).ok()).collect();
    Ok((alerts, outbox, failures, told))
}

/// The node that a name means now: a revoked one's may have been taken over.
fn node_input(world: &World, id: &NodeId) -> Option<Input> {
    let member = world.members.get(id)?;
    if world.names.get(&member.name) != Some(id) {
        return None;
    }
    let record = world.liveness.get(id);
    let (state, since) = match (&member.revoked, record) {
        (Some(revoked), _) => (NodeState::Revoked, revoked.at),
        (None, Some(record)) => (record.state, record.since),
        (None, None) => (NodeState::Joining, member.joined_at),
    };
    let seen = Seen::Node { state, labels: world.labels(member), since };
    Some(Input::Seen { subject: Subject::Node(member.name.clone()), seen })
}

/// Before the checks of its nodes, which it takes in.
fn cause_input(world: &World, check: &Name) -> Input {
    let seen = match world.brakes.causes.get(check) {
        Some(cause) => Seen::Check { state: CheckState::Critical, summary: cause.words(), since: cause.since },
        None => Seen::Check { state: CheckState::Passing, summary: String::new(), since: now().wall },
    };
    Input::Seen { subject: Subject::Cause(check.clone()), seen }
}

fn schedule_input(world: &World, name: &Name, failure: Option<&Failure>) -> Input {
    let is_applied = world.specs.applied.get(Kind::Schedule, name).is_some();
    let seen = match failure {
        _ if !is_applied => Seen::Gone,
        Some(Failure { run: 0, words, at }) => Seen::Run { failed: true, summary: words.clone(), ended: *at },
        Some(Failure { run, words, at }) => {
            Seen::Run { failed: true, summary: format!("run/{run}: {words}"), ended: *at }
        }
        None => Seen::Run { failed: false, summary: String::new(), ended: now().wall },
    };
    Input::Seen { subject: Subject::Schedule(name.clone()), seen }
}

fn check_input(world: &World, id: &NodeId, check: &Name) -> Option<Input> {
    let member = world.members.get(id)?;
    if world.names.get(&member.name) != Some(id) {
        return None;
    }
    let applied = world.specs.applied.get(Kind::Check, check).is_some() && member.revoked.is_none();
    let seen = match world.health.get(&(id.clone(), check.clone())).filter(|_| applied) {
        Some(health) => Seen::Check { state: health.state, summary: health.summary.clone(), since: health.since },
        None => Seen::Gone,
    };
    let starting = matches!(seen, Seen::Check { state: CheckState::Starting, .. });
    (!starting)
        .then(|| Input::Seen { subject: Subject::Check { node: member.name.clone(), check: check.clone() }, seen })
}
