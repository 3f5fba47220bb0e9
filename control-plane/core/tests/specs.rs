//! From a spec's text to what applying it does and what nodes then get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hostler_core::apply::{Act, Applied, plan_apply};
use hostler_core::assign::{NodeView, Specs, desired_state};
use hostler_core::catalogue::{Artifact, Catalogue};
use hostler_types::plugin::{Grants, Manifest};
use hostler_types::spec::{Body, Kind, Object, SourceFile, read_files};
use hostler_types::{Facts, Labels, Name, NodeId};

fn artifact(name: &str, version: &str) -> Artifact {
    let http = vec!["http://*:*".parse().unwrap()];
    let manifest = Manifest {
        name: Name::new(name).unwrap(),
        version: version.into(),
        world: "check".into(),
        summary: String::new(),
        grants: Grants { http, system: true },
    };
    Artifact { manifest, digest: format!("{name}-{version}"), size_bytes: 1 }
}

fn catalogue() -> Catalogue {
    Catalogue::new([artifact("disk", "0.1.0"), artifact("http", "0.10.0"), artifact("http", "0.9.0")])
}

fn read(text: &str) -> Vec<Object> {
    read_files(&[SourceFile { path: "s.yaml".into(), text: text.into() }]).unwrap()
}

fn applied(text: &str) -> Applied {
    read(text).into_iter().map(|one| ((one.body.kind(), one.name), one.body)).collect()
}

fn orders(spec: &str, labels: &[(&str, &str)], facts: Option<&Facts>) -> Vec<(String, String)> {
    let applied = applied(spec);
    let mut checks = std::collections::BTreeMap::new();
    let mut plugins = std::collections::BTreeMap::new();
    for ((kind, name), body) in applied {
        match (kind, body) {
            (Kind::Check, Body::Check(check)) => drop(checks.insert(name, check)),
            (Kind::Plugin, Body::Plugin(plugin)) => drop(plugins.insert(name, plugin)),
            _ => {}
        }
    }
    let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let (id, name) = (NodeId::from_random([1; 10]), Name::new("web1").unwrap());
    let node = NodeView { id: &id, name: &name, labels: &labels, facts };
    let desired = desired_state(node, Specs { checks: &checks, plugins: &plugins, catalogue: &catalogue() });
    let version = |plugin: &Name| desired.plugins.iter().find(|one| one.name == *plugin).unwrap().version.clone();
    desired.checks.iter().map(|check| (check.name.to_string(), version(&check.plugin))).collect()
}

#[test]
fn a_node_gets_the_checks_that_select_it_with_the_newest_plugin() {
    let spec = "check:\n  site: {where: role=web, plugin: http}\n  disk: {where: all, plugin: disk}\n  deb: {where: os.id=debian, plugin: disk}\n";
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(orders(spec, &[], None), [pair("disk", "0.1.0")]);
    assert_eq!(orders(spec, &[("role", "web")], None), [pair("disk", "0.1.0"), pair("site", "0.10.0")]);
    let facts = Facts { os_id: "debian".into(), ..Facts::default() };
    assert_eq!(orders(spec, &[], Some(&facts)), [pair("deb", "0.1.0"), pair("disk", "0.1.0")]);
    let pinned = format!("plugin: {{http: {{version: \"0.9.0\"}}}}\n{spec}");
    assert_eq!(orders(&pinned, &[("role", "web")], None)[1], pair("site", "0.9.0"));
}

#[test]
fn grants_are_what_manifest_and_operator_both_allow() {
    let spec = applied("plugin: {http: {allow: {http: [\"http://127.0.0.1:*\"]}}}");
    let Body::Plugin(plugin) = &spec[&(Kind::Plugin, Name::new("http").unwrap())] else { panic!() };
    let catalogue = catalogue();
    let chosen = catalogue.choose(&Name::new("http").unwrap(), Some(plugin)).unwrap();
    assert!(!chosen.grants.system);
    assert_eq!(chosen.grants.http.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://127.0.0.1:*"]);
}

#[test]
fn applying_says_what_changes() {
    let before = applied("check:\n  a: {where: all, plugin: disk}\n  b: {where: all, plugin: disk}\n");
    let after = read(
        "check:\n  a: {where: all, plugin: disk}\n  b: {where: all, plugin: disk, every: 5s}\n  c: {where: all, plugin: http}\n",
    );
    let changes = plan_apply(&before, &after, &catalogue()).unwrap();
    let acts: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.act)).collect();
    assert_eq!(acts, [("a", Act::Unchanged), ("b", Act::Update), ("c", Act::Create)]);
}

#[test]
fn nothing_is_applied_when_anything_is_wrong_and_all_of_it_is_told() {
    let objects = read(
        "check:\n  a: {where: all, plugin: htpp}\n  b: {where: all, plugin: disk}\nplugin: {http: {version: \"9.9.9\"}}\n",
    );
    let problems = plan_apply(&Applied::new(), &objects, &catalogue()).unwrap_err();
    let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "s.yaml:4:1: plugin http: plugin http has no version \"9.9.9\"; there are 0.9.0, 0.10.0\n  help: hostlerctl plugin ls shows what was pushed",
            "s.yaml:2:1: check a: there is no plugin \"htpp\" here\n  help: did you mean http?",
        ]
    );
}
