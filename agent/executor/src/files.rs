//! Files as root, in folders that others may write: no symlink is followed, so that
//! a path means the place that was judged.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

mod look;

pub use look::look_at;

/// What a service prints is for itself and for the agent.
const OUTPUT_MODE: u32 = 0o640;

pub struct Place {
    folder: OwnedFd,
    name: String,
    path: PathBuf,
}

impl Place {
    /// The folder must be there, and no part of it a symlink.
    pub fn of(path: &Path) -> Result<Self, String> {
        let folder = path.parent().ok_or_else(|| format!("{} is no file", path.display()))?;
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| format!("{} has no readable name", path.display()))?.to_owned();
        Ok(Self { folder: open_folder(folder)?, name, path: path.to_owned() })
    }

    fn beside(&self) -> String {
        format!(".{}.hostler-new", self.name)
    }

    fn failed(&self, verb: &str, error: impl Into<io::Error>) -> String {
        format!("{verb} {}: {}", self.path.display(), error.into())
    }

    fn open(&self, name: &str, flags: OFlags, mode: u32) -> Result<File, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        rustix::fs::openat(&self.folder, name, flags, Mode::from_raw_mode(mode)).map(File::from)
    }

    /// Only a file of its own: not a device, and not another's under a second name.
    pub fn open_plain(&self, flags: OFlags, mode: u32) -> Result<File, String> {
        let file = self.open(&self.name, flags, mode).map_err(|error| self.failed("open", error))?;
        let found = rustix::fs::fstat(&file).map_err(|error| self.failed("look at", error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 {
            return Err(format!("{} is no plain file with one name: it is left alone", self.path.display()));
        }
        Ok(file)
    }

    pub fn read(&self, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        match self.open(&self.name, OFlags::RDONLY, 0) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(bytes_max).read_to_end(&mut bytes).map_err(|error| self.failed("read", error))?;
                Ok(Some(bytes))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("open", error)),
        }
    }

    /// What was appended behind so many bytes.
    pub fn read_behind(&self, offset: u64, bytes_max: u64) -> Result<Vec<u8>, String> {
        let mut file = self.open_plain(OFlags::RDONLY, 0)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset)).map_err(|error| self.failed("read", error))?;
        file.take(bytes_max).read_to_end(&mut bytes).map_err(|error| self.failed("read", error))?;
        Ok(bytes)
    }

    pub fn rename_to(&self, from: &str, to: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.folder, from, &self.folder, to)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn create(&self, name: &str, mode: u32) -> Result<File, String> {
        let _ = self.remove(name);
        self.open(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)
            .map_err(|error| self.failed("write", error))
    }

    pub fn remove(&self, name: &str) -> Result<bool, String> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("remove", error)),
        }
    }

    /// The file, or the folder with all in it; of a symlink, the symlink alone.
    pub fn remove_all(&self) -> Result<bool, String> {
        match rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            // By the folder that was opened: nobody can put another in its place.
            Err(Errno::ISDIR) => {
                std::fs::remove_dir_all(format!("/proc/self/fd/{}/{}", self.folder.as_raw_fd(), self.name))
                    .map(|()| true)
                    .map_err(|error| self.failed("remove", error))
            }
            Err(error) => Err(self.failed("remove", error)),
        }
    }

    /// Made durable beside its place and renamed into it, after `check` has seen it.
    /// Whether anything is different from before.
    pub fn put(
        &self,
        bytes: &[u8],
        owner: Option<(u32, u32)>,
        mode: Option<u32>,
        check: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<bool, String> {
        let old = self.read(bytes.len() as u64 + 1)?;
        let stat = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW).ok();
        // What is not said stays as it was.
        let mode = mode.or_else(|| stat.as_ref().map(|stat| stat.st_mode & 0o7777)).unwrap_or(0o644);
        let owner = owner.or_else(|| stat.as_ref().map(|stat| (stat.st_uid, stat.st_gid)));
        let as_it_is = stat.as_ref().is_some_and(|stat| {
            stat.st_mode & 0o7777 == mode && owner.is_none_or(|owner| owner == (stat.st_uid, stat.st_gid))
        });
        if as_it_is && old.as_deref() == Some(bytes) {
            return Ok(false);
        }
        let beside = self.beside();
        let written = || -> Result<(), String> {
            let mut file = self.create(&beside, 0o600)?;
            file.write_all(bytes).map_err(|error| self.failed("write", error))?;
            if let Some((uid, gid)) = owner {
                let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                rustix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|error| self.failed("give away", error))?;
            }
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
                .map_err(|error| self.failed("set the mode of", error))?;
            file.sync_all().map_err(|error| self.failed("sync", error))?;
            check(&self.path.with_file_name(&beside))?;
            self.rename_to(&beside, &self.name).map_err(|error| self.failed("replace", error))?;
            rustix::fs::fsync(&self.folder).map_err(|error| self.failed("sync", error))
        };
        written().inspect_err(|_| {
            let _ = self.remove(&beside);
        })?;
        Ok(true)
    }

    /// What a service's output is appended to; made if it is not there.
    pub fn append(&self, owner: Option<(u32, u32)>) -> Result<File, String> {
        let file = self.open_plain(OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, OUTPUT_MODE)?;
        // Not of use to a program, that may not expect it of its output.
        let flags = rustix::fs::fcntl_getfl(&file).map_err(|error| self.failed("open", error))?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK).map_err(|error| self.failed("open", error))?;
        // Only of a new one: others have been given to whom they belong.
        if file.metadata().is_ok_and(|found| found.len() == 0) {
            if let Some((uid, gid)) = owner {
                let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
                let _ = rustix::fs::fchown(&file, Some(uid), Some(gid));
            }
            let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(OUTPUT_MODE));
        }
        Ok(file)
    }
}

