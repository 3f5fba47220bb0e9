//! Values too large for sled, as files named by their digest.
//!
//! A file is whole and synced before any record names it. Which ones are needed
//! is known when a checkpoint has listed every record; the rest goes then.

use super::disk;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

pub type Digest = [u8; 32];

pub struct Values {
    folder: PathBuf,
    /// Written, or named anew, since a list of what is needed was begun.
    fresh: BTreeSet<Digest>,
}

pub fn digest(value: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, value);
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

pub fn name(digest: &Digest) -> String {
    data_encoding::HEXLOWER.encode(digest)
}

/// Reads a value, if it is what its name says.
pub fn read(folder: &Path, wanted: &Digest) -> io::Result<Vec<u8>> {
    let value = std::fs::read(folder.join(name(wanted)))?;
    if digest(&value) == *wanted {
        Ok(value)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "its content is not what its name says"))
    }
}

impl Values {
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        disk::make_folder(&folder)?;
        // What lies there may have been named by a process that ended before this.
        disk::sync_folder("value.rename", &folder)?;
        Ok(Self { folder, fresh: BTreeSet::new() })
    }

    /// Durable when it returns.
    pub fn put(&mut self, value: &[u8]) -> io::Result<Digest> {
        let digest = digest(value);
        // What lies there already may be damaged: only what is whole counts.
        if read(&self.folder, &digest).is_err() {
            disk::write_whole("value", &self.folder.join(name(&digest)), value)?;
        }
        self.fresh.insert(digest);
        Ok(digest)
    }

    pub fn begin_list(&mut self) {
        self.fresh.clear();
    }

    /// Removes what is neither needed nor fresh.
    pub fn sweep(&mut self, needed: &BTreeSet<Digest>) {
        let kept: BTreeSet<String> = needed.iter().chain(&self.fresh).map(name).collect();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let there = entry.file_name();
            if !there.to_str().is_some_and(|there| kept.contains(there))
                && let Err(error) = disk::remove("value.remove", &entry.path())
            {
                tracing::warn!(file = %entry.path().display(), error = %error, "a value that nothing names stays");
            }
        }
    }
}
