//! The state as it is looked up: sled, or memory while sled can't be written.
//!
//! It is made from checkpoint and journal and never trusted alone: it carries the
//! revision it was brought to and a digest over all of it, in the same batch.

use super::frame::{self, Cursor};
use super::{Group, Stored, Value, disk, values};
use crate::engine::{Record, State};
use crate::{Entry, LeaseId, Revision, StoreError};
use bytes::Bytes;
use sled::IVec;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use twox_hash::XxHash3_128;

/// The whole state of a fleet of thousands is a few tens of megabytes; what is
/// hot lives decoded above the store.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Not a path, so no key can be the same.
const SUMMARY_KEY: &[u8] = b"summary";
const FIRST_KEY: &str = "/";
const REOPEN_TRIES: u32 = 200;
const REOPEN_PAUSE: Duration = Duration::from_millis(5);

/// What a state says of itself. The digest is a sum over its records, in no order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub revision: Revision,
    pub digest: u128,
    pub records: u64,
    /// Of keys and records.
    pub bytes: u64,
    /// Records that go with a lease; mostly none, and then none is looked for.
    pub leased: u64,
}

impl Summary {
    pub fn add(&mut self, key: &[u8], record: &[u8]) {
        self.digest = self.digest.wrapping_add(sum(key, record));
        self.records += 1;
        self.bytes += (key.len() + record.len()) as u64;
        self.leased += u64::from(frame::is_leased(record));
    }

    fn take(&mut self, key: &[u8], record: &[u8]) {
        self.digest = self.digest.wrapping_sub(sum(key, record));
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub((key.len() + record.len()) as u64);
        self.leased = self.leased.saturating_sub(u64::from(frame::is_leased(record)));
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.revision.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.digest.to_le_bytes());
        for number in [self.records, self.bytes, self.leased] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let (revision, digest) = (cursor.u64()?, cursor.u128()?);
        Some(Self { revision, digest, records: cursor.u64()?, bytes: cursor.u64()?, leased: cursor.u64()? })
    }
}

fn sum(key: &[u8], record: &[u8]) -> u128 {
    let mut hasher = XxHash3_128::new();
    hasher.write(&(key.len() as u64).to_le_bytes());
    hasher.write(key);
    hasher.write(record);
    hasher.finish_128()
}

pub enum Table {
    Sled(sled::Db, Box<File>),
    Memory(BTreeMap<Arc<str>, Arc<[u8]>>),
    /// While another is made: nothing can be read, rather than nothing be there.
    Gone,
}

pub struct Materialised {
    table: Table,
    summary: Summary,
    values: PathBuf,
}

fn failed(operation: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend { operation, source: Arc::new(source) }
}

fn open_sled(folder: &Path) -> sled::Result<sled::Db> {
    sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        // It is written out when nothing else is to be done.
        .flush_every_ms(None)
        .open()
}

