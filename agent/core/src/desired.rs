//! Which desired state a node accepts: its own, signed, and never older than
//! what it has seen.

use hostler_types::{NodeId, Stamp, Timestamp};
use std::time::Duration;

/// Older than that, what was once wanted says little about what is wanted now.
pub const OFFLINE_AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("its signature is by none of the keys this host got when it joined or was last welcomed")]
    Signature,
    #[error("it is for node {found}, and this is node {ours}")]
    OtherNode { found: NodeId, ours: NodeId },
    #[error(
        "it is older than what this host has seen ({}.{}.{} after {}.{}.{}): was the control plane restored from a copy, with its old lineage?",
        found.lineage, found.term, found.generation, seen.lineage, seen.term, seen.generation
    )]
    Older { found: Stamp, seen: Stamp },
}

/// What the shell found out about a state that arrived.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub stamp: Stamp,
    pub node: &'a NodeId,
    pub signed: bool,
}

#[derive(Clone, Debug)]
pub struct Gatekeeper {
    node: NodeId,
    highest: Option<Stamp>,
}

impl Gatekeeper {
    pub fn new(node: NodeId) -> Self {
        Self { node, highest: None }
    }

    pub fn highest(&self) -> Option<Stamp> {
        self.highest
    }

    /// The same stamp may come again, with the same state after a reconnect or
    /// another one that follows from what the host itself reported.
    pub fn judge(&self, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        // First of all: what is not signed says nothing, not even whose it is.
        if !candidate.signed {
            return Err(Refusal::Signature);
        }
        if *candidate.node != self.node {
            return Err(Refusal::OtherNode { found: candidate.node.clone(), ours: self.node.clone() });
        }
        match self.highest {
            Some(seen) if candidate.stamp < seen => Err(Refusal::Older { found: candidate.stamp, seen }),
            _ => Ok(()),
        }
    }

    /// Once it is durable.
    pub fn accepted(&mut self, stamp: Stamp) {
        self.highest = self.highest.max(Some(stamp));
    }
}

/// Whether a state from the disk is so old that the host only watches.
pub fn only_watch(signed_at: Timestamp, now: Timestamp) -> bool {
    now.since(signed_at) > OFFLINE_AGE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_random([byte; 10])
    }

    #[test]
    fn strangers_and_forgeries_are_refused() {
        let keeper = Gatekeeper::new(node(1));
        let (own, other) = (node(1), node(2));
        let judge = |node, signed| keeper.judge(&Candidate { stamp: Stamp::default(), node, signed });
        assert_eq!(judge(&own, true), Ok(()));
        assert_eq!(judge(&own, false), Err(Refusal::Signature));
        assert!(matches!(judge(&other, true), Err(Refusal::OtherNode { .. })));
        assert_eq!(judge(&other, false), Err(Refusal::Signature));
    }

    #[test]
    fn a_month_is_the_limit() {
        let signed = Timestamp::from_millis(1_000);
        assert!(!only_watch(signed, signed.plus(OFFLINE_AGE_MAX)));
        assert!(only_watch(signed, signed.plus(OFFLINE_AGE_MAX + Duration::from_millis(1))));
    }

    proptest! {
        /// Whatever arrives in whatever order, what is accepted never goes back.
        #[test]
        fn accepted_stamps_never_go_back(stamps in prop::collection::vec((0u64..3, 0u64..3, 0u64..5), 1..40)) {
            let own = node(1);
            let mut keeper = Gatekeeper::new(own.clone());
            let mut last = Stamp::default();
            for (lineage, term, generation) in stamps {
                let stamp = Stamp { lineage, term, generation };
                if keeper.judge(&Candidate { stamp, node: &own, signed: true }).is_ok() {
                    prop_assert!(stamp >= last);
                    keeper.accepted(stamp);
                    last = stamp;
                } else {
                    prop_assert!(stamp < last);
                }
            }
        }
    }
}
