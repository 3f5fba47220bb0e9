//! Who this host is to its control plane: everything that joining gave it, in one
//! file, so that it is replaced in one step.

use crate::files;
use data_encoding::BASE64;
use hostler_agent_core::session::Validity;
use hostler_proto::agent::Credentials;
use hostler_proto::pem;
use hostler_proto::transport::{ClientIdentity, Trust};
use hostler_types::{Name, NodeId, Timestamp};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE: &str = "identity.json";
const VERSION: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("this host has not joined yet (there is no {path}): run `hostler-agent join CODE`")]
    NotJoined { path: PathBuf },
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} is damaged ({problem}): restore it, or join again with `hostler-agent join --again CODE`")]
    Damaged { path: PathBuf, problem: String },
    #[error("the control plane's answer is not usable: {0}")]
    Answer(String),
    #[error("make a key")]
    Key(#[from] rcgen::Error),
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    version: u16,
    pub node: NodeId,
    pub name: Name,
    /// `host:port` of the control plane, tried in order.
    pub addresses: Vec<String>,
    /// PEM.
    authorities: String,
    chain: String,
    key: String,
    pub not_before_ms: u64,
    pub not_after_ms: u64,
    /// Base64 of ed25519 public keys.
    desired_state_keys: Vec<String>,
    /// What a newer agent wrote stays when this one writes.
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A fresh key and the request for a certificate over it.
pub struct KeyRequest {
    key: KeyPair,
    pub csr_der: Vec<u8>,
}

impl KeyRequest {
    pub fn make() -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // Nothing in it but the key: who the node is, the control plane decides.
        let csr_der = CertificateParams::default().serialize_request(&key)?.der().to_vec();
        Ok(Self { key, csr_der })
    }
}

impl Identity {
    pub fn new(
        node: NodeId,
        name: Name,
        addresses: Vec<String>,
        request: &KeyRequest,
        credentials: &Credentials,
    ) -> Result<Self, IdentityError> {
        let mut identity = Self {
            version: VERSION,
            node,
            name,
            addresses,
            authorities: String::new(),
            chain: String::new(),
            key: String::new(),
            not_before_ms: 0,
            not_after_ms: 0,
            desired_state_keys: Vec::new(),
            rest: BTreeMap::new(),
        };
        identity.take_credentials(request, credentials)?;
        Ok(identity)
    }

    /// At joining and at each renewal.
    pub fn take_credentials(&mut self, request: &KeyRequest, given: &Credentials) -> Result<(), IdentityError> {
        if given.chain_der.is_empty() || given.authorities_der.is_empty() {
            return Err(IdentityError::Answer("it has no certificate or no authority".into()));
        }
        if given.not_after_ms <= given.not_before_ms {
            return Err(IdentityError::Answer("its certificate is never valid".into()));
        }
        self.chain = pem::encode_chain(given.chain_der.iter().map(|der| der.as_slice()));
        self.authorities = pem::encode_chain(given.authorities_der.iter().map(|der| der.as_slice()));
        self.key = pem::encode_key(request.key.serialized_der());
        (self.not_before_ms, self.not_after_ms) = (given.not_before_ms, given.not_after_ms);
        self.take_desired_state_keys(given.desired_state_keys.iter().map(|key| key.as_slice()));
        // What cannot be used must not replace what can.
        self.credentials().map(drop).ok_or_else(|| IdentityError::Answer("its certificates cannot be read".into()))
    }

    /// Whether anything changed. An empty list is no list.
    pub fn take_desired_state_keys<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> bool {
        let keys: Vec<String> = keys.map(|key| BASE64.encode(key)).collect();
        if keys.is_empty() || keys == self.desired_state_keys {
            return false;
        }
        self.desired_state_keys = keys;
        true
    }

    pub fn desired_state_keys(&self) -> Vec<Vec<u8>> {
        self.desired_state_keys.iter().filter_map(|key| BASE64.decode(key.as_bytes()).ok()).collect()
    }

    pub fn validity(&self) -> Validity {
        Validity {
            not_before: Timestamp::from_millis(self.not_before_ms),
            not_after: Timestamp::from_millis(self.not_after_ms),
        }
    }

    pub fn credentials(&self) -> Option<(Trust, ClientIdentity)> {
        let authorities = pem::decode_chain(&self.authorities)?;
        let chain: Vec<CertificateDer<'static>> = pem::decode_chain(&self.chain)?;
        let key = pem::decode_key(&self.key)?;
        Some((Trust::Authorities(authorities), ClientIdentity { chain, key }))
    }

    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(FILE).exists()
    }

    pub fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let path = state_dir.join(FILE);
        let text = files::read_if_there(&path)
            .map_err(|source| IdentityError::File { operation: "read", path: path.clone(), source })?
            .ok_or_else(|| IdentityError::NotJoined { path: path.clone() })?;
        let damaged = |problem: String| IdentityError::Damaged { path: path.clone(), problem };
        let identity: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if identity.version != VERSION {
            return Err(damaged(format!("version {} is not {VERSION}", identity.version)));
        }
        if identity.credentials().is_none() {
            return Err(damaged("its certificates or its key cannot be read".into()));
        }
        Ok(identity)
    }

    /// Durable when it returns.
    pub fn save(&self, state_dir: &Path) -> Result<(), IdentityError> {
        let path = state_dir.join(FILE);
        let failed = |source| IdentityError::File { operation: "write", path: path.clone(), source };
        files::private_folder(state_dir).map_err(failed)?;
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        files::replace(&path, &text, files::PRIVATE).map_err(failed)
    }
}
