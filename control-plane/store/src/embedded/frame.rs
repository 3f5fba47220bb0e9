//! How the journal is written: a record as bytes, and frames of commits. Pure.
//!
//! A frame is what was written and synced in one go: the commits of one group.
//! Nothing follows a frame that was not synced, so a frame that is damaged is
//! either the last, and then never acknowledged, or damage to what was.

use super::Stored;
use crate::{LeaseId, Revision};
use bytes::Bytes;
use std::sync::Arc;

/// `HJF1`: what begins a frame, and how it is written.
const MAGIC: u32 = 0x3146_4A48;
/// magic, length, checksum, nothing yet; first and last revision.
pub const HEADER_BYTES: usize = 32;
/// Where a frame may begin, so that one can be looked for.
pub const ALIGN: usize = 8;
/// A group is held below it; what claims more is no frame.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A key's new record, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub key: Arc<str>,
    pub record: Option<Stored>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub revision: Revision,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: Revision,
    pub last: Revision,
    pub bytes: usize,
    pub commits: Vec<Logged>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing was written here.
    Empty,
    Damaged,
    Whole {
        first: Revision,
        last: Revision,
        bytes: usize,
    },
}

/// Follows bytes, and never past their end.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.take(2)?.first_chunk()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    pub fn u128(&mut self) -> Option<u128> {
        Some(u128::from_le_bytes(*self.take(16)?.first_chunk()?))
    }
}

const INLINE: u8 = 0;
const BLOB: u8 = 1;

/// created, modified, lease, what follows; then the value, or the blob's digest
/// and size.
pub fn encode_record(record: &Stored) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + record.inline_bytes());
    bytes.extend_from_slice(&record.created.to_le_bytes());
    bytes.extend_from_slice(&record.modified.to_le_bytes());
    bytes.extend_from_slice(&record.lease.map_or(0, |lease| lease.0).to_le_bytes());
    match &record.value {
        super::Value::Inline(value) => {
            bytes.push(INLINE);
            bytes.extend_from_slice(value);
        }
        super::Value::Blob { digest, size } => {
            bytes.push(BLOB);
            bytes.extend_from_slice(digest);
            bytes.extend_from_slice(&size.to_le_bytes());
        }
    }
    bytes
}

pub fn decode_record(bytes: &[u8]) -> Option<Stored> {
    let mut cursor = Cursor(bytes);
    let (created, modified, lease) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let value = match cursor.byte()? {
        INLINE => super::Value::Inline(Bytes::copy_from_slice(cursor.0)),
        BLOB => super::Value::Blob { digest: *cursor.take(32)?.first_chunk()?, size: cursor.u32()? },
        _ => return None,
    };
    Some(Stored { created, modified, lease: (lease != 0).then_some(LeaseId(lease)), value })
}

/// Whether a record goes with a lease, without reading all of it.
pub fn is_leased(record: &[u8]) -> bool {
    record.get(16..24).is_some_and(|lease| lease.iter().any(|byte| *byte != 0))
}

pub fn encode_step(key: &str, record: Option<&[u8]>, into: &mut Vec<u8>) {
    into.extend_from_slice(&(key.len() as u16).to_le_bytes());
    into.extend_from_slice(key.as_bytes());
    into.extend_from_slice(&record.map_or(0, |bytes| bytes.len() as u32 + 1).to_le_bytes());
    into.extend_from_slice(record.unwrap_or_default());
}

/// `None` where the bytes are no step; a step without a record deletes.
pub fn decode_step<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a str, Option<&'a [u8]>)> {
    let key = usize::from(cursor.u16()?);
    let key = std::str::from_utf8(cursor.take(key)?).ok()?;
    let record = match cursor.u32()? {
        0 => None,
        length => Some(cursor.take(length as usize - 1)?),
    };
    Some((key, record))
}

/// One frame of commits; empty for none.
pub fn encode(commits: &[Logged]) -> Vec<u8> {
    let (Some(first), Some(last)) = (commits.first(), commits.last()) else { return Vec::new() };
    let mut bytes = vec![0; HEADER_BYTES];
    for commit in commits {
        bytes.extend_from_slice(&commit.revision.to_le_bytes());
        bytes.extend_from_slice(&(commit.steps.len() as u32).to_le_bytes());
        for step in &commit.steps {
            let record = step.record.as_ref().map(encode_record);
            encode_step(&step.key, record.as_deref(), &mut bytes);
        }
    }
    let length = (bytes.len() - HEADER_BYTES) as u32;
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    let mut header = [0; HEADER_BYTES];
    for (at, field) in [
        (0, &MAGIC.to_le_bytes()[..]),
        (4, &length.to_le_bytes()),
        (16, &first.revision.to_le_bytes()),
        (24, &last.revision.to_le_bytes()),
    ] {
        for (to, from) in header.iter_mut().skip(at).zip(field) {
            *to = *from;
        }
    }
    let body = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let sum = checksum(&header, body);
    for (to, from) in header.iter_mut().skip(8).zip(sum.to_le_bytes()) {
        *to = from;
    }
    for (to, from) in bytes.iter_mut().zip(header) {
        *to = from;
    }
    bytes
}

