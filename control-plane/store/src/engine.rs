//! What the backends share: a state that is read, a committer that alone changes
//! it, and the log of what it did.

use crate::committer::{Committer, Request};
use crate::log::{ChangeLog, Watch};
use crate::{Entry, LeaseId, Revision, Snapshot, Store, StoreError, Txn};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Callers beyond it wait in their own tasks, which is the back-pressure.
const QUEUE_LENGTH_MAX: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub entry: Entry,
    pub lease: Option<LeaseId>,
}

/// What readers look into; only the committer changes it.
pub(crate) trait State: Send + Sync + 'static {
    /// Commits in the form in which they were made durable.
    type Group;
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError>;
    /// When a key was made and last written, which is known even where its value
    /// can't be read any more.
    fn stamp(&self, key: &str) -> Result<Option<(Revision, Revision)>, StoreError>;
    fn scan(&self, prefix: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError>;
    /// The keys that go with a lease.
    fn leased(&self) -> Result<Vec<(Arc<str>, LeaseId)>, StoreError>;
    fn apply(&mut self, group: &Self::Group) -> Result<(), StoreError>;
}

/// A commit that passed its expectations and is not durable yet.
pub(crate) struct Pending {
    pub revision: Revision,
    pub writes: Vec<(Arc<str>, Option<Record>)>,
}

pub(crate) struct SnapshotWanted {
    pub into: PathBuf,
    pub reply: oneshot::Sender<Result<Revision, StoreError>>,
}

pub(crate) enum Failure {
    /// Nothing was written, and the same may pass later.
    Refused(StoreError),
    /// What is on the disk is unknown.
    Final(StoreError),
}

/// What makes commits durable; the committer's alone.
pub(crate) trait Backend: Send + 'static {
    type State: State;
    fn describe(&self) -> &'static str;
    /// Whether writes would be taken now.
    fn ready(&self) -> Result<(), StoreError>;
    /// After it, the group survives a power cut.
    fn append(&mut self, commits: Vec<Pending>) -> Result<<Self::State as State>::Group, Failure>;
    /// Puts a new state in the place of one that can't be read, or could not take a
    /// durable group. What is durable is in it.
    fn repair(&mut self, failed: StoreError, state: &mut Self::State) -> Result<(), StoreError>;
    /// Begins to copy all of it out; the reply comes when that is done.
    fn snapshot(&mut self, wanted: SnapshotWanted, state: &Arc<RwLock<Self::State>>) -> Result<(), StoreError>;
    /// Called after each group.
    fn tend(&mut self, state: &Arc<RwLock<Self::State>>) -> Result<(), StoreError>;
    /// Called when nothing was asked for a moment. Says whether to be called again.
    fn rest(&mut self, state: &Arc<RwLock<Self::State>>) -> Result<bool, StoreError>;
}

pub(crate) struct Engine<S> {
    state: Arc<RwLock<S>>,
    log: Arc<ChangeLog>,
    requests: SyncSender<Request>,
    alive: watch::Receiver<()>,
    describe: &'static str,
}

impl<S: State> Engine<S> {
    pub fn start<B: Backend<State = S>>(backend: B, state: S, revision: Revision) -> Result<Arc<Self>, StoreError> {
        let describe = backend.describe();
        let state = Arc::new(RwLock::new(state));
        let log = Arc::new(ChangeLog::new(revision));
        let (requests, queue) = sync_channel(QUEUE_LENGTH_MAX);
        let mut committer = Committer::new(backend, Arc::clone(&state), Arc::clone(&log));
        committer.drop_old_leases()?;
        let (running, alive) = watch::channel(());
        std::thread::Builder::new()
            .name("store-committer".into())
            .spawn(move || {
                committer.run(&queue);
                drop(running);
            })
            .map_err(|source| StoreError::Backend { operation: "start the committer", source: Arc::new(source) })?;
        Ok(Arc::new(Self { state, log, requests, alive, describe }))
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
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        // The committer appends to the log while it holds the write lock, so the
        // state and the revision belong together here.
        let revision = self.log.revision();
        let mut entries: Vec<(Arc<str>, Entry)> =
            state.scan(prefix)?.into_iter().map(|(key, record)| (key, record.entry)).collect();
        let Some(at) = at.filter(|at| *at != revision) else {
            return Ok(Snapshot { revision, entries });
        };
        let undo = self.log.after(at)?;
        drop(state);
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

impl<S: State> Store for Engine<S> {
    fn describe(&self) -> &'static str {
        self.describe
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        std::future::ready(Ok(self.log.revision())).boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        let found = self.state.read().unwrap_or_else(PoisonError::into_inner).get(key);
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

    fn snapshot(&self, into: PathBuf) -> BoxFuture<'_, Result<Revision, StoreError>> {
        self.ask(|reply| Request::Snapshot(SnapshotWanted { into, reply })).boxed()
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        let mut alive = self.alive.clone();
        // The committer holds the other end for as long as it runs.
        async move { while alive.changed().await.is_ok() {} }.boxed()
    }
}
