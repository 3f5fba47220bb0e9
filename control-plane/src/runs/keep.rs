//! Runs at rest: what a turn writes, and what a start reads.

use super::{About, Inside};
use crate::app::App;
use crate::clock;
use crate::records::runs::{
    RUN_NOTES, RUN_NUMBER, RUN_TASKS, RUNS, decode_run, decode_task, encode_notes, encode_run, encode_task, restored,
    run_key, run_note_key, run_task_key,
};
use crate::records::{self, NewEvent};
use crate::world::WorldError;
use bytes::Bytes;
use futures_util::future::join_all;
use hostler_core::runs::{Note, Run, SETTLE, Task};
use hostler_proto::store as rest;
use hostler_store::{OPERATIONS_MAX, Store, StoreError, TXN_BYTES_MAX, Txn};
use hostler_types::{NodeId, TaskReport, TaskState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// They are one value, of 64 KiB at most; one takes some hundred bytes.
const EVENTS_AT_ONCE: usize = 40;

/// What one turn changed.
#[derive(Debug, Default)]
pub(super) struct Kept {
    newest: u64,
    puts: BTreeMap<String, Bytes>,
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

    /// As it stands when this turn is over, however often it changed in it.
    pub fn task(&mut self, number: u64, node: &NodeId, task: &Task) {
        self.puts.entry(run_task_key(number, node)).or_insert_with(|| encode_task(task));
    }

    pub fn note(&mut self, number: u64, count: usize, note: &Note) {
        self.puts.insert(run_note_key(number, count), encode_notes(std::slice::from_ref(note)));
    }

    /// As few as they fit into, those that come first and those behind them. Where one is
    /// not enough, the heads of runs come behind: what a head names is there.
    fn into_transactions(self, app: &App) -> [Vec<Txn>; 2] {
        let told = self.events.chunks(EVENTS_AT_ONCE);
        let told: Vec<Txn> = told.map(|events| app.journal.record(Txn::new(), clock::wall(), events)).collect();
        let bytes: usize = self.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
        let is_one = self.puts.len() + 2 <= OPERATIONS_MAX && bytes <= TXN_BYTES_MAX / 2;
        let is_head = |key: &str| key == RUN_NUMBER || key.starts_with(RUNS);
        let (behind, first): (Vec<_>, Vec<_>) = self.puts.into_iter().partition(|(key, _)| is_one || is_head(key));
        let mut behind = packed(behind);
        behind.extend(told);
        [packed(first), behind]
    }
}

/// In as few transactions as they fit into.
fn packed(puts: Vec<(String, Bytes)>) -> Vec<Txn> {
    let (mut all, mut txn, mut bytes) = (Vec::new(), Txn::new(), 0);
    for (key, value) in puts {
        let size = key.len() + value.len();
        if txn.operations() + 2 > OPERATIONS_MAX || bytes + size > TXN_BYTES_MAX / 2 {
            all.push(std::mem::take(&mut txn));
            bytes = 0;
        }
        bytes += size;
        txn = txn.put(key, value);
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
    let number = report.id.as_str().rsplit('-').next().and_then(|text| text.parse::<u64>().ok());
    let Some(number) = number else { return Ok(()) };
    let head = app.store.get(&run_key(number)).await?;
    let head = head.and_then(|entry| decode_run(&run_key(number), &entry.value).ok());
    // Of another history, a number says nothing.
    if head.is_none_or(|head| head.order.task != report.id) {
        return Ok(());
    }
    let key = run_task_key(number, node);
    let Some(entry) = app.store.get(&key).await? else { return Ok(()) };
    let Ok((_, mut task)) = decode_task(&key, &entry.value, &report.id) else { return Ok(()) };
    if task.state() == TaskState::Lost {
        task.report = report.clone();
        kept.task(number, node, &task);
    }
    Ok(())
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
