//! Where a reader stands in a file, so that it is known again under another name.

use crate::call::CallError;
use crate::machine::files;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// A log's first line has the time in it, and is about as long.
const HEAD_BYTES: usize = 256;

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) path: String,
    device: u64,
    inode: u64,
    pub(super) offset: u64,
    head: Head,
}

/// How a file begins: as many bytes as there were, up to [`HEAD_BYTES`], hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    length: usize,
    hash: String,
}

impl Head {
    fn of(bytes: &[u8]) -> Head {
        let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
        let half = hash.as_ref().get(..16).unwrap_or_default();
        Head { length: bytes.len(), hash: data_encoding::HEXLOWER.encode(half) }
    }
}

/// A file that is read from, and how far that got.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) file: Arc<File>,
    device: u64,
    inode: u64,
    pub(super) offset: u64,
    head: Head,
}

impl Source {
    pub(super) fn new(file: File, metadata: &Metadata) -> Result<Source, CallError> {
        let mut source = Source {
            file: Arc::new(file),
            device: metadata.dev(),
            inode: metadata.ino(),
            offset: 0,
            head: Head::default(),
        };
        source.look()?;
        Ok(source)
    }

    pub(super) fn at(self, offset: u64) -> Source {
        Source { offset, ..self }
    }

    /// At its beginning again, which a growing file has more of each time.
    pub(super) fn look(&mut self) -> Result<(), CallError> {
        if self.head.length < HEAD_BYTES {
            self.head = Head::of(&files::read_at(&self.file, 0, HEAD_BYTES)?);
        }
        Ok(())
    }

    pub(super) fn size(&self) -> Result<u64, CallError> {
        Ok(self.file.metadata().map_err(|error| files::io_failed(&error))?.len())
    }

    pub(super) fn same_inode(&self, position: &Position) -> bool {
        (self.device, self.inode) == (position.device, position.inode)
    }

    /// Whether what was read up to that position is what stands here.
    pub(super) fn holds(&self, position: &Position) -> Result<bool, CallError> {
        if self.size()? < position.offset {
            return Ok(false);
        }
        let begins = files::read_at(&self.file, 0, position.head.length.min(HEAD_BYTES))?;
        Ok(Head::of(&begins) == position.head)
    }

    /// The same, of a file that nothing else tells apart from others.
    pub(super) fn is_copy(&self, position: &Position) -> Result<bool, CallError> {
        Ok(position.head.length == HEAD_BYTES && self.holds(position)?)
    }

    pub(super) fn position(&self, path: &str) -> Position {
        Position {
            path: path.to_owned(),
            device: self.device,
            inode: self.inode,
            offset: self.offset,
            head: self.head.clone(),
        }
    }
}
