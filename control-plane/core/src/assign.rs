//! From specs to one node's orders.

use crate::applied::Applied;
use crate::catalogue::Catalogue;
use hostler_types::spec::on_node;
use hostler_types::{CheckAssignment, DesiredState, Facts, Labels, Name, NodeId, PluginAssignment};
use serde_json::Value;
use std::collections::BTreeMap;

/// What decides what a node gets.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    pub id: &'a NodeId,
    pub name: &'a Name,
    pub labels: &'a Labels,
    /// Absent until the node has said them.
    pub facts: Option<&'a Facts>,
}

/// The checks whose selector takes the node, and the plugins they need. A check
/// whose plugin is gone is left out: applying refuses such a spec, so it is one
/// whose plugin was removed by force.
pub fn desired_state(node: NodeView<'_>, applied: &Applied, catalogue: &Catalogue) -> DesiredState {
    let facts = node.facts.map(Facts::selectable).unwrap_or_default();
    let known = |word: &str| match word.strip_prefix("label.") {
        Some(key) => node.labels.get(key).cloned(),
        None if word == "name" => Some(node.name.to_string()),
        None if word == "id" => Some(node.id.to_string()),
        None => facts.get(word).cloned(),
    };
    let mut plugins: BTreeMap<&Name, PluginAssignment> = BTreeMap::new();
    let mut checks = Vec::new();
    for (name, check) in applied.checks() {
        if !applied.selector_of(check).is_some_and(|selector| selector.matches(node.labels, &facts)) {
            continue;
        }
        let Ok(chosen) = catalogue.choose(&check.plugin, applied.plugin(&check.plugin)) else { continue };
        plugins.entry(&check.plugin).or_insert_with(|| PluginAssignment {
            name: check.plugin.clone(),
            version: chosen.artifact.manifest.version.clone(),
            digest: chosen.artifact.digest.clone(),
            size_bytes: chosen.artifact.size_bytes,
            grants: chosen.grants,
        });
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
    DesiredState {
        node: node.id.clone(),
        node_name: node.name.clone(),
        plugins: plugins.into_values().collect(),
        checks,
    }
}
