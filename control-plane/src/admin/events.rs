//! Events, listed and followed.

use crate::app::App;
use crate::journal::{Filter, JournalError};
use hostler_proto::admin as wire;
use hostler_types::{Event, Timestamp};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = crate::journal::EVENTS_KEPT;
/// A follower keeps its place in the journal; this only spans one slow moment.
const QUEUE: usize = 64;

pub fn to_wire(event: Event) -> wire::Event {
    wire::Event {
        seq: event.seq,
        at_ms: event.at.as_millis(),
        kind: event.kind.word().to_owned(),
        node: event.node,
        subject: event.subject,
        message: event.message,
    }
}

fn status(error: JournalError) -> Status {
    match error {
        JournalError::Seq(_) => Status::invalid_argument(error.to_string()),
        JournalError::Gone(_) => Status::out_of_range(error.to_string()),
        other => Status::internal(other.to_string()),
    }
}

fn after(seq: &str) -> Option<&str> {
    (!seq.is_empty()).then_some(seq)
}

pub fn list(app: &App, request: wire::ListEventsRequest) -> Result<wire::ListEventsResponse, Status> {
    let limit = match request.limit {
        0 => LIMIT_DEFAULT,
        limit => (limit as usize).min(LIMIT_MAX),
    };
    let after_seq = request.after_seq;
    let filter = Filter {
        node: request.node,
        kind: request.kind,
        subject: request.subject,
        since: Timestamp::from_millis(request.since_ms),
    };
    let events = app.journal.list(&filter, after(&after_seq), limit).map_err(status)?;
    Ok(wire::ListEventsResponse { events: events.into_iter().map(to_wire).collect() })
}

pub fn watch(
    app: &Arc<App>,
    request: wire::WatchEventsRequest,
) -> Result<ReceiverStream<Result<wire::Event, Status>>, Status> {
    let after_seq = request.after_seq;
    let filter =
        Filter { node: request.node, kind: request.kind, subject: request.subject, since: Timestamp::default() };
    let mut follower = app.journal.follow(filter, after(&after_seq)).map_err(status)?;
    let (events, stream) = mpsc::channel(QUEUE);
    let stop = app.stop.clone();
    app.tracker.spawn(async move {
        loop {
            let new = tokio::select! {
                () = stop.cancelled() => return,
                () = events.closed() => return,
                new = follower.next() => new,
            };
            let new = match new {
                Ok(new) => new,
                Err(gone) => return drop(events.send(Err(status(gone))).await),
            };
            for event in new {
                if events.send(Ok(to_wire(event))).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}
