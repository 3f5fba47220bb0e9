//! Rotates a file that somebody goes on appending to.
//!
//! Its bytes are copied, and then taken from its head: by whole blocks, where the
//! file system can, so that nothing that is written meanwhile is lost. Elsewhere the
//! file is cut off after a last look at what came, which leaves a gap of microseconds.

use crate::files::Place;
use flate2::{Compression, write::GzEncoder};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const COPY_BYTES: usize = 64 * 1024;
/// Not the last word of compression: the host has other things to do.
const LEVEL: Compression = Compression::new(3);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotated {
    pub bytes: u64,
    /// By whole blocks; the rest stays, for the next time.
    pub lossless: bool,
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
    let new = format!("{}.hostler-rotating", place.name());
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

fn mode(found: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    found.mode() & 0o777
}

fn chown(target: &File, found: &std::fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() == me {
        return Ok(());
    }
    std::os::unix::fs::fchown(target, Some(found.uid()), Some(found.gid()))
}

/// A range of nothing is refused by its length where it could be done, and as not
/// supported where it can't.
fn can_collapse(file: &File, found: &std::fs::Metadata) -> bool {
    let beyond = found.len().next_multiple_of(1 << 20);
    // Past the end: always refused, but for different reasons.
    let refused = rustix::fs::fallocate(file, FallocateFlags::COLLAPSE_RANGE, beyond, 1 << 20);
    refused == Err(Errno::INVAL)
}

fn shift(place: &Place, keep: u32, compress: bool, new: &str) -> Result<(), Errno> {
    let name = place.name();
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
