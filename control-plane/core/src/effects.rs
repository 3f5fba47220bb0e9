//! What a change does, in words.

use crate::applied::Applied;
use crate::plan::{Basis, Change, Wanted};
use hostler_types::spec::kinds::OnChange;
use hostler_types::spec::{Amount, Body, CheckSpec, Kind, Object, ServiceSpec};
use hostler_types::{Labels, Name, Selector};
use std::collections::{BTreeMap, BTreeSet};

/// A node, as far as selectors see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub name: Name,
    /// From its join; specs add to them.
    pub labels: Labels,
    pub facts: BTreeMap<String, String>,
}

const LATER: &str = "accepted; takes effect in a later version";
/// Notes are read by people.
const NOTES_MAX: usize = 10;

fn taken<'a>(hosts: &'a [Host], applied: &Applied, selector: &Selector) -> BTreeSet<&'a Name> {
    let takes = |host: &&Host| {
        let mut labels = host.labels.clone();
        if let Some(spec) = applied.node(&host.name) {
            labels.extend(spec.labels.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        selector.matches(&labels, &host.facts)
    };
    hosts.iter().filter(takes).map(|host| &host.name).collect()
}

pub fn nodes(count: usize) -> String {
    match count {
        0 => "no node".to_owned(),
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    }
}

pub(crate) fn effect(
    basis: Basis<'_>,
    after: &Applied,
    change: &Change,
    before: Option<&Object>,
    wanted: Option<&Object>,
) -> String {
    let body = |object: Option<&Object>| object.map(|object| object.body.clone());
    match (body(before), body(wanted)) {
        (Some(Body::Check(check)), None) => {
            format!("stops on {}", nodes(runs_on(basis, basis.applied, &check).len()))
        }
        (None, Some(Body::Check(check))) => format!("runs on {}", nodes(runs_on(basis, after, &check).len())),
        (Some(Body::Check(old)), Some(Body::Check(new))) => {
            let (old, new) = (runs_on(basis, basis.applied, &old), runs_on(basis, after, &new));
            moved("changes on", &old, &new)
        }
        (before, Some(Body::Service(new))) => {
            let old = match &before {
                Some(Body::Service(old)) => Some(&**old),
                _ => None,
            };
            format!("{}; {LATER}", service(basis, after, change, old, &new))
        }
        (Some(Body::Service(old)), None) => {
            let count = taken(basis.hosts, basis.applied, &old.where_).len();
            format!("stops on {}; {LATER}", nodes(count))
        }
        (_, Some(Body::Node(_))) => node(basis, after, &change.name),
        (Some(Body::Node(_)), None) => "its labels go".to_owned(),
        (_, Some(Body::Plugin(_))) => plugin(basis, after, &change.name),
        (Some(Body::Plugin(_)), None) => "the newest runs, with what it asks for".to_owned(),
        (Some(Body::System(_)), None) => "the whole system goes".to_owned(),
        (None, Some(Body::System(_))) => "a new system".to_owned(),
        (Some(Body::System(_)), Some(Body::System(_))) => String::new(),
        _ => LATER.to_owned(),
    }
}

fn runs_on<'a>(basis: Basis<'a>, applied: &Applied, check: &CheckSpec) -> BTreeSet<&'a Name> {
    applied.selector_of(check).map(|selector| taken(basis.hosts, applied, selector)).unwrap_or_default()
}

/// "changes on 3 nodes, stops on 1 node"
fn moved(stays: &str, old: &BTreeSet<&Name>, new: &BTreeSet<&Name>) -> String {
    let both = old.intersection(new).count();
    let mut parts = Vec::new();
    if both > 0 || (old.is_empty() && new.is_empty()) {
        parts.push(format!("{stays} {}", nodes(both)));
    }
    for (word, count) in [("starts on", new.difference(old).count()), ("stops on", old.difference(new).count())] {
        if count > 0 {
            parts.push(format!("{word} {}", nodes(count)));
        }
    }
    parts.join(", ")
}

/// Fields of a service that its running processes do not notice.
const NOT_RESTARTING: [&str; 10] =
    ["where", "replicas", "rollout", "heal", "live", "ready", "logs", "drift", "restart", "stop"];

/// What a change of a service does to what runs, the strongest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Touch {
    Nothing,
    Reload,
    Restart,
}

fn touch(change: &Change, service: &ServiceSpec) -> Touch {
    let of_field = |path: &str| {
        let head = path.split(['.', '[']).next().unwrap_or_default();
        if NOT_RESTARTING.contains(&head) {
            return Touch::Nothing;
        }
        // A file says itself how the service learns of it.
        let file = path.strip_prefix("files.").and_then(|rest| {
            service.files.iter().find(|(name, _)| rest.trim_start_matches('"').starts_with(name.as_str()))
        });
        match file.map(|(_, file)| file.change) {
            Some(OnChange::Reload) => Touch::Reload,
            Some(OnChange::Nothing) => Touch::Nothing,
            Some(OnChange::Restart) | None => Touch::Restart,
        }
    };
    change.fields.iter().map(|field| of_field(&field.path)).max().unwrap_or(Touch::Nothing)
}

