//! The living fleet: open streams, leases, and what nodes last said. In memory
//! only; what must outlive a restart is news, and goes to the store.

use crate::clock;
use crate::journal::Journal;
use crate::records::{LivenessRecord, NewEvent, liveness_key};
use crate::world::Mirror;
use hostler_core::liveness::{Change, ConnectionId, Input, LEASE, Liveness};
use hostler_proto::agent as wire;
use hostler_store::{Store, Txn};
use hostler_types::units::format_duration;
use hostler_types::{EventKind, Facts, NodeId, NodeState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One record a node, each with facts of up to about 20 KiB: within what one
/// transaction takes in operations and in bytes.
const NEWS_BATCH: usize = 32;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A summary in a report: as long as an agent may make it.
const REPORT_TEXT_MAX: usize = 4096;
/// More checks than any node has; what a hostile node sends beyond is dropped.
const CHECKS_PER_NODE_MAX: usize = 2048;

/// What a connected node last said of itself.
#[derive(Clone, Debug)]
pub struct Live {
    pub connection: ConnectionId,
    pub address: SocketAddr,
    pub agent_version: String,
    pub policy: String,
    pub boot_id: String,
    pub facts: Facts,
    pub clock_skew_ms: Option<i64>,
    pub checks: BTreeMap<String, wire::CheckReport>,
    pub plugins: Vec<wire::PluginReport>,
    cut: CancellationToken,
}

/// A member's state for listings.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub state: NodeState,
    pub since: Timestamp,
    pub last_seen: Timestamp,
}

pub struct Fleet {
    liveness: Mutex<Liveness>,
    live: Mutex<BTreeMap<NodeId, Live>>,
    /// What is to be written, and by whom it is waited for: one task.
    news: Mutex<News>,
    wake: Notify,
    connections: AtomicU64,
}

#[derive(Default)]
struct News {
    changes: Vec<Change>,
    facts: BTreeSet<NodeId>,
}

