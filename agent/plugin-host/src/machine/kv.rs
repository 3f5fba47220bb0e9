//! What a check's runs leave for its later runs: a file each, within a quota.
//!
//! Not for what must not be lost: it spares a check from beginning anew. So a
//! file is written in one piece but not forced to the disk, which would cost each
//! run some milliseconds; after a power failure the one before may be there, or a
//! damaged one, which is set aside.

mod entries;
mod file;

use crate::call::CallError;
use crate::limits;
use entries::{Change, Entries, Seconds};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) struct Store {
    /// Absent: it ends with this process.
    folder: Option<PathBuf>,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    instances: HashMap<String, Used>,
    /// Counts uses: who was used longest ago leaves first.
    uses: u64,
}

struct Used {
    entries: Entries,
    last: u64,
}

/// No key of a plugin begins so: it would have a control character in it.
const RESERVED: char = '\u{1}';

impl Store {
    pub(super) fn new(folder: Option<PathBuf>) -> Store {
        Store { folder, loaded: Mutex::default() }
    }

    pub(super) fn get(&self, instance: &str, key: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.read(instance, sound(key)?)
    }

    pub(super) fn set(
        &self,
        instance: &str,
        key: &str,
        value: Vec<u8>,
        ttl_seconds: Option<u32>,
    ) -> Result<(), CallError> {
        let now = now();
        let expires = ttl_seconds.map(|ttl| now.saturating_add(ttl.into()));
        self.write(instance, sound(key)?, value, expires, now)
    }

    pub(super) fn delete(&self, instance: &str, key: &str) -> Result<(), CallError> {
        let key = sound(key)?;
        self.change(instance, |entries| Ok(if entries.delete(key) { Change::Continue(()) } else { Change::Break(()) }))
    }

    pub(super) fn compare_and_set(
        &self,
        instance: &str,
        key: &str,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
    ) -> Result<bool, CallError> {
        let (key, now) = (sound(key)?, now());
        self.change(instance, |entries| {
            if entries.get(key, now) != old.as_deref() {
                return Ok(Change::Break(false));
            }
            let changed = entries.set(key, new, None, now)?;
            Ok(if changed { Change::Continue(true) } else { Change::Break(true) })
        })
    }

    /// The host's own state of an instance, which its plugin can't name. It is
    /// part of the same share.
    pub(super) fn get_reserved(&self, instance: &str, area: &str, key: &str) -> Result<Option<Vec<u8>>, CallError> {
        self.read(instance, &reserved(area, sound(key)?))
    }

    pub(super) fn set_reserved(&self, instance: &str, area: &str, key: &str, value: Vec<u8>) -> Result<(), CallError> {
        self.write(instance, &reserved(area, sound(key)?), value, None, now())
    }

    fn read(&self, instance: &str, key: &str) -> Result<Option<Vec<u8>>, CallError> {
        let now = now();
        self.change(instance, |entries| Ok(Change::Break(entries.get(key, now).map(<[u8]>::to_vec))))
    }

    fn write(
        &self,
        instance: &str,
        key: &str,
        value: Vec<u8>,
        expires: Option<Seconds>,
        now: Seconds,
    ) -> Result<(), CallError> {
        self.change(instance, |entries| {
            let changed = entries.set(key, value, expires, now)?;
            Ok(if changed { Change::Continue(()) } else { Change::Break(()) })
        })
    }

