//! What people ask of services, and when it is done.

use super::replica::Phase;
use super::{Effect, Key, Order, Outcome, Supervisor};
use hostler_types::{BrakeKind, Deed, Name, Now, ServiceVerb};

impl Supervisor {
    pub(super) fn order(&mut self, now: Now, order: Order) {
        let Order { id, service: name, verb, by, reason } = order;
        let refuse = |words: String| Effect::Answer { id, outcome: Outcome::Refused, words };
        let frozen = self.brakes.iter().find(|brake| brake.kind == BrakeKind::Frozen);
        let frozen = frozen.map(|brake| format!("frozen {}; hostlerctl thaw ends it", brake.words));
        let Some(service) = self.services.get_mut(&name).filter(|one| !one.leaving) else {
            return self.effects.push(refuse(format!("service {name} is not assigned to this node")));
        };
        if let Some(words) = frozen {
            return self.effects.push(refuse(words));
        }
        let was_stopped = service.stopped.is_some();
        match verb {
            ServiceVerb::Stop => service.stopped = Some(by.clone()),
            ServiceVerb::Start | ServiceVerb::Restart => service.stopped = None,
            ServiceVerb::Reload => {}
        }
        if was_stopped != service.stopped.is_some() {
            self.effects.push(Effect::Keep);
        }
        let service_up = service.all_up();
        let keys: Vec<Key> = service.keys().collect();
        if verb == ServiceVerb::Reload && !service_up {
            return self.effects.push(refuse(format!("{name} does not run here")));
        }
        service.orders.push((id, verb));
        service.files.try_anew();
        service.files.wrong = None;
        for key in keys {
            let deed = match verb {
                ServiceVerb::Start => Deed::Started,
                ServiceVerb::Stop => Deed::Stopped,
                ServiceVerb::Restart => Deed::Restarted,
                ServiceVerb::Reload => Deed::Reloaded,
            };
            let mut act = self.act(now, &key, deed, "");
            act.by.clone_from(&by);
            act.rule = match reason.as_str() {
                "" => format!("asked to {verb} it"),
                reason => format!("asked to {verb} it: {reason}"),
            };
            let Some(replica) = self.replica(&key) else { continue };
            let up = replica.is_up();
            match verb {
                ServiceVerb::Start | ServiceVerb::Restart if !up => {
                    replica.forced = true;
                    replica.by_itself = false;
                    replica.pace.reset();
                    if matches!(replica.phase, Phase::Backoff { .. } | Phase::Held { .. } | Phase::Theirs { .. }) {
                        replica.enter(now, Phase::Down);
                    }
                    replica.act = Some((act, now.monotonic));
                }
                ServiceVerb::Restart => {
                    replica.bounce = true;
                    replica.forced = true;
                    replica.act = Some((act, now.monotonic));
                }
                ServiceVerb::Stop if up => replica.act = Some((act, now.monotonic)),
                ServiceVerb::Reload if up => {
                    replica.act = Some((act.clone(), now.monotonic));
                    self.effects.push(Effect::Record(Box::new(act)));
                    self.effects.push(Effect::Reload { key });
                }
                _ => {}
            }
        }
    }

    /// Answers those whose end has come.
    pub(super) fn settle_orders(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get(name) else { return };
        if service.orders.is_empty() {
            return;
        }
        let down = service.replicas.iter().all(|one| one.phase == Phase::Down);
        let crashing = service.replicas.iter().find(|one| matches!(one.phase, Phase::Backoff { crashing: true, .. }));
        let crashing = crashing.and_then(|one| one.last_end.as_ref()).map(ToString::to_string);
        if service.is_well(now) {
            let starts = |verb| matches!(verb, ServiceVerb::Start | ServiceVerb::Restart);
            let words = if service.watched().next().is_some() { "passing" } else { "running" };
            self.answer_orders(name, starts, Outcome::Done, words);
        } else if down {
            self.answer_orders(name, |verb| verb == ServiceVerb::Stop, Outcome::Done, "stopped");
        } else if let Some(words) = crashing {
            self.fail_orders(name, &words);
        }
    }

    pub(super) fn answer_orders(
        &mut self,
        name: &Name,
        which: impl Fn(ServiceVerb) -> bool,
        outcome: Outcome,
        words: &str,
    ) {
        let Some(service) = self.services.get_mut(name) else { return };
        let (answered, open) = service.orders.iter().partition(|(_, verb)| which(*verb));
        service.orders = open;
        let answered: Vec<(u64, ServiceVerb)> = answered;
        for (id, _) in answered {
            self.effects.push(Effect::Answer { id, outcome, words: words.to_owned() });
        }
    }

    pub(super) fn fail_orders(&mut self, name: &Name, words: &str) {
        self.answer_orders(name, |_| true, Outcome::Failed, words);
    }
}
