//! The control plane's own authority: it signs its server's certificate, every
//! node's and every operator's, and all desired state.

use crate::files;
use hostler_proto::pem;
use hostler_proto::transport::{SERVER_NAME, key_pin};
use hostler_types::{NodeId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// An authority outlives every machine that trusts it today.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3_650 * 86_400);
/// Made anew at every start and every day; its key stays, since installs pin it.
const SERVER_LIFETIME: Duration = Duration::from_secs(90 * 86_400);
/// Short, so that a stolen one is soon worthless; renewed at half.
pub const NODE_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// For so long an expired certificate may still renew itself, so that an outage
/// over a long holiday locks nobody out.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(90 * 86_400);
/// Of the operator that the control plane makes for itself: locking out the only
/// one helps nobody.
pub const FIRST_OPERATOR_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
pub const OPERATOR_LIFETIME_MAX: Duration = Duration::from_secs(2 * 365 * 86_400);
/// Hosts whose clocks are a little behind must not find a certificate too young.
const BACKDATED: Duration = Duration::from_secs(3_600);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is damaged or gone; restore it from a backup (without it no node trusts this control plane)")]
    Damaged { path: PathBuf },
    #[error("make a key or certificate")]
    Make(#[from] rcgen::Error),
    #[error("the system gives no randomness")]
    Randomness,
    #[error("the signing request is not valid: {0}")]
    Request(String),
}

/// A certificate just made.
#[derive(Clone, Debug)]
pub struct Issued {
    pub chain: Vec<CertificateDer<'static>>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    server_key: KeyPair,
    signing_key: Ed25519KeyPair,
}

/// Who a certificate is for: one place that writes the name into it and one
/// that reads it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Node(NodeId),
    Operator(String),
}

const NODE_URI: &str = "spiffe://hostler/node/";
const OPERATOR_URI: &str = "spiffe://hostler/operator/";

impl Subject {
    fn uri(&self) -> String {
        match self {
            Subject::Node(id) => format!("{NODE_URI}{id}"),
            Subject::Operator(name) => format!("{OPERATOR_URI}{name}"),
        }
    }

    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
        let uri = parsed.valid_uri_names().next()?;
        if let Some(id) = uri.strip_prefix(NODE_URI) {
            return NodeId::parse(id).ok().map(Subject::Node);
        }
        uri.strip_prefix(OPERATOR_URI).map(|name| Subject::Operator(name.to_owned()))
    }
}

impl Pki {
    /// Loads what is in the folder; makes all of it where nothing is yet.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, PkiError> {
        files::private_folder(folder).map_err(|source| PkiError::File {
            operation: "make the folder",
            path: folder.to_owned(),
            source,
        })?;
        let sums = folder.join(SUMS);
        let were_sums = read(&sums)?.is_some();
        check_sums(folder)?;
        // The certificate is made last: where it is, every key was.
        let gone = FILES.iter().map(|name| folder.join(name)).find(|path| !path.exists());
        if let Some(path) = gone.filter(|_| folder.join(AUTHORITY).exists()) {
            return Err(PkiError::Damaged { path });
        }
        let pki = Self::load(folder, now)?;
        if !were_sums {
            write(&sums, sums_of(folder)?.as_bytes())?;
        }
        Ok(pki)
    }

    /// Loads what is in the folder, and changes nothing.
    pub fn look(folder: &Path, now: Timestamp) -> Result<Self, PkiError> {
        check_sums(folder)?;
        if let Some(gone) = FILES.iter().map(|name| folder.join(name)).find(|path| !path.exists()) {
            return Err(PkiError::Damaged { path: gone });
        }
        Self::load(folder, now)
    }

    fn load(folder: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let [authority_key, server_key, desired_key, path] = FILES.map(|name| folder.join(name));
        let authority_key = key_pair(&authority_key)?;
        let server_key = key_pair(&server_key)?;
        let signing_key = signing_key(&desired_key)?;
        let params = authority_params(&authority_key, now)?;
        let authority = match read(&path)? {
            Some(text) => std::str::from_utf8(&text)
                .ok()
                .and_then(pem::decode_chain)
                .and_then(|chain| chain.into_iter().next())
                .ok_or(PkiError::Damaged { path })?,
            None => {
                let made = params.self_signed(&authority_key)?.der().clone();
                write(&path, pem::encode_chain([made.as_ref()]).as_bytes())?;
                made
            }
        };
        Ok(Self { issuer: Issuer::new(params, authority_key), authority, server_key, signing_key })
    }

    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// By which a joining host knows the authority.
    pub fn authority_pin(&self) -> [u8; 32] {
        key_pin(&self.authority).unwrap_or_default()
    }

    /// By which `curl --pinnedpubkey` knows this server.
    pub fn server_pin(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.server_key.subject_public_key_info());
        format!("sha256//{}", data_encoding::BASE64.encode(digest.as_ref()))
    }

    pub fn signing_key(&self) -> &Ed25519KeyPair {
        &self.signing_key
    }

    pub fn signing_public_key(&self) -> Vec<u8> {
        self.signing_key.public_key().as_ref().to_vec()
    }

    pub fn server_key_der(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.server_key.serialize_der())
    }

    /// The server's certificate, valid for these names and addresses besides the
    /// one that every agent asks for.
    pub fn issue_server(&self, names: &[String], now: Timestamp) -> Result<Issued, PkiError> {
        let mut params = leaf("hostler control plane", ExtendedKeyUsagePurpose::ServerAuth);
        for name in [SERVER_NAME, "localhost"].into_iter().chain(names.iter().map(String::as_str)) {
            match name.parse::<IpAddr>() {
                Ok(address) => params.subject_alt_names.push(SanType::IpAddress(address)),
                Err(_) => match name.try_into() {
                    Ok(name) => params.subject_alt_names.push(SanType::DnsName(name)),
                    Err(error) => tracing::warn!(name, error = %error, "left a name out of the server certificate"),
                },
            }
        }
        self.issue(params, &self.server_key, now, SERVER_LIFETIME)
    }

    /// A client's certificate for the key in a signing request. Only the key is
    /// taken from it: who it is for was decided before.
    pub fn issue_client(
        &self,
        subject: &Subject,
        request_der: &[u8],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der))
            .map_err(|error| PkiError::Request(error.to_string()))?;
        self.issue_subject(subject, &request.public_key, now, lifetime)
    }

    pub fn issue_subject(
        &self,
        subject: &Subject,
        key: &impl PublicKeyData,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let uri = subject.uri();
        let mut params = leaf(&uri, ExtendedKeyUsagePurpose::ClientAuth);
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        self.issue(params, key, now, lifetime)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Issued, PkiError> {
        let (not_before, not_after) = (now.minus(BACKDATED), now.plus(lifetime));
        params.not_before = date(not_before);
        params.not_after = date(not_after);
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Issued { chain: vec![certificate.der().clone(), self.authority.clone()], not_before, not_after })
    }
}

