//! What the embedded backends share: one committer thread that checks, applies
//! and syncs transactions in groups, and the log of what it did.

use crate::log::{Change, ChangeLog, Commit, Watch};
use crate::{Entry, LeaseId, Revision, Snapshot, Store, StoreError, Txn};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Callers beyond it wait in their own tasks, which is the back-pressure.
const QUEUE_LENGTH_MAX: usize = 1024;
/// One sync for so many transactions at most: bounds how long readers wait.
const GROUP_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub entry: Entry,
    pub lease: Option<LeaseId>,
}

/// What a backend has to do; the engine calls it from one thread for writes.
pub(crate) trait Backend: Send + Sync + 'static {
    fn describe(&self) -> &'static str;
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError>;
    fn scan(&self, prefix: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError>;
    /// Atomically, together with the revision.
    fn apply(&mut self, revision: Revision, writes: &[(Arc<str>, Option<Record>)]) -> Result<(), StoreError>;
    /// After it, everything applied survives a power cut.
    fn sync(&mut self) -> Result<(), StoreError>;
}

enum Request {
    Commit(Txn, oneshot::Sender<Result<Revision, StoreError>>),
    Lease(Duration, oneshot::Sender<Result<LeaseId, StoreError>>),
    KeepAlive(LeaseId, oneshot::Sender<Result<(), StoreError>>),
}

pub(crate) struct Engine<B> {
    backend: Arc<RwLock<B>>,
    log: Arc<ChangeLog>,
    requests: SyncSender<Request>,
    alive: watch::Receiver<()>,
    describe: &'static str,
}

