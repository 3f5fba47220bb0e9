//! A cron line as people say it, where they have a short way to.

use crate::cron::Cron;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const ALL_MINUTES: u64 = (1 << 60) - 1;
const ALL_HOURS: u64 = (1 << 24) - 1;
const ALL_DAYS: u64 = (1 << 32) - 2;
const ALL_MONTHS: u64 = (1 << 13) - 2;
const ALL_WEEK: u64 = (1 << 7) - 1;
/// More times of a day are easier to read as they are written.
const TIMES_MAX: usize = 3;
const DAYS_MAX: usize = 3;

impl Cron {
    /// `daily 02:00`, `Mon-Thu 20:00`, `every 15 minutes`; otherwise as it is written.
    pub fn words(&self) -> String {
        self.spoken().unwrap_or_else(|| self.to_string())
    }

    fn spoken(&self) -> Option<String> {
        if self.months != ALL_MONTHS {
            return None;
        }
        let days = self.spoken_days()?;
        if let Some(pace) = self.pace() {
            return Some(if days.is_empty() { pace } else { format!("{pace}, {days}") });
        }
        let (minutes, hours) = (list(self.minutes), list(self.hours));
        if minutes.len() * hours.len() > TIMES_MAX {
            return None;
        }
        let times = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        let times = times.collect::<Vec<_>>().join(", ");
        Some(if days.is_empty() { format!("daily {times}") } else { format!("{days} {times}") })
    }

    /// Empty: every day.
    fn spoken_days(&self) -> Option<String> {
        match (self.days == ALL_DAYS, self.weekdays == ALL_WEEK) {
            (true, true) => Some(String::new()),
            (true, false) => Some(weekdays(self.weekdays)),
            (false, true) => {
                let days = list(self.days);
                let days = (days.len() <= DAYS_MAX).then_some(days)?;
                Some(format!("monthly, {}", days.into_iter().map(ordinal).collect::<Vec<_>>().join(", ")))
            }
            (false, false) => None,
        }
    }

    fn pace(&self) -> Option<String> {
        let every = |count: u32, one: &str| match count {
            1 => format!("every {one}"),
            count => format!("every {count} {one}s"),
        };
        if self.hours == ALL_HOURS && self.minutes.count_ones() > 1 {
            return Some(every(step(self.minutes, ALL_MINUTES, 60)?, "minute"));
        }
        let [minute] = list(self.minutes)[..] else { return None };
        let hours = step(self.hours, ALL_HOURS, 24)?;
        let at = if minute == 0 { String::new() } else { format!(" at :{minute:02}") };
        Some(format!("{}{at}", every(hours, "hour")))
    }
}

fn list(bits: u64) -> Vec<u32> {
    (0..64).filter(|bit| bits & (1 << bit) != 0).collect()
}

/// So many apart, from the first on and all the way round.
fn step(bits: u64, all: u64, round: u32) -> Option<u32> {
    let steps = (1..=round / 2).filter(|step| round.is_multiple_of(*step));
    let of = |step: u32| (0..round).step_by(step as usize).fold(0u64, |bits, bit| bits | 1 << bit) & all;
    steps.into_iter().find(|step| of(*step) == bits)
}

fn weekdays(bits: u64) -> String {
    // A week of people begins with Monday.
    let order: Vec<usize> = [1, 2, 3, 4, 5, 6, 0].into_iter().filter(|day| bits & (1 << day) != 0).collect();
    let name = |day: &usize| WEEKDAYS.get(*day).copied().unwrap_or_default();
    let place = |day: &usize| (*day + 6) % 7;
    let (first, last) = (order.first().map_or(0, place), order.last().map_or(0, place));
    if order.len() > 2 && last - first + 1 == order.len() {
        let ends = order.first().zip(order.last());
        return ends.map(|(first, last)| format!("{}-{}", name(first), name(last))).unwrap_or_default();
    }
    order.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn ordinal(day: u32) -> String {
    let end = match (day % 10, day / 10) {
        (1, tens) if tens != 1 => "st",
        (2, tens) if tens != 1 => "nd",
        (3, tens) if tens != 1 => "rd",
        _ => "th",
    };
    format!("{day}{end}")
}

#[cfg(test)]
mod tests {
    use crate::cron::Cron;

    #[test]
    fn what_people_have_words_for() {
        for (line, words) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("0 * * * *", "every hour"),
            ("30 * * * *", "every hour at :30"),
            ("0 */6 * * *", "every 6 hours"),
            ("30 2 * * *", "daily 02:30"),
            ("0 2,14 * * *", "daily 02:00, 14:00"),
            ("0 20 * * tue", "Tue 20:00"),
            ("0 20 * * mon-thu", "Mon-Thu 20:00"),
            ("0 9 * * sat,sun", "Sat, Sun 09:00"),
            ("*/10 * * * mon-fri", "every 10 minutes, Mon-Fri"),
            ("0 7 1 * *", "monthly, 1st 07:00"),
            ("0 7 1,22,13 * *", "monthly, 1st, 13th, 22nd 07:00"),
            ("0 7 1 1 *", "0 7 1 1 *"),
            ("0 7 1 * mon", "0 7 1 * mon"),
            ("5-9 1-4 * * *", "5-9 1-4 * * *"),
        ] {
            assert_eq!(Cron::parse(line).expect(line).words(), words, "{line}");
        }
    }
}
