//! Facts as they should be, and as they should not: for tests here and of whoever
//! prints findings.
#![allow(clippy::expect_used, reason = "a test's facts fail its test")]

use super::*;

pub fn at(days: i64) -> Timestamp {
    let ms = 1_790_000_000_000_i64 + days * 86_400_000;
    Timestamp::from_millis(u64::try_from(ms).expect("after 1970"))
}

/// As it should be.
pub fn well() -> Facts {
    Facts {
        now: at(0),
        version: "0.1.0".into(),
        asker: Asker {
            operator: "anna".into(),
            version: "0.1.0".into(),
            credential_ends: at(100),
            clock_ahead_ms: Some(3),
            ..Asker::default()
        },
        server_certificate_ends: Some(at(89)),
        authority_ends: Some(at(3_000)),
        data_folder: "/var/lib/hostler".into(),
        disk: Some((100 << 30, 200 << 30)),
        backup: Some(Backup { at: at(0), is_sealed: true }),
        nodes: vec![node("web1")],
        secrets: 1,
        key_file: Some(KeyFile { path: "/var/lib/hostler/secrets.key".into(), mode: 0o100_600, other_owner: None }),
        notifiers: vec![Notifier { name: "ops".into(), is_default: true, was_taken: true, failing: None }],
        has_heartbeat: true,
        admins: vec!["anna".into(), "ben".into()],
        credentials: vec![
            Credential {
                operator: "ben".into(),
                made_at: at(0),
                ends_at: at(0).plus(Duration::from_secs(8 * 3_600)),
                ..Credential::default()
            },
            Credential { operator: "ben".into(), token: "t".into(), made_at: at(0), ends_at: at(90) },
        ],
        approvers: Some(vec!["anna".into(), "ben".into()]),
        audit: Audit { wished_days: 400, ..Audit::default() },
        ..Facts::default()
    }
}

pub fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        is_connected: true,
        version: "0.1.0".into(),
        skew_ms: Some(-20),
        certificate_ends: at(6),
        lost_since: None,
    }
}

/// Nothing is.
pub fn ill() -> Facts {
    let lost = Node { is_connected: false, lost_since: Some(at(-5)), ..node("db1") };
    Facts {
        asker: Asker {
            operator: "anna".into(),
            version: "0.2.0".into(),
            credential_ends: at(0).plus(Duration::from_secs(1_200)),
            by_token: false,
            clock_ahead_ms: Some(61_000),
            unreachable: vec![("cp.example:7443".into(), "connection refused".into())],
        },
        server_certificate_ends: Some(at(2)),
        authority_ends: Some(at(30)),
        advertises_loopback: true,
        disk: Some((100 << 20, 200 << 30)),
        backup: Some(Backup { at: at(-3), is_sealed: false }),
        nodes: vec![
            Node { certificate_ends: at(1), skew_ms: Some(-5_000), ..node("web1") },
            Node { version: "0.0.9".into(), ..node("web2") },
            Node { version: "0.3.0".into(), ..node("web3") },
            lost,
        ],
        secrets_without_value: vec!["smtp".into()],
        secrets_under_older_key: vec!["a".into(), "b".into(), "c".into(), "d".into(), "e".into()],
        key_file: Some(KeyFile {
            path: "/var/lib/hostler/secrets.key".into(),
            mode: 0o100_644,
            other_owner: Some(1_000),
        }),
        notifiers: vec![
            Notifier { name: "chat".into(), failing: Some((2, "no answer".into())), ..Notifier::default() },
            Notifier { name: "mail".into(), ..Notifier::default() },
        ],
        has_heartbeat: false,
        admins: vec!["anna".into()],
        credentials: vec![
            Credential { operator: "ben".into(), made_at: at(-80), ends_at: at(3), ..Credential::default() },
            Credential { operator: "ci".into(), token: "abcd2345".into(), made_at: at(-89), ends_at: at(1) },
        ],
        audit: Audit { failing: Some("no space left".into()), wished_days: 400, begins_at: Some(at(-10)) },
        checks_nowhere: vec!["disk".into()],
        plugins_waiting: vec![("http".into(), "0.2.0".into())],
        approvers: Some(vec!["anna".into()]),
        ..well()
    }
}
