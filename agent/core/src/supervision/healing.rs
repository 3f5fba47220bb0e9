//! What is done about a live check that stays critical, step by step.

use super::replica::Phase;
use super::service::{Asked, Ladder};
use super::{ASK_AGAIN, ASK_TIMEOUT, Effect, Key, Supervisor};
use hostler_types::spec::HealStep;
use hostler_types::units::format_duration;
use hostler_types::{Deed, Name, Now};

impl Supervisor {
    pub(super) fn heal(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get_mut(name) else { return };
        let ladder = &mut service.ladder;
        if ladder.asked.as_ref().is_some_and(|asked| asked.until <= now.monotonic) {
            ladder.asked = None;
        }
        let Some((check, seen)) = service.failing().next() else {
            (service.ladder.asked, service.ladder.told) = (None, None);
            return;
        };
        let (check, proven) = (check.clone(), seen.proven);
        let busy = !service.wanted() || !service.all_up() || service.replicas.iter().any(|one| one.bounce);
        if busy || service.ladder.asked.is_some() || service.ladder.not_before > now.monotonic {
            return;
        }
        let held = if !proven {
            Some(format!("check {check} has not passed since it was changed itself"))
        } else {
            self.brake(now, Some(&check))
        };
        if let Some(words) = held {
            return self.hold(now, name, &check, words);
        }
        let Some(service) = self.services.get_mut(name) else { return };
        let steps = &service.assignment.heal;
        let Some(step) = steps.get(service.ladder.step).copied() else {
            // The ladder is climbed: now and then its first restart, if it has one.
            if steps.contains(&HealStep::Restart) {
                service.ladder.step = steps.iter().position(|step| *step == HealStep::Restart).unwrap_or(0);
                service.ladder.paged = true;
                self.climb(now, name, &check, HealStep::Restart);
            }
            return;
        };
        self.climb(now, name, &check, step);
    }

    fn climb(&mut self, now: Now, name: &Name, check: &Name, step: HealStep) {
        match step {
            HealStep::Restart | HealStep::Reload => {
                if !self.connected {
                    let words = "cut off from the control plane, this host restarts what is dead and nothing else: \
                                 alone it can't tell its own fault from one that all have";
                    return self.hold(now, name, check, words.to_owned());
                }
                let used = self.attempts_left(now, name);
                if let Err(words) = used {
                    return self.hold(now, name, check, words);
                }
                let id = self.next_ask();
                let Some(service) = self.services.get_mut(name) else { return };
                let until = now.monotonic.saturating_add(ASK_TIMEOUT);
                service.ladder.asked = Some(Asked { id, check: check.clone(), until });
                self.effects.push(Effect::Ask { id, service: name.clone(), check: check.clone(), step: step.word() });
            }
            HealStep::Page => {
                let mut act = self.heal_act(now, name, check, Deed::Paged, step);
                if let Some(service) = self.services.get_mut(name) {
                    let already = std::mem::replace(&mut service.ladder.paged, true);
                    service.ladder.step += 1;
                    service.ladder.not_before = now.monotonic.saturating_add(service.assignment.restart.cap);
                    if already {
                        return;
                    }
                }
                act.result = Some("somebody was told".to_owned());
                self.effects.push(Effect::Record(Box::new(act)));
            }
            HealStep::Rollback | HealStep::Drain => {
                let mut act = self.heal_act(now, name, check, Deed::Held, step);
                act.refused.push(match step {
                    HealStep::Rollback => format!("rollback: {name} has no earlier release"),
                    _ => format!("drain: {name} has no load balancer to be taken out of"),
                });
                if let Some(service) = self.services.get_mut(name) {
                    service.ladder.step += 1;
                }
                self.effects.push(Effect::Record(Box::new(act)));
                self.heal(now, name);
            }
        }
    }

