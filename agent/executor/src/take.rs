//! Copies one file as whoever may read it does: in a process that became that user before
//! it opens anything, so that the kernel says what they may read, and not this program.

use crate::account::Account;
use crate::files::Place;
use crate::launch::become_user;
use hostler_types::units::format_size;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Of at most 16 MiB, also from a slow disk.
const LONGEST: Duration = Duration::from_secs(20);
const COPY_BYTES: usize = 64 * 1024;
const WORDS_BYTES_MAX: u64 = 400;
/// For the agent's group to read, and nobody's to change.
const COPY_MODE: u32 = 0o640;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Take {
    pub path: PathBuf,
    /// User id, group id, groups; without them it stays who it is.
    pub user: Option<(u32, u32, Vec<u32>)>,
    pub bytes_max: u64,
}

impl Take {
    pub fn of(path: PathBuf, account: Option<&Account>, bytes_max: u64) -> Self {
        let user = account.map(|account| (account.uid, account.gid, account.groups.clone()));
        Self { path, user, bytes_max }
    }

    /// Into that place, where the group may read it. Where it can't be, nothing is left there.
    pub async fn copy(&self, to: &Place, group: Option<u32>) -> Result<(), String> {
        let copied = self.copied(to, group).await;
        if copied.is_err() {
            let _ = to.remove(to.name());
        }
        copied
    }

    async fn copied(&self, to: &Place, group: Option<u32>) -> Result<(), String> {
        let failed = |error: io::Error| format!("read {}: {error}", self.path.display());
        let copy = to.create(to.name(), COPY_MODE)?;
        let group = group.filter(|_| rustix::process::geteuid().is_root()).map(rustix::fs::Gid::from_raw);
        rustix::fs::fchown(&copy, None, group).map_err(|error| failed(error.into()))?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(COPY_MODE)).map_err(|error| failed(error.into()))?;
        let spec = serde_json::to_string(self).map_err(|error| format!("write down what to read: {error}"))?;
        let mut command = Command::new("/proc/self/exe");
        command.env_clear().args(["take", &spec]);
        command.stdin(Stdio::null()).stdout(copy).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let ended = match command.spawn() {
            Ok(child) => tokio::time::timeout(LONGEST, child.wait_with_output()).await,
            Err(error) => return Err(failed(error)),
        };
        let late = |_| format!("it could not be read within {} s", LONGEST.as_secs());
        let ended = ended.map_err(late)?.map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        let mut words = Vec::new();
        let _ = ended.stderr.as_slice().take(WORDS_BYTES_MAX).read_to_end(&mut words);
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        Err(if words.is_empty() { format!("whoever read it ended early: {}", ended.status) } else { words })
    }
}

/// In a process of its own: from the file to its standard output, or why not.
pub fn taken(spec: &str) -> Result<(), String> {
    let take: Take = serde_json::from_str(spec).map_err(|_| "take is for hostler-executor itself".to_owned())?;
    if let Some((uid, gid, groups)) = &take.user
        && rustix::process::geteuid().is_root()
    {
        become_user(*uid, *gid, groups)?;
    }
    let file = open(&take.path, take.bytes_max)?;
    copy(file, take.bytes_max, &mut io::stdout().lock())
}

/// A plain file, at most so large, that is not reached through a symlink.
fn open(path: &Path, bytes_max: u64) -> Result<File, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => "no such file".to_owned(),
        Errno::LOOP => "a symlink leads there, and none is followed: name the file that it leads to".to_owned(),
        Errno::ACCESS | Errno::PERM => "its user may not read it".to_owned(),
        Errno::NXIO => no_file("a socket or a pipe"),
        error => io::Error::from(error).to_string(),
    })?;
    let found = rustix::fs::fstat(&file).map_err(|error| io::Error::from(error).to_string())?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => {
            return Err("it is a folder: name the files in it, or have the command pack it into one".to_owned());
        }
        _ => return Err(no_file("a device or a pipe")),
    }
    let bytes = u64::try_from(found.st_size).unwrap_or_default();
    if bytes > bytes_max { Err(too_large(&format_size(bytes), bytes_max)) } else { Ok(File::from(file)) }
}

fn no_file(what: &str) -> String {
    format!("it is {what}, and no plain file")
}

fn too_large(bytes: &str, bytes_max: u64) -> String {
    format!("too large: it has {bytes}, and at most {} come back", format_size(bytes_max))
}

/// It may grow meanwhile, and some files say of themselves that they are empty.
fn copy(file: File, bytes_max: u64, to: &mut impl Write) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let (mut from, mut left) = (file.take(bytes_max.saturating_add(1)), bytes_max);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = from.read(&mut buffer).map_err(said)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        left = left.checked_sub(read as u64).ok_or_else(|| too_large("more", bytes_max))?;
        to.write_all(part).map_err(|error| format!("write its copy: {error}"))?;
    }
    to.flush().map_err(|error| format!("write its copy: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_a_plain_file_of_a_bounded_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("plain"), "1234567").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("folder/inside"), "x").unwrap();
        symlink(at("plain"), at("link")).unwrap();
        symlink(at("folder"), at("way")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let read = |name: &str, bytes_max| {
            let mut copied = Vec::new();
            open(&at(name), bytes_max).and_then(|file| copy(file, bytes_max, &mut copied)).map(|()| copied)
        };
        assert_eq!(read("plain", 7), Ok(b"1234567".to_vec()));
        for (name, words) in [
            ("nothing", "no such file"),
            ("plain/inside", "no such file"),
            ("folder", "it is a folder"),
            ("link", "a symlink leads there"),
            ("way/inside", "a symlink leads there"),
            ("pipe", "no plain file"),
        ] {
            let refused = read(name, 7).unwrap_err();
            assert!(refused.contains(words), "{name}: {refused}");
        }
        assert_eq!(read("plain", 6), Err("too large: it has 7 B, and at most 6 B come back".to_owned()));
        // One that grew since it was looked at.
        let grown = File::open(at("plain")).unwrap();
        assert!(copy(grown, 6, &mut Vec::new()).is_err_and(|words| words.contains("it has more")));
    }
}
