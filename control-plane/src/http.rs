//! /health, /ready and /metrics, in plain HTTP on loopback.

use crate::app::App;
use crate::edge;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hostler_store::Revision;
use hostler_types::{CheckState, NodeState};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A store that does not answer a read in that time is not ready.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Whoever follows the store lags by a few commits in a burst; by so many, what
/// is answered from memory is no longer true.
const BEHIND_MAX: u64 = 1_000;

pub fn spawn(app: &Arc<App>, socket: TcpListener) {
    let router = Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .layer(axum::middleware::map_response(edge::headers))
        .with_state(Arc::clone(app));
    let stop = app.stop.clone();
    app.tracker.spawn(async move {
        let served = axum::serve(socket, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(error = %error, "serving /health ended");
        }
    });
}

/// `ok`, or by how much what is in memory lags.
fn kept_up(seen: Revision, newest: Revision) -> String {
    match newest.saturating_sub(seen) {
        behind if behind > BEHIND_MAX => format!("{behind} commits behind"),
        _ => "ok".to_owned(),
    }
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let answer = tokio::time::timeout(READ_TIMEOUT, app.store.commit(hostler_store::Txn::new())).await;
    let newest = match &answer {
        Ok(Ok(revision)) => *revision,
        _ => 0,
    };
    let store = match answer {
        Ok(Ok(_)) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("does not answer within {} s", READ_TIMEOUT.as_secs()),
    };
    let state = kept_up(app.mirror.now().revision, newest);
    let events = kept_up(app.journal.reached(), newest);
    let listeners = if app.stop.is_cancelled() { "stopping" } else { "ok" };
    let ok = [&store, &state, &events].iter().all(|one| *one == "ok") && !app.stop.is_cancelled();
    let body = serde_json::json!({
        "status": if ok { "ready" } else { "not ready" },
        "components": { "store": store, "state": state, "events": events, "listeners": listeners },
    });
    let code = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let world = app.mirror.now();
    let mut nodes: BTreeMap<&str, u64> = NodeState::ALL.iter().map(|state| (state.word(), 0)).collect();
    for id in world.members.keys() {
        if let Some(seen) = app.fleet.seen(id) {
            *nodes.entry(seen.state.word()).or_default() += 1;
        }
    }
    let mut checks: BTreeMap<&str, u64> = CheckState::ALL.iter().map(|state| (state.word(), 0)).collect();
    for health in world.health.values() {
        *checks.entry(health.state.word()).or_default() += 1;
    }
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: Vec<(String, u64)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let by_state = |counts: BTreeMap<&str, u64>| {
        counts.into_iter().map(|(state, count)| (format!("{{state=\"{state}\"}}"), count)).collect()
    };
    family("hostler_nodes", "Nodes by state.", by_state(nodes));
    family("hostler_checks", "Checks on nodes by state.", by_state(checks));
    family("hostler_connected_agents", "Open agent streams.", vec![(String::new(), app.fleet.connected() as u64)]);
    family("hostler_store_revision", "Commits since the store was made.", vec![(String::new(), world.revision)]);
    family(
        "hostler_audit_records",
        "Calls written to the audit log since the start.",
        vec![(String::new(), app.audit.written())],
    );
    let failing = u64::from(app.audit.failing().is_some());
    family("hostler_audit_failing", "1 while the audit log can't be written.", vec![(String::new(), failing)]);
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    family("hostler_build_info", "Which version runs.", vec![(version, 1)]);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
