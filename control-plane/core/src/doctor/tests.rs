use super::examples::{at, ill, node, well};
use super::*;
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../../deploy/docs/doctor.md");

fn names(facts: &Facts) -> Vec<&'static str> {
    findings(facts).iter().map(|one| one.name).collect()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(findings(&well()), []);
}

#[test]
fn every_finding_can_be_found_and_is_worded() {
    let text = |facts: &Facts| -> String {
        let line = |one: Finding| {
            assert!(!one.text.is_empty() && !one.help.is_empty(), "{one:?}");
            format!("{:4}  {}: {}\n      {}\n", one.severity.word(), one.name, one.text, one.help)
        };
        findings(facts).into_iter().map(line).collect()
    };
    // What excludes something above.
    let others = Facts {
        disk: Some((1 << 30, 200 << 30)),
        backup: None,
        nodes: Vec::new(),
        notifiers: Vec::new(),
        asker: Asker { by_token: true, credential_ends: at(-1), clock_ahead_ms: Some(-3_000), ..well().asker },
        approvers: Some(Vec::new()),
        ..well()
    };
    insta::assert_snapshot!("all", format!("{}---\n{}", text(&ill()), text(&others)));
    let found: BTreeSet<&str> = names(&ill()).into_iter().chain(names(&others)).collect();
    let known: BTreeSet<&str> = NAMES.into_iter().collect();
    assert_eq!(found, known);
}

#[test]
fn the_worst_comes_first() {
    let found = findings(&ill());
    assert!(found.is_sorted_by_key(|one| one.severity));
    assert_eq!(found.first().map(|one| one.severity), Some(Severity::Bad));
}

#[test]
fn every_finding_is_on_its_page_and_no_other() {
    let listed: Vec<&str> =
        PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    assert_eq!(listed, NAMES);
}

#[test]
fn limits_are_limits() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = well();
        change(&mut facts);
        names(&facts)
    };
    assert_eq!(with(&|facts| facts.asker.clock_ahead_ms = Some(2_000)), Vec::<&str>::new());
    assert_eq!(with(&|facts| facts.asker.clock_ahead_ms = Some(-2_001)), ["own-clock"]);
    assert_eq!(with(&|facts| facts.asker.clock_ahead_ms = None), Vec::<&str>::new());
    assert_eq!(with(&|facts| facts.backup = Some(Backup { at: at(-1), is_sealed: true })), Vec::<&str>::new());
    assert_eq!(with(&|facts| facts.backup = Some(Backup { at: at(-2), is_sealed: true })), ["backup-old"]);
    // Without secrets the key is worth nothing yet.
    let unsealed = |facts: &mut Facts| facts.backup = Some(Backup { at: at(0), is_sealed: false });
    assert_eq!(with(&|facts| unsealed(facts)), ["secrets-key-not-saved"]);
    assert_eq!(
        with(&|facts| {
            unsealed(facts);
            facts.secrets = 0;
        }),
        Vec::<&str>::new()
    );
    // Nothing waits for a second person: nobody has to be there.
    assert_eq!(with(&|facts| facts.approvers = None), Vec::<&str>::new());
    // What is lost can't renew, and is told as lost.
    let lost = Node { is_connected: false, lost_since: Some(at(-20)), certificate_ends: at(-13), ..node("db1") };
    assert_eq!(with(&|facts| facts.nodes.push(lost.clone())), ["node-lost"]);
}
