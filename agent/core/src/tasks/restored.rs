//! After the agent, or the host, was away: what is on the disk against what is there.

use super::machine::{Ledger, Task};
use super::steps::Doing;
use super::{AT_ONCE_MAX, Effect, Fate, Output, Record, SERVICE_PATIENCE, STOP_PATIENCE, words};
use hostler_types::{Now, ServiceVerb, Stamp, TaskId, TaskState, TaskStep, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the journal holds, and what is on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub open: Vec<Record>,
    pub over: Vec<Over>,
    pub boot: String,
    /// For how long the host has been up.
    pub uptime: Duration,
    pub on_host: Vec<OnHost>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    pub id: TaskId,
    pub at: Timestamp,
    pub stamp: Stamp,
}

/// A unit of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct OnHost {
    pub id: TaskId,
    pub step: u32,
    pub stands: Stands,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stands {
    Runs,
    Ended { fate: Fate, output: Option<Output> },
}

impl Ledger {
    pub(super) fn restored(&mut self, now: Now, found: Found) {
        (self.boot, self.up) = (found.boot, (found.uptime, now.monotonic));
        for Over { id, at, stamp } in found.over {
            self.ruled(stamp);
            self.remember(id, at);
        }
        let mut on_host: BTreeMap<(TaskId, u32), Stands> =
            found.on_host.into_iter().map(|one| ((one.id, one.step), one.stands)).collect();
        let mut resumed = Vec::new();
        for record in found.open {
            self.ruled(record.offer.stamp);
            let id = record.offer.id.clone();
            let deadline = now.monotonic.saturating_add(record.left.saturating_sub(self.age(now, &record)));
            let stands = on_host.remove(&(id.clone(), record.report.done));
            self.open.insert(id.clone(), Task::new(record, deadline));
            resumed.push((id, stands));
        }
        // Of tasks that are over, or of a step that is done.
        self.effects.extend(on_host.into_keys().map(|(id, step)| Effect::Stop { id, step }));
        for (id, stands) in resumed {
            self.resume(now, &id, stands);
        }
        // Those that ended in the moment in which the agent did: more than were under
        // way can't be untold.
        let newest: Vec<TaskId> = self.newest_over(AT_ONCE_MAX).cloned().collect();
        self.effects.extend(newest.into_iter().map(Effect::TellAgain));
        self.forget_some(now);
    }

    /// For how long its present step has gone on. Over a reboot only a clock knows that
    /// somebody may have set.
    fn age(&self, now: Now, record: &Record) -> Duration {
        if record.boot == self.boot {
            self.uptime(now).saturating_sub(record.uptime)
        } else {
            now.wall.since(record.step_began)
        }
    }

    fn resume(&mut self, now: Now, id: &TaskId, stands: Option<Stands>) {
        let Some(age) = self.open.get(id).map(|task| self.age(now, &task.record)) else { return };
        let Some(task) = self.open.get_mut(id) else { return };
        let other_boot = task.record.boot != self.boot;
        let cancel = task.record.cancel.clone().map(|why| words::cancelled(&why));
        let interrupted = |words: &str| words::said(&task.record, words);
        match task.step() {
            None => self.go_on(now, id),
            Some(TaskStep::Command(_)) if other_boot => {
                let words = interrupted("the host was rebooted in the middle of it");
                self.finish(now, id, TaskState::Interrupted, words);
            }
            Some(TaskStep::Command(_)) => self.resume_program(now, id, stands, cancel),
            Some(TaskStep::Reboot(_)) if other_boot => {
                task.record.report.changed = true;
                self.done(now, id, "rebooted".to_owned());
            }
            Some(TaskStep::Action(_)) => self.resume_action(now, id, cancel),
            // How much of its time is left nobody knows. A reboot that was wanted goes on,
            // also where the clock begins anew with each.
            Some(_) if other_boot && now.wall < task.record.step_began => {
                let words = interrupted("the host was rebooted meanwhile, and its clock was put back");
                let (state, words) = cancel.map_or((TaskState::Interrupted, words), |why| (TaskState::Cancelled, why));
                self.finish(now, id, state, words);
            }
            // Nobody expects it any more.
            Some(_) if task.is_late(now) => {
                let late = (TaskState::TimedOut, task.too_long());
                let (state, words) = cancel.map_or(late, |words| (TaskState::Cancelled, words));
                self.finish(now, id, state, words);
            }
            Some(TaskStep::Service { verb: ServiceVerb::Restart, .. }) => {
                let until = now.monotonic.saturating_add(SERVICE_PATIENCE);
                task.doing = Doing::Service { next: now.monotonic, until };
            }
            Some(step) if !step.is_idempotent() => {
                let words = interrupted("the agent ended in the middle of it");
                self.finish(now, id, TaskState::Interrupted, words);
            }
            Some(_) => match cancel {
                Some(words) => self.finish(now, id, TaskState::Cancelled, words),
                None => self.act(now, id, age),
            },
        }
    }

    fn resume_program(&mut self, now: Now, id: &TaskId, stands: Option<Stands>, cancel: Option<String>) {
        let Some(task) = self.open.get_mut(id) else { return };
        let step = task.record.report.done;
        let cancelled = cancel.map(|words| (TaskState::Cancelled, words));
        match stands {
            Some(Stands::Runs) => {
                task.doing = Doing::Program;
                self.effects.push(Effect::Follow { id: id.clone(), step });
                if let Some((state, words)) = cancelled {
                    self.end_soon(now, id, state, words);
                }
            }
            Some(Stands::Ended { fate, output }) => {
                (task.doing, task.ending) = (Doing::Program, cancelled);
                self.ended(now, id, step, fate, output);
            }
            // The executor may be about to start it still: nothing is left of it when
            // it has answered this.
            None => {
                let why = "the agent ended when it was about to begin it, and it is not begun again";
                let words = words::said(&task.record, why);
                task.ending = Some(cancelled.unwrap_or((TaskState::Interrupted, words)));
                task.doing = Doing::Stopping { until: now.monotonic.saturating_add(STOP_PATIENCE) };
                self.effects.push(Effect::Stop { id: id.clone(), step });
            }
        }
    }
}
