//! The store in a folder: sled, with a sync of its file before every answer.
//!
//! sled's own flush hands its data to the system and syncs nothing, so the file
//! is synced here. It is not yet proof against every power cut: sled may come
//! back behind. A journal of ours is to become the truth, and sled what is
//! looked up.

use crate::engine::{Backend, Engine, Record};
use crate::{Entry, LeaseId, Revision, Store, StoreError};
use bytes::Bytes;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The whole state of a fleet of thousands is a few tens of megabytes; what is
/// hot lives decoded above the store.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// Not a path, so no key can be the same.
const REVISION_KEY: &[u8] = b"revision";
/// created, modified, lease: 8 bytes each, then the value.
const HEADER_BYTES: usize = 24;

struct Embedded {
    db: sled::Db,
    file: File,
}

pub fn open_embedded(folder: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let db = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        // Every group is flushed by the committer; a timer would only race it.
        .flush_every_ms(None)
        .open()
        .map_err(|source| failed("open the store", source))?;
    let file = File::open(folder.join("db")).map_err(|source| failed("open the store's file", source))?;
    let revision = match db.get(REVISION_KEY).map_err(|source| failed("read the store's revision", source))? {
        Some(bytes) => number(&bytes, 0).ok_or_else(|| corrupt("the store's revision is damaged"))?,
        None => 0,
    };
    Ok(Engine::start(Embedded { db, file }, revision)?)
}

fn failed(operation: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend { operation, source: Arc::new(source) }
}

fn corrupt(what: &'static str) -> StoreError {
    failed(what, std::io::Error::from(std::io::ErrorKind::InvalidData))
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + record.entry.value.len());
    bytes.extend_from_slice(&record.entry.created.to_be_bytes());
    bytes.extend_from_slice(&record.entry.modified.to_be_bytes());
    bytes.extend_from_slice(&record.lease.map_or(0, |lease| lease.0).to_be_bytes());
    bytes.extend_from_slice(&record.entry.value);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Record, StoreError> {
    let parts = (number(bytes, 0), number(bytes, 8), number(bytes, 16), bytes.get(HEADER_BYTES..));
    let (Some(created), Some(modified), Some(lease), Some(value)) = parts else {
        return Err(corrupt("a record in the store is damaged"));
    };
    let entry = Entry { value: Bytes::copy_from_slice(value), created, modified };
    Ok(Record { entry, lease: (lease != 0).then_some(LeaseId(lease)) })
}

impl Backend for Embedded {
    fn describe(&self) -> &'static str {
        "embedded, synced to disk"
    }

    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let found = self.db.get(key).map_err(|source| failed("read from the store", source))?;
        found.map(|bytes| decode(&bytes)).transpose()
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError> {
        let mut records = Vec::new();
        for item in self.db.scan_prefix(prefix) {
            let (key, value) = item.map_err(|source| failed("list from the store", source))?;
            let key = std::str::from_utf8(&key).map_err(|_| corrupt("a key in the store is damaged"))?;
            records.push((Arc::from(key), decode(&value)?));
        }
        Ok(records)
    }

    fn apply(&mut self, revision: Revision, writes: &[(Arc<str>, Option<Record>)]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, record) in writes {
            match record {
                Some(record) => batch.insert(key.as_bytes(), encode(record)),
                None => batch.remove(key.as_bytes()),
            }
        }
        batch.insert(REVISION_KEY, &revision.to_be_bytes());
        self.db.apply_batch(batch).map_err(|source| failed("write to the store", source))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(|source| failed("flush the store", source))?;
        self.file.sync_data().map_err(|source| failed("sync the store to disk", source))
    }
}
