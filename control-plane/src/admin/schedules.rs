//! Schedules as operators see and steer them.

use crate::access::{self, Caller, in_system, require};
use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::runs::{decode_run, run_key};
use crate::records::schedules::{Fire, Pause, decode_fire, due_of, ends_of, fires_prefix};
use crate::schedules::{Inside, Slot, does, task_of};
use crate::world::World;
use hostler_core::access::{Ask, Noun, Verb};
use hostler_core::applied::Owned;
use hostler_core::runs::steps::of_task;
use hostler_core::runs::{Order, RunState};
use hostler_proto::admin as wire;
use hostler_types::spec::{Kind, nearest};
use hostler_types::time::whole_millis;
use hostler_types::{Name, NodeId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::Status;

pub const SCHEDULE: Noun = Noun::Spec(Kind::Schedule);
const REASON_CHARACTERS_MAX: usize = 200;
/// Enough for a page of the calendar.
const NEXT_MAX: u32 = 1_000;

fn all(world: &World) -> impl Iterator<Item = &Owned> {
    world.specs.applied.of_kind(Kind::Schedule)
}

pub fn find<'a>(world: &'a World, text: &str) -> Result<&'a Owned, Status> {
    let found = Name::new(text).ok().and_then(|name| world.specs.applied.get(Kind::Schedule, &name));
    found.ok_or_else(|| {
        let help = match nearest(text, all(world).map(|one| one.object.name.as_str())) {
            Some(name) => format!("; did you mean {name}?"),
            None => "; hostlerctl schedule ls shows them".to_owned(),
        };
        Status::not_found(format!("there is no schedule {text:?}{help}"))
    })
}

fn ask<'a>(verb: Verb, owned: &'a Owned) -> Ask<'a> {
    in_system(Ask::new(verb, SCHEDULE), &owned.system).named(owned.object.name.as_str())
}

/// One that was applied a moment ago is not looked at yet.
fn slot<'a>(inside: &'a Inside, name: &Name) -> Result<&'a Slot, Status> {
    let none = || Status::unavailable(format!("schedule {name} is not looked at yet: try again in a moment"));
    inside.slots.get(name).ok_or_else(none)
}

/// The world, once its schedules were looked at.
async fn looked_at(app: &App) -> Arc<World> {
    let newest = *app.mirror.follow_plans().borrow();
    app.schedules.reach(newest).await;
    app.mirror.now()
}

fn fire_to_wire(fire: &Fire) -> wire::ScheduleFire {
    wire::ScheduleFire {
        due_ms: fire.due.as_millis(),
        at_ms: fire.at.as_millis(),
        run: fire.run,
        run_state: String::new(),
        words: fire.words.clone(),
        first_ms: fire.first.as_millis(),
        count: fire.count,
    }
}

fn to_wire(world: &World, inside: &Inside, name: &Name, slot: &Slot, now: Timestamp) -> wire::Schedule {
    let Some(spec) = slot.reading.spec() else { return wire::Schedule::default() };
    let undone = || {
        let task = &spec.task.as_ref()?.name;
        let found = world.specs.applied.get(Kind::Task, task).and_then(task_of);
        match found {
            Some((_, found)) => of_task(found).err().map(|words| format!("task {task}: {words}")),
            None => Some(format!("there is no task {task} any more")),
        }
    };
    let next = inside.schedule(name).and_then(|schedule| schedule.recurrence.next_after(now));
    wire::Schedule {
        name: name.to_string(),
        system: slot.reading.system.to_string(),
        when: spec.when().to_string(),
        zone: slot.reading.zone().0.clone(),
        does: does(spec),
        window: spec.window.as_ref().map(|window| window.name.to_string()).unwrap_or_default(),
        missed: spec.missed.word().to_owned(),
        deadline_ms: whole_millis(spec.deadline.0),
        overlap: spec.overlap.word().to_owned(),
        offline: spec.offline.word().to_owned(),
        jitter_ms: whole_millis(spec.jitter.0),
        tell: spec.tell.iter().map(|notifier| notifier.name.to_string()).collect(),
        origin: slot.reading.object.origin.clone(),
        problem: slot.problem.clone().or_else(undone).unwrap_or_default(),
        paused: slot.record.paused.is_some(),
        held: slot.hold.as_ref().map(hostler_core::schedules::Hold::words).unwrap_or_default(),
        next_ms: next.map_or(0, |fire| fire.at.as_millis()),
        last: slot.record.last.as_ref().map(fire_to_wire),
    }
}

/// Fills in how the runs of fires stand.
async fn with_states(app: &App, fires: Vec<&mut wire::ScheduleFire>) -> Result<(), Status> {
    for fire in fires.into_iter().filter(|fire| fire.run != 0) {
        let at_work = app.work.inside().runs.get(fire.run).map(|run| state_word(run.state, &run.order));
        if let Some(word) = at_work {
            word.clone_into(&mut fire.run_state);
            continue;
        }
        let key = run_key(fire.run);
        let head = app.store.get(&key).await.map_err(store_status)?;
        let head = head.and_then(|head| decode_run(&key, &head.value).ok());
        fire.run_state = head.map(|head| state_word(head.state, &head.order).to_owned()).unwrap_or_default();
    }
    Ok(())
}

