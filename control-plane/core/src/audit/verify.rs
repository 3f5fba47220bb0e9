//! Reading a log from its first record to its last, and naming the first that is
//! not what was written.
//!
//! One changed record shows as a chain that breaks; which side of the break is wrong
//! is decided by what follows. Whoever writes the chain anew behind a change fails at
//! the next checkpoint; whoever drops the end, at what the state store remembers.

use super::frame::{self, Frame, Kind, Look};
use super::{Checkpoint, Hash, NOTHING_BEFORE, Point, signed_words};
use hostler_types::Timestamp;
use std::fmt;

pub struct Tools<'a> {
    pub hash: &'a dyn Fn(&[u8]) -> Hash,
    /// Whether a signature over these words is the control plane's.
    pub signed: &'a dyn Fn(&[u8], &[u8]) -> bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Also possible: it and others before it, back to the checkpoint `since`, were
    /// written anew together.
    Edited {
        since: u64,
    },
    /// Up to and with `last`.
    Missing {
        last: u64,
    },
    OutOfOrder {
        after: u64,
    },
    CutOff {
        last: u64,
    },
    /// What stands between the checkpoint `since` and this one is proven by nothing.
    Signature {
        since: u64,
    },
}

/// The first record that is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    pub number: u64,
    /// The record's own time, or that of the last good one before it.
    pub at: Timestamp,
    pub fault: Fault,
}

impl Fault {
    /// For scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Edited { .. } => "edited",
            Fault::Missing { .. } => "missing",
            Fault::OutOfOrder { .. } => "out-of-order",
            Fault::CutOff { .. } => "cut-off",
            Fault::Signature { .. } => "signature",
        }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match self.fault {
            Fault::Edited { since } if since + 1 < number => {
                write!(f, "record {number} was edited, or written anew together with others since checkpoint {since}")
            }
            Fault::Edited { .. } => write!(f, "record {number} was edited"),
            Fault::Missing { last } if last == number => write!(f, "record {number} is missing"),
            Fault::Missing { last } => write!(f, "records {number} to {last} are missing"),
            Fault::OutOfOrder { after } => write!(f, "record {number} is out of order: it stands after record {after}"),
            Fault::CutOff { last } if last == number => {
                write!(f, "the log is cut off: record {number} is gone from its end")
            }
            Fault::CutOff { last } => {
                write!(f, "the log is cut off: records {number} to {last} are gone from its end")
            }
            Fault::Signature { since } if since + 1 < number => write!(
                f,
                "the signature of checkpoint {number} is wrong: it, or records since checkpoint {since}, were written anew"
            ),
            Fault::Signature { .. } => write!(f, "the signature of checkpoint {number} is wrong"),
        }
    }
}

/// A log that is as it was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first and the last that are there; 0: none.
    pub first: u64,
    pub last: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    pub calls: u64,
    pub checkpoints: u64,
    /// Behind the end: the start of a record that was never finished.
    pub torn_bytes: u64,
}

/// Something is wrong, and what follows says what.
#[derive(Clone, Copy)]
enum Doubt {
    /// The record of this number does not go on from the one before.
    Link {
        number: u64,
        before_at: Timestamp,
    },
    Gap {
        expected: u64,
        found: u64,
    },
    Unreadable {
        number: u64,
        is_cut: bool,
        bytes: u64,
    },
}

pub struct Verifier<'a> {
    tools: Tools<'a>,
    /// What is remembered elsewhere.
    known: &'a [Point],
    report: Report,
    before: Hash,
    /// The newest checkpoint that holds.
    proven: u64,
    floor: u64,
    doubt: Option<Doubt>,
    bad: Option<Bad>,
}

impl<'a> Verifier<'a> {
    pub fn new(tools: Tools<'a>, known: &'a [Point]) -> Self {
        let (report, before) = (Report::default(), NOTHING_BEFORE);
        Self { tools, known, report, before, proven: 0, floor: 1, doubt: None, bad: None }
    }

