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
mod disk;
mod frame;
mod journal;
mod maintain;
mod migrate;
mod open;
mod probe;
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
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;
use values::Values;

pub use maintain::{Finding, WHOLE, compact, ensure_closed, export, import, read_all, verify, wait_closed};
pub use open::{Options, Probe, open_embedded, open_with};
pub use probe::probe;

/// sled is slow and unsafe with large ones; these lie beside it.
const INLINE_BYTES_MAX: usize = 4 * 1024;
/// Below it nothing is written: sled may have as much under way, and must not be
/// the one that finds the disk full.
const FLOOR_BYTES: u64 = 16 * 1024 * 1024;
/// One may turn out damaged.
const CHECKPOINTS_KEPT: usize = 2;
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
        let file = disk::create(&self.root.join("lock")).map_err(failed("make the store's lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(self.root.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed("lock the store")(error)),
        }
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
        disk::free_bytes(&self.folder.root).is_ok_and(|free| free >= FLOOR_BYTES)
    }

    fn wants_checkpoint(&self, live: u64) -> bool {
        let grown = self.journal.grown;
        grown > self.sizes.checkpoint_min.max(live / 3) || (self.journal.segments() > SEGMENTS_MAX && grown > 0)
    }

    fn begin_checkpoint(&mut self, state: &Arc<RwLock<Materialised>>) -> Result<(), StoreError> {
        self.journal.grown = 0;
        self.values.begin_list();
        let (folder, state) = (self.folder.checkpoints(), Arc::clone(state));
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || checkpoint::write(&folder, &state))
            .map_err(failed("start writing a checkpoint"))?;
        self.writing = Some(thread);
        Ok(())
    }

    /// Takes up a checkpoint that was finished, and drops what it replaces.
    fn end_checkpoint(&mut self, live: u64) {
        let Some(thread) = self.writing.take_if(|thread| thread.is_finished()) else { return };
        match thread.join() {
            Ok(Ok(written)) => {
                for wanted in std::mem::take(&mut self.snapshots) {
                    let outcome = self.copy_out(&written.checkpoint, &wanted.into);
                    let _ = wanted.reply.send(outcome);
                }
                self.take_up(written);
            }
            Ok(Err(error)) => {
                // The journal is still all there; the next one is tried when it has
                // grown as much again.
                self.journal.grown = live / 4;
                tracing::warn!(error = &error as &dyn std::error::Error, "writing a checkpoint failed");
                for wanted in std::mem::take(&mut self.snapshots) {
                    let _ = wanted.reply.send(Err(error.clone()));
                }
            }
            Err(_) => tracing::error!("writing a checkpoint panicked"),
        }
    }

    fn take_up(&mut self, written: Written) {
        tracing::debug!(start = written.checkpoint.start, end = written.checkpoint.end, "checkpoint written");
        self.checkpoints.retain(|old| old.path != written.checkpoint.path);
        self.checkpoints.insert(0, written.checkpoint);
        for old in self.checkpoints.split_off(self.checkpoints.len().min(CHECKPOINTS_KEPT)) {
            if let Err(error) = disk::remove("checkpoint.remove", &old.path) {
                tracing::warn!(file = %old.path.display(), error = %error, "an old checkpoint stays");
            }
        }
        if let Some(older) = self.checkpoints.get(CHECKPOINTS_KEPT - 1) {
            self.journal.drop_up_to(older.start);
        }
        self.values.sweep(&written.values);
    }

    /// What a store is made of that opens at the checkpoint's end or after: links
    /// where the disk has the files already, for they are never changed.
    fn copy_out(&self, checkpoint: &Checkpoint, into: &Path) -> Result<Revision, StoreError> {
        let to = Folder { root: into.to_owned() };
        let copy = || -> io::Result<()> {
            for part in [to.checkpoints(), to.journal(), to.values()] {
                disk::make_folder(&part)?;
            }
            fs::copy(self.folder.format(), to.format())?;
            let link =
                |from: &Path, folder: PathBuf| fs::hard_link(from, folder.join(from.file_name().unwrap_or_default()));
            link(&checkpoint.path, to.checkpoints())?;
            for value in sorted_files(&self.folder.values())? {
                link(&value, to.values())?;
            }
            for (segment, bytes) in self.journal.files_after(checkpoint.start) {
                let copy = disk::create(&to.journal().join(segment.file_name().unwrap_or_default()))?;
                io::copy(&mut File::open(&segment)?.take(bytes), &mut &copy)?;
            }
            Ok(())
        };
        copy().map_err(failed("copy the store"))?;
        Ok(checkpoint.end)
    }

    /// sled opened again, so that it gives back the memory it took.
    fn reopen(&mut self, state: &mut Materialised) -> Result<(), StoreError> {
        self.taken = 0;
        if let Err(error) = state.reopen(&self.folder.state()) {
            self.repair(error, state)?;
        }
        Ok(())
    }

    /// Builds a state from checkpoint and journal.
    fn rebuild(&self, mut into: Materialised) -> Result<Materialised, StoreError> {
        let survey = journal::Survey::read(&self.folder.journal()).map_err(failed("read the journal"))?;
        let evidence = recover::Evidence {
            journal: survey.ranges(),
            checkpoints: self.checkpoints.iter().map(|one| (one.start, one.end)).collect(),
            state: None,
        };
        let decision = recover::decide(&evidence).map_err(open::lost)?;
        open::build(&mut into, &decision, &self.checkpoints, &survey)?;
        Ok(into)
    }

    fn rebuild_in_sled(&self) -> Result<Materialised, StoreError> {
        let fresh = self.folder.root.join("state.new");
        let _ = fs::remove_dir_all(&fresh);
        drop(self.rebuild(Materialised::open(&fresh, &self.folder.values())?)?);
        if self.folder.state().exists() {
            self.folder.set_aside(&self.folder.state(), "failed").map_err(failed("set the state aside"))?;
        }
        fs::rename(&fresh, self.folder.state()).map_err(failed("put the new state in place"))?;
        Materialised::open(&self.folder.state(), &self.folder.values())
    }
}

