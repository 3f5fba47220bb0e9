//! The ledger: which ids were heard of, and how those stand that are not over.

use super::steps::Doing;
use super::{
    AT_ONCE_MAX, Effect, Fate, Fetch, Input, Kept, OVER_KEPT, OVER_KEPT_FOR, OVER_MAX, Output, PRINTED_MAX, Record,
    is_older, over, words,
};
use hostler_types::units::{format_duration, format_size};
use hostler_types::{
    Brake, BrakeKind, Name, Now, Stamp, TaskId, TaskOffer, TaskReport, TaskState, TaskStep, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One that is not over.
#[derive(Debug)]
pub(super) struct Task {
    pub record: Record,
    /// When all of it has taken too long.
    pub deadline: Duration,
    pub doing: Doing,
    /// How it ends when what is under way has ended.
    pub ending: Option<(TaskState, String)>,
    /// Since when its plugin could not be asked.
    pub waits_since: Option<Duration>,
}

impl Task {
    pub fn new(record: Record, deadline: Duration) -> Self {
        Self { record, deadline, doing: Doing::Waiting, ending: None, waits_since: None }
    }

    pub fn step(&self) -> Option<&TaskStep> {
        usize::try_from(self.record.report.done).ok().and_then(|index| self.record.offer.steps.get(index))
    }

    pub fn is_command(&self) -> bool {
        matches!(self.step(), Some(TaskStep::Command(_)))
    }

    /// When it has to be looked at again without anything happening.
    pub fn next(&self) -> Option<Duration> {
        let deadline = (self.ending.is_none() && !self.goes_back()).then_some(self.deadline);
        deadline.into_iter().chain(self.doing.next()).min()
    }

    pub fn is_late(&self, now: Now) -> bool {
        self.deadline <= now.monotonic
    }

    /// Where it was when all of it had taken too long.
    pub fn too_long(&self) -> String {
        let longest = format_duration(self.record.offer.timeout);
        format!("it took longer than {longest}, at {}", words::at_step(&self.record.offer, self.record.report.done))
    }

    /// What is under way is neither broken off nor done twice: its end is waited for.
    pub fn must_finish(&self) -> bool {
        let acts = matches!(self.step(), Some(TaskStep::Service { .. } | TaskStep::Packages(_) | TaskStep::Reboot(_)));
        let puts = matches!(self.step(), Some(TaskStep::User(_) | TaskStep::File(_) | TaskStep::Firewall { .. }));
        let kind = acts || puts || self.action().is_some();
        self.goes_back() || kind && matches!(self.doing, Doing::Waiting | Doing::Service { .. })
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) open: BTreeMap<TaskId, Task>,
    over: BTreeMap<TaskId, Timestamp>,
    /// The same, oldest first.
    by_age: BTreeSet<(Timestamp, TaskId)>,
    highest: Stamp,
    brakes: Vec<Brake>,
    pub(super) boot: String,
    /// For how long the host was up, and what its monotonic clock showed then.
    pub(super) up: (Duration, Duration),
    pub(super) effects: Vec<Effect>,
}

impl Ledger {
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        match input {
            Input::Restored(found) => self.restored(now, *found),
            Input::Offer { offer, corrected } => self.offered(now, *offer, corrected),
            Input::Alone { schedule, offer, corrected } => self.alone(now, &schedule, *offer, corrected),
            Input::Cancel { id, stamp, words } => self.cancelled(now, id, stamp, words),
            Input::Began { id, step } => self.began(now, &id, step),
            Input::Printed { id, bytes } => self.printed(now, &id, bytes),
            Input::Ended { id, step, fate, output } => self.ended(now, &id, step, fate, output),
            Input::CheckSeen { id, step, seen } => self.check_seen(now, &id, step, seen),
            Input::ServiceSeen { id, step, runs_for } => self.service_seen(now, &id, step, runs_for),
            Input::PluginSaid { id, step, ask, said } => self.plugin_said(now, &id, step, &ask, said),
            Input::Brakes(brakes) => self.brakes = brakes,
            Input::Ruled(stamp) => self.ruled(stamp),
            Input::Tick => {}
        }
        self.look_at_clock(now);
        std::mem::take(&mut self.effects)
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.open.values().filter_map(Task::next).min()
    }

    /// For how long the host has been up.
    pub(super) fn uptime(&self, now: Now) -> Duration {
        let (up, at) = self.up;
        up.saturating_add(now.monotonic.saturating_sub(at))
    }

    /// What plugins said for a task, behind what its programs printed.
    pub fn with_notes(&self, id: &TaskId, programs: &str) -> String {
        self.open.get(id).map_or_else(|| programs.to_owned(), |task| task.record.with_notes(programs))
    }

    /// Those that are not over.
    pub fn reports(&self) -> impl Iterator<Item = &TaskReport> {
        self.open.values().map(|task| &task.record.report)
    }

    /// What the program of that step is to bring back, while it is the present one.
    pub fn fetch_of(&self, id: &TaskId, step: u32) -> Option<Fetch> {
        self.open.get(id)?.record.fetch_of(step)
    }

    pub fn knows(&self, id: &TaskId) -> bool {
        self.open.contains_key(id) || self.over.contains_key(id)
    }

    pub(super) fn ruled(&mut self, stamp: Stamp) {
        if is_older(self.highest, stamp) {
            self.highest = stamp;
        }
    }

    fn offered(&mut self, now: Now, offer: TaskOffer, corrected: Timestamp) {
        if self.tell(&offer.id) {
            return;
        }
        let id = offer.id.clone();
        if is_older(offer.stamp, self.highest) {
            let words = format!(
                "it comes from a control plane whose time is over ({}.{} after {}.{})",
                offer.stamp.lineage, offer.stamp.term, self.highest.lineage, self.highest.term
            );
            // Not kept: the one whose time it is may offer the same.
            return self.effects.push(Effect::Stale { id, words });
        }
        self.ruled(offer.stamp);
        let turned_down = if corrected > offer.begin_by {
            let late = format_duration(Duration::from_secs(corrected.since(offer.begin_by).as_secs().max(1)));
            Some((TaskState::Undelivered, format!("it came {late} after it had to begin, and nothing was done")))
        } else if let Some(brake) = self.brake(corrected) {
            Some((TaskState::Refused, brake))
        } else if self.open.len() >= AT_ONCE_MAX {
            Some((TaskState::Refused, format!("it is at work on {AT_ONCE_MAX} tasks")))
        } else {
            None
        };
        match turned_down {
            Some((state, words)) => self.end(now, over(id, state, now.wall, words), offer.stamp),
            None => self.accept(now, offer),
        }
    }

    /// The orders that are in force here ask for it, whoever was heard last.
    fn alone(&mut self, now: Now, schedule: &Name, offer: TaskOffer, corrected: Timestamp) {
        if self.knows(&offer.id) {
            return;
        }
        let offer = TaskOffer { stamp: offer.stamp.max(self.highest), ..offer };
        match self.open.keys().find(|id| id.fire().is_some_and(|(name, _)| name == *schedule)) {
            Some(before) => {
                let words = format!("the one before it, {before}, still runs on this host");
                self.end(now, over(offer.id, TaskState::Refused, now.wall, words), offer.stamp);
            }
            None => self.offered(now, offer, corrected),
        }
    }

    /// What forbids anything new here. A check's common cause holds healing back alone.
    fn brake(&self, corrected: Timestamp) -> Option<String> {
        let holds =
            |brake: &&Brake| brake.kind != BrakeKind::CommonCause && brake.until.is_none_or(|until| until > corrected);
        self.brakes.iter().find(holds).map(ToString::to_string)
    }

    fn accept(&mut self, now: Now, offer: TaskOffer) {
        let id = offer.id.clone();
        let mut report = TaskReport::new(id.clone(), TaskState::Running, now.wall, "");
        report.began = Some(now.wall);
        let timeout = offer.timeout;
        let deadline = now.monotonic.saturating_add(timeout);
        let record = Record {
            offer,
            report,
            step_began: now.wall,
            boot: self.boot.clone(),
            uptime: self.uptime(now),
            left: timeout,
            said: String::new(),
            notes: String::new(),
            acting: None,
            cancel: None,
        };
        self.open.insert(id.clone(), Task::new(record, deadline));
        self.go_on(now, &id);
    }

    /// Whether it is known, and then how it stands.
    fn tell(&mut self, id: &TaskId) -> bool {
        if let Some(task) = self.open.get(id) {
            self.effects.push(Effect::Report(task.record.report.clone()));
        } else if self.over.contains_key(id) {
            self.effects.push(Effect::TellAgain(id.clone()));
        } else {
            return false;
        }
        true
    }

    fn cancelled(&mut self, now: Now, id: TaskId, stamp: Stamp, why: String) {
        if is_older(stamp, self.highest) {
            return;
        }
        self.ruled(stamp);
        let Some(task) = self.open.get_mut(&id) else {
            if !self.tell(&id) {
                // Should it come yet, it is over.
                let words = format!("{}, before it came here", words::cancelled(&why));
                self.end(now, over(id, TaskState::Cancelled, now.wall, words), stamp);
            }
            return;
        };
        if task.record.cancel.is_some() || task.ending.is_some() {
            self.tell(&id);
            return;
        }
        task.record.cancel = Some(why.clone());
        let finishes = task.must_finish();
        if finishes {
            task.record.report.at = now.wall;
            task.record.report.words = words::said(&task.record, "the last one, since the task was cancelled");
        }
        self.effects.push(Effect::Keep(Kept::Open(Box::new(task.record.clone()))));
        if finishes {
            self.effects.push(Effect::Report(task.record.report.clone()));
        } else {
            let words = format!("{}{}", words::cancelled(&why), task.so_far());
            self.end_soon(now, &id, TaskState::Cancelled, words);
        }
    }

    /// It ends so when its program has ended; at once where it has none.
    pub(super) fn end_soon(&mut self, now: Now, id: &TaskId, state: TaskState, words: String) {
        let Some(task) = self.open.get_mut(id) else { return };
        if !task.is_command() {
            return self.finish(now, id, state, words);
        }
        task.ending = Some((state, words));
        let step = task.record.report.done;
        // One that is about to start is ended when it has: else it would start after that.
        if task.doing != Doing::Starting {
            task.doing = Doing::Stopping { until: now.monotonic.saturating_add(super::STOP_PATIENCE) };
            self.effects.push(Effect::Stop { id: id.clone(), step });
        }
    }

    fn began(&mut self, now: Now, id: &TaskId, step: u32) {
        let Some(task) = self.open.get_mut(id).filter(|task| task.record.report.done == step) else { return };
        if task.doing != Doing::Starting {
            return;
        }
        task.doing = Doing::Program;
        if let Some((state, words)) = task.ending.take() {
            self.end_soon(now, id, state, words);
        }
    }

    fn printed(&mut self, now: Now, id: &TaskId, bytes: u64) {
        let Some(task) = self.open.get(id).filter(|task| task.ending.is_none()) else { return };
        if bytes > PRINTED_MAX && task.is_command() {
            let most = format_size(PRINTED_MAX);
            let how = format!("ended, since it printed more than {most}: let it write to a file of its own");
            let words = words::said(&task.record, &how);
            self.end_soon(now, id, TaskState::Failed, words);
        }
    }

    pub(super) fn ended(&mut self, now: Now, id: &TaskId, step: u32, fate: Fate, output: Option<Output>) {
        let Some(task) = self.open.get_mut(id).filter(|task| task.record.report.done == step) else { return };
        if let Some(output) = output {
            task.record.report.output = task.record.with_notes(&output.text);
            task.record.report.output_cut_bytes = output.cut_bytes;
            task.record.report.files.extend(output.files);
        }
        if let Fate::Exit(code) = &fate {
            task.record.report.exit = Some(*code);
        }
        if let Some((state, words)) = task.ending.take() {
            return self.finish(now, id, state, words);
        }
        // Of a plugin it is said so only where what it was to do could not be kept.
        if let (Fate::Failed(why), true) = (&fate, task.action().is_some()) {
            return self.broke(now, id, TaskState::Failed, why);
        }
        let record = &task.record;
        let program = |how: String| (TaskState::Failed, words::said(record, &how));
        let (state, words) = match fate {
            Fate::Done { words, changed } => {
                task.record.report.changed |= changed;
                return self.done(now, id, words);
            }
            Fate::Exit(0) => {
                // What a program does is not known: it may be anything.
                task.record.report.changed = true;
                return self.done(now, id, String::new());
            }
            Fate::Exit(code) => program(format!("exit {code}")),
            Fate::Signal(signal) => program(format!("ended by signal {signal}")),
            Fate::OutOfMemory => program("killed, since memory ran out".to_owned()),
            Fate::Failed(why) => program(why),
            Fate::Refused(why) => (TaskState::Refused, words::said(record, &why)),
            Fate::Unknown(_) if task.step().is_some_and(TaskStep::is_idempotent) => {
                let Some(why) = &task.record.cancel else {
                    task.doing = Doing::Again { at: now.monotonic.saturating_add(super::RETRY) };
                    return;
                };
                (TaskState::Cancelled, words::cancelled(why))
            }
            Fate::Unknown(why) => (TaskState::Interrupted, words::said(record, &why)),
        };
        self.finish(now, id, state, words);
    }

    /// For good.
    pub(super) fn finish(&mut self, now: Now, id: &TaskId, state: TaskState, words: String) {
        let Some(task) = self.open.remove(id) else { return };
        let may_be_left = matches!(task.doing, Doing::Starting | Doing::Program) && state != TaskState::Refused;
        let left = (task.is_command() && may_be_left).then_some(task.record.report.done);
        let mut report = task.record.report;
        (report.state, report.at, report.words) = (state, now.wall, words);
        self.end(now, report, task.record.offer.stamp);
        self.effects.extend(left.map(|step| Effect::Stop { id: id.clone(), step }));
    }

    fn end(&mut self, now: Now, report: TaskReport, stamp: Stamp) {
        self.remember(report.id.clone(), report.at);
        let report = Box::new(report);
        self.effects.push(Effect::Keep(Kept::Over { report: report.clone(), stamp }));
        self.effects.push(Effect::End(report));
        self.forget_some(now);
    }

    pub(super) fn remember(&mut self, id: TaskId, at: Timestamp) {
        if let Some(before) = self.over.insert(id.clone(), at) {
            self.by_age.remove(&(before, id.clone()));
        }
        self.by_age.insert((at, id));
    }

    pub(super) fn newest_over(&self, count: usize) -> impl Iterator<Item = &TaskId> {
        self.by_age.iter().rev().take(count).map(|(_, id)| id)
    }

    pub(super) fn forget_some(&mut self, now: Now) {
        let long_ago = now.wall.minus(OVER_KEPT_FOR);
        while self.by_age.len() > OVER_KEPT {
            let old = self.by_age.first().is_some_and(|(at, _)| *at < long_ago);
            if !old && self.by_age.len() <= OVER_MAX {
                return;
            }
            if let Some((_, id)) = self.by_age.pop_first() {
                self.over.remove(&id);
                self.effects.push(Effect::Forget(id));
            }
        }
    }
}
