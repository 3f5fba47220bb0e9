//! Files that a task brings back: copied when its program has ended, and kept until the
//! control plane has them.
//!
//! A copy lies beside what tasks print, named by its task and its place in the task's
//! report. So what is left to be sent is what lies there, and the end of its task says
//! what it is: nothing else has to survive the agent.

use super::hands::Hands;
use super::journal::Journal;
use crate::clock;
use crate::spool::Spool;
use data_encoding::HEXLOWER;
use hostler_agent_core::tasks::{Fate, Fetch, Output};
use hostler_executor::protocol::Act;
use hostler_proto::agent::UploadChunk;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_types::fetch::{FILE_BYTES_MAX, HOST_BYTES_MAX, Taken};
use hostler_types::units::format_size;
use hostler_types::{EventKind, FetchPath, TaskFile, TaskId, TaskReport};
use ring::digest::{Context, SHA256};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

const COPY_END: &str = ".file";
const FOLDER_END: &str = ".folder";
/// Never a whole file in memory.
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_QUEUE: usize = 2;
/// Of at most 16 MiB: a line that is slower than 30 KiB a second is a broken one.
const SEND_LONGEST: Duration = Duration::from_secs(10 * 60);
/// While it is there, a control plane is asked again so soon.
const RETRY: Duration = Duration::from_secs(5);
/// While it is away, only the age of what is kept is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);
/// Who comes back later gets none.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3_600);

/// What the end of one program brings. Whoever learns of the end first takes the files,
/// and all others are told the same.
#[derive(Clone)]
pub struct Brings {
    fetch: Fetch,
    files: Arc<OnceCell<Vec<TaskFile>>>,
}

impl Brings {
    pub fn new(fetch: Fetch) -> Self {
        Self { fetch, files: Arc::default() }
    }
}

/// A program's own folder, in which it begins.
pub fn folder_of(output: &Path, id: &TaskId, step: u32) -> PathBuf {
    output.join(format!("task.{id}.{step}{FOLDER_END}"))
}

fn copy_of(output: &Path, id: &TaskId, place: usize) -> PathBuf {
    output.join(format!("task.{id}.{place}{COPY_END}"))
}

/// Whose it is, and its number.
fn numbered(name: &str, end: &str) -> Option<(TaskId, usize)> {
    let (id, number) = name.strip_prefix("task.")?.strip_suffix(end)?.rsplit_once('.')?;
    Some((TaskId::parse(id).ok()?, number.parse().ok()?))
}

fn all(output: &Path, end: &str) -> Vec<(TaskId, usize, PathBuf)> {
    let entries = std::fs::read_dir(output).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let (id, number) = numbered(entry.file_name().to_str()?, end)?;
        Some((id, number, entry.path()))
    });
    found.collect()
}

impl Hands {
    /// With the files of its program, which has ended. Nothing: the executor is gone.
    pub async fn bring(
        &self,
        id: &TaskId,
        step: u32,
        output: Option<Output>,
        brings: Option<Brings>,
    ) -> Option<Option<Output>> {
        let Some(Brings { fetch, files }) = brings else { return Some(output) };
        let files = files.get_or_try_init(|| self.take_all(id, step, &fetch)).await.ok()?.clone();
        Some(Some(Output { files, ..output.unwrap_or_default() }))
    }

    async fn take_all(&self, id: &TaskId, step: u32, fetch: &Fetch) -> Result<Vec<TaskFile>, ExecutorGone> {
        let mut files = Vec::new();
        for (place, path) in (fetch.first..).zip(&fetch.paths) {
            let taken = self.take(id, step, fetch, path, copy_of(&self.output, id, place)).await?;
            files.push(TaskFile { path: path.clone(), taken });
        }
        Ok(files)
    }

