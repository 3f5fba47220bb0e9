//! What a new host fetches: the installer, made for this control plane, and the
//! agent's programs. Open to anybody; nothing here is secret.

use crate::addresses::only_loopback;
use crate::app::App;
use crate::pki::sha256_hex;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::path::PathBuf;
use std::sync::Arc;

const SCRIPT: &str = include_str!("../../deploy/install/install.sh");
const UNIT: &str = include_str!("../../deploy/systemd/hostler-agent.service");
/// What a host needs, and nothing else, so that a path leads nowhere.
const PROGRAMS: [&str; 2] = ["hostler-agent", "hostler-plugin"];

pub fn router(app: Arc<App>) -> Router {
    Router::new().route("/install", get(script)).route("/download/{program}", get(download)).with_state(app)
}

fn program(app: &App, name: &str) -> Option<PathBuf> {
    PROGRAMS.contains(&name).then(|| app.config.agent_programs.join(name))
}

async fn script(State(app): State<Arc<App>>) -> Response {
    let mut text = SCRIPT
        .replace("@ADDRESS@", app.agent_addresses().first().map_or("", String::as_str))
        .replace("@PIN@", &app.pki.server_pin())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@UNIT@", UNIT.trim_end());
    for (name, mark) in PROGRAMS.into_iter().zip(["@SHA256_AGENT@", "@SHA256_PLUGIN@"]) {
        let read = match program(&app, name) {
            Some(path) => tokio::fs::read(&path).await.map_err(|error| format!("{}: {error}", path.display())),
            None => Err(format!("{name} is not offered")),
        };
        match read {
            Ok(bytes) => text = text.replace(mark, &sha256_hex(&bytes)),
            Err(problem) => {
                tracing::error!(problem, "the installer cannot be served");
                let text = format!(
                    "the control plane lacks a program to install ({problem}); its setting agent_programs names the folder\n"
                );
                return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
            }
        }
    }
    ([(header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], text).into_response()
}

async fn download(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let Some(path) = program(&app, &name) else {
        return (StatusCode::NOT_FOUND, format!("there is no such program; there are {}\n", PROGRAMS.join(", ")))
            .into_response();
    };
    match tokio::fs::read(&path).await {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from(bytes)).into_response(),
        Err(error) => {
            tracing::error!(path = %path.display(), error = %error, "a program cannot be served");
            (StatusCode::SERVICE_UNAVAILABLE, "the program cannot be read here\n").into_response()
        }
    }
}

/// The line to type on a new host, or why there is none.
pub fn install_line(app: &App, code: &str) -> Result<String, String> {
    let addresses = app.agent_addresses();
    let Some(address) = addresses.iter().find(|one| !only_loopback(std::slice::from_ref(one))) else {
        return Err(format!(
            "the control plane listens on loopback only ({}), so no other host can join; set agents_listen (and advertise) in its configuration",
            addresses.join(", ")
        ));
    };
    Ok(format!("curl -fk --pinnedpubkey {} https://{address}/install | sh -s -- {code}", app.pki.server_pin()))
}
