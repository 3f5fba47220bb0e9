//! Acts that wait for a second person: which ones do, by the number of nodes that
//! they would change, and who may decide.

#[cfg(test)]
mod tests;

use crate::applied::Applied;
use crate::catalogue::Catalogue;
use crate::effects::Reach;
use crate::plan::{Act, Basis, Change, Plan};
use crate::runs::steps;
use crate::services::secrets;
use hostler_types::spec::{Body, Kind, TaskSpec, secrets_in};
use hostler_types::{Name, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Whoever asks on one working day is answered by the next.
pub const EXPIRES_AFTER: Duration = Duration::from_secs(86_400);
/// What was decided can still be looked up, by those who come back from a weekend.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);
/// More than people look through; each holds a request of some megabytes at most.
pub const WAITING_MAX: usize = 100;

/// When somebody else has to say yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Above so many nodes; `None`: never.
    pub above: Option<usize>,
}

impl Policy {
    pub fn asks(self, nodes: usize) -> bool {
        self.above.is_some_and(|above| nodes > above)
    }
}

/// The nodes on which a plan changes something, now or once what it says takes
/// effect.
pub fn nodes_of_plan<'a>(basis: Basis<'a>, plan: &Plan) -> BTreeSet<&'a Name> {
    let before = (basis.applied, Reach::new(basis.hosts, basis.applied));
    let after = (&plan.after, Reach::new(basis.hosts, &plan.after));
    let mut nodes = BTreeSet::new();
    for change in plan.changes.iter().filter(|change| change.act != Act::Unchanged) {
        for (applied, reach) in [&before, &after] {
            nodes.extend(nodes_of(basis, applied, reach, change));
        }
    }
    nodes
}

fn nodes_of<'a>(basis: Basis<'a>, applied: &Applied, reach: &Reach<'a>, change: &Change) -> BTreeSet<&'a Name> {
    let Some(owned) = applied.get(change.kind, &change.name) else { return BTreeSet::new() };
    let taken = |selector| (*reach.taken(selector)).clone();
    match &owned.object.body {
        Body::Check(check) => (*reach.runs_on(applied, check)).clone(),
        Body::Service(service) => taken(&service.where_),
        Body::Backup(backup) => taken(&backup.where_),
        Body::Task(task) => taken(&task.where_),
        Body::Node(_) => basis.hosts.iter().map(|host| &host.name).filter(|name| **name == change.name).collect(),
        Body::Plugin(_) => running(applied, reach, &change.name),
        Body::Secret(_) => given(basis.catalogue, applied, reach, &change.name),
        _ => BTreeSet::new(),
    }
}

/// Those that run checks by a plugin, or steps of tasks.
fn running<'a>(applied: &Applied, reach: &Reach<'a>, plugin: &Name) -> BTreeSet<&'a Name> {
    let checks = applied.checks().filter(|(_, check)| check.plugin == *plugin);
    let tasks = applied.tasks_by(plugin).map(|task| (*reach.taken(&task.where_)).clone());
    checks.map(|(_, check)| (*reach.runs_on(applied, check)).clone()).chain(tasks).flatten().collect()
}

/// Those that are given a secret: their checks, services and tasks name it, or their
/// plugins may have it.
fn given<'a>(catalogue: &Catalogue, applied: &Applied, reach: &Reach<'a>, secret: &Name) -> BTreeSet<&'a Name> {
    let granted = |plugin: &Name| {
        let chosen = catalogue.choose(plugin, applied.plugin(plugin)).ok();
        chosen.is_some_and(|chosen| {
            let mut patterns = chosen.grants.secrets.iter().chain(&chosen.grants.reveal);
            patterns.any(|pattern| pattern.matches(secret.as_str()))
        })
    };
    let named = |with: &serde_json::Map<String, serde_json::Value>| {
        secrets_in(&serde_json::Value::Object(with.clone())).contains(secret)
    };
    let checks = applied.checks().filter(|(_, check)| named(&check.with.0) || granted(&check.plugin));
    let services = applied.of_kind(Kind::Service).filter_map(|one| match &one.object.body {
        Body::Service(spec) if secrets(spec).contains(secret) => Some((*reach.taken(&spec.where_)).clone()),
        _ => None,
    });
    let by_plugin = |task: &TaskSpec| task.actions().any(|(_, action)| granted(&action.plugin));
    let tasks = applied.tasks().filter(|task| steps::secrets(task).contains(secret) || by_plugin(task));
    let tasks = tasks.map(|task| (*reach.taken(&task.where_)).clone());
    let checks = checks.map(|(_, check)| (*reach.runs_on(applied, check)).clone());
    checks.chain(services).chain(tasks).flatten().collect()
}