/// sled's own threads may hold its lock for a moment after it is let go.
pub fn open_patiently(folder: &Path, values: &Path) -> Result<Materialised, StoreError> {
    let mut tries = 0;
    loop {
        match Materialised::open(folder, values) {
            Err(_) if tries < REOPEN_TRIES => {
                tries += 1;
                std::thread::sleep(REOPEN_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

impl Materialised {
    /// Opens what lies in a folder, or begins it.
    pub fn open(folder: &Path, values: &Path) -> Result<Self, StoreError> {
        let db = open_sled(folder).map_err(|source| failed("open the state", source))?;
        let file = File::open(folder.join("db")).map_err(|source| failed("open the state's file", source))?;
        let summary = match db.get(SUMMARY_KEY).map_err(|source| failed("read the state's summary", source))? {
            Some(bytes) => {
                Summary::decode(&bytes).ok_or_else(|| StoreError::Damaged("the state's summary".to_owned()))?
            }
            None => Summary::default(),
        };
        Ok(Self { table: Table::Sled(db, Box::new(file)), summary, values: values.to_owned() })
    }

    pub fn in_memory(values: &Path) -> Self {
        Self { table: Table::Memory(BTreeMap::new()), summary: Summary::default(), values: values.to_owned() }
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    pub fn is_memory(&self) -> bool {
        matches!(self.table, Table::Memory(_))
    }

    pub fn let_go(&mut self) {
        self.table = Table::Gone;
    }

    /// Lets go of sled and opens it again.
    pub fn reopen(&mut self, folder: &Path) -> Result<(), StoreError> {
        if !matches!(self.table, Table::Sled(..)) {
            return Ok(());
        }
        let before = self.summary;
        self.flush()?;
        self.let_go();
        let values = self.values.clone();
        let opened = catch_unwind(AssertUnwindSafe(|| open_patiently(folder, &values)));
        let reopened = opened.unwrap_or_else(|_| Err(StoreError::Damaged("opening it panicked".to_owned())))?;
        reopened.verify()?;
        if reopened.summary != before {
            return Err(StoreError::Damaged("the state came back different".to_owned()));
        }
        *self = reopened;
        Ok(())
    }

    /// Reads all of it, and holds it against what it says of itself.
    pub fn verify(&self) -> Result<(), StoreError> {
        let mut found = Summary { revision: self.summary.revision, ..Summary::default() };
        self.each(None, usize::MAX, |key, record| {
            found.add(key.as_bytes(), record);
            Ok(())
        })?;
        if found == self.summary {
            Ok(())
        } else {
            Err(StoreError::Damaged(format!(
                "the state ({} records, {} expected)",
                found.records, self.summary.records
            )))
        }
    }

    /// Hands out up to so many records after a key. Returns the last one's key.
    pub fn each(
        &self,
        after: Option<&str>,
        most: usize,
        mut take: impl FnMut(&str, &[u8]) -> Result<(), StoreError>,
    ) -> Result<Option<Arc<str>>, StoreError> {
        let from = after.map_or(Bound::Included(FIRST_KEY), Bound::Excluded);
        let mut last = None;
        match &self.table {
            Table::Gone => return Err(gone()),
            Table::Memory(records) => {
                for (key, record) in records.range::<str, _>((from, Bound::Unbounded)).take(most) {
                    take(key, record)?;
                    last = Some(Arc::clone(key));
                }
            }
            Table::Sled(db, _) => {
                let from = from.map(str::as_bytes);
                // Keys begin with a slash; what the state says of itself does not.
                for item in db.range::<&[u8], _>((from, Bound::Excluded(&b"0"[..]))).take(most) {
                    let (key, record) = item.map_err(|source| failed("list the state", source))?;
                    let key = text(&key)?;
                    take(key, &record)?;
                    last = Some(Arc::from(key));
                }
            }
        }
        Ok(last)
    }

    fn raw(&self, key: &str) -> Result<Option<IVec>, StoreError> {
        match &self.table {
            Table::Gone => Err(gone()),
            Table::Memory(records) => Ok(records.get(key).map(|record| IVec::from(&**record))),
            Table::Sled(db, _) => db.get(key).map_err(|source| failed("read the state", source)),
        }
    }

    /// Puts records as they lie in a checkpoint; `seal` ends it.
    pub fn load(&mut self, records: &[(Arc<str>, Arc<[u8]>)]) -> Result<(), StoreError> {
        let mut steps = BTreeMap::new();
        for (key, record) in records {
            steps.insert(Arc::clone(key), Some(record.to_vec()));
        }
        self.write(self.summary.revision, steps)
    }

    pub fn seal(&mut self, revision: Revision) -> Result<(), StoreError> {
        self.write(revision, BTreeMap::new())
    }

    fn write(&mut self, revision: Revision, steps: BTreeMap<Arc<str>, Option<Vec<u8>>>) -> Result<(), StoreError> {
        let mut summary = Summary { revision, ..self.summary };
        let mut batch = sled::Batch::default();
        for (key, record) in &steps {
            if let Some(before) = self.raw(key)? {
                summary.take(key.as_bytes(), &before);
            }
            match record {
                Some(record) => {
                    summary.add(key.as_bytes(), record);
                    batch.insert(key.as_bytes(), record.as_slice());
                }
                None => batch.remove(key.as_bytes()),
            }
        }
        match &mut self.table {
            Table::Gone => return Err(gone()),
            Table::Sled(db, _) => {
                batch.insert(SUMMARY_KEY, summary.encode());
                db.apply_batch(batch).map_err(|source| failed("write the state", source))?;
            }
            Table::Memory(records) => {
                for (key, record) in steps {
                    match record {
                        Some(record) => drop(records.insert(key, record.into())),
                        None => drop(records.remove(&key)),
                    }
                }
            }
        }
        self.summary = summary;
        Ok(())
    }

    /// Brings sled's part of the disk up to date, so that opening has less to do
    /// and damage to the journal costs nothing.
    pub fn flush(&self) -> Result<(), StoreError> {
        let Table::Sled(db, file) = &self.table else { return Ok(()) };
        db.flush().map_err(|source| failed("flush the state", source))?;
        disk::sync("state.sync", file).map_err(|source| failed("sync the state", source))
    }

    pub fn record(&self, key: &str, raw: &[u8]) -> Result<Record, StoreError> {
        let stored = decode(key, raw)?;
        let value = match stored.value {
            Value::Inline(value) => value,
            Value::Blob { digest, .. } => Bytes::from(values::read(&self.values, &digest).map_err(|error| {
                StoreError::Lost(format!(
                    "the value of {key}, in {}: {error}; restore that file from a backup",
                    self.values.join(values::name(&digest)).display()
                ))
            })?),
        };
        let entry = Entry { value, created: stored.created, modified: stored.modified };
        Ok(Record { entry, lease: stored.lease })
    }
}

fn gone() -> StoreError {
    StoreError::Damaged("the state, which is being built anew".to_owned())
}

fn text(key: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(key).map_err(|_| StoreError::Damaged("a key of the state".to_owned()))
}

pub fn decode(key: &str, raw: &[u8]) -> Result<Stored, StoreError> {
    frame::decode_record(raw).ok_or_else(|| StoreError::Damaged(format!("the record of {key}")))
}

impl State for Materialised {
    type Group = Group;

    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.raw(key)?.map(|raw| self.record(key, &raw)).transpose()
    }

    fn stamp(&self, key: &str) -> Result<Option<(Revision, Revision)>, StoreError> {
        let raw = self.raw(key)?;
        raw.map(|raw| decode(key, &raw).map(|stored| (stored.created, stored.modified))).transpose()
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError> {
        let mut records = Vec::new();
        let prefix = if prefix.is_empty() { FIRST_KEY } else { prefix };
        match &self.table {
            Table::Gone => return Err(gone()),
            Table::Memory(table) => {
                let from = (Bound::Included(prefix), Bound::Unbounded);
                for (key, raw) in table.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix)) {
                    records.push((Arc::clone(key), self.record(key, raw)?));
                }
            }
            Table::Sled(db, _) => {
                for item in db.scan_prefix(prefix) {
                    let (key, raw) = item.map_err(|source| failed("list the state", source))?;
                    let key = text(&key)?;
                    records.push((Arc::from(key), self.record(key, &raw)?));
                }
            }
        }
        Ok(records)
    }

    fn leased(&self) -> Result<Vec<(Arc<str>, LeaseId)>, StoreError> {
        let mut leased = Vec::new();
        if self.summary.leased > 0 {
            self.each(None, usize::MAX, |key, record| {
                leased.extend(decode(key, record)?.lease.map(|lease| (Arc::from(key), lease)));
                Ok(())
            })?;
        }
        Ok(leased)
    }

    fn apply(&mut self, group: &Group) -> Result<(), StoreError> {
        let mut steps = BTreeMap::new();
        for step in group.commits.iter().flat_map(|commit| &commit.steps) {
            steps.insert(Arc::clone(&step.key), step.record.as_ref().map(frame::encode_record));
        }
        let Some(last) = group.commits.last() else { return Ok(()) };
        self.write(last.revision, steps)
    }
}
