use super::*;
use crate::selector::Selector;
use crate::spec::write_yaml;
use std::time::Duration;

fn read(text: &str) -> Result<Vec<Object>, Problems> {
    read_files(&[SourceFile { path: "a.yaml".into(), text: text.into() }])
}

fn problem(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn a_check_is_read_with_its_defaults() {
    let objects = read("check:\n  disk: {where: all, plugin: disk, with: {warn: 80%}}\n").expect("valid");
    let [Object { body: Body::Check(check), origin, .. }] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!(origin, "a.yaml:2");
    assert_eq!(check.where_, Selector::all());
    assert_eq!((check.every, check.fails, check.passes), (Duration::from_secs(30), 3, 2));
    assert_eq!(check.with.get("warn"), Some(&"80%".into()));
}

#[test]
fn every_kind_prints_what_it_reads() {
    let text = r#"
node: {web1: {labels: {role: web, rack: 7}}}
plugin: {http: {version: "1.10", allow: {http: ["https://*"], system: false}}}
check: {site: {where: "role in (web, app)", plugin: http, every: 5s, grace: 1m, fails: 1, with: {url: "http://x/", deep: {list: [1, 2.5, true, null]}}}}
"#;
    let objects = read(text).expect("valid");
    for object in objects {
        for full in [false, true] {
            let json = object.body.to_json(full).to_string();
            let again = read_json(object.body.kind().word(), object.name.as_str(), &json, "").expect(&json);
            assert_eq!(again.body, object.body);
        }
    }
}

#[test]
fn what_is_written_as_yaml_reads_back() {
    let text = r##"
node: {web1: {labels: {role: web, rack: "7"}}}
plugin: {http: {version: "1.10", allow: {http: ["https://*", "http://127.0.0.1:*"], system: false}}}
check: {site: {where: "role in (web, app)", plugin: http, with: {url: "http://x/", warn: 80%, text: "on", empty: "", list: ["*", "- a", "#x", "1.10", "null"], n: 3}}}
"##;
    let objects = read(text).expect("valid");
    for full in [false, true] {
        let yaml = write_yaml(&objects, full);
        let bodies = |objects: Vec<Object>| objects.into_iter().map(|one| (one.name, one.body)).collect::<Vec<_>>();
        assert_eq!(bodies(read(&yaml).expect(&yaml)), bodies(objects.clone()), "{yaml}");
    }
}

#[test]
fn problems_come_all_at_once_with_their_places() {
    let text = "check:\n  a: {where: all, plugin: disk, evry: 5s}\n  b: {where: \"x y\", plugin: disk}\n  c: {where: all, plugin: disk, every: 10}\nchekc: {}\n";
    let Problems(problems) = read(text).expect_err("wrong");
    let places: Vec<_> = problems.iter().map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(2, 33), (3, 14), (4, 40), (5, 1)]);
    let text = Problems(problems).to_string();
    assert!(text.contains("did you mean every?"), "{text}");
    assert!(text.contains("write 10s for seconds"), "{text}");
    assert!(text.contains("did you mean check?"), "{text}");
}

#[test]
fn twice_the_same_names_both_places() {
    let text = problem("check:\n  a: {where: all, plugin: disk}\n  a: {where: all, plugin: disk}\n");
    assert!(text.contains("stands twice; the first is on line 2"), "{text}");
    let files = ["one.yaml", "two.yaml"].map(|path| SourceFile { path: path.into(), text: "node: {web: {}}".into() });
    let text = read_files(&files).expect_err("duplicate").to_string();
    assert!(text.contains("two.yaml:1:8: node web stands twice; the first is at one.yaml:1"), "{text}");
}

#[test]
fn yaml_is_kept_simple() {
    for (text, expect) in [
        ("check: &a {}", "anchors"),
        ("node: {web: {labels: !x {}}}", "tags"),
        ("node: {<<: {}}", "merge keys"),
        ("node: {}\n---\nnode: {}\n", "second document"),
        ("node: [", "not readable as YAML"),
        ("- a", "a spec is a map of kinds, and this is a list"),
        ("node: {on: {}}", "means true or false"),
        ("plugin: {http: {version: 1.10}}", "may lose its zeros"),
        ("version: 2", "only version 1"),
        ("check: {x: {where: all}}", "plugin is missing"),
        ("check: {x: {plugin: http}}", "where is missing"),
        ("check: {x: {where: all, plugin: http, with: 5}}", "with should be a map"),
        ("check: {x: {where: all, plugin: http, fails: 0}}", "may be 1 to 100"),
        ("check: {x: {where: all, plugin: http, every: 1ms}}", "may be 1s to 7d"),
    ] {
        let found = problem(text);
        assert!(found.contains(expect), "{text}: {found}");
    }
    assert_eq!(read("# nothing\n"), Ok(Vec::new()));
    assert_eq!(read(""), Ok(Vec::new()));
}

#[test]
fn nesting_has_an_end() {
    let text = format!("check: {{x: {{where: all, plugin: p, with: {{a: {}{}}}}}}}", "[".repeat(200), "]".repeat(200));
    assert!(problem(&text).contains("nested more than"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(check|node|plugin|: |\\{|\\}|\\[|\\]|\n|  |where|all|\"|'|[a-z0-9.&*!%-]){0,60}") {
        let _ = read(&text);
    }
}
