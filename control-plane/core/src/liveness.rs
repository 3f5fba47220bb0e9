//! Who is there. Every node holds a lease that whatever it sends renews; when
//! the lease runs out the node is lost.
//!
//! After a restart of the control plane nobody has been heard yet: every node
//! that was there gets one fresh lease, so that the restart alone loses nobody.

use hostler_types::{NodeId, NodeState, Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Three heartbeats of three seconds: one may be late and one may be lost, and
/// an operator sees a dead host within ten seconds.
pub const LEASE: Duration = Duration::from_secs(9);

/// A stream's number: streams overlap when a node comes back before the end of
/// its old stream was noticed, and only the newest counts.
pub type ConnectionId = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A node is known: from the store at start, or because it just joined.
    Known {
        node: NodeId,
        was: NodeState,
        since: Timestamp,
    },
    Connected {
        node: NodeId,
        connection: ConnectionId,
    },
    Heard {
        node: NodeId,
        connection: ConnectionId,
    },
    Ended {
        node: NodeId,
        connection: ConnectionId,
    },
    Revoked {
        node: NodeId,
    },
    Removed {
        node: NodeId,
    },
    /// Nobody could be heard for a while, since this machine stood still.
    Stalled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub node: NodeId,
    pub from: NodeState,
    pub to: NodeState,
    pub at: Timestamp,
    /// When it was last heard from; the epoch if never.
    pub last_seen: Timestamp,
}

impl Change {
    /// Whether it is worth an event and a record. Being without a stream for
    /// less than a lease is not: agents are upgraded, networks hiccup.
    pub fn is_news(&self) -> bool {
        !matches!(
            (self.from, self.to),
            (_, NodeState::Disconnected) | (NodeState::Disconnected, NodeState::Ready) | (_, NodeState::Joining)
        )
    }
}

#[derive(Clone, Debug)]
pub struct Member {
    pub state: NodeState,
    pub since: Timestamp,
    pub last_seen: Timestamp,
    connection: Option<ConnectionId>,
    /// When the lease was last renewed, by the clock that never jumps.
    renewed: Duration,
}

#[derive(Debug, Default)]
pub struct Liveness {
    members: BTreeMap<NodeId, Member>,
    /// At most one entry a member, perhaps too early: whoever was heard since
    /// is put back, so that a heartbeat costs no reordering.
    deadlines: BTreeSet<(Duration, NodeId)>,
}

impl Liveness {
    pub fn get(&self, node: &NodeId) -> Option<&Member> {
        self.members.get(node)
    }

    pub fn step(&mut self, now: Now, input: Input) -> Option<Change> {
        match input {
            Input::Known { node, was, since } => {
                self.know(now, node, was, since);
                None
            }
            Input::Connected { node, connection } => {
                let member = self.members.get_mut(&node)?;
                let outdated = member.connection.is_some_and(|present| present > connection);
                if member.state == NodeState::Revoked || outdated {
                    return None;
                }
                member.connection = Some(connection);
                self.watch(now, &node);
                self.turn(now, node, NodeState::Ready)
            }
            Input::Heard { node, connection } => {
                let member = self.members.get_mut(&node)?;
                if member.connection != Some(connection) || member.state == NodeState::Revoked {
                    return None;
                }
                member.renewed = now.monotonic;
                member.last_seen = now.wall;
                // A stream that was silent for a lease and then spoke again.
                if member.state == NodeState::Ready {
                    return None;
                }
                self.watch(now, &node);
                self.turn(now, node, NodeState::Ready)
            }
            Input::Ended { node, connection } => {
                let member = self.members.get_mut(&node)?;
                if member.connection != Some(connection) {
                    return None;
                }
                member.connection = None;
                match member.state {
                    NodeState::Ready => self.turn(now, node, NodeState::Disconnected),
                    _ => None,
                }
            }
            Input::Revoked { node } => {
                self.members.get_mut(&node)?.connection = None;
                self.turn(now, node, NodeState::Revoked)
            }
            Input::Removed { node } => {
                self.members.remove(&node);
                None
            }
            Input::Stalled => {
                self.grant_fresh_leases(now);
                None
            }
        }
    }

