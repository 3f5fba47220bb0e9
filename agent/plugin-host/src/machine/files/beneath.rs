//! Opening what a pattern covers, and nothing that a link makes of it.
//!
//! The kernel resolves a path below the pattern's root and refuses to leave it;
//! what was found must, by its real path, be covered still. The root is trusted
//! up to its end, as who granted it wrote it: it may be reached through links.

use crate::call::CallError;
use hostler_types::plugin::{Need, PathPattern};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::path::PathBuf;

/// A folder that a pattern's files lie below.
pub(super) struct Root {
    fd: OwnedFd,
    /// As granted, without a slash at its end: `/` is empty.
    written: String,
    real: String,
}

impl Root {
    pub(super) fn open(written: &str) -> Result<Root, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(written, flags, Mode::empty())?;
        let trimmed = |path: &str| path.trim_end_matches('/').to_owned();
        let (written, real) = match trimmed(written) {
            // There is no other name for it.
            root if root.is_empty() => (root, String::new()),
            written => (written, trimmed(&real_path(&fd)?)),
        };
        Ok(Root { fd, written, real })
    }

    /// `path` is absolute, as granted.
    pub(super) fn open_below(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let below = match path.strip_prefix(&self.written) {
            Some("") => ".",
            Some(rest) => rest.strip_prefix('/').ok_or(Errno::XDEV)?,
            None => return Err(Errno::XDEV),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // The kernel can't tell whether a rename in the meantime led out of it.
        for _ in 0..RETRIES_MAX {
            match openat2(&self.fd, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Where something below it really is, in the words of the grant.
    pub(super) fn name(&self, fd: impl AsFd) -> Result<String, Errno> {
        let real = real_path(fd)?;
        let below = real.strip_prefix(&self.real).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        Ok(format!("{}{}", self.written, below.ok_or(Errno::XDEV)?))
    }
}

const RETRIES_MAX: u32 = 16;

/// The name by which this process can reach what it has open.
pub(in crate::machine) fn fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

fn real_path(fd: impl AsFd) -> Result<String, Errno> {
    let real = rustix::fs::readlink(fd_path(fd), Vec::new())?;
    real.into_string().map_err(|_| Errno::ILSEQ)
}

/// Opens by path only (`O_PATH`): nothing is read, no device wakes up.
pub(in crate::machine) fn open(path: &str, patterns: &[PathPattern], need: &Need) -> Result<OwnedFd, CallError> {
    match open_covered(path, patterns, OFlags::PATH) {
        // A link that is absolute, or leads below another pattern's root: what
        // it names is opened by that name, if that is granted as well.
        Err(Errno::XDEV) => {
            let real = std::fs::canonicalize(path).ok().and_then(|real| real.into_os_string().into_string().ok());
            let opened = real.ok_or(Errno::XDEV).and_then(|real| open_covered(&real, patterns, OFlags::PATH));
            opened.map_err(|_| CallError::Denied(format!("{need} (a link in {path} leads out of what is granted)")))
        }
        opened => opened.map_err(failed),
    }
}

/// The same, of a link itself.
pub(super) fn open_link(path: &str, patterns: &[PathPattern]) -> Result<OwnedFd, CallError> {
    open_covered(path, patterns, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)
}

fn open_covered(path: &str, patterns: &[PathPattern], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut failed = Errno::XDEV;
    for pattern in patterns.iter().filter(|pattern| pattern.matches(path)) {
        let opened = Root::open(&pattern.root()).and_then(|root| {
            let fd = root.open_below(path, flags)?;
            let name = root.name(&fd)?;
            let covered = patterns.iter().any(|pattern| pattern.matches(&name));
            if covered { Ok(fd) } else { Err(Errno::XDEV) }
        });
        match opened {
            Ok(fd) => return Ok(fd),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

pub(super) fn failed(error: Errno) -> CallError {
    let other = |says: &str| CallError::other("file", says);
    match error {
        Errno::NOENT | Errno::NOTDIR => other("not found"),
        Errno::ACCESS | Errno::PERM => other("may not be read by the agent"),
        Errno::LOOP => other("its links have no end"),
        Errno::NOSYS => other("this kernel can't open files safely: Linux 5.6 can (openat2)"),
        error => {
            let text = std::io::Error::from(error).to_string();
            other(&text.split(" (os error").next().unwrap_or_default().to_lowercase())
        }
    }
}
