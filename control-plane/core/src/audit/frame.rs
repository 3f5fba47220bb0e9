//! One record as bytes: a header of a fixed length, then its body.

use super::Hash;
use hostler_types::Timestamp;

/// `HAU1`: what begins a frame, and how it is written.
const MAGIC: u32 = 0x3155_4148;
/// magic, length, checksum, kind and nothing yet, number, time, hash before.
pub const HEADER_BYTES: usize = 64;
/// A record's texts are cut far below it; what claims more is no frame.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The checksum stands before what it and the hash cover.
const COVERED_FROM: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call, or what the control plane itself did.
    Call,
    /// Signed: what stands before it is what was written.
    Checkpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: Kind,
    pub number: u64,
    pub at: Timestamp,
    /// Of the record before.
    pub before: Hash,
    pub body: &'a [u8],
    /// How long all of it is.
    pub bytes: usize,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// It begins as a frame does, and ends too early.
    Cut,
    Damaged,
    Whole(Frame<'a>),
}

/// Appends a frame, and returns where it begins.
pub fn encode(kind: Kind, number: u64, at: Timestamp, before: &Hash, body: &[u8], into: &mut Vec<u8>) -> usize {
    let start = into.len();
    let word: u32 = match kind {
        Kind::Call => 1,
        Kind::Checkpoint => 2,
    };
    let mut covered = Vec::with_capacity(HEADER_BYTES - COVERED_FROM + body.len());
    for part in [&word.to_le_bytes()[..], &number.to_le_bytes(), &at.as_millis().to_le_bytes(), before, body] {
        covered.extend_from_slice(part);
    }
    let length = (body.len() as u32).to_le_bytes();
    into.extend_from_slice(&MAGIC.to_le_bytes());
    into.extend_from_slice(&length);
    into.extend_from_slice(&checksum(&length, &covered).to_le_bytes());
    into.extend_from_slice(&covered);
    start
}

fn checksum(length: &[u8], covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(length), covered)
}

/// Of a whole frame, what its hash is over.
pub fn covered(frame: &[u8]) -> &[u8] {
    frame.get(COVERED_FROM..).unwrap_or_default()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// How long the frame is that begins here, if one does.
fn length(bytes: &[u8]) -> Option<usize> {
    let body = u32_at(bytes, 4)? as usize;
    (u32_at(bytes, 0)? == MAGIC && body <= BODY_BYTES_MAX).then_some(HEADER_BYTES + body)
}

/// The frame at the beginning, taken at its word: for whoever reads many to find few
/// and checks those.
pub fn skim(bytes: &[u8]) -> Option<Frame<'_>> {
    let whole = bytes.get(..length(bytes)?)?;
    let kind = match u32_at(whole, COVERED_FROM)? {
        1 => Kind::Call,
        2 => Kind::Checkpoint,
        _ => return None,
    };
    Some(Frame {
        kind,
        number: u64_at(whole, 16)?,
        at: Timestamp::from_millis(u64_at(whole, 24)?),
        before: *whole.get(32..)?.first_chunk()?,
        body: whole.get(HEADER_BYTES..)?,
        bytes: whole.len(),
    })
}

pub fn look(bytes: &[u8]) -> Look<'_> {
    let begins = MAGIC.to_le_bytes();
    if bytes.len() < HEADER_BYTES {
        let is_start = bytes.iter().zip(begins).all(|(found, wanted)| *found == wanted);
        return if is_start { Look::Cut } else { Look::Damaged };
    }
    match length(bytes) {
        None => Look::Damaged,
        Some(length) if length > bytes.len() => Look::Cut,
        Some(length) => {
            let whole = bytes.get(..length).unwrap_or_default();
            let sum = checksum(whole.get(4..8).unwrap_or_default(), covered(whole));
            let good = u32_at(whole, 8) == Some(sum);
            good.then(|| skim(whole)).flatten().map_or(Look::Damaged, Look::Whole)
        }
    }
}

/// Where the next whole frame begins, at or after an offset.
pub fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let begins = MAGIC.to_le_bytes();
    (from..bytes.len()).find(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        rest.starts_with(&begins) && matches!(look(rest), Look::Whole(_))
    })
}