fn leaf(common_name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority_params(key: &KeyPair, now: Timestamp) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    // Two authorities must not share a name, or errors could not tell them apart.
    let digest = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
    let short = data_encoding::HEXLOWER.encode(digest.as_ref().get(..4).unwrap_or_default());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("hostler authority {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date(now.minus(DAY));
    params.not_after = date(now.plus(AUTHORITY_LIFETIME));
    Ok(params)
}

const AUTHORITY: &str = "authority.crt";
const FILES: [&str; 4] = ["authority.key", "server.key", "desired-state.key", AUTHORITY];
/// Of these files, as sha256sum writes them: a key that changed may still be one,
/// and a missing one would be made anew, and nobody would trust it.
const SUMS: &str = "SHA256SUMS";

fn sums_of(folder: &Path) -> Result<String, PkiError> {
    let mut sums = String::new();
    for name in FILES {
        let content = read(&folder.join(name))?.unwrap_or_default();
        sums.push_str(&format!("{}  {name}\n", sha256_hex(&content)));
    }
    Ok(with_own_sum(&sums))
}

/// The last line is over those above it: so damage to this file is not taken for
/// damage to a key.
fn with_own_sum(lines: &str) -> String {
    format!("{lines}# {}\n", sha256_hex(lines.as_bytes()))
}

/// Each file must be as it was made. Nothing is said where there are no sums: the
/// folder is new, or older than they are.
fn check_sums(folder: &Path) -> Result<(), PkiError> {
    let path = folder.join(SUMS);
    let Some(wanted) = read(&path)? else { return Ok(()) };
    let found = sums_of(folder)?;
    if wanted == found.as_bytes() {
        return Ok(());
    }
    let wanted = String::from_utf8_lossy(&wanted).into_owned();
    let lines = wanted.split_once("# ").map_or("", |(lines, _)| lines);
    if with_own_sum(lines) != wanted {
        return Err(PkiError::Damaged { path });
    }
    let changed = found.lines().zip(FILES).find(|(line, _)| !wanted.lines().any(|known| known == *line));
    Err(PkiError::Damaged { path: changed.map_or(path, |(_, name)| folder.join(name)) })
}

fn date(at: Timestamp) -> time::OffsetDateTime {
    let seconds = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, PkiError> {
    files::read_if_there(path).map_err(|source| PkiError::File { operation: "read", path: path.to_owned(), source })
}

fn write(path: &Path, contents: &[u8]) -> Result<(), PkiError> {
    files::write_private(path, contents).map_err(|source| PkiError::File {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}

fn key_pair(path: &Path) -> Result<KeyPair, PkiError> {
    if let Some(text) = read(path)? {
        let damaged = || PkiError::Damaged { path: path.to_owned() };
        let der = std::str::from_utf8(&text).ok().and_then(pem::decode_key).ok_or_else(damaged)?;
        return KeyPair::from_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(|_| damaged());
    }
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write(path, pem::encode_key(made.serialized_der()).as_bytes())?;
    Ok(made)
}

fn signing_key(path: &Path) -> Result<Ed25519KeyPair, PkiError> {
    let der = match read(path)? {
        Some(text) => {
            let text = String::from_utf8(text).unwrap_or_default();
            pem::decode_key(&text).map(|key| key.secret_der().to_vec()).unwrap_or_default()
        }
        None => {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| PkiError::Randomness)?;
            write(path, pem::encode_key(made.as_ref()).as_bytes())?;
            made.as_ref().to_vec()
        }
    };
    Ed25519KeyPair::from_pkcs8(&der).map_err(|_| PkiError::Damaged { path: path.to_owned() })
}

/// When a certificate ends.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(read.validity().not_after.timestamp()).ok().map(|secs| Timestamp::from_millis(secs * 1_000))
}

pub fn random<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::Randomness)?;
    Ok(bytes)
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}
