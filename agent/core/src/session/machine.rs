//! The state machine itself.

use super::{
    DEAD_AFTER_HEARTBEATS, DIAL_PACE, DIAL_TIMEOUT, EARLY_MAX, Effect, HEARTBEAT_DEFAULT, HEARTBEAT_MIN, Input,
    REFUSED_PACE, RENEWAL_PACE, RENEWAL_TIMEOUT, RETRY_AFTER_MAX, RETRY_AFTER_SPREAD, SETTLED_AFTER, Skew, Trouble,
    Validity, WELCOME_TIMEOUT,
};
use crate::jitter::Jitter;
use crate::retry::Backoff;
use hostler_types::{Now, Timestamp};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Waiting {
        until: Duration,
    },
    /// Nothing to dial with before the certificate is renewed.
    Renewing,
    Dialling {
        until: Duration,
    },
    Greeting {
        until: Duration,
    },
    Live {
        since: Duration,
        heard: Duration,
        beat: Duration,
    },
}

#[derive(Debug)]
enum Renewal {
    Idle,
    /// In flight until, at most.
    Asked {
        until: Duration,
    },
    Paused {
        until: Duration,
    },
}

#[derive(Debug)]
pub struct Session {
    addresses: Vec<String>,
    /// Which of them is in use, or next.
    at: usize,
    phase: Phase,
    heartbeat: Duration,
    validity: Validity,
    renewal: Renewal,
    /// The server said that the certificate has expired.
    must_renew: bool,
    backoff: Backoff,
    renewal_backoff: Backoff,
    jitter: Jitter,
    skew: Option<Skew>,
    /// What was last told, so that the same is not told at every try.
    told: Option<String>,
}

