//! What applying a spec would change, what that does, and why it can't be
//! applied.

use crate::applied::{Applied, LOOSE, Owned};
use crate::catalogue::{Catalogue, CatalogueError};
use crate::effects::{Effects, Host};
use crate::notices::Notifier;
use crate::offline;
use hostler_types::Name;
use hostler_types::notifier::{BUILT_IN, is_built_in};
use hostler_types::plugin::{WithProblem, check_with};
use hostler_types::spec::{ActionStep, Body, Kind, Object, Target, nearest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Delete,
    Create,
    Update,
    Unchanged,
}

impl Act {
    pub const fn word(self) -> &'static str {
        match self {
            Act::Delete => "delete",
            Act::Create => "create",
            Act::Update => "update",
            Act::Unchanged => "unchanged",
        }
    }
}

/// One value that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    pub path: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: Kind,
    pub name: Name,
    pub act: Act,
    /// What it does, in words.
    pub effect: String,
    pub fields: Vec<FieldChange>,
}

/// What is wrong with an object, at a path inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    pub name: Name,
    pub path: String,
    pub message: String,
    pub help: Option<String>,
    pub origin: String,
}

/// A spec as it is to be: of a system, or loose.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub system: Name,
    pub objects: Vec<Arc<Object>>,
}

/// What the plan is made against.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    pub applied: &'a Applied,
    pub catalogue: &'a Catalogue,
    pub hosts: &'a [Host],
}

#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Deletions first, then as they are applied.
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
    /// All that is applied afterwards.
    pub after: Applied,
    /// The system's own objects afterwards.
    pub objects: Vec<Arc<Object>>,
}

impl Plan {
    pub fn has_changes(&self) -> bool {
        self.changes.iter().any(|change| change.act != Act::Unchanged)
    }
}

pub fn plan(basis: Basis<'_>, wanted: &Wanted) -> Plan {
    let applied = basis.applied;
    let mut objects = keyed(&wanted.objects);
    if wanted.system.as_str() == LOOSE {
        for object in applied.of_system(&wanted.system) {
            objects.entry((object.kind(), object.name.clone())).or_insert_with(|| Arc::clone(object));
        }
    }
    let stolen = stolen(applied, wanted);
    if !stolen.is_empty() {
        return Plan { problems: stolen, ..Plan::default() };
    }
    let mut plan = replace(basis, &wanted.system, objects.into_values().collect());
    for object in &wanted.objects {
        plan.problems.extend(unresolved(object, &plan.after));
        plan.problems.extend(not_pushed(object, &plan.after, basis.catalogue));
        plan.problems.extend(undeliverable(object));
    }
    plan.problems.extend(offline::disturbing(&wanted.objects, &plan.after));
    let named = keyed(&wanted.objects);
    plan.changes
        .retain(|change| change.act != Act::Unchanged || named.contains_key(&(change.kind, change.name.clone())));
    plan.notes = Effects::new(basis, &plan.after).notes(wanted);
    plan
}

/// A system's objects, replaced by others.
pub fn replace(basis: Basis<'_>, system: &Name, objects: Vec<Arc<Object>>) -> Plan {
    let mut after = basis.applied.clone();
    after.set_system(system, objects.iter().cloned());
    let before: Vec<&Arc<Object>> = basis.applied.of_system(system).collect();
    let gone: Vec<&Arc<Object>> =
        before.iter().copied().filter(|one| after.get(one.kind(), &one.name).is_none()).collect();
    let problems = still_needed(&gone, &after, system);
    let effects = Effects::new(basis, &after);
    let mut changes: Vec<Change> =
        gone.iter().rev().map(|one| change(&effects, one.kind(), &one.name, Some(one), None)).collect();
    let before: BTreeMap<(Kind, &Name), &Arc<Object>> =
        before.iter().map(|one| ((one.kind(), &one.name), *one)).collect();
    let there = objects
        .iter()
        .map(|one| change(&effects, one.kind(), &one.name, before.get(&(one.kind(), &one.name)).copied(), Some(one)));
    changes.extend(there);
    drop(effects);
    Plan { changes, problems, notes: Vec::new(), after, objects }
}

fn keyed(objects: &[Arc<Object>]) -> BTreeMap<(Kind, Name), Arc<Object>> {
    objects.iter().map(|one| ((one.kind(), one.name.clone()), Arc::clone(one))).collect()
}

/// What changed between two versions of a system.
pub fn compare(before: &[Arc<Object>], after: &[Arc<Object>]) -> Vec<Change> {
    let (before, after) = (keyed(before), keyed(after));
    let gone = before.iter().rev().filter(|(key, _)| !after.contains_key(*key));
    let gone = gone.map(|((kind, name), object)| plain(*kind, name, Some(object), None));
    let there = after.iter().map(|(key, object)| plain(key.0, &key.1, before.get(key), Some(object)));
    gone.chain(there).filter(|change| change.act != Act::Unchanged).collect()
}

