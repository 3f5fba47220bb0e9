//! How a client reaches the control plane: one TLS 1.3 connection, dialled here
//! and not by the RPC library, so that whatever goes wrong has a name.
//!
//! A server is known by its authority and by [`SERVER_NAME`], never by the
//! address it was found at; so addresses may change, be several, or lead
//! through a tunnel.

mod replay;
mod trust;

use replay::Replay;
use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

pub use trust::{Trust, key_pin};

/// In every server certificate of every control plane.
pub const SERVER_NAME: &str = "control-plane.hostler.internal";
/// Larger content goes in pieces.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Between operators and the control plane: a whole system and what is said about
/// it fit.
pub const SPEC_MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// TCP, TLS and the server's first word, together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Under a minute, after which many address translators forget a connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Who the client is: its certificate, what leads to the authority, and its key.
pub struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for ClientIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{address} is no address: write it as host:port")]
    Address { address: String },
    #[error("nothing answers at {address}")]
    Unreachable { address: String, source: io::Error },
    #[error("{address} did not answer within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut { address: String },
    #[error("{address} does not speak Hostler's TLS: is it the right port?")]
    NotTls { address: String, source: io::Error },
    #[error("{address} is not the control plane this host trusts (its certificate leads to another authority)")]
    WrongServer { address: String, source: io::Error },
    #[error("the control plane refuses this certificate: {}", alert_meaning(*.alert))]
    Refused { alert: AlertDescription },
    #[error("the client certificate or key cannot be used")]
    Identity(#[source] rustls::Error),
    #[error("open the connection to {address}")]
    Protocol { address: String, source: tonic::transport::Error },
}

impl ConnectError {
    /// Whether trying again without anybody's help can succeed.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Address { .. } | Self::Identity(_))
    }
}

fn alert_meaning(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => {
            "its authority is not this control plane's (was the control plane made anew? join again with a new code)"
                .into()
        }
        AlertDescription::CertificateExpired => {
            "it expired more than 90 days ago, or the control plane's clock is wrong; join again with a new code".into()
        }
        AlertDescription::UnsupportedCertificate => {
            "it is not a client's certificate (a server's own certificate was used?)".into()
        }
        AlertDescription::CertificateRevoked => "it is revoked".into(),
        AlertDescription::CertificateRequired => "none was shown, and one is needed here".into(),
        AlertDescription::BadCertificate => "it cannot be read or its signature is wrong".into(),
        AlertDescription::ProtocolVersion => "TLS 1.3 is needed".into(),
        other => format!("TLS alert {other:?}"),
    }
}

/// One connection to one address. When it breaks it stays broken: whoever asked
/// for it decides whether and when to dial again.
pub async fn connect(address: &str, trust: &Trust, identity: Option<ClientIdentity>) -> Result<Channel, ConnectError> {
    let config = Arc::new(client_config(trust, identity)?);
    let timed_out = || ConnectError::TimedOut { address: address.to_owned() };
    tokio::time::timeout(CONNECT_TIMEOUT, dial(address, config)).await.map_err(|_| timed_out())?
}

async fn dial(address: &str, config: Arc<rustls::ClientConfig>) -> Result<Channel, ConnectError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| ConnectError::Address { address: address.to_owned() })?
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let stream = TcpStream::connect(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => ConnectError::Address { address: address.to_owned() },
        _ => ConnectError::Unreachable { address: address.to_owned(), source },
    })?;
    // Small messages must not wait for each other; without it a round trip can take 40 ms.
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(SERVER_NAME).map_err(|_| ConnectError::Address { address: address.to_owned() })?;
    let tls = TlsConnector::from(config).connect(name, stream).await.map_err(|error| name_failure(address, error))?;
    // In TLS 1.3 a client is done before its own certificate was judged; the
    // server's first bytes are the proof that it was accepted.
    let replay = Replay::after_first_read(tls).await.map_err(|error| name_failure(address, error))?;
    let mut once = Some(hyper_util::rt::TokioIo::new(replay));
    let connector = tower::service_fn(move |_| {
        let io = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(io)
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| ConnectError::Protocol { address: address.to_owned(), source })
}

fn client_config(trust: &Trust, identity: Option<ClientIdentity>) -> Result<rustls::ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ConnectError::Identity)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust::Verifier::new(trust, provider)?));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain, identity.key).map_err(ConnectError::Identity)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Each connection is made with the newest certificate; a resumed session
    // would carry the old one's identity on.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn name_failure(address: &str, error: io::Error) -> ConnectError {
    let address = address.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => ConnectError::Refused { alert: *alert },
        Some(rustls::Error::InvalidCertificate(_)) => ConnectError::WrongServer { address, source: error },
        Some(_) => ConnectError::NotTls { address, source: error },
        None => ConnectError::Unreachable { address, source: error },
    }
}
