//! Notices that the wall clock was moved: the distance between it and the clock
//! that never jumps should not change.

use hostler_types::Now;

/// Slewing and our own rounding stay below; a step by hand or by a time server
/// after boot is above.
pub const JUMP_MS: i64 = 2_000;

#[derive(Debug, Default)]
pub struct ClockWatch {
    offset_ms: Option<i64>,
}

impl ClockWatch {
    /// By how much the wall clock was moved since the last look, if it was.
    pub fn look(&mut self, now: Now) -> Option<i64> {
        let millis = |value: u128| i64::try_from(value).unwrap_or(i64::MAX);
        let offset = millis(now.wall.as_millis().into()).saturating_sub(millis(now.monotonic.as_millis()));
        let moved = self.offset_ms.map(|before| offset.saturating_sub(before));
        match moved {
            // Small drift is not accumulated into a jump: it is followed.
            Some(moved) if moved.abs() < JUMP_MS => {
                self.offset_ms = Some(offset);
                None
            }
            moved => {
                self.offset_ms = Some(offset);
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::Timestamp;
    use std::time::Duration;

    #[test]
    fn jumps_are_noticed_once_and_drift_is_not() {
        let start = Now { monotonic: Duration::from_secs(5), wall: Timestamp::from_millis(1_000_000) };
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(start), None);
        let mut now = start.plus(Duration::from_secs(60));
        assert_eq!(watch.look(now), None);
        now.wall = now.wall.minus(Duration::from_secs(600));
        assert_eq!(watch.look(now), Some(-600_000));
        assert_eq!(watch.look(now.plus(Duration::from_secs(3))), None);
        for _ in 0..100 {
            now = now.plus(Duration::from_secs(3));
            now.wall = now.wall.plus(Duration::from_millis(100));
            assert_eq!(watch.look(now).filter(|moved| *moved > 0), None);
        }
    }
}