    pub(super) fn heal_answered(&mut self, now: Now, id: u64, allowed: bool, words: Vec<String>) {
        let asked = self.services.iter_mut().find_map(|(name, service)| {
            let asked = service.ladder.asked.take_if(|asked| asked.id == id)?;
            Some((name.clone(), asked.check))
        });
        let Some((name, check)) = asked else { return };
        if !allowed {
            let words = words.into_iter().next().unwrap_or_else(|| "the control plane refused".to_owned());
            return self.hold(now, &name, &check, words);
        }
        // It may have passed while the answer was on its way.
        let Some(service) = self.services.get(&name) else { return };
        let Some(step) = service.assignment.heal.get(service.ladder.step).copied() else { return };
        if !service.failing().any(|(failing, _)| *failing == check) || !service.all_up() || !service.wanted() {
            return;
        }
        let policy = service.assignment.restart;
        let keys: Vec<Key> = service.keys().collect();
        let after: Vec<String> = service
            .assignment
            .heal
            .iter()
            .skip(service.ladder.step + 1)
            .find(|later| **later != step)
            .map(|later| format!("{}: comes after step {}", later.word(), service.ladder.step + 1))
            .into_iter()
            .collect();
        for key in keys {
            let deed = if step == HealStep::Reload { Deed::Reloaded } else { Deed::Restarted };
            let mut act = self.heal_act(now, &name, &check, deed, step);
            act.replica = key.replica;
            let Some(replica) = self.replica(&key) else { continue };
            let used = replica.pace.used(now.monotonic, &policy);
            act.allowed.push(format!("attempts {used} of {} in {}", policy.attempts, format_duration(policy.within)));
            act.allowed.extend(words.iter().cloned());
            act.refused.clone_from(&after);
            let Some(replica) = self.replica(&key).filter(|one| one.phase == Phase::Up) else { continue };
            replica.act = Some((act.clone(), now.monotonic));
            if step == HealStep::Reload {
                self.effects.push(Effect::Record(Box::new(act)));
                self.effects.push(Effect::Reload { key });
            } else {
                replica.bounce = true;
                replica.by_itself = true;
            }
        }
        let Some(service) = self.services.get_mut(&name) else { return };
        service.ladder.step += 1;
        service.ladder.told = None;
        if service.ladder.paged {
            service.ladder.not_before = now.monotonic.saturating_add(policy.cap);
        }
    }

    /// Not now, and why: told once for as long as it is the same.
    fn hold(&mut self, now: Now, name: &Name, check: &Name, words: String) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.ladder.not_before = now.monotonic.saturating_add(ASK_AGAIN);
        if service.ladder.told.as_ref() == Some(&words) {
            return;
        }
        service.ladder.told = Some(words.clone());
        let step = service.assignment.heal.get(service.ladder.step).copied().unwrap_or(HealStep::Restart);
        let mut act = self.heal_act(now, name, check, Deed::Held, step);
        act.refused.push(words);
        self.effects.push(Effect::Record(Box::new(act)));
    }

    fn attempts_left(&mut self, now: Now, name: &Name) -> Result<(), String> {
        let Some(service) = self.services.get_mut(name) else { return Ok(()) };
        let policy = service.assignment.restart;
        let used = service.replicas.iter_mut().map(|one| one.pace.used(now.monotonic, &policy)).max().unwrap_or(0);
        if used < policy.attempts {
            return Ok(());
        }
        let within = format_duration(policy.within);
        Err(format!("attempts {used} of {} in {within}", policy.attempts))
    }

    fn heal_act(
        &mut self,
        now: Now,
        name: &Name,
        check: &Name,
        deed: Deed,
        step: HealStep,
    ) -> hostler_types::service::Act {
        let key = Key { service: name.clone(), replica: 0 };
        let mut act = self.act(now, &key, deed, "heal");
        if let Some(service) = self.services.get(name) {
            let Ladder { step: index, .. } = service.ladder;
            act.rule = format!("heal[{index}] = {}", step.word());
            let summary = service.checks.get(check).map(|seen| seen.summary.clone()).unwrap_or_default();
            act.saw.push(format!("check {check} critical: {summary}"));
        }
        act
    }

    fn next_ask(&mut self) -> u64 {
        // Answers to asks of an earlier life of the agent are nobody's.
        self.jitter.draw()
    }

    /// No answer will come: the link is gone.
    pub(super) fn forget_asks(&mut self) {
        for service in self.services.values_mut() {
            service.ladder.asked = None;
        }
    }
}
