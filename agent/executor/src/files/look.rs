//! Looks at files that were put here, without changing anything.

use super::Place;
use crate::protocol::{FileFound, LookAt, MESSAGE_BYTES_MAX, Stands, print_of};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longer than a tick of any file system's clock.
const TICK_MS: u64 = 1_000;

pub fn look_at(asked: &LookAt, now_ms: u64) -> FileFound {
    let place = match Place::of(&asked.path) {
        Ok(place) => place,
        Err(_) if asked.path.parent().map(Path::try_exists).is_some_and(|there| matches!(there, Ok(false))) => {
            return FileFound::Gone;
        }
        Err(_) => return FileFound::Unknown,
    };
    let stat = match rustix::fs::statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return FileFound::Gone,
        Err(_) => return FileFound::Unknown,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return FileFound::NoFile;
    }
    if asked.mark == Some(mark(&stat)) {
        return FileFound::Same;
    }
    match place.open(&place.name, OFlags::RDONLY, 0) {
        Ok(file) => read(file, now_ms).map_or(FileFound::Unknown, FileFound::There),
        Err(Errno::NOENT) => FileFound::Gone,
        Err(_) => FileFound::Unknown,
    }
}

fn read(file: File, now_ms: u64) -> Option<Stands> {
    let stat = rustix::fs::fstat(&file).ok()?;
    // A larger one was never put here, whatever it says.
    let most = u64::try_from(MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    (&file).take(most).read_to_end(&mut bytes).ok()?;
    let after = rustix::fs::fstat(&file).ok()?;
    let changed_ms = changed_ms(&stat);
    let old_enough = changed_ms.abs_diff(now_ms) > TICK_MS && mark(&stat) == mark(&after);
    Some(Stands {
        mark: old_enough.then(|| mark(&stat)),
        print: print_of(&bytes),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        changed_ms,
    })
}

fn changed_ms(stat: &Stat) -> u64 {
    let seconds = u64::try_from(stat.st_ctime).unwrap_or_default();
    seconds.saturating_mul(1000).saturating_add(stat.st_ctime_nsec / 1_000_000)
}

/// Differs as soon as anything about it does.
fn mark(stat: &Stat) -> u64 {
    let times = [stat.st_mtime as u64, stat.st_mtime_nsec, stat.st_ctime as u64, stat.st_ctime_nsec];
    let rest = [stat.st_dev, stat.st_ino, stat.st_size as u64, stat.st_mode.into(), stat.st_uid.into()];
    let parts = times.into_iter().chain(rest).chain([stat.st_gid.into()]);
    print_of(&parts.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}
