//! The first ten minutes: the demo breaks, heals, and says how; and what its host allows.

use hostler_lab::{Acting, ControlPlane, free_port, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(40);

fn spec(port: u16) -> String {
    let user = if rustix::process::geteuid().is_root() { "    user: nobody\n" } else { "" };
    format!(
        "system: {{name: demo}}\ncheck:\n  \
           hello: {{service: hello, plugin: http, every: 1s, with: {{url: \"http://127.0.0.1:{port}/\"}}}}\n\
         service:\n  \
           hello:\n    \
             where: all\n    \
             live: [hello]\n    \
             heal: [restart, restart, page]\n    \
             command: hostler-agent demo --port {port}\n{user}  \
           other: {{where: all, command: /bin/sleep 1000{}}}\n",
        if user.is_empty() { "" } else { ", user: nobody" }
    )
}

#[test]
fn the_demo_heals_and_its_host_says_what_it_allows() {
    let control_plane = ControlPlane::with_plugins(&["http"]);
    let mut acting = Acting::joined(&control_plane, "dev1", "profile = \"operate\"\nunits = [\"hostler-*\"]\n");
    control_plane.apply(&spec(free_port()));
    control_plane.wait_check("dev1", "hello", "passing", SOON);
    let service = |name: &str| control_plane.ctl_json(&["service", "ls", name])[0].clone();
    let before = service("hello")["pid"].clone();

    let told = control_plane.ctl_ok(&["dev", "break", "hello"]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("hello on dev1 answers 503 until it is restarted. Watching;"), "{told}");
    let at =
        |what: &str| lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what}:\n{told}"));
    let (critical, healed) = (at("passing -> critical: 503"), at("critical -> passing (2 of 2)"));
    // Which of the two comes first when it is well again is chance.
    let restarted = at("heal    hello  restart, attempt 1 of");
    assert!(critical < restarted && restarted < healed && restarted < at("; old pid"), "{told}");
    assert!(told.contains(&format!("old pid {before} ended")), "{told}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("healed in ") && last.ends_with("Reason: hostlerctl why service/hello"), "{told}");
    let why = control_plane.ctl_ok(&["why", "service/hello"]);
    assert!(why.contains("restarted by dev1 itself") && why.contains("spec.yaml:8"), "{why}");
    let other = control_plane.ctl(&["dev", "break", "other"]);
    assert!(other.err.contains("which is no demo"), "{other:#?}");

    let policy = || control_plane.ctl_ok(&["node", "policy", "dev1"]);
    let text = policy();
    assert!(
        text.contains("profile   operate  (line 1 of ") && text.contains("units     hostler-*  (line 2)"),
        "{text}"
    );
    acting.write_policy("profil = \"operate\"\n");
    let text = policy();
    assert!(text.contains("profile   watch") && text.contains("did you mean profile?"), "{text}");
    acting.write_policy("profile = \"operate\"\n");

    // What was done to it is kept when it is not wanted any more.
    control_plane.ctl_ok(&["delete", "system", "demo", "--yes"]);
    let history = control_plane.ctl_ok(&["service", "history", "hello"]);
    assert!(history.contains("restarted"), "{history}");
    let never = control_plane.ctl(&["service", "history", "nobody"]);
    assert!(never.err.contains("there is no service"), "{never:#?}");

    acting.stop();
    let away = wait_for("the node to be away", SOON, || {
        let ran = control_plane.ctl(&["node", "policy", "dev1"]);
        if ran.err.contains("disconnected for ") { Ok(ran.err) } else { Err(ran) }
    });
    assert!(
        away.contains("what dev1 allows is known on it alone") && away.contains("hostler-executor policy"),
        "{away}"
    );
}
