//! What is to be done now, from what is so: for each run, oldest first.

use super::budget::{Holder, Holders};
use super::{
    AWAY_PATIENCE, BEGIN_WITHIN, Effect, Held, Link, Order, REPORT_PATIENCE, Run, RunState, Runs, SETTLE, Settling,
    Task, View, What,
};
use crate::schedules::ON_TIME;
use hostler_types::calendar::jittered;
use hostler_types::units::format_duration;
use hostler_types::{NodeId, Now, TaskReport, TaskState, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

const AWAY_ALONE: &str = "away the whole time: what it did by itself is told when it is back";

/// What a look at one run shares with those at the others.
struct Look<'a> {
    now: Now,
    view: &'a dyn View,
    /// Whom somebody disturbs, or who is down; as far as a budget asks.
    holders: Holders,
    /// Which run is at work on a node, so that no other disturbs it.
    at_work: BTreeMap<NodeId, u64>,
    /// Those that were given up on now, in a state that nobody knows.
    left: Vec<(NodeId, u64)>,
    next: Option<Duration>,
}

impl Look<'_> {
    fn wake(&mut self, at: Duration) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    fn disturbs(&mut self, node: &NodeId, why: String) {
        self.holders.entry(node.clone()).or_insert(Holder { why, is_down: false });
    }

    fn works_on(&mut self, node: &NodeId, number: u64) {
        self.disturbs(node, format!("in run/{number}"));
        self.at_work.insert(node.clone(), number);
    }
}

impl Runs {
    pub(super) fn decide(&mut self, now: Now, view: &dyn View, effects: &mut Vec<Effect>) {
        self.settling.retain(|_, one| one.until > now.monotonic);
        let mut look =
            Look { now, view, holders: Holders::new(), at_work: BTreeMap::new(), left: Vec::new(), next: None };
        let disturbing = |run: &&Run| run.order.disturbs;
        if self.runs.values().any(|run| disturbing(&run)) {
            for budget in view.budgets() {
                let down = budget
                    .nodes
                    .keys()
                    .filter_map(|node| Some((node.clone(), Holder { why: view.down(node)?, is_down: true })));
                look.holders.extend(down);
            }
            for (node, one) in &self.settling {
                look.disturbs(node, format!("since run/{}", one.number));
                look.wake(one.until);
            }
            for run in self.runs.values().filter(disturbing) {
                let number = run.order.number;
                for (node, _) in run.tasks.iter().filter(|(_, task)| task.state().is_out()) {
                    look.works_on(node, number);
                }
            }
        }
        for run in self.runs.values_mut().filter(|run| !run.state.is_over()) {
            run.decide(&mut look, effects);
        }
        for (node, number) in std::mem::take(&mut look.left) {
            let until = now.monotonic + SETTLE;
            look.wake(until);
            self.settles(node, Settling { number, until });
        }
        self.deadline = look.next;
    }
}

/// After that nobody can be doing it any more.
pub(super) fn silent_after(timeout: Duration) -> Duration {
    BEGIN_WITHIN + timeout + REPORT_PATIENCE
}

impl Run {
    fn decide(&mut self, look: &mut Look<'_>, effects: &mut Vec<Effect>) {
        let number = self.order.number;
        self.follow(look, effects);
        if let Some(why) = self.must_stop(look) {
            self.note(look.now, What::Stopped, "", why.clone(), self.order.origin.clone(), effects);
            (self.state, self.words) = (RunState::Stopping, why);
            effects.push(Effect::SaveRun { number });
            // Those that are out end by themselves, or now if their time is over.
            self.follow(look, effects);
        }
        let left_out = match self.state {
            RunState::Aborting => Some(self.words.clone()),
            RunState::Stopping => Some(format!("not tried: {}", self.words)),
            _ => None,
        };
        if let Some(words) = left_out {
            for (node, task) in self.tasks.iter_mut().filter(|(_, task)| task.state() == TaskState::Planned) {
                task.end(look.now, TaskState::Skipped, words.clone());
                effects.push(Effect::SaveTask { number, node: node.clone() });
            }
        } else if self.state == RunState::Running {
            self.begin_some(look, effects);
        }
        self.most_out = self.most_out.max(self.count(TaskState::is_out));
        if self.count(|state| !state.is_over()) == 0 {
            self.end(look.now, effects);
        }
    }

