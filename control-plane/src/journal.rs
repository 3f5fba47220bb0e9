//! Events: writing them, keeping the newest in memory, and following them.

use crate::records::{self, NewEvent, RecordError};
use hostler_store::{Commit, Store, StoreError, Txn, Watch};
use hostler_types::{Event, Timestamp};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Weeks of a quiet fleet, and a few megabytes.
pub const EVENTS_KEPT: usize = 10_000;
/// Keys deleted in one go when old events are dropped.
const TRIM_BATCH: usize = 50;
/// Keys that wait to be deleted. Beyond it they are left to the next start,
/// which reads them and drops them again.
const FALLEN_MAX: usize = EVENTS_KEPT;

/// After a store's error: it is usually final, and the log must not fill.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Where in history, then which place in the commit.
type Place = (u64, u64);

struct Kept {
    key: Arc<str>,
    events: Vec<Event>,
}

#[derive(Default)]
struct Ring {
    kept: VecDeque<Kept>,
    count: usize,
    /// The place of the newest event that is kept no more.
    forgotten_up_to: Place,
    /// What fell out and is still to be deleted, oldest first.
    fallen: VecDeque<(Arc<str>, Place)>,
}

pub struct Journal {
    lineage: u64,
    term: u64,
    counter: AtomicU64,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    /// Up to where the store was read, whether or not events were there.
    reached: AtomicU64,
    trim: Notify,
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
            reached: AtomicU64::new(revision),
            trim: Notify::new(),
        }))
    }

    /// Up to which revision of the store events are known.
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
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
    fn place(&self, seq: &str) -> Result<Place, JournalError> {
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
            None => self.lock().end(),
        };
        Ok(Follower { journal: Arc::clone(self), newest: self.newest.subscribe(), filter, seen })
    }

    /// Follows the store, and beside it drops what is too old: a slow disk must
    /// not keep new events back.
    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.read_on(&*store) => {}
            () = self.trim(&*store) => {}
        }
    }

    async fn read_on(&self, store: &dyn Store) {
        // All of it and not the events alone, so that `reached` is known.
        let mut watch = store.watch("/", *self.newest.borrow());
        loop {
            match watch.next().await {
                Ok(commit) => self.take(&commit),
                Err(StoreError::Compacted { .. }) => {
                    // Too far behind to go on commit by commit: read it all anew.
                    tracing::warn!("the events fell behind the store and are read anew");
                    watch = self.reload(store).await;
                }
                Err(error) => {
                    tracing::error!(error = %error, "following events failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, commit: &Commit) {
        let mut any = false;
        for change in commit.changes.iter().filter(|change| change.key.starts_with(records::EVENTS)) {
            let Some(entry) = &change.after else { continue };
            match records::decode_events(&change.key, &entry.value, self.lineage, commit.revision) {
                Ok(events) => self.lock().push(Arc::clone(&change.key), events),
                Err(error) => tracing::error!(error = %error, "an event could not be understood"),
            }
            any = true;
        }
        self.reached.store(commit.revision, Ordering::Relaxed);
        if any {
            self.newest.send_replace(commit.revision);
            self.trim.notify_one();
        }
    }

    /// Deletes what fell out, and with it writes up to where that was.
    async fn trim(&self, store: &dyn Store) {
        loop {
            let batch: Vec<_> = self.lock().fallen.iter().take(TRIM_BATCH).cloned().collect();
            let Some((last, place)) = batch.last() else {
                self.trim.notified().await;
                continue;
            };
            let forgotten = Txn::new().put(records::EVENTS_FORGOTTEN, self.seq(*place));
            let txn = batch.iter().fold(forgotten, |txn, (key, _)| txn.delete(Arc::clone(key)));
            match store.commit(txn).await {
                Ok(_) => self.lock().deleted(last),
                Err(error) => {
                    tracing::warn!(error = %error, "dropping old events failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn seq(&self, (revision, index): Place) -> String {
        format!("{}.{revision}.{index}", self.lineage)
    }

    async fn reload(&self, store: &dyn Store) -> Watch {
        match read_ring(store, self.lineage).await {
            Ok((revision, ring)) => {
                self.lock().replace(ring);
                self.reached.store(revision, Ordering::Relaxed);
                self.newest.send_replace(revision);
                self.trim.notify_one();
            }
            Err(error) => {
                tracing::error!(error = %error, "reading the events anew failed");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        store.watch("/", self.reached())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_ring(store: &dyn Store, lineage: u64) -> Result<(u64, Ring), JournalError> {
    let snapshot = store.scan(records::EVENTS, None).await?;
    let forgotten = store.get(records::EVENTS_FORGOTTEN).await?;
    let mut entries: Vec<_> = snapshot.entries.iter().collect();
    entries.sort_by_key(|(_, entry)| entry.created);
    let mut ring = Ring::default();
    let seq = forgotten.as_ref().and_then(|entry| std::str::from_utf8(&entry.value).ok());
    if let Some((_, revision, index)) = seq.and_then(records::parse_seq) {
        ring.forgotten_up_to = (revision, index);
    }
    for (key, entry) in entries {
        let events = records::decode_events(key, &entry.value, lineage, entry.created)?;
        ring.push(Arc::clone(key), events);
    }
    Ok((snapshot.revision, ring))
}

impl Ring {
    /// What falls out is noted, to be deleted.
    fn push(&mut self, key: Arc<str>, events: Vec<Event>) {
        self.count += events.len();
        self.kept.push_back(Kept { key, events });
        while self.count > EVENTS_KEPT {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.count -= oldest.events.len();
            let place = oldest.events.last().map_or(self.forgotten_up_to, place_of);
            self.forgotten_up_to = self.forgotten_up_to.max(place);
            if self.fallen.len() < FALLEN_MAX {
                self.fallen.push_back((oldest.key, place));
            }
        }
    }

    /// Nothing that was dropped comes back.
    fn replace(&mut self, new: Ring) {
        let forgotten = self.forgotten_up_to.max(new.forgotten_up_to);
        *self = Self { forgotten_up_to: forgotten, ..new };
    }

    fn deleted(&mut self, up_to: &Arc<str>) {
        if let Some(at) = self.fallen.iter().position(|(key, _)| key == up_to) {
            self.fallen.drain(..=at);
        }
    }

    fn end(&self) -> Place {
        self.kept.back().and_then(|kept| kept.events.last()).map_or(self.forgotten_up_to, place_of)
    }

    /// What comes after a place, if nothing between was dropped.
    fn after(&self, place: Place) -> Option<Vec<Event>> {
        if place < self.forgotten_up_to {
            return None;
        }
        let new = self.kept.iter().rev().flat_map(|kept| kept.events.iter().rev());
        let mut events: Vec<Event> = new.take_while(|event| place_of(event) > place).cloned().collect();
        events.reverse();
        Some(events)
    }
}

fn place_of(event: &Event) -> Place {
    records::parse_seq(&event.seq).map(|(_, revision, index)| (revision, index)).unwrap_or_default()
}

/// Reads events as they come; it holds a place in the ring and no queue.
pub struct Follower {
    journal: Arc<Journal>,
    newest: watch::Receiver<u64>,
    filter: Filter,
    seen: Place,
}

impl Follower {
    /// An error is the end: events that it should have shown are gone.
    pub async fn next(&mut self) -> Result<Vec<Event>, JournalError> {
        loop {
            self.newest.borrow_and_update();
            let new = self.journal.lock().after(self.seen);
            let events = new.ok_or_else(|| JournalError::Gone(self.journal.seq(self.seen)))?;
            if let Some(last) = events.last() {
                self.seen = place_of(last);
            }
            let wanted: Vec<Event> = events.into_iter().filter(|event| self.filter.takes(event)).collect();
            if !wanted.is_empty() {
                return Ok(wanted);
            }
            // An error would mean that the journal itself is gone, and it is held here.
            let _ = self.newest.changed().await;
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
        let (reached, trim) = (AtomicU64::new(events as u64), Notify::new());
        Arc::new(Journal { lineage: 7, term: 1, counter, ring: Mutex::new(ring), newest, reached, trim })
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

    #[tokio::test]
    async fn a_follower_that_fell_behind_is_told() {
        let journal = journal(3);
        let mut slow = journal.follow(Filter::default(), Some("7.1.0")).expect("still here");
        assert_eq!(seqs(&slow.next().await.expect("two")), ["7.2.0", "7.3.0"]);
        for revision in 4..=EVENTS_KEPT as u64 + 4 {
            journal.lock().push(Arc::from(format!("/event/{revision}")), vec![event(revision)]);
        }
        assert!(matches!(slow.next().await, Err(JournalError::Gone(seq)) if seq == "7.3.0"));
    }

    #[tokio::test]
    async fn what_fell_out_is_deleted_and_stays_refused_after_a_restart() {
        let store = hostler_store::open_memory().expect("opens");
        let new = |at| NewEvent {
            at: Timestamp::from_millis(at),
            kind: EventKind::CHECK,
            node: String::new(),
            subject: String::new(),
            message: String::new(),
        };
        let first = Journal::load(&*store, 7, 1).await.expect("loads");
        for at in 0..12 {
            let events: Vec<NewEvent> = (0..1_000).map(|_| new(at)).collect();
            store.commit(first.record(Txn::new(), Timestamp::from_millis(at), &events)).await.expect("commits");
        }
        let second = Journal::load(&*store, 7, 2).await.expect("loads");
        assert!(matches!(second.place("7.2.998"), Err(JournalError::Gone(_))));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&second).run(Arc::clone(&store), stop.clone()));
        while !second.lock().fallen.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        running.await.expect("ends");
        assert_eq!(store.scan(records::EVENTS, None).await.expect("scans").entries.len(), 10);
        let third = Journal::load(&*store, 7, 3).await.expect("loads");
        assert!(matches!(third.place("7.2.998"), Err(JournalError::Gone(_))));
        assert_eq!(third.place("7.2.999").expect("all that follows is here"), (2, 999));
    }
}
