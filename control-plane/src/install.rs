//! What a new host fetches: the installer, made for this control plane, and the
//! agent's programs. Open to anybody; nothing here is secret.

use crate::addresses::only_loopback;
use crate::app::App;
use crate::pki::sha256_hex;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

const SCRIPT: &str = include_str!("../../deploy/install/install.sh");
const UNIT: &str = include_str!("../../deploy/systemd/hostler-agent.service");
/// What a host needs, and nothing else, so that a path leads nowhere.
const PROGRAMS: [&str; 3] = ["hostler-agent", "hostler-executor", "hostler-plugin"];
const CHECKSUMS: [&str; 3] = ["@SHA256_AGENT@", "@SHA256_EXECUTOR@", "@SHA256_PLUGIN@"];

#[derive(Clone)]
struct Offer {
    app: Arc<App>,
    programs: Arc<Mutex<BTreeMap<&'static str, Program>>>,
}

/// Read once and shared by every download: whoever asks without any credential
/// must not make the server read or hash, nor hold a copy of their own.
#[derive(Clone)]
struct Program {
    modified: SystemTime,
    sha256: String,
    content: Bytes,
}

pub fn router(app: Arc<App>) -> Router {
    let offer = Offer { app, programs: Arc::default() };
    Router::new().route("/install", get(script)).route("/download/{program}", get(download)).with_state(offer)
}

impl Offer {
    async fn program(&self, name: &'static str) -> Result<Program, String> {
        let path: PathBuf = self.app.config.agent_programs.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let modified = tokio::fs::metadata(&path).await.and_then(|found| found.modified()).map_err(failed)?;
        let known = self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known.filter(|known| known.modified == modified) {
            return Ok(known);
        }
        let content = Bytes::from(tokio::fs::read(&path).await.map_err(failed)?);
        let read = Program { modified, sha256: sha256_hex(&content), content };
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).insert(name, read.clone());
        Ok(read)
    }
}

async fn script(State(offer): State<Offer>) -> Response {
    let app = &offer.app;
    let mut text = SCRIPT
        .replace("@ADDRESS@", app.agent_addresses().first().map_or("", String::as_str))
        .replace("@PIN@", &app.pki.server_pin())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@UNIT@", UNIT.trim_end());
    for (name, mark) in PROGRAMS.into_iter().zip(CHECKSUMS) {
        match offer.program(name).await {
            Ok(program) => text = text.replace(mark, &program.sha256),
            Err(problem) => {
                tracing::error!(problem, "the installer cannot be served");
                let text = "the control plane lacks a program to install; its log says which, and its setting agent_programs names the folder\n";
                return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
            }
        }
    }
    ([(header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], text).into_response()
}

async fn download(State(offer): State<Offer>, Path(name): Path<String>) -> Response {
    let Some(name) = PROGRAMS.into_iter().find(|known| *known == name) else {
        let text = format!("there is no such program; there are {}\n", PROGRAMS.join(", "));
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    match offer.program(name).await {
        Ok(program) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from(program.content)).into_response()
        }
        Err(problem) => {
            tracing::error!(problem, "a program cannot be served");
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
