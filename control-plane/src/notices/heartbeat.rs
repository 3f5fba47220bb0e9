//! The dead man's heartbeat: while this control plane is well it says so to a
//! server elsewhere, which tells people when it stops.

use crate::app::App;
use hostler_notify::web;
use std::sync::Arc;
use std::time::Duration;

/// Well enough means that a write is durable within that time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

pub async fn run(app: Arc<App>, url: String) {
    let every = app.config.heartbeat_every;
    let mut failing = false;
    loop {
        let write = tokio::time::timeout(WRITE_TIMEOUT, app.store.commit(hostler_store::Txn::new())).await;
        if matches!(write, Ok(Ok(_))) {
            let sent = web::get(&url).await;
            // Said once: the other side is the one that counts.
            match &sent {
                Err(why) if !failing => tracing::warn!(why, "the heartbeat was not taken"),
                Ok(_) if failing => tracing::info!("the heartbeat is taken again"),
                _ => {}
            }
            failing = sent.is_err();
        } else {
            tracing::error!("no heartbeat: the store does not take writes");
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}
