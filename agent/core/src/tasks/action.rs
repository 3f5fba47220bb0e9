//! What a plugin does as a step: its plan, each part of that once and in its order, and
//! back again where one fails.
//!
//! Every part has a key that is made of names alone. So whoever is asked again, by this
//! agent or the next one, knows that it is the same, and does nothing again.

use super::machine::{Ledger, Task};
use super::steps::Doing;
use super::{Effect, Kept, LOOK_AGAIN, Record, words};
use hostler_types::task::Action;
use hostler_types::units::format_duration;
use hostler_types::{Now, TaskId, TaskState, TaskStep};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// More of them are several steps, which a playbook would be.
const PARTS_MAX: usize = 64;
const PART_ID_CHARACTERS_MAX: usize = 100;
/// What a plugin says in one place: more of it is in the agent's own log.
const SAID_CHARACTERS_MAX: usize = 300;
/// What all actions of a task say; a report carries 8 KiB of output.
const NOTES_BYTES_MAX: usize = 4 * 1024;
/// A plugin that was assigned just now is fetched and compiled by then, or there is
/// something to do about it.
const PLUGIN_PATIENCE: Duration = Duration::from_secs(120);

/// One thing that a plugin plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub id: String,
    pub summary: String,
    pub reversible: bool,
}

/// How far one is that has its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acting {
    pub plan: Vec<Part>,
    /// So many parts are done; of the next one nobody knows until its answer is kept.
    pub done: u32,
    pub back: Option<Back>,
}

/// One of its parts failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    pub why: String,
    /// So many of those that were done have not been looked at.
    pub left: u32,
    pub undone: Vec<String>,
    pub stays: Vec<String>,
}

