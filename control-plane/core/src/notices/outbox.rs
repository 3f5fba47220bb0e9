//! Notices on their way. Each waits, for each notifier, until its server took it;
//! many at once become one.
//!
//! A notice first gathers for a moment: others may join it. Then it is closed, and
//! is tried until it is taken, always with the same content and the same id.

use super::{Notice, What};
use hostler_types::{Name, Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What has one cause comes within seconds.
pub const GATHER: Duration = Duration::from_secs(3);
/// While a server does not answer, and after a storm.
pub const GATHER_LONG: Duration = Duration::from_secs(60);
/// More in a minute are read by nobody one by one.
pub const STORM: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Of one transaction, which also writes the storm itself.
const MERGED_MAX: usize = 50;
pub const BACKOFF_FIRST: Duration = Duration::from_secs(2);
/// A mail server that is back is used within five minutes.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// News of the day before yesterday help nobody.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(2 * 86_400);
/// A notifier whose server is gone for good must not fill the store.
pub const WAITING_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub number: u64,
    pub notifier: Name,
    pub notice: Notice,
    pub attempts: u32,
    pub since: Timestamp,
    pub last_error: String,
    /// It may be tried: nothing joins it any more.
    pub closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Failed(String),
    /// Not before then: who is asked said so.
    Later(String, Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Keep(Waiting),
    Forget(u64),
    /// Forgotten without having been taken.
    GaveUp(Waiting),
}

#[derive(Debug, Default)]
struct Lane {
    /// When what gathers is closed, and since when it gathers.
    gathers: Option<(Duration, Duration)>,
    /// When notices were closed, within the last minute.
    closed: VecDeque<Duration>,
    stormed: Option<Duration>,
}

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<u64, Waiting>,
    /// Not before then.
    due: BTreeMap<u64, Duration>,
    trying: BTreeSet<u64>,
    lanes: BTreeMap<Name, Lane>,
    last: u64,
}

impl Outbox {
    /// As it was kept: whatever was being tried is tried again, at once.
    pub fn new(now: Now, kept: impl IntoIterator<Item = Waiting>) -> Self {
        let mut outbox = Self::default();
        for one in kept {
            outbox.last = outbox.last.max(one.number);
            if !one.closed {
                let lane = outbox.lanes.entry(one.notifier.clone()).or_default();
                lane.gathers.get_or_insert((now.monotonic + GATHER, now.monotonic));
            }
            outbox.waiting.insert(one.number, one);
        }
        outbox
    }

    pub fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notifiers that something waits for.
    pub fn notifiers(&self) -> BTreeSet<Name> {
        self.waiting.values().map(|one| one.notifier.clone()).collect()
    }

    fn is_failing(&self, notifier: &Name) -> bool {
        self.waiting.values().any(|one| one.notifier == *notifier && one.attempts > 0)
    }

    /// What is there already is not added again.
    pub fn push(&mut self, now: Now, notifier: &Name, notice: Notice) -> Option<Effect> {
        if self.waiting.values().any(|one| one.notifier == *notifier && one.notice.id == notice.id) {
            return None;
        }
        self.last += 1;
        let one = Waiting {
            number: self.last,
            notifier: notifier.clone(),
            notice,
            attempts: 0,
            since: now.wall,
            last_error: String::new(),
            closed: false,
        };
        if self.waiting.len() >= WAITING_MAX {
            return Some(Effect::GaveUp(Waiting { last_error: format!("{WAITING_MAX} notices wait already"), ..one }));
        }
        let long = self.is_failing(notifier);
        let lane = self.lanes.entry(notifier.clone()).or_default();
        let long = long || lane.stormed.is_some_and(|at| now.monotonic < at + WINDOW);
        let span = if long { GATHER_LONG } else { GATHER };
        lane.gathers.get_or_insert((now.monotonic + span, now.monotonic));
        self.waiting.insert(one.number, one.clone());
        Some(Effect::Keep(one))
    }

    /// Closes what has gathered. The effects belong in one commit; what is left is
    /// done at the next step, which is due at once.
    pub fn step(&mut self, now: Now) -> Vec<Effect> {
        let due = |lane: &Lane| lane.gathers.is_some_and(|(at, _)| at <= now.monotonic);
        let Some(notifier) = self.lanes.iter().find(|(_, lane)| due(lane)).map(|(name, _)| name.clone()) else {
            return Vec::new();
        };
        let gathered: Vec<u64> =
            self.waiting.values().filter(|one| one.notifier == notifier && !one.closed).map(|one| one.number).collect();
        let failing = self.is_failing(&notifier);
        // One that others have joined already takes the rest as well.
        let begun =
            gathered.iter().filter_map(|number| self.waiting.get(number)).any(|one| one.notice.what == What::Storm);
        let Some(lane) = self.lanes.get_mut(&notifier) else { return Vec::new() };
        let Some((_, began)) = lane.gathers.take() else { return Vec::new() };
        lane.closed.retain(|at| now.monotonic < *at + WINDOW);
        let most = if failing { 1 } else { STORM };
        let room = most.saturating_sub(lane.closed.len());
        if !begun && gathered.len() <= room.max(usize::from(failing)) {
            lane.closed.extend(gathered.iter().map(|_| now.monotonic));
            return gathered.into_iter().take(MERGED_MAX).filter_map(|number| self.close(number)).collect();
        }
        let waited = now.monotonic.saturating_sub(began) >= WINDOW;
        let oldest = lane.closed.front().copied();
        if let Some(oldest) = oldest.filter(|_| !begun && gathered.len() <= most && !waited) {
            lane.gathers = Some(((oldest + WINDOW).min(began + WINDOW), began));
            return Vec::new();
        }
        if gathered.len() > MERGED_MAX {
            lane.gathers = Some((now.monotonic, began));
        } else {
            lane.closed.push_back(now.monotonic);
            lane.stormed = Some(now.monotonic);
        }
        self.merge(&gathered)
    }

