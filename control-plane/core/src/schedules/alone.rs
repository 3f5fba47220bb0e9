//! Fires that hosts did by themselves, while nobody looked here.

use super::{Decision, Fires, Ledger, ON_TIME, Reason, Schedule, TICK};
use hostler_types::Timestamp;

/// As many are asked about at a look: a day of an hourly one, and hosts know no more of
/// what is to come.
pub const ASKED_MAX: usize = 24;

/// What a schedule whose hosts go on alone says of fires that are left out: those that
/// came due while nobody looked may have been done, and are asked about. The newest of
/// them, oldest first, and what is left of the others.
pub fn asked(
    schedule: &Schedule,
    before: &Ledger,
    decision: &Decision,
    now: Timestamp,
) -> (Option<Fires>, Vec<Timestamp>) {
    let Decision::Skip { fires, reason } = decision else { return (None, Vec::new()) };
    let all = (Some(*fires), Vec::new());
    // What waits was seen when it came due, and what is held was looked at.
    let seen = before.mark.is_some_and(|mark| fires.last <= mark);
    if seen || matches!(reason, Reason::Held(_)) {
        return all;
    }
    let earliest = fires.first.minus(TICK);
    let older = |at: &Timestamp| schedule.recurrence.newest(earliest, at.minus(TICK)).map(|fire| fire.at);
    let late = |at: &Timestamp| now.since(*at) >= ON_TIME;
    let mut asked: Vec<Timestamp> =
        std::iter::successors(Some(fires.last), older).filter(late).take(ASKED_MAX).collect();
    asked.reverse();
    let Some(oldest) = asked.first() else { return all };
    let left =
        older(oldest).map(|last| Fires { last, count: fires.count.saturating_sub(asked.len()).max(1), ..*fires });
    (left, asked)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{START, schedule};
    use super::*;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn check(count: u32, reason: Reason, mark: Option<Timestamp>) -> (Option<usize>, usize) {
        let hourly = schedule("0 * * * *");
        let last = START.plus(HOUR * count);
        let fires = Fires { first: START.plus(HOUR), last, count: count as usize };
        let before = Ledger { mark, ..Ledger::default() };
        let (left, asked) = asked(&hourly, &before, &Decision::Skip { fires, reason }, last.plus(HOUR / 2));
        if let Some(newest) = asked.last() {
            assert_eq!(*newest, last);
            assert!(left.is_none_or(|left| left.last < asked[0] && left.first == fires.first));
        }
        (left.map(|left| left.count), asked.len())
    }

    #[test]
    fn who_was_alone_is_asked_about_the_newest() {
        let missed = || Reason::Missed { late_by: HOUR };
        assert_eq!(check(1, missed(), None), (None, 1));
        assert_eq!(check(24, missed(), None), (None, 24));
        assert_eq!(check(30, missed(), None), (Some(6), 24));
    }

    #[test]
    fn what_was_looked_at_when_it_came_due_is_not() {
        let held = Reason::Held(super::super::Hold::Paused { by: "ada".into() });
        assert_eq!(check(3, held, None), (Some(3), 0));
        assert_eq!(check(3, Reason::TooMany, Some(START.plus(HOUR * 3))), (Some(3), 0));
    }

    #[test]
    fn what_came_due_a_moment_ago_is_not() {
        let hourly = schedule("0 * * * *");
        let at = START.plus(HOUR);
        let fires = Fires { first: at, last: at, count: 1 };
        let skip = Decision::Skip { fires, reason: Reason::StillRunning(START) };
        assert_eq!(asked(&hourly, &Ledger::default(), &skip, at.plus(TICK)), (Some(fires), Vec::new()));
    }
}
