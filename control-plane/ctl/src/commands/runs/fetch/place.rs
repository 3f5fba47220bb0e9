//! Where one file goes: reached folder by folder from the one that somebody named, and
//! through no symlink below that.

use hostler_types::{FetchPath, Name};
use ring::digest::{Context, SHA256};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// As whoever runs it has it for files and folders of their own.
const FILE_MODE: u32 = 0o666;
const FOLDER_MODE: u32 = 0o777;

/// A file that takes its place once it is whole.
pub struct Target {
    pub path: PathBuf,
    folder: OwnedFd,
    name: String,
    beside: String,
    file: File,
    bytes: u64,
    context: Context,
    is_kept: bool,
}

impl Target {
    pub fn new(into: &Path, node: &Name, wanted: &FetchPath) -> Result<Self, String> {
        std::fs::create_dir_all(into).map_err(|error| format!("make {}: {error}", into.display()))?;
        let mut at = into.to_owned();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, into, flags, Mode::empty());
        let mut folder = opened.map_err(|error| format!("open {}: {}", into.display(), io::Error::from(error)))?;
        let (above, name) = match wanted.place().rsplit_once('/') {
            Some((above, name)) => (Some(above), name),
            None => (None, wanted.place()),
        };
        for part in std::iter::once(node.as_str()).chain(above.into_iter().flat_map(|above| above.split('/'))) {
            at.push(part);
            folder = below(&folder, part, &at)?;
        }
        at.push(name);
        free(&folder, name, &at)?;
        let beside = format!(".{name}.part");
        let _ = rustix::fs::unlinkat(&folder, &beside, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &beside, flags, Mode::from_raw_mode(FILE_MODE));
        let file = file.map_err(|error| format!("write {}: {}", at.display(), io::Error::from(error)))?;
        let (name, file, context) = (name.to_owned(), File::from(file), Context::new(&SHA256));
        Ok(Self { path: at, folder, name, beside, file, bytes: 0, context, is_kept: false })
    }

    pub fn write(&mut self, data: &[u8]) -> Result<(), String> {
        self.bytes += data.len() as u64;
        self.context.update(data);
        self.file.write_all(data).map_err(|error| format!("write {}: {error}", self.path.display()))
    }

    /// In its place, if it is what was announced.
    pub fn finish(mut self, bytes: u64, digest: &str) -> Result<(), String> {
        let found = self.context.clone().finish();
        let found = found.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        if self.bytes != bytes || found != digest {
            return Err("what came is not what its host sent: fetch it again".to_owned());
        }
        free(&self.folder, &self.name, &self.path)?;
        let moved = rustix::fs::renameat(&self.folder, &self.beside, &self.folder, &self.name);
        moved.map_err(|error| format!("write {}: {}", self.path.display(), io::Error::from(error)))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = rustix::fs::unlinkat(&self.folder, &self.beside, AtFlags::empty());
        }
    }
}

/// The folder of that name, made if it is not there.
fn below(folder: &OwnedFd, name: &str, path: &Path) -> Result<OwnedFd, String> {
    let failed = |error: Errno| format!("make {}: {}", path.display(), io::Error::from(error));
    match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(FOLDER_MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => format!(
            "{} is a symlink or a file, and no folder: move it away, or choose another folder with --into",
            path.display()
        ),
        error => failed(error),
    })
}

/// Only an older file is replaced.
fn free(folder: &OwnedFd, name: &str, path: &Path) -> Result<(), String> {
    let found = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(format!("look at {}: {}", path.display(), io::Error::from(error))),
    };
    if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
        return Ok(());
    }
    Err(format!(
        "{} is a symlink or a folder, and no plain file: move it away, or choose another folder with --into",
        path.display()
    ))
}
