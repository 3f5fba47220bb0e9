//! Times as people say them.

use super::Recurrence;
use super::civil::{DAY_MINUTES, Date};
use crate::time::Timestamp;
use std::time::Duration;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Recurrence {
    /// `Tue 24 Nov 20:00 Europe/Berlin`; with its year where that is not this one.
    pub fn say(&self, at: Timestamp, now: Timestamp) -> String {
        let local = |at: Timestamp| {
            let second = i64::try_from(at.as_millis() / 1_000).unwrap_or(i64::MAX / 2);
            (second + self.wall.offset(second)).div_euclid(60)
        };
        let (minute, this_minute) = (local(at), local(now));
        let (days, minute) = (minute.div_euclid(DAY_MINUTES), minute.rem_euclid(DAY_MINUTES));
        let (date, today) = (Date::of(days), Date::of(this_minute.div_euclid(DAY_MINUTES)));
        let weekday = name(&WEEKDAYS, (days + 4).rem_euclid(7));
        let month = name(&MONTHS, i64::from(date.month) - 1);
        let year = if date.year == today.year { String::new() } else { format!(" {}", date.year) };
        let (day, hour, minute) = (date.day, minute / 60, minute % 60);
        format!("{weekday} {day} {month}{year} {hour:02}:{minute:02} {}", self.zone())
    }

    /// `Tue 24 Nov 20:00 Europe/Berlin, in 2 d 4 h`.
    pub fn say_when(&self, at: Timestamp, now: Timestamp) -> String {
        let when = self.say(at, now);
        if at >= now {
            return format!("{when}, in {}", in_words(at.since(now)));
        }
        format!("{when}, {} ago", in_words(now.since(at)))
    }
}

fn name(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

/// `2 d 4 h`, `3 h 10 m`, `45 s`: two units at most, rounded down.
pub fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [("d", 86_400, 3_600), ("h", 3_600, 60), ("m", 60, 1)];
    let smaller = ["h", "m", "s"];
    for ((unit, size, next), small) in units.into_iter().zip(smaller) {
        let (count, rest) = (seconds / size, seconds % size / next);
        match (count, rest) {
            (0, _) => {}
            (count, 0) => return format!("{count} {unit}"),
            (count, rest) => return format!("{count} {unit} {rest} {small}"),
        }
    }
    format!("{seconds} s")
}
