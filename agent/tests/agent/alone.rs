//! A schedule that comes due on a host while its control plane is gone.

use crate::fake::Fake;
use crate::tasks::{executor, kill_agent, shell};
use crate::{Host, term};
use hostler_agent::clock;
use hostler_proto::agent as wire;
use hostler_types::calendar::jittered;
use hostler_types::time::whole_millis;
use hostler_types::{Name, NodeId, TaskId, Timestamp};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// For so long after a fire an agent that has just started waits for its control plane.
const LAST_CALL: Duration = Duration::from_secs(55);

/// A jitter that gives the node this place in it.
fn jitter_for(schedule: &str, node: &NodeId, place: Duration) -> Duration {
    let start = Timestamp::default();
    let share = |span: Duration| jittered(schedule, node, start, span).since(start).as_secs_f64() / span.as_secs_f64();
    place.div_f64(share(Duration::from_secs(1_000_000)))
}

/// Every minute, at the node's own place, so that the newest is given up on in `left`.
fn tidy(node: &NodeId, left: Duration, steps: Vec<wire::TaskStep>) -> (wire::ScheduleAssignment, TaskId) {
    let due = clock::wall().plus(left).minus(LAST_CALL);
    let fire = Timestamp::from_millis(due.as_millis() / 60_000 * 60_000);
    let jitter = jitter_for("tidy", node, due.since(fire));
    let schedule = wire::ScheduleAssignment {
        name: "tidy".into(),
        when: "* * * * *".into(),
        zone: "UTC".into(),
        jitter_ms: whole_millis(jitter),
        since_ms: fire.minus(MINUTE).as_millis(),
        window: None,
        steps,
        timeout_ms: whole_millis(MINUTE),
        origin: "care.yaml:1".into(),
    };
    (schedule, TaskId::of_fire(&Name::new("tidy").expect("a name"), fire))
}

#[tokio::test]
async fn a_schedule_fires_without_its_control_plane_once_and_is_told_later() {
    let Some(executor) = executor() else { return };
    let (fake, stop) = Fake::start().await;
    let trace = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(trace.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("open");
    let file = trace.path().join("fired");
    let step = shell(&format!("echo fired >>{}; echo done", file.display()), false);
    let (host, mut running) = Host::with_executor(&fake, &executor).await;
    fake.wait("a heartbeat", |memory| !memory.heartbeats.is_empty()).await;
    let (schedule, id) = tidy(&fake.node, Duration::from_secs(6), vec![step]);
    fake.order_schedules(1, vec![schedule]);
    fake.say_orders().await;
    let mut status = host.status().await;
    while !status.contains("tidy: ") {
        tokio::time::sleep(Duration::from_millis(20)).await;
        status = host.status().await;
    }
    assert!(!file.exists(), "it began while it was connected");

    stop.cancel();
    host.wait_log("this host begins it").await;
    host.wait_log("a task is over").await;
    // The next agent finds what this one has kept, and its minute is not over.
    kill_agent(&running);
    host.wait_log_times("the agent starts", 2).await;
    let _stop = fake.restart().await;
    fake.wait("another agent", |memory| memory.hellos.len() >= 2).await;
    fake.wait("its end", |memory| !memory.ends(id.as_str()).is_empty()).await;
    let ends = fake.memory.lock().expect("unpoisoned").ends(id.as_str());
    let end = ends.first().expect("one");
    assert_eq!((end.state.as_str(), end.output.as_str()), ("succeeded", "done\n"), "{end:?}\n{}", host.log());
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "fired\n");
    term(&mut running).await;
    let _ = running.wait().await;
}