/// What a plugin is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginAsk {
    Plan,
    Apply { part: String, key: String },
    Undo { part: String, key: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSaid {
    Planned(Vec<Part>),
    Applied(Vec<(String, String)>),
    Undone,
    /// It could not be asked, and may soon.
    NotYet(String),
    Failed(String),
    /// By the host's own policy.
    Refused(String),
}

impl Acting {
    fn part(&self, index: u32) -> Option<&Part> {
        usize::try_from(index).ok().and_then(|index| self.plan.get(index))
    }

    fn summaries(&self, count: u32) -> String {
        let done = self.plan.iter().take(usize::try_from(count).unwrap_or(usize::MAX));
        done.map(|part| part.summary.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn is_over(&self) -> bool {
        self.part(self.done).is_none()
    }
}

fn key(id: &TaskId, step: u32, part: &str) -> String {
    format!("{id}/{step}/{part}")
}

/// A plan that can be done: each part by a name of its own, as its key is made of that.
fn checked(plan: Vec<Part>) -> Result<Vec<Part>, String> {
    if plan.len() > PARTS_MAX {
        return Err(format!("its plan has {} steps: {PARTS_MAX} are allowed", plan.len()));
    }
    let mut ids = BTreeSet::new();
    for Part { id, .. } in &plan {
        if id.is_empty() || id.chars().count() > PART_ID_CHARACTERS_MAX || id.chars().any(char::is_control) {
            return Err(format!("its plan names a step {:?}: 1 to {PART_ID_CHARACTERS_MAX} characters", short(id)));
        }
        if !ids.insert(id) {
            return Err(format!("its plan has two steps {id:?}: each needs a name of its own"));
        }
    }
    let said = |part: &Part| if part.summary.trim().is_empty() { part.id.clone() } else { short(&part.summary) };
    Ok(plan.iter().map(|part| Part { summary: said(part), ..part.clone() }).collect())
}

/// As one line.
fn short(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|one| !one.is_empty()).collect();
    words.join(" ").chars().take(SAID_CHARACTERS_MAX).collect()
}

impl Record {
    /// What programs printed, and behind it what actions said.
    pub(super) fn with_notes(&self, programs: &str) -> String {
        let between = if programs.is_empty() || programs.ends_with('\n') { "" } else { "\n" };
        if self.notes.is_empty() { programs.to_owned() } else { format!("{programs}{between}{}", self.notes) }
    }

    fn note(&mut self, line: &str) {
        let programs = self.report.output.strip_suffix(self.notes.as_str()).unwrap_or_default().to_owned();
        if self.notes.len() + line.len() < NOTES_BYTES_MAX {
            self.notes.push_str(line);
            self.notes.push('\n');
        }
        self.report.output = self.with_notes(&programs);
    }
}

impl Task {
    pub(super) fn action(&self) -> Option<&Action> {
        match self.step() {
            Some(TaskStep::Action(action)) => Some(action),
            _ => None,
        }
    }

    /// It undoes what it did: neither time nor anybody's wish ends that.
    pub(super) fn goes_back(&self) -> bool {
        self.record.acting.as_ref().is_some_and(|acting| acting.back.is_some())
    }

    /// What the plugin is asked now.
    fn ask(&self) -> Option<PluginAsk> {
        let Some(acting) = &self.record.acting else { return Some(PluginAsk::Plan) };
        let key = |part: &Part| key(&self.record.offer.id, self.record.report.done, &part.id);
        let (part, back) = match &acting.back {
            Some(back) => (acting.part(back.left.checked_sub(1)?)?, true),
            None => (acting.part(acting.done)?, false),
        };
        let (part, key) = (part.id.clone(), key(part));
        Some(if back { PluginAsk::Undo { part, key } } else { PluginAsk::Apply { part, key } })
    }

    /// `; done: drain web1; perhaps: stop web1`, of an action that ends before its end.
    pub(super) fn so_far(&self) -> String {
        let Some(acting) = self.record.acting.as_ref().filter(|acting| acting.back.is_none()) else {
            return String::new();
        };
        let mut words = String::new();
        if acting.done > 0 {
            words.push_str(&format!("; done: {}", acting.summaries(acting.done)));
        }
        // Its answer did not come.
        if let Some(part) = acting.part(acting.done).filter(|_| self.doing != Doing::Between) {
            words.push_str(&format!("; perhaps: {}", part.summary));
        }
        words
    }
}

impl Ledger {
    /// Asks the plugin for what comes next; what that is has been kept.
    pub(super) fn ask_plugin(&mut self, id: &TaskId) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some((action, ask)) = task.action().cloned().zip(task.ask()) else { return };
        task.doing = Doing::Waiting;
        self.effects.push(Effect::Plugin { id: id.clone(), step: task.record.report.done, action, ask });
    }

    pub(super) fn plugin_said(&mut self, now: Now, id: &TaskId, step: u32, ask: &PluginAsk, said: PluginSaid) {
        let Some(task) = self.open.get_mut(id).filter(|task| task.record.report.done == step) else { return };
        if task.doing != Doing::Waiting || task.action().is_none() || task.ask().as_ref() != Some(ask) {
            return;
        }
        if let PluginSaid::NotYet(why) = said {
            return self.not_yet(now, id, why);
        }
        (task.waits_since, task.doing) = (None, Doing::Between);
        match said {
            PluginSaid::Planned(plan) => match checked(plan) {
                Ok(plan) => self.planned(now, id, plan),
                Err(why) => self.broke(now, id, TaskState::Failed, &why),
            },
            PluginSaid::Applied(attributes) => self.applied(now, id, &attributes),
            PluginSaid::Undone => self.undone(now, id, None),
            PluginSaid::Refused(why) => self.broke(now, id, TaskState::Refused, &why),
            PluginSaid::Failed(why) | PluginSaid::NotYet(why) => self.broke(now, id, TaskState::Failed, &why),
        }
    }

    /// It is asked the same again, for as long as anybody would wait.
    fn not_yet(&mut self, now: Now, id: &TaskId, why: String) {
        let Some(task) = self.open.get_mut(id) else { return };
        let since = *task.waits_since.get_or_insert(now.monotonic);
        if now.monotonic.saturating_sub(since) >= PLUGIN_PATIENCE {
            let waited = format_duration(PLUGIN_PATIENCE);
            return self.broke(now, id, TaskState::Failed, &format!("{why}, after {waited}"));
        }
        // Nothing of it is under way: somebody's wish ends it at once.
        if let Some(why) = task.record.cancel.clone().filter(|_| !task.goes_back()) {
            let words = format!("{}{}", words::cancelled(&why), task.so_far());
            return self.finish(now, id, TaskState::Cancelled, words);
        }
        task.doing = Doing::Again { at: now.monotonic.saturating_add(LOOK_AGAIN) };
        let words = words::said(&task.record, &why);
        if task.record.report.words != words {
            task.record.report.words = words;
            self.effects.push(Effect::Report(task.record.report.clone()));
        }
    }

    fn planned(&mut self, now: Now, id: &TaskId, plan: Vec<Part>) {
        let Some(task) = self.open.get_mut(id) else { return };
        for part in &plan {
            task.record.note(&format!("plan: {}", part.summary));
        }
        task.record.acting = Some(Acting { plan, done: 0, back: None });
        self.next_part(now, id);
    }

    fn applied(&mut self, now: Now, id: &TaskId, attributes: &[(String, String)]) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some(acting) = task.record.acting.as_mut() else { return };
        let summary = acting.part(acting.done).map(|part| part.summary.clone()).unwrap_or_default();
        acting.done += 1;
        task.record.report.changed = true;
        let said: Vec<String> = attributes.iter().map(|(key, value)| short(&format!("{key}={value}"))).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(" ")) };
        task.record.note(&format!("done: {summary}{said}"));
        self.next_part(now, id);
    }

    /// Between two parts it may end.
    fn next_part(&mut self, now: Now, id: &TaskId) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some(acting) = &task.record.acting else { return };
        if acting.is_over() {
            let words = if acting.plan.is_empty() { "nothing to do".to_owned() } else { acting.summaries(acting.done) };
            return self.done(now, id, words);
        }
        let ended = match &task.record.cancel {
            Some(why) => Some((TaskState::Cancelled, words::cancelled(why))),
            None if task.is_late(now) => Some((TaskState::TimedOut, task.too_long())),
            None => None,
        };
        if let Some((state, words)) = ended {
            let words = format!("{words}{}", task.so_far());
            return self.finish(now, id, state, words);
        }
        self.keep_and_ask(now, id);
    }

    fn keep_and_ask(&mut self, now: Now, id: &TaskId) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some(acting) = &task.record.acting else { return };
        let part = match &acting.back {
            Some(back) => acting.part(back.left.saturating_sub(1)).map(|part| format!("undo {}", part.summary)),
            None => acting.part(acting.done).map(|part| part.summary.clone()),
        };
        task.record.report.at = now.wall;
        task.record.report.words = words::said(&task.record, &part.unwrap_or_default());
        let report = task.record.report.clone();
        self.effects.push(Effect::Keep(Kept::Open(Box::new(task.record.clone()))));
        self.ask_plugin(id);
        self.effects.push(Effect::Report(report));
    }

    /// What was asked last did not work.
    pub(super) fn broke(&mut self, now: Now, id: &TaskId, state: TaskState, why: &str) {
        let Some(task) = self.open.get_mut(id) else { return };
        let why = short(why);
        match task.record.acting.as_mut() {
            None => {
                let words = words::said(&task.record, &why);
                self.finish(now, id, state, words);
            }
            Some(Acting { back: Some(_), .. }) => self.undone(now, id, Some(&why)),
            Some(acting) => {
                let summary = acting.part(acting.done).map(|part| part.summary.clone()).unwrap_or_default();
                let (why, left) = (format!("{summary}: {why}"), acting.done);
                acting.back = Some(Back { why: why.clone(), left, undone: Vec::new(), stays: Vec::new() });
                task.record.note(&format!("failed: {why}"));
                self.go_back(now, id);
            }
        }
    }

    /// The part was undone, or why not.
    fn undone(&mut self, now: Now, id: &TaskId, why_not: Option<&str>) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some(acting) = task.record.acting.as_mut() else { return };
        let summary = acting.back.as_ref().and_then(|back| acting.part(back.left.checked_sub(1)?));
        let summary = summary.map(|part| part.summary.clone()).unwrap_or_default();
        let Some(back) = acting.back.as_mut() else { return };
        back.left = back.left.saturating_sub(1);
        let note = match why_not {
            None => {
                back.undone.push(summary.clone());
                format!("undone: {summary}")
            }
            Some(why) => {
                back.stays.push(format!("{summary} ({why})"));
                format!("not undone: {summary}: {why}")
            }
        };
        task.record.note(&note);
        self.go_back(now, id);
    }

    /// The next of those that were done, the last one first.
    fn go_back(&mut self, now: Now, id: &TaskId) {
        let Some(task) = self.open.get_mut(id) else { return };
        let Some(acting) = task.record.acting.as_mut() else { return };
        let plan = &acting.plan;
        let Some(back) = acting.back.as_mut() else { return };
        while let Some(part) = back.left.checked_sub(1).and_then(|last| plan.get(usize::try_from(last).ok()?))
            && !part.reversible
        {
            back.stays.push(format!("{} (it can't be)", part.summary));
            back.left -= 1;
        }
        if back.left > 0 {
            return self.keep_and_ask(now, id);
        }
        let words = words::said(&task.record, &words::went_back(&task.record));
        self.finish(now, id, TaskState::Failed, words);
    }

    /// After the agent, or the host, was away.
    pub(super) fn resume_action(&mut self, now: Now, id: &TaskId, cancel: Option<String>) {
        let Some(task) = self.open.get_mut(id) else { return };
        let late = task.is_late(now);
        if let Some(Acting { plan, back: Some(back), .. }) = task.record.acting.as_mut() {
            if !late {
                return self.ask_plugin(id);
            }
            // Somebody may have put it right since.
            let left = plan.iter().take(usize::try_from(back.left).unwrap_or_default()).rev();
            back.stays.extend(left.map(|part| format!("{} (it is too late)", part.summary)));
            let words = words::said(&task.record, &words::went_back(&task.record));
            return self.finish(now, id, TaskState::Failed, words);
        }
        let ended = match cancel {
            Some(words) => Some((TaskState::Cancelled, words)),
            None if late => Some((TaskState::TimedOut, task.too_long())),
            None => None,
        };
        match ended {
            Some((state, words)) => {
                let words = format!("{words}{}", task.so_far());
                self.finish(now, id, state, words);
            }
            None => self.ask_plugin(id),
        }
    }
}
