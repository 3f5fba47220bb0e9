//! Events: writing them, keeping the newest in memory, and following them.

use crate::records::{self, NewEvent, RecordError};
use hostler_store::{Store, StoreError, Txn, Watch};
use hostler_types::{Event, Timestamp};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Weeks of a quiet fleet, and a few megabytes.
pub const EVENTS_KEPT: usize = 10_000;
/// Keys deleted in one go when old events are dropped.
const TRIM_BATCH: usize = 50;

/// After a store's error: it is usually final, and the log must not fill.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

struct Kept {
    key: Arc<str>,
    events: Vec<Event>,
}

#[derive(Default)]
struct Ring {
    kept: VecDeque<Kept>,
    count: usize,
    /// The place of the newest event that is kept no more.
    forgotten_up_to: (u64, u64),
}

pub struct Journal {
    lineage: u64,
    term: u64,
    counter: AtomicU64,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("read the events")]
    Store(#[from] StoreError),
    #[error("understand the events")]
    Record(#[from] RecordError),
    #[error("{0:?} is no event's number")]
    Seq(String),
    #[error("events after {0} are no longer kept or belong to an older history: list again without a start")]
    Gone(String),
}

/// Which events are wanted; empty means any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub node: String,
    pub kind: String,
    pub subject: String,
    pub since: Timestamp,
}

impl Filter {
    pub fn takes(&self, event: &Event) -> bool {
        let fits = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        fits(&self.node, &event.node)
            && fits(&self.kind, event.kind.word())
            && fits(&self.subject, &event.subject)
            && event.at >= self.since
    }
}

impl Journal {
    pub async fn load(store: &dyn Store, lineage: u64, term: u64) -> Result<Arc<Self>, JournalError> {
        let (revision, ring) = read_ring(store, lineage).await?;
        Ok(Arc::new(Self {
            lineage,
            term,
            counter: AtomicU64::new(0),
            ring: Mutex::new(ring),
            newest: watch::Sender::new(revision),
        }))
    }

    /// Adds events to a transaction; they happen if it does.
    pub fn record(&self, txn: Txn, at: Timestamp, events: &[NewEvent]) -> Txn {
        if events.is_empty() {
            return txn;
        }
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        // Sorted by time for people who look into the store; the order that
        // counts is the commit's.
        let key = format!("{}{:015}-{}-{count}", records::EVENTS, at.as_millis(), self.term);
        txn.put(key, records::encode_events(events))
    }

    /// Oldest first: the newest `limit`, or the first so many after a place, so
    /// that whoever goes on from the last one they saw misses none.
    pub fn list(&self, filter: &Filter, after: Option<&str>, limit: usize) -> Result<Vec<Event>, JournalError> {
        let Some(after) = after.map(|seq| self.place(seq)).transpose()? else {
            let ring = self.lock();
            let newest = ring.kept.iter().rev().flat_map(|kept| kept.events.iter().rev());
            let mut events: Vec<Event> = newest.filter(|event| filter.takes(event)).take(limit).cloned().collect();
            events.reverse();
            return Ok(events);
        };
        let ring = self.lock();
        let all = ring.kept.iter().flat_map(|kept| kept.events.iter());
        let wanted = all.filter(|event| place_of(event) > after && filter.takes(event));
        Ok(wanted.take(limit).cloned().collect())
    }

    /// The place that a number means, if what follows it is still all here.
    fn place(&self, seq: &str) -> Result<(u64, u64), JournalError> {
        let (lineage, revision, index) = records::parse_seq(seq).ok_or_else(|| JournalError::Seq(seq.to_owned()))?;
        let forgotten = self.lock().forgotten_up_to;
        if lineage != self.lineage || (revision, index) < forgotten {
            return Err(JournalError::Gone(seq.to_owned()));
        }
        Ok((revision, index))
    }

