//! Telling people, from this host, that its control plane is gone, and that it is
//! back. Of each silence it tells once; whoever was not told that it began is not
//! told that it ended, since the control plane tells people itself by then.
//!
//! What is kept survives a restart and a reboot. Delivering is the shell's, and so
//! is the knowledge of where a notifier leads.

mod words;

use crate::jitter::Jitter;
use crate::retry::{Backoff, Pace};
use hostler_types::notice::Notice;
use hostler_types::{Name, Now, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// An agent that has just started first gets its chance to connect: a fleet is back
/// within 12 s.
pub const START_GRACE: Duration = Duration::from_secs(20);
/// A handful of hosts try, and somebody has to hear it: what is back is used within
/// half a minute.
pub const TRY_PACE: Pace = Pace { base: Duration::from_secs(2), cap: Duration::from_secs(30) };
/// News of the day before yesterday help nobody.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(2 * 86_400);

/// What the control plane asks of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of the control plane, so that all its hosts give a silence the same id.
    pub lineage: u64,
    pub term: u64,
    pub gone_after: Duration,
    /// Those who are told.
    pub tell: BTreeSet<Name>,
}

/// What this host knows besides, looked at only when something is to be told.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub node: String,
    pub addresses: Vec<String>,
    /// The last thing that went wrong with the connection.
    pub error: String,
    /// This host's checks that are critical now, a line each.
    pub critical: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum Input {
    /// `None`: this host is not to tell.
    Terms(Option<Terms>),
    Connected,
    Away,
    /// The control plane was there, and does not want this host: it may have been
    /// revoked. Nothing is told until it is connected again.
    Refused,
    Finished {
        number: u64,
        taken: bool,
    },
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make [`Gone::kept`] durable, before anything that follows.
    Keep,
    Try {
        number: u64,
        notifier: Name,
        notice: Box<Notice>,
    },
    GaveUp {
        notifier: Name,
        title: String,
    },
}

/// On its way to one notifier: always with the same content and id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Letter {
    notifier: Name,
    notice: Notice,
    /// Told after it, if it is taken yet: the try that is under way may succeed
    /// after the control plane came back.
    then: Option<Notice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    id: String,
    took: BTreeSet<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Silence {
    since: Timestamp,
    told: Option<Told>,
}

/// What must survive; empty where there is nothing to tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    refused: bool,
    silence: Option<Silence>,
    letters: Vec<Letter>,
}

impl Kept {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Connected,
    Away,
    Refused,
}

struct Pending {
    number: u64,
    letter: Letter,
    due: Duration,
    trying: bool,
    backoff: Backoff,
}

/// Since when nothing was heard, by the clock that never jumps.
struct Clock {
    from: Duration,
    /// What had passed before the agent started.
    before: Duration,
}

pub struct Gone {
    terms: Option<Terms>,
    link: Link,
    silence: Option<Silence>,
    clock: Clock,
    started: Duration,
    pending: Vec<Pending>,
    last: u64,
    jitter: Jitter,
    /// What the shell was last asked to keep.
    kept: Kept,
}

