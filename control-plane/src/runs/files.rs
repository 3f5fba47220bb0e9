//! What tasks brought back: a folder for each run beside the store, with its content by
//! digest. It goes with its run, or before that where all of it is too much, and then the
//! oldest first. No backup has it.

use crate::blobs::is_digest;
use crate::files;
use data_encoding::HEXLOWER;
use hostler_types::fetch::{RUN_BYTES_MAX, Taken};
use hostler_types::units::format_size;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Four runs that take all they may; a disk for a control plane has ten times that.
const TOTAL_BYTES_MAX: u64 = 4 * RUN_BYTES_MAX;
/// Files that come at once: a disk is not faster with more.
const AT_ONCE_MAX: usize = 32;
/// Left where a run's files were, so that nobody waits for them.
const GONE: &str = "gone";

#[derive(Debug)]
pub struct RunFiles {
    folder: PathBuf,
    total_max: u64,
    /// Those of each run, with what is about to come.
    bytes: Mutex<BTreeMap<u64, u64>>,
    /// Two who bring the same must not share the file beside it.
    writes: AtomicU64,
    arrived: watch::Sender<u64>,
    taking: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunFilesError {
    #[error("what run {number} brings back is more than {}", format_size(RUN_BYTES_MAX))]
    Full { number: u64 },
    #[error("the files of run {number} had to make room for newer ones")]
    Gone { number: u64 },
    #[error("it is not what its report says: {0}")]
    Other(String),
    #[error("keep it on the control plane's disk: {0}")]
    Disk(#[from] io::Error),
}

impl RunFiles {
    pub fn open(folder: &Path) -> io::Result<Self> {
        files::private_folder(folder)?;
        let mut bytes = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                bytes.insert(number, whole(&entry.path())?);
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            total_max: TOTAL_BYTES_MAX,
            bytes: Mutex::new(bytes),
            writes: AtomicU64::default(),
            arrived: watch::Sender::new(0),
            taking: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, number: u64) -> PathBuf {
        // Sorted as numbers are, for whoever looks.
        self.folder.join(format!("{number:020}"))
    }

    /// The digest must have been checked to be one.
    pub fn path(&self, number: u64, digest: &str) -> PathBuf {
        self.of(number).join(digest)
    }

    pub fn has(&self, number: u64, digest: &str) -> bool {
        is_digest(digest) && self.path(number, digest).exists()
    }

    /// Those of a run that is still known, and that will not come again.
    pub fn is_gone(&self, number: u64) -> bool {
        self.of(number).join(GONE).exists()
    }

    /// Counts those that came.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Nothing: many come at once.
    pub fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.taking).try_acquire_owned().ok()
    }

    /// What is already here is taken all the same, and left as it is.
    pub fn begin(&self, number: u64, taken: &Taken) -> Result<Incoming<'_>, RunFilesError> {
        if self.is_gone(number) {
            return Err(RunFilesError::Gone { number });
        }
        self.make_room(number, taken.bytes)?;
        let count = self.writes.fetch_add(1, Ordering::Relaxed);
        let (folder, beside) = (self.of(number), self.path(number, &format!("{}.{count}", taken.digest)));
        // From here on whatever ends early leaves no trace.
        let mut incoming = Incoming {
            files: self,
            number,
            taken: taken.clone(),
            beside,
            file: None,
            got: 0,
            context: Context::new(&SHA256),
            is_kept: false,
        };
        files::private_folder(&folder)?;
        incoming.file = Some(tokio::fs::File::from_std(files::create_private(&incoming.beside)?));
        Ok(incoming)
    }

    fn make_room(&self, number: u64, bytes: u64) -> Result<(), RunFilesError> {
        let mut held = self.held();
        let own = held.get(&number).copied().unwrap_or_default();
        if own.saturating_add(bytes) > RUN_BYTES_MAX {
            return Err(RunFilesError::Full { number });
        }
        while held.values().sum::<u64>().saturating_add(bytes) > self.total_max {
            let oldest = held.iter().find(|(run, bytes)| **run != number && **bytes > 0).map(|(run, _)| *run);
            let Some(oldest) = oldest else { return Err(RunFilesError::Full { number }) };
            fs::remove_dir_all(self.of(oldest))?;
            held.remove(&oldest);
            files::private_folder(&self.of(oldest))?;
            fs::write(self.of(oldest).join(GONE), "")?;
            tracing::warn!(run = oldest, "its files made room for those of newer runs");
        }
        *held.entry(number).or_default() += bytes;
        Ok(())
    }

    fn give_back(&self, number: u64, bytes: u64) {
        if let Some(held) = self.held().get_mut(&number) {
            *held = held.saturating_sub(bytes);
        }
    }

    /// With its run.
    pub fn forget(&self, number: u64) -> io::Result<()> {
        self.held().remove(&number);
        match fs::remove_dir_all(self.of(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// What is whole in a folder; what is not goes.
fn whole(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Some(name) if is_digest(name) => bytes += entry.metadata()?.len(),
            Some(GONE) => {}
            _ => fs::remove_file(entry.path())?,
        }
    }
    Ok(bytes)
}

/// One that comes; what is not finished was never here.
pub struct Incoming<'a> {
    files: &'a RunFiles,
    number: u64,
    taken: Taken,
    beside: PathBuf,
    file: Option<tokio::fs::File>,
    got: u64,
    context: Context,
    is_kept: bool,
}

