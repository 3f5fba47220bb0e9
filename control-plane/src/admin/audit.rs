//! The audit log, listed and verified.

use crate::app::App;
use crate::audit::read::{self, Filter, Found};
use hostler_core::audit::Point;
use hostler_core::audit::verify::{Bad, Report};
use hostler_proto::admin as wire;
use hostler_types::Timestamp;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Some hundred kilobytes, far below the limit on messages.
const PAGE_RECORDS: usize = 1_000;
/// Pages that wait for a slow reader.
const PAGES_QUEUE: usize = 4;

pub type Pages = ReceiverStream<Result<wire::ListAuditResponse, Status>>;

fn to_wire(found: Found) -> wire::AuditRecord {
    let Found { number, at, record } = found;
    let object = |one: hostler_proto::store::AuditObject| wire::AuditObject { noun: one.noun, name: one.name };
    wire::AuditRecord {
        number,
        at_ms: at.as_millis(),
        by_kind: record.by_kind,
        by: record.by,
        by_id: record.by_id,
        from: record.from,
        call: record.call,
        on: record.on.into_iter().map(object).collect(),
        code: record.code,
        refused: record.refused,
        words: record.words,
        request_id: record.request_id,
    }
}

fn failed(error: &std::io::Error) -> Status {
    Status::unavailable(format!("read the audit log: {error}"))
}

/// Which system a spec is of.
pub fn system_of(spec: Option<&wire::Spec>) -> &str {
    let mut documents = spec.into_iter().flat_map(|spec| &spec.documents);
    documents.find(|one| one.kind == "system").map_or(hostler_core::applied::LOOSE, |one| &one.name)
}

/// The log as it is now; what is written meanwhile is not waited for.
pub fn list(app: &Arc<App>, request: wire::ListAuditRequest) -> Pages {
    let (pages, stream) = mpsc::channel(PAGES_QUEUE);
    let app = Arc::clone(app);
    app.tracker.clone().spawn_blocking(move || {
        let filter = Filter {
            by: request.by,
            on_noun: request.on_noun,
            on_name: request.on_name,
            since: Timestamp::from_millis(request.since_ms),
            until: (request.until_ms != 0).then(|| Timestamp::from_millis(request.until_ms)),
            refused: request.refused,
        };
        let mut left = if request.limit == 0 { u64::MAX } else { request.limit };
        let mut page = wire::ListAuditResponse::default();
        let (files, _) = app.audit.files();
        let outcome = read::list(&files, &filter, request.oldest_first, &mut |found| {
            page.records.push(to_wire(found));
            left -= 1;
            let is_full = page.records.len() >= PAGE_RECORDS || left == 0;
            let is_taken = !is_full || pages.blocking_send(Ok(std::mem::take(&mut page))).is_ok();
            is_taken && left > 0 && !app.stop.is_cancelled()
        });
        let rest = match outcome {
            Ok(()) if page.records.is_empty() => return,
            Ok(()) => Ok(page),
            Err(error) => Err(failed(&error)),
        };
        drop(pages.blocking_send(rest));
    });
    ReceiverStream::new(stream)
}

pub async fn verify(app: &Arc<App>) -> Result<wire::VerifyAuditResponse, Status> {
    let app = Arc::clone(app);
    let read = tokio::task::spawn_blocking(move || {
        app.audit.reading(|| {
            let (files, end) = app.audit.files();
            let known: Vec<Point> = [end].into_iter().filter(|point| point.number > 0).collect();
            read::verify(&files, &app.pki.signing_public_key(), &known)
        })
    });
    let verdict = read.await.map_err(|error| Status::internal(error.to_string()))?;
    Ok(verdict_to_wire(verdict.map_err(|error| failed(&error))?))
}

fn verdict_to_wire(verdict: Result<Report, Bad>) -> wire::VerifyAuditResponse {
    match verdict {
        Ok(report) => wire::VerifyAuditResponse {
            first: report.first,
            last: report.last,
            first_at_ms: report.first_at.as_millis(),
            last_at_ms: report.last_at.as_millis(),
            calls: report.calls,
            checkpoints: report.checkpoints,
            torn_bytes: report.torn_bytes,
            ..wire::VerifyAuditResponse::default()
        },
        Err(bad) => wire::VerifyAuditResponse {
            bad_number: bad.number,
            bad_at_ms: bad.at.as_millis(),
            fault: bad.fault.word().to_owned(),
            words: bad.to_string(),
            ..wire::VerifyAuditResponse::default()
        },
    }
}
