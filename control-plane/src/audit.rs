//! The audit log: every call, allowed or refused, in files of its own beside the
//! state store. A million records in the store would cost its memory and its start.
//!
//! `layer` sees each call, `log` writes, `files` finds what is there, `read` answers
//! questions. What a log is, and what is wrong with one, is `hostler_core::audit`.

mod files;
mod layer;
pub mod log;
pub mod read;

pub use files::Files;
pub use layer::{Call, audit, caller, names, on, refused};
pub use log::{Log, Options};

use crate::app::App;
use crate::records::{self, NewEvent, RecordError};
use crate::{clock, pki};
use hostler_core::audit::{Hash, Point};
use hostler_proto::store as rest;
use hostler_store::{Store, StoreError, Txn};
use hostler_types::EventKind;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use std::sync::Arc;
use std::time::Duration;

/// In the control plane's folder.
pub const FOLDER: &str = "audit";
/// Thirteen months: a year's audit looks back over all of it.
pub const DAYS_DEFAULT: u32 = 400;

pub fn hash(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().first_chunk().copied().unwrap_or_default()
}

/// Whether the control plane signed these words.
pub fn signed(public_key: &[u8], words: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(words, signature).is_ok()
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("read what the state store remembers of the audit log")]
    Store(#[from] StoreError),
    #[error("understand what the state store remembers of the audit log")]
    Record(#[from] RecordError),
    #[error("open the audit log in {path}")]
    Open { path: std::path::PathBuf, source: std::io::Error },
}

/// The newest checkpoint that the state store knows of.
pub fn head(bytes: Option<&[u8]>) -> Result<Option<Point>, RecordError> {
    let Some(bytes) = bytes else { return Ok(None) };
    let one: rest::AuditHead = records::decode(records::AUDIT_HEAD, bytes)?;
    let hash = one.hash.first_chunk().copied().unwrap_or_default();
    Ok(Some(Point { number: one.number, hash }))
}

/// Opens what is there, or begins.
pub async fn open(
    data: &std::path::Path,
    days: u32,
    store: &dyn Store,
    pki: &Arc<pki::Pki>,
) -> Result<Arc<Log>, AuditError> {
    let stored = store.get(records::AUDIT_HEAD).await?;
    let head = head(stored.as_ref().map(|entry| &*entry.value))?;
    let folder = data.join(FOLDER);
    let kept = Duration::from_secs(u64::from(days) * 86_400);
    let (pki, options) = (Arc::clone(pki), Options { kept, ..Options::new(&folder) });
    let sign = Box::new(move |words: &[u8]| pki.signing_key().sign(words).as_ref().to_vec());
    let opening = tokio::task::spawn_blocking(move || Log::open(options, head, sign)).await;
    let opened = opening.map_err(std::io::Error::other).and_then(|opened| opened);
    let log = opened.map_err(|source| AuditError::Open { path: folder, source })?;
    Ok(Arc::new(log))
}

/// Remembers each checkpoint in the state store, and tells people what the log has to
/// say.
pub async fn follow(app: Arc<App>) {
    let version = format!("version {}", env!("CARGO_PKG_VERSION"));
    app.audit.record_at_once(clock::wall(), &log::server_record("Start", version));
    let (mut heads, mut notices) = (app.audit.heads(), app.audit.notices());
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            changed = heads.changed() => match changed {
                Ok(()) => {
                    let head = *heads.borrow_and_update();
                    remember(&app, head).await;
                }
                Err(_) => return,
            },
            Some(message) = notices.recv() => {
                let (at, kind) = (clock::wall(), EventKind::SERVER);
                app.tell(NewEvent { at, kind, node: String::new(), subject: "audit".to_owned(), message }).await;
            }
        }
    }
}

async fn remember(app: &App, head: Point) {
    if head.number == 0 {
        return;
    }
    let record = records::encode(&rest::AuditHead { number: head.number, hash: head.hash.to_vec() });
    if let Err(error) = app.store.commit(Txn::new().put(records::AUDIT_HEAD, record)).await {
        tracing::warn!(error = %error, "the store could not remember the audit log's newest checkpoint");
    }
}

/// The last thing before a clean stop: from here on, a record that is gone is missed.
pub async fn close(app: &App) {
    app.audit.record_at_once(clock::wall(), &log::server_record("Stop", String::new()));
    if let Some(head) = app.audit.close().await {
        remember(app, head).await;
    }
}
