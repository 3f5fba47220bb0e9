//! Connections: in order while they last, and nothing is left of what was on its way
//! when they break. What a host has read may still wait on it then.

use super::plan::{Ms, SECOND};
use super::world::{Event, World};
use hostler_types::{Stamp, TaskId, TaskOffer, TaskReport};
use std::collections::VecDeque;

/// Three heartbeats of three seconds, as both sides have it.
pub const LEASE: Ms = 9 * SECOND;
/// Behind a cut, what was sent is sent again so often.
const RETRANSMIT: Ms = 500;

#[derive(Clone, Debug)]
pub enum Down {
    Welcome {
        acked: u64,
    },
    /// What holds here, signed.
    Orders {
        stamp: Stamp,
        frozen: bool,
    },
    Ack {
        seq: u64,
    },
    Offer(Box<TaskOffer>),
    Cancel {
        id: TaskId,
        stamp: Stamp,
        words: String,
    },
}

#[derive(Clone, Debug)]
pub enum Up {
    Hello { tasks: Vec<TaskReport>, sick: bool },
    Task(TaskReport),
    Health(bool),
    Spool { seq: u64, report: TaskReport },
}

pub struct Stream {
    pub host: usize,
    pub agent_life: u32,
    pub control: usize,
    pub control_life: u32,
    pub broken: bool,
    down: Ms,
    up: Ms,
    spool: Ms,
    /// What a cut holds back: whatever is sent later comes after it.
    held_down: VecDeque<Box<Down>>,
    held_up: VecDeque<Box<Up>>,
}

impl Stream {
    fn up_lane(&mut self, message: &Up) -> &mut Ms {
        if matches!(message, Up::Spool { .. }) { &mut self.spool } else { &mut self.up }
    }
}

impl World {
    pub fn connect(&mut self, host: usize, control: usize) -> u64 {
        self.streams_made += 1;
        let (agent_life, control_life) = (self.hosts[host].life, self.controls[control].life);
        let (held_down, held_up) = (VecDeque::new(), VecDeque::new());
        let (down, up, spool) = (self.now, self.now, self.now);
        let ends =
            Stream { host, agent_life, control, control_life, broken: false, down, up, spool, held_down, held_up };
        self.streams.insert(self.streams_made, ends);
        self.streams_made
    }

    /// Mostly a few milliseconds, and sometimes a second.
    fn delay(&mut self) -> Ms {
        if self.dice.chance(20) { self.dice.between(100, 2_000) } else { self.dice.between(1, 20) }
    }

    pub fn send_down(&mut self, stream: u64, message: Down) {
        let (delay, twice) = (self.delay(), self.dice.chance(20));
        let extra = self.dice.between(1, 5_000);
        let now = self.now;
        let Some(line) = self.streams.get_mut(&stream).filter(|line| !line.broken) else { return };
        line.down = line.down.max(now + delay);
        let at = line.down;
        if twice && matches!(message, Down::Offer(_) | Down::Cancel { .. }) {
            self.at(at + extra, Event::Down { stream, message: Box::new(message.clone()) });
        }
        self.at(at, Event::Down { stream, message: Box::new(message) });
    }

    /// Pictures and the spool go their own ways through an agent.
    pub fn send_up(&mut self, stream: u64, message: Up) {
        let (delay, twice) = (self.delay(), self.dice.chance(20));
        let (extra, lost) = (self.dice.between(1, 5_000), self.dice.chance(50));
        let now = self.now;
        let Some(line) = self.streams.get_mut(&stream).filter(|line| !line.broken) else { return };
        let lane = line.up_lane(&message);
        *lane = (*lane).max(now + delay);
        let at = *lane;
        if matches!(message, Up::Task(_)) && lost {
            return;
        }
        if twice && matches!(message, Up::Task(_) | Up::Spool { .. }) {
            self.at(at + extra, Event::Up { stream, message: Box::new(message.clone()) });
        }
        self.at(at, Event::Up { stream, message: Box::new(message) });
    }

