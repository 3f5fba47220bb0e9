//! A TLS handshake and nothing more: what was agreed on, who the peer says it
//! is, and whether a client of this host would believe it.

mod certificate;
mod starttls;

use super::network::{self, Tls, server_name, tls_words};
use crate::answer::Probe;
use crate::call::CallError;
use hostler_types::plugin::{Grants, Need};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use starttls::Protocol;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What browsers ask for.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

pub(super) async fn inspect(
    host: &str,
    port: u16,
    name: &str,
    starttls: Option<&str>,
    grants: &Grants,
    tls: &Tls,
) -> Result<Probe, CallError> {
    let need = Need::Tcp { host: host.to_owned(), port };
    let name = server_name(name)?;
    let starttls = starttls.map(Protocol::parse).transpose()?;
    let recorder = Arc::new(Recorder::new(tls).await?);
    let alpn = if starttls.is_some() { &[] } else { ALPN.as_slice() };
    let addresses = network::resolve(host, port, &need, grants).await?;
    let attempt = |alpn| {
        let (recorder, addresses, name) = (recorder.clone(), &addresses, name.clone());
        async move {
            let mut tcp = network::connect_to_one(addresses).await?;
            if let Some(protocol) = starttls {
                protocol.begin(&mut tcp).await?;
            }
            handshake(recorder, alpn, name, tcp).await
        }
    };
    let stream = match attempt(alpn).await? {
        // A server of another protocol that takes the question seriously.
        Err(error) if no_such_protocol(&error) => attempt(&[]).await?,
        done => done,
    };
    let stream = stream.map_err(|error| CallError::Unreachable(format!("tls: {}", tls_words(&error))))?;
    Ok(probe(stream.get_ref().1, recorder.verdict()))
}

type Shaken = std::io::Result<TlsStream<TcpStream>>;

async fn handshake(
    recorder: Arc<Recorder>,
    alpn: &[&[u8]],
    name: ServerName<'static>,
    tcp: TcpStream,
) -> Result<Shaken, CallError> {
    let mut config = ClientConfig::builder_with_provider(recorder.provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| CallError::other("tls", error))?
        .dangerous()
        .with_custom_certificate_verifier(recorder)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)).connect(name, tcp).await)
}

