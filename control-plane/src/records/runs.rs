//! Runs, their tasks and what was decided about them, at rest.

use super::{RecordError, decode, encode};
use crate::blobs::is_digest;
use bytes::Bytes;
use hostler_core::runs::{Fire, Note, Order, Run, RunState, Task};
use hostler_proto::agent::TaskStep as WireStep;
use hostler_proto::store as rest;
use hostler_types::fetch::Taken;
use hostler_types::time::whole_millis;
use hostler_types::{FetchPath, Name, NodeId, TaskFile, TaskId, TaskReport, TaskState, TaskStep, Timestamp};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const RUNS: &str = "/run/";
pub const RUN_TASKS: &str = "/run-task/";
pub const RUN_NOTES: &str = "/run-note/";
/// The number of the newest run: runs go, and their numbers do not come again.
pub const RUN_NUMBER: &str = "/meta/run-number";

pub fn run_key(number: u64) -> String {
    // Sorted as numbers are.
    format!("{RUNS}{number:020}")
}
pub fn run_tasks_prefix(number: u64) -> String {
    format!("{RUN_TASKS}{number:020}/")
}
pub fn run_task_key(number: u64, node: &NodeId) -> String {
    format!("{}{node}", run_tasks_prefix(number))
}
pub fn run_notes_prefix(number: u64) -> String {
    format!("{RUN_NOTES}{number:020}/")
}
pub fn run_note_key(number: u64, count: usize) -> String {
    format!("{}{count:06}", run_notes_prefix(number))
}

/// A run as it is kept, without its tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub order: Order,
    pub steps: Vec<TaskStep>,
    pub state: RunState,
    pub words: String,
    pub nodes: u32,
    pub ended: Option<Timestamp>,
    pub extra: Extra,
}

/// What only people and the calendar ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    pub system: String,
    pub schedule: String,
    pub due: Option<Timestamp>,
    /// The run whose failed nodes it tries again; 0: none.
    pub retries: u64,
    /// Services that a node does not have: it leaves their steps out.
    pub absent: BTreeMap<NodeId, BTreeSet<Name>>,
}

impl Extra {
    /// What the node is asked to do of that.
    pub fn steps_of(&self, node: &NodeId, steps: &[TaskStep]) -> Vec<TaskStep> {
        let absent = self.absent.get(node);
        let here = |step: &&TaskStep| match step {
            TaskStep::Service { service, .. } => !absent.is_some_and(|absent| absent.contains(service)),
            _ => true,
        };
        steps.iter().filter(here).cloned().collect()
    }
}

