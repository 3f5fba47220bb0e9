//! The living fleet: open streams, leases, and what nodes last said. In memory
//! only; what must outlive a restart is news, and goes to the store.

use crate::clock;
use crate::deliveries::Line;
use crate::journal::Journal;
use crate::records::{LivenessRecord, NewEvent, liveness_key};
use crate::world::Mirror;
use hostler_core::liveness::{Change, ConnectionId, Input, LEASE, Liveness};
use hostler_proto::agent as wire;
use hostler_store::{Store, StoreError, Txn};
use hostler_types::units::format_duration;
use hostler_types::{EventKind, Facts, Name, NodeId, NodeState, Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One record a node, within what one transaction takes in operations. Should
/// hostile facts take more bytes than it may have, they go node by node.
const NEWS_BATCH: usize = 40;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Waking up so much later than planned means that this machine stood still, and
/// heard nobody meanwhile. A timer on a busy machine is late by milliseconds.
const STALL: Duration = Duration::from_secs(1);
/// More plugins than any node has.
const PLUGINS_PER_NODE_MAX: usize = 256;

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
    pub bills: Vec<wire::PluginBill>,
    pub line: Arc<Line>,
    cut: CancellationToken,
}

/// A member's state for listings.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub state: NodeState,
    pub since: Timestamp,
    pub last_seen: Timestamp,
}

/// How each replica of a node's services stands, as it was heard last.
pub type Standing = BTreeMap<(Name, u32), wire::ServiceReport>;

/// Locks are taken in the order of the fields: `live`, `services`, `liveness`, `news`.
pub struct Fleet {
    live: Mutex<BTreeMap<NodeId, Live>>,
    /// Also of nodes that are away: what runs there runs on.
    services: Mutex<BTreeMap<NodeId, Standing>>,
    liveness: Mutex<Liveness>,
    /// What is to be written, and by whom it is waited for: one task.
    news: Mutex<News>,
    wake: Notify,
    connections: AtomicU64,
    /// Whose newer orders were told of: once in a control plane's life is enough.
    outranked: Mutex<BTreeSet<NodeId>>,
}

#[derive(Default)]
struct News {
    changes: Vec<Change>,
    facts: BTreeSet<NodeId>,
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
            services: Mutex::new(BTreeMap::new()),
            news: Mutex::new(News::default()),
            wake: Notify::new(),
            connections: AtomicU64::new(1),
            outranked: Mutex::new(BTreeSet::new()),
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

    /// The way to it.
    pub fn line(&self, node: &NodeId) -> Option<Arc<Line>> {
        lock(&self.live).get(node).map(|live| Arc::clone(&live.line))
    }

    /// Whether it is ready, and has a stream.
    pub fn is_there(&self, node: &NodeId) -> bool {
        let is_live = lock(&self.live).contains_key(node);
        is_live && self.seen(node).is_some_and(|seen| seen.state == NodeState::Ready)
    }

    pub fn connected(&self) -> usize {
        lock(&self.live).len()
    }

    pub fn input(&self, input: Input) {
        let mut liveness = lock(&self.liveness);
        // A lease is renewed with each word of each node, and nobody has to wake for that:
        // whoever sleeps does so until some lease ends, and a new one ends later.
        let Some(change) = liveness.step(clock::now(), input) else { return };
        // Under the same lock, so that news keep the order of decisions.
        lock(&self.news).changes.push(change);
        drop(liveness);
        self.wake.notify_one();
    }

    /// Whether it is the first time that this node holds newer orders than ours.
    pub fn first_outranked(&self, node: &NodeId) -> bool {
        lock(&self.outranked).insert(node.clone())
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
        line: Arc<Line>,
    ) -> (ConnectionId, Option<Live>) {
        let hello = hello.clone().clipped();
        let facts: Facts = hello.facts.unwrap_or_default().into();
        let (boot_id, machine_id) = (hello.boot_id.clone(), facts.machine_id.clone());
        let mut live = lock(&self.live);
        // Numbered under the lock: the stream with the highest number is the one
        // that is kept, here and by the leases.
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let session = Live {
            connection,
            address,
            agent_version: hello.agent_version,
            policy: hello.policy,
            boot_id: hello.boot_id,
            facts,
            clock_skew_ms: None,
            checks: BTreeMap::new(),
            plugins: Vec::new(),
            bills: Vec::new(),
            line,
            cut,
        };
        let old = live.insert(node.clone(), session);
        self.input(Input::Connected { node: node.clone(), connection });
        drop(live);
        lock(&self.news).facts.insert(node.clone());
        self.wake.notify_one();
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
        self.input(Input::Ended { node: node.clone(), connection });
    }