/// The nodes that get a secret's new value.
pub fn nodes_of_secret<'a>(basis: Basis<'a>, secret: &Name) -> BTreeSet<&'a Name> {
    if basis.applied.get(Kind::Secret, secret).is_none() {
        return BTreeSet::new();
    }
    given(basis.catalogue, basis.applied, &Reach::new(basis.hosts, basis.applied), secret)
}

/// The nodes that run another version of a plugin once the catalogue is that one.
pub fn nodes_of_catalogue<'a>(basis: Basis<'a>, after: &Catalogue, plugin: &Name) -> BTreeSet<&'a Name> {
    let spec = basis.applied.plugin(plugin);
    let runs = |catalogue: &Catalogue| {
        catalogue.choose(plugin, spec).ok().map(|chosen| (chosen.artifact.digest.clone(), chosen.grants))
    };
    if runs(basis.catalogue) == runs(after) {
        return BTreeSet::new();
    }
    running(basis.applied, &Reach::new(basis.hosts, basis.applied), plugin)
}

/// All that a plan was made against and would do, as text: the same text, the same
/// act.
pub fn basis_of_plan(system: &Name, seen: u64, plan: &Plan, nodes: &BTreeSet<&Name>) -> String {
    let mut text = format!("{system} {seen}\n");
    for change in plan.changes.iter().filter(|change| change.act != Act::Unchanged) {
        text.push_str(&format!("{} {} {}: {}\n", change.act.word(), change.kind, change.name, change.effect));
        let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        for field in &change.fields {
            text.push_str(&format!("  {}: {} -> {}\n", field.path, json(&field.before), json(&field.after)));
        }
    }
    for node in nodes {
        text.push_str(&format!("on {node}\n"));
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Waiting,
    /// Somebody said yes, and it was carried out.
    Done,
    Denied,
    /// By whoever had asked.
    Withdrawn,
    /// What it was planned against was no more, when somebody said yes.
    Outdated,
    Expired,
}

impl State {
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Done, Self::Denied, Self::Withdrawn, Self::Outdated, Self::Expired];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Outdated => "outdated",
            Self::Expired => "expired",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }
}

/// Somebody decides on what waits.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub state: State,
    pub expires_at: Timestamp,
    pub now: Timestamp,
    pub asked_by: &'a str,
    pub decided_by: &'a str,
    pub yes: bool,
    /// Why not, in words, if they may not do it now.
    pub asker_may: Result<(), String>,
    pub decider_may: Result<(), String>,
    /// Why it would not be what was asked for, if it would not.
    pub is_same: Result<(), String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    CarryOut,
    Close(State),
    /// It waits no more, and whoever said yes is told why it was not done.
    CloseOutdated(String),
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it waits no more: it is {}", .0.word())]
    Decided(State),
    #[error("it expired at {0}: let {1} ask again")]
    Expired(Timestamp, String),
    #[error("you asked for it yourself, as {0}: somebody else has to say yes")]
    Own(String),
    #[error("whoever may not do it may not decide on it: {0}")]
    Decider(String),
    #[error("{0} asked for it, and may not do it any more: {1}")]
    Asker(String, String),
}

/// Yes and no alike are for those who may do it themselves, and yes never for
/// whoever asked.
pub fn decide(question: Question<'_>) -> Verdict {
    let Question { asked_by, decided_by, yes, .. } = question;
    let own = asked_by == decided_by;
    if question.state != State::Waiting {
        return Verdict::Refuse(Refusal::Decided(question.state));
    }
    if question.expires_at <= question.now {
        return Verdict::Refuse(Refusal::Expired(question.expires_at, asked_by.to_owned()));
    }
    match (own, yes) {
        (true, true) => return Verdict::Refuse(Refusal::Own(asked_by.to_owned())),
        (true, false) => return Verdict::Close(State::Withdrawn),
        (false, _) => {}
    }
    if let Err(why) = question.decider_may {
        return Verdict::Refuse(Refusal::Decider(why));
    }
    if !yes {
        return Verdict::Close(State::Denied);
    }
    if let Err(why) = question.asker_may {
        return Verdict::Refuse(Refusal::Asker(asked_by.to_owned(), why));
    }
    match question.is_same {
        Ok(()) => Verdict::CarryOut,
        Err(why) => Verdict::CloseOutdated(why),
    }
}

/// What time does to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Expire,
    Forget,
}

pub fn due(state: State, expires_at: Timestamp, decided_at: Timestamp, now: Timestamp) -> Due {
    match state {
        State::Waiting if expires_at <= now => Due::Expire,
        State::Waiting => Due::Nothing,
        _ if decided_at.plus(KEPT_FOR) <= now => Due::Forget,
        _ => Due::Nothing,
    }
}
