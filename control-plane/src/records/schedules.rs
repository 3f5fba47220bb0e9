//! What schedules did, at rest.

use super::{RecordError, decode, encode};
use bytes::Bytes;
use hostler_core::schedules::Ledger;
use hostler_proto::agent::TaskReport as WireReport;
use hostler_proto::store as rest;
use hostler_types::{Name, NodeId, TaskReport, Timestamp};
use prost::Message;

pub const SCHEDULES: &str = "/schedule/";
pub const FIRES: &str = "/schedule-fire/";
pub const ENDS: &str = "/schedule-end/";
pub const FAILURES: &str = "/schedule-failure/";

pub fn schedule_key(name: &Name) -> String {
    format!("{SCHEDULES}{name}")
}
pub fn fires_prefix(name: &Name) -> String {
    format!("{FIRES}{name}/")
}
pub fn fire_key(name: &Name, due: Timestamp) -> String {
    // Sorted as times are.
    format!("{FIRES}{name}/{:015}", due.as_millis())
}
pub fn ends_of(name: &Name) -> String {
    format!("{ENDS}{name}/")
}
pub fn ends_prefix(name: &Name, due: Timestamp) -> String {
    format!("{ENDS}{name}/{:015}/", due.as_millis())
}
pub fn end_key(name: &Name, due: Timestamp, node: &NodeId) -> String {
    format!("{}{node}", ends_prefix(name, due))
}

pub fn failure_key(name: &Name) -> String {
    format!("{FAILURES}{name}")
}

/// When that was due which a key is of.
pub fn due_of(key: &str) -> Option<(Name, Timestamp)> {
    let rest = key.strip_prefix(FIRES).or_else(|| key.strip_prefix(ENDS))?;
    let mut parts = rest.split('/');
    let name = Name::new(parts.next()?).ok()?;
    Some((name, Timestamp::from_millis(parts.next()?.parse().ok()?)))
}

/// By whose word it does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
}

/// What became of a time that was due, or of several of which the same is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fire {
    pub due: Timestamp,
    /// 0: none.
    pub run: u64,
    pub words: String,
    /// When it was decided.
    pub at: Timestamp,
    pub first: Timestamp,
    pub count: u32,
}

/// Why its newest time came to no success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// 0: none.
    pub run: u64,
    pub words: String,
    pub at: Timestamp,
}

/// What is known of a schedule beside its spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// But for what runs: the runs themselves are the truth about that.
    pub ledger: Ledger,
    pub paused: Option<Pause>,
    pub since: Timestamp,
    pub digest: String,
    pub last: Option<Fire>,
}

fn fire_at_rest(fire: &Fire) -> rest::ScheduleFire {
    rest::ScheduleFire {
        run: fire.run,
        words: fire.words.clone(),
        at_ms: fire.at.as_millis(),
        first_ms: fire.first.as_millis(),
        count: fire.count,
    }
}

fn fire_from_rest(due: Timestamp, one: rest::ScheduleFire) -> Fire {
    let rest::ScheduleFire { run, words, at_ms, first_ms, count } = one;
    Fire { due, run, words, at: Timestamp::from_millis(at_ms), first: Timestamp::from_millis(first_ms), count }
}

pub fn encode_fire(fire: &Fire) -> Bytes {
    encode(&fire_at_rest(fire))
}

pub fn decode_fire(key: &str, bytes: &[u8]) -> Result<Fire, RecordError> {
    let damaged = |problem: &str| RecordError::Damaged { key: key.to_owned(), problem: problem.to_owned() };
    let (_, due) = due_of(key).ok_or_else(|| damaged("its key names no time"))?;
    Ok(fire_from_rest(due, decode(key, bytes)?))
}

pub fn encode_schedule(record: &Record) -> Bytes {
    let paused = record.paused.as_ref();
    encode(&rest::Schedule {
        mark_ms: record.ledger.mark.map_or(0, Timestamp::as_millis),
        waiting_ms: record.ledger.waiting.iter().map(|at| at.as_millis()).collect(),
        paused: paused.is_some(),
        paused_by: paused.map(|one| one.by.clone()).unwrap_or_default(),
        paused_reason: paused.map(|one| one.reason.clone()).unwrap_or_default(),
        paused_at_ms: paused.map_or(0, |one| one.at.as_millis()),
        since_ms: record.since.as_millis(),
        spec_digest: record.digest.clone(),
        last_due_ms: record.last.as_ref().map_or(0, |fire| fire.due.as_millis()),
        last: record.last.as_ref().map(fire_at_rest),
    })
}