impl Drop for Embedded {
    /// The lock must outlive whoever still writes.
    fn drop(&mut self) {
        if let Some(Ok(Ok(written))) = self.writing.take().map(JoinHandle::join) {
            self.take_up(written);
        }
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

    /// The journal is whole, so the state can be had again: in sled if the disk
    /// takes it, else in memory until it does.
    fn repair(&mut self, why: StoreError, state: &mut Materialised) -> Result<(), StoreError> {
        tracing::warn!(error = &why as &dyn std::error::Error, "the state can't be used and is built anew");
        (self.notify)(&format!("the state could not be used ({}) and is built anew", crate::chain(&why)));
        // sled is let go before another is made in its place.
        *state = Materialised::in_memory(&self.folder.values());
        if self.has_room() {
            match self.rebuild_in_sled() {
                Ok(rebuilt) => {
                    *state = rebuilt;
                    return Ok(());
                }
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "not in sled, for now"),
            }
        }
        *state = self.rebuild(Materialised::in_memory(&self.folder.values()))?;
        Ok(())
    }

    fn tend(&mut self, state: &Arc<RwLock<Materialised>>) -> Result<(), StoreError> {
        let live = state.read().unwrap_or_else(PoisonError::into_inner).summary().bytes;
        self.end_checkpoint(live);
        if self.writing.is_none() && self.wants_checkpoint(live) && self.has_room() {
            self.begin_checkpoint(state)?;
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
        self.begin_checkpoint(state)
    }

    fn rest(&mut self, state: &Arc<RwLock<Materialised>>) -> Result<bool, StoreError> {
        self.tend(state)?;
        if !self.has_room() {
            return Ok(true);
        }
        let in_memory = state.read().unwrap_or_else(PoisonError::into_inner).is_memory();
        if in_memory {
            match self.rebuild_in_sled() {
                Ok(rebuilt) => *state.write().unwrap_or_else(PoisonError::into_inner) = rebuilt,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the state stays in memory, for now");
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
