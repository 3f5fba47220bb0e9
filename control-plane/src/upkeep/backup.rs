//! Taking a backup while everything goes on.

use super::archive::{self, FORMAT, Manifest};
use crate::app::App;
use crate::audit;
use crate::clock;
use crate::records;
use hostler_proto::admin as wire;
use hostler_proto::store as rest;
use hostler_store::{StoreError, Txn};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Well below any limit on messages.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for a slow reader.
const PIECES_QUEUE: usize = 4;
/// What is copied out lies here, on the same disk, so that it costs only links.
const SCRATCH: &str = "scratch";
/// Content by its digest: never changed, so a link is a copy.
const BLOB_FOLDERS: [&str; 2] = ["blobs", "documents"];
const KEYS: &str = "pki";
/// What secrets are sealed under: in a backup that is closed itself, and in no other.
const SECRETS_KEY: &str = crate::vault::KEY_FILE;

pub type Pieces = ReceiverStream<Result<wire::BackupResponse, Status>>;

/// Gone with whoever holds it, half done or done.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What an earlier process left.
pub fn clear_scratch(data: &Path) {
    let _ = fs::remove_dir_all(data.join(SCRATCH));
}

pub async fn stream(app: &Arc<App>, request: wire::BackupRequest) -> Result<Pieces, Status> {
    let failed = |error: &dyn std::error::Error| Status::unavailable(format!("take a backup: {error}"));
    let (scratch, manifest) = copy_out(app, !request.passphrase.is_empty()).await.map_err(|error| failed(&*error))?;
    let (sender, receiver) = mpsc::channel(PIECES_QUEUE);
    let head = wire::BackupResponse {
        revision: manifest.revision,
        nodes: u32::try_from(manifest.nodes).unwrap_or(u32::MAX),
        data: Vec::new(),
    };
    sender.try_send(Ok(head)).map_err(|error| failed(&error))?;
    let keeping = Arc::clone(app);
    app.tracker.spawn_blocking(move || {
        let out = Out { sender: sender.clone(), piece: Vec::with_capacity(PIECE_BYTES) };
        match archive::write(out, &request.passphrase, &manifest, &scratch.0) {
            // Before whoever takes it sees its end.
            Ok(_) => remember(&keeping, manifest.at_ms, !request.passphrase.is_empty()),
            Err(error) => {
                tracing::warn!(error = %error, "a backup was not finished");
                let _ = sender.blocking_send(Err(Status::unavailable(format!("the backup was not finished: {error}"))));
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// When the control plane was last saved: for people who ask whether it is.
fn remember(app: &App, at_ms: u64, sealed: bool) {
    let txn = Txn::new().put(records::LAST_BACKUP, records::encode(&rest::LastBackup { at_ms, sealed }));
    let kept = tokio::runtime::Handle::current().block_on(async {
        let revision = app.store.commit(txn).await?;
        app.mirror.reach(revision).await;
        Ok::<_, StoreError>(())
    });
    if let Err(error) = kept {
        tracing::warn!(error = %error, "that a backup was taken could not be written down");
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A folder as the control plane's own, as of one moment.
async fn copy_out(app: &Arc<App>, is_closed: bool) -> Result<(Scratch, Manifest), AnyError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let data = app.config.data_dir.clone();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let scratch = Scratch(data.join(SCRATCH).join(number.to_string()));
    crate::files::private_folder(&scratch.0)?;
    // While nobody applies: no blob goes that this state still names.
    let _turn = app.spec_turn.lock().await;
    let revision = app.store.snapshot(scratch.0.join("store")).await?;
    let to = scratch.0.clone();
    // After the state: the log then holds all that the state knows of it.
    let (log, _) = app.audit.files();
    tokio::task::spawn_blocking(move || link_blobs(&data, &to, is_closed).and_then(|()| copy_log(&log, &to))).await??;
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at_ms: clock::wall().as_millis(),
        lineage: app.lineage,
        revision,
        nodes: app.mirror.now().members.len(),
        addresses: app.agent_addresses(),
    };
    Ok((scratch, manifest))
}

fn link_blobs(data: &Path, to: &Path, is_closed: bool) -> io::Result<()> {
    for part in BLOB_FOLDERS {
        crate::files::private_folder(&to.join(part))?;
        for entry in fs::read_dir(data.join(part))? {
            let entry = entry?;
            // What is being written has a name of its own.
            if entry.file_name().to_str().is_some_and(crate::blobs::is_digest) {
                fs::hard_link(entry.path(), to.join(part).join(entry.file_name()))?;
            }
        }
    }
    crate::files::private_folder(&to.join(KEYS))?;
    for entry in fs::read_dir(data.join(KEYS))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(KEYS).join(entry.file_name()))?;
    }
    let key = data.join(SECRETS_KEY);
    if is_closed && key.exists() {
        fs::copy(key, to.join(SECRETS_KEY))?;
    }
    Ok(())
}

/// Up to its end at this moment.
fn copy_log(log: &audit::Files, to: &Path) -> io::Result<()> {
    let to = to.join(audit::FOLDER);
    crate::files::private_folder(&to)?;
    for (index, segment) in log.segments.iter().enumerate() {
        let to = to.join(segment.path.file_name().unwrap_or_default());
        if index + 1 < log.segments.len() {
            // Never written again.
            fs::hard_link(&segment.path, to)?;
        } else {
            let mut bytes = Vec::new();
            log.read(index, &mut bytes)?;
            crate::files::write_private(&to, &bytes)?;
        }
    }
    Ok(())
}

struct Out {
    sender: mpsc::Sender<Result<wire::BackupResponse, Status>>,
    piece: Vec<u8>,
}

impl Out {
    fn send(&mut self) -> io::Result<()> {
        let data = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let piece = wire::BackupResponse { data, ..wire::BackupResponse::default() };
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::Error::other("whoever asked for it has gone"))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE_BYTES {
            self.send()?;
        }
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}