    /// Ends a node's stream at once, wherever it is.
    pub fn cut(&self, node: &NodeId, input: Input) {
        let mut live = lock(&self.live);
        if matches!(input, Input::Removed { .. }) {
            lock(&self.services).remove(node);
        }
        self.input(input);
        if let Some(live) = live.remove(node) {
            live.cut.cancel();
        }
    }

    /// Keeps what is said of the node's own checks: the caller has left out the
    /// rest, so there are never more than it has.
    pub fn report(&self, node: &NodeId, connection: ConnectionId, checks: impl Iterator<Item = wire::CheckReport>) {
        self.update(node, connection, |live| {
            live.checks.extend(checks.map(wire::CheckReport::clipped).map(|report| (report.check.clone(), report)));
        });
    }

    /// Of the node's own services, as above.
    pub fn report_services(&self, node: &NodeId, connection: ConnectionId, change: impl FnOnce(&mut Standing)) {
        self.update(node, connection, |_| change(lock(&self.services).entry(node.clone()).or_default()));
    }

    pub fn services(&self, node: &NodeId) -> Standing {
        lock(&self.services).get(node).cloned().unwrap_or_default()
    }

    pub fn report_plugins(&self, node: &NodeId, connection: ConnectionId, plugins: Vec<wire::PluginReport>) {
        let plugins = plugins.into_iter().take(PLUGINS_PER_NODE_MAX).map(wire::PluginReport::clipped).collect();
        self.update(node, connection, |live| live.plugins = plugins);
    }

    pub fn report_bills(&self, node: &NodeId, connection: ConnectionId, bills: Vec<wire::PluginBill>) {
        let bills = bills.into_iter().take(PLUGINS_PER_NODE_MAX).map(wire::PluginBill::clipped).collect();
        self.update(node, connection, |live| live.bills = bills);
    }

