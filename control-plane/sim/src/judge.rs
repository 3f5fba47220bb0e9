//! What must be so, looked at from outside: from what hosts really did, and from what
//! control planes had written down.

mod end;
mod fires;
mod hosts;

use super::control::{Control, Fleet};
use super::host::Place;
use super::plan::{Ms, SECOND, node};
use super::store::{Put, Store};
use hostler_core::runs::{BEGIN_WITHIN, Effect, Link, Order, REPORT_PATIENCE, Run, RunState, Runs, SETTLE, View};
use hostler_types::{NodeId, Stamp, TaskId, TaskState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What happened in a world, so that nobody takes a quiet one for a safe one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub runs: BTreeMap<&'static str, u64>,
    pub tasks: BTreeMap<TaskState, u64>,
    pub effects: u64,
    pub terms: u64,
    pub held: u64,
    pub stale: u64,
    /// Fires that became runs, and those that hosts began by themselves.
    pub fires: u64,
    pub alone: u64,
}

#[derive(Default)]
pub struct Judge {
    /// How often each step took effect on each host.
    effects: BTreeMap<(usize, Place), u32>,
    /// Of who ruled there, as its disk knows.
    highest: BTreeMap<usize, Stamp>,
    told: BTreeMap<(usize, TaskId), TaskState>,
    /// By somebody who got an answer.
    pub aborted: Vec<(usize, TaskId)>,
    /// When a control plane let a task begin on a host.
    first: BTreeMap<(usize, TaskId, usize), Ms>,
    /// By control plane and host.
    settling: BTreeMap<(usize, usize), Settling>,
    /// Since when a control plane, in its present life, has waited for a task to end.
    out: BTreeMap<(usize, u64, usize), Ms>,
    /// When each control plane began last.
    started: BTreeMap<usize, Ms>,
    /// Programs that were begun, which may not have come to run.
    programs: BTreeSet<(usize, Place)>,
    begun: BTreeMap<TaskId, Ms>,
    /// When each host was switched on last, or had all its services after that.
    pub booted: BTreeMap<usize, Ms>,
    /// Each time that one lost its power.
    pub cuts: BTreeSet<(usize, Ms)>,
    accepted: BTreeMap<(usize, TaskId), Ms>,
    /// And how far its clock was off.
    ended: BTreeMap<(usize, TaskId), (Ms, i64)>,
    /// When somebody last put a host's clock back.
    pub put_back: BTreeMap<usize, Ms>,
    /// What hosts began by themselves.
    alone: BTreeSet<(usize, TaskId)>,
    /// When somebody last set the clock of the control plane.
    pub clock_set: Ms,
    pub tally: Tally,
}

/// What one left behind.
struct Settling {
    task: TaskId,
    /// When it was let begin.
    since: Ms,
    until: Ms,
    /// Where nobody can say when it ended, it was over then.
    at_most: Ms,
    /// How far the clock was off that says when it ended.
    skew: Option<i64>,
}

/// Longer than a turn of a control plane may take.
const GRACE: Ms = 2 * SECOND;

fn millis(span: Duration) -> Ms {
    u64::try_from(span.as_millis()).expect("a span")
}

/// After that nobody waits any more for a task that was let begin.
fn silent_after(order: &Order) -> Ms {
    millis(BEGIN_WITHIN + order.timeout + REPORT_PATIENCE)
}

fn is_older(stamp: Stamp, than: Stamp) -> bool {
    (stamp.lineage, stamp.term) < (than.lineage, than.term)
}

fn is_unsettled(order: &Order, state: TaskState) -> bool {
    match state {
        TaskState::Succeeded => order.settles,
        TaskState::Refused | TaskState::Undelivered | TaskState::Skipped => false,
        state => state.is_over(),
    }
}

