//! By what a client knows the control plane: an authority it already has, or,
//! once, at joining, the pin of an authority it is about to get.

use super::ConnectError;
use ring::digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Trust {
    Authorities(Vec<CertificateDer<'static>>),
    /// SHA-256 over an authority's SubjectPublicKeyInfo.
    Pin([u8; 32]),
}

/// SHA-256 over a certificate's SubjectPublicKeyInfo; `None` for what is no
/// certificate.
pub fn key_pin(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let digest = digest::digest(&digest::SHA256, &parsed.subject_public_key_info());
    digest.as_ref().try_into().ok()
}

#[derive(Debug)]
pub(super) struct Verifier {
    known: Known,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Known {
    Authorities(Arc<WebPkiServerVerifier>),
    Pin([u8; 32]),
}

impl Verifier {
    pub fn new(trust: &Trust, provider: Arc<CryptoProvider>) -> Result<Self, ConnectError> {
        let known = match trust {
            Trust::Pin(pin) => Known::Pin(*pin),
            Trust::Authorities(authorities) => {
                Known::Authorities(chain_verifier(authorities, &provider).map_err(ConnectError::Identity)?)
            }
        };
        Ok(Self { known, provider })
    }
}

fn chain_verifier(
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = match &self.known {
            Known::Authorities(verifier) => Arc::clone(verifier),
            Known::Pin(pin) => {
                let authority = intermediates
                    .iter()
                    .find(|certificate| key_pin(certificate) == Some(*pin))
                    .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
                chain_verifier(&[authority.clone().into_owned()], &self.provider)?
            }
        };
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
