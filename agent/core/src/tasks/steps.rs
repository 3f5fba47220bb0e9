//! One step after the other, each with what it waits for.

use super::machine::{Ledger, Task};
use super::{CheckStands, Effect, Kept, LOOK_AGAIN, words};
use hostler_types::units::format_duration;
use hostler_types::{Name, Now, TaskId, TaskState, TaskStep};
use std::time::Duration;

/// What the present step waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Doing {
    /// A service, packages, a plugin, the end of the host: whoever does it says so.
    Waiting,
    /// A plugin has answered, and was not asked again.
    Between,
    /// A program that is about to run.
    Starting,
    Program,
    /// It was asked to end, and is given up on then.
    Stopping {
        until: Duration,
    },
    Until(Duration),
    Check {
        next: Duration,
        until: Duration,
        /// As it stood last.
        seen: String,
    },
    /// It was being restarted when the agent, or the host, ended.
    Service {
        next: Duration,
        until: Duration,
    },
    /// What may not have been done.
    Again {
        at: Duration,
    },
}

impl Doing {
    pub fn next(&self) -> Option<Duration> {
        match self {
            Self::Waiting | Self::Between | Self::Starting | Self::Program => None,
            Self::Check { next, until, .. } | Self::Service { next, until } => Some(*next.min(until)),
            Self::Stopping { until: at } | Self::Until(at) | Self::Again { at } => Some(*at),
        }
    }
}

impl Ledger {
    /// The present step is done.
    pub(super) fn done(&mut self, now: Now, id: &TaskId, said: String) {
        let Some(task) = self.open.get_mut(id) else { return };
        let left = task.is_command().then_some(task.record.report.done);
        task.pass(&said);
        self.go_on(now, id);
        self.effects.extend(left.map(|step| Effect::Stop { id: id.clone(), step }));
    }

    /// Begins the next step, or ends the task if there is none.
    pub(super) fn go_on(&mut self, now: Now, id: &TaskId) {
        let uptime = self.uptime(now);
        let Some(task) = self.open.get_mut(id) else { return };
        task.doing = Doing::Waiting;
        loop {
            let Some(step) = task.step() else {
                let words = task.record.said.clone();
                return self.finish(now, id, TaskState::Succeeded, words);
            };
            if let Some(why) = &task.record.cancel {
                let words = words::cancelled(why);
                return self.finish(now, id, TaskState::Cancelled, words);
            }
            if task.is_late(now) {
                let words = task.too_long();
                return self.finish(now, id, TaskState::TimedOut, words);
            }
            if !matches!(step, TaskStep::Drain | TaskStep::Undrain) {
                break;
            }
            task.pass("no load balancer is told yet");
        }
        (task.record.step_began, task.record.uptime) = (now.wall, uptime);
        task.record.left = task.deadline.saturating_sub(now.monotonic);
        task.record.boot.clone_from(&self.boot);
        task.record.report.at = now.wall;
        task.record.report.words = words::at_step(&task.record.offer, task.record.report.done);
        let report = task.record.report.clone();
        self.effects.push(Effect::Keep(Kept::Open(Box::new(task.record.clone()))));
        self.act(now, id, Duration::ZERO);
        self.effects.push(Effect::Report(report));
    }