impl Judge {
    /// A control plane knows what was kept, and what it counts after the clock.
    pub fn begins_anew(&mut self, now: Ms, index: usize, control: &Control, places: &BTreeMap<NodeId, usize>) {
        let store = &control.store;
        self.tally.terms += 1;
        let kept = |task: &TaskId, host: usize| {
            let mut offered = store.tasks.iter().filter(|(_, row)| row.offered.is_some());
            offered.any(|((number, node), _)| {
                places[node] == host && store.heads.get(number).is_some_and(|head| head.order.task == *task)
            })
        };
        self.first.retain(|(control, task, host), _| *control != index || kept(task, *host));
        for ((number, node), row) in &store.tasks {
            if let Some(head) = store.heads.get(number).filter(|_| row.offered.is_some()) {
                let (id, host) = (&head.order.task, places[node]);
                // One that takes over knows when another let it begin.
                let others = (0..index).filter_map(|one| self.first.get(&(one, id.clone(), host))).min().copied();
                self.first.entry((index, id.clone(), host)).or_insert(others.unwrap_or(now));
            }
        }
        self.begun.retain(|id, _| store.heads.values().any(|head| head.order.task == *id));
        self.out.retain(|(control, ..), _| *control != index);
        self.started.insert(index, now);
        let set = self.clock_set;
        // Spans over a restart are counted by a clock that somebody may have set. And what
        // was taken for lost may have ended well, as is known now.
        let unsettled = |one: &Settling, host: usize| {
            let head = store.heads.values().find(|head| head.order.task == one.task);
            let state = store.state_of(&one.task, &node(host));
            head.zip(state).is_some_and(|(head, state)| is_unsettled(&head.order, state))
        };
        self.settling.retain(|(of, host), one| {
            if *of != index {
                return true;
            }
            match one.skew {
                Some(skew) if skew != control.skew => one.until = one.until.min(one.at_most),
                Some(_) => {}
                // What was taken for lost has said since when it ended.
                None if store.state_of(&one.task, &node(*host)) != Some(TaskState::Lost) => {
                    let ended = self.ended.get(&(*host, one.task.clone())).map_or(now, |(ended, _)| *ended);
                    one.until = one.until.min(ended + millis(SETTLE));
                }
                None => {}
            }
            one.until > now && one.since > set && unsettled(one, *host)
        });
    }

    pub fn decided(
        &mut self,
        now: Ms,
        index: usize,
        fleet: &Fleet<'_>,
        runs: &Runs,
        effects: &[Effect],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for run in runs.iter() {
            // What another one let begin is heard of, and may be too much. And one that ended
            // is not at work, though who heard of it may have died before that was kept.
            let is_over = |node: &NodeId| self.ended.contains_key(&(fleet.host(node), run.order.task.clone()));
            let own = || run.tasks.iter().filter(|(_, task)| task.offered.is_some() && task.state().is_out());
            let mut out = own().count();
            if out > run.order.max {
                out = own().filter(|(node, _)| !is_over(node)).count();
            }
            if out > run.order.max {
                wrong.push(format!("{} has {out} out at once, and may have {}", run.order.title, run.order.max));
            }
            wrong.extend(self.in_time((now, index), fleet, run));
        }
        for effect in effects {
            match effect {
                Effect::SaveRun { number } => {
                    if let Some(run) = runs.get(*number) {
                        self.begun.entry(run.order.task.clone()).or_insert(now);
                    }
                }
                Effect::SaveTask { number, node } => {
                    let Some(run) = runs.get(*number).filter(|run| run.order.disturbs) else { continue };
                    if run.tasks.get(node).is_some_and(|task| is_unsettled(&run.order, task.state())) {
                        let lost = run.tasks.get(node).is_some_and(|task| task.state() == TaskState::Lost);
                        self.left((now, index), fleet.host(node), &run.order, lost);
                    }
                }
                Effect::Offer { number, node, .. } => {
                    let Some(run) = runs.get(*number) else { continue };
                    if self.aborted.contains(&(index, run.order.task.clone())) {
                        wrong.push(format!("{} is offered after it was aborted", run.order.task));
                    }
                    // What another one let begin there is only asked after.
                    let own = run.tasks.get(node).is_some_and(|task| task.offered.is_some());
                    let key = (index, run.order.task.clone(), fleet.host(node));
                    if own && !self.first.contains_key(&key) {
                        self.first.insert(key, now);
                        wrong.extend(self.first_offer((now, index), fleet, runs, (run, node)));
                    }
                }
                Effect::Note { note, .. } if note.what == hostler_core::runs::What::Held => self.tally.held += 1,
                _ => {}
            }
        }
        wrong
    }

    /// What a task left behind may not be well yet, and nor is who was given up.
    fn left(&mut self, (now, index): (Ms, usize), host: usize, order: &Order, lost: bool) {
        let task = order.task.clone();
        let since = self.first.get(&(index, task.clone(), host)).copied().unwrap_or(now);
        let ended = self.ended.get(&(host, task.clone())).copied().filter(|_| !lost);
        let until = ended.map_or(now, |(ended, _)| ended) + millis(SETTLE);
        let at_most = since + silent_after(order) + millis(SETTLE);
        let known = self.settling.get(&(index, host)).is_some_and(|known| known.until >= until);
        if !known {
            let skew = ended.map(|(_, skew)| skew);
            self.settling.insert((index, host), Settling { task, since, until, at_most, skew });
        }
    }