fn plain(kind: Kind, name: &Name, before: Option<&Arc<Object>>, after: Option<&Arc<Object>>) -> Change {
    let act = match (before, after) {
        (Some(before), Some(after)) if before.body == after.body => Act::Unchanged,
        (Some(_), Some(_)) => Act::Update,
        (None, _) => Act::Create,
        (_, None) => Act::Delete,
    };
    let fields = match (act, before, after) {
        (Act::Update, Some(before), Some(after)) => fields(&before.body, &after.body),
        _ => Vec::new(),
    };
    Change { kind, name: name.clone(), act, effect: String::new(), fields }
}

fn change(
    effects: &Effects<'_>,
    kind: Kind,
    name: &Name,
    before: Option<&Arc<Object>>,
    wanted: Option<&Arc<Object>>,
) -> Change {
    let mut change = plain(kind, name, before, wanted);
    if change.act != Act::Unchanged {
        change.effect = effects.of(&change, before.map(|one| &**one), wanted.map(|one| &**one));
    }
    change
}

/// Value by value, as they would be written. A list is one value.
fn fields(before: &Body, after: &Body) -> Vec<FieldChange> {
    let (before, after) = (before.flat(), after.flat());
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| FieldChange {
            path: path.clone(),
            before: before.get(path).cloned(),
            after: after.get(path).cloned(),
        })
        .collect()
}

/// An object has one owner.
fn stolen(applied: &Applied, wanted: &Wanted) -> Vec<Problem> {
    let owned = |object: &Arc<Object>| {
        let owner = applied.get(object.kind(), &object.name).filter(|one| one.system != wanted.system)?;
        let whose = if owner.system.as_str() == LOOSE {
            "was applied without a system".to_owned()
        } else {
            format!("belongs to system {}", owner.system)
        };
        let (kind, name) = (object.kind(), &object.name);
        let help = if owner.system.as_str() == LOOSE {
            format!("hostlerctl delete {kind} {name} first, or give this one another name")
        } else {
            "take it out of that system's folder and apply it first, or give this one another name".to_owned()
        };
        Some(problem(object, "", whose, Some(help)))
    };
    wanted.objects.iter().filter_map(owned).collect()
}

fn problem(object: &Object, path: &str, message: String, help: Option<String>) -> Problem {
    Problem {
        kind: object.kind(),
        name: object.name.clone(),
        path: path.to_owned(),
        message,
        help,
        origin: object.origin.clone(),
    }
}

/// What an object names must be there afterwards.
fn unresolved(object: &Object, after: &Applied) -> Vec<Problem> {
    let missing = |link: &hostler_types::spec::Link| match &link.to {
        Target::Object(kind, name) if after.get(*kind, name).is_none() => {
            let known = || after.of_kind(*kind).map(|one| one.object.name.as_str());
            let help = match nearest(name.as_str(), known()) {
                Some(near) => format!("did you mean {near}?"),
                None if *kind == Kind::Secret => format!("name it: secret: {{{name}: {{}}}}"),
                None => format!("hostlerctl get {kind} shows what there is"),
            };
            Some(problem(object, &link.path, format!("names the {kind} {name}, and none is applied"), Some(help)))
        }
        _ => None,
    };
    object.links.iter().filter_map(missing).collect()
}

/// Where an object names a plugin, and what it gives it.
struct Use<'a> {
    plugin: &'a Name,
    /// Where in the object that is: `plugin`, `steps[0].action.plugin`.
    path: String,
    with: Option<(String, &'a serde_json::Map<String, Value>)>,
    /// What it must be; nothing: anything.
    world: Option<&'static str>,
}

impl<'a> Use<'a> {
    fn new(plugin: &'a Name, path: &str) -> Self {
        Self { plugin, path: path.to_owned(), with: None, world: None }
    }

    fn of_step((index, action): (usize, &'a ActionStep)) -> Self {
        let at = format!("steps[{index}].action");
        let with = Some((format!("{at}.with"), &action.with.0));
        Self { with, world: Some(ACTION), ..Self::new(&action.plugin, &format!("{at}.plugin")) }
    }
}

/// Those of other kinds will be asked for when they run.
fn uses(object: &Object) -> Vec<Use<'_>> {
    match &object.body {
        Body::Check(check) => {
            let with = Some(("with".to_owned(), &check.with.0));
            vec![Use { with, ..Use::new(&check.plugin, "plugin") }]
        }
        Body::Notifier(spec) if !is_built_in(spec.plugin.as_str()) => {
            let with = Some(("with".to_owned(), &spec.with.0));
            vec![Use { with, world: Some(NOTIFIER), ..Use::new(&spec.plugin, "plugin") }]
        }
        Body::Task(task) => task.actions().map(Use::of_step).collect(),
        Body::Plugin(spec) if spec.version.is_some() => vec![Use::new(&object.name, "version")],
        Body::Plugin(_) => vec![Use::new(&object.name, "")],
        _ => Vec::new(),
    }
}

