use super::*;
use crate::catalogue::Artifact;
use crate::effects::Host;
use crate::plan::{Wanted, plan};
use hostler_types::plugin::{Grants, Manifest};
use hostler_types::spec::{Object, Source, SourceFile, compile};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn name(text: &str) -> Name {
    Name::new(text).expect(text)
}

fn artifact(plugin: &str, version: &str, waiting: bool) -> Artifact {
    let manifest = Manifest {
        name: name(plugin),
        version: version.into(),
        world: "check".into(),
        summary: String::new(),
        grants: Grants::default(),
        with: None,
    };
    Artifact { manifest, digest: format!("{plugin}-{version}"), size_bytes: 1, waiting }
}

fn read(text: &str) -> Vec<Arc<Object>> {
    let files = vec![SourceFile { path: "a.yaml".into(), text: text.into() }];
    let compiled = compile(&Source { files, ..Source::default() }).expect(text);
    compiled.objects.into_iter().map(Arc::new).collect()
}

fn applied(text: &str) -> Applied {
    let mut applied = Applied::default();
    if !text.is_empty() {
        applied.set_system(&name("default"), read(text));
    }
    applied
}

/// web1 to web3 and db1.
fn hosts() -> Vec<Host> {
    let host = |host: &str, role: &str| Host {
        name: name(host),
        labels: [("role".to_owned(), role.to_owned())].into(),
        facts: BTreeMap::new(),
    };
    vec![host("web1", "web"), host("web2", "web"), host("web3", "web"), host("db1", "db")]
}

fn reached(before: &str, after: &str) -> String {
    let (applied, catalogue, hosts) = (applied(before), Catalogue::new([artifact("disk", "0.1.0", false)]), hosts());
    let basis = Basis { applied: &applied, catalogue: &catalogue, hosts: &hosts };
    let wanted = Wanted { system: name("default"), objects: if after.is_empty() { vec![] } else { read(after) } };
    let made = plan(basis, &wanted);
    let nodes = nodes_of_plan(basis, &made);
    nodes.into_iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_plan_acts_on_the_nodes_it_leaves_and_those_it_comes_to() {
    let check = |selector: &str| format!("check: {{a: {{where: {selector}, plugin: disk}}}}\n");
    assert_eq!(reached("", &check("role=web")), "web1 web2 web3");
    assert_eq!(reached(&check("role=web"), &check("role=db")), "db1 web1 web2 web3");
    assert_eq!(reached(&check("role=web"), &check("role=web")), "", "nothing changes");
    assert_eq!(reached(&check("role=web"), "notifier: {n: {plugin: slack, with: {url: https://a/b}}}\n"), "");
}

#[test]
fn a_node_s_labels_act_on_it_and_a_plugin_s_spec_on_all_that_run_it() {
    let checks = "check: {a: {where: role=web, plugin: disk}}\n";
    assert_eq!(reached(checks, "node: {db1: {labels: {role: web}}}\n"), "db1");
    assert_eq!(reached(checks, "node: {not-there: {labels: {role: web}}}\n"), "");
    assert_eq!(reached(checks, "plugin: {disk: {version: 0.1.0}}\n"), "web1 web2 web3");
}

#[test]
fn a_pushed_version_acts_where_it_would_run() {
    let there = || vec![artifact("disk", "0.1.0", false)];
    let count = |spec: &str, new: Artifact| {
        let (applied, catalogue, hosts) = (applied(spec), Catalogue::new(there()), hosts());
        let basis = Basis { applied: &applied, catalogue: &catalogue, hosts: &hosts };
        let after = Catalogue::new(there().into_iter().chain([new]));
        nodes_of_catalogue(basis, &after, &name("disk")).len()
    };
    let check = "check: {a: {where: role=web, plugin: disk}}\n";
    assert_eq!(count(check, artifact("disk", "0.2.0", false)), 3);
    assert_eq!(count(check, artifact("disk", "0.2.0", true)), 0, "it waits for its own approval");
    let task = "task: {a: {where: role=db, steps: [{action: {plugin: disk}}]}}\n";
    assert_eq!(count(task, artifact("disk", "0.2.0", false)), 1, "a step of a task runs it");
    assert_eq!(count("", artifact("disk", "0.2.0", false)), 0, "nobody runs it");
    let pinned = format!("{check}plugin: {{disk: {{version: 0.1.0}}}}\n");
    assert_eq!(count(&pinned, artifact("disk", "0.2.0", false)), 0, "another version is asked for");
}

#[test]
fn a_secret_s_value_acts_on_those_who_are_given_it() {
    let check = "secret: {token: {}}\ncheck: {a: {where: role=web, plugin: disk, with: {x: '${secret:token}'}}}\n";
    let service = "secret: {token: {}}\nservice: {a: {where: role=web, command: 'bin/a ${secret:token}'}}\n";
    let task = "secret: {token: {}}\ntask: {a: {where: role=web, steps: [{action: {plugin: disk, with: {x: '${secret:token}'}}}]}}\n";
    for spec in [check, service, task] {
        let (applied, catalogue, hosts) = (applied(spec), Catalogue::new([artifact("disk", "0.1.0", false)]), hosts());
        let basis = Basis { applied: &applied, catalogue: &catalogue, hosts: &hosts };
        assert_eq!(nodes_of_secret(basis, &name("token")).len(), 3);
        assert_eq!(nodes_of_secret(basis, &name("other")).len(), 0);
    }
}

#[test]
fn the_setting_asks_above_a_number_of_nodes() {
    let asks = |above, nodes| Policy { above }.asks(nodes);
    assert!(!asks(None, 10_000));
    assert!(!asks(Some(10), 10) && asks(Some(10), 11));
    assert!(!asks(Some(0), 0) && asks(Some(0), 1), "0: all that changes something on a node");
}

#[test]
fn what_it_would_do_and_where_is_in_its_basis() {
    let basis_of = |after: &str, seen, hosts: &[Host]| {
        let (applied, catalogue) = (Applied::default(), Catalogue::new([artifact("disk", "0.1.0", false)]));
        let basis = Basis { applied: &applied, catalogue: &catalogue, hosts };
        let made = plan(basis, &Wanted { system: name("default"), objects: read(after) });
        basis_of_plan(&name("default"), seen, &made, &nodes_of_plan(basis, &made))
    };
    let check = "check: {a: {where: role=web, plugin: disk}}\n";
    let (all, fewer) = (hosts(), hosts().into_iter().skip(1).collect::<Vec<_>>());
    assert_eq!(basis_of(check, 1, &all), basis_of(check, 1, &all));
    assert_ne!(basis_of(check, 1, &all), basis_of(check, 2, &all));
    assert_ne!(basis_of(check, 1, &all), basis_of(check, 1, &fewer));
    assert_ne!(basis_of(check, 1, &all), basis_of("check: {a: {where: role=db, plugin: disk}}\n", 1, &all));
}

fn question(yes: bool) -> Question<'static> {
    Question {
        state: State::Waiting,
        expires_at: Timestamp::from_millis(10),
        now: Timestamp::from_millis(9),
        asked_by: "anna",
        decided_by: "ben",
        yes,
        asker_may: Ok(()),
        decider_may: Ok(()),
        is_same: Ok(()),
    }
}

