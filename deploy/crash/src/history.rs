//! What a folder must hold: every acknowledged transaction, in the order its
//! revisions give, and of what was in flight all or nothing.

use crate::model::{self, Op, WRITERS};
use crate::state::{Entry, State};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub writer: u32,
    pub seq: u64,
    pub revision: u64,
}

/// A writer and the number of its transaction.
type Name = (u32, u64);

/// How often each wrong was found, and the first of all in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrongs {
    /// Acknowledged, and nothing of it is there.
    pub lost: usize,
    /// A part of a transaction is there, and a part is not.
    pub torn: usize,
    /// What nobody wrote.
    pub invented: usize,
    /// An older write over a newer one, or acknowledgements that run backwards.
    pub order: usize,
    /// The right value under a wrong revision.
    pub revision: usize,
    pub first: Option<String>,
}

impl Wrongs {
    pub fn any(&self) -> bool {
        self.lost + self.torn + self.invented + self.order + self.revision > 0
    }

    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.torn += other.torn;
        self.invented += other.invented;
        self.order += other.order;
        self.revision += other.revision;
        self.first = self.first.take().or_else(|| other.first.clone());
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.first.get_or_insert_with(text);
    }
}

impl fmt::Display for Wrongs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, torn, invented, order, revision, first } = self;
        write!(f, "{lost} lost, {torn} torn, {invented} invented, {order} out of order, {revision} misnumbered")?;
        first.as_ref().map_or(Ok(()), |first| write!(f, "; first: {first}"))
    }
}

/// All that was ever acknowledged on a folder, replayed; grows by one checked
/// round at a time.
#[derive(Clone, Debug)]
pub struct History {
    seed: u64,
    revision: u64,
    /// The newest known transaction of each writer.
    newest: Vec<u64>,
    entries: BTreeMap<String, Entry>,
    /// Who last put or deleted a key.
    touched: BTreeMap<String, Name>,
}

/// One check on its way.
struct Round<'a> {
    before: &'a BTreeMap<String, Entry>,
    next: History,
    state: &'a State,
    order: BTreeMap<u64, Name>,
    lost: BTreeSet<Name>,
    torn: BTreeSet<Name>,
    wrongs: Wrongs,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let newest = vec![0; WRITERS as usize];
        Self { seed, revision: 0, newest, entries: BTreeMap::new(), touched: BTreeMap::new() }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Holds a folder's state against all earlier rounds and the acknowledgements
    /// since. Only a state without wrongs becomes history.
    pub fn check(&mut self, acks: &[Ack], state: &State) -> Wrongs {
        let mut round = Round {
            before: &self.entries,
            next: self.clone(),
            state,
            order: BTreeMap::new(),
            lost: BTreeSet::new(),
            torn: BTreeSet::new(),
            wrongs: Wrongs::default(),
        };
        round.order_acks(acks);
        round.place_in_flight();
        round.look_for_gaps();
        round.replay();
        round.compare();
        let (wrongs, next) = (round.sum(), round.next);
        if !wrongs.any() {
            *self = next;
        }
        wrongs
    }

    fn apply(&mut self, revision: u64, name: Name) {
        for Op { key, value } in model::txn(self.seed, name.0, name.1) {
            let created = self.entries.get(&key).map_or(revision, |entry| entry.created);
            match value {
                Some(value) => self.entries.insert(key.clone(), Entry { value, created, modified: revision }),
                None => self.entries.remove(&key),
            };
            self.touched.insert(key, name);
        }
        self.revision = revision;
        self.newest[name.0 as usize] = name.1;
    }
}

