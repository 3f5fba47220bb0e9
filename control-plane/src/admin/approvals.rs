//! What waits for a second person: looked at, and decided.

use super::specs;
use crate::access::{self, Caller, in_system, on_node};
use crate::app::App;
use crate::approvals::acts::{Act, Weight};
use crate::approvals::{self, Approved, Hand, cut, digest, who_may};
use crate::audit::Call;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, approval_key};
use crate::world::World;
use hostler_core::access::{Ask, Noun, Place, Verb};
use hostler_core::approvals::{Question, Refusal, State, Verdict, decide as judge};
use hostler_proto::admin as wire;
use hostler_proto::store as rest;
use hostler_store::Revision;
use hostler_types::spec::{Kind, nearest};
use hostler_types::{Name, Timestamp};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Below every time-out on the way; whoever waits longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Names in an answer; the rest is counted.
const APPROVERS_NAMED: usize = 5;

fn to_wire(id: &str, record: &rest::Approval) -> wire::Approval {
    wire::Approval {
        id: id.to_owned(),
        call: record.call.clone(),
        state: record.state.clone(),
        by: record.by.clone(),
        at_ms: record.at_ms,
        expires_at_ms: record.expires_at_ms,
        summary: record.summary.clone(),
        nodes: record.nodes,
        named: record.named.clone(),
        more: record.more,
        message: record.message.clone(),
        decided_by: record.decided_by.clone(),
        decided_at_ms: record.decided_at_ms,
        reason: record.reason.clone(),
        version: record.version,
    }
}

fn waits(record: &rest::Approval) -> bool {
    record.state == State::Waiting.word()
}

/// Whoever asked, and whoever may look at what it is on.
fn may_look(world: &World, caller: &Caller, record: &rest::Approval) -> bool {
    let read = |kind| Ask::new(Verb::Read, Noun::Spec(kind));
    let within = |ask| match Name::new(&record.system) {
        Ok(system) => access::may(world, caller, &in_system(ask, &system)),
        Err(_) => access::may(world, caller, &ask),
    };
    record.by == caller.name()
        || match record.noun.as_str() {
            "system" => access::may(world, caller, &read(Kind::System).within(Place::System(&record.system))),
            "secret" => within(read(Kind::Secret)),
            "plugin" => access::may(world, caller, &read(Kind::Plugin)),
            _ => match world.find(&record.name) {
                Some(member) => {
                    access::may(world, caller, &on_node(read(Kind::Node), member.name.as_str(), &world.labels(member)))
                }
                None => access::may(world, caller, &read(Kind::Node)),
            },
        }
}

/// What waits the longest first, then what was decided, the newest first.
pub fn list(app: &App, caller: &Caller, request: &wire::ListApprovalsRequest) -> wire::ListApprovalsResponse {
    let world = app.mirror.now();
    let shown = world.approvals.iter().filter(|(_, one)| request.all || waits(one));
    let mut shown: Vec<_> = shown.filter(|(_, one)| may_look(&world, caller, one)).collect();
    shown.sort_by_key(|(_, one)| match waits(one) {
        true => (false, one.at_ms),
        false => (true, u64::MAX - one.decided_at_ms),
    });
    let approvals = shown.into_iter().map(|(id, one)| to_wire(id, one)).collect();
    wire::ListApprovalsResponse { approvals, wall_ms: clock::wall().as_millis() }
}

fn find(world: &World, caller: &Caller, id: &str) -> Result<Arc<rest::Approval>, Status> {
    let found = world.approvals.get(id).filter(|one| may_look(world, caller, one));
    found.cloned().ok_or_else(|| {
        let seen = world.approvals.iter().filter(|(_, one)| may_look(world, caller, one));
        let help = match nearest(id, seen.map(|(id, _)| id.as_str())) {
            Some(near) => format!("; did you mean {near}?"),
            None => "; hostlerctl approve ls --all shows them".to_owned(),
        };
        Status::not_found(format!("nothing waits as {id:?}{help}"))
    })
}

/// What was asked for, and what it would do now; or why it can't be done any more.
async fn weighed(app: &App, world: &World, record: &rest::Approval) -> Result<(Act, Weight), String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("what was asked for can't be read: {error}");
    let bytes = app.documents.get(&record.body).map_err(|error| unreadable(&error))?;
    let bytes = bytes.ok_or_else(|| "what was asked for is gone".to_owned())?;
    if crate::pki::sha256_hex(&bytes) != record.body {
        return Err("what was asked for is damaged".to_owned());
    }
    let body = rest::ApprovalBody::decode(bytes.as_slice()).map_err(|error| unreadable(&error))?;
    let act = Act::of(app, &record.call, &body)?;
    let weight = act.weigh(app, world).await.map_err(|status| status.message().to_owned())?;
    Ok((act, weight))
}

fn is_same(record: &rest::Approval, weight: &Weight) -> Result<(), String> {
    match &weight.trouble {
        Some(trouble) => Err(trouble.clone()),
        None if digest(&weight.weighed.basis) == record.basis => Ok(()),
        None => Err("what it was planned against has changed since, and it would do something else now".to_owned()),
    }
}

