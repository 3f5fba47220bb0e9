//! Content by digest, over the link's own connection. A download that was cut is
//! taken up where it ended; nothing gets its final name before it was verified.

use crate::files;
use data_encoding::HEXLOWER;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::{FetchChunk, FetchRequest};
use hostler_proto::transport::MESSAGE_BYTES_MAX;
use hostler_types::PluginAssignment;
use ring::digest::{Context, SHA256};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Streaming;
use tonic::transport::Channel;

/// Between two chunks of 64 KiB; a slower line than that is a broken one.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0}")]
    Link(String),
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("what the control plane sent has digest {found}, not {wanted}: it was thrown away")]
    Digest { found: String, wanted: String },
    #[error("the control plane sent more than the {wanted} bytes it announced: they were thrown away")]
    Size { wanted: u64 },
}

pub fn file(folder: &Path, digest: &str) -> PathBuf {
    folder.join(format!("{digest}.wasm"))
}

fn part(folder: &Path, digest: &str) -> PathBuf {
    folder.join(format!("{digest}.part"))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    move |source| FetchError::File { operation, path: path.to_owned(), source }
}

pub async fn fetch(folder: &Path, wanted: &PluginAssignment, channel: Option<Channel>) -> Result<(), FetchError> {
    let link = |text: String| FetchError::Link(text);
    let channel = channel.ok_or_else(|| link("there is no connection to the control plane".to_owned()))?;
    files::private_folder(folder).map_err(failed("make", folder))?;
    let path = part(folder, &wanted.digest);
    let mut file =
        OpenOptions::new().create(true).append(true).mode(files::PRIVATE).open(&path).map_err(failed("open", &path))?;
    let mut size = file.metadata().map_err(failed("look at", &path))?.len();
    if size < wanted.size_bytes {
        let ask = FetchRequest { digest: wanted.digest.clone(), offset: size };
        let mut client = AgentLinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = tokio::time::timeout(CHUNK_TIMEOUT, client.fetch(ask)).await;
        let answer = answer.map_err(|_| link("the control plane did not answer in time".to_owned()))?;
        let mut chunks = answer.map_err(|status| link(crate::connect::status_text(&status)))?.into_inner();
        while let Some(chunk) = next(&mut chunks).await? {
            size = size.saturating_add(chunk.data.len() as u64);
            if size > wanted.size_bytes {
                break;
            }
            file.write_all(&chunk.data).map_err(failed("write", &path))?;
        }
    }
    if size < wanted.size_bytes {
        return Err(link(format!("the download ended after {size} of {} bytes", wanted.size_bytes)));
    }
    let good = verify(&path, size, wanted);
    if let Err(error) = good {
        files::remove_if_there(&path).map_err(failed("remove", &path))?;
        return Err(error);
    }
    file.sync_all().map_err(failed("fsync", &path))?;
    let place = self::file(folder, &wanted.digest);
    fs::rename(&path, &place).map_err(failed("rename", &path))?;
    files::sync_folder(folder).map_err(failed("fsync", folder))
}

async fn next(chunks: &mut Streaming<FetchChunk>) -> Result<Option<FetchChunk>, FetchError> {
    match tokio::time::timeout(CHUNK_TIMEOUT, chunks.message()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(status)) => Err(FetchError::Link(crate::connect::status_text(&status))),
        Err(_) => Err(FetchError::Link(format!("nothing came for {} s", CHUNK_TIMEOUT.as_secs()))),
    }
}

fn verify(path: &Path, size: u64, wanted: &PluginAssignment) -> Result<(), FetchError> {
    if size > wanted.size_bytes {
        return Err(FetchError::Size { wanted: wanted.size_bytes });
    }
    let mut file = File::open(path).map_err(failed("open", path))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(failed("read", path))?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => context.update(bytes),
            _ => break,
        }
    }
    let found = HEXLOWER.encode(context.finish().as_ref());
    if found == wanted.digest { Ok(()) } else { Err(FetchError::Digest { found, wanted: wanted.digest.clone() }) }
}

/// What came and is not wanted here.
pub fn remove(folder: &Path, unwanted: &PluginAssignment) -> Result<(), FetchError> {
    let path = file(folder, &unwanted.digest);
    files::remove_if_there(&path).map_err(failed("remove", &path))
}

/// Whether what was fetched still is what it was; if not it is removed.
pub fn remove_damaged(folder: &Path, wanted: &PluginAssignment) -> Result<(), FetchError> {
    let path = file(folder, &wanted.digest);
    let size = fs::metadata(&path).map_err(failed("look at", &path))?.len();
    match verify(&path, size, wanted) {
        Err(error @ (FetchError::Digest { .. } | FetchError::Size { .. })) => {
            files::remove_if_there(&path).map_err(failed("remove", &path))?;
            Err(error)
        }
        outcome => outcome,
    }
}

/// Removes every other plugin's files.
pub fn keep_only(folder: &Path, digests: &BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let ours = path.extension().is_some_and(|ext| ext == "wasm" || ext == "part");
        let wanted = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| digests.contains(stem));
        if ours && !wanted {
            files::remove_if_there(&path)?;
        }
    }
    Ok(())
}
