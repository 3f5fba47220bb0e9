//! Damage: one fault in one file of a store that was closed in order. The store
//! may mend it or refuse to open; it may not open and be another.

use crate::child::{Closed, Worker, check};
use crate::history::History;
use crate::model::Random;
use crate::rounds::{ACKS_MIN, Cut, Place, Plan, write};
use crate::tally::{Outcome, Tally};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One written folder serves so many.
const DAMAGES_OF_ONE_FOLDER: u64 = 20;
const ZEROED_BYTES_MAX: u64 = 8192;
const ACKS_MORE: u64 = 1500;

#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    recovered: usize,
    detected: usize,
    crashed: usize,
    silent: usize,
}

type Kinds = BTreeMap<String, Outcomes>;

pub fn run(plan: &Plan) -> Tally {
    let (mut tally, mut kinds) = (Tally::default(), Kinds::new());
    let mut round = 0;
    while round < plan.rounds {
        let seed = Random::of(plan.seed, &[round]).draw();
        let end = plan.rounds.min(round + DAMAGES_OF_ONE_FOLDER);
        one_folder(plan, &mut tally, &mut kinds, seed, round..end);
        round = end;
    }
    tally.notes.extend(kinds.iter().map(|(kind, outcomes)| {
        let Outcomes { recovered, detected, crashed, silent } = outcomes;
        format!("{kind:<28}{recovered:>4} recovered {detected:>4} detected {crashed:>4} crashed {silent:>4} SILENT")
    }));
    tally
}

fn one_folder(plan: &Plan, tally: &mut Tally, kinds: &mut Kinds, seed: u64, rounds: std::ops::Range<u64>) {
    let place = Place::new(Cut::Kill);
    let mut history = History::new(seed);
    let written = write_and_close(plan, tally, &place.store(), &mut history, seed);
    if written.is_err() {
        return plan.report(rounds.start, &written, place);
    }
    for round in rounds {
        tally.rounds += 1;
        let copy = Place::new(Cut::Kill);
        copy_folder(&place.store(), &copy.store());
        let mut random = Random::of(plan.seed, &[round, 2]);
        let (kind, what) = damage(&copy.store(), &mut random).expect("damage a file");
        let outcomes = kinds.entry(kind).or_default();
        let outcome = judge(tally, outcomes, &copy.store(), &mut history.clone());
        plan.report(round, &outcome.map_err(|text| format!("{what}: {text}")), copy);
    }
}

/// Fills a folder, ends its writer in order, and sees that all is there.
fn write_and_close(plan: &Plan, tally: &mut Tally, store: &Path, history: &mut History, seed: u64) -> Outcome {
    let mut worker = Worker::start(store, seed, &plan.fails, false);
    let wrote = write(&mut worker, ACKS_MIN + Random::of(seed, &[3]).below(ACKS_MORE));
    worker.ask_to_end();
    let past = worker.end();
    tally.acked += past.acks.len();
    if wrote.is_err() || !past.status.success() {
        return tally.died(format!("{wrote:?}, then {}: {}", past.status, past.text));
    }
    // A look may write: it has a copy.
    let copy = Place::new(Cut::Kill);
    copy_folder(store, &copy.store());
    tally.judge(check(&copy.store()), |state| history.check(&past.acks, state))
}

fn judge(tally: &mut Tally, outcomes: &mut Outcomes, store: &Path, history: &mut History) -> Outcome {
    match check(store) {
        Err(Closed::Refused(text)) => {
            outcomes.detected += 1;
            eprintln!("  detected: {text}");
            Ok(())
        }
        Err(closed @ Closed::Crashed(_)) => {
            outcomes.crashed += 1;
            tally.judge(Err(closed), |_| unreachable!("there is no state"))
        }
        Ok(state) => {
            let outcome = tally.judge(Ok(state), |state| history.check(&[], state));
            if outcome.is_ok() {
                outcomes.recovered += 1
            } else {
                outcomes.silent += 1
            };
            outcome.map_err(|text| format!("SILENT: {text}"))
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status();
    assert!(status.expect("run cp").success(), "copy {}", from.display());
}

/// Damages one file; returns the kind of file with the kind of damage, and both
/// in detail.
fn damage(store: &Path, random: &mut Random) -> io::Result<(String, String)> {
    let mut files = Vec::new();
    list(store, &mut files)?;
    files.sort();
    let path = files.swap_remove(usize::try_from(random.below(files.len() as u64)).unwrap_or(0));
    let length = path.metadata()?.len();
    let at = random.below(length);
    let (word, detail) = match if length == 0 { 3 } else { random.below(4) } {
        0 => ("bit flipped", flip(&path, at, random)?),
        1 => ("zeroed", zero(&path, at, length, random)?),
        2 => {
            File::options().write(true).open(&path)?.set_len(at)?;
            ("truncated", format!("cut to {at} of {length} bytes"))
        }
        _ => {
            std::fs::remove_file(&path)?;
            ("removed", "removed".to_owned())
        }
    };
    let inside = path.strip_prefix(store).unwrap_or(&path);
    Ok((format!("{} {word}", kind(inside)), format!("{} {detail}", inside.display())))
}

fn flip(path: &Path, at: u64, random: &mut Random) -> io::Result<String> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    let bit = random.below(8);
    file.write_all_at(&[byte[0] ^ (1 << bit)], at)?;
    Ok(format!("bit {bit} of byte {at} flipped"))
}

fn zero(path: &Path, at: u64, length: u64, random: &mut Random) -> io::Result<String> {
    let count = random.within(1..=ZEROED_BYTES_MAX).min(length - at);
    let file = File::options().write(true).open(path)?;
    file.write_all_at(&vec![0; usize::try_from(count).unwrap_or(0)], at)?;
    Ok(format!("{count} bytes from {at} zeroed"))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The first part of its path, without a number in it.
fn kind(inside: &Path) -> String {
    let first = inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let first = first.unwrap_or_default();
    let words = first.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    if words.is_empty() { "numbered".to_owned() } else { words.to_owned() }
}