/// As long as any honest version, policy or boot id.
fn word(text: &str) -> String {
    text.chars().take(64).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every holder leaves the value whole; none of them can panic in between.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// Every member that was there before gets one fresh lease.
    pub fn new(mirror: &Mirror) -> Arc<Self> {
        let (world, now) = (mirror.now(), clock::now());
        let mut liveness = Liveness::default();
        for (id, member) in world.members.iter() {
            let record = world.liveness.get(id);
            let (was, since) = match (&member.revoked, record) {
                (Some(revoked), _) => (NodeState::Revoked, revoked.at),
                (None, Some(record)) => (record.state, record.since),
                (None, None) => (NodeState::Joining, member.joined_at),
            };
            liveness.step(now, Input::Known { node: id.clone(), was, since });
        }
        Arc::new(Self {
            liveness: Mutex::new(liveness),
            live: Mutex::new(BTreeMap::new()),
            news: Mutex::new(News::default()),
            wake: Notify::new(),
            connections: AtomicU64::new(1),
        })
    }

    pub fn seen(&self, node: &NodeId) -> Option<Seen> {
        let liveness = lock(&self.liveness);
        let member = liveness.get(node)?;
        Some(Seen { state: member.state, since: member.since, last_seen: member.last_seen })
    }

    pub fn live(&self, node: &NodeId) -> Option<Live> {
        lock(&self.live).get(node).cloned()
    }

    pub fn connected(&self) -> usize {
        lock(&self.live).len()
    }

    pub fn input(&self, input: Input) {
        let mut liveness = lock(&self.liveness);
        if let Some(change) = liveness.step(clock::now(), input) {
            // Under the same lock, so that news keep the order of decisions.
            lock(&self.news).changes.push(change);
        }
        drop(liveness);
        self.wake.notify_one();
    }

    pub fn joined(&self, node: NodeId, at: Timestamp) {
        self.input(Input::Known { node, was: NodeState::Joining, since: at });
    }

    /// Opens a session; an older one of the same node is cut. Returns the old
    /// session if another machine seems to have held it.
    pub fn connect(
        &self,
        node: &NodeId,
        hello: &wire::Hello,
        address: SocketAddr,
        cut: CancellationToken,
    ) -> (ConnectionId, Option<Live>) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let facts: Facts = hello.facts.clone().unwrap_or_default().into();
        let live = Live {
            connection,
            address,
            agent_version: word(&hello.agent_version),
            policy: word(&hello.policy),
            boot_id: word(&hello.boot_id),
            facts,
            clock_skew_ms: None,
            checks: BTreeMap::new(),
            plugins: Vec::new(),
            cut,
        };
        let boot_id = live.boot_id.clone();
        let machine_id = live.facts.machine_id.clone();
        let old = lock(&self.live).insert(node.clone(), live);
        self.report(node, connection, &hello.checks);
        self.input(Input::Connected { node: node.clone(), connection });
        lock(&self.news).facts.insert(node.clone());
        if let Some(old) = &old {
            old.cut.cancel();
        }
        let other_machine = old.filter(|old| old.facts.machine_id != machine_id && old.boot_id != boot_id);
        (connection, other_machine)
    }

    pub fn heard(&self, node: &NodeId, connection: ConnectionId) {
        self.input(Input::Heard { node: node.clone(), connection });
    }

    pub fn ended(&self, node: &NodeId, connection: ConnectionId) {
        let mut live = lock(&self.live);
        if live.get(node).is_some_and(|live| live.connection == connection) {
            live.remove(node);
        }
        drop(live);
        self.input(Input::Ended { node: node.clone(), connection });
    }

    /// Ends a node's stream at once, wherever it is.
    pub fn cut(&self, node: &NodeId, input: Input) {
        self.input(input);
        if let Some(live) = lock(&self.live).remove(node) {
            live.cut.cancel();
        }
    }

    pub fn report(&self, node: &NodeId, connection: ConnectionId, checks: &[wire::CheckReport]) {
        self.update(node, connection, |live| {
            for report in checks {
                let room = live.checks.len() < CHECKS_PER_NODE_MAX || live.checks.contains_key(&report.check);
                let texts = [&report.check, &report.state, &report.status, &report.summary, &report.details];
                if room && texts.iter().map(|text| text.len()).sum::<usize>() <= REPORT_TEXT_MAX {
                    live.checks.insert(report.check.clone(), report.clone());
                }
            }
        });
    }

    pub fn update(&self, node: &NodeId, connection: ConnectionId, change: impl FnOnce(&mut Live)) {
        if let Some(live) = lock(&self.live).get_mut(node).filter(|live| live.connection == connection) {
            change(live);
        }
    }

    pub fn facts_changed(&self, node: &NodeId, connection: ConnectionId, facts: Facts) {
        self.update(node, connection, |live| live.facts = facts);
        lock(&self.news).facts.insert(node.clone());
        self.wake.notify_one();
    }

    /// Watches leases and writes what is news.
    pub async fn run(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        mirror: Arc<Mirror>,
        journal: Arc<Journal>,
        stop: CancellationToken,
    ) {
        loop {
            self.expire();
            if !self.write_news(&*store, &mirror, &journal).await {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let next = lock(&self.liveness).next_deadline();
            let wait = next.map_or(LEASE, |deadline| deadline.saturating_sub(clock::now().monotonic));
            tokio::select! {
                () = stop.cancelled() => {
                    self.write_news(&*store, &mirror, &journal).await;
                    return;
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn expire(&self) {
        let mut liveness = lock(&self.liveness);
        let lost = liveness.expire(clock::now());
        lock(&self.news).changes.extend(lost);
    }

    /// Whether all of it is written; what is not stays to be written.
    async fn write_news(&self, store: &dyn Store, mirror: &Mirror, journal: &Journal) -> bool {
        loop {
            let (changes, facts) = {
                let mut news = lock(&self.news);
                let count = news.changes.len().min(NEWS_BATCH);
                let changes: Vec<Change> = news.changes.drain(..count).collect();
                let room = NEWS_BATCH - count;
                let facts: Vec<NodeId> = news.facts.iter().take(room).cloned().collect();
                for node in &facts {
                    news.facts.remove(node);
                }
                (changes, facts)
            };
            if changes.is_empty() && facts.is_empty() {
                return true;
            }
            let txn = self.news_txn(mirror, journal, &changes, &facts);
            if txn.is_empty() {
                continue;
            }
            if let Err(error) = store.commit(txn).await {
                tracing::error!(error = %error, "writing node states failed");
                if !error.may_pass() {
                    // The same again would fail the same way, and hold up all that comes after.
                    tracing::error!(nodes = changes.len() + facts.len(), "left out the news of some nodes");
                    continue;
                }
                let mut news = lock(&self.news);
                news.changes.splice(0..0, changes);
                news.facts.extend(facts);
                return false;
            }
        }
    }

    fn news_txn(&self, mirror: &Mirror, journal: &Journal, changes: &[Change], facts: &[NodeId]) -> Txn {
        let world = mirror.now();
        let mut records: BTreeMap<NodeId, LivenessRecord> = BTreeMap::new();
        let mut events = Vec::new();
        let known = |node: &NodeId| {
            let live = self.live(node).map(|live| live.facts);
            live.or_else(|| world.liveness.get(node).and_then(|record| record.facts.clone()))
        };
        for change in changes.iter().filter(|change| change.is_news()) {
            let record = LivenessRecord { state: change.to, since: change.at, facts: known(&change.node) };
            records.insert(change.node.clone(), record);
            let Some(member) = world.members.get(&change.node) else { continue };
            if let Some(message) = describe(change) {
                events.push(NewEvent {
                    at: change.at,
                    kind: EventKind::NODE,
                    node: member.name.to_string(),
                    subject: member.name.to_string(),
                    message,
                });
            }
        }
        for node in facts {
            let Some(seen) = self.seen(node) else { continue };
            let facts = known(node);
            let unchanged = world.liveness.get(node).is_some_and(|record| record.facts == facts);
            if !unchanged && !records.contains_key(node) {
                records.insert(node.clone(), LivenessRecord { state: seen.state, since: seen.since, facts });
            }
        }
        let mut txn = Txn::new();
        for (node, record) in records.iter().filter(|(node, _)| world.members.contains_key(node)) {
            txn = txn.put(liveness_key(node), record.encode());
        }
        let at = changes.first().map_or_else(clock::wall, |change| change.at);
        journal.record(txn, at, &events)
    }
}

/// A revocation is told by whoever revoked.
fn describe(change: &Change) -> Option<String> {
    match (change.from, change.to) {
        (NodeState::Lost, NodeState::Ready) => {
            let gone = Duration::from_secs(change.at.since(change.last_seen).as_secs());
            let gone = if gone.is_zero() { String::new() } else { format!(" after {}", format_duration(gone)) };
            Some(format!("lost -> ready{gone}"))
        }
        (_, NodeState::Revoked) => None,
        (from, NodeState::Lost) => Some(format!("{from} -> lost: not heard from for {} s", LEASE.as_secs())),
        (from, to) => Some(format!("{from} -> {to}")),
    }
}