    /// Continues to the disk, or breaks off where nothing changed. Without an
    /// instance nothing is there and nothing is kept.
    fn change<T>(
        &self,
        instance: &str,
        change: impl FnOnce(&mut Entries) -> Result<Change<T>, CallError>,
    ) -> Result<T, CallError> {
        if instance.is_empty() {
            return match change(&mut Entries::default())? {
                Change::Continue(value) | Change::Break(value) => Ok(value),
            };
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = &mut *loaded;
        loaded.uses += 1;
        let known = loaded.instances.remove(instance).map(|used| used.entries);
        let before = match (known, &self.folder) {
            (Some(entries), _) => entries,
            (None, Some(folder)) => file::load(folder, instance)?,
            (None, None) => Entries::default(),
        };
        let mut entries = before.clone();
        let changed = change(&mut entries).and_then(|changed| match (changed, &self.folder) {
            (Change::Continue(value), Some(folder)) => file::save(folder, instance, &entries).map(|()| (value, true)),
            (Change::Continue(value), None) => Ok((value, true)),
            (Change::Break(value), _) => Ok((value, false)),
        });
        let entries = if matches!(changed, Ok((_, true))) { entries } else { before };
        // What is on no disk is only here.
        if self.folder.is_some() && loaded.instances.len() >= limits::KV_INSTANCES_LOADED_MAX {
            loaded.drop_oldest();
        }
        loaded.instances.insert(instance.to_owned(), Used { entries, last: loaded.uses });
        changed.map(|(value, _)| value)
    }
}

impl Loaded {
    fn drop_oldest(&mut self) {
        let oldest = self.instances.iter().min_by_key(|(_, used)| used.last).map(|(instance, _)| instance.clone());
        oldest.and_then(|instance| self.instances.remove(&instance));
    }
}

fn sound(key: &str) -> Result<&str, CallError> {
    let wrong = |why: String| Err(CallError::Invalid(format!("key {key:?} {why}")));
    match key.len() {
        0 => wrong("is empty".to_owned()),
        length if length > limits::KV_KEY_BYTES_MAX => {
            wrong(format!("has more than {} bytes", limits::KV_KEY_BYTES_MAX))
        }
        _ if key.chars().any(char::is_control) => wrong("has a control character in it".to_owned()),
        _ => Ok(key),
    }
}

fn reserved(area: &str, key: &str) -> String {
    format!("{RESERVED}{area}/{key}")
}

fn now() -> Seconds {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    fn check(store: &Store) {
        assert_eq!(store.get("a", "k"), Ok(None));
        assert_eq!(store.set("a", "k", b"1".to_vec(), None), Ok(()));
        assert_eq!(store.get("a", "k"), Ok(value("1")));
        assert_eq!(store.get("b", "k"), Ok(None), "another instance's");
        assert_eq!(store.compare_and_set("a", "k", None, b"2".to_vec()), Ok(false));
        assert_eq!(store.compare_and_set("a", "k", value("1"), b"2".to_vec()), Ok(true));
        assert_eq!(store.compare_and_set("a", "new", None, b"2".to_vec()), Ok(true));
        assert_eq!(store.get("a", "k"), Ok(value("2")));
        assert_eq!(store.delete("a", "k"), Ok(()));
        assert_eq!(store.delete("a", "k"), Ok(()));
        assert_eq!(store.get("a", "k"), Ok(None));
    }

    #[test]
    fn keeps_by_instance_and_key() {
        check(&Store::new(None));
        let folder = tempfile::tempdir().expect("tempdir");
        check(&Store::new(Some(folder.path().join("below/state"))));
    }

    #[test]
    fn another_process_finds_it() {
        let folder = tempfile::tempdir().expect("tempdir");
        let store = || Store::new(Some(folder.path().to_owned()));
        let bytes = vec![0, 0xff, b'a'];
        store().set("web/Caf\u{e9} ../x", "k", bytes.clone(), Some(100)).expect("kept");
        assert_eq!(store().get("web/Caf\u{e9} ../x", "k"), Ok(Some(bytes)));
        store().set("web", "gone", b"1".to_vec(), Some(0)).expect("kept");
        assert_eq!(store().get("web", "gone"), Ok(None));
    }

    #[test]
    fn more_instances_than_are_loaded() {
        let folder = tempfile::tempdir().expect("tempdir");
        let store = Store::new(Some(folder.path().to_owned()));
        for index in 0..=limits::KV_INSTANCES_LOADED_MAX {
            store.set(&format!("i{index}"), "k", b"1".to_vec(), None).expect("kept");
        }
        assert_eq!(store.loaded.lock().expect("nobody panicked").instances.len(), limits::KV_INSTANCES_LOADED_MAX);
        assert_eq!(store.get("i0", "k"), Ok(value("1")));
    }

    #[test]
    fn without_an_instance_nothing_is_kept() {
        let store = Store::new(None);
        assert_eq!(store.set("", "k", b"1".to_vec(), None), Ok(()));
        assert_eq!(store.get("", "k"), Ok(None));
        assert!(store.set("", "", Vec::new(), None).is_err());
    }

    #[test]
    fn the_hosts_own_keys_are_not_the_plugins() {
        let store = Store::new(None);
        store.set_reserved("a", "cursor", "x", b"1".to_vec()).expect("kept");
        assert_eq!(store.get_reserved("a", "cursor", "x"), Ok(value("1")));
        for key in ["", "\u{1}cursor/x", "a\nb", &"k".repeat(257)] {
            assert!(matches!(store.get("a", key), Err(CallError::Invalid(_))), "{key:?}");
        }
        assert_eq!(store.get("a", "cursor/x"), Ok(None));
    }

    #[test]
    fn what_could_not_be_written_is_not_there() {
        let folder = tempfile::tempdir().expect("tempdir");
        let blocked = folder.path().join("file");
        std::fs::write(&blocked, "").expect("write");
        let store = Store::new(Some(blocked.join("state")));
        let failed = store.set("a", "k", b"1".to_vec(), None).expect_err("no folder");
        assert!(matches!(&failed, CallError::Other { key, .. } if key == "kv"), "{failed:?}");
    }
}
