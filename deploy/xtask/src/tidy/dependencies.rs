//! Which way dependencies point, read from cargo's own resolution.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A crate of ours and those of ours that it may use. A new crate gets its line.
const DIRECTION: [(&str, &[&str]); 15] = [
    ("hostler-types", &[]),
    ("hostler-proto", &["hostler-types"]),
    ("hostler-notify", &["hostler-types"]),
    ("hostler-agent-core", &["hostler-types"]),
    ("hostler-plugin-host", &["hostler-types"]),
    ("hostler-executor", &["hostler-types"]),
    (
        "hostler-agent",
        &[
            "hostler-agent-core",
            "hostler-executor",
            "hostler-notify",
            "hostler-plugin-host",
            "hostler-proto",
            "hostler-types",
        ],
    ),
    ("hostler-core", &["hostler-types"]),
    ("hostler-store", &["hostler-types"]),
    ("hostler-control-plane", &["hostler-core", "hostler-notify", "hostler-store", "hostler-proto", "hostler-types"]),
    ("hostlerctl", &["hostler-proto", "hostler-types"]),
    ("hostler-sim", &["hostler-agent-core", "hostler-core", "hostler-types"]),
    ("hostler-crash", &["hostler-store"]),
    // Drives the programs from outside; speaks the wire itself where it plays a rogue.
    ("hostler-lab", &["hostler-crash", "hostler-proto", "hostler-types"]),
    ("xtask", &[]),
];

const PURE: [&str; 4] = ["hostler-types", "hostler-agent-core", "hostler-core", "hostler-sim"];
/// What a pure crate never touches, not even through others: a runtime, a wire,
/// an engine, a disk, randomness.
const IMPURE: [&str; 9] = ["tokio", "mio", "tonic", "hyper", "rustls", "wasmtime", "sled", "rand", "getrandom"];

/// The engine's tables (cranelift-entity and the like) are data; these compile.
const COMPILERS: [&str; 5] = [
    "cranelift-codegen",
    "cranelift-frontend",
    "wasmtime-internal-cranelift",
    "wasmtime-internal-winch",
    "wasmtime-wasi",
];
const COMPILER_FEATURES: [&str; 3] = ["cranelift", "winch", "all-arch"];

/// Packages by name (ours) and by cargo's id, with what they link at run time.
pub struct Graph {
    members: BTreeMap<String, String>,
    nodes: BTreeMap<String, Node>,
}

struct Node {
    name: String,
    features: Vec<String>,
    needs: Vec<String>,
}

impl Graph {
    pub fn parse(metadata: &Value) -> Result<Self> {
        let names: BTreeMap<&str, &str> = list(metadata, "packages")?
            .iter()
            .filter_map(|package| Some((package.get("id")?.as_str()?, package.get("name")?.as_str()?)))
            .collect();
        let mut nodes = BTreeMap::new();
        for node in list(metadata.get("resolve").context("find `resolve` in cargo's metadata")?, "nodes")? {
            let id = node.get("id").and_then(Value::as_str).context("find the id of a package")?;
            let name = names.get(id).with_context(|| format!("name package {id}"))?;
            let needs = list(node, "deps")?.iter().filter(|dep| is_normal(dep));
            let needs = needs.filter_map(|dep| Some(dep.get("pkg")?.as_str()?.to_owned())).collect();
            let features = list(node, "features")?.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect();
            nodes.insert(id.to_owned(), Node { name: (*name).to_owned(), features, needs });
        }
        let members = list(metadata, "workspace_members")?
            .iter()
            .filter_map(|id| Some(((*names.get(id.as_str()?)?).to_owned(), id.as_str()?.to_owned())))
            .collect();
        Ok(Self { members, nodes })
    }

    /// All that a crate of ours links, itself included.
    fn reach(&self, member: &str) -> Vec<&Node> {
        let mut seen = BTreeSet::new();
        let mut ids: Vec<&str> = self.members.get(member).map(String::as_str).into_iter().collect();
        let mut reached = Vec::new();
        while let Some(id) = ids.pop() {
            if let Some(node) = self.nodes.get(id).filter(|_| seen.insert(id)) {
                ids.extend(node.needs.iter().map(String::as_str));
                reached.push(node);
            }
        }
        reached
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("find the list `{key}` in cargo's metadata"))
}

