//! What is told.

use super::Seen;
use hostler_types::Timestamp;
use hostler_types::notice::{Notice, SUMMARY_CHARACTERS_MAX, What, clip, time};
use hostler_types::spec::Severity;
use hostler_types::units::format_age;

/// Enough to see what is wrong besides; the rest is counted.
const CRITICAL_MAX: usize = 10;

pub fn gone(id: &str, since: Timestamp, at: Timestamp, seen: &Seen) -> Notice {
    let node = &seen.node;
    let title = format!("control plane gone: {node} has heard nothing for {}", format_age(at.since(since)));
    let mut events: Vec<String> =
        seen.critical.iter().take(CRITICAL_MAX).map(|line| clip(line, SUMMARY_CHARACTERS_MAX)).collect();
    let more = seen.critical.len().saturating_sub(events.len());
    if more > 0 {
        events.push(format!("and {more} more checks of {node} are critical"));
    }
    let checks = match seen.critical.len() {
        0 => format!("no check of {node} is critical"),
        1 => format!("1 check of {node} is critical"),
        count => format!("{count} checks of {node} are critical"),
    };
    let error = if seen.error.is_empty() { "it was never reached" } else { &seen.error };
    let summary = format!("since {}; last error: {error}; {checks}, and checks go on", time(since));
    Notice {
        node: clip(node, SUMMARY_CHARACTERS_MAX),
        state: "gone".to_owned(),
        summary: clip(&summary, SUMMARY_CHARACTERS_MAX),
        since,
        events,
        next: vec![
            "systemctl status hostler-control-plane".to_owned(),
            "journalctl -u hostler-control-plane -e".to_owned(),
            format!("ssh {node} hostler-agent status  # it looks for {}", seen.addresses.join(", ")),
        ],
        ..Notice::new(id.to_owned(), What::Opened, Severity::Page, &title, at)
    }
}

pub fn back(id: &str, since: Timestamp, at: Timestamp, seen: &Seen) -> Notice {
    let node = &seen.node;
    let title = format!("control plane back: {node} hears from it again after {}", format_age(at.since(since)));
    Notice {
        node: clip(node, SUMMARY_CHARACTERS_MAX),
        state: "ok".to_owned(),
        since,
        next: vec!["hostlerctl alert ls".to_owned(), "hostlerctl events".to_owned()],
        ..Notice::new(format!("{id}:back"), What::Closed, Severity::Page, &title, at)
    }
}
