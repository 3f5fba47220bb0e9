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
];
const ACTIONS: [&str; 3] = ["eio", "enospc", "abort"];
/// On a fresh folder the point is passed often first, on a used one hardly.
const PASSES_MAX: [u64; 2] = [200, 3];
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
        let fail = format!("{name}={}*off->return({word})", random.within(1..=passes));
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
