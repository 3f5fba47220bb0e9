//! Runs as operators see them, whether they are still at work or only kept.

use super::{files, may, may_somewhere, no_run};
use crate::access::Caller;
use crate::app::App;
use crate::enroll::store_status;
use crate::records::runs::{
    RUNS, decode_notes, decode_run, decode_task, restored, run_key, run_notes_prefix, run_tasks_prefix,
};
use crate::runs::About;
use hostler_core::access::Verb;
use hostler_core::runs::steps::fetch_of;
use hostler_core::runs::{Run, Task};
use hostler_proto::admin as wire;
use hostler_types::time::whole_millis;
use hostler_types::{Name, NodeId, TaskStep, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

const LIST_DEFAULT: usize = 20;
const LIST_MAX: usize = 1000;
/// Whoever watches and does not read is waited for.
const WATCH_QUEUE: usize = 64;
/// A look at a run costs what the run is large: for so many times as long as one took,
/// the cores are those of the run. A person still sees it move.
const REST_TIMES: u32 = 4;
const REST_MAX: Duration = Duration::from_millis(200);

pub type Watched = ReceiverStream<Result<wire::WatchRunResponse, Status>>;

/// One run as a whole.
pub struct Picture {
    pub run: wire::Run,
    pub tasks: BTreeMap<NodeId, wire::RunTask>,
    pub steps: Vec<TaskStep>,
    pub absent: BTreeMap<NodeId, BTreeSet<Name>>,
    pub is_over: bool,
}

fn ms(at: Option<Timestamp>) -> u64 {
    at.map_or(0, Timestamp::as_millis)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub fn to_wire(run: &Run, about: &About) -> (wire::Run, Vec<wire::RunTask>) {
    let mut tasks: Vec<&Task> = run.tasks.values().collect();
    tasks.sort_by_key(|task| task.place);
    (head(run, about), tasks.into_iter().map(task_to_wire).collect())
}

fn head(run: &Run, about: &About) -> wire::Run {
    let order = &run.order;
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    let mut held = BTreeSet::new();
    for task in run.tasks.values() {
        *states.entry(task.state().word().to_owned()).or_default() += 1;
        if let Some(why) = &task.held {
            let origin = if why.origin.is_empty() { String::new() } else { format!("  {}", why.origin) };
            held.insert(format!("{}: {}{origin}", task.name, why.words));
        }
    }
    wire::Run {
        number: order.number,
        title: order.title.clone(),
        by: order.by.clone(),
        reason: order.reason.clone(),
        at_ms: order.at.as_millis(),
        origin: order.origin.clone(),
        steps: about.steps.iter().map(ToString::to_string).collect(),
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
        ended_ms: ms(run.ended),
        schedule: about.extra.schedule.clone(),
        due_ms: ms(about.extra.due),
        retries: about.extra.retries,
        tasks: states.into_iter().collect(),
        held: held.into_iter().collect(),
        system: about.extra.system.clone(),
        fetch: fetch_of(&about.steps).map(ToString::to_string).collect(),
    }
}

fn task_to_wire(task: &Task) -> wire::RunTask {
    let report = &task.report;
    wire::RunTask {
        node: task.name.to_string(),
        state: report.state.word().to_owned(),
        at_ms: report.at.as_millis(),
        offered_ms: ms(task.offered),
        began_ms: ms(report.began),
        done: report.done,
        words: report.words.clone(),
        exit: report.exit,
        output: report.output.clone(),
        output_cut_bytes: report.output_cut_bytes,
        changed: report.changed,
        held: task.held.as_ref().map(|held| held.words.clone()).unwrap_or_default(),
        files: report.files.iter().map(|file| files::to_wire(&task.name, file)).collect(),
    }
}

/// As it is now; one that is over comes from the store.
pub async fn picture(app: &App, number: u64) -> Result<Option<Picture>, Status> {
    let at_work = {
        let inside = app.work.inside();
        inside.runs.get(number).zip(inside.about.get(&number)).map(|(run, about)| of(run, about))
    };
    if at_work.is_some() {
        return Ok(at_work);
    }
    let key = run_key(number);
    let Some(entry) = app.store.get(&key).await.map_err(store_status)? else { return Ok(None) };
    let damaged = |error: crate::records::RecordError| Status::data_loss(error.to_string());
    let header = decode_run(&key, &entry.value).map_err(damaged)?;
    let mut tasks = BTreeMap::new();
    for (key, entry) in app.store.scan(&run_tasks_prefix(number), None).await.map_err(store_status)?.entries {
        let (node, task) = decode_task(&key, &entry.value, &header.order.task).map_err(damaged)?;
        tasks.insert(node, task);
    }
    let run = restored(&header, tasks, 1);
    Ok(Some(of(&run, &About { steps: header.steps, extra: header.extra })))
}

fn of(run: &Run, about: &About) -> Picture {
    let tasks = run.tasks.iter().map(|(node, task)| (node.clone(), task_to_wire(task))).collect();
    let (steps, absent) = (about.steps.clone(), about.extra.absent.clone());
    Picture { run: head(run, about), tasks, steps, absent, is_over: run.state.is_over() }
}

async fn notes(app: &App, number: u64) -> Result<Vec<wire::RunNote>, Status> {
    let mut notes = Vec::new();
    for (key, entry) in app.store.scan(&run_notes_prefix(number), None).await.map_err(store_status)?.entries {
        let kept = decode_notes(&key, &entry.value).map_err(|error| Status::data_loss(error.to_string()))?;
        notes.extend(kept.into_iter().map(|note| wire::RunNote {
            at_ms: note.at_ms,
            what: note.what,
            node: note.node,
            words: note.words,
            origin: note.origin,
        }));
    }
    Ok(notes)
}

pub async fn list(
    app: &App,
    caller: &Caller,
    request: &wire::ListRunsRequest,
) -> Result<wire::ListRunsResponse, Status> {
    may_somewhere(&app.mirror.now(), caller, Verb::Read)?;
    let limit = match request.limit {
        0 => LIST_DEFAULT,
        limit => (limit as usize).min(LIST_MAX),
    };
    let at_work: BTreeMap<u64, wire::Run> = {
        let inside = app.work.inside();
        let known = inside.runs.iter().filter_map(|run| Some((run, inside.about.get(&run.order.number)?)));
        known.map(|(run, about)| (run.order.number, head(run, about))).collect()
    };
    let mut runs = Vec::new();
    let kept = app.store.scan(RUNS, None).await.map_err(store_status)?.entries;
    for (key, entry) in kept.iter().rev() {
        if runs.len() == limit {
            break;
        }
        let header = match decode_run(key, &entry.value) {
            Ok(header) => header,
            Err(error) => {
                tracing::error!(error = %error, "a run is left out");
                continue;
            }
        };
        let number = header.order.number;
        let wanted = (request.schedule.is_empty() || request.schedule == header.extra.schedule)
            && (!request.running || !header.state.is_over());
        if !wanted {
            continue;
        }
        let run = match at_work.get(&number) {
            Some(run) => Some(run.clone()),
            None => picture(app, number).await?.map(|picture| picture.run),
        };
        runs.extend(run.filter(|run| may(app, caller, run, Verb::Read)));
    }
    let world = app.mirror.now();
    let held = world.brakes.freezes.values().map(|freeze| {
        let by = hostler_core::brakes::words(&freeze.by, &freeze.reason);
        format!("frozen where {}, {by}", freeze.selector)
    });
    Ok(wire::ListRunsResponse { runs, held: held.collect() })
}

pub async fn get(app: &App, caller: &Caller, number: u64) -> Result<wire::GetRunResponse, Status> {
    may_somewhere(&app.mirror.now(), caller, Verb::Read)?;
    let picture = picture(app, number).await?.filter(|one| may(app, caller, &one.run, Verb::Read));
    let picture = picture.ok_or_else(|| no_run(number))?;
    let mut tasks: Vec<wire::RunTask> = picture.tasks.into_values().collect();
    for task in &mut tasks {
        for file in &mut task.files {
            files::look(app, number, task.at_ms, file);
        }
    }
    tasks.sort_by(|left, right| left.node.cmp(&right.node));
    Ok(wire::GetRunResponse { run: Some(picture.run), tasks, notes: notes(app, number).await? })
}

pub async fn watch(app: &Arc<App>, caller: &Caller, number: u64) -> Result<Watched, Status> {
    may_somewhere(&app.mirror.now(), caller, Verb::Read)?;
    // Before the first look, so that nothing between is missed.
    let mut changes = app.work.follow();
    changes.mark_changed();
    let first = picture(app, number).await?.filter(|one| may(app, caller, &one.run, Verb::Read));
    first.ok_or_else(|| no_run(number))?;
    let (sender, stream) = mpsc::channel(WATCH_QUEUE);
    let follower = Arc::clone(app);
    app.tracker.spawn(async move {
        let mut shown = Shown::default();
        loop {
            tokio::select! {
                () = follower.stop.cancelled() => return,
                () = sender.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let began = Instant::now();
            match shown.look(&follower, number, &sender).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(status) => return drop(sender.send(Err(status)).await),
            }
            tokio::time::sleep((began.elapsed() * REST_TIMES).min(REST_MAX)).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// What a watcher has seen.
#[derive(Default)]
struct Shown {
    run: Option<wire::Run>,
    tasks: BTreeMap<NodeId, wire::RunTask>,
    notes: usize,
}

type Sender = mpsc::Sender<Result<wire::WatchRunResponse, Status>>;

impl Shown {
    /// Whether there is more to come.
    async fn look(&mut self, app: &App, number: u64, sender: &Sender) -> Result<bool, Status> {
        let picture = picture(app, number).await?.ok_or_else(|| no_run(number))?;
        let mut news = Vec::new();
        let notes = notes(app, number).await?;
        let seen = std::mem::replace(&mut self.notes, notes.len());
        let note = |note| wire::WatchRunResponse { note: Some(note), ..wire::WatchRunResponse::default() };
        news.extend(notes.into_iter().skip(seen).map(note));
        for (node, task) in picture.tasks {
            if self.tasks.get(&node) != Some(&task) {
                news.push(wire::WatchRunResponse { task: Some(task.clone()), ..wire::WatchRunResponse::default() });
                self.tasks.insert(node, task);
            }
        }
        if self.run.as_ref() != Some(&picture.run) {
            let run = Some(picture.run.clone());
            news.push(wire::WatchRunResponse { run, ..wire::WatchRunResponse::default() });
            self.run = Some(picture.run);
        }
        for one in news {
            if sender.send(Ok(one)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(!picture.is_over)
    }
}
