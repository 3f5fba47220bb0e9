//! When to append, when to refuse, when to begin another segment, what to forget.

use super::record::{HEADER_BYTES, RECORD_OVERHEAD_BYTES, Sequence};
use std::collections::VecDeque;

/// A segment is named by the first sequence number that it may hold.
pub type SegmentId = u64;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All segments together.
    pub budget_bytes: u64,
    pub segment_bytes: u64,
}

/// Records that could not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub count: u64,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Append under this number to this segment, made first if `fresh`. If there
    /// is a loss to tell, it goes first, as a record of its own.
    Append {
        segment: SegmentId,
        fresh: bool,
    },
    Refused {
        reason: String,
    },
}

#[derive(Debug)]
struct Segment {
    id: SegmentId,
    /// Nothing where a segment holds no record that can be read.
    last: Option<Sequence>,
    bytes: u64,
}

#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    segments: VecDeque<Segment>,
    /// Whether the newest segment takes more records.
    open: bool,
    next: Sequence,
    acked: Sequence,
    loss: Option<Loss>,
}

impl Ledger {
    pub fn new(limits: Limits) -> Self {
        Self { limits, segments: VecDeque::new(), open: false, next: 1, acked: 0, loss: None }
    }

    /// A segment found at the start, oldest first. Nothing is ever appended to
    /// one: its end may be torn. So the name of one that holds nothing is taken.
    pub fn found(&mut self, id: SegmentId, last: Option<Sequence>, bytes: u64) {
        self.next = self.next.max(last.unwrap_or(id).saturating_add(1));
        self.segments.push_back(Segment { id, last, bytes });
    }

    /// Bytes that cannot be read may have been records whose numbers the control
    /// plane has seen: those numbers are not used again.
    pub fn skip_damaged(&mut self, bytes: u64) {
        let most = bytes.div_ceil(RECORD_OVERHEAD_BYTES as u64);
        self.next = self.next.saturating_add(most);
    }

    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    pub fn last_sequence(&self) -> Sequence {
        self.segments.iter().filter_map(|segment| segment.last).max().unwrap_or(0)
    }

    pub fn acked(&self) -> Sequence {
        self.acked
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// An upper bound: numbers skipped after damage are in it.
    pub fn backlog(&self) -> u64 {
        self.last_sequence().saturating_sub(self.acked)
    }

    pub fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Whether a record of that length is kept. `disk_full` is the shell's: the
    /// file system is below the floor of free space. A record that is refused is
    /// to be counted with [`Ledger::lost`].
    pub fn admit(&self, record_bytes: u64, disk_full: bool) -> Admission {
        let budget = self.limits.budget_bytes;
        // After a loss some room must come back first, or every other record
        // would be a note of loss.
        let budget = if self.loss.is_some() { budget - budget / 10 } else { budget };
        let newest = self.segments.back().filter(|_| self.open);
        let room = newest.filter(|one| one.bytes.saturating_add(record_bytes) <= self.limits.segment_bytes);
        let segment = room.map(|segment| segment.id);
        let header = if segment.is_some() { 0 } else { HEADER_BYTES as u64 };
        let over = self.bytes().saturating_add(record_bytes).saturating_add(header) > budget;
        if over || disk_full {
            let reason = if over {
                format!("the spool's {} bytes were full", self.limits.budget_bytes)
            } else {
                "the disk was almost full".to_owned()
            };
            return Admission::Refused { reason };
        }
        match segment {
            Some(segment) => Admission::Append { segment, fresh: false },
            None => Admission::Append { segment: self.next, fresh: true },
        }
    }

    pub fn lost(&mut self, count: u64, reason: String) {
        let loss = self.loss.get_or_insert(Loss { count: 0, reason });
        loss.count = loss.count.saturating_add(count);
    }

    pub fn loss_told(&mut self) {
        self.loss = None;
    }

    pub fn began(&mut self, segment: SegmentId) {
        self.open = true;
        self.segments.push_back(Segment { id: segment, last: None, bytes: HEADER_BYTES as u64 });
    }

    /// It is durable.
    pub fn appended(&mut self, sequence: Sequence, record_bytes: u64) {
        self.next = self.next.max(sequence.saturating_add(1));
        if let Some(segment) = self.segments.back_mut() {
            segment.last = Some(sequence);
            segment.bytes = segment.bytes.saturating_add(record_bytes);
        }
    }

    /// Writing to the newest segment failed: what the disk holds of it is not
    /// known, and never asked again. What did not become durable comes again in
    /// another segment; its name must differ.
    pub fn failed(&mut self, bytes_on_disk: u64) {
        self.open = false;
        self.next = self.next.saturating_add(1);
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes = segment.bytes.max(bytes_on_disk);
        }
    }

    /// Everything up to here is durable elsewhere. Returns the segments that are
    /// no longer needed. The newest stays: it is how the next start knows which
    /// numbers are taken.
    pub fn ack(&mut self, sequence: Sequence) -> Vec<SegmentId> {
        self.acked = self.acked.max(sequence);
        // The control plane knows of numbers that this disk has lost.
        self.next = self.next.max(sequence.saturating_add(1));
        let newest = self.last_sequence();
        let mut forgotten = Vec::new();
        while self.segments.len() > 1 {
            let done = self
                .segments
                .front()
                .is_some_and(|segment| segment.last.is_none_or(|last| last <= self.acked && last < newest));
            let Some(segment) = self.segments.pop_front_if(|_| done) else { break };
            forgotten.push(segment.id);
        }
        forgotten
    }

    /// The segments that hold records after `sequence`, oldest first.
    pub fn segments_after(&self, sequence: Sequence) -> impl Iterator<Item = SegmentId> + '_ {
        self.segments.iter().filter(move |one| one.last.is_some_and(|last| last > sequence)).map(|one| one.id)
    }
}
