//! `hostlerctl schedule`

#[cfg(test)]
mod tests;
mod text;

use super::{brakes, runs};
use crate::cli::{Format, ScheduleCommand};
use crate::client::Client;
use crate::output::Out;
use crate::problem::Problem;
use hostler_proto::admin as wire;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Of each with `show`.
const NEXT_SHOWN: u32 = 3;

pub async fn run(client: Client, out: &Out, format: Format, command: ScheduleCommand) -> Result<ExitCode, Problem> {
    match command {
        ScheduleCommand::Run { name, how } => {
            let what = wire::StartRunRequest { schedule: name, ..wire::StartRunRequest::default() };
            return runs::start(client, out, format, what, *how).await;
        }
        ScheduleCommand::Ls => list(client, out, format).await,
        ScheduleCommand::Show { name } => show(client, out, format, name).await,
        ScheduleCommand::Next { name, count } => next(client, out, format, name, count).await,
        ScheduleCommand::Pause { name, reason } => {
            let request = wire::SetScheduleRequest { name, paused: true, reason };
            set(client, out, format, request).await
        }
        ScheduleCommand::Resume { name } => {
            let request = wire::SetScheduleRequest { name, paused: false, reason: String::new() };
            set(client, out, format, request).await
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

async fn list(mut client: Client, out: &Out, format: Format) -> Result<(), Problem> {
    let answer = client.list_schedules(wire::ListSchedulesRequest {}).await?.into_inner();
    if format != Format::Table {
        return out.json(&answer.schedules.iter().map(to_json).collect::<Vec<_>>());
    }
    out.print(&text::listed(out, &answer))?;
    brakes::tell(&mut client).await;
    Ok(())
}

async fn get(client: &mut Client, name: String, next: u32) -> Result<wire::GetScheduleResponse, Problem> {
    let mut answer = client.get_schedule(wire::GetScheduleRequest { name, next }).await?.into_inner();
    answer.schedule.get_or_insert_default();
    Ok(answer)
}

async fn show(mut client: Client, out: &Out, format: Format, name: String) -> Result<(), Problem> {
    let answer = get(&mut client, name, NEXT_SHOWN).await?;
    if format != Format::Table {
        return out.json(&whole_json(&answer));
    }
    out.print(&text::shown(&answer))?;
    brakes::tell(&mut client).await;
    Ok(())
}

async fn next(mut client: Client, out: &Out, format: Format, name: String, count: u32) -> Result<(), Problem> {
    let answer = get(&mut client, name, count).await?;
    if format != Format::Table {
        return out.json(&next_json(&answer));
    }
    out.print(&text::next(&answer))
}

async fn set(mut client: Client, out: &Out, format: Format, request: wire::SetScheduleRequest) -> Result<(), Problem> {
    let now_ms = client.get_server(wire::GetServerRequest {}).await?.into_inner().wall_ms;
    let schedule = client.set_schedule(request).await?.into_inner();
    match format {
        Format::Table => out.print(&text::set(&schedule, now_ms)),
        _ => out.json(&to_json(&schedule)),
    }
}

/// `hostlerctl why schedule/patch`
pub async fn why(mut client: Client, out: &Out, format: Format, name: &str) -> Result<(), Problem> {
    let answer = get(&mut client, name.to_owned(), 1).await?;
    if format != Format::Table {
        return out.json(&whole_json(&answer));
    }
    out.print(&text::why(&answer))
}

fn fire_json(fire: &wire::ScheduleFire) -> Value {
    json!({
        "due_ms": fire.due_ms,
        "first_ms": fire.first_ms,
        "count": fire.count,
        "decided_ms": fire.at_ms,
        "run": (fire.run != 0).then_some(fire.run),
        "run_state": fire.run_state,
        "words": fire.words,
    })
}

fn to_json(one: &wire::Schedule) -> Value {
    json!({
        "name": one.name,
        "system": one.system,
        "when": one.when,
        "zone": one.zone,
        "does": one.does,
        "window": one.window,
        "missed": one.missed,
        "deadline_ms": one.deadline_ms,
        "overlap": one.overlap,
        "offline": one.offline,
        "jitter_ms": one.jitter_ms,
        "tell": one.tell,
        "origin": one.origin,
        "problem": one.problem,
        "paused": one.paused,
        "held": one.held,
        "next_ms": one.next_ms,
        "last": one.last.as_ref().map(fire_json),
    })
}

fn next_json(answer: &wire::GetScheduleResponse) -> Value {
    answer.next.iter().map(|due| json!({"at_ms": due.at_ms, "moved": due.moved})).collect()
}

fn whole_json(answer: &wire::GetScheduleResponse) -> Value {
    json!({
        "schedule": answer.schedule.as_ref().map(to_json),
        "next": next_json(answer),
        "fires": answer.fires.iter().map(fire_json).collect::<Vec<_>>(),
    })
}
