//! A state in the place of one that can't be used.

use super::checkpoint::Checkpoint;
use super::journal::Survey;
use super::recover::{self, Decision, Evidence};
use super::state::{Materialised, open_patiently};
use super::{Embedded, Folder, checkpoint, disk, failed, open};
use crate::StoreError;
use std::fs;

/// So much more than the live data may a new state take beside the old one.
const ROOM_TIMES: u64 = 4;

/// Builds a state beside the one that is there, sees that all of it reached the disk,
/// and only then puts it in place. What was there is set aside, with the reason.
pub(super) fn build_in_sled(
    folder: &Folder,
    decision: &Decision,
    checkpoints: &[Checkpoint],
    survey: &Survey,
    why: &str,
) -> Result<(Materialised, Option<std::path::PathBuf>), StoreError> {
    let fresh = folder.root.join("state.new");
    let _ = fs::remove_dir_all(&fresh);
    let mut state = Materialised::open(&fresh, &folder.values())?;
    open::build(&mut state, decision, checkpoints, survey)?;
    state.flush()?;
    let built = state.summary();
    drop(state);
    let before = folder.state();
    let aside = if before.exists() {
        Some(folder.set_aside(&before, why).map_err(failed("set the state aside"))?)
    } else {
        None
    };
    fs::rename(&fresh, &before).map_err(failed("put the new state in place"))?;
    disk::sync_folder("state.rename", &folder.root).map_err(failed("put the new state in place"))?;
    let state = open_patiently(&before, &folder.values())?;
    if state.summary() != built {
        return Err(StoreError::Damaged("the new state came back different".to_owned()));
    }
    Ok((state, aside))
}

impl Embedded {
    /// sled opened again, so that it gives back the memory it took.
    pub(super) fn reopen(&mut self, state: &mut Materialised) -> Result<(), StoreError> {
        self.taken = 0;
        match state.reopen(&self.folder.state()) {
            Ok(()) => Ok(()),
            Err(error) => self.put_right(&error, state),
        }
    }

    /// In sled if the disk takes it, else in memory until it does. Readers get an
    /// error meanwhile, and never less than there is.
    pub(super) fn put_right(&mut self, why: &StoreError, state: &mut Materialised) -> Result<(), StoreError> {
        let why = crate::chain(why);
        tracing::warn!(why, "the state can't be used and is built anew");
        (self.notify)(&format!("the state could not be used ({why}) and is built anew"));
        let live = state.summary().bytes;
        // sled is let go before another is made in its place.
        state.let_go();
        if self.has_room_for(live * ROOM_TIMES) {
            match self.back_to_sled() {
                Ok(rebuilt) => {
                    *state = rebuilt;
                    return Ok(());
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "sled does not take it: in memory until it does"
                ),
            }
        }
        let (survey, decision) = self.decide()?;
        let mut memory = Materialised::in_memory(&self.folder.values());
        open::build(&mut memory, &decision, &self.checkpoints, &survey)?;
        *state = memory;
        Ok(())
    }

    pub(super) fn has_room_in_sled(&self, live: u64) -> bool {
        self.has_room_for(live * ROOM_TIMES)
    }

    pub(super) fn back_to_sled(&self) -> Result<Materialised, StoreError> {
        let (survey, decision) = self.decide()?;
        let built = build_in_sled(&self.folder, &decision, &self.checkpoints, &survey, "failed")?;
        Ok(built.0)
    }

    /// From checkpoints that can be read: one that can't is passed over.
    fn decide(&self) -> Result<(Survey, Decision), StoreError> {
        let survey = Survey::read(&self.folder.journal()).map_err(failed("read the journal"))?;
        let readable = |one: &&Checkpoint| checkpoint::read(one, |_, _| Ok(())).is_ok();
        let good: Vec<&Checkpoint> = self.checkpoints.iter().filter(readable).collect();
        let evidence = Evidence {
            journal: survey.ranges(),
            checkpoints: good.iter().map(|one| (one.start, one.end)).collect(),
            state: None,
            seen: self.checkpoints.iter().map(|one| one.end).max().unwrap_or(0),
        };
        let mut decision = recover::decide(&evidence).map_err(open::lost)?;
        if let recover::Base::Checkpoint(index) = decision.base {
            let chosen = good.get(index).and_then(|one| self.checkpoints.iter().position(|other| other == *one));
            decision.base = chosen.map_or(recover::Base::Nothing, recover::Base::Checkpoint);
        }
        Ok((survey, decision))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Sizes, sorted_files};
    use super::*;
    use crate::Entry;
    use crate::engine::{Backend, Pending, Record, State};
    use std::sync::{Arc, RwLock};
    use std::time::Duration;

    fn put(backend: &mut Embedded, state: &RwLock<Materialised>, revision: u64, key: &str, bytes: usize) {
        let entry = Entry { value: vec![7; bytes].into(), created: revision, modified: revision };
        let writes = vec![(Arc::from(key), Some(Record { entry, lease: None }))];
        let Ok(group) = backend.append(vec![Pending { revision, writes }]) else { panic!("refused") };
        state.write().expect("a lock").apply(&group).expect("applies");
    }

    /// The worst moment: a checkpoint is half written, and nothing can be built anew.
    #[test]
    fn a_repair_that_fails_shows_and_keeps_nothing_shortened() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("store");
        let sizes = Sizes { segment: 16 * 1024, ..Sizes::default() };
        let (mut backend, state) = open::open(Options { sizes, ..Options::new(&root) }).expect("opens");
        let state = Arc::new(RwLock::new(state));
        for revision in 1..=820 {
            let bytes = if revision > 800 { 9_000 } else { 20 };
            put(&mut backend, &state, revision, &format!("/a{revision:04}"), bytes);
        }
        fail::cfg("checkpoint.write", "sleep(150)").expect("a point");
        backend.begin_checkpoint(&state);
        std::thread::sleep(Duration::from_millis(200));
        let journal = sorted_files(&root.join("journal")).expect("lists");
        fs::remove_file(journal.first().expect("a segment")).expect("removes");
        let why = StoreError::Damaged("sled".to_owned());
        assert!(backend.put_right(&why, &mut state.write().expect("a lock")).is_err());
        assert!(state.read().expect("a lock").get("/a0001").is_err(), "an error, and not nothing");
        drop(backend);
        fail::remove("checkpoint.write");
        assert!(sorted_files(&root.join("checkpoints")).expect("lists").is_empty());
        assert_eq!(sorted_files(&root.join("values")).expect("lists").len(), 1, "twenty times the same");
        drop(state);
        fs::remove_dir_all(root.join("state")).expect("removes");
        let error = open::open(Options::new(&root)).err().expect("refused");
        assert!(error.to_string().contains("restore a backup"), "{error}");
    }
}