pub fn decode_schedule(key: &str, bytes: &[u8]) -> Result<Record, RecordError> {
    let one: rest::Schedule = decode(key, bytes)?;
    let time = Timestamp::from_millis;
    let (by, reason, at) = (one.paused_by, one.paused_reason, time(one.paused_at_ms));
    Ok(Record {
        ledger: Ledger {
            mark: (one.mark_ms != 0).then(|| time(one.mark_ms)),
            waiting: one.waiting_ms.into_iter().map(time).collect(),
            ..Ledger::default()
        },
        paused: one.paused.then_some(Pause { by, reason, at }),
        since: time(one.since_ms),
        digest: one.spec_digest,
        last: one.last.map(|last| fire_from_rest(time(one.last_due_ms), last)),
    })
}

pub fn encode_failure(failure: &Failure) -> Bytes {
    let Failure { run, words, at } = failure;
    encode(&rest::ScheduleFailure { run: *run, words: words.clone(), at_ms: at.as_millis() })
}

pub fn decode_failure(key: &str, bytes: &[u8]) -> Result<(Name, Failure), RecordError> {
    let damaged = |problem: &str| RecordError::Damaged { key: key.to_owned(), problem: problem.to_owned() };
    let name = key.strip_prefix(FAILURES).and_then(|name| Name::new(name).ok());
    let rest::ScheduleFailure { run, words, at_ms } = decode(key, bytes)?;
    let failure = Failure { run, words, at: Timestamp::from_millis(at_ms) };
    Ok((name.ok_or_else(|| damaged("its key names no schedule"))?, failure))
}

pub fn encode_end(report: &TaskReport) -> Bytes {
    encode(&rest::ScheduleEnd { report: WireReport::from(report).encode_to_vec() })
}

pub fn decode_end(key: &str, bytes: &[u8]) -> Result<(NodeId, TaskReport), RecordError> {
    let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
    let one: rest::ScheduleEnd = decode(key, bytes)?;
    let node = key.rsplit('/').next().and_then(|text| NodeId::parse(text).ok());
    let wire = WireReport::decode(one.report.as_slice()).map_err(|error| damaged(error.to_string()))?;
    let report = TaskReport::try_from(wire).map_err(|error| damaged(error.to_string()))?;
    Ok((node.ok_or_else(|| damaged("its key names no node".to_owned()))?, report))
}

/// A fire that becomes a run, as it is kept with it once the run has its number.
#[derive(Clone, Debug)]
pub struct Begun {
    pub name: Name,
    /// With the fire decided.
    pub record: Record,
    pub fire: Fire,
}

impl Begun {
    pub fn records(self, run: u64) -> Vec<(String, Bytes)> {
        let fire = Fire { run, ..self.fire };
        let record = Record { last: Some(fire.clone()), ..self.record };
        vec![(schedule_key(&self.name), encode_schedule(&record)), (fire_key(&self.name, fire.due), encode_fire(&fire))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::{TaskId, TaskState};

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn records_read_back() {
        let name = Name::new("patch").expect("a name");
        let fire = Fire { due: at(60), run: 7, words: "late".into(), at: at(61), first: at(60), count: 1 };
        let record = Record {
            ledger: Ledger { mark: Some(at(60)), waiting: [at(30)].into(), ..Ledger::default() },
            paused: Some(Pause { by: "ada".into(), reason: "move".into(), at: at(5) }),
            since: at(3),
            digest: "d".into(),
            last: Some(fire.clone()),
        };
        let key = schedule_key(&name);
        assert_eq!(decode_schedule(&key, &encode_schedule(&record)).expect("reads"), record);
        let plain = Record::default();
        assert_eq!(decode_schedule(&key, &encode_schedule(&plain)).expect("reads"), plain);
        let key = fire_key(&name, fire.due);
        assert_eq!(decode_fire(&key, &encode_fire(&fire)).expect("reads"), fire);
        assert!(fire_key(&name, at(9)) < fire_key(&name, at(10)));
        let failure = Failure { run: 7, words: "1 failed".into(), at: at(70) };
        let key = failure_key(&name);
        assert_eq!(decode_failure(&key, &encode_failure(&failure)).expect("reads"), (name.clone(), failure));
        let node = NodeId::from_random([3; 10]);
        let report = TaskReport::new(TaskId::of_fire(&name, at(60)), TaskState::Succeeded, at(62), "");
        let key = end_key(&name, at(60), &node);
        assert_eq!(decode_end(&key, &encode_end(&report)).expect("reads"), (node, report));
        assert_eq!(due_of(&key), Some((name.clone(), at(60))));
        let begun = Begun { name: name.clone(), record, fire: Fire { run: 0, ..fire } }.records(9);
        assert!(begun.iter().any(|(key, _)| *key == fire_key(&name, at(60))));
    }
}
