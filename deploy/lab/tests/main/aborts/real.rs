//! The same on a real host: what a program's end and a service's act are there. On one: two
//! executors of one machine would have the same units.

use super::{Dice, aborts};
use crate::hostile::place::processes;
use hostler_lab::{Acting, ControlPlane, wait_for};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(40);
const POLICY: &str = "profile = \"full\"\nunits = [\"hostler-*\"]\n";
/// How the program is known that is to be ended.
const SLEEPS: &str = "sleep 86413.25";
/// A stop of it takes a moment, in which the abort comes.
const SLOW: &str = "#!/bin/sh\ntrap 'sleep 4; exit 0' TERM\nwhile :; do sleep 0.1; done\n";

fn states(run: &Value) -> Vec<String> {
    let tasks = run["tasks"].as_array().into_iter().flatten();
    tasks.map(|task| task["state"].as_str().unwrap_or_default().to_owned()).collect()
}

fn wait_run(control_plane: &ControlPlane, number: usize, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("run {number}"), SOON, || {
        let run = control_plane.ctl_json(&["run", "show", &number.to_string()]);
        if is(&run) { Ok(run) } else { Err(run) }
    })
}

fn abort(control_plane: &ControlPlane, number: usize) -> Value {
    control_plane.ctl_ok(&["run", "abort", &number.to_string()]);
    wait_run(control_plane, number, |run| run["run"]["state"] == "aborted")
}

#[test]
fn a_real_host_ends_a_program_and_finishes_a_service() {
    let (control_plane, mut dice) = (ControlPlane::started(), Dice::thrown());
    let host = Acting::joined(&control_plane, "real1", POLICY);
    control_plane.wait_node("real1", "ready", SOON);
    let root = rustix::process::geteuid().is_root();
    let run = |how: &str, line: &str| {
        let user: &[&str] = if root { &["--user", "nobody"] } else { &[] };
        control_plane.ctl_ok(&[&["run", "--yes", how], user, &["--", line]].concat())
    };
    let rounds = (aborts() / 10).max(1);
    for number in 1..=rounds {
        let begun = run("--detach", &format!("exec {SLEEPS}"));
        assert!(begun.starts_with(&format!("run {number} begun")), "{begun}");
        if number == 1 {
            wait_for("the program to run", SOON, || match processes(SLEEPS) {
                all if all.len() == 1 => Ok(()),
                all => Err(all),
            });
        } else {
            // Also before it has quite begun.
            std::thread::sleep(Duration::from_millis(dice.below(100)));
        }
        let run = abort(&control_plane, number);
        assert_eq!(states(&run), ["cancelled"], "{run:#}");
        assert_eq!(processes(SLEEPS), Vec::<String>::new(), "of run {number}");
    }
    let after = run("--max=1", "echo fine");
    assert!(after.contains("fine") && after.contains("succeeded"), "{after}");

    let script = host.agent.folder.path().join("slow.sh");
    fs::write(&script, SLOW).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let user = if root { ", user: nobody" } else { "" };
    control_plane.apply(&format!(
        "service: {{slow: {{where: all, command: {}{user}}}}}\n\
         task: {{roll: {{where: all, steps: [{{restart: slow}}]}}}}\n",
        script.display()
    ));
    let running = |what: &str| {
        wait_for(what, SOON, || {
            let rows = control_plane.ctl_json(&["service", "ls", "slow"]);
            if rows[0]["state"] == "running" { Ok(rows[0]["pid"].clone()) } else { Err(rows) }
        })
    };
    let before = running("the service to run");
    let number = rounds + 2;
    control_plane.ctl_ok(&["run", "task", "roll", "--yes", "--detach"]);
    let at_it = |run: &Value| states(run).iter().any(|state| state == "running");
    wait_run(&control_plane, number, at_it);
    let run = abort(&control_plane, number);
    assert_eq!(states(&run), ["succeeded"], "{run:#}");
    assert_ne!(running("the service to run again"), before);
}