    /// The next piece of the log: whole segments, in order.
    pub fn take(&mut self, segment: &[u8]) {
        let mut rest = segment;
        while !rest.is_empty() && self.bad.is_none() {
            let skipped = match frame::look(rest) {
                Look::Whole(frame) => {
                    let (whole, after) = rest.split_at(frame.bytes);
                    self.frame(&frame, whole);
                    rest = after;
                    continue;
                }
                Look::Cut => frame::find(rest, 1).map(|next| (next, true)).ok_or(true),
                Look::Damaged => frame::find(rest, 1).map(|next| (next, false)).ok_or(false),
            };
            let (next, is_cut) = skipped.unwrap_or_else(|is_cut| (rest.len(), is_cut));
            let number = if self.report.first == 0 { 0 } else { self.report.last + 1 };
            self.doubt.get_or_insert(Doubt::Unreadable { number, is_cut, bytes: next as u64 });
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, whole: &[u8]) {
        if let Some(doubt) = self.doubt {
            return self.settle(doubt, frame);
        }
        let number = frame.number;
        if self.report.first == 0 {
            // Only what was dropped for its age may be gone, and then a checkpoint begins.
            if number > 1 && frame.kind != Kind::Checkpoint {
                return self.found(number - 1, frame.at, Fault::Missing { last: number - 1 });
            }
            if number > 1 {
                (self.before, self.proven) = (frame.before, number - 1);
            }
            (self.report.first, self.report.first_at, self.report.last) = (number, frame.at, number - 1);
        }
        let (expected, last) = (self.report.last + 1, self.report.last);
        if number > expected {
            self.doubt = Some(Doubt::Gap { expected, found: number });
            return;
        }
        if number < expected {
            return self.found(number, frame.at, Fault::OutOfOrder { after: last });
        }
        let hash = (self.tools.hash)(frame::covered(whole));
        let proven = self.checkpoint(frame);
        let known = self.known.iter().find(|point| point.number == number).map(|point| point.hash == hash);
        if frame.before != self.before {
            let (since, at) = (self.proven, self.report.last_at);
            match known.or(proven.filter(|good| *good)) {
                _ if last == 0 => return self.found(number, frame.at, Fault::Edited { since }),
                Some(true) => return self.found(last, at, Fault::Edited { since }),
                Some(false) => return self.found(number, frame.at, Fault::Edited { since: last }),
                None => self.doubt = Some(Doubt::Link { number, before_at: at }),
            }
        } else if proven == Some(false) {
            return self.found(number, frame.at, Fault::Signature { since: self.proven });
        } else if known == Some(false) {
            return self.found(number, frame.at, Fault::Edited { since: self.proven });
        }
        match frame.kind {
            Kind::Call => self.report.calls += 1,
            Kind::Checkpoint => self.report.checkpoints += 1,
        }
        if proven == Some(true) {
            self.proven = number;
            let floor = Checkpoint::decode(frame.body).map_or(0, |checkpoint| checkpoint.floor);
            self.floor = self.floor.max(floor);
        }
        self.before = hash;
        (self.report.last, self.report.last_at) = (number, frame.at);
    }

    /// Whether a checkpoint is signed as it should be; `None` for any other record.
    fn checkpoint(&self, frame: &Frame<'_>) -> Option<bool> {
        (frame.kind == Kind::Checkpoint).then(|| {
            Checkpoint::decode(frame.body).is_some_and(|checkpoint| {
                let words = signed_words(frame.number, frame.at, &frame.before, checkpoint.floor);
                (self.tools.signed)(&words, checkpoint.signature)
            })
        })
    }

    /// What was in doubt, in the light of the next whole record.
    fn settle(&mut self, doubt: Doubt, frame: &Frame<'_>) {
        match doubt {
            Doubt::Link { number, before_at } => {
                let intact = frame.number == number + 1 && frame.before == self.before;
                let since = self.proven;
                if intact {
                    self.found(number - 1, before_at, Fault::Edited { since });
                } else {
                    self.found(number, self.report.last_at, Fault::Edited { since: number - 1 });
                }
            }
            Doubt::Gap { expected, found } if frame.number == expected => {
                self.found(expected, frame.at, Fault::OutOfOrder { after: found });
            }
            Doubt::Gap { .. } => {}
            Doubt::Unreadable { number, is_cut, .. } => {
                let number = if number == 0 { frame.number.saturating_sub(1).max(1) } else { number };
                let at = self.report.last_at;
                if is_cut && frame.number > number + 1 {
                    self.found(number, at, Fault::Missing { last: frame.number - 1 });
                } else {
                    self.found(number, at, Fault::Edited { since: number.saturating_sub(1) });
                }
            }
        }
    }

    fn found(&mut self, number: u64, at: Timestamp, fault: Fault) {
        self.bad.get_or_insert(Bad { number, at, fault });
    }

    /// After the last piece.
    pub fn finish(mut self) -> Result<Report, Bad> {
        let (last, at) = (self.report.last, self.report.last_at);
        let wanted = self.known.iter().map(|point| point.number).max().unwrap_or(0);
        match self.doubt {
            _ if self.bad.is_some() => {}
            Some(Doubt::Gap { expected, found }) => self.found(expected, at, Fault::Missing { last: found - 1 }),
            Some(Doubt::Link { number, before_at }) => {
                let since = self.proven.min(number - 1);
                self.found(number - 1, before_at, Fault::Edited { since });
            }
            Some(Doubt::Unreadable { is_cut: false, .. }) if wanted > last => {
                self.found(last + 1, at, Fault::Edited { since: last });
            }
            Some(Doubt::Unreadable { bytes, .. }) => self.report.torn_bytes = bytes,
            None => {}
        }
        if wanted > last {
            self.found(last + 1, at, Fault::CutOff { last: wanted });
        }
        if self.report.first > self.floor {
            let last = self.report.first - 1;
            self.found(self.floor, self.report.first_at, Fault::Missing { last });
        }
        self.bad.map_or(Ok(self.report), Err)
    }
}

#[cfg(test)]
mod tests;