fn some_time(ms: u64) -> Option<Timestamp> {
    (ms != 0).then(|| Timestamp::from_millis(ms))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub fn encode_run(run: &Run, steps: &[TaskStep], extra: &Extra) -> Bytes {
    let order = &run.order;
    encode(&rest::Run {
        title: order.title.clone(),
        by: order.by.clone(),
        reason: order.reason.clone(),
        at_ms: order.at.as_millis(),
        origin: order.origin.clone(),
        steps: steps.iter().map(|step| WireStep::from(step).encode_to_vec()).collect(),
        steps_digest: String::new(),
        max: count(order.max),
        max_errors: count(order.max_errors),
        canary: count(order.canary),
        jitter_ms: whole_millis(order.jitter),
        timeout_ms: whole_millis(order.timeout),
        deadline_ms: order.deadline.map_or(0, whole_millis),
        chosen: order.chosen.clone(),
        nodes: count(run.tasks.len()),
        state: run.state.word().to_owned(),
        words: run.words.clone(),
        ended_ms: run.ended.map_or(0, Timestamp::as_millis),
        schedule: extra.schedule.clone(),
        due_ms: extra.due.map_or(0, Timestamp::as_millis),
        retries: extra.retries,
        task_id: order.task.to_string(),
        begin_by_ms: order.begin_by.map_or(0, Timestamp::as_millis),
        system: extra.system.clone(),
        absent: extra
            .absent
            .iter()
            .flat_map(|(node, names)| names.iter().map(move |name| format!("{node} {name}")))
            .collect(),
        alone: order.fire.as_ref().is_some_and(|fire| fire.alone),
        only_on_time: order.fire.as_ref().is_some_and(|fire| fire.only_on_time),
    })
}

pub fn decode_run(key: &str, bytes: &[u8]) -> Result<Header, RecordError> {
    let one: rest::Run = decode(key, bytes)?;
    let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
    let number = key.strip_prefix(RUNS).and_then(|text| text.parse().ok());
    let step = |bytes: &Vec<u8>| {
        let wire = WireStep::decode(bytes.as_slice()).map_err(|error| damaged(error.to_string()))?;
        TaskStep::try_from(wire).map_err(|error| damaged(error.to_string()))
    };
    let steps: Vec<TaskStep> = one.steps.iter().map(step).collect::<Result<_, _>>()?;
    let order = Order {
        number: number.ok_or_else(|| damaged("its key names no run".to_owned()))?,
        task: TaskId::parse(&one.task_id).map_err(|error| damaged(error.to_string()))?,
        title: one.title,
        by: one.by,
        reason: one.reason,
        at: Timestamp::from_millis(one.at_ms),
        origin: one.origin,
        chosen: one.chosen,
        max: one.max as usize,
        max_errors: one.max_errors as usize,
        canary: one.canary as usize,
        jitter: Duration::from_millis(one.jitter_ms),
        timeout: Duration::from_millis(one.timeout_ms),
        deadline: (one.deadline_ms > 0).then(|| Duration::from_millis(one.deadline_ms)),
        begin_by: some_time(one.begin_by_ms),
        fire: some_time(one.due_ms).zip(Name::new(one.schedule.as_str()).ok()).map(|(at, schedule)| Fire {
            schedule,
            at,
            alone: one.alone,
            only_on_time: one.only_on_time,
        }),
        disturbs: steps.iter().any(TaskStep::disturbs),
        settles: TaskStep::leave_unsettled(&steps),
    };
    Ok(Header {
        order,
        steps,
        state: RunState::from_word(&one.state).ok_or_else(|| damaged(format!("the state {:?}", one.state)))?,
        words: one.words,
        nodes: one.nodes,
        ended: some_time(one.ended_ms),
        extra: Extra {
            system: one.system,
            schedule: one.schedule,
            due: some_time(one.due_ms),
            retries: one.retries,
            absent: absent_of(&one.absent).ok_or_else(|| damaged("a node that leaves services out".to_owned()))?,
        },
    })
}

fn absent_of(lines: &[String]) -> Option<BTreeMap<NodeId, BTreeSet<Name>>> {
    let mut absent = BTreeMap::<NodeId, BTreeSet<Name>>::new();
    for line in lines {
        let (node, name) = line.split_once(' ')?;
        absent.entry(NodeId::parse(node).ok()?).or_default().insert(Name::new(name).ok()?);
    }
    Some(absent)
}

pub fn encode_task(task: &Task) -> Bytes {
    let report = &task.report;
    encode(&rest::RunTask {
        node: task.name.to_string(),
        place: task.place,
        state: report.state.word().to_owned(),
        at_ms: report.at.as_millis(),
        offered_ms: task.offered.map_or(0, Timestamp::as_millis),
        began_ms: report.began.map_or(0, Timestamp::as_millis),
        done: report.done,
        words: report.words.clone(),
        exit: report.exit,
        output: report.output.clone(),
        output_cut_bytes: report.output_cut_bytes,
        changed: report.changed,
        files: report.files.iter().map(encode_file).collect(),
    })
}

fn encode_file(file: &TaskFile) -> rest::RunFile {
    let path = file.path.to_string();
    match &file.taken {
        Ok(Taken { bytes, digest }) => {
            rest::RunFile { path, size_bytes: *bytes, digest: digest.clone(), words: String::new() }
        }
        Err(words) => rest::RunFile { path, words: words.clone(), ..rest::RunFile::default() },
    }
}

fn decode_file(one: rest::RunFile) -> Result<TaskFile, String> {
    let path = FetchPath::new(&one.path).map_err(|error| error.to_string())?;
    let taken = match one.digest.as_str() {
        "" => Err(one.words),
        digest if is_digest(digest) => Ok(Taken { bytes: one.size_bytes, digest: one.digest }),
        other => return Err(format!("{other:?} is no digest")),
    };
    Ok(TaskFile { path, taken })
}

/// What had begun on its host is out, as far as anybody knows: it is asked again.
pub fn decode_task(key: &str, bytes: &[u8], id: &TaskId) -> Result<(NodeId, Task), RecordError> {
    let one: rest::RunTask = decode(key, bytes)?;
    let damaged = |problem: String| RecordError::Damaged { key: key.to_owned(), problem };
    let node = key.rsplit('/').next().and_then(|text| NodeId::parse(text).ok());
    let state: TaskState = one.state.parse().map_err(|error| damaged(format!("{error}")))?;
    let report = TaskReport {
        began: some_time(one.began_ms),
        done: one.done,
        exit: one.exit,
        output: one.output,
        output_cut_bytes: one.output_cut_bytes,
        changed: one.changed,
        files: one.files.into_iter().map(decode_file).collect::<Result<_, _>>().map_err(damaged)?,
        ..TaskReport::new(id.clone(), state, Timestamp::from_millis(one.at_ms), one.words)
    };
    let name = Name::new(one.node).map_err(|error| damaged(error.to_string()))?;
    let mut task = Task::new(name, one.place, report);
    task.offered = some_time(one.offered_ms);
    Ok((node.ok_or_else(|| damaged("its key names no node".to_owned()))?, task))
}

pub fn encode_notes(notes: &[Note]) -> Bytes {
    let note = |note: &Note| rest::RunNote {
        at_ms: note.at.as_millis(),
        what: note.what.word().to_owned(),
        node: note.node.clone(),
        words: note.words.clone(),
        origin: note.origin.clone(),
    };
    encode(&rest::RunNotes { notes: notes.iter().map(note).collect() })
}

pub fn decode_notes(key: &str, bytes: &[u8]) -> Result<Vec<rest::RunNote>, RecordError> {
    Ok(decode::<rest::RunNotes>(key, bytes)?.notes)
}

/// A header with its tasks, as the machine takes it up again.
pub fn restored(header: &Header, tasks: BTreeMap<NodeId, Task>, notes: usize) -> Run {
    let mut run = Run::new(header.order.clone(), tasks).restored(header.state, header.words.clone(), notes.max(1));
    run.ended = header.ended;
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::ServiceVerb;

    #[test]
    fn a_run_comes_back_as_it_was() {
        let name = |text: &str| Name::new(text).expect("a name");
        let (hello, verb) = (name("hello"), ServiceVerb::Restart);
        let steps =
            vec![TaskStep::Service { service: hello.clone(), verb }, TaskStep::Service { service: name("db"), verb }];
        let order = Order {
            number: 7,
            task: TaskId::of_run(1, 7),
            title: "restart hello".into(),
            by: "ada".into(),
            reason: "new certificate".into(),
            at: Timestamp::from_millis(5),
            origin: "care.yaml:3".into(),
            chosen: "role=web".into(),
            max: 2,
            max_errors: 1,
            canary: 1,
            jitter: Duration::from_secs(3),
            timeout: Duration::from_secs(60),
            deadline: Some(Duration::from_secs(600)),
            begin_by: Some(Timestamp::from_millis(99)),
            fire: Some(Fire {
                schedule: Name::new("patch").expect("a name"),
                at: Timestamp::from_millis(4),
                alone: true,
                only_on_time: true,
            }),
            disturbs: true,
            settles: false,
        };
        let node = NodeId::from_random([3; 10]);
        let mut report = TaskReport::new(order.task.clone(), TaskState::Failed, Timestamp::from_millis(9), "exit 2");
        (report.exit, report.output) = (Some(2), "no such file\n".into());
        let file = |path: &str, taken| TaskFile { path: FetchPath::new(path).expect("a path"), taken };
        let there = Taken { bytes: 7, digest: "0".repeat(64) };
        report.files = vec![file("a/b", Ok(there)), file("/etc/shadow", Err("its user may not read it".into()))];
        let mut task = Task::new(hello, 1, report);
        task.offered = Some(Timestamp::from_millis(8));
        let mut run = Run::new(order, [(node.clone(), task.clone())].into());
        (run.state, run.words, run.ended) = (RunState::Failed, "1 failed".into(), Some(Timestamp::from_millis(10)));
        let absent = BTreeMap::from([(node.clone(), BTreeSet::from([name("db")]))]);
        let extra = Extra { schedule: "patch".into(), due: some_time(4), retries: 6, absent, ..Extra::default() };
        let header = decode_run(&run_key(7), &encode_run(&run, &steps, &extra)).expect("readable");
        assert_eq!((&header.order, &header.steps, header.state), (&run.order, &steps, RunState::Failed));
        assert_eq!((header.nodes, header.ended, &header.extra), (1, run.ended, &extra));
        assert_eq!(extra.steps_of(&node, &steps), steps[..1]);
        assert_eq!(extra.steps_of(&NodeId::from_random([4; 10]), &steps), steps);
        let key = run_task_key(7, &node);
        assert_eq!(decode_task(&key, &encode_task(&task), &run.order.task).expect("readable"), (node, task));
        assert!(run_key(9) < run_key(10));
    }
}
