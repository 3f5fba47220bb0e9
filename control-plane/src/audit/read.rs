//! Questions to the log: who did what, and whether it is what was written.

use super::files::Files;
use crate::records;
use hostler_core::audit::Point;
use hostler_core::audit::frame::{self, Kind, Look};
use hostler_core::audit::verify::{Bad, Report, Tools, Verifier};
use hostler_proto::store as rest;
use hostler_types::Timestamp;
use memchr::memmem::Finder;
use std::io;
use std::time::Duration;

/// By so much a clock that was set back may have put records out of the order of
/// their times, and they are still found.
const CLOCK_SLACK: Duration = Duration::from_secs(86_400);

/// Which calls are wanted; empty means any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub by: String,
    pub on_noun: String,
    pub on_name: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    pub refused: bool,
}

impl Filter {
    fn in_time(&self, at: Timestamp) -> bool {
        at >= self.since && self.until.is_none_or(|until| at < until)
    }

    fn takes(&self, record: &rest::AuditRecord) -> bool {
        let on = |object: &rest::AuditObject| {
            object.noun == self.on_noun && (self.on_name.is_empty() || object.name == self.on_name)
        };
        (self.by.is_empty() || record.by == self.by || record.by_id == self.by)
            && (self.on_noun.is_empty() || record.on.iter().any(on))
            && (record.refused || !self.refused)
    }

    /// A text that stands in every record that is wanted: most others are passed over
    /// without being decoded.
    fn needle(&self) -> &str {
        [&self.by, &self.on_name, &self.on_noun].into_iter().find(|text| !text.is_empty()).map_or("", String::as_str)
    }
}

/// A record with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub number: u64,
    pub at: Timestamp,
    pub record: rest::AuditRecord,
}

/// Hands over what is wanted until `take` says that it is enough. What is damaged is
/// passed over: `verify` is who complains.
pub fn list(files: &Files, filter: &Filter, oldest_first: bool, take: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
    let needle = Finder::new(filter.needle());
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    let count = files.segments.len();
    for step in 0..count {
        let index = if oldest_first { step } else { count - 1 - step };
        if !overlaps(files, index, filter) {
            continue;
        }
        files.read(index, &mut bytes)?;
        candidates(&bytes, filter, &needle, &mut places);
        if !oldest_first {
            places.reverse();
        }
        for place in &places {
            let Look::Whole(one) = frame::look(bytes.get(*place..).unwrap_or_default()) else { continue };
            let Ok(record) = records::decode::<rest::AuditRecord>("audit", one.body) else { continue };
            if filter.takes(&record) && !take(Found { number: one.number, at: one.at, record }) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether a segment can hold anything of that time.
fn overlaps(files: &Files, index: usize, filter: &Filter) -> bool {
    let begins = files.segments.get(index).map(|segment| segment.first_at);
    let ends = files.segments.get(index + 1).map(|segment| segment.first_at);
    let too_old = ends.is_some_and(|ends| ends.plus(CLOCK_SLACK) < filter.since);
    let too_new = filter.until.zip(begins).is_some_and(|(until, begins)| begins.minus(CLOCK_SLACK) >= until);
    !too_old && !too_new
}

fn candidates(bytes: &[u8], filter: &Filter, needle: &Finder<'_>, places: &mut Vec<usize>) {
    places.clear();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(one) = frame::skim(rest) else {
            let Some(next) = frame::find(bytes, at + 1) else { return };
            at = next;
            continue;
        };
        if one.kind == Kind::Call && filter.in_time(one.at) && needle.find(one.body).is_some() {
            places.push(at);
        }
        at += one.bytes;
    }
}

/// Reads all of it. `known`: which records must be there, by what is remembered
/// elsewhere.
pub fn verify(files: &Files, public_key: &[u8], known: &[Point]) -> io::Result<Result<Report, Bad>> {
    let signed = |words: &[u8], signature: &[u8]| super::signed(public_key, words, signature);
    let mut verifier = Verifier::new(Tools { hash: &super::hash, signed: &signed }, known);
    let mut bytes = Vec::new();
    for index in 0..files.segments.len() {
        files.read(index, &mut bytes)?;
        verifier.take(&bytes);
    }
    Ok(verifier.finish())
}
