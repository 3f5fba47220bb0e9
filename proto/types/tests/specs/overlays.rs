//! What holds of every overlay, whatever stands in it.

use crate::random::Rng;
use hostler_types::Name;
use hostler_types::spec::{Body, Compiled, EnvSource, Kind, Source, SourceFile, compile};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const SYSTEM: &str = "system: {name: shop}\n";

fn file(path: &str, value: &Value) -> SourceFile {
    // JSON is YAML.
    SourceFile { path: path.to_owned(), text: value.to_string() }
}

fn laid(base: &Value, over: Option<Vec<Value>>) -> Result<Compiled, String> {
    let files = vec![SourceFile { path: "system.yaml".into(), text: SYSTEM.into() }, file("base.yaml", base)];
    let env = over.map(|over| EnvSource {
        name: Name::new("prod").unwrap(),
        files: over.iter().enumerate().map(|(index, over)| file(&format!("env/prod/{index}.yaml"), over)).collect(),
    });
    compile(&Source { files, env, ..Source::default() }).map_err(|problems| problems.to_string())
}

/// By kind and name, the body as it is printed; not that of the system.
fn bodies(compiled: &Compiled) -> BTreeMap<(Kind, String), Value> {
    let rest = compiled.objects.iter().filter(|object| object.kind() != Kind::System);
    rest.map(|object| ((object.kind(), object.name.to_string()), object.body.to_json(false))).collect()
}

/// `check.NAME.with`, any tree whose leaves are no nulls.
fn config(depth: usize, rng: &mut Rng) -> Map<String, Value> {
    let count = 1 + rng.below(4);
    (0..count).map(|_| (format!("k{}", rng.below(6)), leaf(depth, rng))).collect()
}

fn leaf(depth: usize, rng: &mut Rng) -> Value {
    match rng.below(if depth == 0 { 4 } else { 6 }) {
        0 => json!(rng.below(100)),
        1 => json!(format!("t{}", rng.below(100))),
        2 => json!(rng.chance(50)),
        3 => (0..rng.below(4)).map(|_| json!(rng.below(9))).collect(),
        _ => Value::Object(config(depth - 1, rng)),
    }
}

fn checks(rng: &mut Rng) -> Value {
    let one = |rng: &mut Rng| json!({ "where": "all", "plugin": "http", "with": config(3, rng) });
    json!({ "check": { "a": one(rng), "b": one(rng), "c": one(rng) } })
}

fn of_check(name: &str, with: Value) -> Value {
    json!({ "check": { name: { "with": with } } })
}

/// As the language says it: maps merge, lists and values replace, null removes.
fn model(base: &Value, over: &Value) -> Value {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            let mut whole = base.clone();
            for (key, value) in over {
                match (whole.get(key), value) {
                    (_, Value::Null) => drop(whole.shift_remove(key)),
                    (Some(below), value) => drop(whole.insert(key.clone(), model(below, value))),
                    (None, value) => drop(whole.insert(key.clone(), value.clone())),
                }
            }
            whole.into()
        }
        (_, over) => over.clone(),
    }
}

/// The paths of every key of a tree of maps.
fn paths(value: &Value, here: &[String], into: &mut Vec<Vec<String>>) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        let path = [here, std::slice::from_ref(key)].concat();
        paths(value, &path, into);
        into.push(path);
    }
}

fn at_path(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| json!({ key: inner }))
}

fn removed(value: &mut Value, path: &[String]) {
    let (last, parents) = path.split_last().unwrap();
    let parent = parents.iter().fold(value, |value, key| &mut value[key]);
    parent.as_object_mut().unwrap().shift_remove(last).unwrap();
}

fn with_of(compiled: &Compiled, name: &str) -> Value {
    bodies(compiled)[&(Kind::Check, name.to_owned())].get("with").cloned().unwrap_or_else(|| json!({}))
}

