//! Content that specs refer to, by its digest.

use crate::app::App;
use crate::blobs::is_digest;
use hostler_proto::admin as wire;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Configuration and scripts; what is larger is an artifact.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A piece of an answer: well below any limit on messages.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for a slow reader.
const PIECES_QUEUE: usize = 4;

pub fn missing(app: &App, request: wire::FindMissingFilesRequest) -> Result<wire::FindMissingFilesResponse, Status> {
    if let Some(wrong) = request.digests.iter().find(|digest| !is_digest(digest)) {
        return Err(Status::invalid_argument(format!("{wrong:?} is no SHA-256 in hex")));
    }
    let digests = request.digests.into_iter().filter(|digest| !app.blobs.has(digest)).collect();
    Ok(wire::FindMissingFilesResponse { digests })
}

pub async fn put(app: &App, mut pieces: Streaming<wire::PutFileRequest>) -> Result<wire::PutFileResponse, Status> {
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        if content.len() + piece.data.len() > FILE_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "a file of a spec may have at most {} MiB: what is larger is an artifact",
                FILE_BYTES_MAX >> 20
            )));
        }
        content.extend_from_slice(&piece.data);
    }
    let blobs = app.blobs.clone();
    let stored = tokio::task::spawn_blocking(move || blobs.put(&content)).await;
    let digest = stored
        .map_err(|_| Status::internal("storing the file was interrupted"))?
        .map_err(|error| Status::unavailable(format!("store the file: {error}")))?;
    Ok(wire::PutFileResponse { digest })
}

pub type Pieces = ReceiverStream<Result<wire::GetFileResponse, Status>>;

pub async fn get(app: &App, request: wire::GetFileRequest) -> Result<Pieces, Status> {
    let (blobs, digest) = (app.blobs.clone(), request.digest.clone());
    let read = tokio::task::spawn_blocking(move || blobs.get(&digest)).await;
    let content = read
        .map_err(|_| Status::internal("reading the file was interrupted"))?
        .map_err(|error| Status::unavailable(format!("read the file: {error}")))?
        .ok_or_else(|| Status::not_found(format!("there is no file with the digest {:?}", request.digest)))?;
    let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_QUEUE);
    app.tracker.spawn(async move {
        for piece in content.chunks(PIECE_BYTES) {
            if sender.send(Ok(wire::GetFileResponse { data: piece.to_vec() })).await.is_err() {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}