    pub fn follow(self: &Arc<Self>, filter: Filter, after: Option<&str>) -> Result<Follower, JournalError> {
        let seen = match after {
            Some(seq) => self.place(seq)?,
            None => self.lock().kept.back().and_then(|kept| kept.events.last()).map(place_of).unwrap_or_default(),
        };
        Ok(Follower { journal: Arc::clone(self), newest: self.newest.subscribe(), filter, seen })
    }

    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        let mut watch = store.watch(records::EVENTS, *self.newest.borrow());
        loop {
            let commit = tokio::select! {
                () = stop.cancelled() => return,
                commit = watch.next() => commit,
            };
            let commit = match commit {
                Ok(commit) => commit,
                Err(StoreError::Compacted { .. }) => {
                    // Too far behind to go on commit by commit: read it all anew.
                    tracing::warn!("the events fell behind the store and are read anew");
                    watch = self.reload(&*store).await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(error = %error, "following events failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            let mut trimmed = Vec::new();
            for change in &commit.changes {
                let Some(entry) = &change.after else { continue };
                match records::decode_events(&change.key, &entry.value, self.lineage, commit.revision) {
                    Ok(events) => trimmed.extend(self.lock().push(Arc::clone(&change.key), events)),
                    Err(error) => tracing::error!(error = %error, "an event could not be understood"),
                }
            }
            self.newest.send_replace(commit.revision);
            for keys in trimmed.chunks(TRIM_BATCH) {
                let txn = keys.iter().fold(Txn::new(), |txn, key| txn.delete(Arc::clone(key)));
                if let Err(error) = store.commit(txn).await {
                    tracing::warn!(error = %error, "dropping old events failed");
                }
            }
        }
    }

    async fn reload(&self, store: &dyn Store) -> Watch {
        match read_ring(store, self.lineage).await {
            Ok((revision, ring)) => {
                *self.lock() = ring;
                self.newest.send_replace(revision);
            }
            Err(error) => {
                tracing::error!(error = %error, "reading the events anew failed");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        store.watch(records::EVENTS, *self.newest.borrow())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_ring(store: &dyn Store, lineage: u64) -> Result<(u64, Ring), JournalError> {
    let snapshot = store.scan(records::EVENTS, None).await?;
    let mut entries: Vec<_> = snapshot.entries.iter().collect();
    entries.sort_by_key(|(_, entry)| entry.created);
    let mut ring = Ring::default();
    for (key, entry) in entries {
        let events = records::decode_events(key, &entry.value, lineage, entry.created)?;
        ring.push(Arc::clone(key), events);
    }
    Ok((snapshot.revision, ring))
}

impl Ring {
    /// Returns the keys that fell out.
    fn push(&mut self, key: Arc<str>, events: Vec<Event>) -> Vec<Arc<str>> {
        self.count += events.len();
        self.kept.push_back(Kept { key, events });
        let mut dropped = Vec::new();
        while self.count > EVENTS_KEPT {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.count -= oldest.events.len();
            if let Some(last) = oldest.events.last() {
                self.forgotten_up_to = place_of(last);
            }
            dropped.push(oldest.key);
        }
        dropped
    }
}

fn place_of(event: &Event) -> (u64, u64) {
    records::parse_seq(&event.seq).map(|(_, revision, index)| (revision, index)).unwrap_or_default()
}

/// Reads events as they come; it holds a place in the ring and no queue.
pub struct Follower {
    journal: Arc<Journal>,
    newest: watch::Receiver<u64>,
    filter: Filter,
    seen: (u64, u64),
}

impl Follower {
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            self.newest.borrow_and_update();
            let events: Vec<Event> = {
                let ring = self.journal.lock();
                let new = ring.kept.iter().rev().flat_map(|kept| kept.events.iter().rev());
                let mut events: Vec<Event> = new.take_while(|event| place_of(event) > self.seen).cloned().collect();
                events.reverse();
                events
            };
            if let Some(last) = events.last() {
                self.seen = place_of(last);
            }
            let wanted: Vec<Event> = events.into_iter().filter(|event| self.filter.takes(event)).collect();
            if !wanted.is_empty() {
                return Some(wanted);
            }
            self.newest.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::EventKind;

    fn event(revision: u64) -> Event {
        Event {
            seq: format!("7.{revision}.0"),
            at: Timestamp::from_millis(revision),
            kind: EventKind::new(EventKind::CHECK),
            node: "web1".into(),
            subject: "disk".into(),
            message: String::new(),
        }
    }

    fn journal(events: usize) -> Arc<Journal> {
        let mut ring = Ring::default();
        for revision in 1..=events as u64 {
            ring.push(Arc::from(format!("/event/{revision}")), vec![event(revision)]);
        }
        let (counter, newest) = (AtomicU64::new(0), watch::Sender::new(events as u64));
        Arc::new(Journal { lineage: 7, term: 1, counter, ring: Mutex::new(ring), newest })
    }

    fn seqs(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.seq.as_str()).collect()
    }

    #[test]
    fn paging_by_number_misses_nothing() {
        let journal = journal(5);
        let any = Filter::default();
        assert_eq!(seqs(&journal.list(&any, None, 2).expect("newest")), ["7.4.0", "7.5.0"]);
        assert_eq!(seqs(&journal.list(&any, Some("7.1.0"), 2).expect("next")), ["7.2.0", "7.3.0"]);
        assert_eq!(seqs(&journal.list(&any, Some("7.5.0"), 2).expect("end")), Vec::<&str>::new());
        assert!(matches!(journal.list(&any, Some("8.1.0"), 2), Err(JournalError::Gone(_))), "another history");
        assert!(matches!(journal.list(&any, Some("x"), 2), Err(JournalError::Seq(_))));
    }

    #[test]
    fn a_number_before_what_was_dropped_is_refused() {
        let journal = journal(EVENTS_KEPT + 3);
        let any = Filter::default();
        assert!(matches!(journal.list(&any, Some("7.2.0"), 1), Err(JournalError::Gone(_))));
        assert_eq!(seqs(&journal.list(&any, Some("7.3.0"), 1).expect("whole from here")), ["7.4.0"]);
    }
}