impl Session {
    /// `seed` is the only randomness there is.
    pub fn new(now: Now, addresses: Vec<String>, validity: Validity, seed: u64) -> Self {
        Self {
            addresses,
            at: 0,
            phase: Phase::Waiting { until: now.monotonic },
            heartbeat: HEARTBEAT_DEFAULT,
            validity,
            renewal: Renewal::Idle,
            must_renew: false,
            backoff: Backoff::new(DIAL_PACE),
            renewal_backoff: Backoff::new(RENEWAL_PACE),
            jitter: Jitter::new(seed),
            skew: None,
            told: None,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    pub fn skew(&self) -> Option<Skew> {
        self.skew
    }

    pub fn address(&self) -> Option<&str> {
        self.addresses.get(self.at).map(String::as_str)
    }

    pub fn next_deadline(&self, now: Now) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::Waiting { until } | Phase::Dialling { until } | Phase::Greeting { until } => Some(*until),
            Phase::Renewing => None,
            Phase::Live { heard, beat, .. } => Some((*beat).min(heard.saturating_add(self.dead_after()))),
        };
        let renewal = match &self.renewal {
            Renewal::Asked { until } | Renewal::Paused { until } => Some(*until),
            // Due, and waiting for a connection: that one has a deadline of its own.
            Renewal::Idle if self.validity.renew_at() <= now.wall => None,
            // The wall clock may be moved: look again now and then.
            Renewal::Idle => {
                let wait = self.validity.renew_at().since(now.wall);
                Some(now.monotonic.saturating_add(wait.min(Duration::from_secs(3_600))))
            }
        };
        phase.into_iter().chain(renewal).min()
    }

    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Tick => {}
            Input::Dialled => {
                if matches!(self.phase, Phase::Dialling { .. }) {
                    self.phase = Phase::Greeting { until: now.monotonic.saturating_add(WELCOME_TIMEOUT) };
                }
            }
            Input::Welcomed { heartbeat, addresses, server_wall } => {
                self.clock_seen(now, server_wall);
                self.welcomed(now, heartbeat, addresses, &mut effects);
            }
            Input::Heard => self.heard(now),
            Input::Awake => self.hurry(now),
            Input::HeartbeatAcked { sent, server_wall } => {
                self.heard(now);
                self.skew = Skew::measure(now, sent, server_wall).or(self.skew);
            }
            Input::Goodbye { reason, retry_after } => {
                self.leave(&reason, &mut effects);
                let least = retry_after.min(RETRY_AFTER_MAX);
                let wait = self.backoff.next(&mut self.jitter).max(self.jitter.up_to(RETRY_AFTER_SPREAD));
                self.wait(now, least.saturating_add(wait));
            }
            Input::Ended(trouble) => self.ended(now, &trouble, &mut effects),
            Input::Renewed { validity, addresses } => self.renewed(now, validity, addresses),
            Input::RenewalFailed(trouble) => self.renewal_failed(now, &trouble, &mut effects),
        }
        self.advance(now, &mut effects);
        effects
    }

    fn dead_after(&self) -> Duration {
        self.heartbeat.saturating_mul(DEAD_AFTER_HEARTBEATS)
    }

    fn heard(&mut self, now: Now) {
        if let Phase::Live { heard, since, .. } = &mut self.phase {
            *heard = now.monotonic;
            if now.monotonic.saturating_sub(*since) >= SETTLED_AFTER {
                self.backoff.reset();
            }
        }
    }

    fn hurry(&mut self, now: Now) {
        if let Phase::Live { beat, .. } = &mut self.phase
            && beat.saturating_sub(now.monotonic) <= self.heartbeat / EARLY_MAX
        {
            *beat = (*beat).min(now.monotonic);
        }
    }

    /// The hello went out when the connection stood.
    fn clock_seen(&mut self, now: Now, server_wall: Option<Timestamp>) {
        let sent = match &self.phase {
            Phase::Greeting { until } => until.saturating_sub(WELCOME_TIMEOUT),
            _ => now.monotonic,
        };
        self.skew = server_wall.and_then(|wall| Skew::measure(now, sent, wall)).or(self.skew);
    }

    fn welcomed(&mut self, now: Now, heartbeat: Duration, addresses: Vec<String>, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Greeting { .. } | Phase::Dialling { .. }) {
            return self.heard(now);
        }
        if !heartbeat.is_zero() {
            self.heartbeat = heartbeat.max(HEARTBEAT_MIN);
        }
        let address = self.address().unwrap_or_default().to_owned();
        self.learn(addresses);
        self.told = None;
        let at = now.monotonic;
        self.phase = Phase::Live { since: at, heard: at, beat: at.saturating_add(self.heartbeat) };
        effects.push(Effect::Connected { address });
    }

    /// Takes over a new list without losing the place in it.
    fn learn(&mut self, addresses: Vec<String>) {
        if addresses.is_empty() || addresses == self.addresses {
            return;
        }
        let current = self.address().map(str::to_owned);
        self.at = current.and_then(|current| addresses.iter().position(|one| *one == current)).unwrap_or(0);
        self.addresses = addresses;
    }

    fn ended(&mut self, now: Now, trouble: &Trouble, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Renewing) {
            return;
        }
        let was_live = self.is_live();
        self.leave(trouble.message(), effects);
        let pause = self.backoff.next(&mut self.jitter);
        match trouble {
            Trouble::Passing(message) => {
                if !was_live {
                    self.tell(Effect::Unreachable { message: message.clone() }, effects);
                }
                self.rotate();
                self.wait(now, pause);
            }
            Trouble::Refused(message) => {
                self.tell(Effect::Refused { message: message.clone() }, effects);
                self.rotate();
                let pause = self.refused_pause();
                self.wait(now, pause);
            }
            Trouble::Expired(message) => {
                self.tell(Effect::Refused { message: message.clone() }, effects);
                self.must_renew = true;
                self.wait(now, pause);
            }
        }
    }

    /// Half of the pace is certain, the rest spreads.
    fn refused_pause(&mut self) -> Duration {
        REFUSED_PACE / 2 + self.jitter.up_to(REFUSED_PACE)
    }

    fn rotate(&mut self) {
        self.at = if self.at + 1 < self.addresses.len() { self.at + 1 } else { 0 };
    }

    fn leave(&mut self, reason: &str, effects: &mut Vec<Effect>) {
        if self.is_live() {
            let address = self.address().unwrap_or_default().to_owned();
            effects.push(Effect::Disconnected { address, reason: reason.to_owned() });
        }
        effects.push(Effect::Close);
    }

    fn wait(&mut self, now: Now, pause: Duration) {
        self.phase = Phase::Waiting { until: now.monotonic.saturating_add(pause) };
    }

    fn tell(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        let (Effect::Refused { message } | Effect::Unreachable { message }) = &effect else { return };
        if self.told.as_ref() != Some(message) {
            self.told = Some(message.clone());
            effects.push(effect);
        }
    }

    fn renewed(&mut self, now: Now, validity: Validity, addresses: Vec<String>) {
        (self.validity, self.renewal, self.must_renew) = (validity, Renewal::Idle, false);
        self.renewal_backoff.reset();
        self.learn(addresses);
        if self.phase == Phase::Renewing {
            self.wait(now, Duration::ZERO);
        }
    }

    fn renewal_failed(&mut self, now: Now, trouble: &Trouble, effects: &mut Vec<Effect>) {
        let urgent = self.phase == Phase::Renewing;
        let pause = match (trouble, urgent) {
            (Trouble::Refused(_) | Trouble::Expired(_), _) => self.refused_pause(),
            // Without it nothing goes on at all: as eager as a dial.
            (Trouble::Passing(_), true) => self.backoff.next(&mut self.jitter),
            (Trouble::Passing(_), false) => self.renewal_backoff.next(&mut self.jitter),
        };
        self.renewal = Renewal::Paused { until: now.monotonic.saturating_add(pause) };
        let message = trouble.message();
        if self.told.as_deref() != Some(message) {
            self.told = Some(message.to_owned());
            effects.push(Effect::RenewalFailing { message: message.to_owned() });
        }
        if urgent {
            self.rotate();
        }
    }

    /// Whatever is due by now.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.time_out(now, effects);
        self.renew(now, effects);
        match self.phase.clone() {
            Phase::Waiting { until } if until <= now.monotonic => {
                if self.must_renew || self.validity.not_after <= now.wall {
                    self.phase = Phase::Renewing;
                    self.renew(now, effects);
                } else if let Some(address) = self.address().map(str::to_owned) {
                    self.phase = Phase::Dialling { until: now.monotonic.saturating_add(DIAL_TIMEOUT) };
                    effects.push(Effect::Dial { address });
                } else {
                    self.wait(now, REFUSED_PACE);
                }
            }
            Phase::Live { since, heard, beat } if beat <= now.monotonic => {
                // Late by more than a beat: begin a new rhythm instead of catching up.
                let next = beat.saturating_add(self.heartbeat);
                let next = if next <= now.monotonic { now.monotonic.saturating_add(self.heartbeat) } else { next };
                self.phase = Phase::Live { since, heard, beat: next };
                effects.push(Effect::SendHeartbeat);
            }
            _ => {}
        }
    }

    fn time_out(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let reason = match &self.phase {
            Phase::Dialling { until } if *until <= now.monotonic => "no connection came about in time".to_owned(),
            Phase::Greeting { until } if *until <= now.monotonic => {
                format!("connected, and no welcome within {} s", WELCOME_TIMEOUT.as_secs())
            }
            Phase::Live { heard, .. } if heard.saturating_add(self.dead_after()) <= now.monotonic => {
                format!("nothing was heard for {} s", self.dead_after().as_secs())
            }
            _ => return,
        };
        self.ended(now, &Trouble::Passing(reason), effects);
    }

    fn renew(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = self.must_renew || self.phase == Phase::Renewing || self.validity.renew_at() <= now.wall;
        match self.renewal {
            Renewal::Asked { until } if until <= now.monotonic => {
                let trouble = Trouble::Passing("no answer came to the renewal of the certificate".into());
                self.renewal_failed(now, &trouble, effects);
            }
            Renewal::Paused { until } if until <= now.monotonic => self.renewal = Renewal::Idle,
            _ => {}
        }
        // In time, a renewal goes where a connection stands: elsewhere it would
        // only fail as the dial does.
        let able = self.is_live() || self.phase == Phase::Renewing;
        if let (Renewal::Idle, true, true, Some(address)) = (&self.renewal, due, able, self.address()) {
            effects.push(Effect::Renew { address: address.to_owned() });
            self.renewal = Renewal::Asked { until: now.monotonic.saturating_add(RENEWAL_TIMEOUT) };
        }
    }
}