#[test]
fn who_may_decide_and_when() {
    let refused = |question| match decide(question) {
        Verdict::Refuse(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(decide(question(true)), Verdict::CarryOut);
    assert_eq!(decide(question(false)), Verdict::Close(State::Denied));
    let own = |yes| Question { decided_by: "anna", ..question(yes) };
    assert!(refused(own(true)).contains("somebody else has to say yes"));
    assert_eq!(decide(own(false)), Verdict::Close(State::Withdrawn));
    assert!(refused(Question { now: Timestamp::from_millis(10), ..question(true) }).contains("let anna ask again"));
    assert!(refused(Question { state: State::Denied, ..question(true) }).contains("it is denied"));
    let not = || Err("no role".to_owned());
    assert!(refused(Question { decider_may: not(), ..question(false) }).contains("no role"));
    assert!(refused(Question { asker_may: not(), ..question(true) }).contains("anna asked for it"));
    let changed = Question { is_same: Err("changed".to_owned()), ..question(true) };
    assert_eq!(decide(changed), Verdict::CloseOutdated("changed".to_owned()));
}

#[test]
fn time_ends_what_waits_and_forgets_what_is_decided() {
    let at = Timestamp::from_millis;
    assert_eq!(due(State::Waiting, at(10), at(0), at(9)), Due::Nothing);
    assert_eq!(due(State::Waiting, at(10), at(0), at(10)), Due::Expire);
    let kept = u64::try_from(KEPT_FOR.as_millis()).expect("fits");
    assert_eq!(due(State::Denied, at(10), at(5), at(4 + kept)), Due::Nothing);
    assert_eq!(due(State::Denied, at(10), at(5), at(5 + kept)), Due::Forget);
}

fn may() -> impl Strategy<Value = Result<(), String>> {
    prop_oneof![Just(Ok(())), Just(Err("no".to_owned()))]
}

proptest! {
    /// Whatever comes together: nothing is done that two people did not agree to.
    #[test]
    fn only_what_two_agree_to_is_done(
        state in proptest::sample::select(State::ALL.to_vec()),
        (expires_at, now) in (0u64..4, 0u64..4),
        own in any::<bool>(),
        yes in any::<bool>(),
        (asker_may, decider_may, is_same) in (may(), may(), may()),
    ) {
        let asked = Question {
            state,
            expires_at: Timestamp::from_millis(expires_at),
            now: Timestamp::from_millis(now),
            decided_by: if own { "anna" } else { "ben" },
            yes,
            asker_may: asker_may.clone(),
            decider_may: decider_may.clone(),
            is_same: is_same.clone(),
            ..question(yes)
        };
        let verdict = decide(asked);
        let all = state == State::Waiting && now < expires_at && !own && yes
            && asker_may.is_ok() && decider_may.is_ok() && is_same.is_ok();
        prop_assert_eq!(verdict == Verdict::CarryOut, all);
        // What is decided stays so.
        if state != State::Waiting {
            prop_assert!(matches!(verdict, Verdict::Refuse(Refusal::Decided(_))));
        }
    }
}
