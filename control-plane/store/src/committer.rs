//! The one thread that writes: it checks transactions, makes them durable in
//! groups, and only then shows and acknowledges them.

use crate::engine::{Backend, Failure, Pending, Record, SnapshotWanted, State};
use crate::log::{Change, ChangeLog, Commit};
use crate::{Entry, LeaseId, Revision, StoreError, Txn};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One sync for so many transactions at most: bounds how long the first waits.
const GROUP_MAX: usize = 256;
/// Likewise in bytes, roughly.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// So long after it was asked for something the backend may tidy up.
const REST_AFTER: Duration = Duration::from_secs(1);

pub(crate) enum Request {
    Commit(Txn, oneshot::Sender<Result<Revision, StoreError>>),
    Lease(Duration, oneshot::Sender<Result<LeaseId, StoreError>>),
    KeepAlive(LeaseId, oneshot::Sender<Result<(), StoreError>>),
    Snapshot(SnapshotWanted),
}

struct Lease {
    ttl: Duration,
    ends: Instant,
}

type Reply = (oneshot::Sender<Result<Revision, StoreError>>, Result<Revision, StoreError>);

/// A group while it is put together: what it will have changed, and what to say.
struct Turn {
    revision: Revision,
    changed: HashMap<Arc<str>, Option<Entry>>,
    commits: Vec<Commit>,
    pending: Vec<Pending>,
    replies: Vec<Reply>,
    ended: Vec<LeaseId>,
}

pub(crate) struct Committer<B: Backend> {
    backend: B,
    state: Arc<RwLock<B::State>>,
    log: Arc<ChangeLog>,
    leases: HashMap<LeaseId, Lease>,
    next_lease: u64,
    /// Since when the backend may have something to tidy up.
    restless_since: Option<Instant>,
}

impl<B: Backend> Committer<B> {
    pub fn new(backend: B, state: Arc<RwLock<B::State>>, log: Arc<ChangeLog>) -> Self {
        Self { backend, state, log, leases: HashMap::new(), next_lease: 1, restless_since: Some(Instant::now()) }
    }

