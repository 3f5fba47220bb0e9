//! Files below what was granted: what they are, what is in them, their names.
//!
//! Only regular files are read: a pipe or a device could wait for ever, or do
//! something. What is wrong with a file is told as `other` with the key `file`;
//! of one that is not there the value is `not found`.

mod beneath;
mod glob;

#[cfg(test)]
mod tests;

pub(super) use beneath::{fd_path, open};
pub(super) use glob::names_like;

use super::blocking;
use crate::answer::{FileKind, Instant, Stat};
use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::{Grants, Need, PathPattern};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

/// Of what a link leads to. A link that leads nowhere, or out of what is
/// granted, is told as the link it is.
pub(super) async fn stat(path: &str, grants: &Grants) -> Result<Stat, CallError> {
    let (path, patterns) = (path.to_owned(), grants.files.clone());
    blocking::run(move || {
        let fd = match open(&path, &patterns, &need(&path)) {
            Ok(fd) => fd,
            Err(error) => beneath::open_link(&path, &patterns).map_err(|_| error)?,
        };
        Ok(stat_of(&rustix::fs::fstat(&fd).map_err(beneath::failed)?))
    })
    .await
}

#[allow(clippy::unnecessary_cast, reason = "the fields' widths differ between processors")]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    };
    Stat {
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode as u32 & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: Instant {
            seconds: u64::try_from(stat.st_mtime).unwrap_or(0),
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
    }
}

pub(super) async fn read(path: &str, offset: u64, max: u32, grants: &Grants) -> Result<Vec<u8>, CallError> {
    let (path, patterns) = (path.to_owned(), grants.files.clone());
    blocking::run(move || {
        let (file, _) = open_regular(&path, &patterns)?;
        read_at(&file, offset, max.min(limits::FILE_READ_BYTES_MAX) as usize)
    })
    .await
}

/// Files of /proc say that they are empty, so their size is not asked.
pub(super) fn read_at(file: &File, offset: u64, max: usize) -> Result<Vec<u8>, CallError> {
    let mut bytes = vec![0; max];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // Where what is read is waited for, there is no more now.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(io_failed(&error)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

pub(super) async fn glob(pattern: &str, max: u32, grants: &Grants) -> Result<Vec<String>, CallError> {
    let parsed: PathPattern = pattern.parse().map_err(|error| CallError::Invalid(format!("{error}")))?;
    let granted = grants.files.clone();
    let max = max.min(limits::GLOB_PATHS_MAX) as usize;
    blocking::run(move || Ok(glob::glob(&parsed, &granted, limits::GLOB_ENTRIES_MAX)?.into_iter().take(max).collect()))
        .await
}

/// Looked at before it is opened: a pipe's other end would notice.
pub(super) fn open_regular(path: &str, patterns: &[PathPattern]) -> Result<(File, Metadata), CallError> {
    let found = open(path, patterns, &need(path))?;
    let stat = rustix::fs::fstat(&found).map_err(beneath::failed)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(CallError::other("file", "is a folder")),
        _ => return Err(CallError::other("file", "is no regular file: only those are read")),
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    let file = options.open(fd_path(&found)).map_err(|error| io_failed(&error))?;
    let metadata = file.metadata().map_err(|error| io_failed(&error))?;
    // The inode was pinned by the first opening.
    debug_assert_eq!(metadata.ino(), stat.st_ino);
    Ok((file, metadata))
}

pub(super) fn need(path: &str) -> Need {
    Need::File { path: path.to_owned() }
}

pub(super) fn io_failed(error: &std::io::Error) -> CallError {
    beneath::failed(Errno::from_io_error(error).unwrap_or(Errno::IO))
}