/// Over everything but itself, padding included.
fn checksum(header: &[u8], body: &[u8]) -> u32 {
    let mut sum = crc32c::crc32c(header.get(..8).unwrap_or_default());
    sum = crc32c::crc32c_append(sum, header.get(12..HEADER_BYTES).unwrap_or_default());
    crc32c::crc32c_append(sum, body)
}

/// What stands at the beginning of these bytes, without reading its commits.
pub fn look(bytes: &[u8]) -> Look {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return if bytes.iter().all(|byte| *byte == 0) { Look::Empty } else { Look::Damaged };
    };
    if header.iter().all(|byte| *byte == 0) {
        return Look::Empty;
    }
    read_header(header, bytes).unwrap_or(Look::Damaged)
}

fn read_header(header: &[u8], bytes: &[u8]) -> Option<Look> {
    let mut cursor = Cursor(header);
    let (magic, length, sum, _) = (cursor.u32()?, cursor.u32()? as usize, cursor.u32()?, cursor.u32()?);
    let (first, last) = (cursor.u64()?, cursor.u64()?);
    if magic != MAGIC || length > FRAME_BYTES_MAX || first > last {
        return None;
    }
    let total = (HEADER_BYTES + length).next_multiple_of(ALIGN);
    let body = bytes.get(HEADER_BYTES..total)?;
    (checksum(header, body) == sum).then_some(Look::Whole { first, last, bytes: total })
}

/// The frame at the beginning of these bytes, if it is whole.
pub fn decode(bytes: &[u8]) -> Option<Frame> {
    let Look::Whole { first, last, bytes: total } = look(bytes) else { return None };
    let length = Cursor(bytes.get(4..)?).u32()? as usize;
    let mut cursor = Cursor(bytes.get(HEADER_BYTES..HEADER_BYTES + length)?);
    let mut commits = Vec::new();
    while !cursor.0.is_empty() {
        let (revision, count) = (cursor.u64()?, cursor.u32()?);
        let mut steps = Vec::new();
        for _ in 0..count {
            let (key, record) = decode_step(&mut cursor)?;
            let record = match record {
                Some(bytes) => Some(decode_record(bytes)?),
                None => None,
            };
            steps.push(Step { key: Arc::from(key), record });
        }
        commits.push(Logged { revision, steps });
    }
    Some(Frame { first, last, bytes: total, commits })
}

/// Where the next whole frame begins, at or after an offset.
pub fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from.next_multiple_of(ALIGN);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
        if rest.starts_with(&MAGIC.to_le_bytes()) && matches!(look(rest), Look::Whole { .. }) {
            return Some(at);
        }
        at += ALIGN;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Value;
    use super::*;
    use proptest::prelude::*;

    fn commits() -> impl Strategy<Value = Vec<Logged>> {
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|value| Value::Inline(value.into())),
            (any::<[u8; 32]>(), any::<u32>()).prop_map(|(digest, size)| Value::Blob { digest, size }),
        ];
        let record = (any::<u64>(), any::<u64>(), 0u64..3, value).prop_map(|(created, modified, lease, value)| {
            Stored { created, modified, lease: (lease != 0).then_some(LeaseId(lease)), value }
        });
        let step = ("/[a-zé/]{0,9}", proptest::option::of(record))
            .prop_map(|(key, record)| Step { key: Arc::from(key), record });
        proptest::collection::vec(proptest::collection::vec(step, 0..4), 1..5).prop_map(|all| {
            let numbered = (7..).zip(all);
            numbered.map(|(revision, steps)| Logged { revision, steps }).collect()
        })
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(commits in commits()) {
            let bytes = encode(&commits);
            let frame = decode(&bytes).expect("whole");
            prop_assert_eq!((frame.first, frame.last), (7, 6 + commits.len() as u64));
            prop_assert_eq!(frame.bytes, bytes.len());
            prop_assert_eq!(frame.commits, commits);
        }

        #[test]
        fn any_changed_byte_is_seen(commits in commits(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = encode(&commits);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(look(&bytes), Look::Damaged);
        }

        #[test]
        fn any_cut_is_seen(commits in commits(), at in any::<prop::sample::Index>()) {
            let mut bytes = encode(&commits);
            let whole = bytes.len();
            let at = at.index(whole);
            bytes[at..].fill(0);
            let end = decode(&bytes);
            prop_assert!(end.is_none() || bytes == encode(&commits));
            prop_assert_eq!(find(&bytes, 8), None);
        }

        #[test]
        fn any_bytes_at_all_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (look(&bytes), decode(&bytes), find(&bytes, 0), decode_record(&bytes));
        }
    }

    #[test]
    fn a_frame_after_damage_is_found() {
        let commit = |revision| [Logged { revision, steps: Vec::new() }];
        let (first, second) = (encode(&commit(1)), encode(&commit(2)));
        let mut both = [first.clone(), second].concat();
        both[20] ^= 1;
        assert_eq!(look(&both), Look::Damaged);
        assert_eq!(find(&both, 1), Some(first.len()));
    }
}
