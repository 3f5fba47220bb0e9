//! Runs at rest: what a turn writes, and what a start reads.

use super::{About, Inside};
use crate::app::App;
use crate::approvals::Sealed;
use crate::clock;
use crate::records::runs::{
    RUN_NOTES, RUN_NUMBER, RUN_TASKS, RUNS, decode_run, decode_task, encode_notes, encode_run, encode_task, restored,
    run_key, run_note_key, run_task_key,
};
use crate::records::schedules::{Begun, Failure, decode_fire, encode_failure, failure_key, fire_key};
use crate::records::{self, NewEvent};
use crate::schedules;
use crate::world::WorldError;
use bytes::Bytes;
use futures_util::future::join_all;
use hostler_core::runs::{Note, Run, RunState, SETTLE, Task};
use hostler_proto::store as rest;
use hostler_store::{OPERATIONS_MAX, Store, StoreError, TXN_BYTES_MAX, Txn};
use hostler_types::{Name, NodeId, TaskId, TaskReport, TaskState, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// They are one value, of 64 KiB at most; one takes some hundred bytes.
const EVENTS_AT_ONCE: usize = 40;

/// A key, and what it holds from then on; none: it goes.
type Beside = (String, Option<Bytes>);

/// What one turn changed.
#[derive(Debug, Default)]
pub(super) struct Kept {
    newest: u64,
    puts: BTreeMap<String, Bytes>,
    /// What is kept with the head of a run, in one commit.
    beside: BTreeMap<String, Vec<Beside>>,
    pub events: Vec<NewEvent>,
    /// Ends that came after their run's.
    pub late: Vec<(NodeId, TaskReport)>,
}

impl Kept {
    pub fn new(newest: u64) -> Self {
        Self { newest, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.late.is_empty()
    }

    pub fn run(&mut self, run: &Run, about: &About) {
        let number = rest::RunNumber { newest: self.newest };
        self.puts.insert(RUN_NUMBER.to_owned(), records::encode(&number));
        self.puts.insert(run_key(run.order.number), encode_run(run, &about.steps, &about.extra));
    }

    /// A run that is there is decided, and what is decided is there: a fire happens once.
    pub fn fire(&mut self, number: u64, begun: Begun) {
        let records = begun.records(number).into_iter().map(|(key, value)| (key, Some(value)));
        self.beside.entry(run_key(number)).or_default().extend(records);
    }

    /// Whoever decides on such takes turns: nobody else changes the decision meanwhile.
    pub fn sealed(&mut self, number: u64, sealed: Sealed) {
        let decision = sealed.decision.map(|(key, _, done)| (key, Some(done)));
        self.beside.entry(run_key(number)).or_default().extend(decision);
        self.events.extend(sealed.event);
    }

    /// What came of a schedule's run, which whoever tells people reads. Of one that was ended by
    /// somebody, or that only asked and heard of nothing, nothing is to be told.
    pub fn outcome(&mut self, run: &Run, schedule: &Name, now: Timestamp) {
        let failure = match run.state {
            RunState::Failed => {
                let failure = Failure { run: run.order.number, words: run.outcome(), at: now };
                Some(encode_failure(&failure))
            }
            RunState::Succeeded if run.tasks.values().any(|task| task.state() == TaskState::Succeeded) => None,
            _ => return,
        };
        self.beside.entry(run_key(run.order.number)).or_default().push((failure_key(schedule), failure));
    }

    /// As it stands when this turn is over, however often it changed in it.
    pub fn task(&mut self, number: u64, node: &NodeId, task: &Task) {
        self.puts.entry(run_task_key(number, node)).or_insert_with(|| encode_task(task));
    }

    pub fn note(&mut self, number: u64, count: usize, note: &Note) {
        self.puts.insert(run_note_key(number, count), encode_notes(std::slice::from_ref(note)));
    }

    /// Commits that may be asked for together, one group after the other. Where one commit
    /// is not enough, the heads of runs come behind, in their order.
    fn into_transactions(self, app: &App) -> Vec<Vec<Txn>> {
        let told = self.events.chunks(EVENTS_AT_ONCE);
        let told: Vec<Txn> = told.map(|events| app.journal.record(Txn::new(), clock::wall(), events)).collect();
        let is_head = |key: &str| key == RUN_NUMBER || key.starts_with(RUNS);
        let beside: usize = self.beside.values().map(Vec::len).sum();
        let is_one = self.puts.len() + beside < OPERATIONS_MAX;
        let (behind, first): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.puts.into_iter().partition(|(key, _)| is_one || is_head(key));
        let mut groups = vec![batches(first, BTreeMap::new())];
        groups.extend(batches(behind, self.beside).into_iter().map(|txn| vec![txn]));
        groups.push(told);
        groups
    }
}

/// As few commits as they fit into. What is beside a head is in its commit, and of two fires of
/// one schedule the older one is in the earlier commit.
fn batches(puts: BTreeMap<String, Bytes>, mut beside: BTreeMap<String, Vec<Beside>>) -> Vec<Txn> {
    let (mut all, mut txn, mut bytes, mut keys) = (Vec::new(), Txn::new(), 0, BTreeSet::new());
    for (key, value) in puts {
        let mut unit = beside.remove(&key).unwrap_or_default();
        unit.push((key, Some(value)));
        let size: usize = unit.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum();
        let twice = unit.iter().any(|(key, _)| keys.contains(key));
        // One operation is left for events.
        if twice || txn.operations() + unit.len() + 1 > OPERATIONS_MAX || bytes + size > TXN_BYTES_MAX / 2 {
            all.push(std::mem::take(&mut txn));
            keys.clear();
            bytes = 0;
        }
        bytes += size;
        for (key, value) in unit {
            keys.insert(key.clone());
            txn = match value {
                Some(value) => txn.put(key, value),
                None => txn.delete(key),
            };
        }
    }
    all.push(txn);
    all.retain(|txn| !txn.is_empty());
    all
}

/// Until it is written: what was decided is not decided again. `None`: it never will be.
pub(super) async fn write(app: &App, mut kept: Kept) -> Option<()> {
    for (node, report) in std::mem::take(&mut kept.late) {
        while let Err(error) = mend(app, &node, &report, &mut kept).await {
            tracing::error!(error = %error, "a late end of a task could not be looked up");
            pause(app).await?;
        }
    }
    for together in kept.into_transactions(app) {
        // Asked for at once, they share the store's syncs.
        let written = join_all(together.into_iter().map(|txn| commit(app, txn))).await;
        written.into_iter().collect::<Option<()>>()?;
    }
    Some(())
}

async fn commit(app: &App, txn: Txn) -> Option<()> {
    loop {
        match app.store.commit(txn.clone()).await {
            Ok(_) => return Some(()),
            Err(error) if !error.may_pass() => {
                tracing::error!(error = %error, "what runs do could not be written and is left out");
                return Some(());
            }
            Err(error) => tracing::error!(error = %error, "writing down what runs do failed"),
        }
        pause(app).await?;
    }
}

/// `None`: the control plane stops.
async fn pause(app: &App) -> Option<()> {
    tokio::select! {
        () = app.stop.cancelled() => None,
        () = tokio::time::sleep(RETRY_PAUSE) => Some(()),
    }
}

/// What was taken for lost was not: its record says how it really ended.
async fn mend(app: &App, node: &NodeId, report: &TaskReport, kept: &mut Kept) -> Result<(), StoreError> {
    let Some((number, mut task)) = task_of(app, node, &report.id).await? else {
        let end = schedules::unknown_end(app, node, report);
        kept.puts.extend(end.put);
        kept.events.extend(end.event);
        return Ok(());
    };
    if task.state().may_be_another() && report.state != TaskState::Undelivered {
        task.report = report.clone();
        kept.task(number, node, &task);
    }
    Ok(())
}

/// How a node's task stands, and of which run it is, whether that is over or not.
pub async fn told(app: &App, node: &NodeId, id: &TaskId) -> Result<Option<(u64, TaskReport)>, StoreError> {
    let at_work = {
        let inside = app.work.inside();
        let run = inside.runs.iter().find(|run| run.order.task == *id);
        run.and_then(|run| Some((run.order.number, run.tasks.get(node)?.report.clone())))
    };
    if at_work.is_some() {
        return Ok(at_work);
    }
    Ok(task_of(app, node, id).await?.map(|(number, task)| (number, task.report)))
}

/// That node's part of the run that the id names.
async fn task_of(app: &App, node: &NodeId, id: &TaskId) -> Result<Option<(u64, Task)>, StoreError> {
    let number = match id.fire() {
        Some((schedule, due)) => {
            let key = fire_key(&schedule, due);
            let entry = app.store.get(&key).await?;
            entry.and_then(|entry| decode_fire(&key, &entry.value).ok()).map(|fire| fire.run).filter(|run| *run != 0)
        }
        None => id.as_str().rsplit('-').next().and_then(|text| text.parse::<u64>().ok()),
    };
    match number {
        Some(number) => Ok(kept_task(app, number, node, id).await?.map(|task| (number, task))),
        None => Ok(None),
    }
}

/// That node's part of a run, if the run is of this id.
async fn kept_task(app: &App, number: u64, node: &NodeId, id: &TaskId) -> Result<Option<Task>, StoreError> {
    let head = app.store.get(&run_key(number)).await?;
    let head = head.and_then(|entry| decode_run(&run_key(number), &entry.value).ok());
    // Of another history, a number says nothing.
    if head.is_none_or(|head| head.order.task != *id) {
        return Ok(None);
    }
    let key = run_task_key(number, node);
    let entry = app.store.get(&key).await?;
    Ok(entry.and_then(|entry| decode_task(&key, &entry.value, id).ok()).map(|(_, task)| task))
}

/// Those that are not over, and those that disturbed somebody a moment ago.
pub async fn load(store: &dyn Store) -> Result<Inside, WorldError> {
    let now = clock::now();
    let newest = match store.get(RUN_NUMBER).await? {
        Some(entry) => records::decode::<rest::RunNumber>(RUN_NUMBER, &entry.value)?.newest,
        None => 0,
    };
    let mut inside = Inside { newest, ..Inside::default() };
    let mut headers = BTreeMap::new();
    for (key, entry) in store.scan(RUNS, None).await?.entries {
        // One that can't be read is missed, and nothing else is.
        let header = match decode_run(&key, &entry.value) {
            Ok(header) => header,
            Err(error) => {
                tracing::error!(error = %error, "a run is left out");
                continue;
            }
        };
        let recent = header.ended.is_some_and(|ended| now.wall.since(ended) < SETTLE);
        if !header.state.is_over() || recent {
            headers.insert(header.order.number, header);
        }
    }
    let (mut tasks, mut runs) = (BTreeMap::<u64, BTreeMap<NodeId, Task>>::new(), Vec::new());
    if !headers.is_empty() {
        for (key, entry) in store.scan(RUN_TASKS, None).await?.entries {
            if let Some(header) = numbered(&key, RUN_TASKS).and_then(|number| headers.get(&number)) {
                let (node, task) = decode_task(&key, &entry.value, &header.order.task)?;
                tasks.entry(header.order.number).or_default().insert(node, task);
            }
        }
        for (key, _) in store.scan(RUN_NOTES, None).await?.entries {
            if let Some(number) = numbered(&key, RUN_NOTES).filter(|number| headers.contains_key(number)) {
                *inside.notes.entry(number).or_default() += 1;
            }
        }
    }
    for (number, header) in headers {
        let notes = inside.notes.get(&number).copied().unwrap_or_default();
        let run = restored(&header, tasks.remove(&number).unwrap_or_default(), notes);
        if !header.state.is_over() {
            inside.about.insert(number, Arc::new(About { steps: header.steps, extra: header.extra }));
        }
        runs.push(run);
    }
    inside.runs.restore(now, runs);
    Ok(inside)
}

fn numbered(key: &str, prefix: &str) -> Option<u64> {
    key.strip_prefix(prefix)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "/schedule/tidy";

    fn turn(runs: u64, tasks: usize) -> Vec<Txn> {
        let text = |text: String| Bytes::from(text);
        let (mut puts, mut beside) = (BTreeMap::new(), BTreeMap::new());
        for number in 1..=runs {
            for task in 0..tasks {
                puts.insert(format!("/run-task/{number:020}/{task:03}"), Bytes::new());
            }
            puts.insert(run_key(number), text(format!("run {number}")));
            beside.insert(run_key(number), vec![(MARK.to_owned(), Some(text(format!("mark {number}"))))]);
        }
        batches(puts, beside)
    }

    #[test]
    fn a_fire_and_its_run_are_one_commit() {
        for (runs, tasks) in [(1, 1), (1, 97), (1, 98), (1, 99), (1, 250), (3, 33), (5, 20)] {
            let all: Vec<String> = turn(runs, tasks).iter().map(|txn| format!("{txn:?}")).collect();
            let place = |text: &str| all.iter().position(|txn| txn.contains(text)).expect("kept");
            let places: Vec<usize> = (1..=runs).map(|number| place(&format!("\"run {number}\""))).collect();
            let marks: Vec<usize> = (1..=runs).map(|number| place(&format!("\"mark {number}\""))).collect();
            assert_eq!(places, marks, "{runs} runs of {tasks}");
            assert!(places.is_sorted_by(|one, next| one < next), "{places:?}");
            assert!(turn(runs, tasks).iter().all(|txn| txn.operations() < OPERATIONS_MAX));
        }
    }
}
