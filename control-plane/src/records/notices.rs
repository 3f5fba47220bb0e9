//! Alerts, silences and waiting notices at rest.

use super::{ALERTS, RecordError, SILENCES, WAITING, decode, encode};
use bytes::Bytes;
use hostler_core::notices::{Ack, Alert, Notice, Silence, State, Subject, Told, Waiting, What};
use hostler_proto::store as rest;
use hostler_types::notice::parse_severity;
use hostler_types::{Name, Selector, Timestamp};
use std::collections::BTreeSet;

pub fn alert_key(subject: &Subject) -> String {
    // A node's own alert sorts before those of its checks, and the fleet's before all.
    format!("{ALERTS}{subject}")
}
pub fn silence_key(id: &str) -> String {
    format!("{SILENCES}{id}")
}
pub fn waiting_key(number: u64) -> String {
    // Sorted as numbers are.
    format!("{WAITING}{number:020}")
}

fn names(texts: Vec<String>) -> BTreeSet<Name> {
    texts.into_iter().filter_map(|text| Name::new(text).ok()).collect()
}

fn some_time(ms: u64) -> Option<Timestamp> {
    (ms != 0).then(|| Timestamp::from_millis(ms))
}

pub fn encode_alert(alert: &Alert) -> Bytes {
    let word = |name: Option<&Name>| name.map(ToString::to_string).unwrap_or_default();
    let millis = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_millis);
    let told = alert.told.as_ref();
    let ack = alert.ack.clone();
    encode(&rest::Alert {
        node: word(alert.subject.node()),
        check: word(alert.subject.check()),
        fleet: matches!(alert.subject, Subject::Fleet | Subject::Cause(_)),
        state: alert.state.word().to_owned(),
        severity: alert.severity.word().to_owned(),
        summary: alert.summary.clone(),
        since_ms: alert.since.as_millis(),
        opened_at_ms: alert.opened_at.as_millis(),
        closed_at_ms: millis(alert.closed_at),
        openings: alert.openings,
        notices: alert.notices,
        told_state: told.map(|told| told.state.word().to_owned()).unwrap_or_default(),
        told_severity: told.map(|told| told.severity.word().to_owned()).unwrap_or_default(),
        told: told.map(|told| told.to.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        told_at_ms: millis(told.map(|told| told.at)),
        told_closed_at_ms: millis(alert.told_closed_at),
        acked_until_ms: millis(ack.as_ref().map(|ack| ack.until)),
        acked_by: ack.as_ref().map(|ack| ack.by.clone()).unwrap_or_default(),
        ack_reason: ack.map(|ack| ack.reason).unwrap_or_default(),
        tell: alert.tell.iter().map(ToString::to_string).collect(),
    })
}

pub fn decode_alert(key: &str, bytes: &[u8]) -> Result<Alert, RecordError> {
    let one: rest::Alert = decode(key, bytes)?;
    let damaged = |problem: &str| RecordError::Damaged { key: key.to_owned(), problem: problem.to_owned() };
    let text = key.strip_prefix(ALERTS).unwrap_or_default();
    let told = State::parse(&one.told_state).map(|state| Told {
        state,
        severity: parse_severity(&one.told_severity),
        to: names(one.told),
        at: Timestamp::from_millis(one.told_at_ms),
    });
    let ack = some_time(one.acked_until_ms).map(|until| Ack { by: one.acked_by, until, reason: one.ack_reason });
    Ok(Alert {
        subject: Subject::parse(text).ok_or_else(|| damaged("its key names nothing"))?,
        state: State::parse(&one.state).ok_or_else(|| damaged("its state has no such word"))?,
        severity: parse_severity(&one.severity),
        tell: names(one.tell),
        summary: one.summary,
        since: Timestamp::from_millis(one.since_ms),
        opened_at: Timestamp::from_millis(one.opened_at_ms),
        closed_at: some_time(one.closed_at_ms),
        openings: one.openings,
        notices: one.notices,
        told,
        told_closed_at: some_time(one.told_closed_at_ms),
        ack,
    })
}

/// The selector as it was written: it has no other form.
pub fn encode_silence(silence: &Silence) -> Bytes {
    encode(&rest::Silence {
        id: silence.id.clone(),
        selector: silence.selector.to_string(),
        check: silence.check.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: silence.reason.clone(),
        by: silence.by.clone(),
        created_at_ms: silence.created_at.as_millis(),
        ends_at_ms: silence.ends_at.as_millis(),
    })
}

