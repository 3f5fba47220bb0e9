//! When something is due: cron's fields on the wall of a zone, or each so long; windows,
//! and nodes spread over a span. Pure: both the control plane and a host that is cut off ask it,
//! and both get the same answer.
//!
//! # When clocks are changed
//!
//! A cron line is read on the wall clock of its zone, as Vixie's cron reads it:
//!
//! - A line whose minute and hour fields both begin without a star names **fixed
//!   times** (`30 2 * * *`, `0 0-23 * * *`). A fixed time that does not exist that day,
//!   because clocks are put forward over it, is due at the instant at which they are:
//!   right after the gap. One that comes twice, because clocks are put back, is due the
//!   first time only.
//! - Any other line is an **interval** (`*/15 * * * *`, `0 * * * *`, `30 */2 * * *`). It
//!   follows the time that passes: it is due whenever the wall clock shows such a time,
//!   twice if that comes twice, and not at all for what is left out.
//! - What is due at one instant is due once: two fixed times in one gap, or one in it and
//!   one at its end, are one fire.
//! - A gap or a repetition is whatever the zone makes of it: half an hour (Lord Howe),
//!   two (Troll), a whole day (Apia, the 30th of December 2011).
//!
//! What is due each so long (`every 6h`) is so at the multiples of that span since 1970 in
//! UTC: whoever asks, wherever and after whatever restart, gets the same times.
//!
//! Where both day fields are set, either one is enough; where one begins with a star,
//! both have to be so.
//!
//! Zones are those that the program was built with. The host's own are not read: then a
//! host with old tables, or with none, would fire at other times than the control plane
//! says.

mod civil;
mod spoken;
mod spread;
mod when;
mod window;
mod words;
mod zones;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub use spread::jittered;
pub use when::{EVERY_MAX, EVERY_MIN, When, WhenError};
pub use window::{Admission, Look, Opening, Window};
pub use words::in_words;
pub use zones::UnknownZone;

use crate::cron::Cron;
use crate::spec::Zone;
use crate::time::Timestamp;
use civil::{DAY_MINUTES, Date};
use std::sync::Arc;
use zones::Wall;

/// Something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fire {
    pub at: Timestamp,
    /// The time on the wall that it stands for does not exist that day.
    pub moved: bool,
}

/// When something is due again, as it shows on the wall of a zone.
#[derive(Clone, Debug)]
pub struct Recurrence {
    when: When,
    wall: Arc<Wall>,
}

impl Recurrence {
    pub fn new(when: impl Into<When>, zone: &Zone) -> Result<Self, UnknownZone> {
        Ok(Self { when: when.into(), wall: Wall::of(zone)? })
    }

    pub fn zone(&self) -> &str {
        &self.wall.zone
    }

    /// The first fire later than `after`. None comes after the year 2149.
    pub fn next_after(&self, after: Timestamp) -> Option<Fire> {
        match &self.when {
            When::Cron(cron) => self.next_on_the_wall(cron, after),
            When::Every(span) => when::next_multiple(*span, after).map(|at| Fire { at, moved: false }),
        }
    }

    fn next_on_the_wall(&self, cron: &Cron, after: Timestamp) -> Option<Fire> {
        let second = i64::try_from(after.as_millis() / 1_000).ok()?;
        let fixed = cron.is_fixed();
        let stretches = self.wall.since(second);
        let first = stretches.first()?;
        let mut from = (second + first.offset).div_euclid(60) + 1;
        if fixed {
            from = from.max(first.seen);
        }
        for (index, stretch) in stretches.iter().enumerate() {
            if index > 0 {
                from = stretch.begins;
                if fixed {
                    let skipped = stretch.seen..stretch.begins;
                    if !skipped.is_empty() && skipped.contains(&cron.minute_from(stretch.seen)?) {
                        return Some(Fire { at: timestamp(stretch.from)?, moved: true });
                    }
                    from = from.max(stretch.seen);
                }
            }
            let at = cron.minute_from(from)? * 60 - stretch.offset;
            if at < stretch.until {
                return Some(Fire { at: timestamp(at)?, moved: false });
            }
        }
        None
    }

