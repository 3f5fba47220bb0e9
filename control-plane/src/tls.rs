//! The server's side of TLS: which certificates it shows, and whom it lets in.

use crate::pki::{Issued, Pki, RENEWAL_GRACE, Subject};
use arc_swap::ArcSwap;
use hostler_types::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use std::sync::Arc;
use std::time::Duration;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// No certificate: may join, and fetch the installer.
    Anonymous,
    Known {
        subject: Subject,
        /// Past its end, within the grace in which it may renew.
        expired: bool,
    },
    /// Signed by us, and names nobody we know how to treat.
    Nameless,
}

/// The certificate shown, replaceable while running.
pub struct ShownCertificate {
    current: ArcSwap<CertifiedKey>,
}

impl std::fmt::Debug for ShownCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownCertificate")
    }
}

impl ShownCertificate {
    pub fn new(pki: &Pki, issued: Issued) -> Result<Self, Error> {
        Ok(Self { current: ArcSwap::from_pointee(certified(pki, issued)?) })
    }

    pub fn replace(&self, pki: &Pki, issued: Issued) -> Result<(), Error> {
        self.current.store(Arc::new(certified(pki, issued)?));
        Ok(())
    }
}

fn certified(pki: &Pki, issued: Issued) -> Result<CertifiedKey, Error> {
    let key = rustls::crypto::ring::sign::any_ecdsa_type(&pki.server_key_der().into())?;
    Ok(CertifiedKey::new(issued.chain, key))
}

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// rustls' own verifier, but a certificate that only expired, and not too long
/// ago, gets through: to renew and do nothing else, which the gate sees to.
#[derive(Debug)]
pub struct ClientVerifier {
    strict: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    pub fn new(authority: CertificateDer<'static>, provider: Arc<CryptoProvider>) -> Result<Arc<Self>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        let strict = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Arc::new(Self { strict }))
    }

    /// Whether the certificate is expired, if it is good in all other respects.
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, Error> {
        match self.strict.verify_client_cert(end_entity, intermediates, now) {
            Ok(_) => Ok(false),
            Err(error @ Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => {
                if time.as_secs().saturating_sub(not_after.as_secs()) > RENEWAL_GRACE.as_secs() {
                    return Err(error);
                }
                self.strict.verify_client_cert(end_entity, intermediates, not_after).map(|_| true)
            }
            Err(error) => Err(error),
        }
    }

    /// When a client's certificate ends: what the verifier says far in the future.
    pub fn until(&self, certificates: Option<&[CertificateDer<'_>]>) -> Timestamp {
        let far = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));
        let Some((end_entity, intermediates)) = certificates.and_then(<[_]>::split_first) else {
            return Timestamp::default();
        };
        match self.strict.verify_client_cert(end_entity, intermediates, far) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Timestamp::from_millis(not_after.as_secs().saturating_mul(1000))
            }
            _ => Timestamp::default(),
        }
    }

    /// After the handshake: who it is.
    pub fn peer(&self, certificates: Option<&[CertificateDer<'_>]>) -> Peer {
        let Some((end_entity, intermediates)) = certificates.and_then(<[_]>::split_first) else {
            return Peer::Anonymous;
        };
        match (self.judge(end_entity, intermediates, UnixTime::now()), Subject::of(end_entity)) {
            (Ok(expired), Some(subject)) => Peer::Known { subject, expired },
            _ => Peer::Nameless,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Without hints a client shows what it has, and is told what is wrong
        // with it, instead of silently showing nothing.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

pub fn server_config(
    shown: Arc<ShownCertificate>,
    verifier: Arc<ClientVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    // curl, for the installer, may know HTTP/1.1 only.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session would not show its certificate again.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