pub async fn get(
    app: &App,
    caller: &Caller,
    request: &wire::GetApprovalRequest,
) -> Result<wire::GetApprovalResponse, Status> {
    let mut record = find(&app.mirror.now(), caller, &request.id)?;
    let wait = Duration::from_millis(request.wait_ms).min(WAIT_MAX);
    if waits(&record) && !wait.is_zero() {
        let mut commits = app.mirror.follow();
        let decided = async {
            while app.mirror.now().approvals.get(&request.id).is_some_and(|one| waits(one)) {
                // The mirror lives as long as the control plane.
                if commits.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = decided => {}
            () = tokio::time::sleep(wait) => {}
            () = app.stop.cancelled() => return Err(Status::unavailable("the control plane is ending: ask again")),
        }
        record = find(&app.mirror.now(), caller, &request.id)?;
    }
    let world = app.mirror.now();
    let mut answer = wire::GetApprovalResponse {
        approval: Some(to_wire(&request.id, &record)),
        wall_ms: clock::wall().as_millis(),
        ..wire::GetApprovalResponse::default()
    };
    if !waits(&record) {
        return Ok(answer);
    }
    match weighed(app, &world, &record).await {
        Err(why) => answer.outdated = why,
        Ok((_, mut weight)) => {
            answer.outdated = is_same(&record, &weight).err().unwrap_or_default();
            let approvers = who_may(&world, &weight, &record.by);
            answer.approvers_count = u32::try_from(approvers.len()).unwrap_or(u32::MAX);
            answer.approvers = approvers.into_iter().take(APPROVERS_NAMED).collect();
            if let Some((system, env, plan)) = weight.plans.pop()
                && specs::may_all(&world, caller, Verb::Read, &system, &plan.changes).is_ok()
            {
                answer.plan = Some(specs::plan_to_wire(app, &world, &system, env, plan));
            }
        }
    }
    Ok(answer)
}

pub async fn decide(
    app: &App,
    caller: &Caller,
    call: &Call,
    request: wire::DecideApprovalRequest,
) -> Result<wire::Approval, Status> {
    let _turn = app.approvals_turn.lock().await;
    find(&app.mirror.now(), caller, &request.id)?;
    let (record, modified) = newest(app, &request.id).await?;
    call.on("operator", &record.by);
    call.on(&record.noun, &record.name);
    let (world, now) = (app.mirror.now(), clock::wall());
    let weighed = if waits(&record) { weighed(app, &world, &record).await } else { Err(String::new()) };
    let right = |caller: &Caller| match &weighed {
        Ok((_, weight)) => weight.right(&world, caller),
        Err(_) => access::require_call(&world, caller, &record.call),
    };
    let asker = approvals::asker(&world, &record, now);
    let words = |status: Status| status.message().to_owned();
    let verdict = judge(Question {
        state: State::parse(&record.state).unwrap_or(State::Expired),
        expires_at: Timestamp::from_millis(record.expires_at_ms),
        now,
        asked_by: &record.by,
        decided_by: caller.name(),
        yes: request.yes,
        asker_may: asker.as_ref().map_err(Status::clone).and_then(right).map_err(words),
        decider_may: right(caller).map_err(words),
        is_same: weighed.as_ref().map_err(String::clone).and_then(|(_, weight)| is_same(&record, weight)),
    });
    let decided = |state: State| rest::Approval {
        state: state.word().to_owned(),
        decided_by: caller.name().to_owned(),
        decided_at_ms: now.as_millis(),
        reason: cut(&request.reason),
        ..record.clone()
    };
    match verdict {
        Verdict::Refuse(why @ (Refusal::Decided(_) | Refusal::Expired(..))) => {
            Err(Status::failed_precondition(format!("{}: {why}", request.id)))
        }
        Verdict::Refuse(why) => Err(Status::permission_denied(format!("{}: {why}", request.id))),
        Verdict::Close(state) => {
            let closed = approvals::close(app, &request.id, modified, decided(state)).await?;
            Ok(to_wire(&request.id, &closed))
        }
        Verdict::CloseOutdated(why) => {
            let closed = rest::Approval { reason: cut(&why), ..decided(State::Outdated) };
            approvals::close(app, &request.id, modified, closed).await?;
            Err(Status::failed_precondition(format!("nothing was done: {why}; let {} ask for it again", record.by)))
        }
        Verdict::CarryOut => {
            let (act, _) = weighed.map_err(Status::internal)?;
            let done = rest::Approval { body: String::new(), ..decided(State::Done) };
            let hand = Hand::approved(asker?, Approved { id: request.id.clone(), modified, done: done.clone() });
            let version = act.carry_out(app, &hand, call).await?;
            app.documents.remove(&record.body);
            Ok(to_wire(&request.id, &rest::Approval { version, ..done }))
        }
    }
}

/// From the store: it is what the decision is held against.
async fn newest(app: &App, id: &str) -> Result<(rest::Approval, Revision), Status> {
    let key = approval_key(id);
    let entry = app.store.get(&key).await.map_err(store_status)?;
    let entry = entry.ok_or_else(|| Status::not_found(format!("nothing waits as {id:?} any more")))?;
    let record = records::decode(&key, &entry.value).map_err(|error| Status::data_loss(error.to_string()))?;
    app.mirror.reach(entry.modified).await;
    Ok((record, entry.modified))
}
