//! Servers on this machine for the tests: whatever they are told to say, over
//! TCP or TLS, and what they were told.

use super::network::Tls;
use hostler_types::plugin::Grants;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

pub(super) fn grants(text: &str) -> Grants {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Ends with its test's runtime.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers every connection with these bytes and closes it.
    pub(super) async fn says(answer: impl Into<Vec<u8>>) -> Server {
        Server::start(answer.into(), None).await
    }

    /// The same over TLS.
    pub(super) async fn says_over_tls(answer: impl Into<Vec<u8>>, server: rustls::ServerConfig) -> Server {
        Server::start(answer.into(), Some(tokio_rustls::TlsAcceptor::from(Arc::new(server)))).await
    }

    async fn start(answer: Vec<u8>, tls: Option<tokio_rustls::TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let server = Server { port, heard: Arc::default() };
        let heard = server.heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => talk(stream, &answer, &heard).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            talk(stream, &answer, &heard).await;
                        }
                    }
                }
            }
        });
        server
    }

    /// What each connection said first.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("nobody panicked").clone()
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8], heard: &Mutex<Vec<String>>) {
    let mut request = vec![0u8; 16 * 1024];
    let read = stream.read(&mut request).await.unwrap_or_default();
    heard.lock().expect("nobody panicked").push(String::from_utf8_lossy(&request[..read]).into_owned());
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

/// Somebody to sign certificates, and who trusts them.
pub(super) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let key = rcgen::KeyPair::generate().expect("key");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "Test Root");
        let root = parameters.self_signed(&key).expect("root").der().clone();
        Authority { issuer: rcgen::Issuer::new(parameters, key), root }
    }

    pub(super) fn trusted(&self) -> Tls {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        Tls::trusting(roots)
    }

    pub(super) fn server(&self, parameters: rcgen::CertificateParams) -> rustls::ServerConfig {
        let key = rcgen::KeyPair::generate().expect("key");
        let leaf = parameters.signed_by(&key, &self.issuer).expect("leaf");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.root.clone()], key)
            .expect("server")
    }

    pub(super) fn server_for(&self, name: &str) -> rustls::ServerConfig {
        self.server(rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters"))
    }
}

/// Trusts nobody.
pub(super) fn no_trust() -> Tls {
    Tls::trusting(RootCertStore::empty())
}

/// Waits for a condition of another process or thread.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