/// The plugin that runs a check, delivers or does a step must have been pushed.
fn not_pushed(object: &Object, after: &Applied, catalogue: &Catalogue) -> Vec<Problem> {
    uses(object).iter().flat_map(|one| unfit(object, one, after, catalogue)).collect()
}

fn unfit(object: &Object, one: &Use<'_>, after: &Applied, catalogue: &Catalogue) -> Vec<Problem> {
    let (plugin, path) = (one.plugin, one.path.as_str());
    match catalogue.choose(plugin, after.plugin(plugin)) {
        Ok(chosen) => {
            let manifest = &chosen.artifact.manifest;
            match (&one.with, one.world.filter(|world| *world != manifest.world)) {
                (_, Some(wanted)) => {
                    let help = match wanted {
                        NOTIFIER => format!("write {}, or a plugin of world {NOTIFIER}", BUILT_IN.join(", ")),
                        _ => format!("write a plugin of world {wanted}: hostlerctl plugin ls shows them"),
                    };
                    let message = format!("is {:?}, a plugin of world {}", plugin.as_str(), manifest.world);
                    vec![problem(object, path, message, Some(help))]
                }
                (Some((path, with)), None) => misconfigured(object, manifest, path, with),
                (None, None) => Vec::new(),
            }
        }
        Err(CatalogueError::NoPlugin { plugin, known }) => {
            let built_in = if matches!(object.body, Body::Notifier(_)) { &BUILT_IN[..] } else { &[] };
            let words = known.iter().map(String::as_str).chain(built_in.iter().copied());
            let help = match nearest(&plugin, words) {
                Some(word) => format!("did you mean {word}?"),
                None if known.is_empty() => "push it first: hostlerctl plugin push FILE".to_owned(),
                None => format!("there are {}; push another with hostlerctl plugin push FILE", known.join(", ")),
            };
            vec![problem(object, path, format!("is {plugin:?}, and no such plugin was pushed"), Some(help))]
        }
        Err(CatalogueError::NoVersion { version, known, .. }) => {
            let help = "write one of those, or push it: hostlerctl plugin push FILE".to_owned();
            vec![problem(object, path, format!("asks for version {version}, and {known} were pushed"), Some(help))]
        }
        Err(CatalogueError::Waiting { plugin, version }) => {
            let help = format!("look at what it asks for and approve it: hostlerctl plugin approve {plugin} {version}");
            let message = format!("is {plugin:?}, whose version {version} asks for more than was approved before");
            vec![problem(object, path, message, Some(help))]
        }
        // Told where it is pinned, and not at each check as well.
        Err(CatalogueError::OtherDigest { .. }) if !matches!(object.body, Body::Plugin(_)) => Vec::new(),
        Err(CatalogueError::OtherDigest { version, found, pinned, .. }) => {
            let help = format!("if that is the one you mean, write digest: {found}");
            let message = format!("pins {pinned}, and version {version} that was pushed has {found}");
            vec![problem(object, "digest", message, Some(help))]
        }
    }
}

const NOTIFIER: &str = "notifier";
const ACTION: &str = "action";

/// A notifier that could tell nobody.
fn undeliverable(object: &Object) -> Vec<Problem> {
    let Body::Notifier(spec) = &object.body else { return Vec::new() };
    if !is_built_in(spec.plugin.as_str()) {
        return Vec::new();
    }
    let problems = Notifier::parse(spec.plugin.as_str(), &spec.with.0).err().unwrap_or_default();
    problems.into_iter().map(|one| problem(object, &one.path, one.message, one.help)).collect()
}

/// A plugin says itself what may stand under `with`.
fn misconfigured(
    object: &Object,
    manifest: &hostler_types::plugin::Manifest,
    path: &str,
    config: &serde_json::Map<String, Value>,
) -> Vec<Problem> {
    let Some(with) = &manifest.with else { return Vec::new() };
    let told = |one: WithProblem| {
        let path = if one.path.is_empty() { path.to_owned() } else { format!("{path}.{}", one.path) };
        problem(object, &path, one.message, one.help)
    };
    check_with(with, config).into_iter().map(told).collect()
}

/// Nothing goes that another system still names.
fn still_needed(gone: &[&Arc<Object>], after: &Applied, system: &Name) -> Vec<Problem> {
    if gone.is_empty() {
        return Vec::new();
    }
    let gone: BTreeMap<(Kind, &Name), &Arc<Object>> = gone.iter().map(|one| ((one.kind(), &one.name), *one)).collect();
    let others = after.iter().filter(|one| one.system != *system);
    let needs = |other: &Owned| {
        let links = other.object.links.iter().filter_map(|link| match &link.to {
            Target::Object(kind, name) => gone.get(&(*kind, name)).map(|object| (*object, &link.path)),
            _ => None,
        });
        let whose = format!("{} {} of system {}", other.object.kind(), other.object.name, other.system);
        links
            .map(|(object, path)| {
                let help = Some(format!("keep it, or change {whose} first"));
                problem(object, "", format!("would go, and {whose} names it in {path}"), help)
            })
            .collect::<Vec<_>>()
    };
    others.flat_map(needs).collect()
}
