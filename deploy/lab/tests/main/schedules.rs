//! Schedules over a node that is played: what is due happens once, whatever dies.

use crate::runs::{Part, with_nodes};
use hostler_lab::{ControlPlane, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// One minute, and the work of a slow machine.
const DUE: Duration = Duration::from_secs(75);

const SPEC: &str = "
system: {name: shop, zone: Europe/Berlin}
task:
  tidy: {where: role=web, steps: [{run: bin/tidy}]}
  nowhere: {where: role=db, steps: [{run: bin/tidy}]}
schedule:
  tidy: {cron: \"* * * * *\", task: tidy, offline: run}
  nobody: {cron: \"* * * * *\", task: nowhere}
  night: {cron: 30 2 * * *, zone: America/New_York, task: nowhere}
  daily: {cron: 0 7 * * *, report: [errors]}
  often: {every: 6h, task: nowhere}
";

#[test]
fn what_is_due_happens_once_through_a_kill() {
    let mut control_plane = ControlPlane::started();
    let counts = with_nodes(&control_plane, &[Part::Says("tidied\n")], |_| {
        control_plane.apply(SPEC);
        wait_for("the first minute", DUE, || {
            let runs = control_plane.ctl_json(&["run", "ls"]);
            if runs[0]["schedule"] == "tidy" { Ok(()) } else { Err(runs) }
        });
        let pid = i32::try_from(control_plane.pid()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    });
    control_plane.kill();
    control_plane.start();
    // Within the same minute.
    let paused = control_plane.ctl_ok(&["schedule", "pause", "tidy", "--reason", "storage"]);
    assert!(paused.starts_with("tidy is paused by admin: storage.  "), "{paused}");
    let runs = control_plane.ctl_json(&["run", "ls"]);
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs:#}");
    assert_eq!((&runs[0]["by"], &runs[0]["title"]), (&"schedule/tidy".into(), &"task tidy".into()), "{runs:#}");
    let begun = counts.begun.lock().unwrap().clone();
    assert!(begun.values().all(|count| *count == 1), "{begun:?}");
    let shown = control_plane.ctl_json(&["schedule", "show", "tidy"]);
    let fires = shown["fires"].as_array().unwrap();
    assert!(fires.len() == 1 && fires[0]["run"] == 1, "{shown:#}");
    let id = format!("tidy.{}", fires[0]["due_ms"].as_u64().unwrap() / 1000);
    assert!(begun.keys().all(|(_, task)| *task == id), "{begun:?}: {id}");

    let listed = control_plane.ctl_ok(&["schedule", "ls"]);
    for words in [
        "tidy is paused by admin: storage: what is due meanwhile does not run.  Undo: hostlerctl schedule resume tidy",
        "daily does nothing when it is due: reports are not made yet",
        "daily 02:30 America/New_York",
        "every minute Europe/Berlin",
        "often   every 6h  ",
        "did not run: there is no node where role=db",
    ] {
        assert!(listed.contains(words), "{words}: {listed}");
    }
    let next = control_plane.ctl_ok(&["schedule", "next", "tidy", "-n", "3"]);
    assert_eq!(next.matches(", in ").count(), 3, "{next}");
    let resumed = control_plane.ctl_ok(&["schedule", "resume", "tidy"]);
    assert!(resumed.starts_with("tidy goes on: next "), "{resumed}");
    let events = control_plane.ctl_ok(&["events", "--kind", "run"]);
    for words in
        ["schedule tidy: paused by admin: storage", "schedule tidy: resumed by admin", "nothing ran: there is no node"]
    {
        assert!(events.contains(words), "{words}: {events}");
    }
    let why = control_plane.ctl_ok(&["why", "schedule/tidy"]);
    assert!(why.contains("run/1 ") && why.contains("hostlerctl why run/1"), "{why}");
    let frozen = control_plane.ctl_ok(&["freeze", "--for", "1h", "--reason", "move"]);
    assert!(frozen.contains("schedules"), "{frozen}");
    wait_for("the freeze to hold it", Duration::from_secs(10), || {
        let shown = control_plane.ctl_json(&["schedule", "show", "tidy"]);
        if shown["schedule"]["held"] == "frozen by admin: move" { Ok(()) } else { Err(shown) }
    });
    let ran = control_plane.ctl_ok(&["schedule", "run", "tidy", "--dry-run"]);
    assert!(ran.starts_with("task tidy, of schedule tidy on 1 node"), "{ran}");
    for (args, words) in [
        (&["schedule", "show", "tidi"][..], "did you mean tidy?"),
        (&["schedule", "run", "daily"], "makes a report, and these are not made yet"),
        (&["why", "schedule/nope"], "there is no schedule"),
        (&["why", "schedul/tidy"], "did you mean schedule/tidy?"),
    ] {
        let ran = control_plane.ctl(args);
        assert!(ran.code != Some(0) && ran.err.contains(words), "{args:?}: {ran:#?}");
    }
}

const FAILING: &str = "
task: {tidy: {where: role=web, steps: [{run: bin/tidy}]}}
schedule: {yearly: {cron: 0 3 1 1 *, task: tidy}}
";

#[test]
fn a_schedule_whose_run_failed_is_an_alert_until_one_succeeds() {
    let mut control_plane = ControlPlane::started();
    control_plane.apply(FAILING);
    let alert = |control_plane: &ControlPlane, summary: Option<&str>| {
        wait_for("the alert", Duration::from_secs(20), || {
            let alerts = control_plane.ctl_json(&["alert", "ls"]);
            let found = alerts.as_array().unwrap().iter().find(|one| one["name"] == "SCHEDULE/yearly").cloned();
            let said = found.as_ref().and_then(|one| one["summary"].as_str());
            let is_so = match (said, summary) {
                (Some(said), Some(summary)) => said.starts_with(summary) && said.ends_with("0 ok, 1 failed"),
                (None, None) => true,
                _ => false,
            };
            if is_so { Ok(()) } else { Err(alerts) }
        });
    };
    let failed = Some("run/1: task tidy, of schedule yearly failed (1 failed (");
    with_nodes(&control_plane, &[Part::Fails], |_| {
        let ran = control_plane.ctl(&["schedule", "run", "yearly", "--yes"]);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        alert(&control_plane, failed);
    });
    control_plane.kill();
    control_plane.start();
    alert(&control_plane, failed);
    let shown = control_plane.ctl_ok(&["alert", "show", "SCHEDULE/yearly"]);
    assert!(shown.contains("SCHEDULE/yearly"), "{shown}");
    for node in control_plane.ctl_json(&["node", "ls"]).as_array().unwrap() {
        control_plane.ctl_ok(&["node", "revoke", node["name"].as_str().unwrap(), "--yes"]);
    }
    with_nodes(&control_plane, &[Part::Says("tidied\n")], |_| {
        control_plane.ctl_ok(&["schedule", "run", "yearly", "--yes"]);
        alert(&control_plane, None);
    });
}
