//! From a spec's text to what applying it does and what nodes then get.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hostler_core::applied::Applied;
use hostler_core::assign::{NodeView, desired_state};
use hostler_core::catalogue::{Artifact, Catalogue};
use hostler_core::effects::Host;
use hostler_core::offline::Standing;
use hostler_core::plan::{Act, Basis, Plan, Wanted, compare, plan};
use hostler_types::plugin::{Grants, Manifest};
use hostler_types::spec::{Kind, Object, Source, SourceFile, compile};
use hostler_types::{Facts, Labels, Name, NodeId, ScheduleAssignment, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

fn artifact(name: &str, version: &str) -> Artifact {
    let http = vec!["http://*:*".parse().unwrap()];
    let manifest = Manifest {
        name: Name::new(name).unwrap(),
        version: version.into(),
        world: if name == "lb" { "action" } else { "check" }.into(),
        summary: String::new(),
        grants: Grants { http, secrets: vec!["lb-*".parse().unwrap()], system: true, ..Grants::default() },
        with: ["http", "lb"].contains(&name).then(|| {
            let field = r#"{"type": "text", "help": "What.", "example": "x"}"#;
            [("url".to_owned(), serde_json::from_str(field).unwrap())].into()
        }),
    };
    Artifact { manifest, digest: format!("{name}-{version}"), waiting: false, size_bytes: 1 }
}

fn catalogue() -> Catalogue {
    Catalogue::new([
        artifact("disk", "0.1.0"),
        artifact("http", "0.10.0"),
        artifact("http", "0.9.0"),
        artifact("lb", "0.2.0"),
    ])
}

fn read(text: &str) -> Vec<Arc<Object>> {
    let files = vec![SourceFile { path: "s.yaml".into(), text: text.into() }];
    let compiled = compile(&Source { files, ..Source::default() }).unwrap_or_else(|error| panic!("{error}"));
    compiled.objects.into_iter().map(Arc::new).collect()
}

fn wanted(text: &str) -> Wanted {
    let objects = read(text);
    let system = objects.iter().find(|one| one.kind() == Kind::System);
    Wanted { system: system.map_or_else(|| Name::new("default").unwrap(), |one| one.name.clone()), objects }
}

fn applied(text: &str) -> Applied {
    let wanted = wanted(text);
    let mut applied = Applied::default();
    applied.set_system(&wanted.system, wanted.objects);
    applied
}

fn host(name: &str, labels: &[(&str, &str)]) -> Host {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Host { name: Name::new(name).unwrap(), labels, facts: BTreeMap::new() }
}

fn planned(before: &Applied, text: &str, hosts: &[Host]) -> Plan {
    plan(Basis { applied: before, catalogue: &catalogue(), hosts }, &wanted(text))
}

fn told(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .filter(|change| change.act != Act::Unchanged)
        .map(|change| format!("{} {} {}: {}", change.act.word(), change.kind, change.name, change.effect))
        .collect()
}

fn problems(plan: &Plan) -> Vec<String> {
    plan.problems
        .iter()
        .map(|one| {
            format!(
                "{} {} [{}] {} -> {}",
                one.kind,
                one.name,
                one.path,
                one.message,
                one.help.clone().unwrap_or_default()
            )
        })
        .collect()
}

fn orders(spec: &str, labels: &[(&str, &str)], facts: Option<&Facts>) -> Vec<(String, String)> {
    let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let (id, name) = (NodeId::from_random([1; 10]), Name::new("web1").unwrap());
    let node = NodeView {
        id: &id,
        name: &name,
        labels: &labels,
        facts,
        watch: None,
        delivers: &BTreeSet::new(),
        schedules: &Standing::default(),
    };
    let (desired, _) = desired_state(node, &applied(spec), &catalogue());
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
fn a_check_runs_where_its_service_does_and_knows_its_node() {
    let spec = "service: {shop: {where: role=web, command: bin/shop}}\ncheck: {site: {service: shop, plugin: http, with: {url: \"http://${node.name}/${node.label.role}\"}}}";
    assert!(orders(spec, &[("role", "db")], None).is_empty());
    let labels: Labels = [("role".to_owned(), "web".to_owned())].into();
    let (id, name) = (NodeId::from_random([1; 10]), Name::new("web1").unwrap());
    let node = NodeView {
        id: &id,
        name: &name,
        labels: &labels,
        facts: None,
        watch: None,
        delivers: &BTreeSet::new(),
        schedules: &Standing::default(),
    };
    let (desired, _) = desired_state(node, &applied(spec), &catalogue());
    assert_eq!(desired.checks[0].config_json, r#"{"url":"http://web1/web"}"#);
}

#[test]
fn a_watcher_gets_the_default_notifiers_and_their_secrets_as_they_are_written() {
    let spec = "secret: {hook: {}, other: {}}\nnotifier:\n  ops: {default: true, plugin: webhook, with: {url: \"http://h/${secret:hook}\"}}\n  chat: {plugin: slack, with: {url: \"${secret:other}\"}}";
    let (labels, id, name) = (Labels::new(), NodeId::from_random([1; 10]), Name::new("web1").unwrap());
    let node = NodeView {
        id: &id,
        name: &name,
        labels: &labels,
        facts: None,
        watch: None,
        delivers: &BTreeSet::new(),
        schedules: &Standing::default(),
    };
    let (desired, secrets) = desired_state(node, &applied(spec), &catalogue());
    assert!(desired.watch.is_none() && desired.notifiers.is_empty() && secrets.is_empty());
    let watcher = NodeView { watch: Some(Duration::from_secs(300)), ..node };
    let (desired, secrets) = desired_state(watcher, &applied(spec), &catalogue());
    let watch = desired.watch.unwrap();
    assert_eq!((watch.gone_after.as_secs(), watch.tell), (300, vec![Name::new("ops").unwrap()]));
    assert_eq!(desired.notifiers[0].config_json, r#"{"url":"http://h/${secret:hook}"}"#);
    assert_eq!((desired.notifiers.len(), secrets), (1, [Name::new("hook").unwrap()].into()));
    // Nobody to tell, nothing to do.
    let (desired, _) = desired_state(watcher, &applied(""), &catalogue());
    assert!(desired.watch.is_none());
}

const CARE: &str = "system: {name: shop, zone: Europe/Berlin}
window:
  evening: {cron: 0 19 * * *, for: 4h, cutoff: 30m}
task:
  tidy: {where: role=web, timeout: 5m, steps: [{run: bin/tidy}, {packages: security}]}
  roll: {where: role=web, steps: [{restart: site}]}
  node: {where: role=web, steps: [{run: \"echo ${node.name}\"}]}
service:
  site: {where: role=web, command: bin/site}
schedule:
  nightly: {cron: 0 2 * * *, task: tidy, jitter: 10m, offline: run}
  late: {cron: 0 20 * * *, zone: UTC, task: tidy, window: evening, offline: run}
  roll: {cron: 0 3 * * *, task: roll}
  node: {cron: 0 3 * * *, task: node, offline: run}
  waits: {cron: 0 4 * * *, task: tidy}
  week: {cron: 0 5 * * mon, report: [errors], offline: run}
";

fn held(spec: &str, role: &str, standing: &Standing) -> Vec<ScheduleAssignment> {
    let (id, name) = (NodeId::from_random([1; 10]), Name::new("web1").unwrap());
    let labels: Labels = [("role".to_owned(), role.to_owned())].into();
    let delivers = BTreeSet::new();
    let node = NodeView {
        id: &id,
        name: &name,
        labels: &labels,
        facts: None,
        watch: None,
        delivers: &delivers,
        schedules: standing,
    };
    desired_state(node, &applied(spec), &catalogue()).0.schedules
}

#[test]
fn a_node_holds_the_schedules_that_fire_without_the_control_plane() {
    let standing = Standing::default();
    let both = held(CARE, "web", &standing);
    let names: Vec<&str> = both.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["late", "nightly", "node"]);
    assert_eq!(both[2].steps[0].to_string(), "echo web1");
    let nightly = &both[1];
    assert_eq!((nightly.when.to_string().as_str(), nightly.zone.0.as_str()), ("0 2 * * *", "Europe/Berlin"));
    assert_eq!((nightly.jitter.as_secs(), nightly.timeout.as_secs(), nightly.steps.len()), (600, 300, 2));
    assert!(nightly.window.is_none() && nightly.origin.starts_with("s.yaml:"), "{nightly:?}");
    let window = both[0].window.as_ref().unwrap();
    assert_eq!((both[0].zone.0.as_str(), window.zone.0.as_str()), ("UTC", "Europe/Berlin"));
    assert_eq!((window.lasts.as_secs(), window.cutoff.as_secs()), (14_400, 1_800));
    assert!(held(CARE, "db", &standing).is_empty());

    let name = |text: &str| Name::new(text).unwrap();
    let paused =
        Standing { paused: [name("late")].into(), since: [(name("nightly"), Timestamp::from_millis(7))].into() };
    let one = held(CARE, "web", &paused);
    assert_eq!((one.len(), one[0].since), (2, Timestamp::from_millis(7)));
}

#[test]
fn what_disturbs_is_not_left_to_hosts_that_ask_nobody() {
    let rolls = CARE.replace("task: roll}", "task: roll, offline: run}");
    let plan = planned(&Applied::default(), &rolls, &[]);
    assert_eq!(
        problems(&plan),
        [
            "schedule roll [offline] is run, and its task roll does restart site: hosts that are cut off ask nobody how many others do that -> write offline: skip, or give it a task that takes nothing away"
        ]
    );
    // Were it applied all the same, no host would hold it.
    assert!(held(&rolls, "web", &Standing::default()).iter().all(|one| one.name.as_str() != "roll"));
    let tasks = "system: {name: tasks}\ntask: {tidy: {where: role=web, steps: [{run: bin/tidy}]}}";
    let first = planned(&Applied::default(), tasks, &[]).after;
    let both = planned(&first, "schedule: {nightly: {cron: 0 2 * * *, task: tidy, offline: run}}", &[]);
    assert!(both.problems.is_empty(), "{:?}", problems(&both));
    let worse = planned(&both.after, &tasks.replace("{run: bin/tidy}", "{reboot: always}"), &[]);
    assert_eq!(
        problems(&worse),
        [
            "task tidy [steps] has the step reboot always, and schedule nightly of system default says offline: run: hosts that are cut off ask nobody how many others do that -> write offline: skip in schedule nightly first"
        ]
    );
}

#[test]
fn grants_are_what_manifest_and_operator_both_allow() {
    let spec = applied("plugin: {http: {allow: {http: [\"http://127.0.0.1:*\"]}}}");
    let catalogue = catalogue();
    let http = Name::new("http").unwrap();
    let chosen = catalogue.choose(&http, spec.plugin(&http)).unwrap();
    assert!(!chosen.grants.system);
    assert_eq!(chosen.grants.http.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://127.0.0.1:*"]);
}

const SHOP: &str = "system: {name: shop}\nnode: {web1: {labels: {role: web}}}\nservice:\n  shop: {where: role=web, command: bin/shop}\ncheck:\n  site: {service: shop, plugin: http, every: 10s}\n  disk: {where: all, plugin: disk}\n";

#[test]
fn a_plan_says_what_it_does_deletions_first() {
    let hosts = [host("web1", &[]), host("web2", &[("role", "web")]), host("db1", &[])];
    let first = planned(&Applied::default(), SHOP, &hosts);
    assert_eq!(problems(&first), Vec::<String>::new());
    assert_eq!(
        told(&first),
        [
            "create system shop: a new system",
            "create node web1: its labels; 2 checks start there",
            "create service shop: starts shop on 2 nodes",
            "create check disk: runs on 3 nodes",
            "create check site: runs on 2 nodes",
        ]
    );
    let after = SHOP
        .replace("bin/shop}", "bin/shop --fast, rollout: {canary: 1, max: 25%}}")
        .replace("  disk: {where: all, plugin: disk}\n", "")
        .replace("every: 10s", "every: 5s");
    let second = planned(&first.after, &after, &hosts);
    assert_eq!(
        told(&second),
        [
            "delete check disk: stops on 3 nodes",
            "update service shop: restarts shop on 2 nodes at once; in a later version 1 first, then 25% at a time"
                .replace("1 first", "one first")
                .as_str(),
            "update check site: changes on 2 nodes",
        ]
    );
    let fields: Vec<_> = second.changes[1].fields.iter().map(|field| field.path.as_str()).collect();
    let service = second.changes.iter().find(|change| change.kind == Kind::Service).unwrap();
    assert_eq!(
        service.fields.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(),
        ["command", "rollout.canary", "rollout.max"]
    );
    assert!(fields.is_empty(), "a system that is the same has no fields: {fields:?}");
    let moved = planned(&first.after, &SHOP.replace("disk: {where: all", "disk: {where: role=web"), &hosts);
    assert_eq!(told(&moved), ["update check disk: changes on 2 nodes, stops on 1 node"]);
}

#[test]
fn a_file_says_whether_its_service_reloads() {
    let hosts = [host("lb1", &[("role", "lb")]), host("lb2", &[("role", "lb")])];
    let spec = |digest: char| {
        format!(
            "system: {{name: lb}}\nservice: {{haproxy: {{where: role=lb, type: systemd, unit: haproxy.service, files: {{/etc/h.cfg: {{from: \"files/h@sha256:{}\", change: reload}}}}}}}}\n",
            digest.to_string().repeat(64)
        )
    };
    let first = planned(&Applied::default(), &spec('a'), &hosts);
    let second = planned(&first.after, &spec('b'), &hosts);
    assert_eq!(
        told(&second),
        ["update service haproxy: reloads haproxy on 2 nodes at once; in a later version one at a time"]
    );
}

#[test]
fn everything_wrong_is_told_with_its_place() {
    let text = "check:\n  a: {where: all, plugin: htpp}\n  b: {where: all, plugin: disk}\n  c: {service: shop, plugin: disk}\nplugin: {http: {version: \"9.9.9\"}}\n";
    let plan = planned(&Applied::default(), text, &[]);
    assert_eq!(
        problems(&plan),
        [
            "plugin http [version] asks for version 9.9.9, and 0.9.0, 0.10.0 were pushed -> write one of those, or push it: hostlerctl plugin push FILE",
            "check a [plugin] is \"htpp\", and no such plugin was pushed -> did you mean http?",
            "check c [service] names the service shop, and none is applied -> hostlerctl get service shows what there is",
        ]
    );
}

const OUT: &str = "secret: {key: {}, lb-token: {}, other: {}}\ntask: {out: {where: role=lb, steps: [drain, {action: {plugin: lb, with: {url: \"http://${node.name}/${secret:key}\"}}}, undrain]}}";

#[test]
fn a_node_has_the_plugins_that_do_steps_of_its_tasks() {
    let (id, name) = (NodeId::from_random([1; 10]), Name::new("lb1").unwrap());
    let given = |role: &str| {
        let labels: Labels = [("role".to_owned(), role.to_owned())].into();
        let none = BTreeSet::new();
        let standing = Standing::default();
        let node = NodeView {
            id: &id,
            name: &name,
            labels: &labels,
            facts: None,
            watch: None,
            delivers: &none,
            schedules: &standing,
        };
        let (desired, secrets) = desired_state(node, &applied(OUT), &catalogue());
        let plugins: Vec<String> = desired.plugins.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        (plugins, secrets.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(given("web"), (vec![], vec![]));
    assert_eq!(given("lb"), (vec!["lb 0.2.0".to_owned()], vec!["key".to_owned(), "lb-token".to_owned()]));
}

#[test]
fn a_step_needs_a_plugin_that_acts_and_what_it_takes() {
    assert_eq!(problems(&planned(&Applied::default(), OUT, &[])), Vec::<String>::new());
    let wrong = |step: &str| {
        let text = format!("task: {{out: {{where: role=lb, steps: [{{wait: 1s}}, {{action: {step}}}]}}}}");
        problems(&planned(&Applied::default(), &text, &[]))
    };
    assert_eq!(
        wrong("{plugin: disk}"),
        [
            "task out [steps[1].action.plugin] is \"disk\", a plugin of world check -> write a plugin of world action: hostlerctl plugin ls shows them"
        ]
    );
    assert_eq!(
        wrong("{plugin: lbb}"),
        ["task out [steps[1].action.plugin] is \"lbb\", and no such plugin was pushed -> did you mean lb?"]
    );
    assert_eq!(
        wrong("{plugin: lb, with: {ulr: x}}"),
        [
            "task out [steps[1].action.with.ulr~] is no option of this plugin -> did you mean url? It is written like this: url: x"
        ]
    );
    // A host that is cut off can't ask how many others are out.
    let alone = format!("{OUT}\nschedule: {{out: {{cron: 0 2 * * *, task: out, offline: run}}}}");
    let alone = alone.replace("drain, ", "").replace(", undrain", "");
    let told = problems(&planned(&Applied::default(), &alone, &[]));
    assert!(told.len() == 1 && told[0].contains("its task out does action lb url=http://"), "{told:?}");
    let mut waiting = artifact("lb", "0.3.0");
    waiting.waiting = true;
    let catalogue = Catalogue::new([waiting]);
    let plan = plan(Basis { applied: &Applied::default(), catalogue: &catalogue, hosts: &[] }, &wanted(OUT));
    assert!(problems(&plan)[0].contains("asks for more than was approved before"), "{:?}", problems(&plan));
}

#[test]
fn a_plugin_judges_its_own_configuration() {
    let text = "check:\n  a: {where: all, plugin: http, with: {ulr: x}}\n  b: {where: all, plugin: disk, with: {anything: 1}}\n";
    assert_eq!(
        problems(&planned(&Applied::default(), text, &[])),
        ["check a [with.ulr~] is no option of this plugin -> did you mean url? It is written like this: url: x"]
    );
}

#[test]
fn an_object_has_one_owner_and_nothing_goes_that_another_needs() {
    let before = planned(&Applied::default(), SHOP, &[]).after;
    let stolen = planned(&before, "check: {site: {where: all, plugin: http}}", &[]);
    assert_eq!(
        problems(&stolen),
        [
            "check site [] belongs to system shop -> take it out of that system's folder and apply it first, or give this one another name"
        ]
    );
    let other = "system: {name: other}\nnotifier: {ops: {plugin: smtp}}\n";
    let with_other = planned(&before, other, &[]).after;
    let loose = planned(&with_other, "check: {late: {service: shop, plugin: http}}", &[]);
    assert_eq!(problems(&loose), Vec::<String>::new());
    let gone = planned(&loose.after, "system: {name: shop}\n", &[]);
    assert_eq!(
        problems(&gone),
        [
            "service shop [] would go, and check late of system default names it in service -> keep it, or change check late of system default first"
        ]
    );
}

#[test]
fn what_fits_no_node_and_another_environment_are_notes() {
    let prod = SHOP.replace("name: shop}", "name: shop, env: prod}");
    let first = planned(&Applied::default(), &prod, &[]);
    assert_eq!(first.notes, ["no node has all yet: check disk", "no node has role=web yet: service shop and 1 more"]);
    let staging = planned(&first.after, &prod.replace("prod", "staging"), &[host("web1", &[])]);
    assert_eq!(staging.notes[0], "the environment changes from prod to staging");
}

fn spec_of(system: Option<&str>, checks: &BTreeMap<u8, u8>) -> String {
    let head = system.map(|name| format!("system: {{name: {name}}}\n")).unwrap_or_default();
    let checks: String = checks
        .iter()
        .map(|(name, every)| format!("  c{name}: {{where: all, plugin: disk, every: {}s}}\n", every + 1))
        .collect();
    if checks.is_empty() { head } else { format!("{head}check:\n{checks}") }
}

proptest! {
    #[test]
    fn applying_converges_and_deletes_exactly_what_is_absent(
        first in proptest::collection::btree_map(0u8..12, 0u8..3, 0..8),
        second in proptest::collection::btree_map(0u8..12, 0u8..3, 0..8),
        owned in any::<bool>(),
    ) {
        let system = owned.then_some("shop");
        let one = planned(&Applied::default(), &spec_of(system, &first), &[]);
        let again = planned(&one.after, &spec_of(system, &first), &[]);
        prop_assert!(!again.has_changes(), "{:?}", told(&again));
        let two = planned(&one.after, &spec_of(system, &second), &[]);
        let deleted: Vec<String> =
            two.changes.iter().filter(|change| change.act == Act::Delete).map(|change| change.name.to_string()).collect();
        let absent: Vec<String> =
            first.keys().rev().filter(|key| !second.contains_key(key)).map(|key| format!("c{key}")).collect();
        let mut want = if owned { absent } else { Vec::new() };
        let mut found = deleted;
        want.sort();
        found.sort();
        prop_assert_eq!(found, want);
        let third = planned(&two.after, &spec_of(system, &second), &[]);
        prop_assert!(!third.has_changes());
        // Comparing the two versions tells the same changes.
        if owned {
            let acts = |changes: &[hostler_core::plan::Change]| -> Vec<(Act, String)> {
                changes.iter().filter(|one| one.act != Act::Unchanged).map(|one| (one.act, one.name.to_string())).collect()
            };
            prop_assert_eq!(acts(&compare(&one.objects, &two.objects)), acts(&two.changes));
        }
    }
}
