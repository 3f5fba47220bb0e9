//! The store in a folder.
//!
//! The journal is the truth: a commit is in it, synced, before anybody is told.
//! sled holds the state that is looked up, and is brought up to the journal at a
//! start; what is not as it should be is set aside and built anew from the newest
//! checkpoint and the journal since. A checkpoint is the whole state in one file.
//!
//! ```text
//! format        which layout this is
//! journal/      segments, named by their first revision
//! checkpoints/  the newest two
//! state/        sled
//! values/       what is too large for sled, by digest
//! set-aside/    what was damaged, by when and why
//! ```

mod checkpoint;
mod checkpoints;
mod disk;
mod frame;
mod journal;
mod maintain;
mod migrate;
mod open;
mod probe;
mod rebuild;
mod recover;
mod state;
mod values;

use crate::engine::{Backend, Failure, Pending, SnapshotWanted};
use crate::{LeaseId, Revision, StoreError};
use bytes::Bytes;
use checkpoint::{Checkpoint, Written};
use frame::{Logged, Step};
use journal::Journal;
use state::Materialised;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use values::Values;

pub use maintain::{Finding, Verdict, WHOLE, compact, export, import, inspect, keep_closed, verify, wait_closed};
pub use open::{Options, Probe, open_embedded, open_with};
pub use probe::probe;

/// sled is slow and unsafe with large ones; these lie beside it.
const INLINE_BYTES_MAX: usize = 4 * 1024;
/// Below it nothing is written: sled may have as much under way, and must not be
/// the one that finds the disk full.
const FLOOR_BYTES: u64 = 16 * 1024 * 1024;
/// One may turn out damaged.
const CHECKPOINTS_KEPT: usize = 2;
/// After a checkpoint failed, or while the state is in memory.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Of what was damaged, only the newest so many stay.
const SET_ASIDE_KEPT: usize = 4;
/// Each start begins a segment; many starts must not leave many.
const SEGMENTS_MAX: usize = 64;

/// When the store begins what costs time. Small ones are for tests, in which much
/// is to happen soon.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the journal, taken from the disk at once, so that a sync has no file to
    /// lengthen.
    pub segment: u64,
    /// So much journal is cheap to replay, and not worth a checkpoint.
    pub checkpoint_min: u64,
    /// sled does not give back all that it took: it is opened again after it took
    /// in as much as there is, and at least this.
    pub reopen_min: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { segment: 4 * MIB, checkpoint_min: 8 * MIB, reopen_min: 32 * MIB }
    }
}

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub created: Revision,
    pub modified: Revision,
    pub lease: Option<LeaseId>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Inline(Bytes),
    Blob { digest: values::Digest, size: u32 },
}

impl Stored {
    fn inline_bytes(&self) -> usize {
        match &self.value {
            Value::Inline(value) => value.len(),
            Value::Blob { .. } => 36,
        }
    }
}

/// Commits as they were made durable.
pub struct Group {
    commits: Vec<Logged>,
}

/// Something that people should hear of: what was damaged, and what was done.
pub type Notify = Arc<dyn Fn(&str) + Send + Sync>;

struct Folder {
    root: PathBuf,
}

impl Folder {
    fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    fn values(&self) -> PathBuf {
        self.root.join("values")
    }

    fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    /// Held for as long as the store is open: two at once would ruin it.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.root.join("lock");
        let file = disk::create(&path).map_err(|error| not_ours(&path, error, "make the store's lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(self.root.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed("lock the store")(error)),
        }
    }

