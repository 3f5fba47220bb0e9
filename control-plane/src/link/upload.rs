//! A file that a node's task brings back.

use crate::app::App;
use crate::enroll::store_status;
use crate::runs::{self, RunFilesError};
use hostler_proto::agent as wire;
use hostler_types::{NodeId, TaskId};
use std::time::Duration;
use tonic::{Status, Streaming};

/// Between two chunks; a slower line than that is a broken one.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// Only what its own report named, and as that named it. Durable when it returns; what is
/// here already is not read again.
pub async fn take(
    app: &App,
    node: &NodeId,
    mut chunks: Streaming<wire::UploadChunk>,
) -> Result<wire::UploadResponse, Status> {
    let busy = || Status::unavailable("many files come at once: try again in a moment");
    let _turn = app.run_files.turn().ok_or_else(busy)?;
    let head = next(&mut chunks).await?.ok_or_else(|| Status::invalid_argument("no file is named"))?;
    let id = TaskId::parse(&head.task).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let told = runs::told(app, node, &id).await.map_err(store_status)?;
    let (number, report) = told.ok_or_else(|| Status::not_found("no run asks for it any more"))?;
    if !report.state.is_over() {
        return Err(Status::unavailable("how its task ended has not come yet"));
    }
    let named = report.files.iter().find(|file| file.path.as_str() == head.path);
    let taken = named.and_then(|file| file.taken.as_ref().ok()).filter(|taken| taken.digest == head.digest);
    let taken = taken.ok_or_else(|| Status::not_found("the report of its task names no such file"))?;
    if app.run_files.has(number, &taken.digest) {
        return Ok(wire::UploadResponse {});
    }
    let mut incoming = app.run_files.begin(number, taken).map_err(status)?;
    while let Some(chunk) = next(&mut chunks).await? {
        incoming.write(&chunk.data).await.map_err(status)?;
    }
    incoming.finish().await.map_err(status)?;
    Ok(wire::UploadResponse {})
}

async fn next(chunks: &mut Streaming<wire::UploadChunk>) -> Result<Option<wire::UploadChunk>, Status> {
    let late = |_| Status::deadline_exceeded(format!("nothing came for {} s", CHUNK_TIMEOUT.as_secs()));
    tokio::time::timeout(CHUNK_TIMEOUT, chunks.message()).await.map_err(late)?
}

fn status(error: RunFilesError) -> Status {
    match error {
        RunFilesError::Disk(_) => Status::unavailable(error.to_string()),
        RunFilesError::Other(_) => Status::invalid_argument(error.to_string()),
        RunFilesError::Full { .. } | RunFilesError::Gone { .. } => Status::failed_precondition(error.to_string()),
    }
}
