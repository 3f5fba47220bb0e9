//! Durations, sizes and shares as people write them, both ways.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is no duration: write it like 500ms, 10s, 5m, 2h, 7d or 1h30m")]
    Duration(String),
    #[error("{0:?} has no unit: write {0}s for seconds, {0}m for minutes")]
    BareNumber(String),
    #[error("{0:?} is no size: write it like 512KiB, 64MiB or 2GiB")]
    Size(String),
}

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `10s`, `1h30m`, `250ms`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(UnitError::BareNumber(text.to_owned()));
    }
    let mut rest = text;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, unit_ms) = DURATION_UNITS.iter().find(|(word, _)| *word == unit).ok_or_else(wrong)?;
        total_ms = number.checked_mul(*unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(wrong)?;
        rest = next;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// The shortest spelling that [`parse_duration`] reads back: `90s` is `1m30s`.
pub fn format_duration(span: Duration) -> String {
    let mut rest = crate::time::whole_millis(span);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ms) in DURATION_UNITS.iter().rev() {
        let count = rest / unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= unit_ms;
        }
    }
    text
}

/// An age for a column: one unit, rounded down, never wider than four characters
/// until a thousand days are past.
pub fn format_age(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `61 GiB`, `1.5 MiB`, `512 B`: three figures at most.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut name = "B";
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        name = unit;
    }
    if value < 10.0 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_the_same() {
        for (text, ms) in
            [("500ms", 500), ("10s", 10_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("1m30s", 90_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
            assert_eq!(format_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(format_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn a_bare_number_is_asked_for_its_unit() {
        assert_eq!(parse_duration("10"), Err(UnitError::BareNumber("10".to_owned())));
        for bad in ["", "s", "10x", "1.5s", "-3s", "10s5", "99999999999999999999s", "18446744073709551615d"] {
            assert!(matches!(parse_duration(bad), Err(UnitError::Duration(_))), "{bad}");
        }
    }

    #[test]
    fn sizes_keep_three_figures() {
        assert_eq!(format_size(512), "512 B");
        assert_eq!(format_size(1_572_864), "1.5 MiB");
        assert_eq!(format_size(65_498_251_264), "61 GiB");
    }
}
