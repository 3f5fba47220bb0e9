//! What is to be done now, for how things stand.

use super::machine::Supervisor;
use super::replica::{Phase, Replica};
use super::service::{Ladder, Service};
use super::words::span;
use super::{Effect, Key, THEIRS_AGAIN};
use hostler_types::spec::OnNeeds;
use hostler_types::{Deed, Name, Now};
use std::time::Duration;

impl Supervisor {
    pub(super) fn reconcile_one(&mut self, now: Now, key: &Key) {
        let Some(service) = self.services.get(&key.service) else { return };
        let surplus = key.replica >= service.assignment.replicas;
        let wanted = service.wanted() && !surplus;
        let (fingerprint, adopted) = (service.fingerprint, service.is_adopted());
        let Some(replica) = self.replica(key) else { return };
        if replica.not_before <= now.monotonic {
            replica.not_before = Duration::ZERO;
        }
        match replica.phase.clone() {
            Phase::LookAt(at) | Phase::Theirs { until: at } if at <= now.monotonic => {
                if !matches!(replica.phase, Phase::Theirs { .. }) {
                    replica.enter(now, Phase::Unknown);
                } else {
                    replica.phase = Phase::Theirs { until: now.monotonic.saturating_add(THEIRS_AGAIN) };
                }
                self.effects.push(Effect::Look { key: key.clone() });
            }
            Phase::Down | Phase::Waiting(_) | Phase::Held { again: None, .. } if wanted => self.start(now, key),
            Phase::Held { again: Some(at), .. } | Phase::Backoff { until: at, .. } if wanted && at <= now.monotonic => {
                self.start(now, key);
            }
            Phase::Waiting(_) | Phase::Held { .. } | Phase::Backoff { .. } | Phase::Theirs { .. } if !wanted => {
                replica.enter(now, Phase::Down);
            }
            Phase::Up if !replica.not_before.is_zero() => {}
            Phase::Up if !wanted => self.stop(now, key),
            Phase::Up if replica.bounce => self.stop(now, key),
            Phase::Up if !adopted && replica.runs_as != Some(fingerprint) => self.run_anew(now, key),
            _ => {}
        }
    }

    /// Its spec says that something else is to run.
    fn run_anew(&mut self, now: Now, key: &Key) {
        if self.brake(now, None).is_some() {
            return;
        }
        let mut act = self.act(now, key, Deed::Restarted, "");
        act.saw.push("its spec changed in what it runs".to_owned());
        "what runs is what the spec says".clone_into(&mut act.rule);
        if let Some(replica) = self.replica(key) {
            replica.bounce = true;
            replica.act = Some((act, now.monotonic));
        }
        self.stop(now, key);
    }

    /// Those that it needs and that are not well.
    pub(super) fn missing(&self, now: Now, service: &Service) -> Vec<Name> {
        let well = |need: &&Name| self.services.get(*need).is_some_and(|one| !one.is_well(now));
        service.assignment.needs.iter().filter(well).cloned().collect()
    }

    pub(super) fn start(&mut self, now: Now, key: &Key) {
        let Some(service) = self.services.get(&key.service) else { return };
        let missing = self.missing(now, service);
        let (fingerprint, has_files) = (service.fingerprint, !service.assignment.files.is_empty());
        let brake = self.brake(now, None);
        let Some(replica) = self.replica(key) else { return };
        if let Some(words) = brake.filter(|_| !replica.forced) {
            let told = matches!(&replica.phase, Phase::Held { words: said, .. } if *said == words);
            if !told {
                let pending = replica.act.clone();
                replica.enter(now, Phase::Held { words: words.clone(), again: None });
                let mut act = match pending {
                    Some((act, _)) => act,
                    None => self.act(now, key, Deed::Held, "restart"),
                };
                act.deed = Deed::Held;
                act.refused.push(words);
                self.effects.push(Effect::Record(Box::new(act)));
            }
            return;
        }
        if !missing.is_empty() {
            return replica.enter(now, Phase::Waiting(missing));
        }
        let Some(replica) = self.replica(key) else { return };
        if replica.by_itself {
            replica.pace.started(now.monotonic);
            replica.restarts += 1;
            if let Some(service) = self.services.get_mut(&key.service) {
                service.restarts += 1;
            }
        }
        self.ops += 1;
        let op = self.ops;
        let fresh = self.replica(key).is_some_and(|one| one.act.is_none()).then(|| {
            let mut act = self.act(now, key, Deed::Started, "");
            act.rule = "it is to run here".to_owned();
            act
        });
        let Some(replica) = self.replica(key) else { return };
        replica.by_itself = false;
        replica.enter(now, Phase::Starting { op });
        if let Some(act) = fresh {
            replica.act = Some((act, now.monotonic));
        }
        let act = replica.act.clone();
        // Known before it is so: an agent that dies now leaves nothing behind unknown.
        if replica.runs_as.replace(fingerprint) != Some(fingerprint) || has_files {
            self.effects.push(Effect::Keep);
        }
        self.effects.push(Effect::Start { key: key.clone(), op });
        self.effects.extend(act.map(|(act, _)| Effect::Record(Box::new(act))));
    }

