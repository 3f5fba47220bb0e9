//! The newest commits, kept in memory: what watchers follow and what reads of
//! the near past undo.

use crate::{Entry, HISTORY_BYTES, HISTORY_REVISIONS, Revision, StoreError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One key's step from one state to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Arc<str>,
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

/// What one commit changed under a watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

impl Commit {
    /// What it holds on to, roughly: a value is shared with the change before.
    fn bytes(&self) -> usize {
        let of = |change: &Change| change.key.len() + change.before.as_ref().map_or(0, |entry| entry.value.len());
        self.changes.iter().map(|change| of(change) + CHANGE_BYTES).sum()
    }
}

/// Of a change without its key and values.
const CHANGE_BYTES: usize = 150;

#[derive(Default)]
struct Kept {
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
}

pub(crate) struct ChangeLog {
    kept: Mutex<Kept>,
    newest: watch::Sender<Revision>,
}

impl ChangeLog {
    pub fn new(revision: Revision) -> Self {
        Self { kept: Mutex::default(), newest: watch::Sender::new(revision) }
    }

    pub fn revision(&self) -> Revision {
        *self.newest.borrow()
    }

    pub fn append(&self, commit: Commit) {
        let revision = commit.revision;
        let mut kept = self.lock();
        kept.bytes += commit.bytes();
        kept.commits.push_back(Arc::new(commit));
        // The newest stays, however large.
        while kept.commits.len() > HISTORY_REVISIONS || (kept.bytes > HISTORY_BYTES && kept.commits.len() > 1) {
            let oldest = kept.commits.pop_front();
            kept.bytes -= oldest.map_or(0, |oldest| oldest.bytes());
        }
        drop(kept);
        self.newest.send_replace(revision);
    }

    /// The commits after `from`, oldest first.
    pub fn after(&self, from: Revision) -> Result<Vec<Arc<Commit>>, StoreError> {
        let newest = self.revision();
        if from > newest {
            return Err(StoreError::Future { asked: from, newest });
        }
        let kept = self.lock();
        let commits = &kept.commits;
        let oldest_resumable = commits.front().map_or(newest, |commit| commit.revision.saturating_sub(1));
        if from < oldest_resumable {
            return Err(StoreError::Compacted { asked: from, oldest: oldest_resumable });
        }
        let start = commits.partition_point(|commit| commit.revision <= from);
        Ok(commits.iter().skip(start).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // The queue is whole after every statement that holds the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the commits that touch a prefix. It holds a place in the shared log
/// and no queue of its own: a slow watcher costs nothing, and one that is too
/// slow is told to list again.
pub struct Watch {
    log: Arc<ChangeLog>,
    newest: watch::Receiver<Revision>,
    prefix: String,
    seen: Revision,
    ready: VecDeque<Arc<Commit>>,
}

impl Watch {
    pub(crate) fn new(log: Arc<ChangeLog>, prefix: &str, from: Revision) -> Self {
        let newest = log.newest.subscribe();
        Self { log, newest, prefix: prefix.to_owned(), seen: from, ready: VecDeque::new() }
    }

    /// The next commit under the prefix. Safe to drop and call again: nothing is
    /// taken before it is returned.
    pub async fn next(&mut self) -> Result<Commit, StoreError> {
        loop {
            while let Some(commit) = self.ready.pop_front() {
                self.seen = commit.revision;
                let changes: Vec<Change> =
                    commit.changes.iter().filter(|change| change.key.starts_with(&self.prefix)).cloned().collect();
                if !changes.is_empty() {
                    return Ok(Commit { revision: commit.revision, changes });
                }
            }
            self.newest.borrow_and_update();
            self.ready = self.log.after(self.seen)?.into();
            if self.ready.is_empty() && self.newest.changed().await.is_err() {
                return Err(StoreError::Stopped);
            }
        }
    }

    /// The revision up to which everything was seen.
    pub fn seen(&self) -> Revision {
        self.seen
    }
}