    /// Offers again what may not have arrived, and gives up on whom nobody hears of.
    fn follow(&mut self, look: &mut Look<'_>, effects: &mut Vec<Effect>) {
        let (number, limit) = (self.order.number, silent_after(self.order.timeout));
        let overdue = self.is_overdue(look.now);
        let ending = self.state == RunState::Aborting || overdue;
        let words = if overdue { "the run's deadline is over".to_owned() } else { self.words.clone() };
        let may_lack_some = look.view.may_lack_some();
        for (node, task) in self.tasks.iter_mut().filter(|(_, task)| task.state().is_out()) {
            let since = *task.out_since.get_or_insert(look.now.monotonic);
            let silent = look.now.monotonic.saturating_sub(since) >= limit;
            let has_to_send = if ending { !task.cancelled } else { !task.sent };
            if !silent && !has_to_send && !may_lack_some {
                // Of thousands, this is most of them, at each look.
                look.wake(since + limit);
                continue;
            }
            let link = look.view.link(node);
            if silent || link == Link::Gone {
                let words = match link {
                    Link::Gone => "the node was removed while it was at it".to_owned(),
                    Link::Away => format!("away, and not heard of for {}", format_duration(limit)),
                    Link::Ready => format!("connected, and said nothing of it for {}", format_duration(limit)),
                };
                task.end(look.now, TaskState::Lost, words);
                if self.order.disturbs {
                    look.left.push((node.clone(), number));
                }
                effects.push(Effect::SaveTask { number, node: node.clone() });
                continue;
            }
            look.wake(since + limit);
            if link != Link::Ready {
                continue;
            }
            if ending && !task.cancelled {
                task.cancelled = true;
                let (node, words) = (node.clone(), words.clone());
                effects.push(Effect::Cancel { node, task: self.order.task.clone(), words });
            } else if !ending && !task.sent {
                task.sent = true;
                // By a clock that was put back since, it is given up before that.
                let out = look.now.wall.minus(look.now.monotonic.saturating_sub(since));
                let begin_by = self.order.begin_by(node, task.offered.map_or(out, |offered| offered.min(out)));
                effects.push(Effect::Offer { number, node: node.clone(), begin_by });
            }
        }
    }

    fn is_overdue(&self, now: Now) -> bool {
        self.order.deadline.is_some_and(|deadline| self.age(now) >= deadline)
    }

    /// Why nothing more begins, from now on.
    fn must_stop(&self, look: &mut Look<'_>) -> Option<String> {
        if !matches!(self.state, RunState::Running | RunState::Paused) {
            return None;
        }
        let (now, order) = (look.now, &self.order);
        if let Some(deadline) = order.deadline {
            if self.is_overdue(now) {
                return Some(format!("the deadline of {} is over", format_duration(deadline)));
            }
            look.wake(now.monotonic + (deadline - self.age(now)));
        }
        if let Some(by) = order.begin_by {
            if now.wall >= by && self.count(|state| state == TaskState::Planned) > 0 {
                return Some("its window closes".to_owned());
            }
            look.wake(now.monotonic + by.since(now.wall));
        }
        // What they did by themselves is done.
        if order.fire.as_ref().is_some_and(|fire| fire.only_on_time) {
            return None;
        }
        let errors: Vec<&Task> = self.tasks.values().filter(|task| task.state().is_error()).collect();
        if errors.len() > order.max_errors {
            let who = super::names(errors.iter().map(|task| &task.name));
            let errors = errors.len();
            return Some(format!("{errors} failed ({who}), and max_errors is {}", order.max_errors));
        }
        let canary = |task: &&Task| (task.place as usize) < order.canary;
        let bad = self
            .tasks
            .values()
            .filter(canary)
            .find(|task| task.state().is_over() && task.state() != TaskState::Succeeded)?;
        Some(format!("the canary {} {}", bad.name, bad.state()))
    }

