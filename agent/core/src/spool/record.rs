//! The format: a segment is a header and then records, one behind the other.
//!
//! header: `HSPL`, format u8, version u16, spool id u64
//! record: length u32, CRC-32C u32 over sequence and body, sequence u64, body
//!
//! All numbers little-endian. A record that is not whole and right is not there.

use crate::hash::crc32c;

const MAGIC: [u8; 4] = *b"HSPL";
const FORMAT: u8 = 1;
const VERSION: u16 = 1;
pub const HEADER_BYTES: usize = 15;
pub const RECORD_OVERHEAD_BYTES: usize = 16;
/// A transition has a summary of some hundred bytes; whatever claims more is
/// damage, not a record.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

pub type Sequence = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub spool_id: u64,
}

pub fn encode_header(header: Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&header.spool_id.to_le_bytes());
    bytes
}

/// `None` for what is no segment of a version that can be read.
pub fn decode_header(bytes: &[u8]) -> Option<Header> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (format, rest) = rest.split_first()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (spool_id, _) = rest.split_first_chunk()?;
    let readable = *format == FORMAT && u16::from_le_bytes(*version) == VERSION;
    readable.then(|| Header { spool_id: u64::from_le_bytes(*spool_id) })
}

/// `None` where the body is longer than any may be.
pub fn encode(sequence: Sequence, body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX)?;
    let sequence = sequence.to_le_bytes();
    let mut bytes = Vec::with_capacity(RECORD_OVERHEAD_BYTES + body.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32c(&[&sequence, body]).to_le_bytes());
    bytes.extend_from_slice(&sequence);
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// The record at the beginning of `bytes`, and how long it is.
fn decode(bytes: &[u8]) -> Option<(Sequence, &[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= BODY_BYTES_MAX)?;
    let body = rest.get(..length)?;
    if crc32c(&[sequence, body]) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some((u64::from_le_bytes(*sequence), body, RECORD_OVERHEAD_BYTES + length))
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan<'a> {
    pub records: Vec<(Sequence, &'a [u8])>,
    /// Bytes that are part of no record, with valid records behind them.
    pub damaged_bytes: usize,
    /// Bytes at the end that are part of no record.
    pub torn_bytes: usize,
    /// Whether those look like a write that never finished, and so was never
    /// counted on: empty, or a record that ends behind the end.
    pub unfinished: bool,
}

/// Reads a segment from `from` (its header's end, say). Records that do not go on
/// counting upwards from `after` were written before, into a segment that failed.
pub fn scan(bytes: &[u8], after: Sequence) -> Scan<'_> {
    let mut scan = Scan::default();
    let mut rest = bytes;
    let mut last = after;
    let mut skipped: &[u8] = rest;
    let mut skipping = 0;
    while !rest.is_empty() {
        match decode(rest) {
            Some((sequence, body, length)) => {
                scan.damaged_bytes += skipping;
                skipping = 0;
                if sequence > last {
                    scan.records.push((sequence, body));
                    last = sequence;
                }
                rest = rest.get(length..).unwrap_or_default();
                skipped = rest;
            }
            // Lengths cannot be trusted any more: look at every byte.
            None => {
                skipping += 1;
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    scan.torn_bytes = skipping;
    scan.unfinished = skipping > 0 && is_unfinished(skipped);
    scan
}

fn is_unfinished(tail: &[u8]) -> bool {
    let Some((length, _)) = tail.split_first_chunk() else { return true };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let ends_behind = length <= BODY_BYTES_MAX && RECORD_OVERHEAD_BYTES + length > tail.len();
    // A file whose length reached the disk before its content.
    let never_written = tail.iter().all(|byte| *byte == 0);
    ends_behind || never_written
}
