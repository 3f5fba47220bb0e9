//! Opening: what lies there is looked at before anything is believed.

use super::checkpoint::{self, Checkpoint};
use super::journal::{Journal, Survey};
use super::recover::{self, Base, Decision, Evidence, Loss};
use super::state::Materialised;
use super::values::Values;
use super::{Embedded, Folder, Notify, Sizes, disk, failed, migrate, probe, rebuild};
use crate::engine::Engine;
use crate::{Revision, Store, StoreError};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// The layout of the folder.
pub(super) const FORMAT: u32 = 1;
/// Records put into a new state at a time.
const BATCH: usize = 500;

/// How sled is tried before it is opened here: it may panic.
#[derive(Clone, Debug)]
pub enum Probe {
    InProcess,
    /// A program and arguments that call [`probe()`] with the folder that is added
    /// to them.
    Child(Vec<OsString>),
}

#[derive(Clone)]
pub struct Options {
    pub folder: PathBuf,
    pub probe: Probe,
    pub notify: Notify,
    pub sizes: Sizes,
}

impl Options {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), probe: Probe::InProcess, notify: Arc::new(|_| {}), sizes: Sizes::default() }
    }
}

pub fn open_embedded(folder: &Path) -> Result<Arc<dyn Store>, StoreError> {
    open_with(Options::new(folder))
}

pub fn open_with(options: Options) -> Result<Arc<dyn Store>, StoreError> {
    let (backend, state) = open(options)?;
    let revision = state.summary().revision;
    Ok(Engine::start(backend, state, revision)?)
}

pub(super) fn lost(loss: Loss) -> StoreError {
    StoreError::Lost(format!("revisions {} to {}; restore a backup", loss.first, loss.newest))
}

pub(super) fn open(options: Options) -> Result<(Embedded, Materialised), StoreError> {
    let folder = Folder { root: options.folder };
    disk::make_folder(&folder.root).map_err(failed("make the store's folder"))?;
    let lock = folder.lock()?;
    folder.check_owner()?;
    migrate::prepare(&folder)?;
    for part in [folder.journal(), folder.checkpoints(), folder.values()] {
        disk::make_folder(&part).map_err(failed("make the store's folders"))?;
    }
    let parent = folder.root.parent().map_or_else(|| folder.root.clone(), Path::to_owned);
    for folder in [&folder.root, &parent] {
        disk::sync_folder("root", folder).map_err(failed("make the store's folders"))?;
    }
    let survey = Survey::read(&folder.journal()).map_err(failed("read the journal"))?;
    let checkpoints = checkpoint::list(&folder.checkpoints()).map_err(failed("list the checkpoints"))?;
    let tried = probe::try_state(&folder, &options.probe);
    let opening = Opening { folder, lock, survey, checkpoints, notify: options.notify, sizes: options.sizes };
    opening.recover(tried)
}

/// What was found, while it is decided what to make of it.
struct Opening {
    folder: Folder,
    lock: File,
    survey: Survey,
    checkpoints: Vec<Checkpoint>,
    notify: Notify,
    sizes: Sizes,
}

impl Opening {
    fn tell(&self, text: &str) {
        tracing::warn!("{text}");
        (self.notify)(text);
    }

    /// Nothing is moved before something was found that all of it can be had from.
    fn recover(mut self, mut tried: Result<Revision, String>) -> Result<(Embedded, Materialised), StoreError> {
        let mut seen = 0;
        let mut bad: Vec<(Checkpoint, String)> = Vec::new();
        let (state, decision) = loop {
            let decision = recover::decide(&Evidence {
                journal: self.survey.ranges(),
                checkpoints: self.checkpoints.iter().map(|one| (one.start, one.end)).collect(),
                state: tried.as_ref().ok().copied(),
                seen,
            });
            let decision = decision.map_err(lost)?;
            seen = decision.newest;
            match self.make_state(&decision, tried.as_ref().err().map(String::as_str)) {
                Ok(state) => break (state, decision),
                Err(Trouble::Checkpoint(index, why)) => bad.push((self.checkpoints.remove(index), why)),
                Err(Trouble::State(why)) => tried = Err(why),
                Err(Trouble::Other(error)) => return Err(error),
            }
        };
        for (bad, why) in bad {
            let to = self.folder.set_aside(&bad.path, "damaged").map_err(failed("set a checkpoint aside"))?;
            self.tell(&format!("a checkpoint can't be used ({why}); it was moved to {}", to.display()));
        }
        self.finish(state, &decision)
    }