    /// What belongs to somebody else is not damaged.
    fn check_owner(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.journal(), self.checkpoints(), self.state()] {
            let files = sorted_files(&folder).map_err(|error| not_ours(&folder, error, "read the store's folder"))?;
            for file in files.iter().filter(|path| path.is_file()) {
                let opened = File::options().read(true).write(true).open(file);
                opened.map_err(|error| not_ours(file, error, "open a file of the store"))?;
            }
        }
        Ok(())
    }

    /// Moves what is damaged out of the way, under a name that says when and why.
    fn set_aside(&self, path: &Path, why: &str) -> io::Result<PathBuf> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let when = hostler_types::Timestamp::from_millis(hostler_types::time::whole_millis(now)).to_string();
        let aside = self.root.join("set-aside");
        disk::make_folder(&aside)?;
        let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = aside.join(format!("{}-{why}-{what}", when.replace(':', "-")));
        fs::rename(path, &to)?;
        disk::sync_folder("aside.rename", &aside)?;
        disk::sync_folder("aside.rename", path.parent().unwrap_or(&self.root))?;
        let old = sorted_files(&aside)?;
        for path in old.iter().take(old.len().saturating_sub(SET_ASIDE_KEPT)) {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        Ok(to)
    }
}

/// None where there is no folder.
fn sorted_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// What was being written when the process ended.
fn remove_unpublished(folder: &Path) -> io::Result<()> {
    for path in sorted_files(folder)?.iter().filter(|path| path.extension().is_some_and(|found| found == "new")) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Backend { operation, source: Arc::new(source) }
}

fn not_ours(path: &Path, error: io::Error, operation: &'static str) -> StoreError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => StoreError::NotOurs(path.display().to_string()),
        _ => failed(operation)(error),
    }
}

struct Embedded {
    folder: Folder,
    _lock: File,
    sizes: Sizes,
    journal: Journal,
    values: Values,
    /// The newest two, newest first.
    checkpoints: Vec<Checkpoint>,
    writing: Option<JoinHandle<Result<Written, StoreError>>>,
    /// Who waits for a copy of it all, and where it is wanted.
    snapshots: Vec<SnapshotWanted>,
    /// When a checkpoint that failed is tried again.
    not_before: Option<Instant>,
    /// Whether sled has what is not on the disk yet.
    unflushed: bool,
    /// Since when the disk is too full.
    refusing_since: Option<Instant>,
    /// Taken in by sled since it was opened.
    taken: u64,
    notify: Notify,
}

impl AsRef<Materialised> for Materialised {
    fn as_ref(&self) -> &Materialised {
        self
    }
}

impl Embedded {
    fn store_values(&mut self, commits: Vec<Pending>) -> Result<Vec<Logged>, Failure> {
        let mut logged = Vec::with_capacity(commits.len());
        for commit in commits {
            let mut steps = Vec::with_capacity(commit.writes.len());
            for (key, record) in commit.writes {
                let record = match record {
                    Some(record) => Some(Stored {
                        created: record.entry.created,
                        modified: record.entry.modified,
                        lease: record.lease,
                        value: self.store_value(record.entry.value)?,
                    }),
                    None => None,
                };
                steps.push(Step { key, record });
            }
            logged.push(Logged { revision: commit.revision, steps });
        }
        Ok(logged)
    }

    fn store_value(&mut self, value: Bytes) -> Result<Value, Failure> {
        if value.len() <= INLINE_BYTES_MAX {
            return Ok(Value::Inline(value));
        }
        match self.values.put(&value) {
            Ok(digest) => Ok(Value::Blob { digest, size: u32::try_from(value.len()).unwrap_or(u32::MAX) }),
            Err(error) if disk::is_full(&error) => Err(Failure::Refused(journal::full(&self.folder.root))),
            Err(error) => Err(Failure::Final(failed("write a value")(error))),
        }
    }

    fn make_durable(&mut self, commits: Vec<Pending>) -> Result<Group, Failure> {
        self.ready().map_err(Failure::Refused)?;
        let commits = self.store_values(commits)?;
        let frame = frame::encode(&commits);
        if let (Some(first), Some(last)) = (commits.first(), commits.last()) {
            self.journal.append(&frame, first.revision, last.revision)?;
        }
        self.unflushed = true;
        self.taken += frame.len() as u64;
        Ok(Group { commits })
    }

