//! Alerts: what is wrong, who sees to it, and what nobody is to be told of.

use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::notices::{self, Board, Command, deliver};
use crate::pki::random;
use crate::records;
use hostler_core::notices::{Ack, Alert, Notice, Silence, Subject};
use hostler_proto::admin as wire;
use hostler_store::Txn;
use hostler_types::spec::nearest;
use hostler_types::units::format_duration;
use hostler_types::{Name, Selector, Timestamp};
use std::time::{Duration, Instant};
use tonic::Status;

/// Whoever needs longer than this has another problem than noise.
const SPAN_MAX: Duration = Duration::from_secs(30 * 86_400);
const REASON_CHARACTERS_MAX: usize = 200;
/// As long as a try from the outbox.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const EVENTS_SHOWN: usize = 10;
/// A silence is one record each, and is looked at for each alert.
const SILENCES_MAX: usize = 1_000;

fn to_wire(board: &Board, alert: &Alert, now: Timestamp) -> wire::Alert {
    let told = alert.told.as_ref();
    let ack = alert.ack.clone().filter(|ack| ack.until > now);
    let word = |name: Option<&Name>| name.map(ToString::to_string).unwrap_or_default();
    wire::Alert {
        name: alert.subject.to_string(),
        node: word(alert.subject.node()),
        check: word(alert.subject.check()),
        state: alert.state.word().to_owned(),
        severity: alert.severity.word().to_owned(),
        summary: alert.summary.clone(),
        opened_at_ms: alert.since.as_millis(),
        closed_at_ms: alert.closed_at.map_or(0, Timestamp::as_millis),
        openings: alert.openings,
        told: told.map(|told| told.to.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        told_at_ms: told.map_or(0, |told| told.at.as_millis()),
        acked_by: ack.as_ref().map(|ack| ack.by.clone()).unwrap_or_default(),
        acked_until_ms: ack.as_ref().map_or(0, |ack| ack.until.as_millis()),
        ack_reason: ack.map(|ack| ack.reason).unwrap_or_default(),
        silence: board.alerts.silence_of(&alert.subject, now).map(|one| one.id.clone()).unwrap_or_default(),
    }
}

fn silence_to_wire(board: &Board, silence: &Silence, now: Timestamp) -> wire::Silence {
    let takes = |alert: &&Alert| {
        alert.is_open() && board.alerts.silence_of(&alert.subject, now).is_some_and(|one| one.id == silence.id)
    };
    wire::Silence {
        id: silence.id.clone(),
        selector: silence.selector.to_string(),
        check: silence.check.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: silence.reason.clone(),
        by: silence.by.clone(),
        created_at_ms: silence.created_at.as_millis(),
        ends_at_ms: silence.ends_at.as_millis(),
        takes: u32::try_from(board.alerts.iter().filter(takes).count()).unwrap_or(u32::MAX),
    }
}

/// The worst first.
pub fn list(app: &App, request: &wire::ListAlertsRequest) -> wire::ListAlertsResponse {
    let now = clock::wall();
    let board = app.notices.board();
    let mut shown: Vec<&Alert> = board.alerts.iter().filter(|alert| request.all || alert.is_open()).collect();
    shown.sort_by_key(|alert| (!alert.is_open(), std::cmp::Reverse((alert.severity, alert.state)), alert.since));
    wire::ListAlertsResponse {
        alerts: shown.into_iter().map(|alert| to_wire(&board, alert, now)).collect(),
        wall_ms: now.as_millis(),
        waiting: u32::try_from(board.outbox.len()).unwrap_or(u32::MAX),
    }
}

fn find<'a>(board: &'a Board, name: &str) -> Result<&'a Alert, Status> {
    let found = Subject::parse(name).and_then(|subject| board.alerts.get(&subject));
    found.ok_or_else(|| {
        let names: Vec<String> = board.alerts.iter().map(|alert| alert.subject.to_string()).collect();
        let help = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("; did you mean {near}?"),
            None => "; hostlerctl alert ls --all shows them, by NODE, NODE/CHECK or SCHEDULE/NAME".to_owned(),
        };
        Status::not_found(format!("there is no alert {name:?}{help}"))
    })
}

pub fn get(app: &App, request: &wire::GetAlertRequest) -> Result<wire::GetAlertResponse, Status> {
    let now = clock::wall();
    let board = app.notices.board();
    let alert = find(&board, &request.name)?;
    let events = notices::about(&alert.subject).and_then(|filter| app.journal.list(&filter, None, EVENTS_SHOWN).ok());
    let of = format!("{}:", alert.subject);
    let waiting = board.outbox.iter().filter(|one| one.notice.id.starts_with(&of));
    Ok(wire::GetAlertResponse {
        alert: Some(to_wire(&board, alert, now)),
        events: events.unwrap_or_default().into_iter().map(super::events::to_wire).collect(),
        waiting: waiting
            .map(|one| wire::WaitingNotice {
                notifier: one.notifier.to_string(),
                title: one.notice.title.clone(),
                attempts: one.attempts,
                last_error: one.last_error.clone(),
                since_ms: one.since.as_millis(),
            })
            .collect(),
        wall_ms: now.as_millis(),
    })
}

fn span(ms: u64) -> Result<Duration, Status> {
    match Duration::from_millis(ms) {
        Duration::ZERO => Err(Status::invalid_argument("for: give a time above zero")),
        span if span > SPAN_MAX => {
            Err(Status::invalid_argument(format!("for may be at most {}", format_duration(SPAN_MAX))))
        }
        span => Ok(span),
    }
}

