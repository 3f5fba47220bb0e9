//! Durations, shares and sizes, as people write them in options.

use serde::{Deserialize, Deserializer};
use std::time::Duration;

const DURATION_UNITS_MS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `500ms`, `10s`, `2h`, `1h30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it like 500ms, 10s, 5m, 2h or 7d");
    let mut rest = text;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, next) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, unit_ms) = DURATION_UNITS_MS.iter().find(|(word, _)| *word == unit).ok_or_else(wrong)?;
        total_ms = total_ms.saturating_add(number.saturating_mul(*unit_ms));
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// For `#[serde(deserialize_with = "...")]` on an `Option<Duration>`.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}

/// A share of a whole in percent, 0 to 100: `"80%"` or a plain `80`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a share like \"80%\" or a number from 0 to 100")]
        enum Either {
            Number(f64),
            Text(String),
        }
        let (value, shown) = match Either::deserialize(from)? {
            Either::Number(number) => (Some(number), number.to_string()),
            Either::Text(text) => (text.trim().trim_end_matches('%').trim_end().parse().ok(), text),
        };
        match value {
            Some(value) if (0.0..=100.0).contains(&value) => Ok(Percent(value)),
            _ => Err(serde::de::Error::custom(format!("{shown:?} is no share: write it like \"80%\", from 0 to 100"))),
        }
    }
}

/// An amount of bytes: `"512KiB"`, `"1.5GiB"`, with powers of 1024 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
        let bytes = SIZE_UNITS.iter().find(|(word, _)| *word == unit).map(|(_, bytes)| *bytes);
        match (number.parse::<f64>(), bytes) {
            (Ok(number), Some(bytes)) if number >= 0.0 => Ok(Size((number * bytes as f64) as u64)),
            _ => Err(serde::de::Error::custom(format!("{text:?} is no size: write it like 512KiB, 64MiB or 2GiB"))),
        }
    }
}

/// One unit, rounded down: `90 s`, `5 min`, `36 h`, `3 days`.
pub fn format_age(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Three significant digits in the unit that fits: `61 GiB`, `1.5 TiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `850 us`, `1.2 ms`, `3.4 s`.
pub fn format_micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1d2h30m"), Ok(Duration::from_secs(95_400)));
        for wrong in ["", "5", "s", "5w", "-1s", "1.5s", "5m3"] {
            assert!(parse_duration(wrong).expect_err(wrong).contains("write it like"));
        }
    }

    #[test]
    fn reads_percents() {
        for (json, value) in [("\"80%\"", 80.0), ("80", 80.0), ("\"99.5 %\"", 99.5), ("\"7\"", 7.0)] {
            assert_eq!(crate::read_options::<Percent>(json), Ok(Percent(value)));
        }
        for wrong in ["\"120%\"", "-1", "\"x\"", "true"] {
            assert!(crate::read_options::<Percent>(wrong).expect_err(wrong).message.contains("like \"80%\""));
        }
    }

    #[test]
    fn reads_sizes() {
        for (json, bytes) in [("\"0B\"", 0), ("\"64MiB\"", 64 << 20), ("\"1.5KiB\"", 1536)] {
            assert_eq!(crate::read_options::<Size>(json), Ok(Size(bytes)));
        }
        for wrong in ["\"64\"", "\"64MB\"", "\"-1B\"", "\"B\"", "\"1 MiB\""] {
            assert!(crate::read_options::<Size>(wrong).expect_err(wrong).message.contains("like 512KiB"));
        }
    }

    #[test]
    fn writes_sizes_and_times() {
        assert_eq!(format_bytes(61 << 30), "61 GiB");
        assert_eq!(format_bytes(1536), "1.5 KiB");
        assert_eq!(format_bytes(12), "12 B");
        assert_eq!(format_micros(1_234), "1.2 ms");
        assert_eq!(format_micros(850), "850 us");
        assert_eq!(format_micros(2_500_000), "2.5 s");
        let ages = [5, 119, 120, 7_200, 172_800].map(|seconds| format_age(Duration::from_secs(seconds)));
        assert_eq!(ages, ["5 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