    async fn take(
        &self,
        id: &TaskId,
        step: u32,
        fetch: &Fetch,
        path: &FetchPath,
        copy: PathBuf,
    ) -> Result<Result<Taken, String>, ExecutorGone> {
        let kept: u64 = all(&self.output, COPY_END).iter().filter(|one| one.2 != copy).map(|one| size(&one.2)).sum();
        let bytes_max = HOST_BYTES_MAX.saturating_sub(kept).min(FILE_BYTES_MAX);
        if bytes_max == 0 {
            let most = format_size(HOST_BYTES_MAX);
            return Ok(Err(format!("this host keeps {most} already that its control plane has not taken")));
        }
        let within = (!path.is_absolute()).then(|| folder_of(&self.output, id, step));
        let whole = within.clone().unwrap_or_default().join(path.as_str());
        let user = match &fetch.user {
            Some(user) => Some(user.clone()),
            None => crate::services::user_default(),
        };
        let act = Act::TakeFile { path: whole, within, user, free: fetch.free, bytes_max, copy: copy.clone() };
        match self.done(act).await {
            Ok(_) => {}
            Err(None) => return Err(ExecutorGone),
            Err(Some(Fate::Refused(words) | Fate::Failed(words) | Fate::Unknown(words))) => return Ok(Err(words)),
            Err(Some(fate)) => return Ok(Err(format!("{fate:?}"))),
        }
        let read = tokio::task::spawn_blocking(move || measured(&copy)).await;
        let read = read.map_err(io::Error::other).and_then(|read| read);
        Ok(read.map_err(|error| format!("read its copy: {error}")))
    }

    /// What tasks left that nobody will send or remove.
    pub async fn sweep(&self, is_known: impl Fn(&TaskId) -> bool, is_open: impl Fn(&TaskId) -> bool) {
        let copies = all(&self.output, COPY_END).into_iter().filter(|one| !is_known(&one.0));
        let folders = all(&self.output, FOLDER_END).into_iter().filter(|one| !is_open(&one.0));
        for (.., path) in copies.chain(folders).collect::<Vec<_>>() {
            self.remove(path).await;
        }
    }
}

/// The agent goes with it, and the next one takes the files.
struct ExecutorGone;

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map(|found| found.len()).unwrap_or_default()
}

fn measured(path: &Path) -> io::Result<Taken> {
    let mut file = std::fs::File::open(path)?;
    let (mut context, mut bytes, mut buffer) = (Context::new(&SHA256), 0, vec![0; CHUNK_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(part) if !part.is_empty() => context.update(part),
            _ => break,
        }
        bytes += read as u64;
    }
    Ok(Taken { bytes, digest: HEXLOWER.encode(context.finish().as_ref()) })
}

/// Sends what is there, one after the other.
pub struct Sender {
    pub hands: Hands,
    pub journal: Arc<Journal>,
    pub channel: watch::Receiver<Option<Channel>>,
    pub spool: Spool,
    /// The end of a task is kept.
    pub wake: Arc<Notify>,
}

enum Sent {
    Taken,
    /// For good.
    Refused(String),
    Later,
}

impl Sender {
    /// For ever.
    pub async fn run(mut self) {
        loop {
            let again = self.round().await.map(|wait| clock::now().monotonic.saturating_add(wait));
            // Each of these takes nothing.
            tokio::select! {
                () = self.wake.notified() => {}
                Ok(()) = self.channel.changed() => {}
                () = clock::sleep_until(again), if again.is_some() => {}
            }
        }
    }

    /// After which time there is more to do, if nothing happens.
    async fn round(&mut self) -> Option<Duration> {
        let channel = self.channel.borrow_and_update().clone();
        let (mut left, wait) = (false, if channel.is_some() { RETRY } else { LOOK_AGAIN });
        for (id, place, path) in all(&self.hands.output, COPY_END) {
            // Its end is told before its files, and is about to be.
            let Some(report) = self.end_of(&id).await else { continue };
            let file = report.files.get(place).and_then(|file| Some((file.path.clone(), file.taken.as_ref().ok()?)));
            // Another look took the files, and its words were told.
            let Some((name, taken)) = file else {
                self.hands.remove(path).await;
                continue;
            };
            let old = clock::wall().since(report.at) > KEPT_FOR;
            let sent = match &channel {
                Some(channel) => send(channel.clone(), &report, name.as_str(), taken, path.clone()).await,
                None => Sent::Later,
            };
            let why = match sent {
                Sent::Taken => None,
                Sent::Refused(words) => Some(words),
                Sent::Later if old => Some("nobody took it for a day".to_owned()),
                Sent::Later => {
                    left = true;
                    continue;
                }
            };
            if let Some(why) = why {
                let message = format!("{name} of {id} is not brought back any more: {why}");
                tracing::warn!(task = %id, path = %name, why, "a file of a task is not brought back");
                self.spool.event(EventKind::AGENT, "fetch", message).await;
            }
            self.hands.remove(path).await;
        }
        left.then_some(wait)
    }

