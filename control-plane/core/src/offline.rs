//! What hosts do of schedules by themselves while they are cut off: which of them one
//! node holds, and which can't ask for it.
//!
//! A host that is cut off asks nobody, neither how many others are at it nor what a
//! budget allows. So what takes something away from those that a node serves is refused
//! where it is applied, and held by no host.

use crate::applied::{Applied, Owned};
use crate::plan::Problem;
use crate::runs::steps;
use hostler_types::spec::{Body, Kind, Object, Offline, ScheduleSpec, TaskSpec, Zone};
use hostler_types::{Labels, Name, ScheduleAssignment, TaskStep, Timestamp, WindowAssignment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of schedules and stands in no spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// No host holds these.
    pub paused: BTreeSet<Name>,
    /// Since when one is as it is: what was due before is not its own. One that is not
    /// here always was.
    pub since: BTreeMap<Name, Timestamp>,
}

/// Those that a node holds, by their names.
pub fn assigned(applied: &Applied, labels: &Labels, standing: &Standing) -> Vec<ScheduleAssignment> {
    let takes = |task: &TaskSpec| task.where_.matches(labels, &BTreeMap::new());
    let held = applied.of_kind(Kind::Schedule).filter(|one| !standing.paused.contains(&one.object.name));
    held.filter_map(|one| assignment(applied, one, standing, takes)).collect()
}

fn assignment(
    applied: &Applied,
    owned: &Owned,
    standing: &Standing,
    takes: impl Fn(&TaskSpec) -> bool,
) -> Option<ScheduleAssignment> {
    let (_, spec, task) = offline(applied, owned)?;
    if !takes(task) {
        return None;
    }
    let name = &owned.object.name;
    let window = match &spec.window {
        Some(window) => Some(window_of(applied, &window.name)?),
        None => None,
    };
    Some(ScheduleAssignment {
        name: name.clone(),
        when: spec.when(),
        zone: zone(applied, owned, spec.zone.as_ref()),
        jitter: spec.jitter.0,
        since: standing.since.get(name).copied().unwrap_or_default(),
        window,
        steps: steps::of_task(task).ok().filter(|steps| !steps.iter().any(TaskStep::disturbs))?,
        timeout: task.timeout.0,
        origin: owned.object.origin.clone(),
    })
}

/// A schedule that asks for it, and its task.
fn offline<'a>(applied: &'a Applied, owned: &'a Owned) -> Option<(&'a Object, &'a ScheduleSpec, &'a TaskSpec)> {
    let Body::Schedule(spec) = &owned.object.body else { return None };
    let task = spec.task.as_ref().filter(|_| spec.offline == Offline::Run)?;
    match &applied.get(Kind::Task, &task.name)?.object.body {
        Body::Task(task) => Some((&owned.object, spec, task)),
        _ => None,
    }
}

/// What is left out when a window is not there any more would run outside it.
fn window_of(applied: &Applied, name: &Name) -> Option<WindowAssignment> {
    let owned = applied.get(Kind::Window, name)?;
    let Body::Window(spec) = &owned.object.body else { return None };
    Some(WindowAssignment {
        cron: spec.cron.clone(),
        zone: zone(applied, owned, spec.zone.as_ref()),
        lasts: spec.for_.0,
        cutoff: spec.cutoff.map(|cutoff| cutoff.0).unwrap_or_default(),
    })
}

/// Its own, or its system's.
fn zone(applied: &Applied, owned: &Owned, written: Option<&Zone>) -> Zone {
    written.cloned().unwrap_or_else(|| applied.zone_of(&owned.system))
}

/// Schedules that can't ask for it as they are, told where something of them is applied.
pub fn disturbing(wanted: &[Arc<Object>], after: &Applied) -> Vec<Problem> {
    let is_wanted = |kind: Kind, name: &Name| wanted.iter().any(|one| one.kind() == kind && one.name == *name);
    let problem = |owned: &Owned| {
        let (schedule, spec, task) = offline(after, owned)?;
        let name = &spec.task.as_ref()?.name;
        let disturbs = steps::of_task(task).ok()?.into_iter().find(TaskStep::disturbs)?;
        if is_wanted(Kind::Schedule, &schedule.name) {
            let message = format!(
                "is run, and its task {name} does {disturbs}: hosts that are cut off ask nobody how many others do that"
            );
            let help = "write offline: skip, or give it a task that takes nothing away".to_owned();
            return Some(Problem {
                kind: Kind::Schedule,
                name: schedule.name.clone(),
                path: "offline".to_owned(),
                message,
                help: Some(help),
                origin: schedule.origin.clone(),
            });
        }
        let object = after.get(Kind::Task, name).filter(|_| is_wanted(Kind::Task, name))?;
        let message = format!(
            "has the step {disturbs}, and schedule {} of system {} says offline: run: hosts that are cut off ask nobody how many others do that",
            schedule.name, owned.system
        );
        Some(Problem {
            kind: Kind::Task,
            name: name.clone(),
            path: "steps".to_owned(),
            message,
            help: Some(format!("write offline: skip in schedule {} first", schedule.name)),
            origin: object.object.origin.clone(),
        })
    };
    after.of_kind(Kind::Schedule).filter_map(problem).collect()
}