    /// What plugins cost, by node.
    pub fn bills(&self) -> Vec<(NodeId, Vec<wire::PluginBill>)> {
        lock(&self.live).iter().map(|(id, live)| (id.clone(), live.bills.clone())).collect()
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
            let now = clock::now();
            let wait = next.map_or(LEASE, |deadline| deadline.saturating_sub(now.monotonic));
            let planned = Now { monotonic: now.monotonic + wait, wall: now.wall.plus(wait) };
            tokio::select! {
                () = stop.cancelled() => {
                    self.write_news(&*store, &mirror, &journal).await;
                    return;
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            self.forgive_stall(planned);
        }
    }

    /// Nobody is lost because this machine stood still. While it is suspended
    /// the clock of the leases stands still too, and only the other one tells.
    fn forgive_stall(&self, planned: Now) {
        let now = clock::now();
        let late = now.monotonic.saturating_sub(planned.monotonic).max(now.wall.since(planned.wall));
        if late > STALL {
            tracing::warn!(late_ms = late.as_millis(), "this machine stood still: every node gets a fresh lease");
            self.input(Input::Stalled);
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
            let outcome = match store.commit(txn).await {
                // The same again would fail the same way, and hold up all that comes after.
                Err(error) if !error.may_pass() => self.write_singly(store, mirror, journal, &changes, &facts).await,
                outcome => outcome.map(drop),
            };
            if let Err(error) = outcome {
                tracing::error!(error = %error, "writing node states failed");
                let mut news = lock(&self.news);
                news.changes.splice(0..0, changes);
                news.facts.extend(facts);
                return false;
            }
        }
    }

    /// Node by node, so that what the store refuses is left out alone.
    async fn write_singly(
        &self,
        store: &dyn Store,
        mirror: &Mirror,
        journal: &Journal,
        changes: &[Change],
        facts: &[NodeId],
    ) -> Result<(), StoreError> {
        let changed = changes.iter().map(|change| (&change.node, std::slice::from_ref(change), &[][..]));
        let said = facts.iter().map(|node| (node, &[][..], std::slice::from_ref(node)));
        for (node, change, said) in changed.chain(said) {
            match store.commit(self.news_txn(mirror, journal, change, said)).await {
                Err(error) if error.may_pass() => return Err(error),
                Err(error) => tracing::error!(error = %error, node = %node, "left out the news of a node"),
                Ok(_) => {}
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn no_blobs() -> crate::blobs::Blobs {
        crate::blobs::Blobs::open(tempfile::tempdir().expect("a folder").path()).expect("opens")
    }
    use crate::records::{Member, member_key};
    use hostler_types::{Labels, Policy};

    fn member(n: u8) -> Member {
        Member {
            id: NodeId::from_random([n; 10]),
            name: Name::new(format!("host{n}")).expect("a name"),
            labels: Labels::default(),
            policy: Policy::Watch,
            agent_version: String::new(),
            joined_at: Timestamp::default(),
            machine_id: String::new(),
            certificate_not_after: Timestamp::default(),
            revoked: None,
        }
    }

    fn unread() -> Arc<Line> {
        Arc::new(Line::new(tokio::sync::mpsc::channel(1).0))
    }

    #[tokio::test]
    async fn news_that_the_store_refuses_holds_up_no_other() {
        let store = hostler_store::open_memory().expect("opens");
        let (bad, good) = (member(1), member(2));
        for one in [&bad, &good] {
            store.commit(Txn::new().put(member_key(&one.id), one.encode())).await.expect("commits");
        }
        let mirror = Mirror::load(&*store, no_blobs()).await.expect("loads");
        let journal = Journal::load(&*store, 7, 1).await.expect("loads");
        let fleet = Fleet::new(&mirror);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connect = |one: &Member| {
            fleet.connect(&one.id, &wire::Hello::default(), address, CancellationToken::new(), unread()).0
        };
        let (connection, _) = (connect(&bad), connect(&good));
        let hostname = "x".repeat(hostler_store::VALUE_BYTES_MAX);
        fleet.facts_changed(&bad.id, connection, Facts { hostname, ..Facts::default() });
        assert!(fleet.write_news(&*store, &mirror, &journal).await, "nothing is left to be tried again");
        assert!(store.get(&liveness_key(&good.id)).await.expect("reads").is_some());
        assert!(store.get(&liveness_key(&bad.id)).await.expect("reads").is_none());
    }

    #[tokio::test]
    async fn the_end_of_an_old_session_leaves_the_new_one() {
        let store = hostler_store::open_memory().expect("opens");
        let fleet = Fleet::new(&Mirror::load(&*store, no_blobs()).await.expect("loads"));
        let (node, address) = (member(1).id, SocketAddr::from(([127, 0, 0, 1], 1)));
        fleet.joined(node.clone(), Timestamp::default());
        let cut = CancellationToken::new();
        let (old, _) = fleet.connect(&node, &wire::Hello::default(), address, cut.clone(), unread());
        let (new, _) = fleet.connect(&node, &wire::Hello::default(), address, CancellationToken::new(), unread());
        assert!(new > old && cut.is_cancelled());
        fleet.ended(&node, old);
        assert_eq!(fleet.seen(&node).map(|seen| seen.state), Some(NodeState::Ready));
        fleet.ended(&node, new);
        assert_eq!(fleet.seen(&node).map(|seen| seen.state), Some(NodeState::Disconnected));
        assert_eq!(fleet.connected(), 0);
    }

    #[tokio::test]
    async fn what_a_node_said_of_its_services_outlives_its_session_and_not_the_node() {
        let store = hostler_store::open_memory().expect("opens");
        let fleet = Fleet::new(&Mirror::load(&*store, no_blobs()).await.expect("loads"));
        let (node, address) = (member(1).id, SocketAddr::from(([127, 0, 0, 1], 1)));
        fleet.joined(node.clone(), Timestamp::default());
        let connect = || fleet.connect(&node, &wire::Hello::default(), address, CancellationToken::new(), unread()).0;
        let report = |state: &str| wire::ServiceReport { state: state.into(), ..wire::ServiceReport::default() };
        let hello = (Name::new("hello").expect("a name"), 0);
        let (old, new) = (connect(), connect());
        let say = |connection, state| {
            fleet.report_services(&node, connection, |all| drop(all.insert(hello.clone(), report(state))));
        };
        say(new, "running");
        say(old, "stopped");
        fleet.ended(&node, new);
        let state = || fleet.services(&node).get(&hello).map(|report| report.state.clone());
        assert_eq!(state().as_deref(), Some("running"));
        fleet.cut(&node, Input::Removed { node: node.clone() });
        assert_eq!(state(), None);
    }
}
