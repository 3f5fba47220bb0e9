//! Which nodes have a duty beside their checks: to tell people when this control
//! plane is gone, or to deliver notices by a plugin.
//!
//! By rendezvous hashing: each node draws a number for the duty, and the highest
//! have it. So a node that comes or goes moves nobody else's share.

use hostler_types::NodeId;

/// One may be down and one cut off, and somebody still tells.
pub const WATCHERS_MAX: usize = 3;
/// The second has the plugin and its secrets too, and takes over at once.
pub const DELIVERERS_MAX: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub id: &'a NodeId,
    pub ready: bool,
    /// Others that are as ready come first.
    pub last: bool,
}

/// Those who are not there only where there are too few others: they come back.
pub fn choose<'a>(duty: &str, candidates: impl Iterator<Item = Candidate<'a>>, most: usize) -> Vec<NodeId> {
    let rank = |one: &Candidate<'_>| (!one.ready, one.last, u64::MAX - draw(duty, one.id));
    let mut ranked: Vec<_> = candidates.map(|one| (rank(&one), one.id)).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(most).map(|(_, id)| id.clone()).collect()
}

/// FNV-1a, and the end of SplitMix64, since ids that differ little must draw
/// numbers that differ much.
fn draw(duty: &str, node: &NodeId) -> u64 {
    let bytes = duty.bytes().chain([0]).chain(node.as_str().bytes());
    let mixed = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn nodes(count: u8) -> Vec<NodeId> {
        (0..count).map(|byte| NodeId::from_random([byte; 10])).collect()
    }

    fn chosen(duty: &str, nodes: &[NodeId]) -> Vec<NodeId> {
        let all = nodes.iter().map(|id| Candidate { id, ready: true, last: false });
        choose(duty, all, WATCHERS_MAX)
    }

    #[test]
    fn who_goes_moves_only_what_was_its_own() {
        let all = nodes(20);
        for gone in &all {
            let rest: Vec<NodeId> = all.iter().filter(|id| *id != gone).cloned().collect();
            for duty in (0..100).map(|number| format!("duty {number}")) {
                let (before, after) = (chosen(&duty, &all), chosen(&duty, &rest));
                let stay: Vec<_> = before.iter().filter(|id| *id != gone).collect();
                assert!(stay.iter().all(|id| after.contains(id)), "{duty}");
                assert_eq!(after.iter().filter(|id| !before.contains(id)).count(), before.len() - stay.len());
            }
        }
    }

    #[test]
    fn duties_are_spread_evenly() {
        let all = nodes(10);
        let mut share: BTreeMap<NodeId, usize> = BTreeMap::new();
        for duty in (0..1_000).map(|number| format!("duty {number}")) {
            for id in chosen(&duty, &all) {
                *share.entry(id).or_default() += 1;
            }
        }
        assert!(share.len() == 10 && share.values().all(|count| (220..380).contains(count)), "{share:?}");
    }

    #[test]
    fn who_is_away_or_unfit_is_chosen_last() {
        let all = nodes(6);
        let candidates = all.iter().enumerate().map(|(at, id)| Candidate { id, ready: at > 1, last: at == 5 });
        let four = choose("x", candidates.clone(), 4);
        assert_eq!(four[3], all[5], "after all others that are ready");
        assert!(!four.contains(&all[0]) && !four.contains(&all[1]));
        assert_eq!(choose("x", candidates, 9).len(), 6, "better one that is away than none");
        assert!(choose("x", std::iter::empty(), 3).is_empty());
    }
}