/// Whether it was made. One that is there keeps whom it belongs to.
pub fn make_folder(path: &Path, owner: Option<(u32, u32)>, mode: Option<u32>) -> Result<bool, String> {
    let failed = |verb: &str, error: Errno| format!("{verb} {}: {}", path.display(), io::Error::from(error));
    let place = Place::of(path)?;
    match rustix::fs::mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o700)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let folder = open_folder(path)?;
            let found = rustix::fs::fstat(&folder).map_err(|error| failed("look at", error))?;
            let other = owner.filter(|owner| *owner != (found.st_uid, found.st_gid));
            if other.is_some() || mode.is_some_and(|mode| mode != found.st_mode & 0o7777) {
                return Err(format!(
                    "folder {} is there, and belongs to {}:{} with mode {:04o}: change it by hand, or ask for it as it is",
                    path.display(),
                    found.st_uid,
                    found.st_gid,
                    found.st_mode & 0o7777
                ));
            }
            return Ok(false);
        }
        Err(error) => return Err(failed("make", error)),
    }
    let folder = open_folder(path)?;
    if let Some((uid, gid)) = owner {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(&folder, Some(uid), Some(gid)).map_err(|error| failed("give away", error))?;
    }
    let mode = Mode::from_raw_mode(mode.unwrap_or(0o755));
    rustix::fs::fchmod(&folder, mode).map_err(|error| failed("set the mode of", error))?;
    Ok(true)
}

/// There, and reached without a symlink.
pub fn is_folder(path: &Path) -> Result<(), String> {
    open_folder(path).map(|_| ())
}

/// For the executor's own folders: with all above them.
pub fn make_own(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| format!("make {}: {error}", path.display()))
}

fn open_folder(path: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve).map_err(|error| match error {
        Errno::LOOP => format!(
            "{} leads through a symlink, which could lead around the policy: name the folder that it leads to",
            path.display()
        ),
        Errno::NOENT => format!("the folder {} is not there: make it first", path.display()),
        error => format!("open the folder {}: {}", path.display(), io::Error::from(error)),
    })
}

#[cfg(test)]
mod tests;
