//! `hostlerctl alert`

use super::nodes::time;
use crate::cli::{AlertCommand, Format};
use crate::client::Client;
use crate::output::{Cell, Out, age, ago, plural};
use crate::problem::Problem;
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use hostler_types::terminal::sanitize;
use hostler_types::time::whole_millis;
use serde_json::json;

pub async fn run(mut client: Client, out: &Out, format: Format, command: AlertCommand) -> Result<(), Problem> {
    match command {
        AlertCommand::Ls { all } => {
            let answer = client.list_alerts(wire::ListAlertsRequest { all }).await?.into_inner();
            list(out, format, &answer)
        }
        AlertCommand::Show { name } => {
            let answer = client.get_alert(wire::GetAlertRequest { name }).await?.into_inner();
            show(out, format, &answer)
        }
        AlertCommand::Ack { name, for_, reason } => {
            let request = wire::AckAlertRequest { name, for_ms: whole_millis(for_), reason };
            let alert = client.ack_alert(request).await?.into_inner();
            let until = Timestamp::from_millis(alert.acked_until_ms);
            out.line(format!("{}: you see to it until {until}, and nobody is reminded before.", sanitize(&alert.name)))
        }
        AlertCommand::Silence { selector, check, for_, reason } => {
            let request = wire::CreateSilenceRequest {
                selector: selector.unwrap_or_default(),
                check: check.unwrap_or_default(),
                for_ms: whole_millis(for_),
                reason,
            };
            let made = client.create_silence(request).await?.into_inner();
            if format != Format::Table {
                return out.json(&silence_json(&made));
            }
            out.line(format!(
                "nobody is told of {} until {}; now that takes {}.",
                what(&made),
                Timestamp::from_millis(made.ends_at_ms),
                plural(made.takes as usize, "alert")
            ))?;
            out.line(format!("End it earlier:  hostlerctl alert unsilence {}", made.id))
        }
        AlertCommand::Unsilence { id } => {
            let ended = client.end_silence(wire::EndSilenceRequest { id }).await?.into_inner();
            out.line(format!("people are told of {} again.", what(&ended)))
        }
        AlertCommand::Silences => {
            let answer = client.list_silences(wire::ListSilencesRequest {}).await?.into_inner();
            silences(out, format, &answer)
        }
        AlertCommand::Test { notifier } => {
            let request = wire::TestNotifierRequest { notifier: notifier.clone() };
            let answer = client.test_notifier(request).await?.into_inner();
            tested(out, format, &notifier, &answer)
        }
    }
}

fn to_json(alert: &wire::Alert) -> serde_json::Value {
    json!({
        "name": alert.name,
        "node": alert.node,
        "check": alert.check,
        "state": alert.state,
        "severity": alert.severity,
        "summary": alert.summary,
        "opened_at": time(alert.opened_at_ms),
        "closed_at": (alert.closed_at_ms != 0).then(|| time(alert.closed_at_ms)),
        "openings": alert.openings,
        "told": alert.told,
        "acked_by": (!alert.acked_by.is_empty()).then_some(&alert.acked_by),
        "acked_until": (alert.acked_until_ms != 0).then(|| time(alert.acked_until_ms)),
        "ack_reason": alert.ack_reason,
        "silence": (!alert.silence.is_empty()).then_some(&alert.silence),
    })
}

/// Why nobody was told, or who was.
fn told(alert: &wire::Alert) -> String {
    match (alert.acked_by.as_str(), alert.silence.as_str(), alert.told.as_slice()) {
        _ if alert.closed_at_ms != 0 => "over".to_owned(),
        ("", "", []) => "nobody".to_owned(),
        ("", "", to) => to.join(","),
        ("", silence, _) => format!("silenced {silence}"),
        (by, ..) => format!("{by} sees to it"),
    }
}

fn list(out: &Out, format: Format, answer: &wire::ListAlertsResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.alerts.iter().map(to_json).collect::<Vec<_>>());
    }
    if answer.alerts.is_empty() {
        out.line("nothing is wrong.")?;
    } else {
        let row = |alert: &wire::Alert| {
            vec![
                Cell::new(&alert.name),
                Cell::state(&alert.state),
                Cell::new(&alert.severity),
                Cell::new(age(alert.opened_at_ms, answer.wall_ms)),
                Cell::new(told(alert)),
                Cell::new(&alert.summary),
            ]
        };
        let rows: Vec<_> = answer.alerts.iter().map(row).collect();
        out.print(&out.table(&["ALERT", "STATE", "URGENCY", "SINCE", "TOLD", "SUMMARY"], &rows))?;
    }
    if answer.waiting > 0 {
        let notices = plural(answer.waiting as usize, "notice");
        out.line(format!("{notices} on the way: hostlerctl alert show ALERT says why"))?;
    }
    Ok(())
}

