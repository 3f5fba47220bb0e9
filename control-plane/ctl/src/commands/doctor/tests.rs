use super::*;
use hostler_core::doctor::*;
use hostler_types::Timestamp;

#[path = "../../../../core/src/doctor/examples.rs"]
mod examples;

#[test]
fn what_is_found_is_one_block_each_and_never_a_terminal_s_command() {
    let finding = |name: &str, severity: &str, text: &str, help: &str| wire::Finding {
        name: name.into(),
        severity: severity.into(),
        text: text.into(),
        help: help.into(),
    };
    let findings = [
        finding("backup-never", "bad", "the control plane was never saved", "hostlerctl system backup FILE"),
        finding(
            "node-lost",
            "warn",
            "node db1\u{1b}[2J was lost 5d ago and has such a long story that it does not fit into one line",
            "bring it back, or forget it: hostlerctl node rm db1",
        ),
        finding("one-admin", "hint", "anna is the only admin", "hostlerctl operator create NAME --role admin"),
    ];
    insta::assert_snapshot!("some", render(&findings, &Out::plain(None)));
    assert_eq!(render(&[], &Out::plain(None)), "all is well.\n");
}

/// As people see everything that can be found.
#[test]
fn all_findings_print() {
    let found = findings(&examples::ill());
    let to_wire = |one: Finding| wire::Finding {
        name: one.name.to_owned(),
        severity: one.severity.word().to_owned(),
        text: one.text,
        help: one.help,
    };
    let findings: Vec<wire::Finding> = found.into_iter().map(to_wire).collect();
    insta::assert_snapshot!("all", render(&findings, &Out::plain(None)));
}

#[test]
fn the_clock_is_measured_at_the_middle_of_the_question() {
    assert_eq!(ahead(1_000, Duration::from_millis(20), 1_010), 0);
    assert_eq!(ahead(4_000, Duration::from_millis(20), 1_010), 3_000);
    assert_eq!(ahead(1_000, Duration::ZERO, 4_000), -3_000);
}
