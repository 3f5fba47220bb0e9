//! Folder, segments, fsync.

use super::{SpoolState, gap};
use crate::host;
use hostler_agent_core::spool::record::{self, HEADER_BYTES, Header, Scan};
use hostler_agent_core::spool::{Admission, Ledger, Limits, Loss, SegmentId};
use hostler_proto::agent::SpoolRecord;
use hostler_proto::agent::spool_record::Body;
use hostler_types::{Name, Timestamp, Transition};
use prost::Message;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Some 80,000 transitions: a month's of a host that has a bad month.
const BUDGET_BYTES: u64 = 16 * 1024 * 1024;
/// Read whole when it is sent: must not show in the agent's memory.
const SEGMENT_BYTES: u64 = 64 * 1024;
/// Below that part of free space the disk belongs to the host's own work ...
const FREE_PERCENT_MIN: u64 = 5;
/// ... but a large disk has room for the spool long after that, and a full disk is
/// just what a check has to be able to report.
const FREE_BYTES_ENOUGH: u64 = 4 * BUDGET_BYTES;
const ID_FILE: &str = "id";
const ACKED_FILE: &str = "acked";
const SUFFIX: &str = ".seg";
const DISK_FAILED: &str = "the spool's disk did not take it";

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("the system gives no randomness")]
    Randomness,
}

/// What opening found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest transition of each check.
    pub transitions: BTreeMap<Name, (u64, Transition)>,
    pub records: u64,
    /// What was not whole, in words, for the log.
    pub notes: Vec<String>,
}

pub struct SpoolFiles {
    folder: PathBuf,
    id: u64,
    ledger: Ledger,
    /// The newest segment, while it can be appended to.
    current: Option<(SegmentId, File)>,
    /// As the last run knew it. Only for show: nothing is forgotten by it.
    acked_mark: u64,
    lost: u64,
    trouble: Option<String>,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::File { operation, path: path.to_owned(), source }
}

impl SpoolFiles {
    pub fn open(folder: &Path, now: Timestamp) -> Result<(Self, Found), SpoolError> {
        crate::files::private_folder(folder).map_err(failed("make the spool's folder", folder))?;
        let names = segment_ids(folder)?;
        let ledger = Ledger::new(Limits { budget_bytes: BUDGET_BYTES, segment_bytes: SEGMENT_BYTES });
        let id = spool_id(folder, names.first().copied())?;
        let mut files =
            Self { folder: folder.to_owned(), id, ledger, current: None, acked_mark: 0, lost: 0, trouble: None };
        let mut found = Found::default();
        for segment in names {
            files.load(segment, &mut found)?;
        }
        files.recall_acked();
        if files.ledger.loss().is_some() {
            files.append(Vec::new(), now);
        }
        Ok((files, found))
    }

    fn path(&self, segment: SegmentId) -> PathBuf {
        self.folder.join(format!("{segment:020}{SUFFIX}"))
    }

    fn load(&mut self, segment: SegmentId, found: &mut Found) -> Result<(), SpoolError> {
        let path = self.path(segment);
        let bytes = fs::read(&path).map_err(failed("read", &path))?;
        let after = self.ledger.last_sequence();
        let ours = record::decode_header(&bytes).is_some_and(|header| header.spool_id == self.id);
        let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let scan = if ours { record::scan(body, after) } else { Scan { torn_bytes: bytes.len(), ..Scan::default() } };
        let last = scan.records.last().map(|(sequence, _)| *sequence);
        self.ledger.found(segment, last, bytes.len() as u64);
        found.records += scan.records.len() as u64;
        for (sequence, body) in &scan.records {
            let decoded = SpoolRecord::decode(*body).ok().and_then(|record| record.body);
            if let Some(Body::Transition(transition)) = decoded
                && let Ok(transition) = Transition::try_from(transition)
            {
                found.transitions.insert(transition.check.clone(), (*sequence, transition));
            }
        }
        self.note_damage(&path, &scan, bytes.len() <= HEADER_BYTES, found);
        Ok(())
    }

