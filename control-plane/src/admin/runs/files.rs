//! What runs brought back, for whoever may look at the run.

use super::show::{Picture, picture};
use super::{may, may_somewhere, no_run};
use crate::access::Caller;
use crate::app::App;
use crate::clock;
use hostler_core::access::Verb;
use hostler_proto::admin as wire;
use hostler_types::{Name, TaskFile, TaskState, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// A host sends its files as soon as it can, and keeps them for a day; clocks differ.
const MAY_COME_FOR: Duration = Duration::from_secs(25 * 3_600);
/// Whoever waits longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// A piece of an answer: well below any limit on messages.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for a slow reader.
const QUEUE: usize = 4;
/// Files come in crowds, and a look at a run costs what the run is large.
const REST: Duration = Duration::from_millis(100);

pub type Fetched = ReceiverStream<Result<wire::FetchFilesResponse, Status>>;
type Answers = mpsc::Sender<Result<wire::FetchFilesResponse, Status>>;

pub fn to_wire(node: &Name, file: &TaskFile) -> wire::RunFile {
    let (node, path) = (node.to_string(), file.path.to_string());
    match &file.taken {
        Ok(taken) => wire::RunFile {
            node,
            path,
            size_bytes: taken.bytes,
            digest: taken.digest.clone(),
            ..wire::RunFile::default()
        },
        Err(words) => wire::RunFile { node, path, words: words.clone(), ..wire::RunFile::default() },
    }
}

/// Says whether it is here, of a task that ended then; and returns whether it may still come.
pub fn look(app: &App, number: u64, ended_ms: u64, file: &mut wire::RunFile) -> bool {
    if file.digest.is_empty() {
        return false;
    }
    file.here = app.run_files.has(number, &file.digest);
    let may_come = !file.here
        && !app.run_files.is_gone(number)
        && clock::wall().since(Timestamp::from_millis(ended_ms)) < MAY_COME_FOR;
    if may_come {
        file.words = format!("it has not come yet: ask again with hostlerctl run fetch {number}");
    } else if !file.here {
        "it is not here: it never came, or had to make room for what newer runs brought".clone_into(&mut file.words);
    }
    may_come
}

pub async fn fetch(app: &Arc<App>, caller: &Caller, request: wire::FetchFilesRequest) -> Result<Fetched, Status> {
    let number = request.number;
    may_somewhere(&app.mirror.now(), caller, Verb::Read)?;
    let picture = picture(app, number).await?.filter(|one| may(app, caller, &one.run, Verb::Read));
    let picture = picture.ok_or_else(|| no_run(number))?;
    if picture.run.fetch.is_empty() {
        return Err(Status::failed_precondition(format!(
            "run {number} brings no files back: say which when it begins, with hostlerctl run --fetch FILE -- COMMAND"
        )));
    }
    let is_one = |node: &String| picture.tasks.values().any(|task| task.node == *node);
    if let Some(other) = request.nodes.iter().find(|node| !is_one(node)) {
        return Err(Status::not_found(format!("run {number} was not on {other:?}: hostlerctl run show {number}")));
    }
    let wait = Duration::from_millis(request.wait_ms).min(WAIT_MAX);
    let (answers, stream) = mpsc::channel(QUEUE);
    let sending = Sending {
        app: Arc::clone(app),
        number,
        nodes: request.nodes,
        until: Instant::now() + wait,
        sent: BTreeSet::new(),
    };
    app.tracker.spawn(async move {
        if let Err(status) = sending.run(&answers).await {
            let _ = answers.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

struct Sending {
    app: Arc<App>,
    number: u64,
    nodes: Vec<String>,
    until: Instant,
    sent: BTreeSet<(String, String)>,
}

impl Sending {
    /// Each file once, as soon as it is here or known not to come.
    async fn run(mut self, answers: &Answers) -> Result<(), Status> {
        let (mut arrived, mut changes) = (self.app.run_files.follow(), self.app.work.follow());
        loop {
            arrived.mark_unchanged();
            changes.mark_unchanged();
            let late = Instant::now() >= self.until;
            let picture = picture(&self.app, self.number).await?.ok_or_else(|| no_run(self.number))?;
            let mut left = false;
            for (file, may_come) in self.files(&picture) {
                let key = (file.node.clone(), file.path.clone());
                if may_come && !late {
                    left = true;
                } else if self.sent.insert(key) && !self.send(file, answers).await? {
                    return Ok(());
                }
            }
            if !left {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
            // Each of these takes nothing.
            tokio::select! {
                () = self.app.stop.cancelled() => return Ok(()),
                () = answers.closed() => return Ok(()),
                Ok(()) = arrived.changed() => {}
                Ok(()) = changes.changed() => {}
                () = tokio::time::sleep_until(self.until.into()) => {}
            }
        }
    }

    /// All that was asked for, and whether it may still come.
    fn files(&self, picture: &Picture) -> Vec<(wire::RunFile, bool)> {
        let mut tasks: Vec<&wire::RunTask> = picture.tasks.values().collect();
        tasks.retain(|task| self.nodes.is_empty() || self.nodes.contains(&task.node));
        tasks.sort_by(|left, right| left.node.cmp(&right.node));
        let all = tasks.into_iter().flat_map(|task| picture.run.fetch.iter().map(move |path| (task, path)));
        let one = |(task, path): (&wire::RunTask, &String)| {
            let Some(told) = task.files.iter().find(|file| file.path == *path) else { return untold(task, path) };
            let mut file = told.clone();
            let may_come = look(&self.app, self.number, task.at_ms, &mut file);
            (file, may_come)
        };
        all.map(one).collect()
    }

    /// Whether anybody still listens.
    async fn send(&self, file: wire::RunFile, answers: &Answers) -> Result<bool, Status> {
        let path = file.here.then(|| self.app.run_files.path(self.number, &file.digest));
        let head = wire::FetchFilesResponse { file: Some(file), data: Vec::new() };
        // Opened before it is announced: it may go at any time, and is whole until then.
        let content = match path {
            Some(path) => Some(tokio::fs::File::open(&path).await.map_err(unreadable)?),
            None => None,
        };
        if answers.send(Ok(head)).await.is_err() {
            return Ok(false);
        }
        let Some(mut content) = content else { return Ok(true) };
        loop {
            let mut data = Vec::with_capacity(PIECE_BYTES);
            (&mut content).take(PIECE_BYTES as u64).read_to_end(&mut data).await.map_err(unreadable)?;
            if data.is_empty() {
                return Ok(true);
            }
            if answers.send(Ok(wire::FetchFilesResponse { file: None, data })).await.is_err() {
                return Ok(false);
            }
        }
    }
}

fn unreadable(error: std::io::Error) -> Status {
    Status::unavailable(format!("read what the run brought back: {error}"))
}

/// Its host said nothing of it.
fn untold(task: &wire::RunTask, path: &str) -> (wire::RunFile, bool) {
    let state: Option<TaskState> = task.state.parse().ok();
    let may_come = state.is_some_and(|state| !state.is_over());
    let words = match state {
        _ if may_come => format!("its task is not over: it is {}", task.state),
        Some(TaskState::Succeeded) => "its agent is older than this, and brings no files back: upgrade it".to_owned(),
        _ if task.words.is_empty() => format!("nothing came, since its task is {}", task.state),
        _ => format!("nothing came, since its task is {}: {}", task.state, task.words),
    };
    let (node, path) = (task.node.clone(), path.to_owned());
    (wire::RunFile { node, path, words, ..wire::RunFile::default() }, may_come)
}