fn no_such_protocol(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(error, Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

fn probe(session: &rustls::ClientConnection, verify_error: Option<String>) -> Probe {
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
    let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let chain = session.peer_certificates().unwrap_or_default();
    Probe {
        version: version.replace('_', "."),
        cipher: cipher.unwrap_or_default().to_owned(),
        alpn: String::from_utf8_lossy(session.alpn_protocol().unwrap_or_default()).into_owned(),
        chain: chain.iter().map(|one| certificate::read(one)).collect(),
        verify_error,
    }
}

/// Asks the verifier every other client would, notes what it says, and goes on.
/// That the peer has its certificate's key is still made sure of.
#[derive(Debug)]
struct Recorder {
    /// Absent where the host trusts nobody.
    real: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    verdict: Mutex<Option<String>>,
}

impl Recorder {
    async fn new(tls: &Tls) -> Result<Recorder, CallError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = tls.trust().await?.roots;
        // Fails where there are no roots, and for nothing else.
        let real = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build().ok();
        Ok(Recorder { real, provider, verdict: Mutex::default() })
    }

    fn verdict(&self) -> Option<String> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.real {
            None => Some("this host trusts no issuers".to_owned()),
            Some(real) => real
                .verify_server_cert(leaf, intermediates, name, ocsp, now)
                .err()
                .map(|error| words(&error, &name.to_str())),
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The usual reasons in short; dates and names are in the chain.
fn words(error: &Error, name: &str) -> String {
    use CertificateError as Why;
    match error {
        Error::InvalidCertificate(Why::Expired | Why::ExpiredContext { .. }) => "expired".to_owned(),
        Error::InvalidCertificate(Why::NotValidYet | Why::NotValidYetContext { .. }) => "not valid yet".to_owned(),
        Error::InvalidCertificate(Why::UnknownIssuer) => "unknown issuer".to_owned(),
        Error::InvalidCertificate(Why::BadSignature) => "not signed by who is named as its issuer".to_owned(),
        Error::InvalidCertificate(Why::NotValidForName | Why::NotValidForNameContext { .. }) => {
            format!("not for {name}")
        }
        Error::InvalidCertificate(why) => why.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::{Authority, Server, grants, no_trust};

    async fn inspected(port: u16, name: &str, starttls: Option<&str>, tls: &Tls) -> Result<Probe, CallError> {
        inspect("127.0.0.1", port, name, starttls, &grants("tcp = [\"127.0.0.1:*\"]"), tls).await
    }

    fn parameters(name: &str) -> rcgen::CertificateParams {
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters
    }

    #[tokio::test]
    async fn tells_what_was_agreed_on_and_with_whom() {
        let authority = Authority::new();
        let mut config = authority.server(parameters("a.example"));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let server = Server::says_over_tls("", config).await;
        let probe = inspected(server.port, "a.example", None, &authority.trusted()).await.expect("a handshake");
        assert_eq!((probe.version.as_str(), probe.cipher.as_str()), ("TLSv1.3", "TLS13_AES_256_GCM_SHA384"));
        assert_eq!((probe.alpn.as_str(), probe.verify_error), ("h2", None));
        let names: Vec<&str> = probe.chain.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(names, ["CN=a.example", "CN=Test Root"]);
        assert_eq!(probe.chain[0].names, ["a.example"]);
    }

    #[tokio::test]
    async fn tells_why_a_client_would_not_trust_it() {
        let authority = Authority::new();
        let verdict = |parameters, name: &'static str, tls: Tls| {
            let config = authority.server(parameters);
            async move {
                let server = Server::says_over_tls("", config).await;
                inspected(server.port, name, None, &tls).await.expect("a handshake").verify_error
            }
        };
        let says = |text: &str| Some(text.to_owned());
        let dated = |from, until| {
            let mut dated = parameters("a.example");
            (dated.not_before, dated.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
            dated
        };
        let ours = || authority.trusted();
        assert_eq!(verdict(parameters("a.example"), "a.example", ours()).await, None);
        assert_eq!(verdict(parameters("a.example"), "b.example", ours()).await, says("not for b.example"));
        assert_eq!(verdict(dated(2000, 2001), "a.example", ours()).await, says("expired"));
        assert_eq!(verdict(dated(2900, 2901), "a.example", ours()).await, says("not valid yet"));
        let impostor = Authority::new().trusted();
        let named = verdict(parameters("a.example"), "a.example", impostor).await;
        assert_eq!(named, says("not signed by who is named as its issuer"));
        let others = Authority::named("Other Root").trusted();
        assert_eq!(verdict(parameters("a.example"), "a.example", others).await, says("unknown issuer"));
        assert_eq!(
            verdict(parameters("a.example"), "a.example", no_trust()).await,
            says("this host trusts no issuers")
        );
    }

    #[tokio::test]
    async fn a_server_that_wants_another_protocol_is_asked_for_none() {
        let authority = Authority::new();
        let mut config = authority.server(parameters("a.example"));
        config.alpn_protocols = vec![b"imap".to_vec()];
        let server = Server::says_over_tls("", config).await;
        let probe = inspected(server.port, "a.example", None, &authority.trusted()).await.expect("a handshake");
        assert_eq!((probe.alpn.as_str(), probe.chain.len()), ("", 2));
    }

    #[tokio::test]
    async fn what_is_no_tls_is_unreachable() {
        let server = Server::says("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let failed = inspected(server.port, "a.example", None, &no_trust()).await.expect_err("no TLS");
        assert!(matches!(&failed, CallError::Unreachable(says) if says.starts_with("tls: ")), "{failed:?}");
        assert!(matches!(inspected(server.port, "", None, &no_trust()).await, Err(CallError::Invalid(_))));
        assert!(matches!(inspected(1, "a", Some("ldap"), &no_trust()).await, Err(CallError::Invalid(_))));
    }

    #[tokio::test]
    async fn tls_is_asked_for_first() {
        let authority = Authority::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(authority.server(parameters("mx.example"))));
        let server = async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            let mut heard = [0; 100];
            tcp.write_all(b"220 mx\r\n").await.expect("said");
            let _ = tcp.read(&mut heard).await;
            tcp.write_all(b"250-mx\r\n250 STARTTLS\r\n").await.expect("said");
            let _ = tcp.read(&mut heard).await;
            tcp.write_all(b"220 go\r\n").await.expect("said");
            acceptor.accept(tcp).await.is_ok()
        };
        let trusted = authority.trusted();
        let (probe, accepted) = tokio::join!(inspected(port, "mx.example", Some("smtp"), &trusted), server);
        assert!(accepted && probe.expect("a handshake").verify_error.is_none());
    }
}
