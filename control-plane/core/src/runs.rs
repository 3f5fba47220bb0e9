//! Runs: tasks over nodes that were chosen once, so many at a time.
//!
//! [`Runs::step`] takes what happened and what is so now ([`View`]), and says what is to
//! be kept, sent and told, in this order: what is sent was kept before. It looks at
//! what is so, never at what changed: whoever missed something sees it at the next look.
//!
//! Not here: which nodes are chosen, what the steps are, and when a schedule is due.

pub mod budget;
mod decide;
pub mod retention;
pub mod steps;

use self::budget::Budget;
use hostler_types::units::format_duration;
use hostler_types::{Name, NodeId, Now, TaskFile, TaskId, TaskReport, TaskState, Timestamp, fetch};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An offer is begun within that time or not at all: one that lay somewhere for longer
/// was decided on by what was so then.
pub const BEGIN_WITHIN: Duration = Duration::from_secs(60);
/// A node that is away when its turn comes is waited for so long, when nothing else is
/// left to be done.
pub const AWAY_PATIENCE: Duration = Duration::from_secs(30);
/// To say how it ended, and for clocks that differ.
pub const REPORT_PATIENCE: Duration = Duration::from_secs(30);
/// A host that comes back from a reboot within that time was not lost by it.
pub const SETTLE: Duration = Duration::from_secs(60);
/// Of one run, and enough to read: what is more says the same.
pub const NOTES_MAX: usize = 1000;

/// What a run is, from its beginning on.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub number: u64,
    pub task: TaskId,
    pub title: String,
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    /// Where its steps are written.
    pub origin: String,
    /// What its nodes were chosen by.
    pub chosen: String,
    /// Nodes at once.
    pub max: usize,
    pub max_errors: usize,
    /// So many nodes go first, and all of them well, before others begin.
    pub canary: usize,
    /// Nodes begin spread over this time.
    pub jitter: Duration,
    /// Of each task.
    pub timeout: Duration,
    /// Of the whole.
    pub deadline: Option<Duration>,
    /// Nothing begins later: a window closes.
    pub begin_by: Option<Timestamp>,
    /// What it was due by; none: somebody asked for it.
    pub fire: Option<Fire>,
    /// A step takes something away from those that a node serves: budgets count.
    pub disturbs: bool,
    /// What its steps leave comes to be well only later, or not at all.
    pub settles: bool,
}

/// A time at which a schedule was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fire {
    pub schedule: Name,
    pub at: Timestamp,
    /// A node that is cut off does it by itself, at the same moment.
    pub alone: bool,
    /// It comes too late to be made up for: nodes are asked what they did by themselves,
    /// and begin nothing but what is still on time.
    pub only_on_time: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    Running,
    /// What began goes on; nothing else begins.
    Paused,
    /// What began goes on, and it fails then.
    Stopping,
    /// What began is ended.
    Aborting,
    Succeeded,
    Failed,
    Aborted,
}

impl RunState {
    pub const ALL: [Self; 7] =
        [Self::Running, Self::Paused, Self::Stopping, Self::Aborting, Self::Succeeded, Self::Failed, Self::Aborted];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Aborting => "aborting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted)
    }
}

/// One node's part.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub name: Name,
    pub place: u32,
    /// When it was sent first.
    pub offered: Option<Timestamp>,
    pub report: TaskReport,
    /// Why it waits.
    pub held: Option<Held>,
    /// Since when it is out, as far as this control plane knows.
    out_since: Option<Duration>,
    /// It was sent to the node's present stream.
    sent: bool,
    /// That it is to end was sent to the node's present stream.
    cancelled: bool,
}

impl Task {
    pub fn new(name: Name, place: u32, report: TaskReport) -> Self {
        Self { name, place, offered: None, report, held: None, out_since: None, sent: false, cancelled: false }
    }

    pub const fn state(&self) -> TaskState {
        self.report.state
    }

    /// What is over stays so, but for what nobody knew; and a late word takes nothing back.
    fn is_news(&self, state: TaskState) -> bool {
        match self.state() {
            TaskState::Lost => state.is_over(),
            old if old.may_be_another() => state.is_over() && state != TaskState::Undelivered,
            old if old.is_over() => false,
            TaskState::Running => state.is_over() || state == TaskState::Running,
            TaskState::Planned | TaskState::Offered | TaskState::Accepted => state > TaskState::Offered,
            _ => false,
        }
    }

