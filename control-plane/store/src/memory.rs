//! A store that forgets: for tests, the simulator, and to say what the others
//! must do.

use crate::engine::{Backend, Engine, Record};
use crate::{Revision, Store, StoreError};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

#[derive(Default)]
struct Memory {
    records: BTreeMap<Arc<str>, Record>,
}

pub fn open_memory() -> Result<Arc<dyn Store>, StoreError> {
    Ok(Engine::start(Memory::default(), 0)?)
}

impl Backend for Memory {
    fn describe(&self) -> &'static str {
        "memory, forgets"
    }

    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.records.get(key).cloned())
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let under = self.records.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, record)| (Arc::clone(key), record.clone())).collect())
    }

    fn apply(&mut self, _: Revision, writes: &[(Arc<str>, Option<Record>)]) -> Result<(), StoreError> {
        for (key, record) in writes {
            match record {
                Some(record) => self.records.insert(Arc::clone(key), record.clone()),
                None => self.records.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
