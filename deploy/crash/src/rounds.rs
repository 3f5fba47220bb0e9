//! Kills and power cuts: write, cut, look, and go on with the same folder.

use crate::child::{Said, Worker, check};
use crate::disk::{Disk, fresh_folder};
use crate::history::History;
use crate::model::Random;
use crate::tally::{Outcome, Tally};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A folder's history grows for so long, and then a fresh one begins.
const ROUNDS_OF_ONE_FOLDER: u64 = 25;
/// Room for the state, its journal, and what was superseded of both.
const DISK_MIB: u32 = 512;
pub const ACKS_MIN: u64 = 500;
const ACKS_MORE: u64 = 1000;
/// Some rounds are cut while the store still opens.
const EARLY_ONE_IN: u64 = 5;
const EARLY_MS_MAX: u64 = 80;
/// A worker that acknowledges nothing for so long hangs.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Kill,
    Power,
}

/// Where a store lives.
pub enum Place {
    Folder(TempDir),
    Disk(Disk),
}

impl Place {
    pub fn new(cut: Cut) -> Self {
        match cut {
            Cut::Kill => Self::Folder(fresh_folder()),
            Cut::Power => Self::Disk(Disk::new(DISK_MIB)),
        }
    }

    pub fn store(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.path().join("store"),
            Self::Disk(disk) => disk.path().join("store"),
        }
    }

    fn cut(&self, worker: &mut Worker) {
        match self {
            Self::Folder(_) => worker.kill(),
            Self::Disk(disk) => disk.power_cut(worker.pid(), || worker.end_now()),
        }
    }

    /// Where somebody can look at what was wrong.
    pub fn keep(self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.keep(),
            Self::Disk(disk) => disk.keep(),
        }
    }
}

/// What every mode is told.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: u64,
    pub seed: u64,
    pub fails: Vec<String>,
    /// The first wrong is what the run is for.
    pub planted: bool,
}

impl Plan {
    /// Says what a round found, with all that is needed to look into it.
    pub fn report(&self, round: u64, outcome: &Outcome, place: Place) {
        if let Err(text) = outcome {
            let kept = if self.planted { "not kept".to_owned() } else { place.keep().display().to_string() };
            eprintln!("round {round} of seed {}: {text}\n  folder: {kept}", self.seed);
        }
    }
}

pub fn run(plan: &Plan, cut: Cut) -> Tally {
    let mut tally = Tally::default();
    let mut round = 0;
    while round < plan.rounds && !(plan.planted && tally.wrongs.any()) {
        let seed = Random::of(plan.seed, &[round]).draw();
        let end = plan.rounds.min(round + ROUNDS_OF_ONE_FOLDER);
        round = one_folder(plan, &mut tally, cut, seed, round..end);
    }
    tally
}

/// Rounds on one folder until they are through or one went wrong; returns the
/// next round.
fn one_folder(plan: &Plan, tally: &mut Tally, cut: Cut, seed: u64, rounds: std::ops::Range<u64>) -> u64 {
    let place = Place::new(cut);
    let mut history = History::new(seed);
    for round in rounds.clone() {
        let mut random = Random::of(plan.seed, &[round, 1]);
        let outcome = one_round(plan, tally, &place, &mut history, seed, &mut random);
        if outcome.is_err() {
            plan.report(round, &outcome, place);
            return round + 1;
        }
    }
    rounds.end
}

fn one_round(
    plan: &Plan,
    tally: &mut Tally,
    place: &Place,
    history: &mut History,
    seed: u64,
    random: &mut Random,
) -> Outcome {
    tally.rounds += 1;
    let mut worker = Worker::start(&place.store(), seed, &plan.fails, false);
    let wrote = if !plan.planted && random.one_in(EARLY_ONE_IN) {
        std::thread::sleep(Duration::from_millis(random.below(EARLY_MS_MAX)));
        Ok(())
    } else {
        write(&mut worker, ACKS_MIN + random.below(ACKS_MORE))
    };
    place.cut(&mut worker);
    let past = worker.end();
    tally.acked += past.acks.len();
    if let Err(text) = wrote {
        let text = format!("{text}: {}: {}", past.status, past.text);
        return tally.died(text);
    }
    tally.judge(check(&place.store()), |state| history.check(&past.acks, state))
}

/// Until so many are acknowledged.
pub fn write(worker: &mut Worker, acks: u64) -> Outcome {
    let wanted = worker.acks.len() + usize::try_from(acks).unwrap_or(0);
    while worker.acks.len() < wanted {
        match worker.next(SILENCE_MAX) {
            Err(_) => return Err("the worker ended by itself".into()),
            Ok(None) => return Err(format!("the worker said nothing for {SILENCE_MAX:?}")),
            Ok(Some(Said::Stopped)) => return Err("the store stopped".into()),
            Ok(Some(_)) => {}
        }
    }
    Ok(())
}
