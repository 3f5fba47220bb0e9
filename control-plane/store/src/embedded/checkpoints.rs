//! When checkpoints are written, and what goes once they are; and copies of it all,
//! which are a checkpoint with its journal.

use super::checkpoint::{self, Checkpoint, Written};
use super::state::Materialised;
use super::{CHECKPOINTS_KEPT, Embedded, Folder, RETRY_AFTER, SEGMENTS_MAX, disk, failed, sorted_files};
use crate::{Revision, StoreError};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Instant;

impl Embedded {
    pub(super) fn wants_checkpoint(&self, live: u64) -> bool {
        let grown = self.journal.grown;
        // At worst it is as large as what it holds.
        let may = self.not_before.is_none_or(|then| then <= Instant::now()) && self.has_room_for(live);
        may && (grown > self.sizes.checkpoint_min.max(live / 3)
            || (self.journal.segments() > SEGMENTS_MAX && grown > 0))
    }

    pub(super) fn begin_checkpoint(&mut self, state: &Arc<RwLock<Materialised>>) {
        self.journal.grown = 0;
        self.values.begin_list();
        let (folder, state) = (self.folder.checkpoints(), Arc::clone(state));
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".into())
            .spawn(move || checkpoint::write(&folder, &state));
        match thread {
            Ok(thread) => self.writing = Some(thread),
            Err(error) => self.put_off(&failed("start writing a checkpoint")(error)),
        }
    }

    /// The journal is still all there; another is tried in a while.
    fn put_off(&mut self, error: &StoreError) {
        tracing::warn!(error = error as &dyn std::error::Error, "writing a checkpoint failed");
        self.not_before = Some(Instant::now() + RETRY_AFTER);
        for wanted in std::mem::take(&mut self.snapshots) {
            let _ = wanted.reply.send(Err(error.clone()));
        }
    }

    /// Takes up a checkpoint that was finished, and drops what it replaces.
    pub(super) fn end_checkpoint(&mut self) {
        let Some(thread) = self.writing.take_if(|thread| thread.is_finished()) else { return };
        match thread.join() {
            Ok(Ok(written)) => {
                for wanted in std::mem::take(&mut self.snapshots) {
                    let outcome = self.copy_out(&written.checkpoint, &wanted.into);
                    let _ = wanted.reply.send(outcome);
                }
                self.take_up(written);
            }
            Ok(Err(error)) => self.put_off(&error),
            Err(_) => self.put_off(&StoreError::Damaged("writing it panicked".to_owned())),
        }
    }

    pub(super) fn take_up(&mut self, written: Written) {
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
}
