//! What sees every call on its way in and out, and writes down who, from where, what,
//! on what and the outcome. It stands around the gate, so that refusals are there too.

use super::log::Unwritten;
use crate::app::App;
use crate::clock;
use crate::listener::Connection;
use crate::pki::{Subject, random};
use crate::tls::Peer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use hostler_proto::store as rest;
use hostler_types::NodeId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::SemaphorePermit;
use tonic::{Code, Status};

pub const REQUEST_ID: &str = "x-request-id";

/// Longer than any name of ours; what was typed by mistake is cut.
const NAME_CHARACTERS_MAX: usize = 128;
/// Of one call; the rest is a number.
const OBJECTS_MAX: usize = 64;
const WORDS_CHARACTERS_MAX: usize = 300;

/// Found out while a call goes on.
#[derive(Default)]
struct Told {
    by_kind: &'static str,
    by: String,
    on: Vec<rest::AuditObject>,
    beyond: usize,
    refused: bool,
}

/// One call's, shared between the layer and whoever handles it.
#[derive(Clone, Default)]
pub struct Call(Arc<Mutex<Told>>);

impl Call {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On what: a noun and a name, never a value.
    pub fn on(&self, noun: &str, name: &str) {
        if name.is_empty() {
            return;
        }
        let mut told = self.told();
        if told.on.len() == OBJECTS_MAX {
            told.beyond += 1;
            return;
        }
        let cut = |text: &str| text.chars().take(NAME_CHARACTERS_MAX).collect();
        told.on.push(rest::AuditObject { noun: cut(noun), name: cut(name) });
    }
}

/// Whoever the gate found out to call.
pub fn caller(extensions: &Extensions, kind: &'static str, name: &str) {
    if let Some(call) = extensions.get::<Call>() {
        let mut told = call.told();
        (told.by_kind, told.by) = (kind, name.to_owned());
    }
}

/// The gate let it not in.
pub fn refused(extensions: &Extensions) {
    if let Some(call) = extensions.get::<Call>() {
        call.told().refused = true;
    }
}

/// What this call is on, for the log.
pub fn on<T>(request: &tonic::Request<T>, noun: &str, name: &str) {
    names(request).on(noun, name);
}

/// For what is known only while a call is handled.
pub fn names<T>(request: &tonic::Request<T>) -> Call {
    request.extensions().get::<Call>().cloned().unwrap_or_default()
}

/// A call that only looks. Whatever is not known to is taken to change something.
fn only_looks(call: &str) -> bool {
    const FIRST_WORDS: [&str; 5] = ["Get", "List", "Find", "Watch", "Verify"];
    const NAMES: [&str; 8] = ["Plan", "Connect", "Fetch", "FetchFiles", "WhoAmI", "Can", "Diagnose", "TailService"];
    NAMES.contains(&call) || FIRST_WORDS.iter().any(|word| call.starts_with(word))
}