    /// Runs until every handle to the store is gone, or the disk fails: a failed
    /// sync leaves unknown what is on it, and must not be tried again.
    pub fn run(&mut self, queue: &Receiver<Request>) {
        loop {
            let outcome = match self.wait(queue) {
                Ok(request) => self.gather(request, queue).and_then(|()| self.rest_if_due()),
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish();
                    return;
                }
            };
            if let Err(error) = outcome {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "store stopped: a write could not be made durable"
                );
                return;
            }
        }
    }

    fn wait(&self, queue: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        let lease = self.leases.values().map(|lease| lease.ends.saturating_duration_since(Instant::now())).min();
        let rest = self.restless_since.map(|since| REST_AFTER.saturating_sub(since.elapsed()));
        match lease.into_iter().chain(rest).min() {
            Some(most) => queue.recv_timeout(most),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn gather(&mut self, first: Request, queue: &Receiver<Request>) -> Result<(), StoreError> {
        let mut bytes = size(&first);
        let mut group = vec![first];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(request) = queue.try_recv() else { break };
            bytes += size(&request);
            group.push(request);
        }
        self.serve(group)
    }

    /// However busy it is: a steady trickle must not keep it from tidying up.
    fn rest_if_due(&mut self) -> Result<(), StoreError> {
        match self.restless_since {
            Some(since) if since.elapsed() > REST_AFTER => self.idle(),
            _ => Ok(()),
        }
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        if self.leases.values().any(|lease| lease.ends <= Instant::now()) {
            return self.serve(Vec::new());
        }
        let is_restless = self.backend.rest(&self.state)?;
        self.restless_since = is_restless.then(Instant::now);
        Ok(())
    }

    fn finish(&mut self) {
        if let Err(error) = self.backend.rest(&self.state) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the state is brought up to date at the next start"
            );
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, B::State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a group. An error is the end.
    fn serve(&mut self, group: Vec<Request>) -> Result<(), StoreError> {
        self.restless_since.get_or_insert_with(Instant::now);
        let mut turn = Turn::new(self.log.revision());
        for request in group {
            match request {
                Request::Commit(txn, reply) if txn.operations() == 0 => {
                    turn.replies.push((reply, self.backend.ready().map(|()| turn.revision)));
                }
                Request::Commit(txn, reply) => {
                    let checked = match self.check(&turn, &txn) {
                        Err(error) if error.is_trouble() => {
                            self.repair(error)?;
                            self.check(&turn, &txn)
                        }
                        checked => checked,
                    };
                    let outcome = checked.map(|changes| turn.take(changes));
                    turn.replies.push((reply, outcome));
                }
                Request::Lease(ttl, reply) => {
                    let id = LeaseId(self.next_lease);
                    self.next_lease += 1;
                    self.leases.insert(id, Lease { ttl, ends: Instant::now() + ttl });
                    let _ = reply.send(Ok(id));
                }
                Request::KeepAlive(id, reply) => {
                    let known = self.leases.get_mut(&id).map(|lease| lease.ends = Instant::now() + lease.ttl);
                    let _ = reply.send(known.ok_or(StoreError::LeaseGone));
                }
                Request::Snapshot(wanted) => self.backend.snapshot(wanted, &self.state)?,
            }
        }
        self.expire(&mut turn)?;
        self.settle(turn)
    }

    fn repair(&mut self, error: StoreError) -> Result<(), StoreError> {
        let state = Arc::clone(&self.state);
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        self.backend.repair(error, &mut state)
    }

    /// Makes a group durable, then visible, then tells who waits.
    fn settle(&mut self, mut turn: Turn) -> Result<(), StoreError> {
        if turn.pending.is_empty() {
            turn.reply();
            return self.backend.tend(&self.state);
        }
        let group = match self.backend.append(std::mem::take(&mut turn.pending)) {
            Ok(group) => group,
            Err(Failure::Refused(error)) => {
                // Leases that ran out are looked at again in a while.
                for id in &turn.ended {
                    self.leases.entry(*id).and_modify(|lease| lease.ends = Instant::now() + REST_AFTER);
                }
                turn.refuse(&error);
                return self.backend.tend(&self.state);
            }
            Err(Failure::Final(error)) => return Err(error),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.apply(&group) {
            self.backend.repair(error, &mut state)?;
        }
        // While it is locked: the state and its revision belong together.
        for commit in std::mem::take(&mut turn.commits) {
            self.log.append(commit);
        }
        drop(state);
        self.leases.retain(|id, _| !turn.ended.contains(id));
        turn.reply();
        self.backend.tend(&self.state)
    }

    /// What a transaction changes, if its expectations hold.
    fn check(&self, turn: &Turn, txn: &Txn) -> Result<Changes, StoreError> {
        let state = self.read();
        for (key, expected) in &txn.expect {
            let found = turn.stamp(&*state, key)?.map(|(_, modified)| modified);
            if found != *expected {
                return Err(StoreError::Conflict { key: key.to_string(), expected: *expected, found });
            }
        }
        let revision = turn.revision + 1;
        let mut changes = Vec::with_capacity(txn.writes.len());
        for write in &txn.writes {
            if write.lease.is_some_and(|lease| !self.leases.contains_key(&lease)) {
                return Err(StoreError::LeaseGone);
            }
            let before = turn.entry(&*state, &write.key)?;
            if before.is_none() && write.value.is_none() {
                continue;
            }
            let after = write.value.as_ref().map(|value| Entry {
                value: Bytes::clone(value),
                created: before.as_ref().map_or(revision, |entry| entry.created),
                modified: revision,
            });
            changes.push((Change { key: Arc::clone(&write.key), before, after }, write.lease));
        }
        Ok(changes)
    }

    /// Deletes the keys of every lease that has run out.
    fn expire(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let now = Instant::now();
        turn.ended = self.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect();
        if turn.ended.is_empty() {
            return Ok(());
        }
        let mut txn = Txn::new();
        let leased = self.read().leased();
        let leased = match leased {
            Err(error) if error.is_trouble() => {
                self.repair(error)?;
                self.read().leased()
            }
            leased => leased,
        };
        for (key, _) in leased?.into_iter().filter(|(_, lease)| turn.ended.contains(lease)) {
            txn = txn.delete(key);
        }
        // Put in this very group under a lease that has just run out.
        let changes = self.check(turn, &txn)?;
        turn.take(changes);
        Ok(())
    }

    /// Leases live in this process: whatever was leased before it is gone.
    pub fn drop_old_leases(&mut self) -> Result<(), StoreError> {
        let mut txn = Txn::new();
        for (key, _) in self.read().leased()? {
            txn = txn.delete(key);
        }
        let mut turn = Turn::new(self.log.revision());
        let changes = self.check(&turn, &txn)?;
        turn.take(changes);
        self.settle(turn)
    }
}

fn size(request: &Request) -> usize {
    match request {
        Request::Commit(txn, _) => txn.writes.iter().filter_map(|write| write.value.as_ref()).map(Bytes::len).sum(),
        _ => 0,
    }
}

type Changes = Vec<(Change, Option<LeaseId>)>;

impl Turn {
    fn new(revision: Revision) -> Self {
        Self {
            revision,
            changed: HashMap::new(),
            commits: Vec::new(),
            pending: Vec::new(),
            replies: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// A key as it stands after the commits of this group so far. One whose value
    /// is lost can still be written: its value is then taken for empty.
    fn entry(&self, state: &impl State, key: &str) -> Result<Option<Entry>, StoreError> {
        if let Some(entry) = self.changed.get(key) {
            return Ok(entry.clone());
        }
        match state.get(key) {
            Ok(record) => Ok(record.map(|record| record.entry)),
            Err(StoreError::Lost(_)) => {
                let stamp = state.stamp(key)?;
                Ok(stamp.map(|(created, modified)| Entry { value: Bytes::new(), created, modified }))
            }
            Err(error) => Err(error),
        }
    }

    fn stamp(&self, state: &impl State, key: &str) -> Result<Option<(Revision, Revision)>, StoreError> {
        match self.changed.get(key) {
            Some(entry) => Ok(entry.as_ref().map(|entry| (entry.created, entry.modified))),
            None => state.stamp(key),
        }
    }

    /// Adds a commit. Returns the revision that its caller is told.
    fn take(&mut self, changes: Changes) -> Revision {
        if changes.is_empty() {
            return self.revision;
        }
        self.revision += 1;
        let mut writes = Vec::with_capacity(changes.len());
        let mut seen = Vec::with_capacity(changes.len());
        for (change, lease) in changes {
            self.changed.insert(Arc::clone(&change.key), change.after.clone());
            let record = change.after.clone().map(|entry| Record { entry, lease });
            writes.push((Arc::clone(&change.key), record));
            seen.push(change);
        }
        self.pending.push(Pending { revision: self.revision, writes });
        self.commits.push(Commit { revision: self.revision, changes: seen });
        self.revision
    }

    fn reply(self) {
        for (reply, outcome) in self.replies {
            // Whoever asked may have gone; the commit stands.
            let _ = reply.send(outcome);
        }
    }

    /// Nothing of it happened: not even a conflict was with something real.
    fn refuse(self, error: &StoreError) {
        for (reply, _) in self.replies {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use crate::engine::Engine;
    use crate::memory::Memory;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// A disk that is good, full or broken.
    struct Failing(Arc<AtomicU8>);

    const FULL: u8 = 1;
    const BROKEN: u8 = 2;

    impl Backend for Failing {
        type State = Memory;

        fn describe(&self) -> &'static str {
            "failing"
        }

        fn ready(&self) -> Result<(), StoreError> {
            Ok(())
        }

        fn append(&mut self, commits: Vec<Pending>) -> Result<Vec<Pending>, Failure> {
            let error = || StoreError::Full { folder: "/x".into(), free: 0, wanted: 1 };
            match self.0.load(Ordering::SeqCst) {
                FULL => Err(Failure::Refused(error())),
                BROKEN => Err(Failure::Final(error())),
                _ => Ok(commits),
            }
        }

        fn repair(&mut self, failed: StoreError, _: &mut Memory) -> Result<(), StoreError> {
            Err(failed)
        }

        fn snapshot(&mut self, _: SnapshotWanted, _: &Arc<RwLock<Memory>>) -> Result<(), StoreError> {
            Ok(())
        }

        fn tend(&mut self, _: &Arc<RwLock<Memory>>) -> Result<(), StoreError> {
            Ok(())
        }

        fn rest(&mut self, _: &Arc<RwLock<Memory>>) -> Result<bool, StoreError> {
            Ok(false)
        }
    }

    #[tokio::test]
    async fn a_failed_sync_is_the_end_and_is_told() {
        let disk = Arc::new(AtomicU8::new(0));
        let store = Engine::start(Failing(Arc::clone(&disk)), Memory::default(), 0).expect("starts");
        store.commit(Txn::new().put("/a", "1")).await.expect("a good disk");
        disk.store(BROKEN, Ordering::SeqCst);
        assert!(store.commit(Txn::new().put("/a", "2")).await.is_err(), "nothing unsynced is acked");
        store.stopped().await;
        disk.store(0, Ordering::SeqCst);
        assert!(matches!(store.commit(Txn::new().put("/a", "3")).await, Err(StoreError::Stopped)));
        assert_eq!(store.revision().await.expect("reads go on"), 1);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_leaves_nothing_behind() {
        let disk = Arc::new(AtomicU8::new(0));
        let store = Engine::start(Failing(Arc::clone(&disk)), Memory::default(), 0).expect("starts");
        store.commit(Txn::new().put("/a", "1")).await.expect("a good disk");
        disk.store(FULL, Ordering::SeqCst);
        let error = store.commit(Txn::new().put("/a", "2")).await.expect_err("full");
        assert!(matches!(error, StoreError::Full { .. }) && error.may_pass(), "{error}");
        assert_eq!(store.get("/a").await.expect("reads go on").expect("there").value, "1");
        disk.store(0, Ordering::SeqCst);
        assert_eq!(store.commit(Txn::new().put("/a", "2").expect("/a", 1)).await.expect("room again"), 2);
    }
}