/// One that only asks succeeds also where nothing was done.
fn state_word(state: RunState, order: &Order) -> &'static str {
    let asks = order.fire.as_ref().is_some_and(|fire| fire.only_on_time);
    if asks && state == RunState::Succeeded { "asked its nodes" } else { state.word() }
}

pub async fn list(app: &App, caller: &Caller) -> Result<wire::ListSchedulesResponse, Status> {
    let (world, now) = (looked_at(app).await, clock::wall());
    let mut schedules: Vec<wire::Schedule> = {
        let inside = app.schedules.inside();
        let seen = all(&world).filter(|owned| access::may(&world, caller, &ask(Verb::Read, owned)));
        let slots = seen.filter_map(|owned| Some((&owned.object.name, inside.slots.get(&owned.object.name)?)));
        slots.map(|(name, slot)| to_wire(&world, &inside, name, slot, now)).collect()
    };
    with_states(app, schedules.iter_mut().filter_map(|one| one.last.as_mut()).collect()).await?;
    Ok(wire::ListSchedulesResponse { schedules, wall_ms: now.as_millis() })
}

pub async fn get(
    app: &App,
    caller: &Caller,
    request: &wire::GetScheduleRequest,
) -> Result<wire::GetScheduleResponse, Status> {
    let (world, now) = (looked_at(app).await, clock::wall());
    let owned = find(&world, &request.name)?;
    require(&world, caller, &ask(Verb::Read, owned))?;
    let name = &owned.object.name;
    let (mut schedule, next) = {
        let inside = app.schedules.inside();
        let schedule = to_wire(&world, &inside, name, slot(&inside, name)?, now);
        let most = request.next.clamp(1, NEXT_MAX) as usize;
        let next = inside.schedule(name).map(|one| one.recurrence.after(now).take(most).collect::<Vec<_>>());
        (schedule, next.unwrap_or_default())
    };
    let mut fires = fires(app, &world, name).await?;
    with_states(app, fires.iter_mut().chain(schedule.last.as_mut()).collect()).await?;
    let next = next.into_iter().map(|fire| wire::ScheduleDue { at_ms: fire.at.as_millis(), moved: fire.moved });
    Ok(wire::GetScheduleResponse { schedule: Some(schedule), next: next.collect(), fires, wall_ms: now.as_millis() })
}

/// The newest first, each with who did it alone where no run says so.
async fn fires(app: &App, world: &World, name: &Name) -> Result<Vec<wire::ScheduleFire>, Status> {
    let mut fires = BTreeMap::new();
    for (key, entry) in app.store.scan(&fires_prefix(name), None).await.map_err(store_status)?.entries {
        let fire = decode_fire(&key, &entry.value).map_err(|error| Status::data_loss(error.to_string()))?;
        fires.insert(fire.due, fire_to_wire(&fire));
    }
    let mut alone: BTreeMap<Timestamp, Vec<String>> = BTreeMap::new();
    for (key, _) in app.store.scan(&ends_of(name), None).await.map_err(store_status)?.entries {
        let node = key.rsplit('/').next().and_then(|id| NodeId::parse(id).ok());
        let member = node.and_then(|node| world.members.get(&node));
        if let (Some((_, due)), Some(member)) = (due_of(&key), member) {
            alone.entry(due).or_default().push(member.name.to_string());
        }
    }
    for (due, nodes) in alone {
        let fire = fires.entry(due).or_insert_with(|| wire::ScheduleFire {
            due_ms: due.as_millis(),
            first_ms: due.as_millis(),
            count: 1,
            ..wire::ScheduleFire::default()
        });
        let words = format!("done alone on {}", nodes.join(", "));
        fire.words = if fire.words.is_empty() { words } else { format!("{}; {words}", fire.words) };
    }
    Ok(fires.into_values().rev().collect())
}

pub async fn set(app: &App, caller: &Caller, request: wire::SetScheduleRequest) -> Result<wire::Schedule, Status> {
    let name = {
        let world = looked_at(app).await;
        let owned = find(&world, &request.name)?;
        require(&world, caller, &ask(Verb::Act, owned))?;
        owned.object.name.clone()
    };
    let pause = request.paused.then(|| Pause {
        by: caller.name().to_owned(),
        reason: request.reason.chars().take(REASON_CHARACTERS_MAX).collect(),
        at: clock::wall(),
    });
    let done = app.schedules.pause(name.clone(), pause, caller.name().to_owned()).await;
    done.ok_or_else(|| Status::unavailable("the control plane stops: try again in a moment"))?;
    let (world, now) = (app.mirror.now(), clock::wall());
    let inside = app.schedules.inside();
    Ok(to_wire(&world, &inside, &name, slot(&inside, &name)?, now))
}