impl Incoming<'_> {
    pub async fn write(&mut self, data: &[u8]) -> Result<(), RunFilesError> {
        self.got = self.got.saturating_add(data.len() as u64);
        if self.got > self.taken.bytes {
            return Err(RunFilesError::Other(format!("it has more than {}", format_size(self.taken.bytes))));
        }
        self.context.update(data);
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(data).await.map_err(RunFilesError::Disk)
    }

    /// Durable when it returns.
    pub async fn finish(mut self) -> Result<(), RunFilesError> {
        let digest = HEXLOWER.encode(self.context.clone().finish().as_ref());
        if self.got != self.taken.bytes || digest != self.taken.digest {
            let got = format_size(self.got);
            return Err(RunFilesError::Other(format!("{got} came, with the digest {digest}")));
        }
        if let Some(mut file) = self.file.take() {
            file.flush().await?;
            file.sync_all().await?;
        }
        let place = self.files.path(self.number, &self.taken.digest);
        // Another host brought the same: it is counted once.
        if !place.exists() {
            fs::rename(&self.beside, &place)?;
            files::sync_folder(&self.files.of(self.number))?;
            self.is_kept = true;
        }
        self.files.arrived.send_modify(|count| *count += 1);
        Ok(())
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.files.give_back(self.number, self.taken.bytes);
            let _ = fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(content: &[u8]) -> Taken {
        let digest = HEXLOWER.encode(ring::digest::digest(&SHA256, content).as_ref());
        Taken { bytes: content.len() as u64, digest }
    }

    async fn bring(files: &RunFiles, number: u64, says: &Taken, content: &[u8]) -> Result<(), RunFilesError> {
        let mut incoming = files.begin(number, says)?;
        for piece in content.chunks(3) {
            incoming.write(piece).await?;
        }
        incoming.finish().await
    }

    fn opened(folder: &Path) -> RunFiles {
        RunFiles::open(folder).expect("a folder")
    }

    #[tokio::test]
    async fn what_came_is_there_after_a_restart_and_goes_with_its_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = opened(folder.path());
        let says = taken(b"all is well");
        bring(&files, 7, &says, b"all is well").await.expect("kept");
        bring(&files, 7, &says, b"all is well").await.expect("the same of another host");
        assert_eq!(files.held().get(&7), Some(&11), "counted once");
        // As a crash leaves it.
        fs::write(files.path(7, "half"), "al").expect("written");
        let files = opened(folder.path());
        assert!(files.has(7, &says.digest) && !files.has(8, &says.digest) && !files.path(7, "half").exists());
        assert_eq!(fs::read(files.path(7, &says.digest)).expect("read"), b"all is well");
        files.forget(7).expect("forgotten");
        assert!(!files.has(7, &says.digest) && files.held().is_empty());
        files.forget(7).expect("forgotten before");
    }

    #[tokio::test]
    async fn nothing_else_than_was_said_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = opened(folder.path());
        let says = taken(b"1234567");
        for content in [&b"1234568"[..], b"123456", b"12345678", b""] {
            let refused = bring(&files, 7, &says, content).await.expect_err("another");
            assert!(matches!(refused, RunFilesError::Other(_)), "{refused}");
        }
        assert!(!files.has(7, &says.digest));
        assert_eq!(files.held().get(&7), Some(&0), "its room is given back");
        assert_eq!(fs::read_dir(files.of(7)).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn the_oldest_make_room_and_one_run_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = RunFiles { total_max: 25, ..opened(folder.path()) };
        let content = [&b"0123456789"[..], b"1123456789", b"2123456789"];
        for (number, content) in (1..).zip(content) {
            bring(&files, number, &taken(content), content).await.expect("kept");
        }
        assert!(files.is_gone(1) && !files.has(1, &taken(content[0]).digest));
        assert!(files.has(2, &taken(content[1]).digest) && files.has(3, &taken(content[2]).digest));
        let late = bring(&files, 1, &taken(content[0]), content[0]).await.expect_err("gone");
        assert!(matches!(late, RunFilesError::Gone { number: 1 }));
        let large = Taken { bytes: RUN_BYTES_MAX - 5, ..taken(b"x") };
        let full = files.begin(2, &large).map(drop).expect_err("full");
        assert!(full.to_string().contains("run 2 brings back is more than 512 MiB"), "{full}");
    }
}
