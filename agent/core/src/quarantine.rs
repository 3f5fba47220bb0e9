//! A check whose plugin breaks every time is run less and less often: each such
//! run may cost half a second of processor and says nothing new.

use hostler_types::Now;
use std::time::Duration;

/// Breaks in a row: as many as a bad minute of the host may cause.
pub const BREAKS: u32 = 5;
/// From as often as most checks run anyway to what an operator would still call
/// "it comes back by itself".
pub const PAUSE_FIRST: Duration = Duration::from_secs(60);
pub const PAUSE_MAX: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    breaks: u32,
    until: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Entered,
    /// It works again.
    Left,
}

impl Quarantine {
    /// Whether a run that is due now is left out.
    pub fn holds(&self, now: Now) -> bool {
        self.until.is_some_and(|until| now.monotonic < until)
    }

    /// `broke`: the plugin was stopped or crashed, whatever its target does.
    pub fn ran(&mut self, now: Now, broke: bool) -> Option<Change> {
        if !broke {
            let was = self.until.take();
            self.breaks = 0;
            return was.map(|_| Change::Left);
        }
        self.breaks = self.breaks.saturating_add(1);
        let beyond = self.breaks.checked_sub(BREAKS)?;
        let pause = PAUSE_FIRST.saturating_mul(1u32.checked_shl(beyond.min(16)).unwrap_or(u32::MAX)).min(PAUSE_MAX);
        let entered = self.until.replace(now.monotonic.saturating_add(pause)).is_none();
        entered.then_some(Change::Entered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::Timestamp;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), wall: Timestamp::from_millis(0) }
    }

    #[test]
    fn breaks_in_a_row_space_the_runs_out_and_a_good_one_ends_it() {
        let mut one = Quarantine::default();
        for _ in 1..BREAKS {
            assert_eq!(one.ran(at(0), true), None);
            assert!(!one.holds(at(0)));
        }
        assert_eq!(one.ran(at(0), true), Some(Change::Entered));
        assert!(one.holds(at(59)) && !one.holds(at(60)));
        assert_eq!(one.ran(at(60), true), None);
        assert!(one.holds(at(179)) && !one.holds(at(180)));
        for _ in 0..40 {
            one.ran(at(1_000), true);
        }
        assert!(one.holds(at(4_599)) && !one.holds(at(4_600)));
        assert_eq!(one.ran(at(4_600), false), Some(Change::Left));
        assert!(!one.holds(at(4_600)));
        assert_eq!(one.ran(at(4_600), true), None, "it starts anew");
        assert_eq!(one.ran(at(4_601), false), None);
    }
}
