//! What a certificate says of itself, trusted or not.

use crate::answer::{Bytes, Certificate, Instant};
use std::net::IpAddr;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// One that can't be read is told by its bytes and their hash alone.
pub(super) fn read(der: &[u8]) -> Certificate {
    let hash = ring::digest::digest(&ring::digest::SHA256, der);
    let mut certificate = Certificate {
        sha256: data_encoding::HEXLOWER.encode(hash.as_ref()),
        der: Bytes(der.to_vec()),
        ..Certificate::default()
    };
    // Read as it is: whether it keeps to the standard is the verifier's to say.
    if let Ok(parsed) = CertificateInner::<Raw>::from_der(der) {
        let inner = parsed.tbs_certificate();
        certificate.subject = inner.subject().to_string();
        certificate.issuer = inner.issuer().to_string();
        certificate.not_before = instant(inner.validity().not_before);
        certificate.not_after = instant(inner.validity().not_after);
        if let Ok(Some((_, names))) = inner.get_extension::<SubjectAltName>() {
            certificate.names = names.0.iter().filter_map(name).collect();
        }
    }
    certificate
}

fn instant(time: x509_cert::time::Time) -> Instant {
    let since = time.to_unix_duration();
    Instant { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
}

/// Names and addresses of hosts; a certificate can have names of other things.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let six = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            four().or_else(|_| six()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_is_for_and_until_when() {
        let names = ["example.com", "*.example.com", "10.0.0.1", "::1"].map(str::to_owned);
        let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Caf\u{e9}, Inc.");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "example.com");
        parameters.not_before = rcgen::date_time_ymd(2020, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().expect("key");
        let signed = parameters.self_signed(&key).expect("certificate");
        let read = read(signed.der());
        assert_eq!(read.subject, "CN=example.com,O=Caf\u{e9}\\, Inc.");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.names, ["example.com", "*.example.com", "10.0.0.1", "::1"]);
        assert_eq!((read.not_before.seconds, read.not_after.seconds), (1_582_934_400, 2_556_144_000));
        assert_eq!((read.sha256.len(), read.der.0.as_slice()), (64, signed.der().as_ref()));
    }

    #[test]
    fn what_is_none_has_its_hash() {
        let nothing = read(b"");
        assert_eq!(nothing.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!((nothing.subject.as_str(), nothing.names.len()), ("", 0));
    }
}
