//! What hosts do, each thing once, and what they say of it.

use super::{Judge, is_older};
use crate::host::{Host, Place};
use crate::plan::{Ms, node};
use crate::world::World;
use hostler_agent_core::tasks::{Effect, Kept};
use hostler_types::{Stamp, TaskId, TaskReport, TaskState, TaskStep};
use std::collections::BTreeMap;

impl Judge {
    pub fn ruled(&mut self, host: usize, stamp: Stamp) {
        let highest = self.highest.entry(host).or_default();
        if is_older(*highest, stamp) {
            *highest = stamp;
        }
    }

    /// Before a host writes something down.
    pub fn keeps(&mut self, now: Ms, host: &Host, kept: &Kept, asked: Option<&(TaskId, Stamp)>) -> Vec<String> {
        let mut wrong = Vec::new();
        let (id, index) = (kept.id(), host.index);
        let accepted = *self.accepted.entry((index, id.clone())).or_insert(now);
        let booted = self.booted.get(&index).is_some_and(|at| *at > accepted);
        if let Some((_, stamp)) = asked.filter(|(asked, _)| asked == id) {
            let highest = self.highest.get(&index).copied().unwrap_or_default();
            if is_older(*stamp, highest) {
                let words = (stamp.lineage, stamp.term, highest.lineage, highest.term);
                wrong.push(format!(
                    "web{index} does what {id} asks, from {}.{} after {}.{}",
                    words.0, words.1, words.2, words.3
                ));
            }
            self.ruled(index, *stamp);
        }
        let Kept::Over { report, .. } = kept else { return wrong };
        self.ended.insert((index, id.clone()), (now, host.skew));
        if host.end_of(id).is_some() {
            wrong.push(format!("web{index} ends {id} twice"));
        }
        let count = |step: usize| {
            let place = (id.clone(), u32::try_from(step).expect("few"));
            self.effects.get(&(index, place)).copied().unwrap_or_default()
        };
        match (report.state, host.disk.get(id)) {
            (TaskState::Succeeded, Some(Kept::Open(record))) => {
                for (step, what) in record.offer.steps.iter().enumerate() {
                    // A host that began anew has restarted all that it has.
                    let by_boot = booted && !matches!(what, TaskStep::Command(_));
                    if counts(what) && count(step) != 1 && !by_boot {
                        wrong.push(format!(
                            "web{index}: {id} is well, and step {step} took effect {} times",
                            count(step)
                        ));
                    }
                }
            }
            (TaskState::Undelivered, _) if (0..3).any(|step| count(step) > 0) => {
                wrong.push(format!("web{index}: {id} is undelivered, and took effect"));
            }
            _ => {}
        }
        wrong
    }

    pub fn tells(&mut self, index: usize, report: &TaskReport) -> Vec<String> {
        let before = self.told.insert((index, report.id.clone()), report.state);
        let changed = before.filter(|before| *before != report.state);
        changed
            .map(|was| format!("web{index} told {} as {was}, and now as {}", report.id, report.state))
            .into_iter()
            .collect()
    }
}

/// What is not done twice, and is seen from outside.
fn counts(step: &TaskStep) -> bool {
    match step {
        TaskStep::Command(_) | TaskStep::Reboot(_) => true,
        TaskStep::Service { verb, .. } => *verb == hostler_types::ServiceVerb::Restart,
        _ => false,
    }
}

impl World {
    pub fn took_effect(&mut self, index: usize, place: &Place) {
        self.tell(|| format!("web{index}: {} takes effect, step {}", place.0, place.1));
        self.judge.tally.effects += 1;
        let count = self.judge.effects.entry((index, place.clone())).or_default();
        *count += 1;
        if *count > 1 {
            self.fail(format!("{} took effect twice on web{index}, step {}", place.0, place.1));
        }
    }

    /// The agent is about to do this.
    pub fn begins(&mut self, index: usize, effect: &Effect) {
        let (Effect::Start { id, step, .. }
        | Effect::Service { id, step, .. }
        | Effect::Packages { id, step, .. }
        | Effect::Reboot { id, step, .. }) = effect
        else {
            return;
        };
        let (id, step) = (id.clone(), *step);
        match self.hosts[index].disk.get(&id) {
            Some(Kept::Open(record)) if record.report.done == step => {}
            _ => self.fail(format!("web{index} does {id}, step {step}, and has not written that down")),
        }
        let is_program = matches!(effect, Effect::Start { .. });
        if is_program && !self.judge.programs.insert((index, (id.clone(), step))) {
            self.fail(format!("web{index} begins {id}, step {step}, a second time"));
        }
        // Where two of them rule, one may have begun what the other knows nothing of.
        if self.controls.len() > 1 || self.removed.contains(&index) || self.judge.alone.contains(&(index, id.clone())) {
            return;
        }
        // Over a reboot only a clock knows how much time is left, and somebody set that one.
        let after = |at: &BTreeMap<usize, Ms>, since: Ms| at.get(&index).is_some_and(|at| *at > since);
        let accepted = self.judge.accepted.get(&(index, id.clone())).copied().unwrap_or(self.now);
        if after(&self.judge.booted, accepted) && after(&self.judge.put_back, accepted) {
            return;
        }
        let state = self.controls[0].store.state_of(&id, &node(index));
        if !state.is_some_and(TaskState::is_out) {
            let words = state.map_or("unknown", TaskState::word);
            self.fail(format!("web{index} does {id}, step {step}, which is {words} for its control plane"));
        }
    }
}
