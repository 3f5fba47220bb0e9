//! What a signature over desired state covers: one definition for who signs and
//! who checks.

use crate::agent as wire;
use hostler_types::Stamp;
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

const CONTEXT: &[u8] = b"hostler-desired-state-v1";

fn signed_bytes(stamp: Stamp, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONTEXT.len() + 24 + payload.len());
    bytes.extend_from_slice(CONTEXT);
    for number in [stamp.lineage, stamp.term, stamp.generation] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub fn sign_desired_state(
    key: &Ed25519KeyPair,
    stamp: Stamp,
    payload: Vec<u8>,
    signed_at_ms: u64,
) -> wire::SignedDesiredState {
    let signature = key.sign(&signed_bytes(stamp, &payload)).as_ref().to_vec();
    wire::SignedDesiredState { stamp: Some(stamp.into()), payload, signature, signed_at_ms }
}

/// Whether one of `keys` made the signature.
pub fn desired_state_is_signed(keys: &[Vec<u8>], state: &wire::SignedDesiredState) -> bool {
    let stamp = state.stamp.map(Stamp::from).unwrap_or_default();
    let bytes = signed_bytes(stamp, &state.payload);
    keys.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(&bytes, &state.signature).is_ok())
}

impl From<Stamp> for wire::Stamp {
    fn from(stamp: Stamp) -> Self {
        Self { lineage: stamp.lineage, term: stamp.term, generation: stamp.generation }
    }
}

impl From<wire::Stamp> for Stamp {
    fn from(stamp: wire::Stamp) -> Self {
        Self { lineage: stamp.lineage, term: stamp.term, generation: stamp.generation }
    }
}