    /// Does the present step, which began so long ago.
    pub(super) fn act(&mut self, now: Now, id: &TaskId, age: Duration) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some(kind) = task.step().cloned() else { return };
        if task.action().is_some() {
            return self.ask_plugin(id);
        }
        let (id, step) = (id.clone(), task.record.report.done);
        let left = |span: Duration| now.monotonic.saturating_add(span.saturating_sub(age));
        task.doing = match &kind {
            TaskStep::Command(_) => Doing::Starting,
            TaskStep::Wait(span) => Doing::Until(left(*span)),
            TaskStep::Check { within, .. } => {
                let next = now.monotonic.saturating_add(LOOK_AGAIN);
                Doing::Check { next, until: left(*within), seen: "it was not heard of".to_owned() }
            }
            _ => Doing::Waiting,
        };
        let offer = &task.record.offer;
        let (by, reason) = (|| format!("{}, {}", offer.by, offer.title), offer.reason.clone());
        self.effects.extend(match kind {
            TaskStep::Command(command) => Some(Effect::Start { id, step, command }),
            TaskStep::Service { service, verb } => Some(Effect::Service { id, step, service, verb, by: by(), reason }),
            TaskStep::Packages(which) => Some(Effect::Packages { id, step, which }),
            TaskStep::Reboot(when) => Some(Effect::Reboot { id, step, when }),
            TaskStep::User(user) => Some(Effect::User { id, step, user }),
            TaskStep::File(file) => Some(Effect::File { id, step, file }),
            TaskStep::Firewall { rules, revert } => Some(Effect::Firewall { id, step, rules, revert }),
            TaskStep::Check { check, .. } => Some(Effect::LookAtCheck { id, step, check }),
            TaskStep::Wait(_) | TaskStep::Drain | TaskStep::Undrain | TaskStep::Action(_) => None,
        });
    }

    pub(super) fn check_seen(&mut self, now: Now, id: &TaskId, step: u32, stands: Option<CheckStands>) {
        let Some(task) = self.open.get_mut(id).filter(|task| task.record.report.done == step) else { return };
        let Doing::Check { seen, .. } = &mut task.doing else { return };
        match stands {
            // What it said before is of how things were then.
            Some(CheckStands { passing: true, last_run, .. }) if last_run > task.record.step_began => {
                self.done(now, id, String::new());
            }
            Some(CheckStands { passing: true, .. }) => *seen = "it has not run since".to_owned(),
            Some(CheckStands { words, .. }) => *seen = words,
            None => *seen = "no such check is assigned to this node".to_owned(),
        }
    }

    pub(super) fn service_seen(&mut self, now: Now, id: &TaskId, step: u32, runs_for: Option<Duration>) {
        let uptime = self.uptime(now);
        let Some(task) = self.open.get_mut(id).filter(|task| task.record.report.done == step) else { return };
        // What runs began to in this life of the host.
        let since = runs_for
            .is_some_and(|span| task.record.boot != self.boot || span <= uptime.saturating_sub(task.record.uptime));
        if since && matches!(task.doing, Doing::Service { .. }) {
            task.record.report.changed = true;
            self.done(now, id, String::new());
        }
    }

    /// Whatever has come to its time.
    pub(super) fn look_at_clock(&mut self, now: Now) {
        let due: Vec<TaskId> =
            self.open.iter().filter(|(_, task)| task.is_due(now)).map(|(id, _)| id.clone()).collect();
        for id in due {
            self.come_to_time(now, &id);
        }
    }

    fn come_to_time(&mut self, now: Now, id: &TaskId) {
        let Some(task) = self.open.get_mut(id) else { return };
        if task.ending.is_none() && task.is_late(now) && !task.goes_back() {
            let goes_on = if task.must_finish() { ", which goes on" } else { "" };
            let words = format!("{}{}{goes_on}", task.too_long(), task.so_far());
            return self.end_soon(now, id, TaskState::TimedOut, words);
        }
        let step = task.record.report.done;
        match (&mut task.doing, task.record.offer.steps.get(step as usize)) {
            (Doing::Stopping { .. }, _) => {
                let (state, words) = task.ending.take().unwrap_or((TaskState::Interrupted, String::new()));
                self.finish(now, id, state, format!("{words}; its program does not end"));
            }
            (Doing::Until(_), _) => self.done(now, id, String::new()),
            (Doing::Again { .. }, _) => self.act(now, id, Duration::ZERO),
            (Doing::Check { until, seen, .. }, Some(TaskStep::Check { within, .. })) if *until <= now.monotonic => {
                let why = format!("it does not pass within {}: {seen}", format_duration(*within));
                let words = words::said(&task.record, &why);
                self.finish(now, id, TaskState::Failed, words);
            }
            (Doing::Check { next, .. }, Some(TaskStep::Check { check, .. })) => {
                *next = now.monotonic.saturating_add(LOOK_AGAIN);
                let check: Name = check.clone();
                self.effects.push(Effect::LookAtCheck { id: id.clone(), step, check });
            }
            (Doing::Service { until, .. }, _) if *until <= now.monotonic => {
                let words = words::said(&task.record, "the agent ended meanwhile, and it was not restarted since");
                self.finish(now, id, TaskState::Interrupted, words);
            }
            (Doing::Service { next, .. }, Some(TaskStep::Service { service, .. })) => {
                *next = now.monotonic.saturating_add(LOOK_AGAIN);
                let service: Name = service.clone();
                self.effects.push(Effect::LookAtService { id: id.clone(), step, service });
            }
            _ => {}
        }
    }
}

impl Task {
    fn is_due(&self, now: Now) -> bool {
        self.next().is_some_and(|next| next <= now.monotonic)
    }

    fn pass(&mut self, said: &str) {
        self.record.report.done += 1;
        self.record.acting = None;
        let all = &mut self.record.said;
        if !said.is_empty() && !all.contains(said) {
            let between = if all.is_empty() { "" } else { "; " };
            *all = format!("{all}{between}{said}");
        }
    }
}
