//! When a certificate ends: the one field that matters here, read out of its DER
//! without a library's weight.

/// A value's tag, its content, and what follows it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0usize, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970 at which a certificate ends.
pub fn not_after(der: &[u8]) -> Option<u64> {
    let (_, certificate, _) = value(der)?;
    let (_, mut fields, _) = value(certificate)?;
    if let (VERSION, _, rest) = value(fields)? {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, fields) = value(fields)?;
    }
    let (SEQUENCE, validity, _) = value(fields)? else { return None };
    let (_, _, rest) = value(validity)?;
    let (tag, text, _) = value(rest)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    seconds(year, rest)
}

/// `MMDDhhmmss` of a year.
fn seconds(year: u64, text: &str) -> Option<u64> {
    let part = |from: usize| text.get(from..from + 2)?.parse::<u64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Howard Hinnant's days from civil: years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        match content.len() {
            short @ 0..=127 => der.push(short as u8),
            long => der.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        der.extend(content);
        der
    }

    /// As much of a certificate as is looked at.
    pub fn ending(tag: u8, text: &str) -> Vec<u8> {
        let validity = [wrapped(UTC_TIME, b"200101000000Z"), wrapped(tag, text.as_bytes())].concat();
        let issuer = wrapped(SEQUENCE, &[0; 200]);
        let fields = [
            wrapped(VERSION, &wrapped(2, &[2])),
            wrapped(2, &[7]),
            wrapped(SEQUENCE, &[]),
            issuer,
            wrapped(SEQUENCE, &validity),
        ];
        wrapped(SEQUENCE, &wrapped(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        assert_eq!(not_after(&ending(UTC_TIME, "300102030405Z")), Some(1_893_553_445));
        assert_eq!(not_after(&ending(GENERALIZED_TIME, "20300102030405Z")), Some(1_893_553_445));
        assert_eq!(not_after(&ending(UTC_TIME, "000229120000Z")), Some(951_825_600));
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for text in ["301302030405Z", "30010203Z", "x", "300102030405"] {
            assert_eq!(not_after(&ending(UTC_TIME, text)), None, "{text}");
        }
        let whole = ending(UTC_TIME, "300102030405Z");
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None);
        }
        assert_eq!(not_after(&[0x30, 0x85, 1, 1, 1, 1, 1]), None);
    }
}