    pub fn comes_down(&mut self, stream: u64, message: Box<Down>) {
        let Some(line) = self.streams.get_mut(&stream).filter(|line| !line.broken) else { return };
        let (host, life) = (line.host, line.agent_life);
        let agent = &self.hosts[host];
        if !agent.up || agent.life != life || agent.stream != Some(stream) {
            return;
        }
        if self.hosts[host].cut_down || !line.held_down.is_empty() {
            return line.held_down.push_back(message);
        }
        self.hears(host, stream, *message);
    }

    pub fn comes_up(&mut self, stream: u64, message: Box<Up>) {
        let Some(line) = self.streams.get_mut(&stream).filter(|line| !line.broken) else { return };
        let (host, control) = (line.host, line.control);
        if !self.controls[control].lives(line.control_life) {
            return;
        }
        if self.hosts[host].cut_up || !line.held_up.is_empty() {
            return line.held_up.push_back(message);
        }
        self.hears_of(control, host, stream, *message);
    }

    /// Both ends hear of it soon; what is on its way is lost.
    pub fn breaks(&mut self, stream: u64) {
        let Some(line) = self.streams.get_mut(&stream).filter(|line| !line.broken) else { return };
        line.broken = true;
        let host = line.host;
        self.tell(|| format!("web{host}: its connection breaks"));
        self.later(1, 300, Event::HostHears { stream });
        self.later(1, 300, Event::ControlHears { stream });
    }

    pub fn cut(&mut self, hosts: Vec<usize>, down: bool, up: bool, span: Ms) {
        for host in hosts.iter().copied() {
            (self.hosts[host].cut_down, self.hosts[host].cut_up) = (down, up);
            if let Some(stream) = self.hosts[host].stream {
                let life = self.hosts[host].life;
                self.later(LEASE, LEASE + 3 * SECOND, Event::GivesUp { host, life, stream });
            }
            if up {
                for control in 0..self.controls.len() {
                    let (life, renewed) = (self.controls[control].life, self.now);
                    self.controls[control].renewed[host] = renewed;
                    self.at(self.now + LEASE, Event::LeaseEnds { control, life, host, renewed });
                }
            }
        }
        self.at(self.now + span, Event::Uncut(hosts));
    }

    pub fn uncut(&mut self, hosts: &[usize]) {
        for host in hosts.iter().copied().filter(|host| self.hosts[*host].is_cut()).collect::<Vec<_>>() {
            self.tell(|| format!("web{host}: can be reached again"));
            (self.hosts[host].cut_down, self.hosts[host].cut_up) = (false, false);
            for control in 0..self.controls.len() {
                self.heard_again(control, host);
            }
            let held = |line: &Stream| line.host == host && !line.broken;
            let streams: Vec<u64> =
                self.streams.iter().filter(|(_, line)| held(line)).map(|(stream, _)| *stream).collect();
            streams.into_iter().for_each(|stream| self.later(0, RETRANSMIT, Event::Resent { stream }));
        }
    }

    /// What was held back comes in the order in which it was sent.
    pub fn resent(&mut self, stream: u64) {
        while let Some(line) = self.streams.get_mut(&stream).filter(|line| !line.broken) {
            let (host, life, control, control_life) = (line.host, line.agent_life, line.control, line.control_life);
            let host_hears = !self.hosts[host].cut_down && self.hosts[host].stream == Some(stream);
            if let Some(message) = line.held_down.pop_front_if(|_| host_hears) {
                if self.lives(host, life) {
                    self.hears(host, stream, *message);
                }
                continue;
            }
            let is_cut = self.hosts[host].cut_up;
            let Some(message) = line.held_up.pop_front_if(|_| !is_cut) else { return };
            if self.controls[control].lives(control_life) {
                self.hears_of(control, host, stream, *message);
            }
        }
    }
}
