//! From specs to one node's orders.

use crate::catalogue::Catalogue;
use hostler_types::spec::{CheckSpec, PluginSpec};
use hostler_types::{CheckAssignment, DesiredState, Facts, Labels, Name, NodeId, PluginAssignment};
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

#[derive(Clone, Copy, Debug)]
pub struct Specs<'a> {
    pub checks: &'a BTreeMap<Name, CheckSpec>,
    pub plugins: &'a BTreeMap<Name, PluginSpec>,
    pub catalogue: &'a Catalogue,
}

/// The checks whose selector takes the node, and the plugins they need. A check
/// whose plugin is gone is left out: applying refuses such a spec, so it is one
/// whose plugin was removed by force.
pub fn desired_state(node: NodeView<'_>, specs: Specs<'_>) -> DesiredState {
    let facts = node.facts.map(Facts::selectable).unwrap_or_default();
    let mut plugins: BTreeMap<&Name, PluginAssignment> = BTreeMap::new();
    let mut checks = Vec::new();
    for (name, check) in specs.checks {
        if !check.where_.matches(node.labels, &facts) {
            continue;
        }
        let Ok(chosen) = specs.catalogue.choose(&check.plugin, specs.plugins.get(&check.plugin)) else { continue };
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
            every: check.every,
            timeout: check.timeout,
            config_json: serde_json::Value::Object(check.with.clone()).to_string(),
            fails: check.fails,
            passes: check.passes,
            grace: check.grace,
        });
    }
    DesiredState {
        node: node.id.clone(),
        node_name: node.name.clone(),
        plugins: plugins.into_values().collect(),
        checks,
    }
}
