//! What a check answered, cut to what is kept of it.

use crate::limits;
use hostler_types::Status;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub status: Status,
    /// One line.
    pub summary: String,
    pub details: String,
    pub attrs: Vec<(String, String)>,
    /// Whether there was more than is kept.
    pub truncated: bool,
}

/// Shown where text was cut.
const CUT: &str = "…";

impl Report {
    /// The summary first, then attributes whole or not at all, then as much of
    /// the details as is left.
    pub(crate) fn capped(status: Status, summary: String, details: String, attrs: Vec<(String, String)>) -> Report {
        let mut truncated = false;
        let summary = cap(one_line(&summary), limits::SUMMARY_BYTES_MAX, &mut truncated);
        let mut left = limits::REPORT_BYTES_MAX - summary.len();
        let mut kept = Vec::new();
        for (key, value) in attrs {
            let size = key.len() + value.len();
            if size > left {
                truncated = true;
                continue;
            }
            left -= size;
            kept.push((one_line(&key), one_line(&value)));
        }
        let details = cap(plain(&details), left, &mut truncated);
        Report { status, summary, details, attrs: kept, truncated }
    }
}

/// Control characters could move a terminal's cursor or forge a second line.
fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

pub(crate) fn cap(text: String, bytes_max: usize, truncated: &mut bool) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    *truncated = true;
    let end = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len()));
    match text.get(..end) {
        Some(kept) if bytes_max >= CUT.len() => format!("{kept}{CUT}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_report_is_kept_as_it_is() {
        let attrs = vec![("a".to_owned(), "b".to_owned())];
        let report = Report::capped(Status::Ok, "fine".into(), "one\ntwo".into(), attrs.clone());
        assert_eq!((report.summary.as_str(), report.details.as_str()), ("fine", "one\ntwo"));
        assert_eq!(report.attrs, attrs);
        assert!(!report.truncated);
    }

    #[test]
    fn a_long_report_is_cut_and_marked() {
        let attrs = vec![("k".to_owned(), "v".repeat(9_000)), ("small".to_owned(), "kept".to_owned())];
        let report = Report::capped(Status::Critical, "ä".repeat(9_000), "x".repeat(9_000), attrs);
        assert!(report.truncated);
        assert!(report.summary.ends_with(CUT) && report.summary.len() <= limits::SUMMARY_BYTES_MAX);
        assert_eq!(report.attrs.len(), 1);
        let total = report.summary.len() + report.details.len() + 9;
        assert!(total <= limits::REPORT_BYTES_MAX && total > limits::REPORT_BYTES_MAX - 8, "{total}");
    }

    #[test]
    fn a_summary_is_one_harmless_line() {
        let report = Report::capped(Status::Ok, "a\n\u{1b}[2Jb\n".into(), "\u{1b}x\ny".into(), Vec::new());
        assert_eq!((report.summary.as_str(), report.details.as_str()), ("a  [2Jb", "x\ny"));
    }
}
