//! What nobody decided on in time ends, and what was decided is forgotten one day.

use crate::app::App;
use crate::clock;
use crate::enroll::store_status;
use crate::records::{self, approval_key};
use hostler_core::approvals::{Due, State, due};
use hostler_proto::store as rest;
use hostler_store::Txn;
use hostler_types::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Days are what it is about.
const LOOK: Duration = Duration::from_secs(60);

pub async fn run(app: Arc<App>) {
    loop {
        if let Err(error) = sweep(&app).await {
            tracing::error!(error = error.message(), "sweeping what waits for approval failed");
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn sweep(app: &App) -> Result<(), Status> {
    // Nobody decides meanwhile.
    let _turn = app.approvals_turn.lock().await;
    let (world, now) = (app.mirror.now(), clock::wall());
    for (id, record) in world.approvals.iter() {
        let state = State::parse(&record.state).unwrap_or(State::Expired);
        let at = Timestamp::from_millis;
        match due(state, at(record.expires_at_ms), at(record.decided_at_ms), now) {
            Due::Nothing => {}
            Due::Expire => {
                let key = approval_key(id);
                let Some(entry) = app.store.get(&key).await.map_err(store_status)? else { continue };
                let waiting: rest::Approval =
                    records::decode(&key, &entry.value).map_err(|error| Status::data_loss(error.to_string()))?;
                let state = State::Expired.word().to_owned();
                let closed = rest::Approval { state, decided_at_ms: now.as_millis(), ..waiting };
                super::close(app, id, entry.modified, closed).await?;
            }
            Due::Forget => {
                app.store.commit(Txn::new().delete(approval_key(id))).await.map_err(store_status)?;
            }
        }
    }
    Ok(())
}