    fn close(&mut self, number: u64) -> Option<Effect> {
        let one = self.waiting.get_mut(&number)?;
        one.closed = true;
        Some(Effect::Keep(one.clone()))
    }

    /// The first takes the others in; it is closed when none is left.
    fn merge(&mut self, gathered: &[u64]) -> Vec<Effect> {
        let Some((first, others)) = gathered.split_first() else { return Vec::new() };
        let taken: Vec<u64> = others.iter().copied().take(MERGED_MAX - 1).collect();
        let joined: Vec<Notice> =
            taken.iter().filter_map(|number| self.waiting.remove(number)).map(|one| one.notice).collect();
        let Some(storm) = self.waiting.get_mut(first) else { return Vec::new() };
        if storm.notice.what != What::Storm && !joined.is_empty() {
            storm.notice = Notice::storm(&storm.notice);
        }
        for notice in &joined {
            storm.notice.add(notice);
        }
        storm.closed = taken.len() == others.len();
        let mut effects = vec![Effect::Keep(storm.clone())];
        effects.extend(taken.into_iter().map(Effect::Forget));
        effects
    }

    /// What to try next with a notifier, of which only one is tried at a time.
    pub fn take(&mut self, now: Now, notifier: &Name) -> Option<Waiting> {
        let of = |one: &&Waiting| one.notifier == *notifier && one.closed;
        if self.waiting.values().any(|one| one.notifier == *notifier && self.trying.contains(&one.number)) {
            return None;
        }
        let is_due = |one: &&Waiting| self.due.get(&one.number).is_none_or(|at| *at <= now.monotonic);
        let one = self.waiting.values().filter(of).find(is_due)?.clone();
        self.trying.insert(one.number);
        Some(one)
    }

    /// `jitter` is at random, of a thousand: servers that come back are not met by
    /// everybody at once.
    pub fn finish(&mut self, now: Now, number: u64, outcome: Outcome, jitter: u32) -> Option<Effect> {
        self.trying.remove(&number);
        let one = self.waiting.get_mut(&number)?;
        let (why, pause) = match outcome {
            Outcome::Taken => {
                let notifier = one.notifier.clone();
                self.remove(number);
                // The server is there again: nobody waits any longer.
                let others = self.waiting.values().filter(|one| one.notifier == notifier).map(|one| one.number);
                for other in others {
                    self.due.remove(&other);
                }
                return Some(Effect::Forget(number));
            }
            Outcome::Failed(why) => (why, Duration::ZERO),
            Outcome::Later(why, pause) => (why, pause.min(BACKOFF_MAX)),
        };
        one.attempts = one.attempts.saturating_add(1);
        one.last_error = why;
        if now.wall.since(one.since) > GIVE_UP_AFTER {
            let gone = one.clone();
            self.remove(number);
            return Some(Effect::GaveUp(gone));
        }
        let wait = back_off(one.attempts, jitter).max(pause);
        self.due.insert(number, now.monotonic + wait);
        Some(Effect::Keep(one.clone()))
    }

    fn remove(&mut self, number: u64) {
        self.waiting.remove(&number);
        self.due.remove(&number);
    }

    /// A notifier that is no more can't be told anything.
    pub fn drop_notifier(&mut self, notifier: &Name) -> Vec<Effect> {
        self.lanes.remove(notifier);
        let its: Vec<u64> =
            self.waiting.values().filter(|one| one.notifier == *notifier).map(|one| one.number).collect();
        let gone = its.into_iter().filter(|number| !self.trying.contains(number)).collect::<Vec<_>>();
        let taken = gone.into_iter().filter_map(|number| {
            self.due.remove(&number);
            self.waiting.remove(&number)
        });
        taken.map(|one| Effect::GaveUp(Waiting { last_error: "the notifier was removed".to_owned(), ..one })).collect()
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        let gathers = self.lanes.values().filter_map(|lane| lane.gathers).map(|(at, _)| at);
        let ready = self.waiting.values().filter(|one| one.closed && !self.trying.contains(&one.number));
        let tries = ready.map(|one| self.due.get(&one.number).copied().unwrap_or_default());
        gathers.chain(tries).min()
    }
}

fn back_off(attempts: u32, jitter: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACKOFF_MAX);
    doubled.saturating_mul(500 + jitter.min(1000) / 2) / 1000
}

#[cfg(test)]
mod tests;
