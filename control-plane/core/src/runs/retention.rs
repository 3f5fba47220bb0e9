//! For how long runs are kept that are over.

use hostler_types::Timestamp;
use std::time::Duration;

pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Of all runs together, each a record of a few hundred bytes: a schedule that fires
/// each minute over a large fleet does not fill the disk.
pub const TASKS_MAX: u64 = 200_000;

/// A run that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    pub number: u64,
    pub ended: Timestamp,
    pub nodes: u32,
}

/// Those that are to go, the oldest first. The newest one stays, however large it is.
pub fn outdated(mut past: Vec<Past>, now: Timestamp) -> Vec<u64> {
    past.sort_by_key(|one| std::cmp::Reverse((one.ended, one.number)));
    let mut tasks = 0;
    let kept = past.iter().take_while(|one| {
        let first = tasks == 0;
        tasks += u64::from(one.nodes.max(1));
        now.since(one.ended) <= KEPT_FOR && (first || tasks <= TASKS_MAX)
    });
    let kept = kept.count();
    past.iter().skip(kept).rev().map(|one| one.number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(number: u64, days: u64, nodes: u32) -> Past {
        Past { number, ended: Timestamp::from_millis(days * 86_400_000), nodes }
    }

    #[test]
    fn the_old_and_the_too_many_go() {
        let at = Timestamp::from_millis(40 * 86_400_000);
        let all = vec![past(3, 39, 6), past(1, 9, 6), past(2, 10, 6)];
        assert_eq!(outdated(all, at), [1]);
        let many = (1..=500).map(|number| past(number, 39, 2_000)).collect();
        assert_eq!(outdated(many, at), (1..=400).collect::<Vec<_>>());
        assert_eq!(outdated(vec![past(1, 39, 400_000), past(2, 39, 300_000)], at), [1]);
        assert!(outdated(Vec::new(), at).is_empty());
    }
}
