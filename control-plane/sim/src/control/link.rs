//! What a control plane hears of hosts, and which of them are there.

use super::{Seen, Word};
use crate::plan::{Ms, node};
use crate::wire::{Down, LEASE, Up};
use crate::world::{Event, World};
use hostler_types::TaskReport;

impl World {
    pub fn hears_of(&mut self, index: usize, host: usize, stream: u64, message: Up) {
        if let Up::Hello { tasks, sick } = message {
            return self.opens(index, host, stream, tasks, sick);
        }
        if self.controls[index].live[host] != Some(stream) {
            return;
        }
        match message {
            Up::Task(report) => {
                if self.controls[index].runs.waits_for(&node(host), &report.id) {
                    self.word(index, Word::Report { host, report, kept: None });
                }
            }
            Up::Health(sick) => {
                if sick {
                    self.controls[index].sick.insert(host)
                } else {
                    self.controls[index].sick.remove(&host)
                };
                self.poke_if_held(index);
            }
            Up::Spool { seq, report } => {
                let acked = self.controls[index].store.marks.get(&host).copied().unwrap_or_default();
                if seq <= acked {
                    return self.send_down(stream, Down::Ack { seq: acked });
                }
                self.word(index, Word::Report { host, report, kept: Some((stream, seq)) });
            }
            Up::Hello { .. } => {}
        }
    }

    fn opens(&mut self, index: usize, host: usize, stream: u64, tasks: Vec<TaskReport>, sick: bool) {
        if self.removed.contains(&host) {
            return self.breaks(stream);
        }
        self.tell(|| format!("web{host} is connected to control {index}"));
        let control = &mut self.controls[index];
        control.live[host] = Some(stream);
        (control.seen[host], control.renewed[host]) = (Seen::Ready, self.now);
        if sick {
            control.sick.insert(host)
        } else {
            control.sick.remove(&host)
        };
        let acked = control.store.marks.get(&host).copied().unwrap_or_default();
        self.send_down(stream, Down::Welcome { acked });
        self.send_orders(index, host);
        for report in tasks {
            if self.controls[index].runs.waits_for(&node(host), &report.id) {
                self.word(index, Word::Report { host, report, kept: None });
            }
        }
        self.word(index, Word::Connected { host });
    }

    pub fn send_orders(&mut self, index: usize, host: usize) {
        let Some(stream) = self.controls[index].live[host] else { return };
        self.controls[index].stamp.generation += 1;
        let (stamp, frozen) = (self.controls[index].stamp, self.frozen.contains(&host));
        self.send_down(stream, Down::Orders { stamp, frozen });
    }

    pub fn control_hears(&mut self, stream: u64) {
        let line = &self.streams[&stream];
        let (index, host, life) = (line.control, line.host, line.control_life);
        self.streams.remove(&stream);
        let now = self.now;
        let control = &mut self.controls[index];
        if !control.lives(life) || control.live[host] != Some(stream) {
            return;
        }
        control.live[host] = None;
        if control.seen[host] == Seen::Ready {
            control.seen[host] = Seen::Away;
        }
        control.renewed[host] = now;
        self.at(now + LEASE, Event::LeaseEnds { control: index, life, host, renewed: now });
        self.poke_if_held(index);
    }

    pub fn lease_ends(&mut self, index: usize, life: u32, host: usize, renewed: Ms) {
        let silent = self.hosts[host].cut_up;
        let control = &mut self.controls[index];
        if !control.lives(life) || control.renewed[host] != renewed {
            return;
        }
        if silent || control.live[host].is_none() {
            control.seen[host] = Seen::Lost;
            self.poke_if_held(index);
        }
    }

    /// A stream that was silent goes on.
    pub fn heard_again(&mut self, index: usize, host: usize) {
        let now = self.now;
        let control = &mut self.controls[index];
        if control.up && control.live[host].is_some() {
            (control.seen[host], control.renewed[host]) = (Seen::Ready, now);
            self.poke_if_held(index);
        }
    }
}
