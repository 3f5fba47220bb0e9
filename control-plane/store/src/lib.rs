//! The state store: one trait, shaped like etcd, over several backends.
//!
//! A store is a map from keys to small values with one history: every commit is
//! atomic, gets the next revision, and is durable before it is acknowledged.
//! Readers see one revision; watchers see every commit in order, or are told to
//! list again.
//!
//! Not here: what the values mean. Typed repositories sit above.

mod committer;
mod embedded;
mod engine;
mod log;
mod memory;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use embedded::{
    Finding, Notify, Options, Probe, Sizes, Verdict, WHOLE, compact, export, import, inspect, keep_closed,
    open_embedded, open_with, probe, verify, wait_closed,
};
pub use log::{Change, Commit, Watch};
pub use memory::open_memory;

/// Counts commits. 0 is the empty store.
pub type Revision = u64;

/// Keys are paths, in every listing and log line.
pub const KEY_BYTES_MAX: usize = 512;
/// Whatever is larger is a blob, known by its digest.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// etcd's default, so that what works here works there.
pub const OPERATIONS_MAX: usize = 100;
/// Likewise: etcd takes 1.5 MiB a request, envelope included.
pub const TXN_BYTES_MAX: usize = 1024 * 1024;
/// How many revisions can still be read, and resumed from, ...
pub const HISTORY_REVISIONS: usize = 10_000;
/// ... as long as what they replaced is not more: it lies in memory.
pub const HISTORY_BYTES: usize = 32 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Bytes,
    /// The commit that made the key.
    pub created: Revision,
    /// The commit that last wrote it.
    pub modified: Revision,
}

/// Everything under a prefix, in key order, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub revision: Revision,
    pub entries: Vec<(Arc<str>, Entry)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub u64);

/// All of it or none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    expect: Vec<(Arc<str>, Option<Revision>)>,
    writes: Vec<Write>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub key: Arc<str>,
    /// `None` deletes.
    pub value: Option<Bytes>,
    pub lease: Option<LeaseId>,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    /// Commit only if the key was last written by this revision.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Arc<str>>, modified: Revision) -> Self {
        self.expect.push((key.into(), Some(modified)));
        self
    }

    /// Commit only if the key does not exist.
    #[must_use]
    pub fn expect_absent(mut self, key: impl Into<Arc<str>>) -> Self {
        self.expect.push((key.into(), None));
        self
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write { key: key.into(), value: Some(value.into()), lease: None });
        self
    }

    /// A key that goes when its lease does.
    #[must_use]
    pub fn put_leased(mut self, key: impl Into<Arc<str>>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.writes.push(Write { key: key.into(), value: Some(value.into()), lease: Some(lease) });
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<Arc<str>>) -> Self {
        self.writes.push(Write { key: key.into(), value: None, lease: None });
        self
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many operations it counts against [`OPERATIONS_MAX`].
    pub fn operations(&self) -> usize {
        self.expect.len() + self.writes.len()
    }

    fn check_limits(&self) -> Result<(), StoreError> {
        let over = |what, found: usize, limit: usize| Err(StoreError::Limit { what, found, limit });
        if self.operations() > OPERATIONS_MAX {
            return over("operations in a transaction", self.operations(), OPERATIONS_MAX);
        }
        let mut total = 0;
        for write in &self.writes {
            let value = write.value.as_ref().map_or(0, Bytes::len);
            if value > VALUE_BYTES_MAX {
                return over("bytes in a value", value, VALUE_BYTES_MAX);
            }
            total += value + write.key.len();
        }
        if total > TXN_BYTES_MAX {
            return over("bytes in a transaction", total, TXN_BYTES_MAX);
        }
        let keys = self.writes.iter().map(|write| &write.key).chain(self.expect.iter().map(|(key, _)| key));
        for key in keys {
            if key.is_empty() || !key.starts_with('/') {
                return Err(StoreError::Key(key.to_string()));
            }
            if key.len() > KEY_BYTES_MAX {
                return over("bytes in a key", key.len(), KEY_BYTES_MAX);
            }
        }
        for (index, write) in self.writes.iter().enumerate() {
            if self.writes.iter().skip(index + 1).any(|other| other.key == write.key) {
                return Err(StoreError::Twice(write.key.to_string()));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{key} was changed by somebody else (now at revision {found:?}, expected {expected:?})")]
    Conflict { key: String, expected: Option<Revision>, found: Option<Revision> },
    #[error("{found} {what}, and at most {limit} are allowed")]
    Limit { what: &'static str, found: usize, limit: usize },
    #[error("{0:?} is no key: keys begin with a slash")]
    Key(String),
    #[error("{0} is written twice in one transaction")]
    Twice(String),
    #[error("revision {asked} is compacted, the oldest kept is {oldest}: list again")]
    Compacted { asked: Revision, oldest: Revision },
    #[error("revision {asked} is in the future, the newest is {newest}")]
    Future { asked: Revision, newest: Revision },
    #[error("there is no such lease; it may have run out")]
    LeaseGone,
    #[error(
        "the disk that holds {folder} has {} MiB free, and writing goes on above {} MiB: make room; \
         nothing is lost, and it resumes by itself", free >> 20, wanted >> 20
    )]
    Full { folder: String, free: u64, wanted: u64 },
    #[error("{0} is in use by another process: stop it first")]
    InUse(String),
    #[error("{0} can't be opened by this user: chown -R the folder to the one who runs the control plane")]
    NotOurs(String),
    #[error("{0} can't be copied out: it keeps nothing")]
    NothingKept(&'static str),
    #[error("damaged: {0}")]
    Damaged(String),
    #[error("what was acknowledged can't be read any more: {0}")]
    Lost(String),
    #[error("{operation}")]
    Backend { operation: &'static str, source: Arc<dyn std::error::Error + Send + Sync> },
    #[error("the store has stopped after an earlier failure; the log says which")]
    Stopped,
}

impl StoreError {
    /// Whether the very same transaction can succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Backend { .. } | Self::Full { .. } | Self::Stopped)
    }

    /// Whether the state could not be read.
    pub(crate) fn is_trouble(&self) -> bool {
        matches!(self, Self::Backend { .. } | Self::Damaged(_))
    }

    /// Whether the same transaction, built anew from what is there now, can succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

/// What every backend promises; the conformance suite holds each to it.
pub trait Store: Send + Sync + 'static {
    /// For people: `embedded, journal synced to disk`.
    fn describe(&self) -> &'static str;

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>>;

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;

    /// Everything under `prefix`, now or as it was `at` a revision.
    fn scan<'a>(&'a self, prefix: &'a str, at: Option<Revision>) -> BoxFuture<'a, Result<Snapshot, StoreError>>;

    /// Durable when it returns. A transaction without writes still checks its
    /// expectations, and returns the present revision; an empty one says whether
    /// writes would be taken.
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Every commit after `from` that touches the prefix, in order.
    fn watch(&self, prefix: &str, from: Revision) -> Watch;

    /// Keys put under it vanish when it is not kept alive for `ttl`.
    fn lease(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, StoreError>>;

    fn keep_alive(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Copies out a store of the same kind, as of now or a moment later, while all
    /// goes on. The folder must be on the same disk. Returns the revision.
    fn snapshot(&self, into: PathBuf) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Returns once the store can write no more: a failed sync is final, and the
    /// process that holds the store is to end and start anew.
    fn stopped(&self) -> BoxFuture<'_, ()>;
}

/// An error and what lies beneath it, in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