    /// Once writes are taken again, people hear that they were not.
    fn tell_of_room(&mut self) {
        if let Some(since) = self.refusing_since.take() {
            let seconds = since.elapsed().as_secs().max(1);
            let text = format!("the disk was full: writes were refused for {seconds} s and are taken again");
            tracing::warn!("{text}");
            (self.notify)(&text);
        }
    }

    fn has_room(&self) -> bool {
        self.has_room_for(0)
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        disk::free_bytes(&self.folder.root).is_ok_and(|free| free >= FLOOR_BYTES + bytes)
    }
}

impl Drop for Embedded {
    /// The lock must outlive whoever still writes. What was written counts at the
    /// next start; nothing is dropped for it on the way out.
    fn drop(&mut self) {
        let _ = self.writing.take().map(JoinHandle::join);
    }
}

impl Backend for Embedded {
    type State = Materialised;

    fn describe(&self) -> &'static str {
        "embedded, journal synced to disk"
    }

    fn ready(&self) -> Result<(), StoreError> {
        if self.has_room() { Ok(()) } else { Err(journal::full(&self.folder.root)) }
    }

    fn append(&mut self, commits: Vec<Pending>) -> Result<Group, Failure> {
        let outcome = self.make_durable(commits);
        match &outcome {
            Ok(_) => self.tell_of_room(),
            Err(Failure::Refused(error)) if self.refusing_since.is_none() => {
                self.refusing_since = Some(Instant::now());
                tracing::error!(error = error as &dyn std::error::Error, "writes are refused");
            }
            Err(_) => {}
        }
        outcome
    }

    fn repair(&mut self, why: StoreError, state: &mut Materialised) -> Result<(), StoreError> {
        self.put_right(&why, state)
    }

    fn tend(&mut self, state: &Arc<RwLock<Materialised>>) -> Result<(), StoreError> {
        let live = state.read().unwrap_or_else(PoisonError::into_inner).summary().bytes;
        self.end_checkpoint();
        if self.writing.is_none() && self.wants_checkpoint(live) {
            self.begin_checkpoint(state);
        }
        if self.taken > self.sizes.reopen_min.max(live) {
            self.reopen(&mut state.write().unwrap_or_else(PoisonError::into_inner))?;
        }
        Ok(())
    }

    fn snapshot(&mut self, wanted: SnapshotWanted, state: &Arc<RwLock<Materialised>>) -> Result<(), StoreError> {
        if !self.has_room() {
            let _ = wanted.reply.send(Err(journal::full(&self.folder.root)));
            return Ok(());
        }
        // One that is being written may lack what was committed since.
        if let Some(thread) = self.writing.take() {
            match thread.join() {
                Ok(Ok(written)) => self.take_up(written),
                _ => tracing::warn!("writing a checkpoint failed"),
            }
        }
        self.snapshots.push(wanted);
        self.begin_checkpoint(state);
        Ok(())
    }

    fn rest(&mut self, state: &Arc<RwLock<Materialised>>) -> Result<bool, StoreError> {
        self.tend(state)?;
        if !self.has_room() {
            return Ok(true);
        }
        let (in_memory, live) = {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            (state.is_memory(), state.summary().bytes)
        };
        if in_memory {
            if self.not_before.is_some_and(|then| then > Instant::now()) || !self.has_room_in_sled(live) {
                return Ok(true);
            }
            match self.back_to_sled() {
                Ok(rebuilt) => *state.write().unwrap_or_else(PoisonError::into_inner) = rebuilt,
                Err(error) => {
                    self.not_before = Some(Instant::now() + RETRY_AFTER);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the state stays in memory until sled takes it"
                    );
                    return Ok(true);
                }
            }
        }
        if std::mem::take(&mut self.unflushed) {
            let flushed = state.read().unwrap_or_else(PoisonError::into_inner).flush();
            if let Err(error) = flushed {
                self.repair(error, &mut state.write().unwrap_or_else(PoisonError::into_inner))?;
            }
        }
        Ok(self.writing.is_some())
    }
}
