//! What a node asks before it climbs a step about a failing check, until it is
//! answered. It is kept nowhere: a node whose stream ends asks again on the next.

use crate::app::App;
use crate::clock;
use crate::world::World;
use hostler_core::brakes::ask::{Answer, Budget, Question, answer, most_down};
use hostler_proto::agent as wire;
use hostler_types::spec::kinds::BudgetSpec;
use hostler_types::spec::{Body, Kind};
use hostler_types::{CheckState, Labels, Name, NodeId, NodeState};
use std::collections::{BTreeMap, BTreeSet};
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
        budgets: &budgets(world, node, &labels),
    };
    answer(clock::now(), &question)
}

/// Those that the node shares. Down is who is lost, or fails a check that heals.
fn budgets(world: &World, node: &NodeId, labels: &Labels) -> Vec<Budget> {
    let (applied, no_facts) = (&world.specs.applied, BTreeMap::new());
    let shared = applied.of_kind(Kind::Budget).filter_map(|one| match &one.object.body {
        Body::Budget(spec) if spec.where_.matches(labels, &no_facts) => Some((&one.object.name, &**spec)),
        _ => None,
    });
    let live: BTreeSet<&Name> = applied
        .of_kind(Kind::Service)
        .filter_map(|one| match &one.object.body {
            Body::Service(spec) => Some(spec.live.iter().map(|check| &check.name)),
            _ => None,
        })
        .flatten()
        .collect();
    let is_down = |id: &NodeId| {
        let lost = world.liveness.get(id).is_some_and(|record| record.state == NodeState::Lost);
        lost || live.iter().any(|check| {
            let health = world.health.get(&(id.clone(), (*check).clone()));
            health.is_some_and(|health| health.state == CheckState::Critical)
        })
    };
    let budget = |(name, spec): (&Name, &BudgetSpec)| {
        let members = world.members.values().filter(|member| member.revoked.is_none());
        let members: Vec<_> = members.filter(|member| spec.where_.matches(&world.labels(member), &no_facts)).collect();
        let down = members.iter().filter(|member| member.id != *node && is_down(&member.id));
        Budget {
            name: name.clone(),
            max_down: most_down(spec.max_down, members.len()),
            down: down.map(|member| member.name.clone()).collect(),
        }
    };
    shared.map(budget).collect()
}