    pub(super) fn stop(&mut self, now: Now, key: &Key) {
        let Some(service) = self.services.get(&key.service) else { return };
        if service.leaving && service.is_adopted() {
            return;
        }
        // What needs it goes first, if it goes as well.
        let needed = self.services.values().any(|other| {
            let down = other.replicas.iter().all(Replica::is_down);
            other.assignment.needs.contains(&key.service) && !other.stays() && !down
        });
        if needed && !service.wanted() {
            return;
        }
        let leaving = service.leaving;
        self.ops += 1;
        let op = self.ops;
        let fresh = self.replica(key).is_some_and(|one| one.act.is_none()).then(|| {
            let mut act = self.act(now, key, Deed::Stopped, "");
            act.rule = if leaving { "no spec wants it here any more" } else { "it is not to run here" }.to_owned();
            act
        });
        let Some(replica) = self.replica(key) else { return };
        replica.not_before = Duration::ZERO;
        let (pid, started) = (replica.pid, replica.started);
        replica.enter(now, Phase::Stopping { op });
        (replica.pid, replica.started) = (pid, started);
        if let Some(act) = fresh {
            replica.act = Some((act, now.monotonic));
        }
        let act = replica.act.clone();
        self.effects.push(Effect::Stop { key: key.clone(), op });
        self.effects.extend(act.map(|(act, _)| Effect::Record(Box::new(act))));
    }

    /// Once all of it is well, acts have their result, and what needs it hears of it.
    pub(super) fn became_well(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get_mut(name) else { return };
        if !service.is_well(now) {
            service.well_since = None;
            return;
        }
        let since = *service.well_since.get_or_insert(now.monotonic);
        let reset = now.monotonic.saturating_sub(since) >= service.assignment.restart.reset;
        let restarted = std::mem::take(&mut service.fresh);
        let mut settled = Vec::new();
        let keys: Vec<Key> = service.keys().collect();
        let mut recovered = false;
        for replica in &mut service.replicas {
            // What is being read again says itself what became of it.
            if let Some((act, at)) = replica.act.take_if(|_| replica.reading.is_none()) {
                settled.push((act, at));
            }
            if reset && (!replica.pace.is_fresh() || replica.crashing) {
                recovered |= std::mem::take(&mut replica.crashing);
                replica.pace.reset();
            }
        }
        if reset && service.counts() {
            service.ladder = Ladder::default();
        }
        let checked = service.watched().next().is_some();
        let origin = service.origin("restart");
        let for_long = span(now.monotonic.saturating_sub(since));
        for (mut act, at) in settled {
            let what = if checked { "passing" } else { "running" };
            act.result = Some(format!("{what} {} later", span(now.monotonic.saturating_sub(at))));
            self.effects.push(Effect::Record(Box::new(act)));
        }
        if let Some(key) = keys.first().filter(|_| recovered) {
            let mut act = self.act(now, key, Deed::Recovered, "restart");
            act.origin = origin;
            act.saw.push(format!("well for {for_long}"));
            act.rule = "its restarts are counted anew".to_owned();
            self.effects.push(Effect::Record(Box::new(act)));
        }
        if restarted {
            self.tell_dependents(now, name);
        }
    }

    pub(super) fn tell_dependents(&mut self, now: Now, name: &Name) {
        let start = self
            .services
            .get(name)
            .and_then(|one| one.replicas.iter().filter_map(|replica| replica.started.map(|(at, _)| at)).min());
        let Some(start) = start else { return };
        let needing = self.services.values().filter(|one| one.assignment.needs.contains(name) && one.wanted());
        let needing: Vec<(Name, OnNeeds)> = needing.map(|one| (one.name().clone(), one.assignment.on_needs)).collect();
        let brake = self.brake(now, None);
        for (other, reaction) in needing {
            let Some(service) = self.services.get(&other) else { continue };
            let origin = service.origin("on_needs");
            let keys: Vec<Key> = service.keys().collect();
            for key in keys {
                let Some(replica) = self.replica(&key) else { continue };
                let older = replica.started.is_some_and(|(at, _)| at < start);
                if !replica.is_up() || !older || replica.bounce || reaction == OnNeeds::Stay {
                    continue;
                }
                let deed = if reaction == OnNeeds::Reload { Deed::Reloaded } else { Deed::Restarted };
                let mut act = self.act(now, &key, deed, "on_needs");
                act.origin.clone_from(&origin);
                act.saw.push(format!("{name}, which it needs, was started anew"));
                act.rule = format!("on_needs = {}", reaction.word());
                if let Some(words) = &brake {
                    act.deed = Deed::Held;
                    act.refused.push(words.clone());
                    self.effects.push(Effect::Record(Box::new(act)));
                    continue;
                }
                let Some(replica) = self.replica(&key) else { continue };
                replica.act = Some((act.clone(), now.monotonic));
                if reaction == OnNeeds::Reload {
                    self.effects.push(Effect::Record(Box::new(act)));
                    self.effects.push(Effect::Reload { key });
                } else {
                    replica.bounce = true;
                }
                if let Some(service) = self.services.get_mut(&other) {
                    service.touched = true;
                }
            }
        }
    }

    pub(super) fn probe(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get_mut(name) else { return };
        let probes = service.probes(now);
        self.effects.extend(probes.into_iter().map(|check| Effect::Probe { check }));
    }
}
