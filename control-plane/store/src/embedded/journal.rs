//! The journal: what is true. Frames in segments, synced before anything is
//! acknowledged, and only ever added to.

use super::frame::{self, Frame, Look};
use super::{FLOOR_BYTES, disk};
use crate::engine::Failure;
use crate::{Revision, StoreError};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Says what a file is, and in which version it is written.
const MAGIC: &[u8; 16] = b"hostler journal1";
/// The magic, then nothing yet.
const HEADER_BYTES: usize = 32;
const SUFFIX: &str = "log";

struct Segment {
    path: PathBuf,
    last: Revision,
    bytes: u64,
}

struct Open {
    segment: Segment,
    file: File,
    room: u64,
}

pub struct Journal {
    folder: PathBuf,
    segment_bytes: u64,
    closed: VecDeque<Segment>,
    open: Option<Open>,
    /// Of frames, since the newest checkpoint.
    pub grown: u64,
}

fn final_failure(operation: &'static str) -> impl Fn(io::Error) -> Failure {
    move |source| Failure::Final(StoreError::Backend { operation, source: Arc::new(source) })
}

impl Journal {
    /// What was found stays as it is; new frames go to a new segment.
    pub fn go_on(folder: &Path, survey: &Survey, checkpoint: Revision, segment_bytes: u64) -> Self {
        let closed = survey.segments.iter().filter_map(|found| {
            let last = found.ranges.last()?.1;
            Some(Segment { path: found.path.clone(), last, bytes: found.end })
        });
        let closed: VecDeque<Segment> = closed.collect();
        let since = closed.iter().filter(|segment| segment.last > checkpoint);
        let grown = since.map(|segment| segment.bytes).sum();
        Self { folder: folder.to_owned(), segment_bytes, closed, open: None, grown }
    }

    pub fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.open.is_some())
    }

    /// Durable when it returns.
    pub fn append(&mut self, bytes: &[u8], first: Revision, last: Revision) -> Result<(), Failure> {
        let needed = bytes.len() as u64;
        if self.open.as_ref().is_none_or(|open| open.segment.bytes + needed > open.room) {
            self.begin_segment(first, needed)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        disk::write_at("journal.write", &open.file, bytes, open.segment.bytes)
            .map_err(final_failure("write to the journal"))?;
        disk::sync("journal.sync", &open.file).map_err(final_failure("sync the journal"))?;
        open.segment.bytes += needed;
        open.segment.last = last;
        self.grown += needed;
        Ok(())
    }

    fn begin_segment(&mut self, first: Revision, needed: u64) -> Result<(), Failure> {
        let path = self.folder.join(format!("{first:020}.{SUFFIX}"));
        let beside = path.with_extension("new");
        let room = self.segment_bytes.max(HEADER_BYTES as u64 + needed);
        let made = make_segment(&beside, &path, room);
        let file = made.map_err(|error| {
            let _ = fs::remove_file(&beside);
            if disk::is_full(&error) {
                Failure::Refused(full(&self.folder))
            } else {
                final_failure("begin a segment of the journal")(error)
            }
        })?;
        let segment = Segment { path, last: first, bytes: HEADER_BYTES as u64 };
        let before = self.open.replace(Open { segment, file, room });
        self.closed.extend(before.map(|open| open.segment));
        Ok(())
    }

    /// Removes what only holds revisions up to this one.
    pub fn drop_up_to(&mut self, revision: Revision) {
        while let Some(oldest) = self.closed.front().filter(|segment| segment.last <= revision) {
            if let Err(error) = disk::remove("journal.remove", &oldest.path) {
                tracing::warn!(file = %oldest.path.display(), error = %error, "an old segment could not be removed, and is tried again");
                return;
            }
            self.closed.pop_front();
        }
    }

    /// Each file that holds something after a revision, and how much of it counts.
    pub fn files_after(&self, revision: Revision) -> Vec<(PathBuf, u64)> {
        let open = self.open.as_ref().map(|open| &open.segment);
        let all = self.closed.iter().chain(open).filter(|segment| segment.last > revision);
        all.map(|segment| (segment.path.clone(), segment.bytes)).collect()
    }
}

fn make_segment(beside: &Path, path: &Path, room: u64) -> io::Result<File> {
    let file = disk::create(beside)?;
    disk::reserve("journal.reserve", &file, room)?;
    let mut header = [0; HEADER_BYTES];
    for (to, from) in header.iter_mut().zip(MAGIC) {
        *to = *from;
    }
    disk::write_at("segment.write", &file, &header, 0)?;
    disk::sync("segment.sync", &file)?;
    disk::publish("segment.rename", beside, path)?;
    Ok(file)
}

pub fn full(folder: &Path) -> StoreError {
    let free = disk::free_bytes(folder).unwrap_or(0);
    StoreError::Full { folder: folder.display().to_string(), free, wanted: FLOOR_BYTES }
}

/// What a segment holds, whatever happened to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Revisions without a gap, in order.
    pub ranges: Vec<(Revision, Revision)>,
    /// Where the last whole frame ends.
    pub end: u64,
    /// Where the first thing stands that is neither a frame nor nothing.
    pub damaged_at: Option<u64>,
    /// Whether something stands after the last whole frame.
    pub tail: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub segments: Vec<Found>,
}

impl Survey {
    /// Reads every segment, one after the other. What was never published goes.
    pub fn read(folder: &Path) -> io::Result<Self> {
        super::remove_unpublished(folder)?;
        Self::look(folder)
    }