proptest! {
    #[test]
    fn an_empty_overlay_names_itself_and_changes_nothing(seed in any::<u64>()) {
        let base = checks(&mut Rng(seed));
        let before = laid(&base, None).unwrap();
        for over in [vec![], vec![json!(null)], vec![json!({})], vec![json!({ "check": {} }), json!({ "check": null })], vec![of_check("b", json!({}))]] {
            let after = laid(&base, Some(over)).unwrap();
            prop_assert_eq!(bodies(&before), bodies(&after));
            prop_assert_eq!((before.env(), after.env().map(Name::as_str)), (None, Some("prod")));
            prop_assert_eq!(before.system(), after.system());
            let objects = |compiled: &Compiled| compiled.objects.iter().map(|one| (one.kind(), one.origin.clone())).collect::<Vec<_>>();
            prop_assert_eq!(objects(&before), objects(&after));
        }
    }

    #[test]
    fn an_overlay_wins(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let base = checks(&mut rng);
        let over = Value::Object(config(3, &mut rng));
        let after = laid(&base, Some(vec![of_check("b", over.clone())])).unwrap();
        prop_assert_eq!(with_of(&after, "b"), model(&base["check"]["b"]["with"], &over));
        // The others are as they were.
        let before = bodies(&laid(&base, None).unwrap());
        for (key, body) in bodies(&after).into_iter().filter(|((_, name), _)| name != "b") {
            prop_assert_eq!(&before[&key], &body);
        }
        // Laid over again, it changes nothing.
        let mut whole = base.clone();
        whole["check"]["b"]["with"] = with_of(&after, "b");
        prop_assert_eq!(bodies(&laid(&whole, Some(vec![of_check("b", over)])).unwrap()), bodies(&after));
    }

    #[test]
    fn nothing_removes_exactly_that(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let base = checks(&mut rng);
        let mut found = Vec::new();
        paths(&base["check"]["a"]["with"], &[], &mut found);
        let path = rng.pick(&found).clone();
        let after = laid(&base, Some(vec![of_check("a", at_path(&path, Value::Null))])).unwrap();
        let mut want = base.clone();
        removed(&mut want["check"]["a"]["with"], &path);
        prop_assert_eq!(bodies(&after), bodies(&laid(&want, None).unwrap()));
        // What is not there can't be removed.
        let mut missing = path.clone();
        *missing.last_mut().unwrap() = "gone".to_owned();
        prop_assert!(laid(&base, Some(vec![of_check("a", at_path(&missing, Value::Null))])).is_err());
        // A whole object.
        let after = laid(&base, Some(vec![json!({ "check": { "c": null } })])).unwrap();
        let mut want = base.clone();
        removed(&mut want, &["check".to_owned(), "c".to_owned()]);
        prop_assert_eq!(bodies(&after), bodies(&laid(&want, None).unwrap()));
    }

    #[test]
    fn the_order_of_files_says_nothing(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let base = checks(&mut rng);
        let mut overs: Vec<Value> = ["a", "b", "new"]
            .iter()
            .map(|name| match *name {
                "new" => json!({ "check": { "new": { "where": "x=y", "plugin": "disk", "with": config(2, &mut rng) } } }),
                name => of_check(name, config(3, &mut rng).into()),
            })
            .collect();
        overs.push(json!({ "check": { "c": null } }));
        let first = laid(&base, Some(overs.clone())).unwrap();
        for _ in 0..4 {
            let (left, right) = (rng.below(overs.len()), rng.below(overs.len()));
            overs.swap(left, right);
            prop_assert_eq!(bodies(&laid(&base, Some(overs.clone())).unwrap()), bodies(&first));
        }
    }

    #[test]
    fn lists_replace(base in prop::collection::vec(0..9u8, 0..5), over in prop::collection::vec(0..9u8, 0..5)) {
        let folder = |list: &[u8]| json!({
            "check": { "a": { "where": "all", "plugin": "p", "with": { "list": list, "deep": { "list": [list, { "a": list }] } } } },
            "task": { "t": { "where": "all", "steps": list.iter().map(|n| json!({ "run": format!("n{n}") })).chain([json!({ "run": "x" })]).collect::<Vec<_>>() } },
        });
        let after = laid(&folder(&base), Some(vec![folder(&over)])).unwrap();
        prop_assert_eq!(bodies(&after), bodies(&laid(&folder(&over), None).unwrap()));
    }
}

#[test]
fn the_system_is_one_whatever_the_overlay_calls_it() {
    let over = json!({ "system": { "zone": "Europe/Berlin" } });
    let after = laid(&json!({}), Some(vec![over])).unwrap();
    let Body::System(system) = &after.objects[0].body else { panic!("a system") };
    assert_eq!((system.zone.0.as_str(), after.env().map(Name::as_str)), ("Europe/Berlin", Some("prod")));
    // The name is that of the environment applied, not what stands there.
    let after = laid(&json!({}), Some(vec![json!({ "system": { "env": "staging" } })])).unwrap();
    assert_eq!(after.env().map(Name::as_str), Some("prod"));
}
