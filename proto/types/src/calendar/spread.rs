//! Nodes spread over a span, so that not all of them begin at once.

use crate::hash::fnv1a;
use crate::name::NodeId;
use crate::time::{Timestamp, whole_millis};
use std::time::Duration;

/// When a node begins what is due at `fire`: within `span` after it. A node has the same
/// place in the span every time, so that what is due daily comes a day apart, and
/// everybody who asks gets the same answer.
pub fn jittered(schedule: &str, node: &NodeId, fire: Timestamp, span: Duration) -> Timestamp {
    let hash = fnv1a(&["schedule", schedule, node.as_str()]);
    let share = (u128::from(hash) * u128::from(whole_millis(span))) >> 64;
    fire.plus(Duration::from_millis(u64::try_from(share).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset_ms(schedule: &str, node: u32, span: Duration) -> u64 {
        let node = NodeId::parse(&format!("n-{node:016}")).expect("an id");
        let fire = Timestamp::from_millis(1_772_373_735_000);
        whole_millis(jittered(schedule, &node, fire, span).since(fire))
    }

    #[test]
    fn places_stay_what_they_are() {
        let span = Duration::from_secs(600);
        let places: Vec<u64> = (0..4).map(|node| offset_ms("backup", node, span)).collect();
        assert_eq!(places, [457_729, 540_763, 121_423, 378_321]);
        assert_eq!(offset_ms("backup", 1, Duration::ZERO), 0);
    }

    #[test]
    fn nodes_are_spread_evenly() {
        let span = Duration::from_secs(600);
        for schedule in ["a", "backup", "shop/nightly"] {
            let mut tenths = [0; 10];
            for node in 0..10_000 {
                let place = offset_ms(schedule, node, span);
                assert!(place < 600_000);
                tenths[(place / 60_000) as usize] += 1;
            }
            assert!(tenths.iter().all(|count| (900..1_100).contains(count)), "{schedule}: {tenths:?}");
        }
    }
}
