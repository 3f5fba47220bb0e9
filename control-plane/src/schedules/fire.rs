//! The run that a fire becomes.

use super::Reading;
use crate::approvals::Sealed;
use crate::records::runs::Extra;
use crate::runs::{About, NewRun, readable};
use crate::world::World;
use hostler_core::applied::Owned;
use hostler_core::runs::steps::{amount_of, of_task};
use hostler_core::runs::{Fire, Order, Run, Task};
use hostler_core::schedules::Schedule;
use hostler_types::spec::{Body, Kind, Offline, TaskSpec};
use hostler_types::{Name, NodeId, TaskId, TaskReport, TaskState, TaskStep, Timestamp};
use std::collections::BTreeMap;

/// What of a schedule is to run.
pub struct Asked<'a> {
    pub at: Timestamp,
    pub until: Option<Timestamp>,
    pub now: Timestamp,
    /// It only asks what nodes did by themselves.
    pub asks: bool,
    pub words: &'a str,
}

/// Of all nodes that its task is of now; or why it can't be done.
pub fn run(
    world: &World,
    name: &Name,
    schedule: &Schedule,
    reading: &Reading,
    asked: &Asked<'_>,
) -> Result<NewRun, String> {
    let spec = reading.spec().ok_or("it is no schedule")?;
    let task = spec.task.as_ref().ok_or("it names no task")?;
    let owned = world.specs.applied.get(Kind::Task, &task.name);
    let (owned, task) = owned.and_then(task_of).ok_or_else(|| format!("there is no task {} any more", task.name))?;
    let steps = of_task(task).map_err(|words| format!("task {}: {words}", owned.object.name))?;
    let nodes = nodes(world, task);
    if nodes.is_empty() {
        return Err(format!("there is no node where {}", task.where_));
    }
    let alone = spec.offline == Offline::Run;
    let fire = Fire { schedule: name.clone(), at: asked.at, alone, only_on_time: asked.asks };
    let count = nodes.len();
    let id = TaskId::of_fire(name, asked.at);
    let mut order = Order {
        number: 0,
        task: id.clone(),
        title: format!("task {}", owned.object.name),
        by: format!("schedule/{name}"),
        reason: reason(schedule, asked),
        at: asked.now,
        origin: owned.object.origin.clone(),
        chosen: task.where_.to_string(),
        max: amount_of(task.max, count, 1).min(count),
        max_errors: amount_of(task.max_errors, count, 0).min(count),
        canary: task.canary.map_or(0, |canary| amount_of(canary, count, 1)).min(count),
        jitter: spec.jitter.0,
        timeout: task.timeout.0,
        deadline: None,
        begin_by: asked.until,
        fire: Some(fire),
        disturbs: steps.iter().any(TaskStep::disturbs),
        settles: steps.iter().any(TaskStep::settles),
    };
    if asked.asks {
        (order.max, order.canary) = (count, 0);
    }
    readable(&order, &steps)?;
    let planned = |(place, (node, name)): (u32, (NodeId, Name))| {
        let report = TaskReport::new(id.clone(), TaskState::Planned, asked.now, "");
        (node, Task::new(name, place, report))
    };
    let run = Run::new(order, (0u32..).zip(nodes).map(planned).collect());
    let extra = Extra {
        system: reading.system.to_string(),
        schedule: name.to_string(),
        due: Some(asked.at),
        ..Extra::default()
    };
    Ok(NewRun { run, about: About { steps, extra }, task: Some(id), begun: None, sealed: Sealed::default() })
}

fn reason(schedule: &Schedule, asked: &Asked<'_>) -> String {
    let due = format!("due {}", schedule.recurrence.say(asked.at, asked.now));
    match asked.words {
        "" => due,
        words if asked.asks => format!("{due}: {words}; what was done alone is asked"),
        words => format!("{due}, {words}"),
    }
}

pub fn task_of(owned: &Owned) -> Option<(&Owned, &TaskSpec)> {
    match &owned.object.body {
        Body::Task(spec) => Some((owned, spec)),
        _ => None,
    }
}

/// In the order of their names.
fn nodes(world: &World, task: &TaskSpec) -> Vec<(NodeId, Name)> {
    let none = BTreeMap::new();
    let members = world.members.values().filter(|member| member.revoked.is_none());
    let taken = members.filter(|member| task.where_.matches(&world.labels(member), &none));
    let mut nodes: Vec<_> = taken.map(|member| (member.id.clone(), member.name.clone())).collect();
    nodes.sort_by(|left, right| left.1.cmp(&right.1));
    nodes
}