    /// Whoever is waited for gets a whole lease from now. Their entries among
    /// the deadlines come too early then, which is allowed.
    fn grant_fresh_leases(&mut self, now: Now) {
        let waiting = |member: &&mut Member| matches!(member.state, NodeState::Ready | NodeState::Disconnected);
        for member in self.members.values_mut().filter(waiting) {
            member.renewed = now.monotonic;
        }
    }

    /// Who has become lost by now.
    pub fn expire(&mut self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((deadline, node)) = self.deadlines.first().cloned() {
            if deadline > now.monotonic {
                break;
            }
            self.deadlines.pop_first();
            let Some(member) = self.members.get(&node) else { continue };
            if !matches!(member.state, NodeState::Ready | NodeState::Disconnected) {
                continue;
            }
            let ends = member.renewed + LEASE;
            if ends > now.monotonic {
                self.deadlines.insert((ends, node));
            } else {
                changes.extend(self.turn(now, node, NodeState::Lost));
            }
        }
        changes
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn know(&mut self, now: Now, node: NodeId, was: NodeState, since: Timestamp) {
        let state = match was {
            NodeState::Ready => NodeState::Disconnected,
            other => other,
        };
        let member = Member {
            state,
            since,
            last_seen: if was == NodeState::Joining { Timestamp::default() } else { since },
            connection: None,
            renewed: now.monotonic,
        };
        self.members.insert(node.clone(), member);
        if state == NodeState::Disconnected {
            self.deadlines.insert((now.monotonic + LEASE, node));
        }
    }

    /// Renews the lease and makes sure that its end is looked at.
    fn watch(&mut self, now: Now, node: &NodeId) {
        let Some(member) = self.members.get_mut(node) else { return };
        let waited_for = matches!(member.state, NodeState::Ready | NodeState::Disconnected);
        member.renewed = now.monotonic;
        member.last_seen = now.wall;
        if !waited_for {
            self.deadlines.insert((now.monotonic + LEASE, node.clone()));
        }
    }

    fn turn(&mut self, now: Now, node: NodeId, to: NodeState) -> Option<Change> {
        let member = self.members.get_mut(&node)?;
        let from = std::mem::replace(&mut member.state, to);
        if from == to {
            return None;
        }
        member.since = now.wall;
        Some(Change { from, to, at: now.wall, last_seen: member.last_seen, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_random([n; 10])
    }

    fn at(ms: u64) -> Now {
        Now { monotonic: Duration::from_millis(ms), wall: Timestamp::from_millis(1_000_000 + ms) }
    }

    fn known(was: NodeState) -> Liveness {
        let mut liveness = Liveness::default();
        liveness.step(at(0), Input::Known { node: node(1), was, since: Timestamp::from_millis(5) });
        liveness
    }

    fn turned(change: Option<Change>) -> Option<(NodeState, NodeState)> {
        change.map(|change| (change.from, change.to))
    }

    #[test]
    fn a_silent_node_is_lost_at_the_end_of_its_lease_and_not_before() {
        let mut liveness = known(NodeState::Joining);
        assert_eq!(liveness.next_deadline(), None, "one that never connected has no lease");
        let change = liveness.step(at(100), Input::Connected { node: node(1), connection: 1 });
        assert_eq!(turned(change), Some((NodeState::Joining, NodeState::Ready)));
        liveness.step(at(3_000), Input::Heard { node: node(1), connection: 1 });
        assert_eq!(liveness.expire(at(11_999)), []);
        let lost = liveness.expire(at(12_000));
        assert_eq!(lost.len(), 1);
        assert!(lost.iter().all(|change| change.to == NodeState::Lost && change.is_news()));
        let back = liveness.step(at(20_000), Input::Connected { node: node(1), connection: 2 });
        assert_eq!(turned(back), Some((NodeState::Lost, NodeState::Ready)));
    }

    #[test]
    fn a_restart_of_the_control_plane_gives_one_fresh_lease() {
        let mut liveness = known(NodeState::Ready);
        assert_eq!(liveness.get(&node(1)).map(|m| m.state), Some(NodeState::Disconnected));
        assert_eq!(liveness.expire(at(8_999)), []);
        assert_eq!(liveness.expire(at(9_000)).len(), 1);
        let mut lost = known(NodeState::Lost);
        assert_eq!(lost.expire(at(60_000)), [], "what was lost is not lost again");
    }

    #[test]
    fn the_end_of_an_old_stream_does_not_end_the_new_one() {
        let mut liveness = known(NodeState::Ready);
        liveness.step(at(1), Input::Connected { node: node(1), connection: 1 });
        liveness.step(at(2), Input::Connected { node: node(1), connection: 2 });
        assert_eq!(liveness.step(at(3), Input::Ended { node: node(1), connection: 1 }), None);
        let ended = liveness.step(at(4), Input::Ended { node: node(1), connection: 2 });
        assert_eq!(turned(ended.clone()), Some((NodeState::Ready, NodeState::Disconnected)));
        assert!(ended.is_some_and(|change| !change.is_news()));
    }

    #[test]
    fn a_revoked_node_stays_out() {
        let mut liveness = known(NodeState::Ready);
        liveness.step(at(1), Input::Connected { node: node(1), connection: 1 });
        assert!(liveness.step(at(2), Input::Revoked { node: node(1) }).is_some());
        assert_eq!(liveness.step(at(3), Input::Connected { node: node(1), connection: 2 }), None);
        assert_eq!(liveness.step(at(4), Input::Heard { node: node(1), connection: 1 }), None);
        assert_eq!(liveness.expire(at(60_000)), []);
    }

    #[test]
    fn a_stall_of_this_machine_loses_nobody() {
        let mut liveness = known(NodeState::Ready);
        liveness.step(at(1), Input::Connected { node: node(1), connection: 1 });
        assert_eq!(liveness.step(at(60_000), Input::Stalled), None);
        assert_eq!(liveness.expire(at(60_000)), []);
        assert_eq!(liveness.next_deadline(), Some(Duration::from_millis(69_000)));
        assert_eq!(liveness.expire(at(69_000)).len(), 1, "one lease and no more");
        assert_eq!(liveness.step(at(70_000), Input::Stalled), None);
        assert_eq!(liveness.get(&node(1)).map(|m| m.state), Some(NodeState::Lost), "the lost stay lost");
    }

    #[test]
    fn an_older_stream_does_not_replace_a_newer_one() {
        let mut liveness = known(NodeState::Ready);
        liveness.step(at(1), Input::Connected { node: node(1), connection: 2 });
        assert_eq!(liveness.step(at(2), Input::Connected { node: node(1), connection: 1 }), None);
        assert!(liveness.step(at(3), Input::Ended { node: node(1), connection: 2 }).is_some());
    }

    proptest! {
        /// Whatever happens: nobody is lost who was heard within a lease, and
        /// nobody stays ready or disconnected for longer than a lease unheard.
        #[test]
        fn leases_are_kept_exactly(steps in proptest::collection::vec((0u8..4, 0u8..3, 1u64..4_000), 1..200)) {
            let mut liveness = Liveness::default();
            let mut now = 0;
            let mut heard: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
            for n in 0..3 {
                liveness.step(at(0), Input::Known { node: node(n), was: NodeState::Ready, since: Timestamp::default() });
                heard.insert(node(n), (0, 0));
            }
            for (what, n, wait) in steps {
                now += wait;
                let id = node(n);
                for lost in liveness.expire(at(now)) {
                    prop_assert!(now - heard[&lost.node].0 >= 9_000);
                }
                let (last, connection) = heard[&id];
                match what {
                    0 => {
                        heard.insert(id.clone(), (now, connection + 1));
                        liveness.step(at(now), Input::Connected { node: id, connection: connection + 1 });
                    }
                    1 => {
                        let open = liveness.get(&id).is_some_and(|m| m.connection == Some(connection));
                        if open { heard.insert(id.clone(), (now, connection)); }
                        liveness.step(at(now), Input::Heard { node: id, connection });
                    }
                    2 => { liveness.step(at(now), Input::Ended { node: id, connection }); }
                    _ => { heard.insert(id, (last, connection)); }
                }
                for (id, (last, _)) in &heard {
                    let state = liveness.get(id).map(|m| m.state);
                    let waiting = matches!(state, Some(NodeState::Ready | NodeState::Disconnected));
                    if waiting {
                        prop_assert!(now - last < 9_000, "{id} unheard for {} and {state:?}", now - last);
                        prop_assert!(liveness.next_deadline().is_some());
                    }
                }
            }
        }
    }
}
