//! Failed credentials, by the address they came from: a few are somebody's slip,
//! many are somebody's guess, and then nothing from there is looked at for a while.
//!
//! A table of a fixed size: whoever has many addresses fills it and forgets
//! themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// In one window. A pipeline with an old token tries a few times a minute.
pub const FAILURES_MAX: u32 = 30;
pub const WINDOW: Duration = Duration::from_secs(60);
/// Doubled each time that it happens again.
pub const LOCKED_FIRST: Duration = Duration::from_secs(60);
/// Longer would only punish those who share the address.
pub const LOCKED_MAX: Duration = Duration::from_secs(15 * 60);
/// Without a failure for so long, everything is forgotten.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 60);
/// About 100 bytes each.
pub const PEERS_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    failures: u32,
    window_began: Duration,
    last_failed: Duration,
    locked_until: Duration,
    locks: u32,
}

/// Times are monotonic.
#[derive(Clone, Debug, Default)]
pub struct Lockout {
    peers: BTreeMap<IpAddr, Peer>,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Counted,
    /// The one that was too much: worth telling somebody.
    Locked(Duration),
}

/// A home or a machine has a whole network of 64 bits.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(network.into())
        }
        address => address,
    }
}

impl Lockout {
    /// For how much longer nothing from there is looked at.
    pub fn locked(&self, address: IpAddr, now: Duration) -> Option<Duration> {
        let peer = self.peers.get(&key(address))?;
        peer.locked_until.checked_sub(now).filter(|left| !left.is_zero())
    }

    pub fn failed(&mut self, address: IpAddr, now: Duration) -> Outcome {
        let key = key(address);
        if !self.peers.contains_key(&key) {
            self.make_room(now);
        }
        let fresh = Peer { failures: 0, window_began: now, last_failed: now, locked_until: Duration::ZERO, locks: 0 };
        let peer = self.peers.entry(key).or_insert(fresh);
        if now.saturating_sub(peer.last_failed) > FORGOTTEN_AFTER {
            *peer = fresh;
        }
        if now.saturating_sub(peer.window_began) >= WINDOW {
            (peer.failures, peer.window_began) = (0, now);
        }
        peer.failures = peer.failures.saturating_add(1);
        peer.last_failed = now;
        if peer.failures < FAILURES_MAX {
            return Outcome::Counted;
        }
        let span = LOCKED_FIRST.saturating_mul(1 << peer.locks.min(8)).min(LOCKED_MAX);
        (peer.failures, peer.locks) = (0, peer.locks.saturating_add(1));
        peer.locked_until = now.saturating_add(span);
        peer.window_began = peer.locked_until;
        Outcome::Locked(span)
    }

    /// Who is quiet longest goes first, unless they are locked out.
    fn make_room(&mut self, now: Duration) {
        if self.peers.len() < PEERS_MAX {
            return;
        }
        self.peers.retain(|_, peer| now.saturating_sub(peer.last_failed) <= FORGOTTEN_AFTER);
        if self.peers.len() < PEERS_MAX {
            return;
        }
        let oldest = self.peers.iter().min_by_key(|(_, peer)| (peer.locked_until > now, peer.last_failed));
        if let Some(oldest) = oldest.map(|(key, _)| *key) {
            self.peers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn fail(lockout: &mut Lockout, times: u32, at: Duration) -> Outcome {
        (0..times).map(|_| lockout.failed(address(1), at)).last().expect("one at least")
    }

    #[test]
    fn many_in_a_minute_lock_out_and_longer_each_time() {
        let mut lockout = Lockout::default();
        let mut now = Duration::from_secs(1_000);
        assert_eq!(fail(&mut lockout, FAILURES_MAX - 1, now), Outcome::Counted);
        assert_eq!(lockout.locked(address(1), now), None);
        for span in [1, 2, 4, 8, 15, 15].map(|minutes| Duration::from_secs(minutes * 60)) {
            let times = if span == LOCKED_FIRST { 1 } else { FAILURES_MAX };
            assert_eq!(fail(&mut lockout, times, now), Outcome::Locked(span));
            assert_eq!(lockout.locked(address(1), now), Some(span));
            assert_eq!(lockout.locked(address(2), now), None, "others are not touched");
            now += span;
            assert_eq!(lockout.locked(address(1), now), None);
        }
        now += FORGOTTEN_AFTER + WINDOW;
        assert_eq!(fail(&mut lockout, FAILURES_MAX, now), Outcome::Locked(LOCKED_FIRST), "forgotten");
    }

    #[test]
    fn a_few_a_minute_are_never_too_many() {
        let mut lockout = Lockout::default();
        for minute in 0..100 {
            assert_eq!(fail(&mut lockout, FAILURES_MAX - 1, WINDOW * minute), Outcome::Counted);
        }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_whom_it_locked_out() {
        let mut lockout = Lockout::default();
        fail(&mut lockout, FAILURES_MAX, Duration::ZERO);
        for number in 0..50_000_u32 {
            lockout.failed(IpAddr::V4(number.to_be().into()), Duration::from_secs(1));
        }
        assert!(lockout.peers.len() <= PEERS_MAX);
        assert!(lockout.locked(address(1), Duration::from_secs(2)).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let mut lockout = Lockout::default();
        for number in 0..FAILURES_MAX {
            lockout.failed(format!("2001:db8::{number:x}").parse().expect("an address"), Duration::ZERO);
        }
        let locked = |text: &str| lockout.locked(text.parse().expect("an address"), Duration::ZERO).is_some();
        assert!(locked("2001:db8::ffff") && !locked("2001:db8:0:1::1"));
    }
}
