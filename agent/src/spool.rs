//! The spool's files: segments in a folder, appended and fsynced before anything
//! counts as seen. What goes where is the ledger's to say.

mod files;

pub use files::{Found, SpoolError};

use crate::clock;
use files::SpoolFiles;
use hostler_agent_core::spool::Loss;
use hostler_proto::agent::spool_record::Body;
use hostler_proto::agent::{AgentEvent, SpoolBatch};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// By protocol.
pub const BATCH_RECORDS_MAX: usize = 64;

/// How full it is, for whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolState {
    pub last: u64,
    pub acked: u64,
    pub bytes: u64,
    pub lost: u64,
    /// The last failure to write, until a write succeeds.
    pub trouble: Option<String>,
}

impl SpoolState {
    pub fn backlog(&self) -> u64 {
        self.last.saturating_sub(self.acked)
    }
}

/// A handle: cheap to clone, blocking work done off the runtime's thread.
#[derive(Clone)]
pub struct Spool {
    files: Arc<Mutex<SpoolFiles>>,
    state: Arc<watch::Sender<SpoolState>>,
    id: u64,
}

impl Spool {
    pub fn open(folder: &Path) -> Result<(Self, Found), SpoolError> {
        let (files, found) = SpoolFiles::open(folder, clock::wall())?;
        let id = files.id();
        let state = Arc::new(watch::Sender::new(files.state()));
        Ok((Self { files: Arc::new(Mutex::new(files)), state, id }, found))
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn follow(&self) -> watch::Receiver<SpoolState> {
        self.state.subscribe()
    }

    pub fn state(&self) -> SpoolState {
        self.state.borrow().clone()
    }

    fn lock(&self) -> MutexGuard<'_, SpoolFiles> {
        // Its own state is set after each step that can fail: it is never half done.
        self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SpoolFiles) -> T + Send + 'static,
    ) -> Option<T> {
        let spool = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut files = spool.lock();
            let result = work(&mut files);
            let state = files.state();
            drop(files);
            spool.state.send_if_modified(|old| std::mem::replace(old, state.clone()) != state);
            result
        });
        match done.await {
            Ok(result) => Some(result),
            Err(error) => {
                tracing::error!(error = %error, "the spool's worker ended");
                None
            }
        }
    }

    /// Durable when it returns, or counted as lost. Returns the last sequence number.
    pub async fn append(&self, bodies: Vec<Body>) -> u64 {
        let last = self.off_thread(move |files| files.append(bodies, clock::wall())).await;
        last.unwrap_or_else(|| self.state().last)
    }

    pub async fn event(&self, kind: &str, subject: &str, message: String) {
        let at_ms = clock::wall().as_millis();
        let event = AgentEvent { at_ms, kind: kind.to_owned(), subject: subject.to_owned(), message };
        self.append(vec![Body::Event(event)]).await;
    }

    /// The oldest that is not acked; nothing if all is.
    pub async fn batch(&self) -> Option<SpoolBatch> {
        let id = self.id;
        let read = self.off_thread(|files| files.read_unacked(BATCH_RECORDS_MAX)).await?;
        match read {
            Ok(records) if records.is_empty() => None,
            Ok(records) => Some(SpoolBatch { spool_id: id, records }),
            Err(error) => {
                tracing::error!(error = %crate::logging::whole(&error), "reading the spool failed");
                None
            }
        }
    }

    pub async fn ack(&self, sequence: u64) {
        self.off_thread(move |files| files.ack(sequence)).await;
    }
}

/// A loss as it goes over the wire.
fn gap(loss: &Loss, at_ms: u64) -> Body {
    Body::Gap(hostler_proto::agent::Gap { at_ms, count: loss.count, reason: loss.reason.clone() })
}

#[cfg(test)]
mod tests;