fn service(basis: Basis<'_>, after: &Applied, change: &Change, old: Option<&ServiceSpec>, new: &ServiceSpec) -> String {
    let there = taken(basis.hosts, after, &new.where_);
    let name = &change.name;
    let Some(old) = old else { return format!("starts {name} on {}", nodes(there.len())) };
    let before = taken(basis.hosts, basis.applied, &old.where_);
    let word = match touch(change, new) {
        Touch::Restart => "restarts",
        Touch::Reload => "reloads",
        Touch::Nothing => "changes",
    };
    if word != "changes" && before == there && !there.is_empty() {
        return format!("{word} {name} on {}{}", nodes(there.len()), at_once(new, there.len()));
    }
    moved(&format!("{word} on"), &before, &there)
}

fn at_once(service: &ServiceSpec, count: usize) -> String {
    if count < 2 {
        return String::new();
    }
    let max = service.rollout.as_ref().map_or(Amount::Count(1), |rollout| rollout.max);
    let (canary, max) = (service.rollout.as_ref().and_then(|rollout| rollout.canary), written(max));
    match canary {
        Some(canary) => format!(", {} first, then {max}", written(canary).replace(" at a time", "")),
        None => format!(", {max}"),
    }
}

fn written(amount: Amount) -> String {
    match amount {
        Amount::Count(1) => "one at a time".to_owned(),
        Amount::Count(count) => format!("{count} at a time"),
        Amount::Share(share) => format!("{share} at a time"),
    }
}

fn node(basis: Basis<'_>, after: &Applied, name: &Name) -> String {
    let Some(host) = basis.hosts.iter().find(|host| host.name == *name) else {
        return "waits for a node of that name to join".to_owned();
    };
    let one = std::slice::from_ref(host);
    let checks = |applied: &Applied| -> BTreeSet<Name> {
        let on = |check: &CheckSpec| {
            applied.selector_of(check).is_some_and(|where_| !taken(one, applied, where_).is_empty())
        };
        applied.checks().filter(|(_, check)| on(check)).map(|(name, _)| name.clone()).collect()
    };
    let (old, new) = (checks(basis.applied), checks(after));
    let mut parts = vec!["its labels".to_owned()];
    for (word, names) in [("starts", new.difference(&old)), ("stops", old.difference(&new))] {
        let names: Vec<&str> = names.map(Name::as_str).collect();
        match names.as_slice() {
            [] => {}
            [one] => parts.push(format!("check {one} {word} there")),
            several => parts.push(format!("{} checks {} there", several.len(), word.trim_end_matches('s'))),
        }
    }
    parts.join("; ")
}

fn plugin(basis: Basis<'_>, after: &Applied, name: &Name) -> String {
    let on: BTreeSet<&Name> = after
        .checks()
        .filter(|(_, check)| check.plugin == *name)
        .flat_map(|(_, check)| runs_on(basis, after, check))
        .collect();
    let version = match basis.catalogue.choose(name, after.plugin(name)) {
        Ok(chosen) => format!("version {}", chosen.artifact.manifest.version),
        Err(_) => return "used on no node".to_owned(),
    };
    format!("{version}, used on {}", nodes(on.len()))
}

/// What is worth knowing and stops nothing.
pub(crate) fn notes(basis: Basis<'_>, after: &Applied, wanted: &Wanted) -> Vec<String> {
    let mut notes = Vec::new();
    let selector = |object: &Object| match &object.body {
        Body::Check(check) => after.selector_of(check).cloned(),
        Body::Service(service) => Some(service.where_.clone()),
        Body::Backup(backup) => Some(backup.where_.clone()),
        Body::Task(task) => Some(task.where_.clone()),
        Body::Budget(budget) => Some(budget.where_.clone()),
        _ => None,
    };
    let mut empty: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in &wanted.objects {
        if let Some(selector) = selector(object).filter(|selector| taken(basis.hosts, after, selector).is_empty()) {
            empty.entry(selector.to_string()).or_default().push(format!("{} {}", object.kind(), object.name));
        }
    }
    for (selector, objects) in empty {
        let more = if objects.len() > 1 { format!(" and {} more", objects.len() - 1) } else { String::new() };
        notes.push(format!("no node has {selector} yet: {}{more}", objects.first().cloned().unwrap_or_default()));
    }
    let env = |object: &Object| match &object.body {
        Body::System(system) => Some(system.env.as_ref().map(ToString::to_string)),
        _ => None,
    };
    let before = basis.applied.get(Kind::System, &wanted.system).and_then(|one| env(&one.object));
    let now = wanted.objects.iter().find_map(|object| env(object));
    if let (Some(before), Some(now)) = (before, now)
        && before != now
    {
        let word = |env: Option<String>| env.unwrap_or_else(|| "none".to_owned());
        notes.insert(0, format!("the environment changes from {} to {}", word(before), word(now)));
    }
    let more = notes.len().saturating_sub(NOTES_MAX);
    notes.truncate(NOTES_MAX);
    if more > 0 {
        notes.push(format!("and {more} notes more"));
    }
    notes
}