    /// It ended, and nobody knows how it left its node.
    const fn is_unsettled(&self, order: &Order) -> bool {
        use TaskState::{Refused, Skipped, Succeeded, Undelivered};
        match self.state() {
            Succeeded => order.settles,
            Refused | Undelivered | Skipped => false,
            state => state.is_over(),
        }
    }
}

impl Held {
    /// The same rule holds it, whoever else it is about now.
    fn is_as(&self, other: &Self) -> bool {
        let rule = |held: &Self| held.words.split(':').next().unwrap_or_default().to_owned();
        self.origin == other.origin && rule(self) == rule(other)
    }
}

/// Why something that could begin does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub words: String,
    /// Where the rule is written.
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub order: Order,
    pub state: RunState,
    /// Why it stands so.
    pub words: String,
    pub ended: Option<Timestamp>,
    pub tasks: BTreeMap<NodeId, Task>,
    notes: usize,
    /// When it was taken up here, and how old it was then: spans are counted by a clock
    /// that does not jump.
    since: Duration,
    age_before: Duration,
    /// Since when only nodes are left that are away.
    idle: Option<Duration>,
    most_out: usize,
}

impl Run {
    pub fn new(order: Order, tasks: BTreeMap<NodeId, Task>) -> Self {
        Self {
            order,
            state: RunState::Running,
            words: String::new(),
            ended: None,
            tasks,
            notes: 0,
            since: Duration::ZERO,
            age_before: Duration::ZERO,
            idle: None,
            most_out: 0,
        }
    }

    /// As it was kept: what was out may have been heard of since.
    #[must_use]
    pub fn restored(mut self, state: RunState, words: String, notes: usize) -> Self {
        (self.state, self.words, self.notes) = (state, words, notes);
        self
    }

    pub fn count(&self, is: impl Fn(TaskState) -> bool) -> usize {
        self.tasks.values().filter(|task| is(task.state())).count()
    }

    /// `task tidy failed (more than 1 failed): 3 ok, 2 failed`.
    pub fn outcome(&self) -> String {
        let why = match self.state {
            RunState::Succeeded => String::new(),
            _ if self.words.is_empty() => String::new(),
            _ => format!(" ({})", self.words),
        };
        format!("{} {}{why}: {}", self.order.title, self.state.word(), self.tally())
    }

    /// `3 ok, 1 failed, 1 unreachable`.
    pub fn tally(&self) -> String {
        tally(self.tasks.values().map(Task::state))
    }
}

/// How many ended in which way, the good ones first.
pub fn tally(states: impl Iterator<Item = TaskState>) -> String {
    let mut counts: BTreeMap<TaskState, usize> = BTreeMap::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    counts.entry(TaskState::Succeeded).or_default();
    let word = |state| if state == TaskState::Succeeded { "ok" } else { TaskState::word(state) };
    let first = std::iter::once(TaskState::Succeeded);
    let others = TaskState::ALL.iter().copied().filter(|state| *state != TaskState::Succeeded);
    let parts = first.chain(others).filter_map(|state| Some(format!("{} {}", counts.get(&state)?, word(state))));
    parts.collect::<Vec<_>>().join(", ")
}

/// How a node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ready,
    Away,
    /// Removed, or shut out.
    Gone,
}

/// What is so now.
pub trait View {
    fn link(&self, node: &NodeId) -> Link;
    /// Whether somebody may have been removed or shut out since the last look.
    fn may_lack_some(&self) -> bool;
    /// A freeze or a maintenance that holds there.
    fn brake(&self, node: &NodeId) -> Option<Held>;
    /// Why it counts as down: it is lost, or fails a check that heals.
    fn down(&self, node: &NodeId) -> Option<String>;
    fn budgets(&self) -> &[Budget];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Pause,
    Resume,
    Abort,
}

#[derive(Clone, Debug)]
pub enum Input {
    Begin(Box<Run>),
    Control {
        number: u64,
        verb: Verb,
        words: String,
    },
    /// What a node says of one of its tasks.
    Report {
        node: NodeId,
        report: TaskReport,
    },
    /// It has a new stream: what was sent to the one before may be lost.
    Connected {
        node: NodeId,
    },
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    SaveRun {
        number: u64,
    },
    SaveTask {
        number: u64,
        node: NodeId,
    },
    Note {
        number: u64,
        note: Note,
    },
    /// The order's task is offered to the node.
    Offer {
        number: u64,
        node: NodeId,
        begin_by: Timestamp,
    },
    Cancel {
        node: NodeId,
        task: TaskId,
        words: String,
    },
    /// When all of it is kept, it may be forgotten.
    Over {
        number: u64,
    },
}

