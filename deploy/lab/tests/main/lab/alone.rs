//! Schedules on real hosts whose control plane is off when they are due.

use super::{Fleet, SOON};
use hostler_lab::wait_for;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
const JITTER: Duration = Duration::from_secs(20);
/// To notice the time, to ask the executor, and to start a shell.
const BEGUN: Duration = Duration::from_secs(3);
/// Of a fire: after it nothing begins any more.
const ON_TIME: Duration = Duration::from_secs(60);
/// For the hosts to have their orders, and for the control plane to stop.
const AHEAD_MIN: u64 = 60;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// The hosts' clock can't be set: a minute that comes soon stands for the night.
fn due_soon() -> (u64, String) {
    let due = (now() as u64 + AHEAD_MIN).div_ceil(60) * 60;
    (due, format!("{} {} * * *", due / 60 % 60, due / 3_600 % 24))
}

fn spec(line: &str) -> String {
    format!(
        "task:
  stamp: {{where: role=app, max: 3, timeout: 1m, steps: [{{file: {{path: /etc/night, from: files/night}}}}, {{run: \"date +%s.%N >>/tmp/fired\"}}]}}
  other: {{where: role=app, max: 3, timeout: 1m, steps: [{{run: \"date +%s.%N >>/tmp/waited\"}}]}}
schedule:
  night: {{cron: {line}, zone: UTC, task: stamp, jitter: {}s, offline: run}}
  waits: {{cron: {line}, zone: UTC, task: other, missed: skip}}
",
        JITTER.as_secs()
    )
}

fn status(fleet: &Fleet, host: &str) -> Value {
    serde_json::from_str(&fleet.hosts.exec(host, "hostler-agent status -o json").out).unwrap_or_default()
}

fn traces(fleet: &Fleet, host: &str) -> Vec<f64> {
    let text = fleet.hosts.exec(host, "cat /tmp/fired 2>/dev/null").out;
    text.lines().map(|line| line.parse().expect(line)).collect()
}

#[test]
fn what_is_due_at_night_runs_without_the_control_plane() {
    let fleet = Fleet::of(HOSTS.len(), &[]);
    for host in HOSTS {
        fleet.wait_state(host, "ready", SOON);
    }
    let (due, line) = due_soon();
    let spec = spec(&line);
    fleet.cp(&format!(
        "mkdir -p /root/night/files && echo dark >/root/night/files/night && cat >/root/night/spec.yaml <<'EOF'\n{spec}\nEOF\n\
         hostlerctl apply -f /root/night"
    ));
    for host in HOSTS {
        wait_for(&format!("{host} to hold its schedule"), SOON, || {
            let seen = status(&fleet, host)["schedules"].clone();
            let held = seen.as_array().is_some_and(|all| all.len() == 1 && all[0]["schedule"] == "night");
            if held { Ok(()) } else { Err(seen) }
        });
    }
    fleet.cp("systemctl stop hostler-control-plane");
    assert!(now() < due as f64, "the control plane was off too late: {}", now() - due as f64);

    let most = Duration::from_secs_f64(due as f64 - now()) + JITTER + BEGUN;
    for host in HOSTS {
        wait_for(&format!("{host} to begin it"), most, || {
            let seen = traces(&fleet, host);
            if seen.is_empty() { Err(now() - due as f64) } else { Ok(()) }
        });
    }
    // Its minute is not over when the next agent comes.
    fleet.hosts.exec_ok("h2", "systemctl kill -s KILL hostler-agent");
    wait_for("its minute to be over", JITTER + ON_TIME + BEGUN, || {
        let left = (due as f64 + (JITTER + ON_TIME).as_secs_f64()) - now();
        if left < 0.0 { Ok(()) } else { Err(left) }
    });
    for host in HOSTS {
        let seen = traces(&fleet, host);
        let after: Vec<f64> = seen.iter().map(|at| at - due as f64).collect();
        println!("{host} began {after:?} s after it was due");
        assert_eq!(seen.len(), 1, "{host}: {after:?}");
        assert!((0.0..(JITTER + BEGUN).as_secs_f64()).contains(&after[0]), "{host}: {after:?}");
        // Its content was brought while it could be had.
        assert_eq!(fleet.hosts.exec(host, "cat /etc/night").out, "dark\n", "{host}");
        assert_ne!(fleet.hosts.exec(host, "cat /tmp/waited").code, Some(0), "it said offline: skip");
        let kept = status(&fleet, host);
        assert_eq!(kept["link"]["connected"], false, "{kept:#}");
        assert!(kept["spool"]["backlog"].as_u64() >= Some(1), "its end waits to be told: {kept:#}");
    }

    fleet.start_control_plane();
    for host in HOSTS {
        wait_for(&format!("{host} to have told it"), SOON, || {
            let seen = status(&fleet, host);
            let told = seen["link"]["connected"] == true && seen["spool"]["backlog"] == 0;
            if told { Ok(()) } else { Err(seen) }
        });
        assert_eq!(traces(&fleet, host).len(), 1, "{host} began it again");
    }
    // One run of that time, and nothing of it was done again.
    let run = wait_for("the run to be recorded", SOON, || {
        let listed = fleet.cp("hostlerctl run ls -o json");
        let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
        let runs = listed.as_array().cloned().unwrap_or_default();
        let mut ours = runs.into_iter().filter(|run| run["schedule"] == "night");
        ours.next().filter(|run| run["tasks"]["succeeded"] == 3).ok_or(listed)
    });
    assert_eq!(run["state"], "succeeded", "{run:#}");
    for host in HOSTS {
        assert_eq!(traces(&fleet, host).len(), 1, "{host} began it again");
    }
}
