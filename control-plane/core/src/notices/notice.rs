//! An alert's notice.

use super::{Alert, Subject};
use crate::notices::State;
use hostler_types::notice::{Notice, SUMMARY_CHARACTERS_MAX, What, clip, time};
use hostler_types::units::format_age;
use hostler_types::{Event, Name, Timestamp};

/// Enough to see how it came about.
pub const EVENTS_MAX: usize = 3;

/// Of an alert, with what lately happened to its subject.
pub fn of_alert(what: What, alert: &Alert, events: &[Event], at: Timestamp) -> Notice {
    let id = format!("{}:{}:{}", alert.subject, alert.opened_at.as_millis(), alert.notices);
    let word = |name: Option<&Name>| name.map(ToString::to_string).unwrap_or_default();
    let over = matches!(what, What::Closed | What::Gone);
    let newest = events.len().saturating_sub(EVENTS_MAX);
    let line = |event: &Event| format!("{}  {}", time(event.at), clip(&event.message, SUMMARY_CHARACTERS_MAX));
    Notice {
        node: word(alert.subject.node()),
        check: word(alert.subject.check()),
        state: if over { "ok".to_owned() } else { alert.state.word().to_owned() },
        summary: clip(&alert.summary, SUMMARY_CHARACTERS_MAX),
        since: alert.since,
        events: events.iter().skip(newest).map(line).collect(),
        next: next(&alert.subject, over),
        ..Notice::new(id, what, alert.severity, &title(what, alert, at), at)
    }
}

fn title(what: What, alert: &Alert, at: Timestamp) -> String {
    let state = alert.state.word();
    let after = format_age(at.since(alert.since));
    let times = match alert.openings {
        0 | 1 => String::new(),
        count => format!(" ({count} times)"),
    };
    let who = match &alert.subject {
        Subject::Fleet => {
            return match what {
                What::Closed | What::Gone => format!("most of the fleet is back after {after}"),
                What::Still => format!("most of the fleet is still lost after {after}: control plane or network?"),
                _ => "most of the fleet is lost: control plane or network?".to_owned(),
            };
        }
        Subject::Cause(check) => {
            return match what {
                What::Closed | What::Gone => format!("check {check} fails on few nodes again, after {after}; it heals"),
                What::Still => format!("check {check} still fails on many nodes after {after}; healing on it waits"),
                _ => format!("{}: a common cause; healing on it waits", alert.summary),
            };
        }
        Subject::Schedule(schedule) => {
            let first = format_age(at.since(alert.opened_at));
            return match what {
                What::Closed => format!("schedule {schedule} succeeds again, {first} after it failed"),
                What::Gone => format!("schedule {schedule} is no more; its newest run had failed"),
                What::Still => format!("schedule {schedule} failed again, {first} after it first did"),
                _ => format!("schedule {schedule} failed{times}"),
            };
        }
        Subject::Node(node) => node.to_string(),
        Subject::Check { node, check } => format!("{check} on {node}"),
    };
    match what {
        What::Worse => format!("{who} is {state} now, which is worse{times}"),
        What::Still => format!("{who} is still {state} after {after}"),
        What::Closed if alert.state == State::Lost => format!("{who} is back after {after}"),
        What::Closed => format!("{who} is well again after {after}{times}"),
        What::Gone => format!("{who} is looked at no more; it was {state}"),
        _ => format!("{who} is {state}{times}"),
    }
}

fn next(subject: &Subject, over: bool) -> Vec<String> {
    let look = match subject {
        Subject::Fleet => "hostlerctl node ls".to_owned(),
        Subject::Cause(check) => format!("hostlerctl check show {check}"),
        Subject::Schedule(schedule) => format!("hostlerctl why schedule/{schedule}"),
        Subject::Node(node) => format!("hostlerctl node show {node}"),
        Subject::Check { node, check } => format!("hostlerctl check show {check} --node {node}"),
    };
    if over { vec![look] } else { vec![look, format!("hostlerctl alert ack {subject}")] }
}
