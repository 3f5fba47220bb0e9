//! How much counters have grown lately, across runs: restarts that never go away
//! again would else warn until somebody resets them.

use crate::host::{Error, Host};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a run may keep under one key is 16 KiB.
const KEPT_BYTES_MAX: usize = 16_000;

#[derive(Default)]
struct Kept {
    /// Seconds since 1970.
    since: u64,
    /// By name, what it was at the time before, and then. Absent is 0.
    counts: BTreeMap<String, (u64, u64)>,
}

fn read(bytes: &[u8]) -> Option<Kept> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    let since = lines.next()?.parse().ok()?;
    let one = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (before, then) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((words.next()?.to_owned(), (before, then)))
    };
    Some(Kept { since, counts: lines.filter_map(one).collect() })
}

fn write(kept: &Kept) -> String {
    let mut text = format!("{}\n", kept.since);
    for (name, (before, then)) in &kept.counts {
        let line = format!("{before} {then} {name}\n");
        if text.len() + line.len() <= KEPT_BYTES_MAX {
            text.push_str(&line);
        }
    }
    text
}

/// Of each counter, by its name: what it grew within the last `span`, or half of
/// that, or since the last run if that was longer ago. Nothing at the first run.
/// For some 200 counters that are not 0; of more, those left out count as new.
pub fn growth(host: &impl Host, key: &str, span: Duration, counters: &[(&str, u64)]) -> Result<Vec<u64>, Error> {
    let now = host.wall().as_secs();
    let last = host.kv_get(key)?.and_then(|bytes| read(&bytes));
    let is_first = last.is_none();
    let mut kept = last.unwrap_or_default();
    let turns = is_first || now.saturating_sub(kept.since) >= span.as_secs() / 2;
    let mut grown = Vec::new();
    let mut counts = BTreeMap::new();
    for (name, count) in counters {
        let (before, then) = kept.counts.get(*name).copied().unwrap_or_default();
        let (before, then) = match (is_first, turns) {
            (true, _) => (*count, *count),
            (false, true) => (then, *count),
            (false, false) => (before, then),
        };
        // Less than before: it began anew.
        grown.push(count.checked_sub(before).unwrap_or(*count));
        if (before, then) != (0, 0) {
            counts.insert((*name).to_owned(), (before, then));
        }
    }
    if turns {
        kept.since = now;
    }
    kept.counts = counts;
    host.kv_set(key, write(&kept).as_bytes(), None)?;
    Ok(grown)
}

#[cfg(test)]
mod tests {
    use super::growth;
    use crate::FakeHost;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn counts_what_is_new_and_forgets_it() {
        let mut host = FakeHost::default();
        let mut after = |minutes: u64, a: u64, b: u64| {
            host.wall += minutes * 60;
            growth(&host, "k", HOUR, &[("a", a), ("b", b)]).expect("counted")
        };
        assert_eq!(after(0, 7, 0), [0, 0], "nothing is known of before");
        assert_eq!(after(10, 7, 2), [0, 2]);
        assert_eq!(after(10, 9, 2), [2, 2]);
        assert_eq!(after(10, 9, 2), [2, 2], "half an hour: it turns");
        assert_eq!(after(29, 9, 3), [2, 3]);
        assert_eq!(after(1, 9, 3), [0, 1]);
        assert_eq!(after(30, 9, 3), [0, 0]);
        assert_eq!(after(600, 10, 3), [1, 0], "since the last run");
        assert_eq!(after(10, 4, 3), [4, 0], "it began anew");
    }

    #[test]
    fn what_can_not_be_read_is_a_first_run() {
        let host = FakeHost::default();
        host.kv.borrow_mut().insert("k".into(), b"x\n".to_vec());
        assert_eq!(growth(&host, "k", HOUR, &[("a", 5)]), Ok(vec![0]));
        let names: Vec<String> = (0..2_000).map(|at| format!("a-name-of-some-length-{at}")).collect();
        let many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        growth(&host, "k", HOUR, &many).expect("counted");
        assert!(host.kv.borrow().get("k").is_some_and(|value| value.len() <= 16 << 10));
    }
}
