//! From specs to one node's orders.

use crate::applied::Applied;
use crate::catalogue::{Catalogue, Chosen};
use crate::offline;
use crate::runs::steps;
use crate::services;
use hostler_types::notifier::is_built_in;
use hostler_types::spec::{Body, Kind, ServiceSpec, on_node, secrets_in};
use hostler_types::{
    CheckAssignment, DesiredState, Facts, Labels, Name, NodeId, NotifierAssignment, PluginAssignment, WatchAssignment,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What decides what a node gets.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    pub id: &'a NodeId,
    pub name: &'a Name,
    pub labels: &'a Labels,
    /// Absent until the node has said them.
    pub facts: Option<&'a Facts>,
    /// It tells people when the control plane is gone for so long.
    pub watch: Option<Duration>,
    /// The notifiers whose plugins it runs.
    pub delivers: &'a BTreeSet<Name>,
    /// Of all schedules.
    pub schedules: &'a offline::Standing,
}

/// The checks whose selector takes the node, and the plugins they need. A check
/// whose plugin is gone is left out: applying refuses such a spec, so it is one
/// whose plugin was removed by force. A node that watches the control plane gets the
/// default notifiers as well, and one that delivers by a plugin gets that notifier.
/// The services are those whose selector takes the node, the schedules those that it
/// fires by itself while it is cut off. The plugins that do steps of a task are those of
/// all nodes that it takes. With it the names of the secrets that all these
/// are given.
pub fn desired_state(node: NodeView<'_>, applied: &Applied, catalogue: &Catalogue) -> (DesiredState, BTreeSet<Name>) {
    let facts = node.facts.map(Facts::selectable).unwrap_or_default();
    let known = |word: &str| known(node.id, node.name, node.labels, &facts, word);
    let mut plugins: BTreeMap<&Name, PluginAssignment> = BTreeMap::new();
    let (mut checks, mut secrets) = (Vec::new(), BTreeSet::new());
    for (name, check) in applied.checks() {
        let Some(selector) = applied.selector_of(check).filter(|one| one.matches(node.labels, &facts)) else {
            continue;
        };
        let Ok(chosen) = catalogue.choose(&check.plugin, applied.plugin(&check.plugin)) else { continue };
        // Facts are the host's own claims: what it gets by one is no secret.
        if !selector.names_facts() {
            secrets.extend(named(applied, &Value::Object(check.with.0.clone())));
            secrets.extend(granted(applied, &chosen));
        }
        plugins.entry(&check.plugin).or_insert_with(|| assignment(&check.plugin, chosen));
        checks.push(CheckAssignment {
            name: name.clone(),
            plugin: check.plugin.clone(),
            every: check.every.0,
            timeout: check.timeout.0,
            config_json: on_node(&Value::Object(check.with.0.clone()), &known).to_string(),
            fails: check.fails.0,
            passes: check.passes.0,
            grace: check.grace.0,
        });
    }
    let (mut notifiers, mut tell) = (Vec::new(), Vec::new());
    for one in applied.of_kind(Kind::Notifier) {
        let (name, Body::Notifier(spec)) = (&one.object.name, &one.object.body) else { continue };
        if is_built_in(spec.plugin.as_str()) {
            if node.watch.is_none() || !spec.default {
                continue;
            }
            tell.push(name.clone());
        } else {
            if !node.delivers.contains(name) {
                continue;
            }
            let Ok(chosen) = catalogue.choose(&spec.plugin, applied.plugin(&spec.plugin)) else { continue };
            secrets.extend(granted(applied, &chosen));
            plugins.entry(&spec.plugin).or_insert_with(|| assignment(&spec.plugin, chosen));
        }
        let with = Value::Object(spec.with.0.clone());
        secrets.extend(named(applied, &with));
        let config_json = with.to_string();
        notifiers.push(NotifierAssignment { name: name.clone(), plugin: spec.plugin.clone(), config_json });
    }
    let taken = |spec: &ServiceSpec| spec.where_.matches(node.labels, &facts);
    let here = |name: &Name| applied.service(name).is_some_and(taken);
    let mut assigned = Vec::new();
    for one in applied.of_kind(Kind::Service) {
        let Body::Service(spec) = &one.object.body else { continue };
        if !taken(spec) {
            continue;
        }
        if !spec.where_.names_facts() {
            let declared = |name: &Name| applied.get(Kind::Secret, name).is_some();
            secrets.extend(services::secrets(spec).into_iter().filter(declared));
        }
        assigned.push(services::assignment(&one.object, spec, here, &known));
    }
    for spec in applied.tasks().filter(|spec| spec.where_.matches(node.labels, &facts)) {
        let given = !spec.where_.names_facts();
        if given {
            let declared = |name: &Name| applied.get(Kind::Secret, name).is_some();
            secrets.extend(steps::secrets(spec).into_iter().filter(declared));
        }
        // They are here before anybody asks for the task.
        for (_, action) in spec.actions() {
            let Ok(chosen) = catalogue.choose(&action.plugin, applied.plugin(&action.plugin)) else { continue };
            if given {
                secrets.extend(granted(applied, &chosen));
            }
            plugins.entry(&action.plugin).or_insert_with(|| assignment(&action.plugin, chosen));
        }
    }
    let watch = node.watch.filter(|_| !tell.is_empty()).map(|gone_after| WatchAssignment { gone_after, tell });
    let mut schedules = offline::assigned(applied, node.labels, node.schedules);
    for one in &mut schedules {
        one.steps = steps::on_node(&one.steps, &known);
    }
    let desired = DesiredState {
        node: node.id.clone(),
        node_name: node.name.clone(),
        plugins: plugins.into_values().collect(),
        checks,
        // Sealed by whoever has their values.
        secrets: Vec::new(),
        notifiers,
        watch,
        services: assigned,
        brakes: Vec::new(),
        schedules,
    };
    (desired, secrets)
}

/// What a word stands for on a node, as `${node.WORD}` asks for it.
pub fn known(
    id: &NodeId,
    name: &Name,
    labels: &Labels,
    facts: &BTreeMap<String, String>,
    word: &str,
) -> Option<String> {
    match word.strip_prefix("label.") {
        Some(key) => labels.get(key).cloned(),
        None if word == "name" => Some(name.to_string()),
        None if word == "id" => Some(id.to_string()),
        None => facts.get(word).cloned(),
    }
}

fn assignment(plugin: &Name, chosen: Chosen<'_>) -> PluginAssignment {
    PluginAssignment {
        name: plugin.clone(),
        version: chosen.artifact.manifest.version.clone(),
        digest: chosen.artifact.digest.clone(),
        size_bytes: chosen.artifact.size_bytes,
        grants: chosen.grants,
    }
}

/// Secrets that a configuration names.
fn named(applied: &Applied, with: &Value) -> Vec<Name> {
    secrets_in(with).into_iter().filter(|name| applied.get(Kind::Secret, name).is_some()).collect()
}

/// Secrets that a plugin may ask for.
fn granted(applied: &Applied, chosen: &Chosen<'_>) -> Vec<Name> {
    let granted = |name: &Name| {
        let patterns = chosen.grants.secrets.iter().chain(&chosen.grants.reveal);
        patterns.clone().any(|pattern| pattern.matches(name.as_str()))
    };
    let declared = applied.of_kind(Kind::Secret).map(|one| &one.object.name);
    declared.filter(|name| granted(name)).cloned().collect()
}