/// What was decided, for whoever asks why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: Timestamp,
    pub what: What,
    /// Empty: the run.
    pub node: String,
    pub words: String,
    pub origin: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Chose,
    Held,
    WentOn,
    Stopped,
    Ended,
}

impl What {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Chose => "chose",
            Self::Held => "held",
            Self::WentOn => "went on",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}

/// Those that are not over, and whom they disturb.
#[derive(Debug, Default)]
pub struct Runs {
    runs: BTreeMap<u64, Run>,
    /// Whom a run has disturbed, and until when they are not known to be well.
    settling: BTreeMap<NodeId, Settling>,
    deadline: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Settling {
    number: u64,
    until: Duration,
}

impl Runs {
    pub fn get(&self, number: u64) -> Option<&Run> {
        self.runs.get(&number)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Those of before a restart, all of them before anything is decided.
    pub fn restore(&mut self, now: Now, runs: impl IntoIterator<Item = Run>) {
        // What is known already is not kept anew.
        runs.into_iter().for_each(|run| self.begin(now, run, &mut Vec::new()));
    }

    /// What is over stays until it is kept as it ended.
    pub fn forget(&mut self, number: u64) {
        if self.runs.get(&number).is_some_and(|run| run.state.is_over()) {
            self.runs.remove(&number);
        }
    }

    /// When it has to be looked at again without anything happening.
    pub const fn next_deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Nodes that runs are at work on, or have left in a state that nobody knows.
    pub fn disturbed(&self) -> BTreeSet<NodeId> {
        let disturbing = self.runs.values().filter(|run| run.order.disturbs);
        let out = disturbing.flat_map(|run| run.tasks.iter().filter(|(_, task)| task.state().is_out()));
        out.map(|(node, _)| node.clone()).chain(self.settling.keys().cloned()).collect()
    }

    /// Whether it is the id of something that this node has to do.
    pub fn waits_for(&self, node: &NodeId, id: &TaskId) -> bool {
        let mut own = self.runs.values().filter(|run| run.order.task == *id);
        own.any(|run| run.tasks.get(node).is_some_and(|task| !task.state().is_over()))
    }

    pub fn step(&mut self, now: Now, view: &dyn View, inputs: impl IntoIterator<Item = Input>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in inputs {
            self.take(now, input, &mut effects);
        }
        self.decide(now, view, &mut effects);
        effects
    }

    fn take(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Begin(run) => self.begin(now, *run, effects),
            Input::Control { number, verb, words } => {
                if let Some(run) = self.runs.get_mut(&number).filter(|run| !run.state.is_over()) {
                    run.control(now, verb, words, effects);
                }
            }
            Input::Report { node, report } => self.report(now, &node, report, effects),
            Input::Connected { node } => {
                for task in self.runs.values_mut().filter_map(|run| run.tasks.get_mut(&node)) {
                    (task.sent, task.cancelled) = (false, false);
                }
            }
            Input::Tick => {}
        }
    }

    fn begin(&mut self, now: Now, mut run: Run, effects: &mut Vec<Effect>) {
        let number = run.order.number;
        run.since = now.monotonic;
        if run.notes > 0 {
            run.age_before = now.wall.since(run.order.at);
            for (node, task) in run.tasks.iter().filter(|(_, task)| run.order.disturbs && task.is_unsettled(&run.order))
            {
                let left = settles_for(now, &run.order, task);
                self.settles(node.clone(), Settling { number, until: now.monotonic + left });
            }
        } else {
            effects.push(Effect::SaveRun { number });
            effects.extend(run.tasks.keys().map(|node| Effect::SaveTask { number, node: node.clone() }));
            let mut turns: Vec<&Task> = run.tasks.values().collect();
            turns.sort_by_key(|task| task.place);
            let words = format!("{} ({})", names(turns.into_iter().map(|task| &task.name)), run.order.chosen);
            let origin = run.order.origin.clone();
            run.note(now, What::Chose, "", words, origin, effects);
        }
        // One that is over tells whom it disturbed lately, and no more.
        if !run.state.is_over() {
            self.runs.insert(number, run);
        }
    }

