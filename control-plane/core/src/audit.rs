//! The audit log's form: frames that each carry the hash of the one before, and
//! what is wrong with a log that somebody changed.
//!
//! Hashing and signatures are arguments, since their library also makes
//! randomness. What a record says is not read here: a body is bytes.

pub mod frame;
pub mod verify;

use hostler_types::Timestamp;

pub type Hash = [u8; 32];

/// What stands in the place of the hash before the first record.
pub const NOTHING_BEFORE: Hash = [0; 32];

/// A record that is known to be there, and what it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// 0: before the first record.
    pub number: u64,
    pub hash: Hash,
}

/// What a checkpoint's signature covers: all that came before, by its hash, and from
/// where on the log was still kept.
pub fn signed_words(number: u64, at: Timestamp, before: &Hash, floor: u64) -> Vec<u8> {
    let mut words = b"hostler audit checkpoint 1\0".to_vec();
    for part in [&number.to_le_bytes()[..], &at.as_millis().to_le_bytes(), before, &floor.to_le_bytes()] {
        words.extend_from_slice(part);
    }
    words
}

/// The body of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint<'a> {
    /// The first record that is kept: what is older was dropped for its age.
    pub floor: u64,
    pub signature: &'a [u8],
}

impl<'a> Checkpoint<'a> {
    pub fn encode(&self) -> Vec<u8> {
        [&self.floor.to_le_bytes()[..], self.signature].concat()
    }

    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let (floor, signature) = body.split_first_chunk::<8>()?;
        Some(Self { floor: u64::from_le_bytes(*floor), signature })
    }
}