    async fn end_of(&self, id: &TaskId) -> Option<TaskReport> {
        let (journal, id) = (Arc::clone(&self.journal), id.clone());
        tokio::task::spawn_blocking(move || journal.end_of(&id)).await.ok().flatten()
    }
}

async fn send(channel: Channel, report: &TaskReport, name: &str, taken: &Taken, copy: PathBuf) -> Sent {
    let head = UploadChunk {
        task: report.id.to_string(),
        path: name.to_owned(),
        digest: taken.digest.clone(),
        data: Vec::new(),
    };
    let (chunks, stream) = mpsc::channel(CHUNKS_QUEUE);
    let reading = tokio::task::spawn_blocking(move || read_chunks(&copy, head, &chunks));
    let mut client = AgentLinkClient::new(channel);
    let answer = tokio::time::timeout(SEND_LONGEST, client.upload(ReceiverStream::new(stream))).await;
    let read = reading.await.map_err(io::Error::other).and_then(|read| read);
    match answer {
        Ok(Ok(_)) => Sent::Taken,
        Ok(Err(status)) => {
            let forever = matches!(status.code(), Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition);
            let words = crate::connect::status_text(&status);
            tracing::debug!(task = %report.id, path = name, words, "a file of a task was not taken");
            match read {
                Err(error) if forever => Sent::Refused(format!("its copy can't be read: {error}")),
                _ if forever => Sent::Refused(words),
                _ => Sent::Later,
            }
        }
        Err(_) => Sent::Later,
    }
}

/// Ends early when nobody takes them any more.
fn read_chunks(path: &Path, head: UploadChunk, chunks: &mpsc::Sender<UploadChunk>) -> io::Result<()> {
    if chunks.blocking_send(head).is_err() {
        return Ok(());
    }
    let mut file = std::fs::File::open(path)?;
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES);
        (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut data)?;
        if data.is_empty() || chunks.blocking_send(UploadChunk { data, ..UploadChunk::default() }).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::{Name, Timestamp};

    #[test]
    fn a_copy_says_whose_it_is() {
        let output = Path::new("/var/log/hostler");
        let fire = TaskId::of_fire(&Name::new("shop.2").expect("a name"), Timestamp::from_millis(7_000));
        for id in [TaskId::of_run(5, 7), fire] {
            let name = |path: PathBuf| path.file_name().expect("a name").to_str().expect("text").to_owned();
            let copy = name(copy_of(output, &id, 12));
            assert_eq!(numbered(&copy, COPY_END), Some((id.clone(), 12)));
            assert_eq!(numbered(&name(folder_of(output, &id, 3)), FOLDER_END), Some((id, 3)));
        }
        for other in ["task.run-5-7.log", "task.run-5-7.0.script", "api-0.log", "task.run-5-7.x.file", "task..1.file"] {
            assert_eq!(numbered(other, COPY_END), None, "{other}");
        }
    }

    #[test]
    fn a_copy_goes_in_pieces_behind_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy");
        let content = "0123456789".repeat(CHUNK_BYTES / 4);
        std::fs::write(&path, &content).expect("written");
        let taken = measured(&path).expect("read");
        assert_eq!(taken.bytes, content.len() as u64);
        assert_eq!(taken.digest, HEXLOWER.encode(ring::digest::digest(&SHA256, content.as_bytes()).as_ref()));
        let (chunks, mut pieces) = mpsc::channel(9);
        let head = UploadChunk { path: "report.txt".into(), ..UploadChunk::default() };
        read_chunks(&path, head.clone(), &chunks).expect("read");
        drop(chunks);
        assert_eq!(pieces.blocking_recv(), Some(head));
        let mut all = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            assert!(piece.data.len() <= CHUNK_BYTES && piece.path.is_empty());
            all.extend(piece.data);
        }
        assert!(all == content.as_bytes());
    }
}
