//! The task that watches for what nodes have in common, and ends what has an end.
//!
//! What it decides is a record each: so the world has it, sessions push it to the nodes,
//! the notices' keeper tells of it, and a restart goes on with it.

use crate::app::App;
use crate::clock;
use crate::records::brakes::{
    CAUSES, FREEZES, MAINTENANCE, apply, cause_key, encode_cause, freeze_key, maintenance_key,
};
use crate::records::{self, Health, NewEvent};
use crate::world::World;
use hostler_core::brakes::causes::{Causes, Effect, Input, Standing};
use hostler_core::brakes::{Brakes, Cause, Over, span_words};
use hostler_store::{Change, StoreError, Txn, Watch};
use hostler_types::{CheckState, EventKind, Name, NodeId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// So long at most without a look at the time, which somebody may have set.
const LOOK: Duration = Duration::from_secs(60);

/// Who fails what since when, for sessions to read.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Causes>);

impl Watched {
    pub fn new(kept: &Brakes) -> Self {
        Self(Mutex::new(Causes::new(kept.causes.values().cloned())))
    }

    fn causes(&self) -> MutexGuard<'_, Causes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn standing(&self, check: &Name, node: &NodeId) -> Standing {
        self.causes().standing(clock::now(), check, node)
    }
}

pub async fn run(app: Arc<App>) {
    let mut watch = look_at_all(&app).await;
    loop {
        tick(&app).await;
        // Each of these takes nothing before it is chosen.
        tokio::select! {
            () = app.stop.cancelled() => return,
            commit = watch.next() => match commit {
                Ok(commit) => take(&app, commit.revision, &commit.changes).await,
                Err(StoreError::Compacted { .. }) => {
                    tracing::warn!("brakes fell behind the store and look at everything anew");
                    watch = look_at_all(&app).await;
                }
                Err(error) => {
                    tracing::error!(error = %error, "following the store for brakes failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            },
            () = tokio::time::sleep(wait(&app)) => {}
        }
    }
}

fn wait(app: &App) -> Duration {
    let now = clock::now();
    let next = app.watched.causes().next_deadline().map(|at| at.saturating_sub(now.monotonic));
    let world = app.mirror.now();
    let freezes = world.brakes.freezes.values().filter_map(|one| one.until);
    let ends = freezes.chain(world.brakes.maintenance.values().filter_map(|one| one.until));
    next.into_iter().chain(ends.map(|until| until.since(now.wall))).min().map_or(LOOK, |wait| wait.min(LOOK))
}

async fn tick(app: &App) {
    step(app, vec![Input::Tick]).await;
    let now = clock::wall();
    for over in app.mirror.now().brakes.over(now) {
        if let Err(error) = end(app, over, now).await {
            tracing::error!(error = %error, "a brake whose time is over stays, and is tried again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Unless somebody made it longer at this moment.
async fn end(app: &App, over: Over, now: Timestamp) -> Result<(), StoreError> {
    let world = app.mirror.now();
    let (key, event) = match &over {
        Over::Freeze(freeze) => {
            let message = format!(
                "the freeze of {} by {} ended by itself, {}",
                freeze.selector,
                freeze.by,
                span_words(freeze.at, freeze.until)
            );
            let (kind, subject) = (EventKind::SERVER, "freeze".to_owned());
            (freeze_key(&freeze.id), NewEvent { at: now, kind, node: String::new(), subject, message })
        }
        Over::Maintenance(node, one) => {
            let name = world.members.get(node).map(|member| member.name.to_string()).unwrap_or_default();
            let message = format!("maintenance by {} ended by itself, {}", one.by, span_words(one.at, one.until));
            let event = NewEvent { at: now, kind: EventKind::NODE, node: name.clone(), subject: name, message };
            (maintenance_key(node), event)
        }
    };
    let Some(entry) = app.store.get(&key).await? else { return Ok(()) };
    let mut kept = Brakes::default();
    let is_read = apply(&mut kept, &key, Some(&entry.value)).is_ok();
    if is_read && kept.over(now).is_empty() {
        return Ok(());
    }
    let txn = Txn::new().expect(key.as_str(), entry.modified).delete(key.as_str());
    match app.store.commit(app.journal.record(txn, now, &[event])).await {
        Ok(revision) => app.mirror.reach(revision).await,
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Everything as it is now.
async fn look_at_all(app: &App) -> Watch {
    let world = app.mirror.now();
    let watch = app.store.watch("/", world.revision);
    let wall = clock::wall();
    let mut gone: BTreeSet<(Name, NodeId)> =
        app.watched.causes().failing().map(|(check, node)| (check.clone(), node.clone())).collect();
    let mut inputs = vec![Input::Nodes(nodes_by_check(&world))];
    for ((node, check), health) in world.health.iter().filter(|(_, health)| health.state == CheckState::Critical) {
        gone.remove(&(check.clone(), node.clone()));
        let before = wall.since(health.since);
        inputs.push(Input::Failing { check: check.clone(), node: node.clone(), before });
    }
    inputs.extend(gone.into_iter().map(|(check, node)| Input::Well { check, node }));
    step(app, inputs).await;
    watch
}

/// What a commit changed, by its keys.
async fn take(app: &App, revision: u64, changes: &[Change]) {
    let mut inputs = Vec::new();
    let mut other_nodes = false;
    for change in changes {
        let key = change.key.as_ref();
        if let Some((node, check)) = key.strip_prefix(records::HEALTH).and_then(|rest| rest.split_once('/')) {
            let (Ok(node), Ok(check)) = (NodeId::parse(node), Name::new(check)) else { continue };
            let health = change.after.as_ref().and_then(|entry| Health::decode(key, &entry.value).ok());
            let fails = health.is_some_and(|health| health.state == CheckState::Critical);
            // Its host's clock may be wrong: it is news now.
            let failing = Input::Failing { check: check.clone(), node: node.clone(), before: Duration::ZERO };
            inputs.push(if fails { failing } else { Input::Well { check, node } });
        } else if [records::MEMBERS, records::MEMBER_NAMES, records::SYSTEMS, records::LIVENESS]
            .iter()
            .any(|prefix| key.starts_with(prefix))
        {
            other_nodes |= !key.starts_with(records::LIVENESS) || facts_choose(&app.mirror.now());
        } else if [FREEZES, MAINTENANCE, CAUSES].iter().any(|prefix| key.starts_with(prefix)) {
            // When the next one ends is read from the world.
            app.mirror.reach(revision).await;
        }
    }
    if other_nodes {
        app.mirror.reach(revision).await;
        inputs.insert(0, Input::Nodes(nodes_by_check(&app.mirror.now())));
    }
    step(app, inputs).await;
}

fn facts_choose(world: &World) -> bool {
    let applied = &world.specs.applied;
    applied.checks().any(|(_, check)| applied.selector_of(check).is_some_and(|selector| selector.names_facts()))
}

fn nodes_by_check(world: &World) -> BTreeMap<Name, BTreeSet<NodeId>> {
    let applied = &world.specs.applied;
    let members = world.members.values().filter(|member| member.revoked.is_none());
    let hosts: Vec<_> = members
        .map(|member| {
            let facts = world.liveness.get(&member.id).and_then(|record| record.facts.as_ref());
            (&member.id, world.labels(member), facts.map(hostler_types::Facts::selectable).unwrap_or_default())
        })
        .collect();
    // A fleet's selectors are few.
    let mut known: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
    let checks = applied.checks().filter_map(|(name, check)| {
        let selector = applied.selector_of(check)?;
        let taken = known.entry(selector.to_string()).or_insert_with(|| {
            let takes = hosts.iter().filter(|(_, labels, facts)| selector.matches(labels, facts));
            takes.map(|(id, ..)| (*id).clone()).collect()
        });
        Some((name.clone(), taken.clone()))
    });
    checks.collect()
}

async fn step(app: &App, inputs: Vec<Input>) {
    let effects: Vec<Effect> = {
        let (mut causes, now) = (app.watched.causes(), clock::now());
        inputs.into_iter().flat_map(|input| causes.step(now, input)).collect()
    };
    for effect in effects {
        write(app, effect).await;
    }
}

/// Until it is written: what was decided is not decided again.
async fn write(app: &App, effect: Effect) {
    let now = clock::wall();
    let told = |cause: &Cause, message| {
        let (kind, subject) = (EventKind::CHECK, cause.check.to_string());
        NewEvent { at: now, kind, node: String::new(), subject, message }
    };
    let put = |cause: &Cause| Txn::new().put(cause_key(&cause.check), encode_cause(cause));
    let (txn, events) = match &effect {
        Effect::Begin(cause) => {
            (put(cause), vec![told(cause, format!("{}: a common cause; healing on it waits", cause.words()))])
        }
        Effect::Recount(cause) => (put(cause), Vec::new()),
        Effect::End(cause) => {
            let lasted = hostler_types::units::format_age(now.since(cause.since));
            let message = format!("fails on few nodes again, after {lasted}: healing on it goes on");
            (Txn::new().delete(cause_key(&cause.check)), vec![told(cause, message)])
        }
    };
    let txn = app.journal.record(txn, now, &events);
    loop {
        match app.store.commit(txn.clone()).await {
            Ok(_) => return,
            Err(error) if !error.may_pass() => {
                tracing::error!(error = %error, "a brake could not be written and is left out");
                return;
            }
            Err(error) => tracing::error!(error = %error, "writing a brake failed"),
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}