    /// All fires later than `after`.
    pub fn after(&self, after: Timestamp) -> impl Iterator<Item = Fire> {
        std::iter::successors(self.next_after(after), |fire| self.next_after(fire.at))
    }

    /// The first fires later than `after` and no later than `to`: `most` of them.
    pub fn between(&self, after: Timestamp, to: Timestamp, most: usize) -> Vec<Fire> {
        self.after(after).take_while(|fire| fire.at <= to).take(most).collect()
    }

    /// The newest fire later than `after` and no later than `to`: a few steps, however
    /// many there are.
    pub fn newest(&self, after: Timestamp, to: Timestamp) -> Option<Fire> {
        let up_to = |after: Timestamp| self.next_after(after).filter(|fire| fire.at <= to);
        let mut low = up_to(after)?;
        let mut high = to;
        while let Some(next) = up_to(low.at) {
            low = next;
            let middle = Timestamp::from_millis(low.at.as_millis().midpoint(high.as_millis()));
            match up_to(middle) {
                Some(fire) => low = fire,
                None => high = middle,
            }
        }
        Some(low)
    }
}

fn timestamp(second: i64) -> Option<Timestamp> {
    u64::try_from(second).ok()?.checked_mul(1_000).map(Timestamp::from_millis)
}

/// What the fields say of local minutes, counted since 1970 on the wall.
impl Cron {
    /// Whether it names times of the day; otherwise it says how often.
    pub fn is_fixed(&self) -> bool {
        !self.any_minute && !self.any_hour
    }

    /// The first minute that matches, `from` on.
    fn minute_from(&self, from: i64) -> Option<i64> {
        let (day, minute) = (from.div_euclid(DAY_MINUTES), from.rem_euclid(DAY_MINUTES));
        let date = Date::of(day);
        if self.days_of(&date) & (1 << date.day) != 0
            && let Some(minute) = self.minute_of_day(minute)
        {
            return Some(day * DAY_MINUTES + minute);
        }
        Some(self.day_after(date)? * DAY_MINUTES + self.minute_of_day(0)?)
    }

    fn minute_of_day(&self, from: i64) -> Option<i64> {
        let (hour, minute) = (from / 60, from % 60);
        let left = self.minutes & (u64::MAX << minute);
        if self.hours & (1 << hour) != 0 && left != 0 {
            return Some(hour * 60 + i64::from(left.trailing_zeros()));
        }
        let later = self.hours & (u64::MAX << (hour + 1));
        (later != 0).then(|| i64::from(later.trailing_zeros()) * 60 + i64::from(self.minutes.trailing_zeros()))
    }

    fn day_after(&self, date: Date) -> Option<i64> {
        let mut date = date;
        let mut left = u64::MAX << (date.day + 1);
        // On the wall of some zones the last hours are the next year's.
        while date.year <= zones::LAST_YEAR + 1 {
            let days = self.days_of(&date) & left;
            if days != 0 {
                return Some(date.first_of_month() + i64::from(days.trailing_zeros()) - 1);
            }
            date = date.next_month();
            left = u64::MAX;
        }
        None
    }

    /// A bit for each day of the month of `date` that matches.
    fn days_of(&self, date: &Date) -> u64 {
        if self.months & (1 << date.month) == 0 {
            return 0;
        }
        // Of the first seven days, and so of every seven after them.
        let week = self.weekdays | self.weekdays << 7;
        let week = (week >> date.first_weekday()) & 0x7f;
        let by_weekday = (0..5).fold(0, |days, turn| days | week << (turn * 7 + 1));
        let both = self.any_day || self.any_weekday;
        let days = if both { self.days & by_weekday } else { self.days | by_weekday };
        days & ((2 << date.month_days()) - 1) & !1
    }
}
