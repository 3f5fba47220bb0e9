//! Acts on services at rest: by service, node and time, so that the oldest of a
//! service on a node come first.

use super::{ACTS, RecordError, decode, encode};
use bytes::Bytes;
use hostler_proto::agent as wire;
use hostler_proto::store as rest;
use hostler_types::{Act, Name, NodeId};

/// As agents make them, with room to spare; a key holds one.
const ID_BYTES_MAX: usize = 64;

/// The acts of a service on a node.
pub fn acts_prefix(service: &Name, node: &NodeId) -> String {
    format!("{ACTS}{service}/{node}/")
}

/// `None` where the id can be no part of a key.
pub fn act_key(node: &NodeId, act: &Act) -> Option<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let fits = !act.id.is_empty() && act.id.len() <= ID_BYTES_MAX && act.id.bytes().all(plain);
    fits.then(|| format!("{}{:015}/{}", acts_prefix(&act.service, node), act.at.as_millis(), act.id))
}

/// The id that a key ends with.
pub fn act_id(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, id)| id)
}

pub fn encode_act(act: &Act) -> Bytes {
    // What is too long was cut when it came; here it is cut as it is sent.
    let one = wire::Act::from(act);
    encode(&rest::ServiceAct {
        id: one.id,
        at_ms: one.at_ms,
        service: one.service,
        replica: one.replica,
        deed: one.deed,
        by: one.by,
        saw: one.saw,
        rule: one.rule,
        origin: one.origin,
        allowed: one.allowed,
        refused: one.refused,
        result: one.result,
        tail: one.tail,
    })
}

pub fn decode_act(key: &str, bytes: &[u8]) -> Result<Act, RecordError> {
    let one: rest::ServiceAct = decode(key, bytes)?;
    let wire = wire::Act {
        id: one.id,
        at_ms: one.at_ms,
        service: one.service,
        replica: one.replica,
        deed: one.deed,
        by: one.by,
        saw: one.saw,
        rule: one.rule,
        origin: one.origin,
        allowed: one.allowed,
        refused: one.refused,
        result: one.result,
        tail: one.tail,
    };
    Act::try_from(wire).map_err(|error| RecordError::Damaged { key: key.to_owned(), problem: error.to_string() })
}
