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
    let mut checkpoints = checkpoint::list(&folder.checkpoints()).map_err(failed("list the checkpoints"))?;
    let found = probe::try_state(&folder, &options.probe);
    let notify = Arc::clone(&options.notify);
    let tell = |text: String| {
        tracing::warn!("{text}");
        notify(&text);
    };
    let mut reason = None;
    let revision = match found {
        Ok(revision) => Some(revision),
        Err(why) => {
            reason = Some(why);
            None
        }
    };
    let mut seen = 0;
    let mut bad: Vec<(Checkpoint, String)> = Vec::new();
    // Nothing is moved before something was found that all of it can be had from.
    let (state, decision) = loop {
        let evidence = Evidence {
            journal: survey.ranges(),
            checkpoints: checkpoints.iter().map(|one| (one.start, one.end)).collect(),
            state: revision.filter(|_| reason.is_none()),
            seen,
        };
        let decision = recover::decide(&evidence).map_err(lost)?;
        seen = decision.newest;
        match make_state(&folder, &decision, &checkpoints, &survey, reason.as_deref(), &tell) {
            Ok(state) => break (state, decision),
            Err(Trouble::Checkpoint(index, why)) => bad.push((checkpoints.remove(index), why)),
            Err(Trouble::State(why)) => reason = Some(why),
            Err(Trouble::Other(error)) => return Err(error),
        }
    };
    for (bad, why) in bad {
        let to = folder.set_aside(&bad.path, "damaged").map_err(failed("set a checkpoint aside"))?;
        tell(format!("a checkpoint can't be used ({why}); it was moved to {}", to.display()));
    }
    finish(folder, lock, state, &decision, checkpoints, &survey, (options.notify, options.sizes), &tell)
}

#[allow(clippy::too_many_arguments)]
fn finish(
    folder: Folder,
    lock: File,
    state: Materialised,
    decision: &Decision,
    checkpoints: Vec<Checkpoint>,
    survey: &Survey,
    (notify, sizes): (Notify, Sizes),
    tell: &impl Fn(String),
) -> Result<(Embedded, Materialised), StoreError> {
    let values = Values::open(folder.values()).map_err(failed("open the large values"))?;
    let newest = checkpoints.first().map_or(0, |newest| newest.start);
    let mut journal = Journal::go_on(&folder.journal(), survey, newest, sizes.segment);
    let mut checkpoints = checkpoints;
    let mut state = state;
    if decision.journal_lacks {
        (state, checkpoints) = begin_anew(&folder, state, survey)?;
        journal = Journal::go_on(&folder.journal(), &Survey::default(), decision.newest, sizes.segment);
        tell(format!(
            "the journal was damaged; nothing is lost: the state at revision {} was whole, and a new journal goes on from it",
            decision.newest
        ));
    } else {
        survey.settle_tail().map_err(failed("end the journal's last segment"))?;
    }
    let backend = Embedded {
        folder,
        _lock: lock,
        sizes,
        journal,
        values,
        checkpoints,
        writing: None,
        snapshots: Vec::new(),
        not_before: None,
        unflushed: true,
        refusing_since: None,
        taken: 0,
        notify,
    };
    Ok((backend, state))
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

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

fn make_state(
    folder: &Folder,
    decision: &Decision,
    checkpoints: &[Checkpoint],
    survey: &Survey,
    reason: Option<&str>,
    tell: &impl Fn(String),
) -> Result<Materialised, Trouble> {
    if decision.base == Base::State {
        let mut state = probe::open_state(folder).map_err(Trouble::State)?;
        if state.summary().revision != decision.after {
            return Err(Trouble::State("it opened twice and differed".to_owned()));
        }
        bring_on(&mut state, decision.after, survey).map_err(|error| Trouble::State(crate::chain(&error)))?;
        return Ok(state);
    }
    let why = reason.unwrap_or("it is behind what the journal leads to");
    let built = rebuild::build_in_sled(folder, decision, checkpoints, survey, "unusable");
    let (state, aside) = built.map_err(|error| match (&error, decision.base) {
        (StoreError::Damaged(why), Base::Checkpoint(index)) => Trouble::Checkpoint(index, why.clone()),
        _ => Trouble::Other(error),
    })?;
    if let Some(to) = aside {
        tell(format!("the state can't be used ({why}); it was moved to {} and is built anew", to.display()));
    }
    Ok(state)
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
