//! All schedules, by when there is something to decide: a tick costs what is due, not
//! what there is.

use super::{Decision, Ledger, Schedule, due, next_look};
use hostler_types::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What one tick looks at, in some 10 ms: so long somebody may wait for it, whatever is due.
pub(super) const LOOKS_MAX: usize = 5_000;

/// Schedules by whatever names them. What a tick decides is in its ledgers at once: who
/// can't make it durable builds the timetable anew.
#[derive(Debug)]
pub struct Timetable<K> {
    slots: Vec<Option<Slot<K>>>,
    free: Vec<usize>,
    keys: BTreeMap<K, usize>,
    /// Looks at slots. One counts if its slot still says so.
    looks: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

#[derive(Debug)]
struct Slot<K> {
    key: K,
    schedule: Schedule,
    ledger: Ledger,
    look: Option<Timestamp>,
}

impl<K> Default for Timetable<K> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), keys: BTreeMap::new(), looks: BinaryHeap::new() }
    }
}

impl<K: Ord + Clone> Timetable<K> {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn schedule(&self, key: &K) -> Option<&Schedule> {
        Some(&self.slot(key)?.schedule)
    }

    pub fn ledger(&self, key: &K) -> Option<&Ledger> {
        Some(&self.slot(key)?.ledger)
    }

    /// One that is new here, with what was decided of it before. The next tick looks at it.
    pub fn insert(&mut self, key: K, schedule: Schedule, ledger: Ledger) {
        self.remove(&key);
        let slot = Slot { key: key.clone(), schedule, ledger, look: None };
        let index = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(index) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        self.keys.insert(key, index);
        self.look_at(index, Some(Timestamp::default()));
    }

    /// It is another one from now on. What came due until now is decided as it was.
    pub fn change(&mut self, key: &K, schedule: Schedule, now: Timestamp) -> Vec<Decision> {
        let Some(index) = self.keys.get(key).copied() else {
            self.insert(key.clone(), schedule, Ledger::default());
            return Vec::new();
        };
        let decisions = self.decide(index, now);
        if let Some(slot) = self.slot_mut(index) {
            slot.schedule = schedule;
        }
        self.look_at(index, Some(Timestamp::default()));
        decisions
    }

    pub fn remove(&mut self, key: &K) -> Option<Ledger> {
        let index = self.keys.remove(key)?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.free.push(index);
        Some(slot.ledger)
    }

    /// The run of this fire ended: what waited for that can be looked at.
    pub fn finished(&mut self, key: &K, fire: Timestamp) {
        let Some(index) = self.keys.get(key).copied() else { return };
        let Some(slot) = self.slot_mut(index) else { return };
        slot.ledger.finished(fire);
        if !slot.ledger.waiting.is_empty() {
            self.look_at(index, Some(Timestamp::default()));
        }
    }

    /// When the next tick has something to do, unless something changes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        // A look that does not count any more wakes for nothing, once.
        self.looks.peek().map(|Reverse((at, _))| *at)
    }

    /// Where more is due than one tick looks at, the next deadline has come already.
    pub fn tick(&mut self, now: Timestamp) -> Vec<(K, Decision)> {
        let mut decided = Vec::new();
        let mut looked = Vec::new();
        let is_due = |Reverse((at, _)): &Reverse<(Timestamp, usize)>| *at <= now;
        while looked.len() < LOOKS_MAX
            && let Some(Reverse((at, index))) = self.looks.peek().copied().filter(is_due)
        {
            self.looks.pop();
            if self.slot_mut(index).is_some_and(|slot| slot.look.take_if(|look| *look == at).is_some()) {
                looked.push(index);
            }
        }
        for index in looked {
            let decisions = self.decide(index, now);
            let Some(slot) = self.slot_mut(index) else { continue };
            decided.extend(decisions.into_iter().map(|decision| (slot.key.clone(), decision)));
            let look = next_look(&slot.schedule, &slot.ledger, now);
            self.look_at(index, look);
        }
        decided
    }

    fn decide(&mut self, index: usize, now: Timestamp) -> Vec<Decision> {
        let Some(slot) = self.slot_mut(index) else { return Vec::new() };
        let decisions = due(&slot.schedule, &slot.ledger, now);
        decisions.iter().for_each(|decision| slot.ledger.record(decision));
        decisions
    }

    fn look_at(&mut self, index: usize, look: Option<Timestamp>) {
        let Some(slot) = self.slot_mut(index) else { return };
        if slot.look == look {
            return;
        }
        slot.look = look;
        if let Some(at) = look {
            self.looks.push(Reverse((at, index)));
        }
        // Looks that do not count any more: never more than those that do.
        if self.looks.len() > 2 * self.slots.len() + 64 {
            let counts = |(index, slot): (usize, &Option<Slot<K>>)| Some(Reverse((slot.as_ref()?.look?, index)));
            self.looks = self.slots.iter().enumerate().filter_map(counts).collect();
        }
    }

    fn slot(&self, key: &K) -> Option<&Slot<K>> {
        self.slots.get(*self.keys.get(key)?)?.as_ref()
    }

    fn slot_mut(&mut self, index: usize) -> Option<&mut Slot<K>> {
        self.slots.get_mut(index)?.as_mut()
    }
}
