//! Errors at chosen places: a failpoint fires after a while, the worker goes on,
//! stops or dies, and the folder is looked at without it.

use crate::child::{Said, Worker, check};
use crate::history::History;
use crate::model::Random;
use crate::rounds::{ACKS_MIN, Cut, Place, Plan, SILENCE_MAX};
use crate::tally::{Outcome, Tally};
use std::time::{Duration, Instant};

/// The store's failpoints, each at a step that can fail or be the last.
pub const POINTS: &[&str] = &[
    "journal.reserve",
    "segment.write",
    "segment.sync",
    "segment.rename",
    "segment.rename-folder",
    "journal.write",
    "journal.sync",
    "journal.remove",
    "value.write",
    "value.sync",
    "value.rename",
    "value.rename-folder",
    "value.remove",
    "checkpoint.write",
    "checkpoint.sync",
    "checkpoint.rename",
    "checkpoint.rename-folder",
    "checkpoint.remove",
    "state.sync",
    "format.write",
    "format.sync",
    "format.rename",
    "format.rename-folder",
    "tail.write",
    "tail.sync",
    "tail.rename",
    "tail.rename-folder",
    "state.rename-folder",
    "aside.rename-folder",
    "root-folder",
];
const ACTIONS: [&str; 3] = ["eio", "enospc", "abort"];
/// On a fresh folder the point is passed often first, on a used one hardly, and then
/// not at all: some are only passed while it opens.
const PASSES_MAX: [u64; 3] = [200, 3, 0];
/// A store that refuses all writes for so long will not change its mind.
const REFUSING: Duration = Duration::from_secs(2);

pub fn run(plan: &Plan) -> Tally {
    let mut tally = Tally::default();
    for round in 0..plan.rounds {
        for (point, name) in (0..).zip(POINTS) {
            for (action, word) in (0..).zip(ACTIONS) {
                let mut random = Random::of(plan.seed, &[round, point, action]);
                let place = Place::new(Cut::Kill);
                let outcome = one(plan, &mut tally, &place, &format!("{name}={word}"), &mut random);
                plan.report(round, &outcome, place);
            }
        }
    }
    tally
}

fn one(plan: &Plan, tally: &mut Tally, place: &Place, point: &str, random: &mut Random) -> Outcome {
    let seed = random.draw();
    let mut history = History::new(seed);
    let (name, word) = point.split_once('=').unwrap_or((point, ""));
    for passes in PASSES_MAX {
        tally.rounds += 1;
        let fail = match passes {
            0 => format!("{name}=return({word})"),
            _ => format!("{name}={}*off->return({word})", random.within(1..=passes)),
        };
        let fails = [plan.fails.clone(), vec![fail.clone()]].concat();
        let mut worker = Worker::start(&place.store(), seed, &fails, false);
        tally.refused += until_over(&mut worker);
        worker.kill();
        let past = worker.end();
        tally.acked += past.acks.len();
        let outcome = tally.judge(check(&place.store()), |state| history.check(&past.acks, state));
        outcome.map_err(|text| format!("{fail}: {text} (the worker: {} {})", past.status, past.text))?;
    }
    Ok(())
}

/// Until it ends, refuses for good, or has shown that it goes on; returns how
/// often it refused.
fn until_over(worker: &mut Worker) -> usize {
    let enough = PASSES_MAX[0] + ACKS_MIN;
    let (mut refused, mut acked) = (0, Instant::now());
    while (worker.acks.len() as u64) < enough {
        match worker.next(SILENCE_MAX) {
            Err(_) | Ok(None | Some(Said::Stopped)) => break,
            Ok(Some(Said::Ack(_))) => acked = Instant::now(),
            Ok(Some(Said::Refused(_))) => {
                refused += 1;
                if acked.elapsed() > REFUSING {
                    break;
                }
            }
            Ok(Some(_)) => {}
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point that is not in the list is not tried.
    #[test]
    fn every_point_of_the_store_is_in_the_list() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../control-plane/store/src/embedded");
        let mut missing = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the store's sources") {
            let text = std::fs::read_to_string(entry.expect("a file").path()).expect("text");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            for call in [
                "write_at(",
                "sync(",
                "reserve(",
                "publish(",
                "remove(",
                "write_whole(",
                "sync_folder(",
                "fail_point!(",
            ] {
                for rest in text.split(call).skip(1) {
                    let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                    let names = name.map(|name| points_of(call, name)).unwrap_or_default();
                    missing.extend(names.into_iter().filter(|name| !POINTS.contains(&name.as_str())));
                }
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    fn points_of(call: &str, name: &str) -> Vec<String> {
        let parts: &[&str] = match call {
            "write_whole(" => &[".write", ".sync", ".rename", ".rename-folder"],
            "publish(" => &["", "-folder"],
            "sync_folder(" => &["-folder"],
            _ => &[""],
        };
        parts.iter().map(|part| format!("{name}{part}")).collect()
    }
}