fn reason(text: &str) -> String {
    text.chars().take(REASON_CHARACTERS_MAX).collect()
}

async fn decide(app: &App, command: Command) -> Result<(), Status> {
    if app.notices.decide(command).await {
        return Ok(());
    }
    Err(Status::unavailable("the control plane is ending: try again"))
}

pub async fn ack(app: &App, operator: &str, request: wire::AckAlertRequest) -> Result<wire::Alert, Status> {
    let until = clock::wall().plus(span(request.for_ms)?);
    let subject = {
        let board = app.notices.board();
        let alert = find(&board, &request.name)?;
        if !alert.is_open() {
            return Err(Status::failed_precondition(format!("{} is over: there is nothing to see to", request.name)));
        }
        alert.subject.clone()
    };
    let ack = Ack { by: operator.to_owned(), until, reason: reason(&request.reason) };
    decide(app, Command::Ack(subject, ack)).await?;
    let board = app.notices.board();
    Ok(to_wire(&board, find(&board, &request.name)?, clock::wall()))
}

pub async fn silence(app: &App, operator: &str, request: wire::CreateSilenceRequest) -> Result<wire::Silence, Status> {
    let now = clock::wall();
    let ends_at = now.plus(span(request.for_ms)?);
    if request.selector.is_empty() && request.check.is_empty() {
        return Err(Status::invalid_argument(
            "say what is silenced: nodes by their labels, a check, or both (all: everything)",
        ));
    }
    let selector = match request.selector.as_str() {
        "" => Selector::all(),
        text => Selector::parse(text).map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    if selector.names_facts() {
        return Err(Status::invalid_argument(format!(
            "{selector} names facts, which a host claims itself: silence by labels, or name=NODE"
        )));
    }
    let check = match request.check.as_str() {
        "" => None,
        text => Some(Name::new(text).map_err(|error| Status::invalid_argument(format!("the check: {error}")))?),
    };
    if app.notices.board().alerts.silences().count() >= SILENCES_MAX {
        return Err(Status::resource_exhausted(format!("there are {SILENCES_MAX} silences: end some of them")));
    }
    let id = random::<4>().map_err(|error| Status::internal(error.to_string()))?;
    let id = data_encoding::HEXLOWER.encode(&id);
    let reason = reason(&request.reason);
    let made = Silence { id, selector, check, reason, by: operator.to_owned(), created_at: now, ends_at };
    decide(app, Command::Silence(made.clone())).await?;
    Ok(silence_to_wire(&app.notices.board(), &made, now))
}

pub fn silences(app: &App) -> wire::ListSilencesResponse {
    let now = clock::wall();
    let board = app.notices.board();
    let mut silences: Vec<&Silence> = board.alerts.silences().collect();
    silences.sort_by_key(|one| one.ends_at);
    wire::ListSilencesResponse {
        silences: silences.into_iter().map(|one| silence_to_wire(&board, one, now)).collect(),
        wall_ms: now.as_millis(),
    }
}

pub async fn end_silence(app: &App, request: &wire::EndSilenceRequest) -> Result<wire::Silence, Status> {
    let found = {
        let board = app.notices.board();
        let found = board.alerts.silences().find(|one| one.id == request.id);
        found.map(|one| silence_to_wire(&board, one, clock::wall()))
    };
    let found = found.ok_or_else(|| {
        Status::not_found(format!("there is no silence {:?}; hostlerctl alert silences shows them", request.id))
    })?;
    decide(app, Command::EndSilence(found.id.clone())).await?;
    Ok(found)
}

/// Past the outbox: whoever tests wants the other server's answer, now.
pub async fn test(
    app: &App,
    operator: &str,
    request: &wire::TestNotifierRequest,
) -> Result<wire::TestNotifierResponse, Status> {
    let name = Name::new(request.notifier.as_str())
        .map_err(|error| Status::invalid_argument(format!("the notifier's name: {error}")))?;
    let known = app.notices.board().alerts.rules().notifiers().clone();
    let way = notices::way(app, &name).map_err(|why| {
        if known.contains(&name) {
            return Status::failed_precondition(why);
        }
        let help = match nearest(name.as_str(), known.iter().map(Name::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => "hostlerctl get notifier shows them".to_owned(),
        };
        Status::not_found(format!("there is no notifier {name}; {help}"))
    })?;
    let id = random::<8>().map_err(|error| Status::internal(error.to_string()))?;
    let notice = Notice::test(format!("test:{}", data_encoding::HEXLOWER.encode(&id)), &name, operator, clock::wall());
    let started = Instant::now();
    let answer = tokio::time::timeout(TEST_TIMEOUT, deliver(app, &name, &way, &notice)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TEST_TIMEOUT.as_secs()).into()));
    let took_ms = hostler_types::time::whole_millis(started.elapsed());
    let (taken, answer) = match answer {
        Ok(answer) => (true, answer),
        Err(refusal) => (false, refusal.why),
    };
    if taken {
        let (key, record) = records::taken(&name, clock::wall());
        let kept = app.store.commit(Txn::new().put(key, record)).await.map_err(store_status)?;
        app.mirror.reach(kept).await;
    }
    Ok(wire::TestNotifierResponse { taken, answer, took_ms, target: way.target() })
}
