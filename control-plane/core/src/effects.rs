//! What a change does, in words.

use crate::applied::Applied;
use crate::plan::{Basis, Change, Wanted};
use hostler_types::spec::kinds::OnChange;
use hostler_types::spec::{Amount, Body, CheckSpec, Kind, Object, ServiceSpec};
use hostler_types::{Labels, Name, Selector};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

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

/// Which nodes a selector takes, under one set of specs. A fleet's selectors are
/// few, and asked for again and again.
pub(crate) struct Reach<'a> {
    hosts: Vec<(&'a Host, Labels)>,
    known: RefCell<BTreeMap<String, Rc<BTreeSet<&'a Name>>>>,
}

impl<'a> Reach<'a> {
    pub fn new(hosts: &'a [Host], applied: &Applied) -> Self {
        let labels = |host: &Host| {
            let mut labels = host.labels.clone();
            if let Some(spec) = applied.node(&host.name) {
                labels.extend(spec.labels.0.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            labels
        };
        Self { hosts: hosts.iter().map(|host| (host, labels(host))).collect(), known: RefCell::default() }
    }

    pub fn taken(&self, selector: &Selector) -> Rc<BTreeSet<&'a Name>> {
        let mut known = self.known.borrow_mut();
        let taken = known.entry(selector.to_string()).or_insert_with(|| {
            let takes = self.hosts.iter().filter(|(host, labels)| selector.matches(labels, &host.facts));
            Rc::new(takes.map(|(host, _)| &host.name).collect())
        });
        Rc::clone(taken)
    }

    pub fn runs_on(&self, applied: &Applied, check: &CheckSpec) -> Rc<BTreeSet<&'a Name>> {
        applied.selector_of(check).map(|selector| self.taken(selector)).unwrap_or_default()
    }
}

pub fn nodes(count: usize) -> String {
    match count {
        0 => "no node".to_owned(),
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    }
}

/// What a plan's changes do.
pub(crate) struct Effects<'a> {
    basis: Basis<'a>,
    after: &'a Applied,
    reach_before: Reach<'a>,
    reach_after: Reach<'a>,
}

impl<'a> Effects<'a> {
    pub fn new(basis: Basis<'a>, after: &'a Applied) -> Self {
        let (reach_before, reach_after) = (Reach::new(basis.hosts, basis.applied), Reach::new(basis.hosts, after));
        Self { basis, after, reach_before, reach_after }
    }

    pub fn of(&self, change: &Change, before: Option<&Object>, wanted: Option<&Object>) -> String {
        let (old, new) = (&self.reach_before, &self.reach_after);
        match (before.map(|object| &object.body), wanted.map(|object| &object.body)) {
            (Some(Body::Check(check)), None) => {
                format!("stops on {}", nodes(old.runs_on(self.basis.applied, check).len()))
            }
            (None, Some(Body::Check(check))) => format!("runs on {}", nodes(new.runs_on(self.after, check).len())),
            (Some(Body::Check(was)), Some(Body::Check(is))) => {
                moved("changes on", &old.runs_on(self.basis.applied, was), &new.runs_on(self.after, is))
            }
            (Some(Body::Service(was)), Some(Body::Service(is))) => self.service(change, was, is),
            (_, Some(Body::Service(is))) => {
                format!("starts {} on {}", change.name, nodes(new.taken(&is.where_).len()))
            }
            (Some(Body::Service(was)), None) => format!("stops on {}", nodes(old.taken(&was.where_).len())),
            (_, Some(Body::Node(_))) => self.node(&change.name),
            (Some(Body::Node(_)), None) => "its labels go".to_owned(),
            (_, Some(Body::Plugin(_))) => self.plugin(&change.name),
            (Some(Body::Plugin(_)), None) => "the newest runs, with what it asks for".to_owned(),
            (None, Some(Body::Secret(_))) => format!("its value: hostlerctl secret set {}", change.name),
            (Some(Body::Secret(_)), None) => "its value stays until hostlerctl secret rm".to_owned(),
            (None, Some(Body::Notifier(_))) => "is told from now on".to_owned(),
            (Some(Body::Notifier(_)), None) => "is told no more".to_owned(),
            (_, Some(Body::Task(is))) => {
                format!("for {}: hostlerctl run task {}", nodes(new.taken(&is.where_).len()), change.name)
            }
            (Some(Body::Task(_)), None) => "is run no more".to_owned(),
            (_, Some(Body::Schedule(is))) => match &is.task {
                Some(task) => format!("runs task {}: hostlerctl schedule show {}", task.name, change.name),
                None => LATER.to_owned(),
            },
            (Some(Body::Schedule(_)), None) => "is due no more".to_owned(),
            (_, Some(Body::Budget(is))) => format!("counts {}", nodes(new.taken(&is.where_).len())),
            (_, Some(Body::Window(_))) => "holds from now on".to_owned(),
            (Some(Body::Budget(_) | Body::Window(_)), None) => "holds no more".to_owned(),
            (_, Some(Body::Alert(_))) => "is judged from now on".to_owned(),
            (Some(Body::Alert(_)), None) => "is judged no more".to_owned(),
            (Some(Body::System(_)), None) => "the whole system goes".to_owned(),
            (None, Some(Body::System(_))) => "a new system".to_owned(),
            (Some(Body::System(_)), Some(Body::System(_))) => String::new(),
            _ => LATER.to_owned(),
        }
    }