pub fn decode_silence(key: &str, bytes: &[u8]) -> Result<Silence, RecordError> {
    let one: rest::Silence = decode(key, bytes)?;
    let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
    Ok(Silence {
        id: one.id,
        selector: Selector::parse(&one.selector).map_err(|error| damaged(error.to_string()))?,
        check: Name::new(one.check).ok(),
        reason: one.reason,
        by: one.by,
        created_at: Timestamp::from_millis(one.created_at_ms),
        ends_at: Timestamp::from_millis(one.ends_at_ms),
    })
}

pub fn encode_waiting(waiting: &Waiting) -> Bytes {
    let notice = waiting.notice.clone();
    encode(&rest::Waiting {
        number: waiting.number,
        notifier: waiting.notifier.to_string(),
        notice: Some(rest::Notice {
            id: notice.id,
            what: notice.what.word().to_owned(),
            severity: notice.severity.word().to_owned(),
            node: notice.node,
            check: notice.check,
            state: notice.state,
            title: notice.title,
            summary: notice.summary,
            since_ms: notice.since.as_millis(),
            at_ms: notice.at.as_millis(),
            events: notice.events,
            next: notice.next,
            titles: notice.titles,
            count: notice.count,
        }),
        attempts: waiting.attempts,
        since_ms: waiting.since.as_millis(),
        last_error: waiting.last_error.clone(),
        closed: waiting.closed,
    })
}

pub fn decode_waiting(key: &str, bytes: &[u8]) -> Result<Waiting, RecordError> {
    let one: rest::Waiting = decode(key, bytes)?;
    let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
    let notice = one.notice.unwrap_or_default();
    Ok(Waiting {
        number: one.number,
        notifier: Name::new(one.notifier).map_err(|error| damaged(error.to_string()))?,
        notice: Notice {
            what: What::parse(&notice.what).unwrap_or(What::Event),
            id: notice.id,
            severity: parse_severity(&notice.severity),
            node: notice.node,
            check: notice.check,
            state: notice.state,
            title: notice.title,
            summary: notice.summary,
            since: Timestamp::from_millis(notice.since_ms),
            at: Timestamp::from_millis(notice.at_ms),
            events: notice.events,
            next: notice.next,
            titles: notice.titles,
            count: notice.count,
        },
        attempts: one.attempts,
        since: Timestamp::from_millis(one.since_ms),
        last_error: one.last_error,
        closed: one.closed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::notice::TITLES_MAX;
    use hostler_types::spec::Severity;

    fn alert() -> Alert {
        let at = Timestamp::from_millis;
        Alert {
            subject: Subject::parse("web1/disk").expect("a subject"),
            state: State::Critical,
            severity: Severity::Page,
            tell: [Name::new("night").expect("a name")].into(),
            summary: "/ 95 % used".into(),
            since: at(1),
            opened_at: at(2),
            closed_at: Some(at(3)),
            openings: 4,
            notices: 5,
            told: Some(Told {
                state: State::Unknown,
                severity: Severity::Info,
                to: [Name::new("ops").expect("a name")].into(),
                at: at(6),
            }),
            told_closed_at: Some(at(7)),
            ack: Some(Ack { by: "ann".into(), until: at(8), reason: "on it".into() }),
        }
    }

    #[test]
    fn alerts_and_silences_read_back() {
        let alert = alert();
        let bytes = encode_alert(&alert);
        assert_eq!(decode_alert("/alert/web1/disk", &bytes).expect("reads back"), alert);
        let silence = Silence {
            id: "s1".into(),
            selector: Selector::parse("role in (a, b), os=x").expect("a selector"),
            check: None,
            reason: "works".into(),
            by: "ann".into(),
            created_at: Timestamp::from_millis(1),
            ends_at: Timestamp::from_millis(2),
        };
        let bytes = encode_silence(&silence);
        assert_eq!(decode_silence("/silence/s1", &bytes).expect("reads back"), silence);
    }

    #[test]
    fn the_longest_storm_reads_back_and_fits_into_a_value_of_the_store() {
        let notice = hostler_core::notices::notice::of_alert(
            What::Opened,
            &Alert { summary: "\u{1}".repeat(5_000), ..alert() },
            &[],
            Timestamp::from_millis(9),
        );
        let mut storm = Notice::storm(&notice);
        let long = Notice { title: "\u{10ffff}".repeat(160), ..notice };
        for _ in 0..TITLES_MAX + 5 {
            storm.add(&long);
        }
        let waiting = Waiting {
            number: 7,
            notifier: Name::new("ops").expect("a name"),
            notice: storm,
            attempts: 3,
            since: Timestamp::from_millis(1),
            last_error: "x".repeat(500),
            closed: true,
        };
        let bytes = encode_waiting(&waiting);
        assert!(bytes.len() < hostler_store::VALUE_BYTES_MAX, "{}", bytes.len());
        assert_eq!(decode_waiting(&waiting_key(7), &bytes).expect("reads back"), waiting);
    }
}