fn show(out: &Out, format: Format, answer: &wire::GetAlertResponse) -> Result<(), Problem> {
    let alert = answer.alert.clone().unwrap_or_default();
    if format != Format::Table {
        let mut value = to_json(&alert);
        if let Some(map) = value.as_object_mut() {
            let waiting = |one: &wire::WaitingNotice| {
                json!({
                    "notifier": one.notifier,
                    "title": one.title,
                    "attempts": one.attempts,
                    "last_error": one.last_error,
                    "since": time(one.since_ms),
                })
            };
            let events = |event: &wire::Event| json!({"at": time(event.at_ms), "message": event.message});
            map.insert("waiting".into(), answer.waiting.iter().map(waiting).collect());
            map.insert("events".into(), answer.events.iter().map(events).collect());
        }
        return out.json(&value);
    }
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<9}{}\n", sanitize(value)));
        }
    };
    let since = age(alert.opened_at_ms, answer.wall_ms);
    field("alert", &alert.name);
    field("state", &if alert.closed_at_ms == 0 { format!("{} for {since}", alert.state) } else { "over".to_owned() });
    field("urgency", &alert.severity);
    field("summary", &alert.summary);
    field("told", &told(&alert));
    if alert.openings > 1 {
        field("came", &format!("{} times", alert.openings));
    }
    field("reason", &alert.ack_reason);
    for one in &answer.waiting {
        let tries =
            format!("{}, the first {}", plural(one.attempts as usize, "try"), ago(one.since_ms, answer.wall_ms));
        let tries = tries.replace("trys", "tries");
        field("waiting", &format!("{} ({tries}): {}", one.notifier, one.last_error));
    }
    for event in &answer.events {
        field("event", &format!("{}  {}", Timestamp::from_millis(event.at_ms), event.message));
    }
    out.print(&text)
}

fn what(silence: &wire::Silence) -> String {
    let selector = sanitize(&silence.selector);
    match silence.check.as_str() {
        "" if silence.selector == "all" => "anything".to_owned(),
        "" => selector.into_owned(),
        check if silence.selector == "all" => format!("check {}", sanitize(check)),
        check => format!("check {} on {selector}", sanitize(check)),
    }
}

fn silence_json(one: &wire::Silence) -> serde_json::Value {
    json!({
        "id": one.id,
        "where": one.selector,
        "check": (!one.check.is_empty()).then_some(&one.check),
        "reason": one.reason,
        "by": one.by,
        "ends_at": time(one.ends_at_ms),
        "takes": one.takes,
    })
}

fn silences(out: &Out, format: Format, answer: &wire::ListSilencesResponse) -> Result<(), Problem> {
    if format != Format::Table {
        return out.json(&answer.silences.iter().map(silence_json).collect::<Vec<_>>());
    }
    if answer.silences.is_empty() {
        return out.line("nothing is silenced.");
    }
    let row = |one: &wire::Silence| {
        vec![
            Cell::new(&one.id),
            Cell::new(what(one)),
            Cell::new(age(answer.wall_ms, one.ends_at_ms)),
            Cell::new(one.takes.to_string()),
            Cell::new(&one.by),
            Cell::new(&one.reason),
        ]
    };
    let rows: Vec<_> = answer.silences.iter().map(row).collect();
    out.print(&out.table(&["ID", "SILENCED", "ENDS IN", "ALERTS", "BY", "REASON"], &rows))
}

fn tested(out: &Out, format: Format, notifier: &str, answer: &wire::TestNotifierResponse) -> Result<(), Problem> {
    if format != Format::Table {
        out.json(&json!({
            "notifier": notifier,
            "taken": answer.taken,
            "target": answer.target,
            "answer": answer.answer,
            "took_ms": answer.took_ms,
        }))?;
    }
    let said = format!("{}, after {} ms: {}", sanitize(&answer.target), answer.took_ms, sanitize(&answer.answer));
    match (answer.taken, format) {
        (true, Format::Table) => out.line(format!("taken by {said}")),
        (true, _) => Ok(()),
        (false, _) => Err(Problem::Failed(format!("not taken by {said}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_or_why_nobody() {
        let alert = wire::Alert { told: vec!["ops".into(), "night".into()], ..wire::Alert::default() };
        assert_eq!(told(&wire::Alert::default()), "nobody");
        assert_eq!(told(&alert), "ops,night");
        assert_eq!(told(&wire::Alert { silence: "5f".into(), ..alert.clone() }), "silenced 5f");
        assert_eq!(told(&wire::Alert { acked_by: "ann".into(), ..alert.clone() }), "ann sees to it");
        assert_eq!(told(&wire::Alert { closed_at_ms: 1, ..alert }), "over");
    }

    #[test]
    fn what_is_silenced_in_words() {
        let silence = |selector: &str, check: &str| {
            what(&wire::Silence { selector: selector.into(), check: check.into(), ..wire::Silence::default() })
        };
        assert_eq!(silence("all", ""), "anything");
        assert_eq!(silence("role=db", ""), "role=db");
        assert_eq!(silence("all", "disk"), "check disk");
        assert_eq!(silence("role=db", "disk"), "check disk on role=db");
    }
}
