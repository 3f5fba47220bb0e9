//! Every write, sync and rename of the store, so that each can be made to fail.
//!
//! A point of failure is named `what.operation`. A process that asks for it
//! (`fail::cfg`) gets an error, a lie or a crash there; for all others a point
//! costs one look at an empty table, next to nothing beside a sync.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// What a point of failure was told to do.
enum Fault {
    Error(io::Error),
    /// Says that it was done.
    Skip,
    /// Does it in a while.
    Late,
    /// Does half of it.
    Half,
}

fn fault(point: &str) -> Option<Fault> {
    fail::fail_point!(point, |told| Some(match told.as_deref() {
        Some("eio") => Fault::Error(rustix::io::Errno::IO.into()),
        Some("enospc") => Fault::Error(rustix::io::Errno::NOSPC.into()),
        Some("skip") => Fault::Skip,
        Some("late") => Fault::Late,
        Some("half") => Fault::Half,
        _ => std::process::abort(),
    }));
    None
}

/// Writes to where nothing is yet.
pub fn write_at(point: &str, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    match fault(point) {
        None => file.write_all_at(bytes, offset),
        Some(Fault::Error(error)) => Err(error),
        Some(Fault::Half) => file.write_all_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset),
        Some(Fault::Skip | Fault::Late) => Ok(()),
    }
}

/// After it, the file's content survives a power cut. A failure is final: what is
/// on the disk is then unknown, and a second try may lie.
pub fn sync(point: &str, file: &File) -> io::Result<()> {
    match fault(point) {
        None => file.sync_data(),
        Some(Fault::Error(error)) => Err(error),
        Some(Fault::Skip | Fault::Half) => Ok(()),
        Some(Fault::Late) => {
            let file = file.try_clone()?;
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(200));
                let _ = file.sync_data();
            });
            Ok(())
        }
    }
}

/// Takes the room now, so that a full disk is noticed before anything is written.
pub fn reserve(point: &str, file: &File, bytes: u64) -> io::Result<()> {
    match fault(point) {
        Some(Fault::Error(error)) => Err(error),
        Some(_) => Ok(()),
        None => loop {
            match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
                Err(rustix::io::Errno::INTR) => {}
                // Then it grows as it is written.
                Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
                outcome => return Ok(outcome?),
            }
        },
    }
}

/// Makes a file durable under its name: whoever finds it, finds all of it.
pub fn publish(point: &str, beside: &Path, path: &Path) -> io::Result<()> {
    match fault(point) {
        None => fs::rename(beside, path)?,
        Some(Fault::Error(error)) => return Err(error),
        Some(_) => return Ok(()),
    }
    sync_folder(point, path.parent().unwrap_or(Path::new(".")))
}

pub fn sync_folder(point: &str, folder: &Path) -> io::Result<()> {
    match fault(&format!("{point}-folder")) {
        None => File::open(folder)?.sync_all(),
        Some(Fault::Error(error)) => Err(error),
        Some(_) => Ok(()),
    }
}

/// Removes it; that it comes back after a power cut does no harm.
pub fn remove(point: &str, path: &Path) -> io::Result<()> {
    match fault(point) {
        None => fs::remove_file(path),
        Some(Fault::Error(error)) => Err(error),
        Some(_) => Ok(()),
    }
}

pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file in one step.
pub fn write_whole(point: &str, path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = create(&beside)?;
    match fault(&format!("{point}.write")) {
        None => file.write_all(content)?,
        Some(Fault::Error(error)) => return Err(error),
        Some(_) => {}
    }
    sync(&format!("{point}.sync"), &file)?;
    publish(&format!("{point}.rename"), &beside, path)
}

/// What others than root can still write on the disk that holds a folder.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
