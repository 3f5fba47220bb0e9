//! What was not granted is denied, by name; what was is given.

use crate::support::{check, host, load, request};
use hostler_plugin_host::Fault;
use hostler_types::Status;

#[tokio::test]
async fn what_was_not_granted_is_denied_by_name() {
    let host = host();
    let overreach = load(&host, "fixtures/overreach").await;
    let report = check(&overreach, request("{}", &[], false)).await.outcome.expect("it reports");
    let expect = [
        ("http", "denied: grants.http = [\"http://127.0.0.1:1\"]"),
        ("cpu", "denied: grants.system = true"),
        ("memory", "denied: grants.system = true"),
        ("filesystems", "denied: grants.system = true"),
    ];
    assert_eq!(report.attrs, expect.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn what_was_granted_is_given() {
    let host = host();
    let overreach = load(&host, "fixtures/overreach").await;
    let report = check(&overreach, request("{}", &["http://127.0.0.1:1"], true)).await.outcome.expect("it reports");
    let words: Vec<&str> = report.attrs.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(words, ["connection refused", "allowed", "allowed", "allowed"]);
}

#[tokio::test]
async fn a_check_without_its_grant_broke() {
    let host = host();
    let disk = load(&host, "disk").await;
    let outcome = check(&disk, request("{}", &[], false)).await.outcome;
    assert_eq!(outcome, Err(Fault::Broke("denied: grants.system = true".to_owned())));
}

#[tokio::test]
async fn disk_reports_this_machine() {
    let host = host();
    let disk = load(&host, "disk").await;
    let run = check(&disk, request(r#"{"mounts": ["/"], "warn": "100%", "critical": 100}"#, &[], true)).await;
    let report = run.outcome.expect("a report");
    println!("{report:?} in {:?}, {} bytes, {} calls", run.bill.wall, run.bill.memory_peak_bytes, run.bill.calls);
    assert!(report.summary.starts_with("/ ") && report.summary.contains("% used, "), "{}", report.summary);
    assert_eq!(report.status, Status::Ok);
    assert!(run.bill.calls >= 2 && run.bill.memory_peak_bytes > 0);
}

#[tokio::test]
async fn a_wrong_configuration_is_named_each_time() {
    let host = host();
    let disk = load(&host, "disk").await;
    for _ in 0..2 {
        let fault = check(&disk, request(r#"{"warn": 95}"#, &[], true)).await.outcome.expect_err("invalid");
        assert_eq!(
            fault.to_string(),
            "the plugin refuses its configuration: warn: is above critical, so it would never be reached"
        );
    }
    let fault = check(&disk, request(r#"{"wran": 95}"#, &[], true)).await.outcome.expect_err("invalid");
    assert!(fault.to_string().contains("wran: unknown field `wran`"), "{fault}");
}
