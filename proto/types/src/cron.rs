//! Cron's five fields: when something is due, in minutes.
//!
//! As Vixie's: lists, ranges, steps, names, Sunday as 0 or 7; and where both day
//! fields are set, either one is enough.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// A bit a minute, hour, day of the month, month, day of the week.
    pub minutes: u64,
    pub hours: u64,
    pub days: u64,
    pub months: u64,
    pub weekdays: u64,
    /// Whether a field begins with a star.
    pub any_minute: bool,
    pub any_hour: bool,
    pub any_day: bool,
    pub any_weekday: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("{found} of cron's five fields in {text:?}: minute, hour, day, month, weekday, as in 0 2 * * *")]
    Fields { text: String, found: usize },
    #[error("{0:?} has six fields: cron here has no seconds; leave out the first")]
    Seconds(String),
    #[error("{text} is not used here: write {instead}")]
    Nickname { text: String, instead: &'static str },
    #[error("{field} {text:?} is none: {expected}")]
    Field { field: &'static str, text: String, expected: String },
    #[error("{0:?} never comes: that month has no such day")]
    Never(String),
}

struct Kind {
    field: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * sun"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const KINDS: [Kind; 5] = [
    Kind { field: "minute", least: 0, most: 59, names: &[] },
    Kind { field: "hour", least: 0, most: 23, names: &[] },
    Kind { field: "day", least: 1, most: 31, names: &[] },
    Kind { field: "month", least: 1, most: 12, names: &MONTHS },
    Kind { field: "weekday", least: 0, most: 7, names: &WEEKDAYS },
];

impl Cron {
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if let Some((_, instead)) = NICKNAMES.iter().find(|(name, _)| fields == [*name]) {
            return Err(CronError::Nickname { text: text.trim().to_owned(), instead });
        }
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(match fields.len() {
                6 => CronError::Seconds(text.to_owned()),
                found => CronError::Fields { text: text.to_owned(), found },
            });
        };
        let [minutes, hours, days, months, weekdays] = KINDS;
        let mut cron = Self {
            text: fields.join(" ").to_lowercase(),
            minutes: minutes.bits(minute)?,
            hours: hours.bits(hour)?,
            days: days.bits(day)?,
            months: months.bits(month)?,
            weekdays: weekdays.bits(weekday)?,
            any_minute: minute.starts_with('*'),
            any_hour: hour.starts_with('*'),
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        // Sunday is 0 and 7.
        if cron.weekdays & (1 << 7) != 0 {
            cron.weekdays = (cron.weekdays & !(1 << 7)) | 1;
        }
        if cron.any_weekday && !cron.comes() {
            return Err(CronError::Never(cron.text));
        }
        Ok(cron)
    }

    fn comes(&self) -> bool {
        const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let earliest = self.days.trailing_zeros();
        (1u32..).zip(LONGEST).any(|(month, days)| self.months & (1 << month) != 0 && earliest <= days)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Kind {
    fn wrong(&self, text: &str) -> CronError {
        let names = match (self.names.first(), self.names.last()) {
            (Some(first), Some(last)) => format!(" or {first} to {last}"),
            _ => String::new(),
        };
        let expected = format!("{} to {}{names}, *, a range 1-5, a list 1,3 or a step */5", self.least, self.most);
        CronError::Field { field: self.field, text: text.to_owned(), expected }
    }

    fn bits(&self, text: &str) -> Result<u64, CronError> {
        let mut bits = 0;
        for part in text.split(',') {
            bits |= self.part(part).ok_or_else(|| self.wrong(text))?;
        }
        Ok(bits)
    }

    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u32>().ok().filter(|step| (1..=self.most).contains(step))?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most.min(if self.names.len() == 7 { 6 } else { self.most })),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None => {
                let only = self.value(range)?;
                (only, if part.contains('/') { self.most } else { only })
            }
        };
        // `fri-sun`: a week has no end.
        let wrapped = self.names.len() == 7 && last == 0 && first > 0;
        let last = if wrapped { 7 } else { last };
        if first > last {
            return None;
        }
        let mut bits = 0;
        let mut at = first;
        while at <= last {
            bits |= 1 << at;
            at += step;
        }
        Some(bits)
    }

    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return u32::try_from(index).ok().map(|index| if self.names.len() == 12 { index + 1 } else { index });
        }
        let number =
            (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())).then(|| text.parse::<u32>().ok())??;
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: impl IntoIterator<Item = u32>) -> u64 {
        values.into_iter().fold(0, |bits, value| bits | 1 << value)
    }

    #[test]
    fn fields_mean_what_they_say() {
        let cron = Cron::parse("*/15  20 1,15 * MON-thu").expect("valid");
        assert_eq!(cron.minutes, bits([0, 15, 30, 45]));
        assert_eq!(cron.hours, bits([20]));
        assert_eq!(cron.days, bits([1, 15]));
        assert_eq!(cron.months, bits(1..=12));
        assert_eq!(cron.weekdays, bits(1..=4));
        assert_eq!((cron.any_day, cron.any_weekday), (false, false));
        assert_eq!(cron.to_string(), "*/15 20 1,15 * mon-thu");
    }

    #[test]
    fn sunday_is_at_both_ends() {
        for text in ["0 4 * * sun", "0 4 * * 0", "0 4 * * 7"] {
            assert_eq!(Cron::parse(text).expect(text).weekdays, 1, "{text}");
        }
        assert_eq!(Cron::parse("0 4 * * fri-sun").expect("valid").weekdays, bits([5, 6, 0]));
        assert_eq!(Cron::parse("0 4 * * *").expect("valid").weekdays, bits(0..=6));
        assert_eq!(Cron::parse("5/20 * * * *").expect("valid").minutes, bits([5, 25, 45]));
    }

    #[test]
    fn mistakes_say_what_a_field_takes() {
        for (text, says) in [
            ("0 2 * *", "4 of cron's five fields"),
            ("0 0 2 * * *", "no seconds"),
            ("@daily", "write 0 0 * * *"),
            ("60 2 * * *", "minute \"60\" is none: 0 to 59"),
            ("0 24 * * *", "hour"),
            ("0 2 0 * *", "day"),
            ("0 2 * foo *", "1 to 12 or jan to dec"),
            ("0 2 * * mon-foo", "weekday"),
            ("0 2 */0 * *", "day"),
            ("5-2 2 * * *", "minute"),
            ("0 0 31 2,4 *", "never comes"),
            ("", "0 of cron's five fields"),
        ] {
            let error = Cron::parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Cron::parse("0 0 29 2 *").is_ok());
        assert!(Cron::parse("0 0 31 2 mon").is_ok(), "either day field is enough");
    }
}
