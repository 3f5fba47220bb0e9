//! What is kept of runs goes when it is old, a little at a time: runs are at work
//! meanwhile.

use crate::app::App;
use crate::clock;
use crate::records::runs::{RUNS, decode_run, run_key, run_notes_prefix, run_tasks_prefix};
use hostler_core::runs::retention::{Past, outdated};
use hostler_store::{OPERATIONS_MAX, StoreError, Txn};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(3_600);
const PAUSE: Duration = Duration::from_millis(100);
/// Those whose keys are looked up together.
const RUNS_AT_ONCE: usize = 20;

/// Keys that are to go.
#[derive(Debug, Default)]
pub(super) struct Retention {
    next: Duration,
    left: Vec<String>,
}

impl Retention {
    pub fn wait(&self) -> Duration {
        self.next.saturating_sub(clock::now().monotonic)
    }

    pub async fn go_on(&mut self, app: &App) {
        let now = clock::now().monotonic;
        if self.next > now {
            return;
        }
        let done = if self.left.is_empty() { self.look(app).await } else { self.forget(app).await };
        if let Err(error) = &done {
            tracing::error!(error = %error, "what is old of runs can't be taken away: tried again in an hour");
        }
        let more = done.is_ok() && !self.left.is_empty();
        self.next = now.saturating_add(if more { PAUSE } else { EVERY });
    }

    async fn look(&mut self, app: &App) -> Result<(), StoreError> {
        let mut past = Vec::new();
        for (key, entry) in app.store.scan(RUNS, None).await?.entries {
            let Ok(header) = decode_run(&key, &entry.value) else { continue };
            if let Some(ended) = header.ended.filter(|_| header.state.is_over()) {
                past.push(Past { number: header.order.number, ended, nodes: header.nodes });
            }
        }
        for number in outdated(past, clock::wall()).into_iter().take(RUNS_AT_ONCE) {
            // What it brought back goes first: without a run nobody would find it again.
            if let Err(error) = app.run_files.forget(number) {
                tracing::error!(run = number, error = %error, "the files of an old run can't be removed");
                continue;
            }
            for prefix in [run_tasks_prefix(number), run_notes_prefix(number)] {
                self.left
                    .extend(app.store.scan(&prefix, None).await?.entries.into_iter().map(|(key, _)| key.to_string()));
            }
            // The head is the last to go: what it leads to is found as long as it is there.
            self.left.push(run_key(number));
        }
        self.left.reverse();
        Ok(())
    }

    async fn forget(&mut self, app: &App) -> Result<(), StoreError> {
        let from = self.left.len().saturating_sub(OPERATIONS_MAX);
        let keys = self.left.split_off(from);
        let txn = keys.into_iter().rev().fold(Txn::new(), |txn, key| txn.delete(key));
        app.store.commit(txn).await.map(drop)?;
        // There may be more than what was looked up together.
        if self.left.is_empty() { self.look(app).await } else { Ok(()) }
    }
}
