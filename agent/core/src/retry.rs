//! Full-jitter back-off: each wait is even between nothing and a bound that
//! doubles up to a cap, so that a thousand who failed together come back apart.

use crate::jitter::Jitter;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub base: Duration,
    pub cap: Duration,
}

#[derive(Clone, Debug)]
pub struct Backoff {
    pace: Pace,
    failures: u32,
}

impl Backoff {
    pub fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }

    pub fn next(&mut self, jitter: &mut Jitter) -> Duration {
        let bound = self.pace.base.saturating_mul(1u32.checked_shl(self.failures.min(16)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        jitter.up_to(bound.min(self.pace.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_over_its_bounds(seed: u64, tries in 1usize..80) {
            let pace = Pace { base: Duration::from_millis(200), cap: Duration::from_secs(3) };
            let (mut backoff, mut jitter) = (Backoff::new(pace), Jitter::new(seed));
            let mut bound = pace.base;
            for _ in 0..tries {
                prop_assert!(backoff.next(&mut jitter) <= bound);
                bound = (bound * 2).min(pace.cap);
            }
            backoff.reset();
            prop_assert!(backoff.next(&mut jitter) <= pace.base);
        }
    }
}
