//! A host's end of a connection.

use crate::plan::SECOND;
use crate::wire::{Down, Up};
use crate::world::{Event, World};

impl World {
    pub fn dial(&mut self, index: usize, life: u32) {
        if !self.lives(index, life) || self.hosts[index].stream.is_some() || self.removed.contains(&index) {
            return;
        }
        // One that is of a time that is over may be asked still.
        let old = self.main > 0 && self.controls[0].up && self.dice.chance(400);
        let control = if old { 0 } else { self.main };
        if self.hosts[index].is_cut() || !self.controls[control].up {
            return self.later(200, 3 * SECOND, Event::Dial { host: index, life });
        }
        let stream = self.connect(index, control);
        let host = &mut self.hosts[index];
        host.stream = Some(stream);
        let (tasks, sick) = (host.shown.values().cloned().collect(), host.sick);
        self.send_up(stream, Up::Hello { tasks, sick });
        self.measures_soon(index);
    }

    pub fn gives_up(&mut self, index: usize, life: u32, stream: u64) {
        if self.lives(index, life) && self.hosts[index].stream == Some(stream) && self.hosts[index].is_cut() {
            self.breaks(stream);
        }
    }

    pub fn host_hears(&mut self, stream: u64) {
        let Some(index) = self.hosts.iter().position(|host| host.stream == Some(stream)) else { return };
        self.hosts[index].stream = None;
        self.alone_link(index, false);
        let life = self.hosts[index].life;
        self.later(200, 3 * SECOND, Event::Dial { host: index, life });
    }

    pub fn hears(&mut self, index: usize, stream: u64, message: Down) {
        let life = self.hosts[index].life;
        match message {
            Down::Welcome { acked } => {
                // It says what time it is.
                self.measured(index, life);
                self.hosts[index].spool.retain(|(seq, _)| *seq > acked);
                for (seq, report) in self.hosts[index].spool.clone() {
                    self.send_up(stream, Up::Spool { seq, report });
                }
                self.alone_link(index, true);
            }
            Down::Orders { stamp, frozen } => {
                let host = &mut self.hosts[index];
                // Its gatekeeper.
                if host.ruled.is_none_or(|seen| stamp >= seen) {
                    (host.ruled, host.frozen) = (Some(stamp), frozen);
                    self.judge.ruled(index, stamp);
                }
            }
            Down::Ack { seq } => self.hosts[index].spool.retain(|(one, _)| *one > seq),
            ask => {
                let at = self.hosts[index].busy_until.max(self.now) + self.dice.between(0, 3);
                self.hosts[index].busy_until = at;
                self.at(at, Event::Ask { host: index, life, ask: Box::new(ask) });
            }
        }
    }
}
