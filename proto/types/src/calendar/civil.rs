//! Dates of the Gregorian calendar as numbers of days, in a few divisions. jiff does the
//! same with every bound checked; a plan of all schedules asks a million times.

pub const DAY_MINUTES: i64 = 1_440;

/// Years from the first of March on, so that the leap day is the last of its year, in
/// cycles of 400.
const CYCLE_DAYS: i64 = 146_097;
/// From the first of March of the year 0 to 1970.
const BEFORE_1970: i64 = 719_468;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    pub year: i64,
    /// From 1 on, as the day.
    pub month: u32,
    pub day: u32,
    /// Days since 1970 of the month's first.
    first: i64,
}

impl Date {
    /// The date so many days after the first of January 1970.
    pub fn of(days: i64) -> Self {
        let since = days + BEFORE_1970;
        let (cycle, day) = (since.div_euclid(CYCLE_DAYS), since.rem_euclid(CYCLE_DAYS));
        let year = (day - day / 1_460 + day / 36_524 - day / (CYCLE_DAYS - 1)) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5;
        let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Self { year: cycle * 400 + year + later, month: month as u32, day: day as u32 + 1, first: days - day }
    }

    pub fn first_of_month(&self) -> i64 {
        self.first
    }

    /// Of the month's first; Sunday is 0.
    pub fn first_weekday(&self) -> u32 {
        (self.first + 4).rem_euclid(7) as u32
    }

    pub fn month_days(&self) -> u32 {
        match self.month {
            2 if self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// The first day of the month after.
    #[must_use]
    pub fn next_month(&self) -> Self {
        let first = self.first + i64::from(self.month_days());
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        Self { year, month, day: 1, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_jiff() {
        let mut expected = jiff::civil::date(1969, 1, 1);
        for days in -365..70_000 {
            let date = Date::of(days);
            assert_eq!(
                (date.year, date.month, date.day),
                (i64::from(expected.year()), expected.month() as u32, expected.day() as u32),
                "{days}"
            );
            assert_eq!(date.month_days(), expected.days_in_month() as u32);
            let first = expected.first_of_month().weekday().to_sunday_zero_offset();
            assert_eq!(date.first_weekday(), first as u32, "{days}");
            let next = Date::of(days - i64::from(date.day) + 1 + i64::from(date.month_days()));
            assert_eq!(date.next_month(), next, "{days}");
            expected = expected.tomorrow().expect("a day");
        }
    }
}
