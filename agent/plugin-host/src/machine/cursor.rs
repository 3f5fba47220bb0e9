//! Files that grow, read on from where the last run committed.
//!
//! Through rotation: a file that was renamed is read to its end, then those that
//! came after it, then the one that is written now. They are found beside it, by
//! names that begin with its own, and only where they are granted as well
//! (`/var/log/nginx/access.log*`). What was compressed since is lost.

mod position;
mod rotation;

#[cfg(test)]
mod tests;

use super::kv::Store;
use super::{blocking, files};
use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::{Grants, PathPattern};
use position::{Position, Source};
use std::collections::VecDeque;
use std::time::SystemTime;

/// Its place among the instance's keys.
const AREA: &str = "cursor";

pub(super) struct Cursor {
    name: String,
    path: String,
    /// What is left to read, oldest first. Never empty: the last one may grow.
    sources: VecDeque<Source>,
}

impl Cursor {
    pub(super) async fn open(
        name: &str,
        path: &str,
        from_end: bool,
        grants: &Grants,
        kv: &Store,
        instance: &str,
    ) -> Result<Cursor, CallError> {
        let kept = kv.get_reserved(instance, AREA, name)?;
        // One of another file begins anew, as one that nobody can read.
        let position = kept.and_then(|bytes| serde_json::from_slice::<Position>(&bytes).ok());
        let position = position.filter(|position| position.path == path);
        let (wanted, patterns) = (path.to_owned(), grants.files.clone());
        let sources = blocking::run(move || match position {
            Some(position) => resume(&position, &patterns),
            None => first(&wanted, from_end, &patterns),
        })
        .await?;
        Ok(Cursor { name: name.to_owned(), path: path.to_owned(), sources })
    }

    pub(super) async fn lines(&mut self, max_lines: u32, max_bytes: u32) -> Result<Vec<String>, CallError> {
        if max_lines == 0 || max_bytes == 0 {
            return Err(CallError::Invalid("no lines asked for: none mean that there are no more now".to_owned()));
        }
        let most = Most {
            lines: max_lines.min(limits::CURSOR_LINES_MAX) as usize,
            bytes: max_bytes.min(limits::CURSOR_BYTES_MAX) as usize,
        };
        // Changed in a copy: who stops waiting has read nothing.
        let mut sources = self.sources.clone();
        let (lines, sources) = blocking::run(move || {
            let lines = read(&mut sources, &most)?;
            Ok((lines, sources))
        })
        .await?;
        self.sources = sources;
        Ok(lines)
    }

    pub(super) fn commit(&mut self, kv: &Store, instance: &str) -> Result<(), CallError> {
        let Some(source) = self.sources.front() else { return Ok(()) };
        let position =
            serde_json::to_vec(&source.position(&self.path)).map_err(|error| CallError::other("file", error))?;
        kv.set_reserved(instance, AREA, &self.name, position)
    }
}

fn open(path: &str, patterns: &[PathPattern]) -> Result<Source, CallError> {
    let (file, metadata) = files::open_regular(path, patterns)?;
    Source::new(file, &metadata)
}

/// At its end means where its last line ends: one that is being written is still
/// to come as a whole.
fn first(path: &str, from_end: bool, patterns: &[PathPattern]) -> Result<VecDeque<Source>, CallError> {
    let mut source = open(path, patterns)?;
    if from_end {
        let size = source.size()?;
        let from = size.saturating_sub(limits::CURSOR_BYTES_MAX.into());
        let tail = files::read_at(&source.file, from, limits::CURSOR_BYTES_MAX as usize)?;
        let ended = tail.iter().rposition(|byte| *byte == b'\n');
        source.offset = match ended {
            Some(at) => from + at as u64 + 1,
            None if from == 0 => 0,
            None => size,
        };
    }
    Ok([source].into())
}

