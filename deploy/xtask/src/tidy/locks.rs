//! The agent loads what hostler-plugin compiled: both must hold the same engine.

use std::collections::{BTreeMap, BTreeSet};

const ENGINE: &str = "wasmtime";

pub fn disagreements(root: &str, tool: &str) -> Vec<String> {
    let (root, tool) = (versions(root), versions(tool));
    let differ = |(name, ours): (&String, &BTreeSet<String>)| {
        let theirs = tool.get(name)?;
        (ours != theirs).then(|| {
            format!(
                "{name}: {ours:?} in Cargo.lock, {theirs:?} in agent/plugin-tool/Cargo.lock; `cargo update -p {name}`"
            )
        })
    };
    let mut found: Vec<String> = root.iter().filter_map(differ).collect();
    if !root.contains_key(ENGINE) || !tool.contains_key(ENGINE) {
        found.push(format!("{ENGINE} is missing in one of the two lock files"));
    }
    found
}

/// Versions by name, of the engine's crates alone.
fn versions(lock: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(value) = quoted(line, "name = ") {
            name = Some(value);
        } else if let (Some(version), Some(name)) = (quoted(line, "version = "), name.take())
            && name.starts_with(ENGINE)
        {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    versions
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(version: &str) -> String {
        format!(
            "version = 4\n\n[[package]]\nname = \"serde\"\nversion = \"{version}\"\n\n\
             [[package]]\nname = \"wasmtime\"\nversion = \"{version}\"\n"
        )
    }

    #[test]
    fn another_version_of_the_engine_is_found() {
        assert!(disagreements(&lock("48.0.8"), &lock("48.0.8")).is_empty());
        let found = disagreements(&lock("48.0.8"), &lock("48.0.9"));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("wasmtime: {\"48.0.8\"} in Cargo.lock, {\"48.0.9\"}"), "{found:?}");
        assert!(disagreements(&lock("48.0.8"), "")[0].contains("missing"));
    }
}
