//! What recurs: a cron line, or a span.

use super::zones::LAST_YEAR;
use crate::cron::{Cron, CronError};
use crate::time::{Timestamp, whole_millis};
use crate::units::{UnitError, format_duration, parse_duration};
use std::fmt;
use std::time::Duration;

/// Whatever is due more often is a service.
pub const EVERY_MIN: Duration = Duration::from_secs(60);
pub const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);
const EVERY: &str = "every ";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// On the wall of its zone.
    Cron(Cron),
    /// At the multiples of a span since 1970.
    Every(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    #[error(transparent)]
    Cron(#[from] CronError),
    #[error(transparent)]
    Every(#[from] UnitError),
    #[error("every {0} is none: from {min} to {max} is possible", min = format_duration(EVERY_MIN), max = format_duration(EVERY_MAX))]
    Span(String),
}

impl From<Cron> for When {
    fn from(cron: Cron) -> Self {
        Self::Cron(cron)
    }
}

impl When {
    /// Five fields of cron, or `every 6h`.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        let Some(span) = text.strip_prefix(EVERY) else { return Ok(Self::Cron(Cron::parse(text)?)) };
        Self::every(parse_duration(span)?)
    }

    pub fn every(span: Duration) -> Result<Self, WhenError> {
        let fits = (EVERY_MIN..=EVERY_MAX).contains(&span) && span.as_millis().is_multiple_of(1_000);
        if fits { Ok(Self::Every(span)) } else { Err(WhenError::Span(format_duration(span))) }
    }

    /// As people say it.
    pub fn words(&self) -> String {
        match self {
            Self::Cron(cron) => cron.words(),
            Self::Every(_) => self.to_string(),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(span) => write!(f, "{EVERY}{}", format_duration(*span)),
        }
    }
}

/// No later than a cron line is due.
pub(super) fn next_multiple(span: Duration, after: Timestamp) -> Option<Timestamp> {
    let (span, last) = (whole_millis(span), (LAST_YEAR.unsigned_abs() - 1970 + 1) * 366 * 86_400_000);
    let next = (after.as_millis().checked_div(span)? + 1).checked_mul(span)?;
    (next < last).then(|| Timestamp::from_millis(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::Recurrence;
    use crate::spec::Zone;

    fn due(text: &str, zone: &str) -> Recurrence {
        Recurrence::new(When::parse(text).expect(text), &Zone(zone.to_owned())).expect(zone)
    }

    #[test]
    fn a_span_is_due_at_its_multiples_whoever_asks_and_whenever() {
        let hour = 3_600_000;
        let at = |hours: u64| Timestamp::from_millis(1_772_373_600_000 / (6 * hour) * 6 * hour + hours * hour);
        for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe"] {
            let six = due("every 6h", zone);
            let fires: Vec<Timestamp> = six.between(at(0), at(24), 9).into_iter().map(|fire| fire.at).collect();
            assert_eq!(fires, [at(6), at(12), at(18), at(24)], "{zone}");
            assert_eq!(six.next_after(at(6).minus(Duration::from_millis(1))).map(|fire| fire.at), Some(at(6)));
            assert_eq!(six.newest(at(0), at(23)).map(|fire| fire.at), Some(at(18)));
        }
        assert!(due("every 1m", "UTC").next_after(Timestamp::from_millis(u64::MAX)).is_none());
    }

    #[test]
    fn it_reads_back_and_refuses_what_is_too_often_or_too_rare() {
        for text in ["every 1m", "every 1h30m", "every 7d", "0 2 * * *"] {
            let when = When::parse(text).expect(text);
            assert_eq!(When::parse(&when.to_string()), Ok(when), "{text}");
        }
        for text in ["every 59s", "every 400d", "every 60500ms", "every", "every 5", "often"] {
            assert!(When::parse(text).is_err(), "{text}");
        }
        let error = When::parse("every 5s").expect_err("too often");
        assert!(error.to_string().starts_with("every 5s is none: from 1m to "), "{error}");
    }
}
