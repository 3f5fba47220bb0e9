//! Ends of what nodes did by themselves while they were cut off: each is kept with the
//! fire's run, whenever it comes.

use super::carry::{drop_all, event};
use crate::app::App;
use crate::clock;
use crate::records::NewEvent;
use crate::records::runs::run_task_key;
use crate::records::schedules::{ENDS, decode_end, decode_fire, due_of, encode_end, end_key, ends_prefix, fire_key};
use bytes::Bytes;
use hostler_types::spec::Offline;
use hostler_types::{Name, NodeId, TaskReport, TaskState, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// Fires, and what nodes say of them, are kept no longer.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// What is kept of an end that no run is known for, and what is told of it.
#[derive(Debug, Default)]
pub struct UnknownEnd {
    pub put: Option<(String, Bytes)>,
    pub event: Option<NewEvent>,
}

/// Kept is what the schedule lets its nodes do alone: it may be that nobody has looked at
/// it since the start. A node's words alone make no other records.
pub fn unknown_end(app: &App, node: &NodeId, report: &TaskReport) -> UnknownEnd {
    // Nothing was done.
    let Some((name, due)) = report.id.fire().filter(|_| report.state != TaskState::Undelivered) else {
        return UnknownEnd::default();
    };
    let (world, now) = (app.mirror.now(), clock::wall());
    let put = may_be_alone(app, &name, due, now).then(|| (end_key(&name, due, node), encode_end(report)));
    let node = world.members.get(node).map(|member| member.name.to_string()).unwrap_or_default();
    let message = format!("schedule {name}, due {due}: done alone on {node}: {}", report.state);
    let event = NewEvent { node, ..event(&name, now, message) };
    UnknownEnd { put, event: Some(event) }
}

/// Before the first look there are no slots yet, and what is applied is asked.
fn may_be_alone(app: &App, name: &Name, due: Timestamp, now: Timestamp) -> bool {
    /// Clocks differ.
    const EARLY: Duration = Duration::from_secs(60);
    let world = app.mirror.now();
    let owned = world.specs.applied.get(hostler_types::spec::Kind::Schedule, name);
    let alone = owned.is_some_and(|owned| match &owned.object.body {
        hostler_types::spec::Body::Schedule(spec) => spec.offline == Offline::Run,
        _ => false,
    });
    let in_time = due <= now.plus(EARLY) && now.since(due) < KEPT_FOR;
    let inside = app.schedules.inside();
    let is_due = inside.schedule(name).is_none_or(|schedule| {
        schedule.recurrence.next_after(due.minus(Duration::from_millis(1))).is_some_and(|fire| fire.at == due)
    });
    alone && in_time && is_due
}

/// Gives what nodes said of a fire to its run, now that there is one.
pub async fn hand_over(app: &App, name: &Name, due: Timestamp, run: u64) -> Option<()> {
    let found = match app.store.scan(&ends_prefix(name, due), None).await {
        Ok(found) => found.entries,
        Err(error) => {
            tracing::error!(error = %error, "what nodes did alone stays where it is until the next start");
            return Some(());
        }
    };
    let mut done = Vec::new();
    for (key, entry) in found {
        let Ok((node, report)) = decode_end(&key, &entry.value) else { continue };
        // One that the run is not of has no better place.
        let in_run = app.store.get(&run_task_key(run, &node)).await.is_ok_and(|task| task.is_some());
        if in_run {
            app.work.ended(&node, report).await.ok()?;
            done.push(key.to_string());
        }
    }
    drop_all(app, done).await
}

/// The same at a start, for those whose run had begun when the control plane died.
pub async fn hand_over_all(app: &App) -> Option<()> {
    let Ok(found) = app.store.scan(ENDS, None).await else { return Some(()) };
    let fires: BTreeSet<(Name, Timestamp)> = found.entries.iter().filter_map(|(key, _)| due_of(key)).collect();
    for (name, due) in fires {
        let key = fire_key(&name, due);
        let Ok(Some(entry)) = app.store.get(&key).await else { continue };
        if let Some(fire) = decode_fire(&key, &entry.value).ok().filter(|fire| fire.run != 0) {
            hand_over(app, &name, due, fire.run).await?;
        }
    }
    Some(())
}
