//! The checker against states that are right, and against planted wrongs.

use crate::history::{Ack, History, Wrongs};
use crate::model::{self, Random, WRITERS, last_key};
use crate::state::{Entry, State};

const SEED: u64 = 11;

/// A store without a fault, and what it acknowledged.
#[derive(Clone, Default)]
struct Good {
    state: State,
    acks: Vec<Ack>,
}

impl Good {
    fn after(transactions: u64) -> Self {
        let mut good = Self::default();
        let mut random = Random::new(3);
        let mut seqs = vec![0; WRITERS as usize];
        for _ in 0..transactions {
            let writer = u32::try_from(random.below(u64::from(WRITERS))).unwrap();
            seqs[writer as usize] += 1;
            good.commit(writer, seqs[writer as usize], |_| true);
        }
        good
    }

    /// Applies the operations that `keep` lets through.
    fn commit(&mut self, writer: u32, seq: u64, keep: impl Fn(&str) -> bool) {
        self.state.revision += 1;
        let revision = self.state.revision;
        for op in model::txn(SEED, writer, seq).into_iter().filter(|op| keep(&op.key)) {
            let created = self.state.entries.get(&op.key).map_or(revision, |entry| entry.created);
            match op.value {
                Some(value) => self.state.entries.insert(op.key, Entry { value, created, modified: revision }),
                None => self.state.entries.remove(&op.key),
            };
        }
        self.acks.push(Ack { writer, seq, revision });
    }

    fn check(&self) -> Wrongs {
        History::new(SEED).check(&self.acks, &self.state)
    }
}

#[test]
fn a_faultless_store_passes_round_after_round() {
    let good = Good::after(2_000);
    assert_eq!(good.check(), Wrongs::default());
    let mut history = History::new(SEED);
    let first = Good::after(700);
    assert_eq!(history.check(&first.acks, &first.state), Wrongs::default());
    assert_eq!(history.check(&good.acks[700..], &good.state), Wrongs::default());
}

#[test]
fn what_was_in_flight_may_be_there_or_not() {
    let mut good = Good::after(500);
    let mut acked: Vec<Ack> = Vec::new();
    let last = |writer| good.acks.iter().rfind(|ack: &&Ack| ack.writer == writer).copied().unwrap();
    let (one, two) = (last(1), last(2));
    acked.extend(good.acks.iter().filter(|ack| **ack != one && **ack != two));
    good.acks = acked;
    assert_eq!(good.check(), Wrongs::default());
}

#[test]
fn a_lost_tail_is_counted() {
    let mut good = Good::after(500);
    let longer = Good::after(510);
    good.acks = longer.acks;
    let wrongs = good.check();
    assert_eq!((wrongs.lost, wrongs.torn, wrongs.invented), (10, 0, 0), "{wrongs}");
}

#[test]
fn a_lost_one_in_the_middle_is_found() {
    let mut good = Good::after(500);
    let seq = good.acks.iter().filter(|ack| ack.writer == 4).count() as u64;
    good.commit(4, seq + 1, |_| false);
    good.commit(5, good.acks.iter().filter(|ack| ack.writer == 5).count() as u64 + 1, |_| true);
    let wrongs = good.check();
    assert_eq!((wrongs.lost, wrongs.torn), (1, 0), "{wrongs}");
}

/// The next transaction of each writer, of those that put more than its number.
fn next_that_put_more(good: &Good) -> Vec<(u32, u64)> {
    let next = |writer| (writer, good.acks.iter().filter(|ack| ack.writer == writer).count() as u64 + 1);
    let puts_more = |&(writer, seq): &(u32, u64)| {
        let ops = model::txn(SEED, writer, seq);
        ops.iter().any(|op| op.value.is_some() && op.key != last_key(writer))
    };
    (0..WRITERS).map(next).filter(puts_more).collect()
}

#[test]
fn a_torn_one_is_found_acknowledged_or_in_flight() {
    let good = Good::after(500);
    let nexts = next_that_put_more(&good);
    assert!(nexts.len() > 5);
    for (writer, next) in nexts {
        for half in [true, false] {
            let mut torn = good.clone();
            torn.commit(writer, next, |key| (key == last_key(writer)) == half);
            let wrongs = torn.check();
            assert_eq!((wrongs.lost, wrongs.torn), (0, 1), "{wrongs}");
            torn.acks.pop();
            let wrongs = torn.check();
            assert_eq!((wrongs.lost, wrongs.torn), (0, 1), "{wrongs}");
        }
    }
}

#[test]
fn damage_is_invented() {
    let mut good = Good::after(500);
    let key = good.state.entries.keys().find(|key| key.starts_with("/shared/")).cloned().unwrap();
    good.state.entries.get_mut(&key).unwrap().value.push(0);
    good.state.entries.insert("/new".into(), Entry { value: b"1 1 x".to_vec(), created: 1, modified: 1 });
    let wrongs = good.check();
    assert_eq!((wrongs.lost, wrongs.torn, wrongs.invented), (0, 0, 2), "{wrongs}");
}

#[test]
fn a_revision_that_nobody_wrote_is_found() {
    let mut good = Good::after(500);
    good.state.revision += 1;
    assert_eq!(good.check().invented, 1);
}

#[test]
fn wrong_revisions_and_orders_are_told_apart() {
    let good = Good::after(500);
    let mut wrong = good.clone();
    wrong.state.entries.get_mut(&last_key(3)).unwrap().created += 1;
    let wrongs = wrong.check();
    assert_eq!((wrongs.lost, wrongs.revision), (0, 1), "{wrongs}");

    let mut wrong = good.clone();
    let [one, two] =
        [0, 1].map(|nth| wrong.acks.iter().enumerate().filter(|(_, ack)| ack.writer == 3).nth(nth).unwrap().0);
    (wrong.acks[one].revision, wrong.acks[two].revision) = (wrong.acks[two].revision, wrong.acks[one].revision);
    assert!(wrong.check().order > 0);

    let mut wrong = good;
    let (key, old) = wrong.state.entries.iter().find(|(key, _)| key.starts_with("/shared/")).unwrap();
    let (key, modified) = (key.clone(), old.modified);
    let older = wrong.acks.iter().filter(|ack| ack.revision < modified).find_map(|ack| {
        let ops = model::txn(SEED, ack.writer, ack.seq);
        ops.into_iter().find(|op| op.key == key).and_then(|op| op.value)
    });
    if let Some(value) = older {
        let entry = wrong.state.entries.get_mut(&key).unwrap();
        (entry.value, entry.modified) = (value, modified + 1);
        assert_eq!(wrong.check().order, 1);
    }
}

#[test]
fn a_store_that_starts_anew_loses_all() {
    let good = Good::after(500);
    let mut history = History::new(SEED);
    assert!(!history.check(&good.acks, &good.state).any());
    let wrongs = history.check(&[], &State::default());
    assert!(wrongs.any() && wrongs.revision > 0, "{wrongs}");
    let wrongs = History::new(SEED).check(&good.acks, &State::default());
    assert_eq!((wrongs.lost, wrongs.torn, wrongs.invented), (500, 0, 0), "{wrongs}");
}