impl Gone {
    /// With what was kept, and not connected yet.
    pub fn new(now: Now, kept: Kept, terms: Option<Terms>, seed: u64) -> Self {
        let link = if kept.refused { Link::Refused } else { Link::Away };
        let silence = kept.silence.clone().unwrap_or(Silence { since: now.wall, told: None });
        let clock = Clock { from: now.monotonic, before: now.wall.since(silence.since) };
        let mut gone = Self {
            terms: None,
            link,
            silence: Some(silence),
            clock,
            started: now.monotonic,
            pending: Vec::new(),
            last: 0,
            jitter: Jitter::new(seed),
            kept: kept.clone(),
        };
        for letter in kept.letters {
            gone.push(now, letter);
        }
        gone.take_terms(terms);
        gone
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    pub fn step(&mut self, now: Now, input: Input, seen: &dyn Fn() -> Seen) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Tick => {}
            Input::Terms(terms) => self.take_terms(terms),
            Input::Connected => self.connected(now, seen),
            Input::Away => self.away(now),
            Input::Refused => self.refused(),
            Input::Finished { number, taken } => effects.extend(self.finished(now, number, taken)),
        }
        if self.tell_at().is_some_and(|at| at <= now.monotonic) {
            self.tell(now, &seen());
        }
        let kept = self.to_keep();
        if kept != self.kept {
            self.kept = kept;
            effects.insert(0, Effect::Keep);
        }
        effects.extend(self.tries(now));
        effects
    }

    /// When [`Gone::step`] has something to do even if nothing happens.
    pub fn next_deadline(&self) -> Option<Duration> {
        let tries = self.open().map(|pending| pending.due);
        self.tell_at().into_iter().chain(tries).min()
    }

    fn take_terms(&mut self, terms: Option<Terms>) {
        let tell = terms.as_ref().map(|terms| terms.tell.clone()).unwrap_or_default();
        self.pending.retain(|pending| tell.contains(&pending.letter.notifier));
        if terms.is_none()
            && let Some(silence) = &mut self.silence
        {
            silence.told = None;
        }
        self.terms = terms;
    }

    fn connected(&mut self, now: Now, seen: &dyn Fn() -> Seen) {
        self.link = Link::Connected;
        let Some(Silence { since, told: Some(told) }) = self.silence.take() else { return };
        let back = words::back(&told.id, since, now.wall, &seen());
        self.pending.retain_mut(|pending| {
            if pending.letter.notice.id == told.id {
                pending.letter.then = Some(back.clone());
            }
            pending.letter.notice.id != told.id || pending.trying
        });
        let tell = self.terms.as_ref().map(|terms| terms.tell.clone()).unwrap_or_default();
        for notifier in told.took.intersection(&tell) {
            self.push(now, Letter { notifier: notifier.clone(), notice: back.clone(), then: None });
        }
    }

    fn away(&mut self, now: Now) {
        if self.link == Link::Connected {
            self.link = Link::Away;
            self.silence = Some(Silence { since: now.wall, told: None });
            self.clock = Clock { from: now.monotonic, before: Duration::ZERO };
        }
    }

    fn refused(&mut self) {
        self.link = Link::Refused;
        self.silence.take_if(|silence| silence.told.is_none());
    }

    fn tell_at(&self) -> Option<Duration> {
        let terms = self.terms.as_ref().filter(|terms| !terms.tell.is_empty())?;
        let silence = self.silence.as_ref().filter(|_| self.link == Link::Away)?;
        let left = terms.gone_after.saturating_sub(self.clock.before);
        let at = self.clock.from.saturating_add(left).max(self.started.saturating_add(START_GRACE));
        silence.told.is_none().then_some(at)
    }

    fn tell(&mut self, now: Now, seen: &Seen) {
        let (Some(terms), Some(silence)) = (&self.terms, &mut self.silence) else { return };
        // Two silences of one host are further apart than that, and those who lose
        // the control plane together are closer.
        let span = terms.gone_after.as_millis().max(1);
        let when = u128::from(silence.since.as_millis()) / span;
        let id = format!("gone:{}.{}.{when}", terms.lineage, terms.term);
        let notice = words::gone(&id, silence.since, now.wall, seen);
        silence.told = Some(Told { id, took: BTreeSet::new() });
        for notifier in terms.tell.clone() {
            self.push(now, Letter { notifier, notice: notice.clone(), then: None });
        }
    }

    fn push(&mut self, now: Now, letter: Letter) {
        self.last += 1;
        let backoff = Backoff::new(TRY_PACE);
        self.pending.push(Pending { number: self.last, letter, due: now.monotonic, trying: false, backoff });
    }

    /// The next of each notifier, where nothing is under way.
    fn open(&self) -> impl Iterator<Item = &Pending> {
        let may = self.link != Link::Refused && self.terms.is_some();
        let first = |pending: &&Pending| {
            let mut same = self.pending.iter().filter(|other| other.letter.notifier == pending.letter.notifier);
            same.next().is_some_and(|first| first.number == pending.number)
        };
        self.pending.iter().filter(move |pending| may && !pending.trying && first(pending))
    }

    fn tries(&mut self, now: Now) -> Vec<Effect> {
        let due: Vec<u64> = self.open().filter(|one| one.due <= now.monotonic).map(|one| one.number).collect();
        let mut effects = Vec::new();
        for pending in self.pending.iter_mut().filter(|pending| due.contains(&pending.number)) {
            pending.trying = true;
            let Letter { notifier, notice, .. } = pending.letter.clone();
            effects.push(Effect::Try { number: pending.number, notifier, notice: Box::new(notice) });
        }
        effects
    }

    fn finished(&mut self, now: Now, number: u64, taken: bool) -> Option<Effect> {
        let index = self.pending.iter().position(|pending| pending.number == number)?;
        let pending = self.pending.get_mut(index)?;
        pending.trying = false;
        if !taken && pending.letter.then.is_none() && now.wall.since(pending.letter.notice.at) <= GIVE_UP_AFTER {
            pending.due = now.monotonic.saturating_add(pending.backoff.next(&mut self.jitter));
            return None;
        }
        let Pending { letter: Letter { notifier, notice, then }, .. } = self.pending.remove(index);
        if !taken {
            // What is over needs telling no more; the rest was tried for long enough.
            return then.is_none().then_some(Effect::GaveUp { notifier, title: notice.title });
        }
        if let Some(told) = self.silence.as_mut().and_then(|silence| silence.told.as_mut())
            && told.id == notice.id
        {
            told.took.insert(notifier.clone());
        }
        if let Some(back) = then {
            self.push(now, Letter { notifier, notice: back, then: None });
        }
        None
    }

    fn to_keep(&self) -> Kept {
        if self.terms.is_none() {
            return Kept::default();
        }
        let letters = self.pending.iter().map(|pending| pending.letter.clone()).collect();
        Kept { refused: self.link == Link::Refused, silence: self.silence.clone(), letters }
    }
}

#[cfg(test)]
mod tests;