    fn service(&self, change: &Change, old: &ServiceSpec, new: &ServiceSpec) -> String {
        let (before, there) = (self.reach_before.taken(&old.where_), self.reach_after.taken(&new.where_));
        let word = match touch(change, new) {
            Touch::Restart => "restarts",
            Touch::Reload => "reloads",
            Touch::Nothing => "changes",
        };
        if word != "changes" && before == there && !there.is_empty() {
            // Nobody should read of a canary, and see all of them restarted.
            let now = format!("{word} {} on {}", change.name, nodes(there.len()));
            let later = pace(new, there.len()).map(|pace| format!(" at once; in a later version {pace}"));
            return format!("{now}{}", later.unwrap_or_default());
        }
        moved(&format!("{word} on"), &before, &there)
    }

    fn node(&self, name: &Name) -> String {
        let Some(host) = self.basis.hosts.iter().find(|host| host.name == *name) else {
            return "waits for a node of that name to join".to_owned();
        };
        let checks = |reach: &Reach<'_>, applied: &Applied| -> BTreeSet<Name> {
            let on = applied.checks().filter(|(_, check)| reach.runs_on(applied, check).contains(&host.name));
            on.map(|(name, _)| name.clone()).collect()
        };
        let old = checks(&self.reach_before, self.basis.applied);
        let new = checks(&self.reach_after, self.after);
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

    fn plugin(&self, name: &Name) -> String {
        let mut on: BTreeSet<&Name> = BTreeSet::new();
        for (_, check) in self.after.checks().filter(|(_, check)| check.plugin == *name) {
            on.extend(self.reach_after.runs_on(self.after, check).iter().copied());
        }
        for task in self.after.tasks_by(name) {
            on.extend(self.reach_after.taken(&task.where_).iter().copied());
        }
        match self.basis.catalogue.choose(name, self.after.plugin(name)) {
            Ok(chosen) => format!("version {}, used on {}", chosen.artifact.manifest.version, nodes(on.len())),
            Err(_) => "used on no node".to_owned(),
        }
    }

    /// What is worth knowing and stops nothing.
    pub fn notes(&self, wanted: &Wanted) -> Vec<String> {
        let selector = |object: &'a Object| match &object.body {
            Body::Check(check) => self.after.selector_of(check),
            Body::Service(service) => Some(&service.where_),
            Body::Backup(backup) => Some(&backup.where_),
            Body::Task(task) => Some(&task.where_),
            Body::Budget(budget) => Some(&budget.where_),
            _ => None,
        };
        let mut notes = Vec::new();
        let mut empty: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let asked = wanted.objects.iter().filter_map(|one| self.after.get(one.kind(), &one.name));
        for object in asked.map(|one| &*one.object) {
            if let Some(selector) = selector(object).filter(|selector| self.reach_after.taken(selector).is_empty()) {
                empty.entry(selector.to_string()).or_default().push(format!("{} {}", object.kind(), object.name));
            }
        }
        for (selector, objects) in empty {
            let more = if objects.len() > 1 { format!(" and {} more", objects.len() - 1) } else { String::new() };
            notes.push(format!("no node has {selector} yet: {}{more}", objects.first().cloned().unwrap_or_default()));
        }
        let env = |applied: &Applied| match &applied.get(Kind::System, &wanted.system)?.object.body {
            Body::System(system) => Some(system.env.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
            _ => None,
        };
        if let (Some(before), Some(now)) = (env(self.basis.applied), env(self.after))
            && before != now
        {
            notes.insert(0, format!("the environment changes from {before} to {now}"));
        }
        let more = notes.len().saturating_sub(NOTES_MAX);
        notes.truncate(NOTES_MAX);
        if more > 0 {
            notes.push(format!("and {more} notes more"));
        }
        notes
    }
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

/// How its rollout goes through several nodes.
fn pace(service: &ServiceSpec, count: usize) -> Option<String> {
    if count < 2 {
        return None;
    }
    let max = service.rollout.as_ref().map_or(Amount::Count(1), |rollout| rollout.max);
    let (canary, max) = (service.rollout.as_ref().and_then(|rollout| rollout.canary), written(max));
    Some(match canary {
        Some(canary) => format!("{} first, then {max}", written(canary).replace(" at a time", "")),
        None => max,
    })
}

fn written(amount: Amount) -> String {
    match amount {
        Amount::Count(1) => "one at a time".to_owned(),
        Amount::Count(count) => format!("{count} at a time"),
        Amount::Share(share) => format!("{share} at a time"),
    }
}
