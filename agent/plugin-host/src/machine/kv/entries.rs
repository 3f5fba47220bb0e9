//! The state of one instance: values by their keys, within its share.

use crate::answer::Bytes;
use crate::call::CallError;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Seconds since 1970: times to live go on while nobody runs.
pub(super) type Seconds = u64;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Entries(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    value: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Seconds>,
}

impl Entry {
    fn lives(&self, now: Seconds) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

impl Entries {
    pub(super) fn get(&self, key: &str, now: Seconds) -> Option<&[u8]> {
        self.0.get(key).filter(|entry| entry.lives(now)).map(|entry| entry.value.0.as_slice())
    }

    /// Whether anything changed, or why it may not.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: Vec<u8>,
        expires: Option<Seconds>,
        now: Seconds,
    ) -> Result<bool, CallError> {
        let limit = |says: String| Err(CallError::Limit(says));
        if value.len() > limits::KV_VALUE_BYTES_MAX {
            return limit(format!("a value of {} bytes: at most {}", value.len(), limits::KV_VALUE_BYTES_MAX));
        }
        let entry = Entry { value: Bytes(value), expires };
        if self.0.get(key) == Some(&entry) {
            return Ok(false);
        }
        self.0.retain(|other, old| other != key && old.lives(now));
        if self.0.len() >= limits::KV_KEYS_MAX {
            return limit(format!("more than {} keys", limits::KV_KEYS_MAX));
        }
        let bytes: usize = self.0.iter().map(|(key, entry)| key.len() + entry.value.0.len()).sum();
        if bytes + key.len() + entry.value.0.len() > limits::KV_BYTES_MAX {
            return limit(format!("more than {} bytes in all keys and values", limits::KV_BYTES_MAX));
        }
        self.0.insert(key.to_owned(), entry);
        Ok(true)
    }

    pub(super) fn delete(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}

/// What a change to a copy came to: kept, or left as it was.
pub(super) type Change<T> = ControlFlow<T, T>;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &mut Entries, key: &str, length: usize) -> Result<bool, CallError> {
        entries.set(key, vec![b'x'; length], None, 0)
    }

    #[test]
    fn a_value_lives_as_long_as_it_was_given() {
        let mut entries = Entries::default();
        assert_eq!(entries.set("a", b"1".to_vec(), Some(10), 0), Ok(true));
        assert_eq!(entries.set("a", b"1".to_vec(), Some(10), 0), Ok(false));
        assert_eq!(entries.get("a", 9), Some(b"1".as_slice()));
        assert_eq!(entries.get("a", 10), None);
        assert_eq!(set(&mut entries, "b", 1), Ok(true));
        assert!(entries.delete("b") && !entries.delete("b"));
    }

    #[test]
    fn a_share_has_an_end_and_the_dead_leave_room() {
        let mut entries = Entries::default();
        assert!(set(&mut entries, "a", limits::KV_VALUE_BYTES_MAX + 1).is_err());
        for index in 0..limits::KV_KEYS_MAX {
            assert_eq!(entries.set(&format!("{index}"), Vec::new(), Some(10), 0), Ok(true));
        }
        assert!(matches!(entries.set("more", Vec::new(), None, 9), Err(CallError::Limit(_))));
        assert_eq!(entries.set("more", Vec::new(), None, 10), Ok(true));
        for index in 0..3 {
            assert_eq!(set(&mut entries, &format!("{index}"), limits::KV_VALUE_BYTES_MAX), Ok(true));
        }
        assert!(matches!(set(&mut entries, "3", limits::KV_VALUE_BYTES_MAX), Err(CallError::Limit(_))));
        // One in place of another counts once.
        assert_eq!(entries.set("2", vec![b'y'; limits::KV_VALUE_BYTES_MAX], None, 0), Ok(true));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut entries = Entries::default();
        assert_eq!(set(&mut entries, "a", 1), Ok(true));
        assert!(set(&mut entries, "a", limits::KV_VALUE_BYTES_MAX + 1).is_err());
        assert_eq!(entries.get("a", 0), Some(b"x".as_slice()));
    }
}