    fn begin_some(&mut self, look: &mut Look<'_>, effects: &mut Vec<Effect>) {
        let (number, now) = (self.order.number, look.now);
        let mut room = self.order.max.saturating_sub(self.count(TaskState::is_out));
        let trying = self
            .tasks
            .values()
            .any(|task| (task.place as usize) < self.order.canary && task.state() != TaskState::Succeeded);
        let mut turns: Vec<(u32, NodeId)> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.state() == TaskState::Planned)
            .filter(|(_, task)| !trying || (task.place as usize) < self.order.canary)
            .map(|(node, task)| (task.place, node.clone()))
            .collect();
        turns.sort_unstable();
        let (mut only_away, mut away) = (self.count(TaskState::is_out) == 0, Vec::new());
        for (_, node) in turns {
            let begins = self.order.begins(&node).since(self.order.at);
            if self.age(now) < begins {
                look.wake(now.monotonic + (begins - self.age(now)));
                only_away = false;
                continue;
            }
            if room == 0 {
                only_away = false;
                break;
            }
            let held = self.holds(look, &node);
            let Some(task) = self.tasks.get_mut(&node) else { continue };
            if let Some(held) = held {
                only_away = false;
                let before = task.held.replace(held.clone());
                if !before.is_some_and(|before| before.is_as(&held)) {
                    let name = task.name.to_string();
                    self.note(now, What::Held, &name, held.words, held.origin, effects);
                }
                continue;
            }
            match look.view.link(&node) {
                Link::Gone => {
                    task.end(now, TaskState::Undelivered, "removed before its turn came".to_owned());
                    // It may have been a canary.
                    look.wake(now.monotonic);
                    effects.push(Effect::SaveTask { number, node });
                }
                Link::Away => {
                    task.held = Some(Held { words: "away".to_owned(), origin: String::new() });
                    away.push(node);
                }
                Link::Ready => {
                    let went_on = task.held.take();
                    let offered = TaskReport::new(task.report.id.clone(), TaskState::Offered, now.wall, "");
                    (task.report, task.offered) = (offered, Some(now.wall));
                    (task.sent, task.out_since) = (true, Some(now.monotonic));
                    let name = task.name.to_string();
                    room -= 1;
                    only_away = false;
                    if self.order.disturbs {
                        look.works_on(&node, number);
                    }
                    look.wake(now.monotonic + silent_after(self.order.timeout));
                    effects.push(Effect::SaveTask { number, node: node.clone() });
                    if went_on.is_some() {
                        self.note(now, What::WentOn, &name, String::new(), String::new(), effects);
                    }
                    let begin_by = self.order.begin_by(&node, now.wall);
                    effects.push(Effect::Offer { number, node, begin_by });
                }
            }
        }
        self.wait_for(look, &away, only_away, effects);
    }

    /// Nothing is left to be done but on nodes that are away: these get a while, and no more.
    fn wait_for(&mut self, look: &mut Look<'_>, away: &[NodeId], only_away: bool, effects: &mut Vec<Effect>) {
        if away.is_empty() || !only_away {
            self.idle = None;
            return;
        }
        let since = *self.idle.get_or_insert(look.now.monotonic);
        if look.now.monotonic.saturating_sub(since) < AWAY_PATIENCE {
            look.wake(since + AWAY_PATIENCE);
            return;
        }
        look.wake(look.now.monotonic);
        for node in away {
            let Some(task) = self.tasks.get_mut(node) else { continue };
            let alone = self.order.fire.as_ref().is_some_and(|fire| fire.alone);
            let words = if alone { AWAY_ALONE } else { "away the whole time: nothing was done there" };
            task.end(look.now, TaskState::Undelivered, words.to_owned());
            effects.push(Effect::SaveTask { number: self.order.number, node: node.clone() });
        }
    }

    /// What keeps a node that is there from its turn.
    fn holds(&self, look: &Look<'_>, node: &NodeId) -> Option<Held> {
        if let Some(held) = look.view.brake(node) {
            return Some(held);
        }
        if !self.order.disturbs {
            return None;
        }
        if let Some(number) = look.at_work.get(node) {
            return Some(Held { words: format!("run/{number} is at work on it"), origin: String::new() });
        }
        look.view.budgets().iter().find_map(|budget| budget.refuses(node, &look.holders))
    }

    fn end(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let number = self.order.number;
        let errors = self.count(TaskState::is_error);
        // Hosts that are cut off may have done it alone, and say so later.
        let alone = self.order.fire.as_ref().is_some_and(|fire| fire.alone);
        let nobody = !alone && self.count(|state| state == TaskState::Succeeded) == 0;
        self.state = match self.state {
            RunState::Aborting => RunState::Aborted,
            RunState::Stopping => RunState::Failed,
            _ if errors > self.order.max_errors => RunState::Failed,
            _ if nobody => {
                "none of its nodes did it".clone_into(&mut self.words);
                RunState::Failed
            }
            _ => RunState::Succeeded,
        };
        self.ended = Some(now.wall);
        let words = self.end_words(now);
        self.note(now, What::Ended, "", words, String::new(), effects);
        effects.push(Effect::SaveRun { number });
        effects.push(Effect::Over { number });
    }
}

impl Order {
    /// The same for a node and a run, whoever asks and whenever; and for a schedule's, for
    /// a node that is cut off.
    fn begins(&self, node: &NodeId) -> Timestamp {
        let Some(fire) = &self.fire else { return jittered(self.task.as_str(), node, self.at, self.jitter) };
        // What is made up for would begin on all nodes at once. What is still to come was
        // due by a clock that was put back since: nobody waits for it twice.
        let on_time = self.at.since(fire.at) < ON_TIME || fire.only_on_time;
        let from = if on_time { fire.at.min(self.at) } else { self.at };
        jittered(fire.schedule.as_str(), node, from, self.jitter)
    }

    /// When a node that was offered it at that time begins it no more.
    fn begin_by(&self, node: &NodeId, offered: Timestamp) -> Timestamp {
        let usual = offered.plus(BEGIN_WITHIN);
        let only_on_time = self.fire.as_ref().is_some_and(|fire| fire.only_on_time);
        if only_on_time { usual.min(self.begins(node).plus(BEGIN_WITHIN)) } else { usual }
    }
}

impl Task {
    fn end(&mut self, now: Now, state: TaskState, words: String) {
        self.held = None;
        let began = self.report.began;
        self.report = TaskReport { began, ..TaskReport::new(self.report.id.clone(), state, now.wall, words) };
    }
}
