//! What people do: they ask for runs, hold them, shut nodes out, set clocks, and begin
//! a control plane anew from a copy.

use super::control::{Control, Word};
use super::plan::{Ms, SECOND, Wish};
use super::store::Store;
use super::world::{Event, World};
use hostler_core::runs::Verb;

/// One that is younger is no copy: the records are the same, and another process has them.
const TAKEN_OVER: Ms = 10 * SECOND;

impl World {
    /// Who gets no answer asks again.
    pub fn wish(&mut self, wish: Wish) {
        self.begun += 1;
        if self.controls[self.main].up {
            self.word(self.main, Word::Begin(Box::new(wish), None));
        } else {
            self.begun -= 1;
            self.at(self.now + SECOND, Event::Deed(super::plan::Deed::Begin(Box::new(wish))));
        }
    }

    pub fn operator(&mut self, number: u64, verb: Verb) {
        self.word(self.main, Word::Control { number, verb });
    }

    pub fn control_clock(&mut self, by: i64) {
        for control in &mut self.controls {
            control.skew += by;
        }
        self.judge.clock_set = self.now;
        (0..self.hosts.len()).for_each(|host| self.measures_soon(host));
    }

    pub fn freeze(&mut self, host: usize, on: bool) {
        let changed = if on { self.frozen.insert(host) } else { self.frozen.remove(&host) };
        if changed && self.controls[self.main].up {
            self.send_orders(self.main, host);
        }
    }

    pub fn remove(&mut self, host: usize) {
        self.removed.insert(host);
        if let Some(stream) = self.hosts[host].stream {
            self.breaks(stream);
        }
    }

    /// The first one goes on with what it knows; the second rules from now on.
    pub fn split(&mut self, age: Ms, span: Ms) {
        if self.main > 0 {
            return;
        }
        let old = &self.controls[0];
        let (mut stamp, mut store) = (old.stamp, old.store.clone());
        if age < TAKEN_OVER {
            stamp.term += 1;
        } else {
            stamp.lineage += 1;
            let before = self.now.saturating_sub(age);
            let copy = old.backups.iter().rev().find(|(at, _)| *at <= before);
            store = copy.map_or_else(Store::default, |(_, store)| store.clone());
        }
        // Its first start makes the term one more.
        stamp.term -= 1;
        let skew = old.skew;
        self.controls.push(Control::beside(stamp, store, skew));
        self.main = 1;
        self.controls[0].dies_in = None;
        if self.controls[0].up {
            self.at(self.now + span, Event::ControlEnds { control: 0 });
        }
        self.control_begins(1);
    }
}