    /// How a task stands that goes on: nothing is decided by it, and it is not kept. Whether
    /// it is news.
    pub fn picture(&mut self, node: &NodeId, report: TaskReport) -> bool {
        let task = self.runs.values_mut().filter(|run| run.order.task == report.id);
        let task = task.filter_map(|run| run.tasks.get_mut(node)).next();
        let Some(task) = task.filter(|task| !report.state.is_over() && task.is_news(report.state)) else {
            return false;
        };
        task.report = report;
        true
    }

    fn report(&mut self, now: Now, node: &NodeId, report: TaskReport, effects: &mut Vec<Effect>) {
        let mut runs = self.runs.values_mut();
        let Some(run) = runs.find(|run| run.order.task == report.id && run.tasks.contains_key(node)) else { return };
        let number = run.order.number;
        let files = |task: &Task| task.report.files.iter().map(TaskFile::bytes).sum::<u64>();
        let brought = if report.files.is_empty() { 0 } else { run.tasks.values().map(files).sum() };
        let Some(task) = run.tasks.get_mut(node).filter(|task| task.is_news(report.state)) else { return };
        let is_over = report.state.is_over();
        task.report = report;
        fetch::limit(&mut task.report.files, brought);
        if is_over {
            task.held = None;
            effects.push(Effect::SaveTask { number, node: node.clone() });
            if run.order.disturbs && task.is_unsettled(&run.order) {
                self.settles(node.clone(), Settling { number, until: now.monotonic + SETTLE });
            }
        }
    }

    /// What one run left there a while ago takes nothing from what another left since.
    fn settles(&mut self, node: NodeId, one: Settling) {
        match self.settling.get_mut(&node) {
            Some(known) if known.until >= one.until => {}
            Some(known) => *known = one,
            None => drop(self.settling.insert(node, one)),
        }
    }
}

/// How much longer a task of before a restart is not known to have left its node well. Its
/// host's clock says when it ended, and may be wrong: it was over, or the host was away,
/// when it was offered and all patience had gone by. A host that came back later says so,
/// and where its clock is ahead it is not believed.
fn settles_for(now: Now, order: &Order, task: &Task) -> Duration {
    let patience = decide::silent_after(order.timeout) + SETTLE;
    let at_most = task.offered.map_or(SETTLE, |at| at.plus(patience).since(now.wall).min(SETTLE));
    let ended = task.report.at;
    let since_end = if ended <= now.wall { SETTLE.saturating_sub(now.wall.since(ended)) } else { Duration::ZERO };
    at_most.max(since_end)
}

impl Run {
    fn control(&mut self, now: Now, verb: Verb, words: String, effects: &mut Vec<Effect>) {
        let number = self.order.number;
        let what = match (verb, self.state) {
            (Verb::Pause, RunState::Running) => (RunState::Paused, What::Held),
            (Verb::Resume, RunState::Paused) => (RunState::Running, What::WentOn),
            (Verb::Abort, RunState::Running | RunState::Paused | RunState::Stopping) => {
                (RunState::Aborting, What::Stopped)
            }
            _ => return,
        };
        (self.state, self.words) = (what.0, words.clone());
        effects.push(Effect::SaveRun { number });
        self.note(now, what.1, "", words, String::new(), effects);
    }

    fn note(&mut self, now: Now, what: What, node: &str, words: String, origin: String, effects: &mut Vec<Effect>) {
        self.notes += 1;
        // What is said of the run as a whole is never too much.
        if self.notes > NOTES_MAX && !node.is_empty() {
            return;
        }
        let note = Note { at: now.wall, what, node: node.to_owned(), words, origin };
        effects.push(Effect::Note { number: self.order.number, note });
    }

    fn age(&self, now: Now) -> Duration {
        self.age_before + now.monotonic.saturating_sub(self.since)
    }

    fn end_words(&self, now: Now) -> String {
        let took = format_duration(Duration::from_secs(now.wall.since(self.order.at).as_secs()));
        format!("{}; at most {} at once; in {took}", self.tally(), self.most_out)
    }
}

const NAMES_SHOWN: usize = 8;

/// `web1, web2 and 7 more`.
pub fn names<'a>(all: impl Iterator<Item = &'a Name>) -> String {
    let all: Vec<&str> = all.map(Name::as_str).collect();
    match all.len().checked_sub(NAMES_SHOWN + 1) {
        None => all.join(", "),
        Some(more) => {
            format!("{} and {} more", all.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", "), more + 1)
        }
    }
}

#[cfg(test)]
mod tests;
