//! `hostlerctl approve`, and what is said where something waits.

use super::contents;
use super::nodes::time;
use super::specs::plan_json;
use crate::cli::{ApproveCommand, Format, Global};
use crate::client::{self, Client};
use crate::output::{Cell, Out, age, ago, plural};
use crate::plan_view;
use crate::problem::{Problem, approval_id};
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use tonic::Code;

/// Not done, and not failed: somebody else has to agree.
pub const WAITS: u8 = 3;
/// What one question may take; then it is asked again.
const WAIT_MS: u64 = 30_000;
/// A control plane that restarts is back by then.
const AWAY_MAX: u32 = 300;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub async fn run(global: &Global, out: &Out, command: ApproveCommand) -> Result<ExitCode, Problem> {
    let mut client = client::connect(global).await?;
    let format = global.output;
    match command {
        ApproveCommand::Ls { all } => {
            let answer = client.list_approvals(wire::ListApprovalsRequest { all }).await?.into_inner();
            list(out, format, all, &answer)?;
        }
        ApproveCommand::Show { id } => {
            let request = wire::GetApprovalRequest { id, wait_ms: 0 };
            let answer = client.get_approval(request).await?.into_inner();
            show(&mut client, out, format, &answer).await?;
        }
        ApproveCommand::Yes { id, reason } => {
            let request = wire::DecideApprovalRequest { id, yes: true, reason };
            decided(out, format, &client.decide_approval(request).await?.into_inner())?;
        }
        ApproveCommand::No { id, reason } => {
            let request = wire::DecideApprovalRequest { id, yes: false, reason };
            decided(out, format, &client.decide_approval(request).await?.into_inner())?;
        }
        ApproveCommand::Wait { id } => return wait(global, out, &id).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// What was asked for waits: says for whom, or waits as well.
pub async fn waits(global: &Global, out: &Out, problem: Problem, wait_for_it: bool) -> Result<ExitCode, Problem> {
    let Some(id) = approval_id(&problem) else { return Err(problem) };
    let mut client = client::connect(global).await?;
    let request = wire::GetApprovalRequest { id: id.clone(), wait_ms: 0 };
    let answer = client.get_approval(request).await?.into_inner();
    if global.output == Format::Table {
        eprint!("{}", told(&answer));
    } else if !wait_for_it {
        out.json(&to_json(&answer))?;
    }
    if wait_for_it { wait(global, out, &id).await } else { Ok(ExitCode::from(WAITS)) }
}

fn told(answer: &wire::GetApprovalResponse) -> String {
    let one = answer.approval.clone().unwrap_or_default();
    let until = Timestamp::from_millis(one.expires_at_ms);
    let id = sanitize(&one.id);
    format!(
        "nothing was done yet: it waits for a second approval, as {id}\n  {}\n  {} may say yes, until {until}\n\
         next:  hostlerctl approve yes {id}   (by somebody else; `approve show {id}` says what it would do)\n\
         \x20      hostlerctl approve wait {id}\n",
        sanitize(&what(&one)),
        sanitize(&approvers(answer)),
    )
}

fn what(one: &wire::Approval) -> String {
    format!("{} on {}", one.summary, plural(one.nodes as usize, "node"))
}

fn approvers(answer: &wire::GetApprovalResponse) -> String {
    let (named, count) = (&answer.approvers, answer.approvers_count as usize);
    match count.saturating_sub(named.len()) {
        _ if count == 0 => "nobody who is let in now".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Also over a restart of the control plane.
async fn wait(global: &Global, out: &Out, id: &str) -> Result<ExitCode, Problem> {
    let mut away = 0;
    loop {
        let asked = async {
            let mut client = client::connect(global).await?;
            let request = wire::GetApprovalRequest { id: id.to_owned(), wait_ms: WAIT_MS };
            Ok::<_, Problem>(client.get_approval(request).await?.into_inner())
        };
        match asked.await {
            Ok(answer) => {
                away = 0;
                let one = answer.approval.unwrap_or_default();
                if one.state != "waiting" {
                    decided(out, global.output, &one)?;
                    return Ok(if one.state == "done" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
            }
            Err(problem) if may_pass(&problem) && away < AWAY_MAX => {
                away += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(problem) => return Err(problem),
        }
    }
}

fn may_pass(problem: &Problem) -> bool {
    match problem {
        Problem::Server(status) => matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown),
        Problem::Client(client::ClientError::Connect { .. }) => true,
        _ => false,
    }
}

/// How it ended, in a line.
fn outcome(one: &wire::Approval) -> String {
    let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
    let (what, by) = (what(one), &one.decided_by);
    let text = match one.state.as_str() {
        "done" if one.version > 0 => format!("done, approved by {by}{reason}: {what}; version {}", one.version),
        "done" => format!("done, approved by {by}{reason}: {what}"),
        "denied" => format!("{by} said no{reason}: {what}"),
        "withdrawn" => format!("taken back by {by}{reason}: {what}"),
        "outdated" => format!("not done, although {by} said yes{reason}: {what}; plan and ask for it again"),
        "expired" => format!("nobody decided in time: {what}"),
        state => format!("{state}: {what}"),
    };
    sanitize(&text).into_owned()
}

fn decided(out: &Out, format: Format, one: &wire::Approval) -> Result<(), Problem> {
    if format == Format::Table { out.line(outcome(one)) } else { out.json(&approval_json(one)) }
}

fn approval_json(one: &wire::Approval) -> Value {
    json!({
        "id": one.id,
        "call": one.call,
        "state": one.state,
        "by": one.by,
        "at": time(one.at_ms),
        "expires_at": time(one.expires_at_ms),
        "summary": one.summary,
        "nodes": one.nodes,
        "named": one.named,
        "more": one.more,
        "message": one.message,
        "decided_by": (!one.decided_by.is_empty()).then_some(&one.decided_by),
        "decided_at": time(one.decided_at_ms),
        "reason": one.reason,
        "version": (one.version != 0).then_some(one.version),
    })
}

fn to_json(answer: &wire::GetApprovalResponse) -> Value {
    let mut value = approval_json(&answer.approval.clone().unwrap_or_default());
    if let Some(map) = value.as_object_mut() {
        map.insert("outdated".into(), json!((!answer.outdated.is_empty()).then_some(&answer.outdated)));
        map.insert("approvers".into(), answer.approvers.clone().into());
        map.insert("plan".into(), json!(answer.plan.as_ref().map(|plan| plan_json(plan, true))));
    }
    value
}

fn list(out: &Out, format: Format, all: bool, answer: &wire::ListApprovalsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.approvals.iter().map(approval_json).collect::<Vec<_>>());
    }
    if answer.approvals.is_empty() {
        return out.line(if all { "nothing waited." } else { "nothing waits." });
    }
    let row = |one: &wire::Approval| {
        vec![
            Cell::new(&one.id),
            Cell::new(&one.state),
            Cell::new(&one.by),
            Cell::new(age(one.at_ms, answer.wall_ms)),
            Cell::new(one.nodes.to_string()),
            Cell::new(if one.decided_by.is_empty() { "-" } else { &one.decided_by }),
            Cell::new(&one.summary),
        ]
    };
    let rows: Vec<_> = answer.approvals.iter().map(row).collect();
    out.print(&out.table(&["ID", "STATE", "ASKED BY", "AGE", "NODES", "DECIDED BY", "WHAT"], &rows))
}

async fn show(
    client: &mut Client,
    out: &Out,
    format: Format,
    answer: &wire::GetApprovalResponse,
) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&to_json(answer));
    }
    out.print(&head(answer))?;
    if let Some(plan) = &answer.plan {
        let files = contents::changes(client, plan, None).await?;
        out.line("")?;
        out.print(&plan_view::render(plan, &files, &None, out))?;
    }
    let one = answer.approval.clone().unwrap_or_default();
    if one.state == "waiting" && answer.outdated.is_empty() {
        out.line(sanitize(&format!("next:  hostlerctl approve yes {0}, or approve no {0}", one.id)))?;
    }
    Ok(())
}

fn head(answer: &wire::GetApprovalResponse) -> String {
    let one = answer.approval.clone().unwrap_or_default();
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&plan_view::hanging(&format!("{name:<10}"), &sanitize(value)));
        }
    };
    field("approval", &one.id);
    field("what", &what(&one));
    field("asked by", &format!("{}, {}", one.by, ago(one.at_ms, answer.wall_ms)));
    field("why", &one.message);
    if one.state == "waiting" {
        field("waits", &format!("until {}", Timestamp::from_millis(one.expires_at_ms)));
        field("for", &approvers(answer));
        if !answer.outdated.is_empty() {
            field("too late", &format!("it can't be done any more: {}", answer.outdated));
        }
    } else {
        field("ended", &outcome(&one));
    }
    if answer.plan.is_none() {
        let more = if one.more > 0 { format!(" and {} more", one.more) } else { String::new() };
        let named = one.named.join(", ");
        field("changes", &if named.is_empty() { named } else { format!("{named}{more}") });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> wire::GetApprovalResponse {
        let approval = wire::Approval {
            id: "5f2a91c0".into(),
            call: "Apply".into(),
            state: "waiting".into(),
            by: "anna".into(),
            at_ms: 1_790_000_000_000,
            expires_at_ms: 1_790_086_400_000,
            summary: "apply shop (prod): 1 to delete, 2 to create".into(),
            nodes: 12,
            named: vec!["delete check disk".into()],
            more: 2,
            message: "new disks".into(),
            ..wire::Approval::default()
        };
        wire::GetApprovalResponse {
            approval: Some(approval),
            approvers: vec!["ben".into(), "carl\u{1b}[2J".into()],
            approvers_count: 7,
            wall_ms: 1_790_000_180_000,
            ..wire::GetApprovalResponse::default()
        }
    }

    #[test]
    fn what_waits_is_said_with_for_whom() {
        insta::assert_snapshot!("waits", told(&waiting()));
        insta::assert_snapshot!("show", head(&waiting()));
        let outdated = wire::GetApprovalResponse {
            outdated: "shop is at version 5, and it was planned against version 4".into(),
            approvers: Vec::new(),
            approvers_count: 0,
            ..waiting()
        };
        insta::assert_snapshot!("show-outdated", head(&outdated));
    }

    #[test]
    fn how_it_ended_in_words() {
        let ended = |state: &str, version| {
            outcome(&wire::Approval {
                state: state.into(),
                decided_by: "ben".into(),
                reason: "looks right".into(),
                version,
                ..waiting().approval.unwrap_or_default()
            })
        };
        let all = [("done", 5), ("done", 0), ("denied", 0), ("withdrawn", 0), ("outdated", 0), ("expired", 0)];
        let text: Vec<String> = all.into_iter().map(|(state, version)| ended(state, version)).collect();
        insta::assert_snapshot!("ended", text.join("\n"));
    }
}
