//! What must be so, looked at from outside: from what hosts really did, and from what
//! control planes had written down.

use super::control::Fleet;
use super::host::{Host, Place};
use super::plan::{Ms, node};
use super::store::{Put, Store};
use super::world::World;
use hostler_agent_core::tasks::{Effect as HostEffect, Kept};
use hostler_core::runs::{Effect, Link, Order, Run, RunState, Runs, SETTLE, View};
use hostler_types::{NodeId, Stamp, TaskId, TaskReport, TaskState, TaskStep};
use std::collections::BTreeMap;

/// What happened in a world, so that nobody takes a quiet one for a safe one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub runs: BTreeMap<&'static str, u64>,
    pub tasks: BTreeMap<TaskState, u64>,
    pub effects: u64,
    pub terms: u64,
    pub held: u64,
    pub stale: u64,
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
    /// For which control plane, since it was let begin, until when.
    settling: BTreeMap<(usize, usize), (Ms, Ms)>,
    begun: BTreeMap<TaskId, Ms>,
    /// When each host was switched on last.
    pub booted: BTreeMap<usize, Ms>,
    accepted: BTreeMap<(usize, TaskId), Ms>,
    ended: BTreeMap<(usize, TaskId), Ms>,
    /// When somebody last set the clock of the control plane.
    pub clock_set: Ms,
    pub tally: Tally,
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
    pub fn begins_anew(&mut self, now: Ms, index: usize, store: &Store, places: &BTreeMap<NodeId, usize>) {
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
                self.first.entry((index, head.order.task.clone(), places[node])).or_insert(now);
            }
        }
        self.begun.retain(|id, _| store.heads.values().any(|head| head.order.task == *id));
        let set = self.clock_set;
        // Spans over a restart are counted by a clock that somebody may have set.
        self.settling.retain(|(control, _), (since, until)| *control != index || (*until > now && *since > set));
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
            // What another one let begin is heard of, and may be too much.
            let own = run.tasks.values().filter(|task| task.offered.is_some() && task.state().is_out());
            let out = own.count();
            if out > run.order.max {
                wrong.push(format!("{} has {out} out at once, and may have {}", run.order.title, run.order.max));
            }
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
                        let host = fleet.host(node);
                        let key = (host, run.order.task.clone());
                        let ended = self.ended.get(&key).copied().unwrap_or(now);
                        let first = self.first.get(&(index, key.1.clone(), host));
                        let since = first.copied().unwrap_or(now);
                        let until = ended + u64::try_from(SETTLE.as_millis()).expect("a minute");
                        let known = self.settling.get(&(index, host)).is_some_and(|(_, known)| *known >= until);
                        if !known {
                            self.settling.insert((index, host), (since, until));
                        }
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
        let age = std::time::Duration::from_millis(now - since);
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
        let settles = self.settling.get(&(index, host)).is_some_and(|(_, until)| *until > now);
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
            Put::Head(number, head) => store.heads.get(number).and_then(|before| {
                let again = before.state.is_over();
                again.then(|| format!("run/{number} ended {}, and is {}", before.state.word(), head.state.word()))
            }),
            Put::Newest(_) | Put::Note(_) => None,
        };
        wrong.into_iter().collect()
    }

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
        self.ended.insert((index, id.clone()), now);
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
    pub fn begins(&mut self, index: usize, effect: &HostEffect) {
        let (HostEffect::Start { id, step, .. }
        | HostEffect::Service { id, step, .. }
        | HostEffect::Packages { id, step, .. }
        | HostEffect::Reboot { id, step, .. }) = effect
        else {
            return;
        };
        let (id, step) = (id.clone(), *step);
        match self.hosts[index].disk.get(&id) {
            Some(Kept::Open(record)) if record.report.done == step => {}
            _ => self.fail(format!("web{index} does {id}, step {step}, and has not written that down")),
        }
        // Where two of them rule, one may have begun what the other knows nothing of.
        if self.controls.len() > 1 || self.removed.contains(&index) {
            return;
        }
        let state = self.controls[0].store.state_of(&id, &node(index));
        if !state.is_some_and(TaskState::is_out) {
            let words = state.map_or("unknown", TaskState::word);
            self.fail(format!("web{index} does {id}, step {step}, which is {words} for its control plane"));
        }
    }

    /// All is over: what is written down is what hosts did.
    pub fn judge_the_end(&mut self) -> Result<(), String> {
        let (store, one) = (&self.controls[self.main].store, self.controls.len() == 1);
        let mut tally = self.judge.tally.clone();
        for (number, head) in &store.heads {
            if !head.state.is_over() {
                return Err(format!("run/{number} is kept as {}", head.state.word()));
            }
            *tally.runs.entry(head.state.word()).or_default() += 1;
            let id = &head.order.task;
            if self.judge.aborted.contains(&(self.main, id.clone())) && head.state != RunState::Aborted {
                return Err(format!("run/{number} was aborted, and is {}", head.state.word()));
            }
        }
        for ((number, node), row) in &store.tasks {
            let Some(head) = store.heads.get(number) else { continue };
            let (host, state, id) = (self.places[node], row.report.state, &head.order.task);
            *tally.tasks.entry(state).or_default() += 1;
            if !state.is_over() {
                return Err(format!("run/{number} is over, and web{host} is {state}"));
            }
            if self.removed.contains(&host) {
                continue;
            }
            let real = self.hosts[host].end_of(id).map(|report| report.state);
            let wrong = match real {
                Some(real) => state != real && (one || state == TaskState::Succeeded),
                None => {
                    let touched = (0..3).any(|step| self.judge.effects.contains_key(&(host, (id.clone(), step))));
                    let nothing = matches!(
                        state,
                        TaskState::Undelivered | TaskState::Skipped | TaskState::Lost | TaskState::Refused
                    );
                    touched || !nothing
                }
            };
            if wrong {
                let real = real.map_or("nothing", TaskState::word);
                return Err(format!("run/{number} says that web{host} is {state}, and the host says {real}"));
            }
        }
        self.judge.tally = tally;
        Ok(())
    }
}