fn resume(position: &Position, patterns: &[PathPattern]) -> Result<VecDeque<Source>, CallError> {
    let current = open(&position.path, patterns);
    if let Ok(current) = &current
        && current.same_inode(position)
        && current.holds(position)?
    {
        return Ok([current.clone().at(position.offset)].into());
    }
    let truncated = current.as_ref().is_ok_and(|current| current.same_inode(position));
    let mut sources = rotated(position, truncated, patterns)?;
    match current {
        Ok(current) => sources.push_back(current),
        // Renamed, and the new one is not there yet.
        Err(_) if !sources.is_empty() => {}
        Err(error) => return Err(error),
    }
    if sources.len() == 1 {
        tracing::debug!(path = position.path, "what was read before is not found again, reading from the start");
    }
    Ok(sources)
}

/// What is now under another name: the file that was read last, then those after
/// it. A truncated one was perhaps copied before.
fn rotated(position: &Position, truncated: bool, patterns: &[PathPattern]) -> Result<VecDeque<Source>, CallError> {
    let names = files::names_like(&position.path, patterns)?;
    let mut found: Option<(SystemTime, &str, Source)> = None;
    for name in &names {
        // What is gone by now, or may not be read, is not what is looked for.
        let Ok(source) = open(name, patterns) else { continue };
        let same = match truncated {
            true => !source.same_inode(position) && source.is_copy(position)?,
            false => source.same_inode(position) && source.holds(position)?,
        };
        if same {
            let modified = source.file.metadata().and_then(|metadata| metadata.modified());
            let modified = modified.unwrap_or(SystemTime::UNIX_EPOCH);
            // Of copies that begin alike, the last is the one of this time.
            if found.as_ref().is_none_or(|(other, ..)| *other < modified) {
                found = Some((modified, name, source));
            }
        }
    }
    let mut sources = VecDeque::new();
    if let Some((_, old, source)) = found {
        sources.push_back(source.at(position.offset));
        for name in rotation::since(&names, &position.path, old) {
            sources.extend(open(name, patterns));
        }
    }
    Ok(sources)
}

struct Most {
    lines: usize,
    bytes: usize,
}

/// A file that was rotated is left once something stands in the next one: until
/// then its writer may not have noticed.
fn read(sources: &mut VecDeque<Source>, most: &Most) -> Result<Vec<String>, CallError> {
    while let Some(source) = sources.front_mut() {
        let mut lines = whole_lines(source, most)?;
        source.look()?;
        if !lines.is_empty() {
            return Ok(lines);
        }
        let next_begun = sources.get(1).map(Source::size).transpose()?.is_some_and(|size| size > 0);
        let is_last = sources.len() < 2;
        if is_last || !(next_begun || sources.len() > 2) {
            return Ok(lines);
        }
        // Nobody will finish its last line.
        if let Some(source) = sources.pop_front() {
            let rest = files::read_at(&source.file, source.offset, most.bytes)?;
            if !rest.is_empty() {
                lines.push(text(&rest));
                return Ok(lines);
            }
        }
    }
    Ok(Vec::new())
}

fn whole_lines(source: &mut Source, most: &Most) -> Result<Vec<String>, CallError> {
    let mut bytes = Vec::new();
    let mut ended = false;
    while !ended && bytes.len() < most.bytes && bytes.iter().filter(|byte| **byte == b'\n').count() < most.lines {
        let wanted = (most.bytes - bytes.len()).min(limits::CURSOR_CHUNK_BYTES);
        let chunk = files::read_at(&source.file, source.offset + bytes.len() as u64, wanted)?;
        ended = chunk.len() < wanted;
        bytes.extend(chunk);
    }
    let mut lines = Vec::new();
    let mut rest = bytes.as_slice();
    while lines.len() < most.lines
        && let Some(at) = rest.iter().position(|byte| *byte == b'\n')
    {
        let (line, after) = rest.split_at(at);
        lines.push(text(line.strip_suffix(b"\r").unwrap_or(line)));
        rest = after.get(1..).unwrap_or_default();
    }
    // A line that is longer than all that was asked for comes in pieces.
    if lines.is_empty() && bytes.len() >= most.bytes {
        let piece = whole_letters(&bytes);
        lines.push(text(piece));
        source.offset += piece.len() as u64;
        return Ok(lines);
    }
    source.offset += (bytes.len() - rest.len()) as u64;
    Ok(lines)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Without a letter that is cut in two at the end.
fn whole_letters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            bytes.get(..error.valid_up_to()).unwrap_or(bytes)
        }
        _ => bytes,
    }
}
