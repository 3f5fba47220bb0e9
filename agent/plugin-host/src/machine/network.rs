//! Where a name leads and whether it may be gone to, connecting there, and the
//! TLS of a client that trusts what this host trusts.

use crate::call::CallError;
use crate::limits;
use hostler_types::plugin::{Grants, Need, is_link_local};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Some 300 kB of trusted roots: read when TLS is first spoken, then shared.
#[derive(Clone, Default)]
pub(super) struct Tls {
    loaded: Arc<OnceCell<Trust>>,
}

#[derive(Clone)]
pub(super) struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) config: Arc<ClientConfig>,
}

impl Trust {
    fn new(roots: RootCertStore) -> Result<Trust, CallError> {
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CallError::other("tls", error))?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        // A check wants to know whether a new client would get through.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Trust { roots, config: Arc::new(config) })
    }
}

impl Tls {
    pub(super) async fn trust(&self) -> Result<Trust, CallError> {
        self.loaded.get_or_try_init(load_roots).await.cloned()
    }

    /// TLS from here on, with a peer that is checked for this name.
    pub(super) async fn handshake<S>(&self, name: &str, stream: S) -> Result<TlsStream<S>, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(name)?;
        let config = self.trust().await?.config;
        let connected = TlsConnector::from(config).connect(name, stream).await;
        connected.map_err(|error| CallError::Unreachable(format!("tls: {}", tls_words(&error))))
    }

    /// Trusts these and no others.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Tls {
        let trust = Trust::new(roots).expect("a configuration");
        Tls { loaded: Arc::new(OnceCell::new_with(Some(trust))) }
    }
}

pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, CallError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| CallError::Invalid(format!("{name:?} is neither a name nor an address for TLS")))
}

async fn load_roots() -> Result<Trust, CallError> {
    let loaded = tokio::task::spawn_blocking(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (_, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(roots = roots.len(), ignored, "read the host's trusted roots");
        roots
    });
    Trust::new(loaded.await.map_err(|_| CallError::other("tls", "could not read trusted roots"))?)
}

/// The addresses of a host that may be connected to. Those that may not are as
/// if they were not there, unless no other is left.
pub(super) async fn resolve(host: &str, port: u16, need: &Need, grants: &Grants) -> Result<Vec<SocketAddr>, CallError> {
    let host = host.trim_matches(['[', ']']);
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => lookup(host, port).await?,
    };
    let (allowed, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
        found.into_iter().partition(|address| grants.allows_address(need, address.ip()));
    match (allowed.is_empty(), refused.first()) {
        (false, _) => Ok(allowed),
        (true, Some(refused)) => Err(refused_address(host, refused.ip(), need)),
        (true, None) => Err(unknown(host)),
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, CallError> {
    Ok(tokio::net::lookup_host((host, port)).await.map_err(|_| unknown(host))?.collect())
}

fn unknown(host: &str) -> CallError {
    CallError::Unreachable(format!("no address for {host}"))
}

fn refused_address(host: &str, address: IpAddr, need: &Need) -> CallError {
    let why = match is_link_local(address) {
        true => "an address of the link's own network must be written out",
        false => "private networks are refused here",
    };
    CallError::Denied(format!("{need} ({host} is {address}: {why})"))
}

pub(super) async fn connect(host: &str, port: u16, need: &Need, grants: &Grants) -> Result<TcpStream, CallError> {
    connect_to_one(&resolve(host, port, need, grants).await?).await
}

/// One address after the other; the last has all the time that is left.
pub(super) async fn connect_to_one(addresses: &[SocketAddr]) -> Result<TcpStream, CallError> {
    let mut failed = CallError::Timeout;
    for (index, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let connected = if index + 1 < addresses.len() {
            tokio::time::timeout(limits::CONNECT_ONE_ADDRESS, connecting).await
        } else {
            Ok(connecting.await)
        };
        match connected {
            Ok(Ok(tcp)) => {
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => failed = CallError::Unreachable(io_words(&error)),
            Err(_elapsed) => failed = CallError::Timeout,
        }
    }
    Err(failed)
}

/// Without the `(os error 111)` that the standard library adds.
pub(super) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => "connection refused".to_owned(),
        Kind::ConnectionReset => "connection reset".to_owned(),
        Kind::TimedOut => "connecting timed out".to_owned(),
        Kind::HostUnreachable => "no route to host".to_owned(),
        Kind::NetworkUnreachable => "network unreachable".to_owned(),
        Kind::UnexpectedEof => "closed the connection without an answer".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

pub(super) fn tls_words(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => error.to_string(),
        None => io_words(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Grants {
        toml::from_str(text).expect(text)
    }

    fn need(host: &str, port: u16) -> Need {
        Need::Tcp { host: host.to_owned(), port }
    }

    #[tokio::test]
    async fn connects_to_what_is_granted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let open = grants("tcp = [\"*:*\"]");
        for host in ["127.0.0.1", "localhost"] {
            assert!(connect(host, port, &need(host, port), &open).await.is_ok(), "{host}");
        }
        drop(listener);
        let refused = connect("127.0.0.1", port, &need("127.0.0.1", port), &open).await.expect_err("nobody listens");
        assert_eq!(refused, CallError::Unreachable("connection refused".into()));
        let unknown =
            connect("no.such.invalid", 1, &need("no.such.invalid", 1), &open).await.expect_err("no such name");
        assert_eq!(unknown, CallError::Unreachable("no address for no.such.invalid".into()));
    }

    #[tokio::test]
    async fn an_address_that_may_not_be_met_is_named() {
        let narrow = grants("tcp = [\"*:*\"]\npublic_only = true");
        let says = |host: &'static str, grants: Grants| async move {
            connect(host, 9, &need(host, 9), &grants).await.expect_err("denied")
        };
        let expect = |host: &str, address: &str, why: &str| {
            CallError::Denied(format!("grants.tcp = [\"{host}:9\"] ({host} is {address}: {why})"))
        };
        assert_eq!(
            says("127.0.0.1", narrow.clone()).await,
            expect("127.0.0.1", "127.0.0.1", "private networks are refused here")
        );
        assert!(matches!(says("localhost", narrow).await, CallError::Denied(_)));
        assert_eq!(
            says("169.254.169.254", grants("tcp = [\"*:*\"]")).await,
            expect("169.254.169.254", "169.254.169.254", "an address of the link's own network must be written out")
        );
    }
}
