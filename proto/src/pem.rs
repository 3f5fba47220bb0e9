//! Certificates and keys as text.

use data_encoding::BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const LINE_CHARACTERS: usize = 64;

pub fn encode(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE_CHARACTERS));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

pub fn encode_chain<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> String {
    chain.into_iter().map(|der| encode("CERTIFICATE", der)).collect()
}

pub fn encode_key(pkcs8: &[u8]) -> String {
    encode("PRIVATE KEY", pkcs8)
}

/// At least one certificate, or `None`.
pub fn decode_chain(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}

pub fn decode_key(text: &str) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()
}