    fn note_damage(&mut self, path: &Path, scan: &Scan<'_>, empty: bool, found: &mut Found) {
        let bytes = scan.damaged_bytes + scan.torn_bytes;
        if bytes == 0 {
            return;
        }
        self.ledger.skip_damaged(bytes as u64);
        // What was being written when the power went was never counted on.
        if scan.damaged_bytes == 0 && (scan.unfinished || empty) {
            found.notes.push(format!("{}: {bytes} bytes of an unfinished write are left aside", path.display()));
            return;
        }
        let note = format!("{}: {bytes} bytes are damaged", path.display());
        self.count_lost(1, format!("{bytes} bytes of the spool were damaged"));
        found.notes.push(note);
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn state(&self) -> SpoolState {
        SpoolState {
            last: self.ledger.last_sequence(),
            acked: self.ledger.acked().max(self.acked_mark),
            bytes: self.ledger.bytes(),
            lost: self.lost,
            trouble: self.trouble.clone(),
        }
    }

    /// All of them with one fsync; what cannot be kept is counted, and told as soon
    /// as there is room. Returns the last sequence number that is durable.
    pub fn append(&mut self, bodies: Vec<Body>, now: Timestamp) -> u64 {
        let disk_full = host::space(&self.folder).is_ok_and(|space| {
            space.free_bytes < FREE_BYTES_ENOUGH && space.free_bytes < space.total_bytes / 100 * FREE_PERCENT_MIN
        });
        let mut pending = Pending::default();
        let mut told = self.tell_loss(now, disk_full, &mut pending);
        for body in bodies {
            let placed = told.and_then(|()| self.place(&body, disk_full, &mut pending));
            if let Err(reason) = placed {
                self.count_lost(1, reason);
            }
            told = self.tell_loss(now, disk_full, &mut pending);
        }
        self.flush(pending);
        self.ledger.last_sequence()
    }

    fn count_lost(&mut self, count: u64, reason: String) {
        self.lost += count;
        self.ledger.lost(count, reason);
    }

    /// Before anything that comes after a loss there is a note of it.
    fn tell_loss(&mut self, now: Timestamp, disk_full: bool, pending: &mut Pending) -> Result<(), String> {
        let Some(loss) = self.ledger.loss().cloned() else { return Ok(()) };
        self.place(&gap(&loss, now.as_millis()), disk_full, pending)?;
        self.ledger.loss_told();
        pending.gaps.push(loss);
        Ok(())
    }

    /// Puts it among what is written next, or says why it cannot be kept.
    fn place(&mut self, body: &Body, disk_full: bool, pending: &mut Pending) -> Result<(), String> {
        let encode = |seq| record::encode(seq, &SpoolRecord { seq, body: Some(body.clone()) }.encode_to_vec());
        let too_long = || "a record was longer than the spool takes".to_owned();
        let length = encode(u64::MAX).ok_or_else(too_long)?.len() as u64;
        let mut admission = self.ledger.admit(length.saturating_add(pending.bytes.len() as u64), disk_full);
        if matches!(admission, Admission::Append { fresh: true, .. }) && !pending.records.is_empty() {
            self.flush(std::mem::take(pending));
            admission = self.ledger.admit(length, disk_full);
        }
        match admission {
            Admission::Refused { reason } => return Err(reason),
            Admission::Append { fresh: false, .. } => {}
            Admission::Append { segment, fresh: true } => self.begin(segment).map_err(|error| {
                self.broken(&error);
                DISK_FAILED.to_owned()
            })?,
        }
        let sequence = self.ledger.next_sequence().saturating_add(pending.records.len() as u64);
        let record = encode(sequence).ok_or_else(too_long)?;
        pending.bytes.extend_from_slice(&record);
        pending.records.push((sequence, record.len() as u64));
        Ok(())
    }

    /// A new segment, whose name is durable before it holds anything.
    fn begin(&mut self, segment: SegmentId) -> Result<(), SpoolError> {
        let path = self.path(segment);
        let mut file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(crate::files::PRIVATE)
            .open(&path)
            .map_err(failed("make", &path))?;
        file.write_all(&record::encode_header(Header { spool_id: self.id })).map_err(failed("write", &path))?;
        file.sync_data().map_err(failed("fsync", &path))?;
        crate::files::sync_folder(&self.folder).map_err(failed("fsync", &self.folder))?;
        self.ledger.began(segment);
        self.current = Some((segment, file));
        Ok(())
    }

    /// Writes and fsyncs. A failure of either is final for the segment: what the
    /// disk holds is unknown then, and a second fsync may lie. The records go
    /// into a new one, under their numbers, once.
    fn flush(&mut self, pending: Pending) {
        if pending.records.is_empty() {
            return;
        }
        if let Err(error) = self.write(&pending.bytes) {
            self.broken(&error);
            let again = self.begin(self.ledger.next_sequence()).and_then(|()| self.write(&pending.bytes));
            if let Err(error) = again {
                self.broken(&error);
                let count = pending.records.len() - pending.gaps.len();
                self.count_lost(count as u64, DISK_FAILED.to_owned());
                for gap in pending.gaps {
                    self.ledger.lost(gap.count, gap.reason);
                }
                return;
            }
        }
        self.trouble = None;
        for (sequence, length) in pending.records {
            self.ledger.appended(sequence, length);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let Some((segment, file)) = &mut self.current else {
            return Err(failed("write", &self.folder)(io::Error::other("no segment is open")));
        };
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        let segment = *segment;
        written.map_err(|source| SpoolError::File { operation: "write and fsync", path: self.path(segment), source })
    }

    fn broken(&mut self, error: &SpoolError) {
        let text = crate::logging::whole(error);
        tracing::error!(error = text, "the spool's segment is given up");
        self.trouble = Some(text);
        let on_disk = self.current.take().and_then(|(_, file)| file.metadata().ok()).map_or(0, |meta| meta.len());
        self.ledger.failed(on_disk);
    }

    pub fn read_unacked(&self, records_max: usize) -> Result<Vec<SpoolRecord>, SpoolError> {
        let after = self.ledger.acked();
        let durable = self.ledger.last_sequence();
        let mut records = Vec::new();
        for segment in self.ledger.segments_after(after) {
            let path = self.path(segment);
            let bytes = fs::read(&path).map_err(failed("read", &path))?;
            let seen = records.last().map_or(after, |record: &SpoolRecord| record.seq);
            let scan = record::scan(bytes.get(HEADER_BYTES..).unwrap_or_default(), seen);
            for (sequence, body) in scan.records.into_iter().filter(|(sequence, _)| *sequence <= durable) {
                let mut record = SpoolRecord::decode(body).unwrap_or_default();
                record.seq = sequence;
                records.push(record);
                if records.len() == records_max {
                    return Ok(records);
                }
            }
        }
        Ok(records)
    }

    /// What is shown before the control plane says it anew. Not fsynced, and one
    /// that cannot be is not believed.
    fn recall_acked(&mut self) {
        let mark = fs::read_to_string(self.folder.join(ACKED_FILE)).ok();
        let acked = mark.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if acked <= self.ledger.last_sequence() {
            self.acked_mark = acked;
        }
    }

    pub fn ack(&mut self, sequence: u64) {
        // From here on the control plane's own word counts, be it lower.
        self.acked_mark = 0;
        if sequence > self.ledger.acked() {
            let _ = fs::write(self.folder.join(ACKED_FILE), format!("{sequence}\n"));
        }
        for segment in self.ledger.ack(sequence) {
            let path = self.path(segment);
            // Left behind it would be sent again after a restart, and dropped there.
            if let Err(error) = crate::files::remove_if_there(&path) {
                tracing::warn!(path = %path.display(), error = %error, "removing an acked segment failed");
            }
        }
    }
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Sequence numbers and lengths.
    records: Vec<(u64, u64)>,
    /// The losses that are told among them.
    gaps: Vec<Loss>,
}

fn segment_ids(folder: &Path) -> Result<Vec<SegmentId>, SpoolError> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let entry = entry.map_err(failed("list", folder))?;
        let name = entry.file_name();
        ids.extend(
            name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|id| id.parse::<SegmentId>().ok()),
        );
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Random, made once: under another id the same numbers mean other records.
fn spool_id(folder: &Path, oldest: Option<SegmentId>) -> Result<u64, SpoolError> {
    let path = folder.join(ID_FILE);
    let text = crate::files::read_if_there(&path).map_err(failed("read", &path))?;
    if let Some(id) = text.and_then(|text| String::from_utf8(text).ok()).and_then(|text| text.trim().parse().ok()) {
        return Ok(id);
    }
    let of_segment = oldest
        .and_then(|segment| fs::read(folder.join(format!("{segment:020}{SUFFIX}"))).ok())
        .and_then(|bytes| record::decode_header(&bytes));
    let id = match of_segment {
        Some(header) => header.spool_id,
        None => {
            let mut bytes = [0; 8];
            SystemRandom::new().fill(&mut bytes).map_err(|_| SpoolError::Randomness)?;
            // Zero is what a message without the field says.
            u64::from_le_bytes(bytes).max(1)
        }
    };
    crate::files::replace(&path, format!("{id}\n").as_bytes(), crate::files::PRIVATE)
        .map_err(failed("write", &path))?;
    Ok(id)
}
