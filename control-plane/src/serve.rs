//! The two TLS listeners: agents and joining on one, operators on the other.

use crate::app::{App, StartError};
use crate::config::Config;
use crate::enroll::EnrollmentService;
use crate::listener::Listener;
use crate::tls::{ClientVerifier, ShownCertificate, server_config};
use crate::{addresses, admin, audit, clock, edge, gate, install, link};
use hostler_proto::admin::admin_server::AdminServer;
use hostler_proto::agent::agent_link_server::AgentLinkServer;
use hostler_proto::agent::enrollment_server::EnrollmentServer;
use hostler_proto::transport::{MESSAGE_BYTES_MAX, SPEC_MESSAGE_BYTES_MAX};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;

/// Far more often than its certificate needs, so that a clock that jumped is
/// soon no trouble.
const SERVER_CERTIFICATE_PERIOD: Duration = Duration::from_secs(6 * 3_600);

pub struct Sockets {
    agents: TcpListener,
    operators: TcpListener,
    http: TcpListener,
}

impl Sockets {
    /// Before anything else, so that a port in use is the first thing said.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            agents: bind("agents_listen", config.agents_listen).await?,
            operators: bind("operators_listen", config.operators_listen).await?,
            http: bind("http_listen", config.http_listen).await?,
        })
    }

    pub fn agents_port(&self) -> u16 {
        self.agents.local_addr().map_or(0, |address| address.port())
    }

    pub fn http_port(&self) -> u16 {
        self.http.local_addr().map_or(0, |address| address.port())
    }

    pub fn operators_port(&self) -> u16 {
        self.operators.local_addr().map_or(0, |address| address.port())
    }
}

async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { setting, address, source })
}

/// Returns the socket for plain HTTP, which is served elsewhere.
pub fn spawn(app: &Arc<App>, sockets: Sockets) -> Result<TcpListener, StartError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let issued = app.pki.issue_server(&names(app), clock::wall())?;
    app.certificate_ends_ms.store(issued.not_after.as_millis(), Ordering::Relaxed);
    let shown = Arc::new(ShownCertificate::new(&app.pki, issued)?);
    let verifier = ClientVerifier::new(app.pki.authority().clone(), Arc::clone(&provider))?;
    let config = server_config(Arc::clone(&shown), Arc::clone(&verifier), provider)?;

    let enrollment = EnrollmentServer::new(EnrollmentService(Arc::clone(app)));
    let link = AgentLinkServer::new(link::LinkService(Arc::clone(app)));
    let agents = Routes::new(enrollment.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(link.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .into_axum_router()
        .merge(install::router(Arc::clone(app)));
    let admin = AdminServer::new(admin::AdminService(Arc::clone(app)));
    let operators = Routes::new(admin.max_decoding_message_size(SPEC_MESSAGE_BYTES_MAX)).into_axum_router();

    for (name, socket, router) in [("agents", sockets.agents, agents), ("operators", sockets.operators, operators)] {
        let router = router.layer(axum::middleware::from_fn_with_state(Arc::clone(app), gate::gate));
        let router = router.layer(axum::middleware::from_fn_with_state(Arc::clone(app), audit::audit));
        let router = router.layer(axum::middleware::map_response(edge::headers));
        let listener = Listener { name, socket, config: Arc::clone(&config), verifier: Arc::clone(&verifier), router };
        app.tracker.spawn(listener.serve(app.stop.clone(), app.tracker.clone()));
    }
    app.tracker.spawn(keep_certificate_fresh(Arc::clone(app), shown));
    Ok(sockets.http)
}

fn names(app: &App) -> Vec<String> {
    addresses::names_of(&app.agent_addresses().into_iter().chain(app.operator_addresses()).collect::<Vec<_>>())
}

async fn keep_certificate_fresh(app: Arc<App>, shown: Arc<ShownCertificate>) {
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(SERVER_CERTIFICATE_PERIOD) => {}
        }
        let issued = app.pki.issue_server(&names(&app), clock::wall()).map_err(|error| error.to_string());
        let outcome = issued.and_then(|issued| {
            let ends = issued.not_after.as_millis();
            shown.replace(&app.pki, issued).map_err(|error| error.to_string())?;
            app.certificate_ends_ms.store(ends, Ordering::Relaxed);
            Ok(())
        });
        if let Err(error) = outcome {
            tracing::error!(error, "making a new server certificate failed; the old one is shown on");
        }
    }
}
