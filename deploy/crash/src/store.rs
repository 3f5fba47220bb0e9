//! The store under test: the one place that knows how it is opened and ended.

use crate::model::Op;
use crate::state::{Entry, State};
use hostler_store::{Options, Sizes, Store, StoreError, Txn, open_with};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread that holds the folder for as long as it runs, by the name the
/// kernel knows it by.
const COMMITTER: &str = "store-committer";
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// Small, so that each round begins segments, writes checkpoints, drops what they
/// replace, and opens sled again.
const SIZES: Sizes = Sizes { segment: 96 * 1024, checkpoint_min: 256 * 1024, reopen_min: 1024 * 1024 };

pub fn open(folder: &Path) -> Result<Arc<dyn Store>, StoreError> {
    open_with(Options { sizes: SIZES, ..Options::new(folder) })
}

/// Gives the last handle back, and waits until the folder is let go.
pub fn close(store: Arc<dyn Store>) -> Result<(), String> {
    drop(store);
    let started = Instant::now();
    while threads().iter().any(|name| name == COMMITTER) {
        if started.elapsed() > ENDS_WITHIN {
            return Err(format!("the store still runs {ENDS_WITHIN:?} after its last handle went"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn threads() -> Vec<String> {
    let Ok(folder) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let names = folder.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

pub fn as_txn(ops: Vec<Op>) -> Txn {
    ops.into_iter().fold(Txn::new(), |txn, op| match op.value {
        Some(value) => txn.put(op.key, value),
        None => txn.delete(op.key),
    })
}

/// Opens a folder and reads all of it, by listing and key by key.
pub async fn read_all(folder: &Path) -> Result<(Arc<dyn Store>, State), String> {
    let started = Instant::now();
    let store = open(folder).map_err(|error| words(&error))?;
    let opened_in = started.elapsed();
    let snapshot = store.scan("/", None).await.map_err(|error| words(&error))?;
    let revision = store.revision().await.map_err(|error| words(&error))?;
    let mut state = State { revision, opened_in, ..State::default() };
    if snapshot.revision != revision {
        return Err(format!("the store is at revision {revision} and lists at {}", snapshot.revision));
    }
    for (key, entry) in snapshot.entries {
        if store.get(&key).await.map_err(|error| words(&error))?.as_ref() != Some(&entry) {
            return Err(format!("{key} reads otherwise than it is listed"));
        }
        let entry = Entry { value: entry.value.to_vec(), created: entry.created, modified: entry.modified };
        state.entries.insert(key.to_string(), entry);
    }
    Ok((store, state))
}

/// An error with its sources, on one line.
pub fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text.replace('\n', " ")
}