    /// Likewise, and changes nothing.
    pub fn look(folder: &Path) -> io::Result<Self> {
        let mut segments = Vec::new();
        for path in super::sorted_files(folder)? {
            if path.extension().is_none_or(|found| found != SUFFIX) {
                continue;
            }
            let found = match fs::read(&path) {
                Ok(bytes) => survey(&bytes),
                // What it held is missed where nothing else holds it.
                Err(error) => {
                    tracing::error!(file = %path.display(), error = %error, "a segment can't be read");
                    Found { end: HEADER_BYTES as u64, damaged_at: Some(0), ..Found::default() }
                }
            };
            segments.push(Found { path, ..found });
        }
        if let Some(last) = segments.last() {
            // Without it nobody knows what was acknowledged.
            File::open(&last.path).and_then(|mut file| io::copy(&mut file, &mut io::sink()))?;
        }
        Ok(Self { segments })
    }

    /// All revisions that can be read, as ranges without a gap.
    pub fn ranges(&self) -> Vec<(Revision, Revision)> {
        let mut all: Vec<(Revision, Revision)> = Vec::new();
        for range in self.segments.iter().flat_map(|segment| &segment.ranges) {
            match all.last_mut() {
                Some(last) if range.0 == last.1 + 1 => last.1 = range.1,
                _ => all.push(*range),
            }
        }
        all
    }

    /// Writes the last segment anew up to its last whole frame: what was being written
    /// when the power went goes, and what was written without having been synced is
    /// synced now, before anything rests on it.
    pub fn settle_tail(&self) -> io::Result<()> {
        let Some(last) = self.segments.last() else { return Ok(()) };
        let mut bytes = fs::read(&last.path)?;
        if last.tail {
            tracing::warn!(file = %last.path.display(), at = last.end, "left out what was never written to its end");
        }
        bytes.truncate(usize::try_from(last.end).unwrap_or(usize::MAX));
        disk::write_whole("tail", &last.path, &bytes)
    }

    /// Hands out every frame that holds something after a revision.
    pub fn replay(
        &self,
        after: Revision,
        mut take: impl FnMut(Frame) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for segment in self.segments.iter().filter(|found| found.ranges.iter().any(|range| range.1 > after)) {
            let bytes = fs::read(&segment.path)
                .map_err(|source| StoreError::Backend { operation: "read the journal", source: Arc::new(source) })?;
            let mut at = frame::find(&bytes, 0);
            while let Some(offset) = at {
                let Some(frame) = frame::decode(bytes.get(offset..).unwrap_or_default()) else {
                    return Err(StoreError::Damaged(format!("{} at byte {offset}", segment.path.display())));
                };
                let next = offset + frame.bytes;
                if frame.last > after {
                    take(frame)?;
                }
                at = frame::find(&bytes, next);
            }
        }
        Ok(())
    }
}

/// What stands in a segment's bytes. Pure.
fn survey(bytes: &[u8]) -> Found {
    let mut found = Found { end: HEADER_BYTES as u64, ..Found::default() };
    let mut at = HEADER_BYTES;
    if !bytes.starts_with(MAGIC) {
        found.damaged_at = Some(0);
    }
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match frame::look(rest) {
            Look::Whole { first, last, bytes: length } => {
                match found.ranges.last_mut() {
                    Some(range) if first == range.1 + 1 => range.1 = last,
                    _ => found.ranges.push((first, last)),
                }
                at += length;
                found.end = at as u64;
            }
            look => match frame::find(bytes, at + 1) {
                Some(next) => {
                    found.damaged_at.get_or_insert(at as u64);
                    at = next;
                }
                None => {
                    found.tail = look == Look::Damaged || rest.iter().any(|byte| *byte != 0);
                    if found.tail {
                        found.damaged_at.get_or_insert(at as u64);
                    }
                    break;
                }
            },
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Logged, encode};
    use super::*;

    fn frames(revisions: &[u64]) -> Vec<Vec<u8>> {
        revisions.iter().map(|revision| encode(&[Logged { revision: *revision, steps: Vec::new() }])).collect()
    }

    fn segment(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend(frames.concat());
        bytes.resize(bytes.len() + 400, 0);
        bytes
    }

    #[test]
    fn a_whole_segment_has_one_range_and_no_tail() {
        let found = survey(&segment(&frames(&[4, 5, 6])));
        assert_eq!((found.ranges, found.damaged_at, found.tail), (vec![(4, 6)], None, false));
    }

    #[test]
    fn damage_in_the_middle_leaves_a_gap() {
        let frames = frames(&[4, 5, 6]);
        let place = HEADER_BYTES + frames[0].len();
        for kind in ["flipped", "zeroed"] {
            let mut bytes = segment(&frames);
            match kind {
                "flipped" => bytes[place + 9] ^= 1,
                _ => bytes[place..place + frames[1].len()].fill(0),
            }
            let found = survey(&bytes);
            assert_eq!((found.ranges, found.damaged_at), (vec![(4, 4), (6, 6)], Some(place as u64)), "{kind}");
        }
    }

    #[test]
    fn a_torn_tail_is_told_from_the_end() {
        let frames = frames(&[4, 5]);
        let mut bytes = segment(&frames);
        let place = HEADER_BYTES + frames[0].len();
        bytes[place + frames[1].len() - 8..].fill(0);
        bytes[place + 20] ^= 1;
        let found = survey(&bytes);
        assert_eq!((found.ranges, found.end, found.tail), (vec![(4, 4)], place as u64, true));
    }
}
