//! What `hostlerctl doctor` says, and that what it says can be typed.

use hostler_lab::{Agent, ControlPlane, run};
use serde_json::Value;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn findings(control_plane: &ControlPlane, code: i32) -> Vec<Value> {
    let ran = control_plane.ctl(&["doctor", "-o", "json"]);
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    serde_json::from_str(&ran.out).expect(&ran.out)
}

fn names(findings: &[Value]) -> Vec<&str> {
    findings.iter().filter_map(|one| one["name"].as_str()).collect()
}

/// The words of each command in a text, up to where its values begin.
fn commands(text: &str) -> Vec<Vec<String>> {
    let of = |rest: &str| {
        let mut words = Vec::new();
        for word in rest.split_whitespace().take(3) {
            let bare = word.trim_end_matches(['`', ';', ',', ':', ')', '.']);
            if bare.starts_with('-') || !bare.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                break;
            }
            words.push(bare.to_owned());
            if bare != word {
                break;
            }
        }
        words
    };
    text.split("hostlerctl ").skip(1).map(of).collect()
}

/// Whether hostlerctl knows the command: its help is about it.
fn is_known(words: &[String]) -> bool {
    let mut command = std::process::Command::new(hostler_lab::program("hostlerctl"));
    run(command.args(words).arg("--help")).code == Some(0)
}

#[test]
fn a_fresh_control_plane_is_told_what_it_lacks() {
    let mut control_plane = ControlPlane::new();
    control_plane.settings = ["--second-approval", "10"].map(str::to_owned).into();
    control_plane.start();
    let found = findings(&control_plane, 1);
    let expected = [
        "backup-never",
        "one-approver",
        "notifier-no-default",
        "advertise-loopback",
        "no-heartbeat",
        "one-admin",
        "no-nodes",
    ];
    assert_eq!(names(&found), expected, "{found:#?}");
    let text = control_plane.ctl(&["doctor"]);
    assert_eq!(text.code, Some(1));
    assert!(text.out.starts_with("bad   the control plane was never saved (backup-never)\n"), "{}", text.out);
    assert!(text.out.ends_with("7 findings: 2 bad, 1 to see to, 4 to improve\n"), "{}", text.out);

    // Done as it says, it is content.
    control_plane.ctl_ok(&["system", "backup", &control_plane.path("backup").display().to_string()]);
    control_plane.ctl_ok(&[
        "operator",
        "create",
        "ben",
        "--role",
        "admin",
        "--out",
        &control_plane.path("b").display().to_string(),
    ]);
    let agent = Agent::joined(&control_plane, "web1", &["role=web"]);
    control_plane.wait_node("web1", "ready", SOON);
    let found = findings(&control_plane, 1);
    assert_eq!(names(&found), ["notifier-no-default", "advertise-loopback", "no-heartbeat"], "{found:#?}");
    drop(agent);
    let refused = crate::access::person(&control_plane, "ci", &["--role", "ci", "--system", "shop"]);
    refused.refused(&["doctor"], "may not read server");
}

#[test]
fn what_is_broken_is_found() {
    let control_plane = ControlPlane::with_plugins(&["http"]);
    control_plane.apply(
        "secret: {token: {}, chat: {}}\n\
         notifier: {ops: {plugin: webhook, default: true, with: {url: 'http://127.0.0.1:9/x'}}}\n\
         check: {a: {where: role=nobody, plugin: http, with: {url: 'http://127.0.0.1:9/${secret:token}'}}}\n",
    );
    control_plane.ctl_ok(&["secret", "set", "chat", "--generate"]);
    let agent = Agent::new("web1");
    assert_eq!(agent.join(&control_plane.join_code(&[]), &[]).code, Some(0));
    control_plane.ctl_ok(&["system", "backup", &control_plane.path("backup").display().to_string()]);
    let key = control_plane.path("data/secrets.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let found = findings(&control_plane, 1);
    let expected = [
        "secret-without-value",
        "secrets-key-open",
        "secrets-key-not-saved",
        "advertise-loopback",
        "notifier-never-taken",
        "no-heartbeat",
        "one-admin",
        "check-nowhere",
    ];
    assert_eq!(names(&found), expected, "{found:#?}");
    let told = found.iter().find(|one| one["name"] == "secret-without-value").unwrap();
    assert_eq!(told["help"], "hostlerctl secret set token");
}

/// Of every finding there is: the page of all of them, printed.
#[test]
fn every_command_that_is_advised_exists() {
    let golden =
        include_str!("../../../../control-plane/core/src/doctor/snapshots/hostler_core__doctor__tests__all.snap");
    let page = include_str!("../../../docs/doctor.md");
    // What is found stands before; what to do is indented.
    let advice: String = golden.lines().filter(|line| line.starts_with("      ")).collect::<Vec<_>>().join(" ; ");
    let mut known = 0;
    for words in commands(&advice).into_iter().chain(commands(page)) {
        // The last ones may be a name: `node rm db1`.
        let found = (1..=words.len()).rev().any(|count| {
            let words = words.get(..count).unwrap_or_default();
            (count > 1 || words == ["doctor"]) && is_known(words)
        });
        assert!(found, "hostlerctl {}", words.join(" "));
        known += 1;
    }
    assert!(known > 15, "{known}");
}