impl Round<'_> {
    fn order_acks(&mut self, acks: &[Ack]) {
        let mut newest: Vec<u64> = vec![self.next.revision; WRITERS as usize];
        for ack in acks {
            let name = (ack.writer, ack.seq);
            let known = &mut self.next.newest[ack.writer as usize];
            if ack.seq != *known + 1 {
                self.wrongs.order += 1;
                let known = *known;
                self.wrongs.note(|| format!("{} was acknowledged after {known}", words(name)));
            }
            self.next.newest[ack.writer as usize] = ack.seq;
            let before = std::mem::replace(&mut newest[ack.writer as usize], ack.revision);
            if ack.revision <= before {
                self.wrongs.order += 1;
                self.wrongs.note(|| format!("{} got revision {} after {before}", words(name), ack.revision));
            }
            if let Some(other) = self.order.insert(ack.revision, name) {
                self.wrongs.revision += 1;
                let other = words(other);
                self.wrongs.note(|| format!("{} and {other} both got revision {}", words(name), ack.revision));
            }
        }
    }

    /// A writer has one transaction in flight at most; if it was applied, the
    /// writer's last key is its.
    fn place_in_flight(&mut self) {
        for writer in 0..WRITERS {
            let known = self.next.newest[writer as usize];
            let Some(entry) = self.state.entries.get(&model::last_key(writer)) else { continue };
            let found = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse::<u64>().ok());
            let Some(found) = found else { continue };
            if found < known {
                self.lost.extend((found + 1..=known).map(|seq| (writer, seq)));
            }
            if found == known + 1 {
                if let Some(other) = self.order.insert(entry.modified, (writer, found)) {
                    self.wrongs.revision += 1;
                    let (this, other) = (words((writer, found)), words(other));
                    self.wrongs.note(|| format!("{this} and {other} both have revision {}", entry.modified));
                }
                self.next.newest[writer as usize] = found;
            }
        }
    }

    fn look_for_gaps(&mut self) {
        let (before, newest) = (self.next.revision, self.state.revision);
        for revision in before + 1..=newest {
            if !self.order.contains_key(&revision) {
                self.wrongs.invented += 1;
                self.wrongs.note(|| format!("nobody wrote revision {revision}"));
            }
        }
        for (revision, name) in self.order.range(newest + 1..) {
            let (revision, name) = (*revision, *name);
            self.lost.insert(name);
            self.wrongs.note(|| format!("{} got revision {revision}, the store is at {newest}", words(name)));
        }
        if newest < before {
            self.wrongs.revision += 1;
            self.wrongs.note(|| format!("the store was at revision {before} and is at {newest}"));
        }
    }

    fn replay(&mut self) {
        for (revision, name) in &self.order {
            self.next.apply(*revision, *name);
        }
        self.next.revision = self.next.revision.max(self.state.revision);
    }

    fn compare(&mut self) {
        let state = self.state;
        let mut whole: BTreeSet<Name> = BTreeSet::new();
        let mut missing: BTreeMap<Name, String> = BTreeMap::new();
        let keys: BTreeSet<String> = self.next.touched.keys().chain(state.entries.keys()).cloned().collect();
        for key in keys {
            let toucher = self.next.touched.get(&key).copied();
            let expected = self.next.entries.get(&key).cloned();
            let found = state.entries.get(&key);
            if expected.as_ref() == found {
                // A key that is not there shows nothing, unless it was there before.
                whole.extend(toucher.filter(|_| found.is_some() || self.before.contains_key(&key)));
            } else if let Some(name) = self.blame(&key, expected.as_ref(), found, toucher) {
                missing.entry(name).or_insert(key);
            }
        }
        for (name, key) in missing {
            let torn = whole.contains(&name);
            if torn {
                self.torn.insert(name)
            } else {
                self.lost.insert(name)
            };
            let what = if torn { "torn" } else { "lost" };
            self.wrongs.note(|| format!("{} is {what}: {key} does not hold what it wrote", words(name)));
        }
    }

    /// Counts what one differing key shows by itself; returns the transaction
    /// whose write is not there, if it is that.
    fn blame(&mut self, key: &str, expected: Option<&Entry>, found: Option<&Entry>, by: Option<Name>) -> Option<Name> {
        let Some(found) = found else {
            let known = by.filter(|name| self.lost.contains(name));
            let Some(name) = self.in_flight_delete(key).filter(|_| known.is_none()) else { return by };
            self.torn.insert(name);
            self.wrongs.note(|| format!("{} was in flight and is torn: {key} is deleted", words(name)));
            return None;
        };
        if expected.is_some_and(|expected| expected.value == found.value) {
            self.wrongs.revision += 1;
            let should = expected.map_or((0, 0), |entry| (entry.created, entry.modified));
            let is = (found.created, found.modified);
            self.wrongs.note(|| format!("{key} was created and modified at {is:?}, and should be at {should:?}"));
            return None;
        }
        let origin = model::origin(self.next.seed, key, &found.value);
        let newest = |writer: u32| self.next.newest.get(writer as usize).copied().unwrap_or(0);
        match origin {
            Some((writer, seq)) if seq == newest(writer) + 1 => {
                self.torn.insert((writer, seq));
                self.wrongs.note(|| format!("{} was in flight and is torn: {key} holds it", words((writer, seq))));
                None
            }
            Some((writer, seq)) if seq <= newest(writer) => {
                if expected.is_some_and(|expected| found.modified > expected.modified) {
                    self.wrongs.order += 1;
                    self.wrongs.note(|| format!("{key} holds {}, written before another", words((writer, seq))));
                    return None;
                }
                by
            }
            _ => {
                self.wrongs.invented += 1;
                self.wrongs.note(|| format!("{key} holds {} bytes that nobody wrote", found.value.len()));
                None
            }
        }
    }

    /// What was in flight, was not applied as a whole, and would delete the key.
    fn in_flight_delete(&self, key: &str) -> Option<Name> {
        let names = (0..WRITERS).zip(&self.next.newest).map(|(writer, newest)| (writer, newest + 1));
        let deletes = |op: &Op| op.value.is_none() && op.key == key;
        names.into_iter().find(|(writer, seq)| model::txn(self.next.seed, *writer, *seq).iter().any(deletes))
    }

    fn sum(&self) -> Wrongs {
        let lost = self.lost.difference(&self.torn).count();
        Wrongs { lost, torn: self.torn.len(), ..self.wrongs.clone() }
    }
}

fn words((writer, seq): Name) -> String {
    format!("transaction {seq} of writer {writer}")
}
