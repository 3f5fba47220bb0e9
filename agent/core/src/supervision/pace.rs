//! How soon a service that ended is started again: a wait that grows, so many tries
//! within a while, then slowly.

use crate::jitter::Jitter;
use hostler_types::service::RestartPolicy;
use std::collections::VecDeque;
use std::time::Duration;

/// A tenth: replicas that ended together do not come back in step.
const JITTER_SHARE: u32 = 10;

#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// When it was started by itself, within the window.
    starts: VecDeque<Duration>,
    in_a_row: u32,
    /// It ended too often, and goes slowly until it was well for long enough.
    slow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub at: Duration,
    /// It ended too often.
    pub crashing: bool,
}

impl Pace {
    /// How often it was within the window.
    pub fn used(&mut self, now: Duration, policy: &RestartPolicy) -> u32 {
        while self.starts.front().is_some_and(|at| at.saturating_add(policy.within) <= now) {
            self.starts.pop_front();
        }
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    pub fn next(&mut self, now: Duration, policy: &RestartPolicy, jitter: &mut Jitter) -> Next {
        let used = self.used(now, policy);
        self.slow |= used >= policy.attempts;
        if self.slow {
            // In any window of that length there are never more than were allowed.
            let full = self.starts.front().filter(|_| used >= policy.attempts);
            let free = full.map_or(now, |at| at.saturating_add(policy.within));
            return Next { at: free.max(now.saturating_add(policy.cap)), crashing: true };
        }
        let wait = match self.in_a_row {
            0 => policy.first,
            row => {
                let factor = policy.factor.max(1.0).powi(i32::try_from(row - 1).unwrap_or(i32::MAX));
                let cap = policy.cap.max(policy.delay);
                let seconds = policy.delay.as_secs_f64() * factor;
                Duration::try_from_secs_f64(seconds).unwrap_or(cap).min(cap)
            }
        };
        Next { at: now.saturating_add(wait).saturating_add(jitter.up_to(wait / JITTER_SHARE)), crashing: false }
    }

    pub fn started(&mut self, now: Duration) {
        self.starts.push_back(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// It was well for long enough.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub fn is_fresh(&self) -> bool {
        self.in_a_row == 0 && self.starts.is_empty() && !self.slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_grow_to_the_cap_and_then_it_goes_slowly() {
        let policy = RestartPolicy { attempts: 4, cap: Duration::from_secs(3), ..RestartPolicy::default() };
        let (mut pace, mut jitter) = (Pace::default(), Jitter::new(1));
        let mut now = Duration::from_secs(100);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let next = pace.next(now, &policy, &mut jitter);
            waits.push((next.at.saturating_sub(now).as_secs(), next.crashing));
            now = next.at;
            pace.started(now);
        }
        assert_eq!(waits[..4], [(0, false), (1, false), (2, false), (3, false)]);
        assert!(waits[4].1 && waits[4].0 > 590, "{waits:?}");
        assert!(waits[5].1 && waits[5].0 >= 3, "{waits:?}");
        pace.reset();
        assert_eq!(pace.next(now, &policy, &mut jitter), Next { at: now, crashing: false });
    }

    proptest! {
        #[test]
        fn never_more_than_allowed_within_any_window(
            lives in proptest::collection::vec(0u64..400, 1..80),
            attempts in 1u32..6,
            within in 1u64..900,
            cap in 0u64..300,
            seed: u64,
        ) {
            let (within, cap) = (Duration::from_secs(within), Duration::from_secs(cap));
            let policy = RestartPolicy { attempts, within, cap, ..RestartPolicy::default() };
            let (mut pace, mut jitter) = (Pace::default(), Jitter::new(seed));
            let (mut now, mut starts) = (Duration::ZERO, Vec::new());
            for life in lives {
                now += Duration::from_secs(life);
                now = pace.next(now, &policy, &mut jitter).at;
                pace.started(now);
                starts.push(now);
                let inside = starts.iter().filter(|at| **at + within > now).count();
                prop_assert!(inside <= attempts as usize, "{inside} starts within {within:?}");
            }
        }
    }
}
