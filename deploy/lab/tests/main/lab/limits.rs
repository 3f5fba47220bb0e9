//! Programs that take what they may not have, or stay when they should go: what they
//! do is theirs alone, and nothing of them is left.

use super::{Fleet, SOON};
use hostler_lab::wait_for;
use std::time::{Duration, Instant};

const HOST: &str = "h1";
const PROCESSES: u64 = 50;
const SERVICES: &str = "service:
  steady: {where: role=app, command: sleep infinity}
  hog:
    where: role=app
    command: /usr/bin/python3 /opt/lab/hog.py
    limits: {memory: 64MiB}
    restart: {attempts: 1}
  bomb:
    where: role=app
    command: /usr/bin/python3 /opt/lab/bomb.py
    limits: {processes: 50}
  stubborn:
    where: role=app
    command: /usr/bin/python3 /opt/lab/stubborn.py
    stop: {grace: 2s}
";

fn count(fleet: &Fleet, what: &str) -> u64 {
    // The shell that asks is no answer.
    let ran = fleet.hosts.exec(HOST, &format!("pgrep -fc '[/]opt/lab/{what}.py'"));
    ran.out.trim().parse().unwrap_or_default()
}

#[test]
fn what_a_service_takes_or_leaves_behind_is_its_own_alone() {
    let fleet = Fleet::of(1, &[]);
    let all = || -> u64 { fleet.hosts.exec_ok(HOST, "ps -e --no-headers | wc -l").trim().parse().expect("a number") };
    let before = all();
    fleet.apply(SERVICES);
    let steady = fleet.wait_running(HOST, "steady", SOON);

    let out = fleet.wait_act(HOST, "hog", "crashing", "ended for want of memory (limit 64 MiB, peak 6", SOON);
    println!("{}", out["saw"]);

    // It fills its room, and not more; the host is as it was.
    wait_for("the bomb to fill its room", SOON, || match count(&fleet, "bomb") {
        PROCESSES => Ok(()),
        other => Err(other),
    });
    let now = all();
    assert!(now <= before + PROCESSES + 15, "{before} processes became {now}");
    assert_eq!(fleet.wait_running(HOST, "steady", SOON), steady);
    assert_eq!(fleet.state(HOST), "ready");
    let stopped = fleet.cp("hostlerctl service stop bomb");
    assert!(stopped.contains("1 ok"), "{stopped}");
    assert_eq!(count(&fleet, "bomb"), 0, "some of it are left");

    fleet.wait_running(HOST, "stubborn", SOON);
    wait_for("all three of it", SOON, || match count(&fleet, "stubborn") {
        3 => Ok(()),
        other => Err(other),
    });
    let asked = Instant::now();
    let stopped = fleet.cp("hostlerctl service stop stubborn");
    let took = asked.elapsed();
    assert!(stopped.contains("1 ok"), "{stopped}");
    assert!((Duration::from_secs(2)..Duration::from_secs(5)).contains(&took), "stopped in {took:?}, not after 2 s");
    assert_eq!(count(&fleet, "stubborn"), 0, "some of it are left");
    println!("stopped in {took:?}");
    assert_eq!(fleet.wait_running(HOST, "steady", SOON), steady);
}
