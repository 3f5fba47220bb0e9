//! A store that forgets: for tests, the simulator, and to say what the others
//! must do.

use crate::engine::{Backend, Engine, Failure, Pending, Record, SnapshotWanted, State};
use crate::{LeaseId, Revision, Store, StoreError};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

#[derive(Default)]
pub(crate) struct Memory {
    records: BTreeMap<Arc<str>, Record>,
}

struct Forgetful;

pub fn open_memory() -> Result<Arc<dyn Store>, StoreError> {
    Ok(Engine::start(Forgetful, Memory::default(), 0)?)
}

impl State for Memory {
    type Group = Vec<Pending>;

    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.records.get(key).cloned())
    }

    fn stamp(&self, key: &str) -> Result<Option<(Revision, Revision)>, StoreError> {
        Ok(self.records.get(key).map(|record| (record.entry.created, record.entry.modified)))
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(Arc<str>, Record)>, StoreError> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let under = self.records.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, record)| (Arc::clone(key), record.clone())).collect())
    }

    fn leased(&self) -> Result<Vec<(Arc<str>, LeaseId)>, StoreError> {
        let leased = |(key, record): (&Arc<str>, &Record)| Some((Arc::clone(key), record.lease?));
        Ok(self.records.iter().filter_map(leased).collect())
    }

    fn apply(&mut self, group: &Vec<Pending>) -> Result<(), StoreError> {
        for (key, record) in group.iter().flat_map(|pending| &pending.writes) {
            match record {
                Some(record) => self.records.insert(Arc::clone(key), record.clone()),
                None => self.records.remove(key),
            };
        }
        Ok(())
    }
}

impl Backend for Forgetful {
    type State = Memory;

    fn describe(&self) -> &'static str {
        "memory, forgets"
    }

    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn append(&mut self, commits: Vec<Pending>) -> Result<Vec<Pending>, Failure> {
        Ok(commits)
    }

    fn repair(&mut self, failed: StoreError, _: &mut Memory) -> Result<(), StoreError> {
        Err(failed)
    }

    fn snapshot(&mut self, wanted: SnapshotWanted, _: &Arc<RwLock<Memory>>) -> Result<(), StoreError> {
        let _ = wanted.reply.send(Err(StoreError::NothingKept("a store in memory")));
        Ok(())
    }

    fn tend(&mut self, _: &Arc<RwLock<Memory>>) -> Result<(), StoreError> {
        Ok(())
    }

    fn rest(&mut self, _: &Arc<RwLock<Memory>>) -> Result<bool, StoreError> {
        Ok(false)
    }
}
