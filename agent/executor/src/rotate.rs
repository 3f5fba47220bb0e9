//! Rotates a file that somebody goes on appending to.
//!
//! Its bytes are copied, and then taken from its head: by whole blocks, where the
//! file system can, so that nothing that is written meanwhile is lost. Elsewhere the
//! file is cut off after a last look at what came, which leaves a gap of microseconds.

use crate::files::Place;
use crate::pattern;
use flate2::{Compression, write::GzEncoder};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{fmt, fs};

const COPY_BYTES: usize = 64 * 1024;
/// Not the last word of compression: the host has other things to do.
const LEVEL: Compression = Compression::new(3);

/// Of the names that a pattern stands for; a folder with more is somebody's mistake.
const FILES_MAX: usize = 1000;
const NEW: &str = ".hostler-rotating";

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotated {
    pub bytes: u64,
    /// By whole blocks; the rest stays, for the next time.
    pub lossless: bool,
}

impl fmt::Display for Rotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes{}", self.bytes, if self.lossless { "" } else { ", cut off" })
    }
}

/// When a file is begun anew: always, where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Due {
    pub over_bytes: Option<u64>,
    /// Since it was begun.
    pub older: Option<Duration>,
}

impl Due {
    pub fn holds(&self, bytes: u64, age: Option<Duration>) -> bool {
        let old = || self.older.is_some_and(|older| age.is_some_and(|age| age >= older));
        bytes > 0 && (*self == Self::default() || self.over_bytes.is_some_and(|most| bytes > most) || old())
    }

    pub fn of(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| self.holds(found.len(), age(path, &found)))
    }
}

/// Since it was begun anew, which is when the one before was closed.
fn age(path: &Path, found: &Metadata) -> Option<Duration> {
    let closed = |end| fs::symlink_metadata(format!("{}{end}", path.display())).and_then(|one| one.modified());
    let begun = closed(".1").or_else(|_| closed(".1.gz")).or_else(|_| found.created()).ok()?;
    SystemTime::now().duration_since(begun).ok()
}

/// All that a path with `*` in its name stands for. That one of them can't be rotated
/// keeps no other from it.
pub fn rotate_all(path: &Path, due: Due, keep: u32, compress: bool) -> Result<Vec<Rotated>, String> {
    let mut rotated = Vec::new();
    let mut problem = None;
    for path in found(path)?.iter().filter(|path| due.of(path)) {
        match rotate(path, keep, compress) {
            Ok(one) => rotated.extend(one),
            Err(words) => problem = problem.or(Some(words)),
        }
    }
    problem.map_or(Ok(rotated), Err)
}

fn found(path: &Path) -> Result<Vec<PathBuf>, String> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(format!("{} is no file", path.display()));
    };
    if !name.contains('*') {
        return Ok(vec![path.to_owned()]);
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // It has written nothing yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("list {}: {error}", folder.display())),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let fits = |one: &String| pattern::matches(name, one) && !is_old(one);
    Ok(names.filter(fits).take(FILES_MAX).map(|one| folder.join(one)).collect())
}

/// What rotating left: `x.log.2`, `x.log.2.gz`.
fn is_old(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let number = plain.rsplit_once('.').map_or("", |(_, end)| end);
    name.ends_with(NEW) || !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
}

pub fn rotate(path: &Path, keep: u32, compress: bool) -> Result<Option<Rotated>, String> {
    let place = Place::of(path)?;
    let failed = |verb: &str, error: io::Error| format!("{verb} {}: {error}", path.display());
    let file = place.open_plain(OFlags::RDWR, 0)?;
    let found = file.metadata().map_err(|error| failed("look at", error))?;
    if found.len() == 0 {
        return Ok(None);
    }
    let block = rustix::fs::fstatvfs(&file).map_or(4096, |stat| stat.f_frsize.max(512));
    // At least a byte stays: a head that is all of the file can't be taken.
    let whole = (found.len() - 1) / block * block;
    let collapses = can_collapse(&file, &found);
    if collapses && whole == 0 {
        return Ok(None);
    }
    let new = format!("{}{NEW}", place.name());
    // Only when all of it is copied does anything move: a full disk loses nothing.
    let copied = (|| {
        let target = place.create(&new, 0o640)?;
        rustix::fs::fchmod(&target, rustix::fs::Mode::from_raw_mode(mode(&found)))
            .map_err(|error| failed("copy", error.into()))?;
        chown(&target, &found).map_err(|error| failed("copy", error))?;
        let mut target = Target::new(target, compress);
        let end = copy(&file, 0, if collapses { whole } else { u64::MAX }, &mut target)
            .map_err(|error| failed("copy", error))?;
        if collapses {
            target.finish().map_err(|error| failed("copy", error))?;
            return Ok((end, true));
        }
        // What came while it was copied, and then at once the cut.
        let end = copy(&file, end, u64::MAX, &mut target).map_err(|error| failed("copy", error))?;
        target.finish().map_err(|error| failed("copy", error))?;
        Ok((end, false))
    })();
    let (bytes, lossless) = copied.inspect_err(|_: &String| {
        let _ = place.remove(&new);
    })?;
    shift(&place, keep, compress, &new).map_err(|error| failed("rotate", error.into()))?;
    if lossless {
        rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, bytes)
            .map_err(|error| failed("take the head from", error.into()))?;
    } else {
        file.set_len(0).map_err(|error| failed("cut off", error))?;
    }
    Ok(Some(Rotated { bytes, lossless }))
}

fn mode(found: &Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    found.mode() & 0o777
}

fn chown(target: &File, found: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() == me {
        return Ok(());
    }
    std::os::unix::fs::fchown(target, Some(found.uid()), Some(found.gid()))
}

/// A range of nothing is refused by its length where it could be done, and as not
/// supported where it can't.
fn can_collapse(file: &File, found: &Metadata) -> bool {
    let beyond = found.len().next_multiple_of(1 << 20);
    // Past the end: always refused, but for different reasons.
    let refused = rustix::fs::fallocate(file, FallocateFlags::COLLAPSE_RANGE, beyond, 1 << 20);
    refused == Err(Errno::INVAL)
}

fn shift(place: &Place, keep: u32, compress: bool, new: &str) -> Result<(), Errno> {
    let name = place.name();
    if keep == 0 {
        return place.remove(new).map(|_| ()).map_err(|_| Errno::IO);
    }
    for end in ["", ".gz"] {
        let _ = place.remove(&format!("{name}.{keep}{end}"));
        for number in (1..keep).rev() {
            match place.rename_to(&format!("{name}.{number}{end}"), &format!("{name}.{}{end}", number + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    place.rename_to(new, &format!("{name}.1{}", if compress { ".gz" } else { "" }))
}

enum Target {
    Plain(File),
    Gzip(GzEncoder<File>),
}

impl Target {
    fn new(file: File, compress: bool) -> Self {
        if compress { Self::Gzip(GzEncoder::new(file, LEVEL)) } else { Self::Plain(file) }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.sync_all(),
            Self::Gzip(encoder) => encoder.finish()?.sync_all(),
        }
    }
}

/// Up to `until` or to its end; where it stopped.
fn copy(file: &File, from: u64, until: u64, target: &mut Target) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = from;
    while at < until {
        let room = usize::try_from(until - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
        let Some(part) = buffer.get_mut(..room) else { break };
        let read = file.read_at(part, at)?;
        if read == 0 {
            break;
        }
        target.write(part.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
