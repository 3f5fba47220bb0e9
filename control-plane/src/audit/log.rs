//! Writing the log: one thread that takes what waits, chains it, writes and syncs it
//! as one group, and then tells whoever waited.
//!
//! Nothing is dropped silently. A full queue makes calls wait; a log that can't be
//! written refuses calls that change something, counts the others, and says so in the
//! log as soon as it can.

mod writer;

use super::files::Files;
use crate::{files, records};
use bytes::Bytes;
use hostler_core::audit::Point;
use hostler_proto::store as rest;
use hostler_types::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use writer::Writer;

/// A hundred thousand calls: read whole in some ten milliseconds.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Each costs a signature and a commit; at 5,000 calls a second, one a second.
const CHECKPOINT_RECORDS: u64 = 4_096;
/// Calls that wait to be written; a storm of ten thousand agents takes its turn.
const QUEUE: usize = 4_096;
/// Told once and then again only when it changes.
const NOTICES: usize = 16;

pub type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send>;

pub struct Options {
    pub folder: PathBuf,
    /// What is older is dropped, a segment at a time.
    pub kept: Duration,
    pub segment_bytes: u64,
    pub checkpoint_records: u64,
}

impl Options {
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            kept: Duration::MAX,
            segment_bytes: SEGMENT_BYTES,
            checkpoint_records: CHECKPOINT_RECORDS,
        }
    }
}

/// Why a call is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written: {0}")]
pub struct Unwritten(pub String);

enum Item {
    Call { at: Timestamp, body: Bytes, done: Option<oneshot::Sender<Result<(), Unwritten>>>, counted: bool },
    Close { done: oneshot::Sender<Option<Point>> },
}

/// What readers see of the writer.
#[derive(Default)]
struct Shown {
    files: Files,
    end: Point,
    failing: Option<Unwritten>,
}

/// Between the writer and all others.
struct Shared {
    /// Of the queue.
    places: Semaphore,
    shown: Mutex<Shown>,
    /// Held while reading: nothing is dropped for its age meanwhile.
    reading: RwLock<()>,
    written: AtomicU64,
}

impl Shared {
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Log {
    inbox: Sender<Item>,
    shared: Arc<Shared>,
    heads: watch::Receiver<Point>,
    notices: Mutex<Option<mpsc::Receiver<String>>>,
}

impl Log {
    /// Finds the end of what is there, or begins. A record that was never finished is
    /// cut away; whatever else is wrong is told, stays, and is named by `verify`.
    pub fn open(options: Options, head: Option<Point>, sign: Sign) -> io::Result<Self> {
        files::private_folder(&options.folder)?;
        let (notify, notices) = mpsc::channel(NOTICES);
        let (checkpoints, heads) = watch::channel(Point::default());
        let (inbox, items) = channel();
        let shared = Arc::new(Shared {
            places: Semaphore::new(QUEUE),
            shown: Mutex::default(),
            reading: RwLock::default(),
            written: AtomicU64::new(0),
        });
        let mut writer = Writer::new(options, sign, checkpoints, notify, Arc::clone(&shared));
        writer.recover(head)?;
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&items))?;
        Ok(Self { inbox, shared, heads, notices: Mutex::new(Some(notices)) })
    }

    /// In the queue; when it is full, the call waits.
    pub async fn place(&self) -> Result<SemaphorePermit<'_>, Unwritten> {
        self.shared.places.acquire().await.map_err(|_| stopped())
    }

    /// From here on it will be written, whoever goes away. What comes back tells when it
    /// is durable.
    pub fn queue(
        &self,
        place: SemaphorePermit<'_>,
        at: Timestamp,
        record: &rest::AuditRecord,
    ) -> Result<oneshot::Receiver<Result<(), Unwritten>>, Unwritten> {
        let (done, answer) = oneshot::channel();
        let item = Item::Call { at, body: records::encode(record), done: Some(done), counted: true };
        self.inbox.send(item).map_err(|_| stopped())?;
        place.forget();
        Ok(answer)
    }

    /// Both, and waits until it is durable if asked to.
    pub async fn record(&self, at: Timestamp, record: &rest::AuditRecord, durable: bool) -> Result<(), Unwritten> {
        let place = self.place().await?;
        let answer = self.queue(place, at, record)?;
        if durable { answer.await.unwrap_or_else(|_| Err(stopped())) } else { Ok(()) }
    }

    /// Of a call whose caller has gone: nobody is there to wait.
    pub fn record_at_once(&self, at: Timestamp, record: &rest::AuditRecord) {
        let item = Item::Call { at, body: records::encode(record), done: None, counted: false };
        drop(self.inbox.send(item));
    }

    /// Why calls that change something are refused now.
    pub fn failing(&self) -> Option<Unwritten> {
        self.shared.shown().failing.clone()
    }

    /// What is there now, whole up to this moment's end.
    pub fn files(&self) -> (Files, Point) {
        let shown = self.shared.shown();
        (shown.files.clone(), shown.end)
    }

    /// Runs while no segment is dropped.
    pub fn reading<T>(&self, read: impl FnOnce() -> T) -> T {
        let _held = self.shared.reading.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    /// The newest checkpoint.
    pub fn heads(&self) -> watch::Receiver<Point> {
        self.heads.clone()
    }

    /// What people should hear of; for the first who asks.
    pub fn notices(&self) -> mpsc::Receiver<String> {
        let taken = self.notices.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| mpsc::channel(1).1)
    }

    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Writes what waits and a last checkpoint, which is returned.
    pub async fn close(&self) -> Option<Point> {
        let (done, answer) = oneshot::channel();
        self.inbox.send(Item::Close { done }).ok()?;
        answer.await.ok().flatten()
    }
}

fn stopped() -> Unwritten {
    Unwritten("the control plane is stopping".to_owned())
}

/// What the control plane itself did.
pub fn server_record(call: &str, words: String) -> rest::AuditRecord {
    rest::AuditRecord { by_kind: "server".to_owned(), call: call.to_owned(), words, ..rest::AuditRecord::default() }
}

#[cfg(test)]
mod tests;