impl<B: Backend> Engine<B> {
    pub fn start(backend: B, revision: Revision) -> Result<Arc<Self>, StoreError> {
        let describe = backend.describe();
        let backend = Arc::new(RwLock::new(backend));
        let log = Arc::new(ChangeLog::new(revision));
        let (requests, queue) = sync_channel(QUEUE_LENGTH_MAX);
        let mut committer =
            Committer { backend: Arc::clone(&backend), log: Arc::clone(&log), leases: HashMap::new(), next_lease: 1 };
        committer.drop_old_leases()?;
        let (running, alive) = watch::channel(());
        std::thread::Builder::new()
            .name("store-committer".into())
            .spawn(move || {
                committer.run(&queue);
                drop(running);
            })
            .map_err(|source| StoreError::Backend { operation: "start the committer", source: Arc::new(source) })?;
        Ok(Arc::new(Self { backend, log, requests, alive, describe }))
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let mut request = request(reply);
        loop {
            match self.requests.try_send(request) {
                Ok(()) => return answer.await.map_err(|_| StoreError::Stopped)?,
                Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return Err(StoreError::Stopped),
                Err(std::sync::mpsc::TrySendError::Full(back)) => {
                    request = back;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    }

    fn scan_at(&self, prefix: &str, at: Option<Revision>) -> Result<Snapshot, StoreError> {
        let backend = self.backend.read().unwrap_or_else(PoisonError::into_inner);
        // The committer appends to the log while it holds the write lock, so the
        // state and the revision belong together here.
        let revision = self.log.revision();
        let mut entries: Vec<(Arc<str>, Entry)> =
            backend.scan(prefix)?.into_iter().map(|(key, record)| (key, record.entry)).collect();
        let Some(at) = at.filter(|at| *at != revision) else {
            return Ok(Snapshot { revision, entries });
        };
        let undo = self.log.after(at)?;
        drop(backend);
        let mut past: std::collections::BTreeMap<Arc<str>, Entry> = entries.drain(..).collect();
        for commit in undo.iter().rev() {
            for change in commit.changes.iter().filter(|change| change.key.starts_with(prefix)) {
                match &change.before {
                    Some(entry) => past.insert(Arc::clone(&change.key), entry.clone()),
                    None => past.remove(&change.key),
                };
            }
        }
        Ok(Snapshot { revision: at, entries: past.into_iter().collect() })
    }
}

impl<B: Backend> Store for Engine<B> {
    fn describe(&self) -> &'static str {
        self.describe
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        std::future::ready(Ok(self.log.revision())).boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let found = self.backend.read().unwrap_or_else(PoisonError::into_inner).get(key);
        std::future::ready(found.map(|record| record.map(|record| record.entry))).boxed()
    }

    fn scan<'a>(&'a self, prefix: &'a str, at: Option<Revision>) -> BoxFuture<'a, Result<Snapshot, StoreError>> {
        std::future::ready(self.scan_at(prefix, at)).boxed()
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, StoreError>> {
        async move {
            txn.check_limits()?;
            self.ask(|reply| Request::Commit(txn, reply)).await
        }
        .boxed()
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        Watch::new(Arc::clone(&self.log), prefix, from)
    }

    fn lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, StoreError>> {
        self.ask(move |reply| Request::Lease(ttl, reply)).boxed()
    }

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(move |reply| Request::KeepAlive(lease, reply)).boxed()
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        let mut alive = self.alive.clone();
        // The committer holds the other end for as long as it runs.
        async move { while alive.changed().await.is_ok() {} }.boxed()
    }
}

struct Lease {
    ttl: Duration,
    ends: Instant,
}

struct Committer<B> {
    backend: Arc<RwLock<B>>,
    log: Arc<ChangeLog>,
    leases: HashMap<LeaseId, Lease>,
    next_lease: u64,
}

type Replies = Vec<(oneshot::Sender<Result<Revision, StoreError>>, Result<Revision, StoreError>)>;

impl<B: Backend> Committer<B> {
    /// Runs until every handle to the store is gone, or the disk fails: a failed
    /// sync leaves unknown what is on it, and must not be tried again.
    fn run(&mut self, queue: &Receiver<Request>) {
        loop {
            let first = match self.leases.values().map(|lease| lease.ends).min() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(ends) => queue.recv_timeout(ends.saturating_duration_since(Instant::now())),
            };
            let mut group = Vec::new();
            match first {
                Ok(request) => group.push(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            group.extend(queue.try_iter().take(GROUP_MAX - 1));
            if let Err(error) = self.serve(group) {
                tracing::error!(error = %error, "store stopped: a write could not be made durable");
                return;
            }
        }
    }

    /// Serves a group. An error is the end.
    fn serve(&mut self, group: Vec<Request>) -> Result<(), StoreError> {
        let backend = Arc::clone(&self.backend);
        let mut backend = backend.write().unwrap_or_else(PoisonError::into_inner);
        let mut replies = Replies::new();
        let mut commits = Vec::new();
        let mut revision = self.log.revision();
        for request in group {
            match request {
                Request::Commit(txn, reply) => {
                    let outcome = self.apply(&mut *backend, revision, &txn);
                    let outcome = match outcome {
                        Ok(None) => Ok(revision),
                        Ok(Some(commit)) => {
                            revision = commit.revision;
                            commits.push(commit);
                            Ok(revision)
                        }
                        Err(error @ StoreError::Backend { .. }) => return Err(error),
                        Err(error) => Err(error),
                    };
                    replies.push((reply, outcome));
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
            }
        }
        if let Some(commit) = self.expire(&mut *backend, revision)? {
            commits.push(commit);
        }
        if !commits.is_empty() {
            backend.sync()?;
        }
        for commit in commits {
            self.log.append(commit);
        }
        drop(backend);
        for (reply, outcome) in replies {
            // Whoever asked may have gone; the commit stands.
            let _ = reply.send(outcome);
        }
        Ok(())
    }

    fn apply(&self, backend: &mut B, revision: Revision, txn: &Txn) -> Result<Option<Commit>, StoreError> {
        for (key, expected) in &txn.expect {
            let found = backend.get(key)?.map(|record| record.entry.modified);
            if found != *expected {
                return Err(StoreError::Conflict { key: key.to_string(), expected: *expected, found });
            }
        }
        let next = revision + 1;
        let mut changes = Vec::with_capacity(txn.writes.len());
        let mut records = Vec::with_capacity(txn.writes.len());
        for write in &txn.writes {
            if write.lease.is_some_and(|lease| !self.leases.contains_key(&lease)) {
                return Err(StoreError::LeaseGone);
            }
            let before = backend.get(&write.key)?.map(|record| record.entry);
            if before.is_none() && write.value.is_none() {
                continue;
            }
            let after = write.value.as_ref().map(|value| Entry {
                value: Bytes::clone(value),
                created: before.as_ref().map_or(next, |entry| entry.created),
                modified: next,
            });
            let record = after.clone().map(|entry| Record { entry, lease: write.lease });
            records.push((Arc::clone(&write.key), record));
            changes.push(Change { key: Arc::clone(&write.key), before, after });
        }
        if changes.is_empty() {
            return Ok(None);
        }
        backend.apply(next, &records)?;
        Ok(Some(Commit { revision: next, changes }))
    }

    /// One commit that deletes the keys of every lease that has run out.
    fn expire(&mut self, backend: &mut B, revision: Revision) -> Result<Option<Commit>, StoreError> {
        let now = Instant::now();
        let ended: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| lease.ends <= now).map(|(id, _)| *id).collect();
        if ended.is_empty() {
            return Ok(None);
        }
        for id in &ended {
            self.leases.remove(id);
        }
        let mut txn = Txn::new();
        for (key, record) in backend.scan("/")? {
            if record.lease.is_some_and(|lease| ended.contains(&lease)) {
                txn = txn.delete(key);
            }
        }
        self.apply(backend, revision, &txn)
    }

    /// Leases live in this process: whatever was leased before it is gone.
    fn drop_old_leases(&mut self) -> Result<(), StoreError> {
        let mut backend = self.backend.write().unwrap_or_else(PoisonError::into_inner);
        let mut txn = Txn::new();
        for (key, record) in backend.scan("/")? {
            if record.lease.is_some() {
                txn = txn.delete(key);
            }
        }
        if let Some(commit) = self.apply(&mut *backend, self.log.revision(), &txn)? {
            backend.sync()?;
            self.log.append(commit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A disk whose sync begins to fail.
    struct Failing(Arc<AtomicBool>);

    impl Backend for Failing {
        fn describe(&self) -> &'static str {
            "failing"
        }

        fn get(&self, _: &str) -> Result<Option<Record>, StoreError> {
            Ok(None)
        }

        fn scan(&self, _: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError> {
            Ok(Vec::new())
        }

        fn apply(&mut self, _: Revision, _: &[(Arc<str>, Option<Record>)]) -> Result<(), StoreError> {
            Ok(())
        }

        fn sync(&mut self) -> Result<(), StoreError> {
            if self.0.load(Ordering::SeqCst) {
                let source = Arc::new(std::io::Error::other("no space left on device"));
                return Err(StoreError::Backend { operation: "sync", source });
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_failed_sync_is_the_end_and_is_told() {
        let broken = Arc::new(AtomicBool::new(false));
        let store = Engine::start(Failing(Arc::clone(&broken)), 0).expect("starts");
        store.commit(Txn::new().put("/a", "1")).await.expect("a good disk");
        broken.store(true, Ordering::SeqCst);
        assert!(store.commit(Txn::new().put("/a", "2")).await.is_err(), "nothing unsynced is acked");
        store.stopped().await;
        broken.store(false, Ordering::SeqCst);
        assert!(matches!(store.commit(Txn::new().put("/a", "3")).await, Err(StoreError::Stopped)));
        assert_eq!(store.revision().await.expect("reads go on"), 1);
    }
}
