//! The log's files: segments, each named by its first record and begun by a
//! checkpoint.

use hostler_core::audit::frame::{self, Look};
use hostler_types::Timestamp;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const ENDING: &str = ".log";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub first: u64,
    pub first_at: Timestamp,
    pub path: PathBuf,
}

impl Segment {
    pub fn path(folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("{first:020}{ENDING}"))
    }
}

/// What of the log is there at one moment.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The oldest first.
    pub segments: Vec<Segment>,
    /// How much of the newest counts; what is behind it is being written.
    pub last_bytes: Option<u64>,
}

impl Files {
    /// Of a log that nobody writes.
    pub fn find(folder: &Path) -> io::Result<Self> {
        let mut segments = Vec::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.strip_suffix(ENDING).filter(|digits| digits.len() == 20);
            if let Some(first) = number.and_then(|digits| digits.parse().ok()) {
                let first_at = first_time(&path)?;
                segments.push(Segment { first, first_at, path });
            }
        }
        segments.sort_by_key(|segment| segment.first);
        Ok(Self { segments, last_bytes: None })
    }

    /// One segment; a file that is gone holds nothing, and is then missed.
    pub fn read(&self, index: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        let Some(segment) = self.segments.get(index) else { return Ok(()) };
        let most = self.last_bytes.filter(|_| index + 1 == self.segments.len()).unwrap_or(u64::MAX);
        match File::open(&segment.path) {
            Ok(file) => file.take(most).read_to_end(into).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Only to know where to look: whoever changes it is found out by reading.
fn first_time(path: &Path) -> io::Result<Timestamp> {
    let mut start = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut start)?;
    Ok(match frame::look(&start) {
        Look::Whole(first) => first.at,
        Look::Cut | Look::Damaged => Timestamp::default(),
    })
}
