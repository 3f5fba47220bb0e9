//! Programs, services, and the machine itself: what goes on without the agent.

use super::Place;
use crate::plan::{Ms, SECOND};
use crate::world::{Event, World};
use hostler_agent_core::tasks::{Fate, Input};

impl World {
    pub fn starts(&mut self, index: usize, boot: u32, place: Place, after: Ms, fate: Fate) {
        if !self.hosts[index].powered || self.hosts[index].boot != boot {
            return;
        }
        self.took_effect(index, &place);
        let host = &mut self.hosts[index];
        host.starting.remove(&place);
        host.units.insert(place.clone(), None);
        let (life, (id, step)) = (host.life, place.clone());
        if host.up && host.watched.contains(&place) {
            let input = Box::new(Input::Began { id, step });
            self.later(1, 5, Event::ToAgent { host: index, life, input });
        }
        self.at(self.now + after, Event::Ends { host: index, boot, place, fate });
    }

    pub fn ends(&mut self, index: usize, boot: u32, place: Place, fate: Fate) {
        let host = &mut self.hosts[index];
        if !host.powered || host.boot != boot {
            return;
        }
        let Some(unit) = host.units.get_mut(&place).filter(|unit| unit.is_none()) else { return };
        *unit = Some(fate.clone());
        if host.up && host.watched.contains(&place) {
            self.answer(index, 3, place, fate);
        }
    }

    pub fn stopped(&mut self, index: usize, boot: u32, life: u32, place: Place) {
        let host = &mut self.hosts[index];
        if !host.powered || host.boot != boot {
            return;
        }
        // The executor does one thing after the other with each unit.
        if host.starting.contains(&place) {
            return self.at(self.now + 20, Event::Stopped { host: index, boot, life, place });
        }
        let fate = match host.units.remove(&place) {
            Some(None) => Fate::Signal(15),
            Some(Some(fate)) => fate,
            None => Fate::Unknown("it is not there".into()),
        };
        let (id, step) = place;
        if self.lives(index, life) {
            self.step(index, Input::Ended { id, step, fate, output: None });
        }
    }

    /// By a task, or since the host began.
    pub fn restarts(&mut self, index: usize, boot: u32, place: Option<Place>) {
        let host = &mut self.hosts[index];
        if !host.powered || host.boot != boot {
            return;
        }
        let Some(place) = place else {
            host.service_started = Some(self.now);
            self.judge.booted.insert(index, self.now);
            return;
        };
        let Some(life) = host.restarting.remove(&place) else { return };
        host.service_started = Some(self.now);
        self.took_effect(index, &place);
        if self.lives(index, life) {
            self.answer(index, 100, place, Fate::Done { words: String::new(), changed: true });
        }
    }

    pub fn shuts_down(&mut self, index: usize, boot: u32, place: Place) {
        if !self.hosts[index].powered || self.hosts[index].boot != boot {
            return;
        }
        self.took_effect(index, &place);
        let span = self.dice.between(3 * SECOND, 20 * SECOND);
        self.power_cut(index, span);
    }
}
