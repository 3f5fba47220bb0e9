//! What the control plane asks of this node: verified, durable, then in force.
//! The copy on disk is as good as the original, since it is signed.

use crate::files;
use hostler_agent_core::desired::{Candidate, Gatekeeper, Refusal, only_watch};
use hostler_proto::agent::{self as wire, SignedDesiredState};
use hostler_proto::convert::{WireError, desired_state_is_signed};
use hostler_types::{DesiredState, NodeId, Stamp, Timestamp};
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILE: &str = "desired-state";
/// Ours, before the bytes as they came: they must stay as they were signed.
const FORMAT: u8 = 1;
const VERSION: u16 = 1;

#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    #[error("desired state is refused: {0}")]
    Refused(#[from] Refusal),
    #[error("desired state cannot be read")]
    Unreadable(#[from] WireError),
    #[error("desired state cannot be read")]
    Undecodable(#[from] prost::DecodeError),
    #[error("keep desired state in {path}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// In force.
#[derive(Debug)]
pub struct Orders {
    pub stamp: Stamp,
    pub signed_at: Timestamp,
    pub desired: DesiredState,
}

pub struct OrderBook {
    path: PathBuf,
    gatekeeper: Gatekeeper,
    payload: Vec<u8>,
}

impl OrderBook {
    /// With what was in force before, if it still can be trusted.
    pub fn open(state_dir: &Path, node: &NodeId, keys: &[Vec<u8>], now: Timestamp) -> (Self, Option<Arc<Orders>>) {
        let path = state_dir.join(FILE);
        let mut book = Self { path: path.clone(), gatekeeper: Gatekeeper::new(node.clone()), payload: Vec::new() };
        let signed = match files::read_if_there(&path) {
            Ok(None) => return (book, None),
            Ok(Some(bytes)) => decode(&bytes),
            Err(error) => {
                tracing::error!(path = %path.display(), error = %error, "reading desired state failed");
                None
            }
        };
        let Some(signed) = signed else {
            tracing::error!(path = %path.display(), "desired state on disk cannot be read; waiting for the control plane");
            return (book, None);
        };
        match book.judge(&signed, keys) {
            Ok(orders) => {
                book.in_force(&orders, signed.payload);
                if only_watch(orders.signed_at, now) {
                    tracing::warn!(signed_at = %orders.signed_at, "desired state is older than 30 days: this host only watches until it hears from its control plane");
                }
                (book, Some(orders))
            }
            Err(error) => {
                tracing::error!(path = %path.display(), error = %error, "desired state on disk is not used");
                (book, None)
            }
        }
    }

    pub fn highest(&self) -> Option<Stamp> {
        self.gatekeeper.highest()
    }

    fn judge(&self, signed: &SignedDesiredState, keys: &[Vec<u8>]) -> Result<Arc<Orders>, OrdersError> {
        let stamp: Stamp = signed.stamp.map(Into::into).unwrap_or_default();
        if !desired_state_is_signed(keys, signed) {
            return Err(Refusal::Signature.into());
        }
        let desired: DesiredState = wire::DesiredState::decode(signed.payload.as_slice())?.try_into()?;
        self.gatekeeper.judge(&Candidate { stamp, node: &desired.node, signed: true })?;
        Ok(Arc::new(Orders { stamp, signed_at: Timestamp::from_millis(signed.signed_at_ms), desired }))
    }

    /// Durable when it returns. `None`: it is what is in force already.
    pub fn take(&mut self, signed: SignedDesiredState, keys: &[Vec<u8>]) -> Result<Option<Arc<Orders>>, OrdersError> {
        let orders = self.judge(&signed, keys)?;
        // Kept even if nothing but its date is new: its age counts offline.
        let write = |source| OrdersError::Write { path: self.path.clone(), source };
        files::replace(&self.path, &encode(&signed), files::PRIVATE).map_err(write)?;
        let news = signed.payload != self.payload || self.highest().is_none();
        self.in_force(&orders, signed.payload);
        Ok(news.then_some(orders))
    }

    fn in_force(&mut self, orders: &Orders, payload: Vec<u8>) {
        self.gatekeeper.accepted(orders.stamp);
        self.payload = payload;
    }

    pub fn forget(state_dir: &Path) -> std::io::Result<()> {
        files::remove_if_there(&state_dir.join(FILE))
    }
}

fn encode(signed: &SignedDesiredState) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&signed.encode_to_vec());
    bytes
}

fn decode(bytes: &[u8]) -> Option<SignedDesiredState> {
    let (format, rest) = bytes.split_first()?;
    let (version, body) = rest.split_first_chunk()?;
    let readable = *format == FORMAT && u16::from_le_bytes(*version) == VERSION;
    SignedDesiredState::decode(body).ok().filter(|_| readable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_proto::convert::sign_desired_state;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn key() -> (Ed25519KeyPair, Vec<u8>) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
        let public = pair.public_key().as_ref().to_vec();
        (pair, public)
    }

    fn signed(key: &Ed25519KeyPair, node: &NodeId, generation: u64, name: &str) -> SignedDesiredState {
        let node_id = node.to_string();
        let payload = wire::DesiredState { node_id, node_name: name.into(), ..Default::default() }.encode_to_vec();
        sign_desired_state(key, Stamp { lineage: 1, term: 1, generation }, payload, 1_000)
    }

    #[test]
    fn what_was_taken_is_in_force_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, (key, public)) = (NodeId::from_random([1; 10]), key());
        let keys = [public];
        let open = || OrderBook::open(folder.path(), &node, &keys, Timestamp::from_millis(2_000));
        let (mut book, none) = open();
        assert!(none.is_none());
        assert!(book.take(signed(&key, &node, 5, "web1"), &keys).expect("taken").is_some());
        assert!(book.take(signed(&key, &node, 5, "web1"), &keys).expect("taken").is_none());
        assert!(book.take(signed(&key, &node, 6, "web2"), &keys).expect("taken").is_some());
        let (mut book, orders) = open();
        assert_eq!(orders.expect("in force").desired.node_name.as_str(), "web2");
        let older = book.take(signed(&key, &node, 5, "web1"), &keys).expect_err("older");
        assert!(older.to_string().contains("1.1.5 after 1.1.6"), "{older}");
        let other = NodeId::from_random([2; 10]);
        assert!(book.take(signed(&key, &other, 9, "web1"), &keys).is_err());
        let mut forged = signed(&key, &node, 9, "web1");
        forged.payload.push(0);
        assert!(book.take(forged, &keys).is_err());
        assert!(OrderBook::open(folder.path(), &node, &[], Timestamp::default()).1.is_none(), "no key, no orders");
    }
}