pub async fn audit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // The installer and its files are for anybody, and tell nothing.
    let Some(name) = path.strip_prefix("/hostler.").and_then(|rest| rest.split_once('/')) else {
        return next.run(request).await;
    };
    let name: String = name.1.chars().take(NAME_CHARACTERS_MAX).collect();
    let must_last = !only_looks(&name);
    let connection = request.extensions().get::<Connection>().cloned();
    let mut open =
        Open { app: Arc::clone(&app), call: Call::default(), record: Some(begin(name, connection.as_ref())) };
    request.extensions_mut().insert(open.call.clone());
    let mut response = match app.audit.failing().filter(|_| must_last) {
        None => next.run(request).await,
        Some(why) => {
            Status::unavailable(format!("{why}; calls that change something are refused until it can")).into_http()
        }
    };
    // Until it is in the queue, `open` sees to it.
    let place = app.audit.place().await;
    let Some(record) = open.end(&response) else { return response };
    let is_durable = must_last && !record.refused;
    if let Err(why) = written(&app, place, &record, is_durable).await
        && record.code == Code::Ok as u32
    {
        response = Status::data_loss(format!("it was done, and it is not in the audit log: {why}")).into_http::<Body>();
    }
    if let Ok(id) = HeaderValue::from_str(&record.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn written(
    app: &App,
    place: Result<SemaphorePermit<'_>, Unwritten>,
    record: &rest::AuditRecord,
    is_durable: bool,
) -> Result<(), Unwritten> {
    let answer = app.audit.queue(place?, clock::wall(), record);
    match answer {
        // An answer that does not come: the writer has stopped.
        Ok(answer) if is_durable => answer.await.unwrap_or_else(|_| Err(Unwritten("it has stopped".to_owned()))),
        Err(why) if is_durable => Err(why),
        _ => Ok(()),
    }
}

/// An error stands in the headers; what answers without one was done, or has begun to
/// answer.
fn outcome(response: &Response) -> Option<Status> {
    Status::from_header_map(response.headers())
}

fn begin(call: String, connection: Option<&Connection>) -> rest::AuditRecord {
    let (by_kind, by, by_id) = match connection.map(|connection| &connection.peer) {
        Some(Peer::Known { subject: Subject::Operator(name), .. }) => ("operator", name.clone(), String::new()),
        Some(Peer::Known { subject: Subject::Node(id), .. }) => ("node", String::new(), id.to_string()),
        Some(Peer::Anonymous | Peer::Nameless) | None => ("nobody", String::new(), String::new()),
    };
    let from = connection.map(|connection| connection.address.to_string()).unwrap_or_default();
    let request_id = random::<8>().map(|bytes| data_encoding::HEXLOWER.encode(&bytes)).unwrap_or_default();
    rest::AuditRecord { by_kind: by_kind.to_owned(), by, by_id, from, call, request_id, ..rest::AuditRecord::default() }
}

/// A call that goes on. If its caller goes away in its midst it is dropped, and still
/// written down.
struct Open {
    app: Arc<App>,
    call: Call,
    record: Option<rest::AuditRecord>,
}

impl Open {
    fn end(&mut self, response: &Response) -> Option<rest::AuditRecord> {
        let mut record = self.complete()?;
        if let Some(status) = outcome(response) {
            record.code = status.code() as u32;
            record.refused |= matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
            // The words of other errors may quote what was sent.
            if record.refused {
                record.words = status.message().chars().take(WORDS_CHARACTERS_MAX).collect();
            }
        }
        Some(record)
    }

    fn complete(&mut self) -> Option<rest::AuditRecord> {
        let mut record = self.record.take()?;
        let mut told = self.call.told();
        if !told.by_kind.is_empty() {
            (record.by_kind, record.by) = (told.by_kind.to_owned(), std::mem::take(&mut told.by));
        }
        record.on = std::mem::take(&mut told.on);
        record.refused = told.refused;
        if told.beyond > 0 {
            record.words = format!("and on {} more", told.beyond);
        }
        if let Some(id) = NodeId::parse(&record.by_id).ok().filter(|_| record.by.is_empty()) {
            let member = self.app.mirror.now().members.get(&id).map(|member| member.name.to_string());
            record.by = member.unwrap_or_default();
        }
        Some(record)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut record) = self.complete() {
            record.code = Code::Cancelled as u32;
            self.app.audit.record_at_once(clock::wall(), &record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_only_look_is_taken_to_change_something() {
        for call in ["GetServer", "ListAudit", "FindMissingFiles", "WatchEvents", "VerifyAudit", "Plan", "Connect"] {
            assert!(only_looks(call), "{call}");
        }
        for call in ["RevokeNode", "Apply", "CreateToken", "Join", "Renew", "Backup", "SomethingNew"] {
            assert!(!only_looks(call), "{call}");
        }
    }

    #[test]
    fn names_are_cut_and_counted() {
        let call = Call::default();
        call.on("node", "");
        for number in 0..OBJECTS_MAX + 3 {
            call.on("check", &format!("{number}{}", "x".repeat(1_000)));
        }
        let told = call.told();
        assert_eq!((told.on.len(), told.beyond), (OBJECTS_MAX, 3));
        assert_eq!(told.on[0].name.len(), NAME_CHARACTERS_MAX);
    }
}