    fn make_state(&self, decision: &Decision, reason: Option<&str>) -> Result<Materialised, Trouble> {
        if decision.base == Base::State {
            let mut state = probe::open_state(&self.folder).map_err(Trouble::State)?;
            if state.summary().revision != decision.after {
                return Err(Trouble::State("it opened twice and differed".to_owned()));
            }
            let brought = bring_on(&mut state, decision.after, &self.survey);
            brought.map_err(|error| Trouble::State(crate::chain(&error)))?;
            return Ok(state);
        }
        let built = rebuild::build_in_sled(&self.folder, decision, &self.checkpoints, &self.survey, "unusable");
        let (state, aside) = built.map_err(|error| match (&error, decision.base) {
            (StoreError::Damaged(why), Base::Checkpoint(index)) => Trouble::Checkpoint(index, why.clone()),
            _ => Trouble::Other(error),
        })?;
        if let Some(to) = aside {
            let why = reason.unwrap_or("it is behind what the journal leads to");
            let to = to.display();
            self.tell(&format!("the state can't be used ({why}); it was moved to {to} and is built anew"));
        }
        Ok(state)
    }

    fn finish(mut self, mut state: Materialised, decision: &Decision) -> Result<(Embedded, Materialised), StoreError> {
        if decision.journal_lacks {
            (state, self.checkpoints) = begin_anew(&self.folder, state, &self.survey)?;
            self.survey = Survey::default();
            let newest = decision.newest;
            self.tell(&format!(
                "the journal was damaged; nothing is lost: the state at revision {newest} was whole, and a new journal goes on from it"
            ));
        } else {
            self.survey.settle_tail().map_err(failed("end the journal's last segment"))?;
        }
        let newest = self.checkpoints.first().map_or(0, |newest| newest.start);
        let journal = Journal::go_on(&self.folder.journal(), &self.survey, newest, self.sizes.segment);
        let values = Values::open(self.folder.values()).map_err(failed("open the large values"))?;
        let backend = Embedded {
            folder: self.folder,
            _lock: self.lock,
            sizes: self.sizes,
            journal,
            values,
            checkpoints: self.checkpoints,
            writing: None,
            snapshots: Vec::new(),
            not_before: None,
            unflushed: true,
            refusing_since: None,
            taken: 0,
            notify: self.notify,
        };
        Ok((backend, state))
    }
}

/// A checkpoint of a state that the journal does not lead to, and no journal.
fn begin_anew(
    folder: &Folder,
    state: Materialised,
    survey: &Survey,
) -> Result<(Materialised, Vec<Checkpoint>), StoreError> {
    let state = RwLock::new(state);
    let written = checkpoint::write(&folder.checkpoints(), &state)?;
    let state = state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    checkpoint::prove(&written, &state)?;
    for segment in &survey.segments {
        folder.set_aside(&segment.path, "journal-damaged").map_err(failed("set the journal aside"))?;
    }
    let list = checkpoint::list(&folder.checkpoints()).map_err(failed("list the checkpoints"))?;
    // What is older has no journal to lead on from it.
    for old in list.iter().filter(|one| one.path != written.checkpoint.path) {
        disk::remove("checkpoint.remove", &old.path).map_err(failed("remove an old checkpoint"))?;
    }
    Ok((state, vec![written.checkpoint]))
}

enum Trouble {
    Checkpoint(usize, String),
    State(String),
    Other(StoreError),
}

pub(super) fn build(
    state: &mut Materialised,
    decision: &Decision,
    checkpoints: &[Checkpoint],
    survey: &Survey,
) -> Result<(), StoreError> {
    if let Base::Checkpoint(index) = decision.base
        && let Some(checkpoint) = checkpoints.get(index)
    {
        load(state, checkpoint)?;
    }
    bring_on(state, decision.after, survey)
}

fn load(state: &mut Materialised, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let mut batch: Vec<(Arc<str>, Arc<[u8]>)> = Vec::new();
    let _ = checkpoint::read(checkpoint, |key, record| {
        batch.push((Arc::from(key), Arc::from(record)));
        if batch.len() >= BATCH {
            state.load(&batch)?;
            batch.clear();
        }
        Ok(())
    })?;
    state.load(&batch)?;
    state.seal(checkpoint.start)
}

fn bring_on(state: &mut Materialised, after: Revision, survey: &Survey) -> Result<(), StoreError> {
    survey.replay(after, |frame| {
        let commits = frame.commits.into_iter().filter(|commit| commit.revision > after).collect();
        crate::engine::State::apply(state, &super::Group { commits })
    })
}
