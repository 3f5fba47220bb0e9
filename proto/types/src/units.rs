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
    #[error("{text:?} is no size here, since {unit} means two things: write {instead}")]
    Decimal { text: String, unit: String, instead: String },
    #[error("{0:?} has no unit: write {0}MiB or {0}GiB")]
    BareSize(String),
    #[error("{0:?} is no share: write it like 80% or 99.9%")]
    Share(String),
    #[error("{0:?} has no sign: write {0}%")]
    BareShare(String),
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

const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `512KiB`, `1.5GiB`, `100B`: powers of 1024 only, so that nobody has to guess.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong());
    }
    if unit.is_empty() {
        return Err(UnitError::BareSize(text.to_owned()));
    }
    let Some((_, unit_bytes)) = SIZE_UNITS.iter().find(|(word, _)| *word == unit) else {
        let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
        let meant = SIZE_UNITS.iter().find(|(word, _)| word.chars().next() == letter && word.len() == 3);
        let known = ["kb", "mb", "gb", "tb", "k", "m", "g", "t", "kib", "mib", "gib", "tib"];
        return Err(match meant {
            Some((word, _)) if known.contains(&unit.to_ascii_lowercase().as_str()) => {
                UnitError::Decimal { text: text.to_owned(), unit: unit.to_owned(), instead: format!("{number}{word}") }
            }
            _ => wrong(),
        });
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (number.contains('.') && fraction.is_empty()) || fraction.len() > 3 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let thousandths: u64 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
    let part = unit_bytes / 1000 * thousandths + unit_bytes % 1000 * thousandths / 1000;
    whole.checked_mul(*unit_bytes).and_then(|bytes| bytes.checked_add(part)).ok_or_else(wrong)
}

/// The shortest exact spelling that [`parse_size`] reads back.
pub fn write_size(bytes: u64) -> String {
    let (unit, unit_bytes) = SIZE_UNITS
        .iter()
        .rev()
        .find(|(_, unit_bytes)| bytes >= *unit_bytes && bytes.is_multiple_of(*unit_bytes))
        .unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / unit_bytes)
}

/// A share, to a thousandth of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    thousandths: u32,
}

impl Share {
    pub const WHOLE: Share = Share::percent(100);

    pub const fn percent(percent: u32) -> Self {
        Self { thousandths: percent.saturating_mul(1000) }
    }

    /// 1 for 100%.
    pub fn fraction(self) -> f64 {
        f64::from(self.thousandths) / 100_000.0
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.thousandths / 1000, self.thousandths % 1000);
        match rest {
            0 => write!(f, "{whole}%"),
            rest => write!(f, "{whole}.{}%", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

/// `80%`, `99.95%`.
pub fn parse_share(text: &str) -> Result<Share, UnitError> {
    let wrong = || UnitError::Share(text.to_owned());
    let Some(number) = text.strip_suffix('%') else {
        let bare = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
        return Err(if bare { UnitError::BareShare(text.to_owned()) } else { wrong() });
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let rest: u32 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
    let thousandths = whole.checked_mul(1000).and_then(|whole| whole.checked_add(rest)).ok_or_else(wrong)?;
    Ok(Share { thousandths })
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
    fn sizes_are_read_and_written_the_same() {
        for (text, bytes) in
            [("0B", 0), ("100B", 100), ("512KiB", 512 << 10), ("8GiB", 8 << 30), ("1536MiB", 1536 << 20)]
        {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(write_size(bytes), text);
        }
        assert_eq!(parse_size("1.5GiB"), Ok(1536 << 20));
        for (text, says) in [
            ("1GB", "write 1GiB"),
            ("64m", "write 64MiB"),
            ("10", "write 10MiB or 10GiB"),
            ("ten", "is no size"),
            ("1.GiB", "is no size"),
            ("99999999999TiB", "is no size"),
        ] {
            let error = parse_size(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn shares_are_read_and_written_the_same() {
        for text in ["80%", "99.9%", "99.95%", "0%", "0.001%", "250%"] {
            assert_eq!(parse_share(text).map(|share| share.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(parse_share("80"), Err(UnitError::BareShare("80".to_owned())));
        for bad in ["%", "80 %", "-1%", "1.2345%", "1.%", ".5%", "99999999999%", "eighty"] {
            assert!(matches!(parse_share(bad), Err(UnitError::Share(_))), "{bad}");
        }
    }

    #[test]
    fn sizes_keep_three_figures() {
        assert_eq!(format_size(512), "512 B");
        assert_eq!(format_size(1_572_864), "1.5 MiB");
        assert_eq!(format_size(65_498_251_264), "61 GiB");
    }
}