/// Neither for tests nor for a build script.
fn is_normal(dependency: &Value) -> bool {
    let kinds = dependency.get("dep_kinds").and_then(Value::as_array);
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.get("kind").is_none_or(Value::is_null)))
}

pub fn direction(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (name, id) in &graph.members {
        let Some((_, allowed)) = DIRECTION.iter().find(|(member, _)| member == name) else {
            found.push(format!("{name}: unknown to the table of directions; give it a line in tidy/dependencies.rs"));
            continue;
        };
        let needs = graph.nodes.get(id).into_iter().flat_map(|node| &node.needs);
        for need in needs.filter_map(|id| graph.nodes.get(id)) {
            if graph.members.contains_key(&need.name) && !allowed.contains(&need.name.as_str()) {
                let may = if allowed.is_empty() { "none of our crates".into() } else { allowed.join(", ") };
                found.push(format!("{name} depends on {}; it may use {may}", need.name));
            }
        }
    }
    found
}

pub fn impure(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for member in PURE {
        for node in graph.reach(member).into_iter().filter(|node| IMPURE.contains(&node.name.as_str())) {
            found.push(format!("{member} is pure, and reaches {}", node.name));
        }
    }
    found
}

pub fn compiler_in_agent(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for node in graph.reach("hostler-agent") {
        if COMPILERS.contains(&node.name.as_str()) {
            found.push(format!("hostler-agent links {}: compiling is hostler-plugin's", node.name));
        }
        if node.name == "wasmtime" {
            for feature in node.features.iter().filter(|feature| COMPILER_FEATURES.contains(&feature.as_str())) {
                found.push(format!("hostler-agent has wasmtime's feature {feature}: compiling is hostler-plugin's"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `name: needs` for each package; those of ours are members.
    fn graph(edges: &[(&str, &[&str])], features: &[&str]) -> Graph {
        let dep = |name: &&str| json!({"pkg": *name, "dep_kinds": [{"kind": null}]});
        let node = |(name, needs): &(&str, &[&str])| {
            let mut deps: Vec<Value> = needs.iter().map(dep).collect();
            deps.push(json!({"pkg": "tokio", "dep_kinds": [{"kind": "dev"}]}));
            json!({"id": *name, "features": features, "deps": deps})
        };
        let names = edges.iter().map(|(name, _)| *name);
        let metadata = json!({
            "packages": names.clone().map(|name| json!({"id": name, "name": name})).collect::<Vec<_>>(),
            "workspace_members": names.filter(|name| name.starts_with("host") || *name == "xtask").collect::<Vec<_>>(),
            "resolve": {"nodes": edges.iter().map(node).collect::<Vec<_>>()},
        });
        Graph::parse(&metadata).unwrap()
    }

    #[test]
    fn a_dependency_against_the_grain_is_found() {
        let good = graph(&[("hostler-types", &[]), ("hostler-core", &["hostler-types"])], &[]);
        assert!(direction(&good).is_empty());
        let bad = graph(&[("hostler-types", &["hostler-core"]), ("hostler-core", &[]), ("hostler-new", &[])], &[]);
        let found = direction(&bad);
        assert!(
            found.iter().any(|line| line.contains("hostler-types depends on hostler-core; it may use none")),
            "{found:?}"
        );
        assert!(found.iter().any(|line| line.starts_with("hostler-new: unknown")), "{found:?}");
    }

    #[test]
    fn a_pure_crate_that_reaches_a_runtime_is_found() {
        let found = impure(&graph(&[("hostler-core", &["mid"]), ("mid", &["tokio"]), ("tokio", &[])], &[]));
        assert_eq!(found, ["hostler-core is pure, and reaches tokio"]);
        assert!(impure(&graph(&[("hostler-core", &[]), ("tokio", &[])], &[])).is_empty());
    }

    #[test]
    fn a_compiler_in_the_agent_is_found() {
        let edges: &[(&str, &[&str])] =
            &[("hostler-agent", &["wasmtime"]), ("wasmtime", &["cranelift-codegen"]), ("cranelift-codegen", &[])];
        assert_eq!(compiler_in_agent(&graph(edges, &["cranelift"])).len(), 2);
        assert!(
            compiler_in_agent(&graph(&[("hostler-agent", &["wasmtime"]), ("wasmtime", &[])], &["runtime"])).is_empty()
        );
    }
}