    /// Nobody is waited for longer than is said, and no run goes on behind its deadline but
    /// for what began before.
    fn in_time(&mut self, (now, index): (Ms, usize), fleet: &Fleet<'_>, run: &Run) -> Vec<String> {
        let (order, limit) = (&run.order, silent_after(&run.order) + GRACE);
        let mut wrong = Vec::new();
        for (node, task) in run.tasks.iter().filter(|(_, task)| task.state().is_out()) {
            let since = *self.out.entry((index, order.number, fleet.host(node))).or_insert(now);
            if now > since + limit {
                wrong.push(format!("{} is waited for on {} since {since}, and it is {now}", order.task, task.name));
            }
        }
        let Some(begun) = self.begun.get(&order.task).copied().filter(|begun| self.clock_set <= *begun) else {
            return wrong;
        };
        let Some(due) = order.deadline.map(|deadline| begun + millis(deadline)) else { return wrong };
        let started = self.started.get(&index).copied().unwrap_or(0);
        if now > due + GRACE && run.count(|state| state == TaskState::Planned) > 0 {
            wrong.push(format!("{} has something to begin still at {now}, behind its deadline at {due}", order.title));
        }
        if !run.state.is_over() && now > due.max(started) + limit {
            wrong.push(format!("{} is not over at {now}, long behind its deadline at {due}", order.title));
        }
        wrong
    }

    fn first_offer(
        &self,
        (now, index): (Ms, usize),
        fleet: &Fleet<'_>,
        runs: &Runs,
        (run, node): (&Run, &NodeId),
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |so: bool, what: &str| {
            if !so {
                wrong.push(format!("{} begins on web{} {what}", run.order.task, fleet.host(node)));
            }
        };
        must(fleet.link(node) == Link::Ready, "which is away");
        must(fleet.brake(node).is_none(), "which is frozen");
        must(run.state == RunState::Running, "though the run does not go on");
        must(run.count(TaskState::is_error) <= run.order.max_errors, "after too many errors");
        let is_canary = |place: u32| (place as usize) < run.order.canary;
        let own = run.tasks.get(node).map_or(0, |task| task.place);
        let mut canaries = run.tasks.values().filter(|task| is_canary(task.place));
        must(is_canary(own) || canaries.all(|task| task.state() == TaskState::Succeeded), "before its canaries");
        let since = self.begun.get(&run.order.task).copied().unwrap_or(now);
        let age = Duration::from_millis(now - since);
        let in_time = run.order.deadline.is_none_or(|deadline| age <= deadline);
        must(in_time || self.clock_set > since, "behind its deadline");
        if run.order.disturbs && fleet.down(node).is_none() {
            for budget in fleet.budgets().iter().filter(|budget| budget.nodes.contains_key(node)) {
                let others = budget.nodes.keys().filter(|other| *other != node);
                let down: Vec<String> =
                    others.filter_map(|other| self.why_away((now, index), fleet, runs, other)).collect();
                let what = format!(
                    "while budget {} has {} of {}: {}",
                    budget.name,
                    down.len(),
                    budget.max_down,
                    down.join(", ")
                );
                must(down.len() < budget.max_down, &what);
            }
        }
        wrong
    }

    /// By our hand, as far as this control plane had a part in it, or since it is seen so.
    fn why_away(&self, (now, index): (Ms, usize), fleet: &Fleet<'_>, runs: &Runs, node: &NodeId) -> Option<String> {
        let host = fleet.host(node);
        let mut disturbing = runs.iter().filter(|run| run.order.disturbs);
        let out = disturbing.any(|run| run.tasks.get(node).is_some_and(|task| task.state().is_out()));
        let settles = self.settling.get(&(index, host)).is_some_and(|one| one.until > now);
        let why = match (fleet.down(node), out, settles, fleet.is_at_work(host)) {
            (Some(why), ..) => why,
            (None, true, ..) => "is out".to_owned(),
            (None, false, true, _) => "may not be well yet".to_owned(),
            (None, false, false, true) => "is at work".to_owned(),
            _ => return None,
        };
        Some(format!("web{host} {why}"))
    }

    pub fn kept(&self, _index: usize, store: &Store, put: &Put) -> Vec<String> {
        let wrong = match put {
            Put::Task(number, node, row) => store.tasks.get(&(*number, node.clone())).and_then(|before| {
                let (was, is) = (before.report.state, row.report.state);
                let final_ = was.is_over() && !was.may_be_another();
                (final_ && was != is).then(|| format!("run/{number} on {}: it was {was}, and is {is}", row.name))
            }),
            Put::Head(number, head, _) => store.heads.get(number).and_then(|before| {
                let again = before.state.is_over();
                again.then(|| format!("run/{number} ended {}, and is {}", before.state.word(), head.state.word()))
            }),
            Put::Newest(_) | Put::Note(_) | Put::End(..) => None,
        };
        wrong.into_iter().collect()
    }
}
