//! The whole state in one file, from which it can be built anew.
//!
//! It is written while commits go on: it holds every record as it was at some
//! revision between its start and its end. Whoever applies the journal from its
//! start to its end on top has the state as it was at the end.

use super::disk;
use super::frame::{self, Cursor};
use super::state::{Materialised, Summary};
use crate::{Revision, StoreError};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

const MAGIC: &[u8; 16] = b"hostler checkpt1";
const SUFFIX: &str = "zst";
/// Fast, and about half the size of what fleets keep.
const LEVEL: i32 = 1;
/// Records copied under one read lock: bounds how long a commit waits.
const BATCH: usize = 200;
/// No step is larger: a key, a record with its largest value in sled.
const STEP_BYTES_MAX: usize = 128 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub path: PathBuf,
    pub start: Revision,
    pub end: Revision,
}

pub struct Written {
    pub checkpoint: Checkpoint,
    pub values: std::collections::BTreeSet<super::values::Digest>,
}

/// Newest first. What was never finished goes.
pub fn list(folder: &Path) -> io::Result<Vec<Checkpoint>> {
    super::remove_unpublished(folder)?;
    look(folder)
}

/// Likewise, and changes nothing.
pub fn look(folder: &Path) -> io::Result<Vec<Checkpoint>> {
    let files = super::sorted_files(folder)?.into_iter();
    let ours = files.filter(|path| path.extension().is_some_and(|found| found == SUFFIX));
    let mut found: Vec<Checkpoint> = ours.filter_map(named).collect();
    found.reverse();
    Ok(found)
}

/// The name says which revisions; a file with another name is not ours.
fn named(path: PathBuf) -> Option<Checkpoint> {
    let (start, end) = path.file_stem()?.to_str()?.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    (start <= end).then_some(Checkpoint { path, start, end })
}

pub fn write<S>(folder: &Path, state: &RwLock<S>) -> Result<Written, StoreError>
where
    S: AsRef<Materialised>,
{
    let beside = folder.join("checkpoint.new");
    let outcome = write_beside(folder, &beside, state);
    if outcome.is_err() {
        let _ = fs::remove_file(&beside);
    }
    outcome
}

fn failed(source: io::Error) -> StoreError {
    StoreError::Backend { operation: "write a checkpoint", source: Arc::new(source) }
}

fn write_beside<S>(folder: &Path, beside: &Path, state: &RwLock<S>) -> Result<Written, StoreError>
where
    S: AsRef<Materialised>,
{
    let read = || state.read().unwrap_or_else(PoisonError::into_inner);
    let start = read().as_ref().summary().revision;
    let mut writer = Writer::begin(disk::create(beside).map_err(failed)?).map_err(failed)?;
    let mut values = std::collections::BTreeSet::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let mut bytes = Vec::new();
        let last = read().as_ref().each(after.as_deref(), BATCH, |key, record| {
            if let super::Value::Blob { digest, .. } = super::state::decode(key, record)?.value {
                values.insert(digest);
            }
            frame::encode_step(key, Some(record), &mut bytes);
            writer.summary.add(key.as_bytes(), record);
            Ok(())
        })?;
        writer.put(&bytes).map_err(failed)?;
        match last {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    let now = read().as_ref().summary();
    let end = now.revision;
    // Where nothing was committed meanwhile, it must be what the state says it is.
    let found = Summary { revision: end, ..writer.summary };
    if end < start || (end == start && found != now) {
        return Err(StoreError::Damaged("the state, which is not what it says it is".to_owned()));
    }
    let file = writer.finish(start, end).map_err(failed)?;
    disk::sync("checkpoint.sync", &file).map_err(failed)?;
    let path = folder.join(format!("{start:020}-{end:020}.{SUFFIX}"));
    disk::publish("checkpoint.rename", beside, &path).map_err(failed)?;
    Ok(Written { checkpoint: Checkpoint { path, start, end }, values })
}

/// Reads one back that was written while nothing was committed: before anything is
/// removed for it.
pub fn prove(written: &Written, state: &Materialised) -> Result<(), StoreError> {
    if read(&written.checkpoint, |_, _| Ok(()))? == state.summary() {
        Ok(())
    } else {
        Err(StoreError::Damaged("the checkpoint is not what was written".to_owned()))
    }
}

struct Writer {
    out: zstd::Encoder<'static, BufWriter<File>>,
    summary: Summary,
}

impl Writer {
    fn begin(file: File) -> io::Result<Self> {
        let mut out = BufWriter::new(file);
        out.write_all(MAGIC)?;
        let mut out = zstd::Encoder::new(out, LEVEL)?;
        out.include_checksum(true)?;
        Ok(Self { out, summary: Summary::default() })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        fail::fail_point!("checkpoint.write", |_| Err(rustix::io::Errno::NOSPC.into()));
        self.out.write_all(bytes)
    }

    /// A step without a key ends it, and says what must have been there.
    fn finish(mut self, start: Revision, end: Revision) -> io::Result<File> {
        let mut bytes = 0u16.to_le_bytes().to_vec();
        for number in [start, end, self.summary.records] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.summary.digest.to_le_bytes());
        self.put(&bytes)?;
        let mut out = self.out.finish()?;
        out.flush()?;
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Hands out every record, and fails if any of it is not as it was written.
pub fn read(
    checkpoint: &Checkpoint,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), StoreError>,
) -> Result<Summary, StoreError> {
    let damaged = |why: &str| StoreError::Damaged(format!("checkpoint {}: {why}", checkpoint.path.display()));
    let unreadable = |error: io::Error| damaged(&error.to_string());
    let mut file = BufReader::new(File::open(&checkpoint.path).map_err(unreadable)?);
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(unreadable)?;
    if magic != *MAGIC {
        return Err(damaged("it does not begin as a checkpoint of this version does"));
    }
    let mut input = zstd::Decoder::new(file).map_err(unreadable)?;
    let mut found = Summary::default();
    let mut step = Vec::new();
    loop {
        let key = read_part::<2>(&mut input).map_err(unreadable)?;
        let key = usize::from(u16::from_le_bytes(key));
        if key == 0 {
            break;
        }
        step.clear();
        read_on(&mut input, key + 4, &mut step).map_err(unreadable)?;
        let length = step.get(key..).and_then(|bytes| Cursor(bytes).u32()).unwrap_or(0) as usize;
        if length == 0 || length > STEP_BYTES_MAX {
            return Err(damaged("a record has no sensible size"));
        }
        read_on(&mut input, length - 1, &mut step).map_err(unreadable)?;
        let name = step.get(..key).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let (Some(name), Some(record)) = (name, step.get(key + 4..)) else {
            return Err(damaged("a key is no text"));
        };
        found.add(name.as_bytes(), record);
        take(name, record)?;
    }
    let trailer = read_part::<40>(&mut input).map_err(unreadable)?;
    // The checksum of the stream is only looked at when its end is read.
    io::copy(&mut input, &mut io::sink()).map_err(unreadable)?;
    let mut trailer = Cursor(&trailer);
    let whole = trailer.u64() == Some(checkpoint.start)
        && trailer.u64() == Some(checkpoint.end)
        && trailer.u64() == Some(found.records)
        && trailer.u128() == Some(found.digest);
    if whole {
        Ok(Summary { revision: checkpoint.start, ..found })
    } else {
        Err(damaged("it does not hold what it says"))
    }
}

fn read_part<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut part = [0; N];
    input.read_exact(&mut part)?;
    Ok(part)
}

fn read_on(input: &mut impl Read, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let from = into.len();
    into.resize(from + count, 0);
    input.read_exact(into.get_mut(from..).unwrap_or_default())
}
