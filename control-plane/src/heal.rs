//! What a node asks before it climbs a step about a failing check, until it is
//! answered. It is kept nowhere: a node whose stream ends asks again on the next.

use crate::app::App;
use crate::budgets;
use crate::clock;
use crate::world::World;
use hostler_core::brakes::ask::{Answer, Budget, Question, answer};
use hostler_core::runs::budget;
use hostler_proto::agent as wire;
use hostler_types::{Name, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

/// More than the services that a host heals at once.
const ASKS_MAX: usize = 256;

#[derive(Debug, Default)]
pub struct Asks {
    waiting: Vec<Waiting>,
    due: Option<Duration>,
}

#[derive(Debug)]
struct Waiting {
    ask: wire::HealAsk,
    asked: Duration,
}

impl Asks {
    pub fn take(&mut self, ask: wire::HealAsk) {
        self.waiting.retain(|one| one.ask.id != ask.id);
        self.waiting.push(Waiting { ask, asked: clock::now().monotonic });
    }

    /// When one of them is to be looked at again; never, if none waits.
    pub async fn due(&self) {
        match self.due {
            Some(at) => tokio::time::sleep(at.saturating_sub(clock::now().monotonic)).await,
            None => std::future::pending().await,
        }
    }

    /// The answers that there are now.
    pub fn settle(&mut self, app: &App, node: &NodeId, assigned: &BTreeSet<Name>) -> Vec<wire::HealAnswer> {
        self.due = None;
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let world = app.mirror.now();
        let mut answers = Vec::new();
        while self.waiting.len() > ASKS_MAX {
            let one = self.waiting.remove(0);
            answers.push(told(&one.ask, false, vec![format!("it asks {ASKS_MAX} things at once: ask again")]));
        }
        self.waiting.retain(|one| {
            let (allowed, words) = match judge(app, &world, node, assigned, one) {
                Answer::Yes(words) => (true, words),
                Answer::No(words) => (false, words),
                Answer::Later(at) => {
                    self.due = Some(self.due.map_or(at, |due| due.min(at)));
                    return true;
                }
            };
            answers.push(told(&one.ask, allowed, words));
            false
        });
        answers
    }
}

fn told(ask: &wire::HealAsk, allowed: bool, words: Vec<String>) -> wire::HealAnswer {
    wire::HealAnswer { id: ask.id, allowed, words }
}

fn judge(app: &App, world: &World, node: &NodeId, assigned: &BTreeSet<Name>, one: &Waiting) -> Answer {
    let applied = &world.specs.applied;
    let check = assigned.iter().find(|check| check.as_str() == one.ask.check);
    let spec = check.and_then(|check| applied.checks().find(|(name, _)| *name == check));
    let (Some((check, spec)), Some(member)) = (spec, world.members.get(node)) else {
        return Answer::No(vec![format!("check {:?} is not this node's any more", one.ask.check)]);
    };
    let labels = world.labels(member);
    let brakes = world.brakes.on(node, &member.name, &labels, [check]);
    let question = Question {
        check,
        every: spec.every.0,
        timeout: spec.timeout.0,
        asked: one.asked,
        brakes: &brakes,
        standing: app.watched.standing(check, node),
        budgets: &budgets(app, world, node),
    };
    answer(clock::now(), &question)
}

/// Those that the node shares, and who else is down.
fn budgets(app: &App, world: &World, node: &NodeId) -> Vec<Budget> {
    let (live, disturbed) = (budgets::live_checks(world), app.work.inside().runs.disturbed());
    let shared = budgets::all(world).into_iter().filter(|budget| budget.nodes.contains_key(node));
    let budget = |shared: budget::Budget| {
        let others = shared.nodes.into_iter().filter(|(id, _)| id != node);
        let down = others.filter(|(id, _)| disturbed.contains(id) || budgets::down(world, &live, id).is_some());
        Budget { name: shared.name, max_down: shared.max_down, down: down.map(|(_, name)| name).collect() }
    };
    shared.map(budget).collect()
}
