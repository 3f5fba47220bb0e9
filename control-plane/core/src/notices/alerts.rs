//! What is wrong, and what of it people know.
//!
//! Telling converges: an alert knows what is so, and what people were told last;
//! whenever these differ and nothing forbids it, they are told. So a silence that
//! ends, a notifier that is added, and a restart need no cases of their own.

use super::What;
use super::fleet::{Fleet, RELEASE};
use super::{Rule, Rules, Silence, State, Subject};
use crate::brakes::causes::NODES_MIN;
use hostler_types::spec::Severity;
use hostler_types::{CheckState, Labels, Name, NodeState, Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Whoever was told that it is over is not told within this time that it is back:
/// what comes and goes is told once, and counted.
pub const FLAP: Duration = Duration::from_secs(300);
/// Somebody who was to get up, and nobody said that they did.
pub const REMIND: Duration = Duration::from_secs(4 * 3600);
/// For looking back at what was wrong last week.
const KEPT_CLOSED: Duration = Duration::from_secs(7 * 86_400);
/// The two clocks moved on differently: one of them was set.
const JUMP: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub subject: Subject,
    pub state: State,
    pub severity: Severity,
    /// Empty: the default notifiers.
    pub tell: BTreeSet<Name>,
    pub summary: String,
    /// Since when it is so, which is before it was worth telling.
    pub since: Timestamp,
    pub opened_at: Timestamp,
    pub closed_at: Option<Timestamp>,
    /// How often it came back within [`FLAP`].
    pub openings: u32,
    /// How many notices there were about it.
    pub notices: u64,
    pub told: Option<Told>,
    pub told_closed_at: Option<Timestamp>,
    pub ack: Option<Ack>,
}

/// What people know.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The worst of it.
    pub state: State,
    pub severity: Severity,
    pub to: BTreeSet<Name>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub by: String,
    pub until: Timestamp,
    pub reason: String,
}

impl Alert {
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// A schedule that fails each night is told each night.
    fn failed_since(&self, told: &Told) -> bool {
        matches!(self.subject, Subject::Schedule(_)) && self.since > told.at
    }
}

/// What is known of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Node {
        state: NodeState,
        labels: Labels,
        since: Timestamp,
    },
    Check {
        state: CheckState,
        summary: String,
        since: Timestamp,
    },
    /// What came of a schedule's newest run.
    Run {
        failed: bool,
        summary: String,
        ended: Timestamp,
    },
    /// It was removed, or runs there no more.
    Gone,
}

#[derive(Clone, Debug)]
pub enum Input {
    Seen {
        subject: Subject,
        seen: Seen,
    },
    Rules(Rules),
    Silence(Silence),
    EndSilence(String),
    Ack {
        subject: Subject,
        ack: Ack,
    },
    /// Time went on.
    Tick,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the alert.
    Keep(Alert),
    Forget(Subject),
    /// Write the alert, and in the same commit put the notice in the outbox.
    Tell(Tell),
    KeepSilence(Silence),
    ForgetSilence(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tell {
    pub what: What,
    pub alert: Alert,
    pub to: BTreeSet<Name>,
}

/// How a subject is, as far as it is bad.
#[derive(Clone, Debug)]
struct Trouble {
    state: State,
    began: Duration,
    /// How long it had been so when it was first seen.
    before: Duration,
    since: Timestamp,
    summary: String,
}

#[derive(Debug)]
pub struct Alerts {
    rules: Rules,
    alerts: BTreeMap<Subject, Alert>,
    /// The nodes that each check was heard of from.
    checked: BTreeMap<Name, BTreeSet<Name>>,
    troubles: BTreeMap<Subject, Trouble>,
    labels: BTreeMap<Name, Labels>,
    lost: BTreeSet<Name>,
    fleet: Fleet,
    silences: BTreeMap<String, Silence>,
    /// When to look at a subject again.
    wakes: BTreeMap<Subject, Duration>,
    last: Now,
    /// Until time first goes on, what is seen has been so for a while.
    loading: bool,
}

impl Alerts {
    /// As they were kept. What is so now is to be given before time goes on.
    pub fn new(
        now: Now,
        rules: Rules,
        alerts: impl IntoIterator<Item = Alert>,
        silences: impl IntoIterator<Item = Silence>,
    ) -> Self {
        let alerts: BTreeMap<Subject, Alert> = alerts.into_iter().map(|one| (one.subject.clone(), one)).collect();
        let wakes = alerts.keys().map(|subject| (subject.clone(), now.monotonic)).collect();
        Self {
            rules,
            alerts,
            troubles: BTreeMap::new(),
            checked: BTreeMap::new(),
            labels: BTreeMap::new(),
            lost: BTreeSet::new(),
            fleet: Fleet::default(),
            silences: silences.into_iter().map(|one| (one.id.clone(), one)).collect(),
            wakes,
            last: now,
            loading: true,
        }
    }

    pub fn get(&self, subject: &Subject) -> Option<&Alert> {
        self.alerts.get(subject)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }

    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The silence that takes a subject now.
    pub fn silence_of(&self, subject: &Subject, wall: Timestamp) -> Option<&Silence> {
        let labels = subject.node().and_then(|node| self.labels.get(node));
        let takes = |one: &&Silence| one.ends_at > wall && one.takes(subject, labels);
        self.silences.values().filter(takes).max_by_key(|one| one.ends_at)
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.wakes.values().min().copied()
    }

    /// The subjects that are known here, so that those that went can be found.
    pub fn subjects(&self) -> BTreeSet<Subject> {
        let nodes = self.labels.keys().map(|node| Subject::Node(node.clone()));
        self.alerts.keys().chain(self.troubles.keys()).cloned().chain(nodes).collect()
    }

    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Seen { subject, seen } => self.see(now, subject, seen, &mut effects),
            Input::Rules(rules) => {
                self.rules = rules;
                self.settle_all(now, &mut effects);
            }
            Input::Silence(silence) => {
                effects.push(Effect::KeepSilence(silence.clone()));
                self.silences.insert(silence.id.clone(), silence);
                self.settle_all(now, &mut effects);
            }
            Input::EndSilence(id) => {
                if self.silences.remove(&id).is_some() {
                    effects.push(Effect::ForgetSilence(id));
                }
                self.settle_all(now, &mut effects);
            }
            Input::Ack { subject, ack } => {
                if let Some(alert) = self.alerts.get_mut(&subject).filter(|alert| alert.is_open()) {
                    alert.ack = Some(ack);
                    effects.push(Effect::Keep(alert.clone()));
                }
                self.settle(now, &subject, &mut effects);
            }
            Input::Tick => self.tick(now, &mut effects),
        }
        effects
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let first = std::mem::take(&mut self.loading);
        let (by_one, by_other) = (now.monotonic.saturating_sub(self.last.monotonic), now.wall.since(self.last.wall));
        let set_back = now.wall < self.last.wall;
        self.last = now;
        let over: Vec<String> =
            self.silences.values().filter(|one| one.ends_at <= now.wall).map(|one| one.id.clone()).collect();
        for id in over {
            self.silences.remove(&id);
            effects.push(Effect::ForgetSilence(id));
        }
        if first || set_back || by_one.abs_diff(by_other) > JUMP {
            return self.settle_all(now, effects);
        }
        let due: Vec<Subject> =
            self.wakes.iter().filter(|(_, at)| **at <= now.monotonic).map(|(subject, _)| subject.clone()).collect();
        for subject in due {
            self.settle(now, &subject, effects);
        }
    }

    fn see(&mut self, now: Now, subject: Subject, seen: Seen, effects: &mut Vec<Effect>) {
        match seen {
            Seen::Node { state, labels, since } => {
                let Some(node) = subject.node().cloned() else { return };
                self.labels.insert(node.clone(), labels);
                let has_alert = self.alerts.get(&subject).is_some_and(Alert::is_open);
                self.fleet.set(&node, Some(state), has_alert);
                let is_lost = state == NodeState::Lost;
                let changed = if is_lost { self.lost.insert(node.clone()) } else { self.lost.remove(&node) };
                let bad = is_lost.then(|| (State::Lost, since, "not heard from".to_owned()));
                self.trouble(now, &subject, bad);
                self.settle(now, &subject, effects);
                if changed {
                    self.settle_checks_of(now, &node, effects);
                }
                if self.is_open(&Subject::Fleet) {
                    self.settle(now, &Subject::Fleet, effects);
                }
            }
            Seen::Check { state, summary, since } => {
                if let Subject::Check { node, check } = &subject {
                    self.checked.entry(check.clone()).or_default().insert(node.clone());
                }
                let bad = match state {
                    CheckState::Critical => Some(State::Critical),
                    CheckState::Unknown => Some(State::Unknown),
                    CheckState::Warning => Some(State::Warning),
                    CheckState::Starting | CheckState::Passing => None,
                };
                self.trouble(now, &subject, bad.map(|state| (state, since, summary)));
                self.settle(now, &subject, effects);
                self.settle_folded(now, &subject, effects);
            }
            Seen::Run { failed, summary, ended } => {
                self.trouble(now, &subject, failed.then_some((State::Critical, ended, summary)));
                self.settle(now, &subject, effects);
            }
            Seen::Gone => {
                self.troubles.remove(&subject);
                if let Subject::Check { node, check } = &subject
                    && let Some(nodes) = self.checked.get_mut(check)
                {
                    nodes.remove(node);
                }
                if let Subject::Node(node) = &subject {
                    self.labels.remove(node);
                    self.lost.remove(node);
                    self.fleet.set(node, None, false);
                }
                self.settle_as(now, &subject, true, effects);
                self.settle_folded(now, &subject, effects);
            }
        }
    }

    /// `for` is counted by our own clock, since a host's may be wrong; only after a
    /// restart, which must not begin anew, by when it was said to have begun.
    fn trouble(&mut self, now: Now, subject: &Subject, bad: Option<(State, Timestamp, String)>) {
        let Some((state, since, summary)) = bad else {
            self.troubles.remove(subject);
            return;
        };
        match self.troubles.get_mut(subject) {
            Some(known) if known.state == state => {
                known.summary = summary;
                known.since = since;
            }
            _ => {
                let before = if self.loading { now.wall.since(since) } else { Duration::ZERO };
                let trouble = Trouble { state, began: now.monotonic, before, since, summary };
                self.troubles.insert(subject.clone(), trouble);
            }
        }
    }

    /// On so many nodes that their failing it together may have one cause.
    fn is_on_many(&self, check: &Name) -> bool {
        self.checked.get(check).is_some_and(|nodes| nodes.len() >= NODES_MIN)
    }

    fn is_open(&self, subject: &Subject) -> bool {
        self.alerts.get(subject).is_some_and(Alert::is_open)
    }

    /// One alert says it for all of them.
    fn is_folded(&self, subject: &Subject) -> bool {
        let Subject::Check { check, .. } = subject else { return false };
        self.is_open(&Subject::Cause(check.clone()))
    }

    fn settle_all(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let all: BTreeSet<Subject> = self.alerts.keys().chain(self.troubles.keys()).cloned().collect();
        for subject in all {
            self.settle(now, &subject, effects);
        }
    }

    fn settle_checks_of(&mut self, now: Now, node: &Name, effects: &mut Vec<Effect>) {
        self.settle_those(now, effects, |subject| subject.check().is_some() && subject.node() == Some(node));
    }

    /// Who failed together with others is told by name when that is over.
    fn settle_folded(&mut self, now: Now, cause: &Subject, effects: &mut Vec<Effect>) {
        if let Subject::Cause(check) = cause {
            self.settle_those(now, effects, |subject| subject.node().is_some() && subject.check() == Some(check));
        }
    }

    fn settle_those(&mut self, now: Now, effects: &mut Vec<Effect>, which: impl Fn(&Subject) -> bool) {
        let known = self.alerts.keys().chain(self.troubles.keys());
        let those: BTreeSet<Subject> = known.filter(|subject| which(subject)).cloned().collect();
        for subject in those {
            self.settle(now, &subject, effects);
        }
    }

    fn settle(&mut self, now: Now, subject: &Subject, effects: &mut Vec<Effect>) {
        if self.loading {
            // Not before all is known: who is lost alone, and who with the others?
            self.wakes.insert(subject.clone(), now.monotonic);
            return;
        }
        self.settle_as(now, subject, false, effects);
    }

    /// Brings an alert in line with what is so, and people with the alert.
    fn settle_as(&mut self, now: Now, subject: &Subject, gone: bool, effects: &mut Vec<Effect>) {
        let before = self.alerts.get(subject).cloned();
        let (mut wake, mut released) = (Wake::default(), Vec::new());
        if *subject == Subject::Fleet {
            self.decide_fleet(now, &mut wake, &mut released);
        } else {
            self.decide(now, subject, &mut wake, effects);
        }
        let tell = self.tell(now, subject, gone, &mut wake);
        let after = self.alerts.get(subject);
        match (tell, after) {
            (Some(tell), _) => effects.push(Effect::Tell(tell)),
            (None, Some(alert)) if before.as_ref() != after => effects.push(Effect::Keep(alert.clone())),
            _ => {}
        }
        if let Some(alert) = after.filter(|alert| alert.told.is_none()) {
            match alert.closed_at.map(|closed| closed.plus(KEPT_CLOSED)) {
                Some(end) if end <= now.wall => {
                    self.alerts.remove(subject);
                    effects.push(Effect::Forget(subject.clone()));
                }
                Some(end) => wake.at_wall(now, end),
                None => {}
            }
        }
        match wake.0 {
            Some(at) => drop(self.wakes.insert(subject.clone(), at)),
            None => drop(self.wakes.remove(subject)),
        }
        for subject in released {
            self.settle(now, &subject, effects);
        }
    }

    fn decide(&mut self, now: Now, subject: &Subject, wake: &mut Wake, effects: &mut Vec<Effect>) {
        let open = self.is_open(subject);
        let Some(trouble) = self.troubles.get(subject).cloned() else {
            if open {
                self.close(now, subject);
            }
            return;
        };
        // What a check on a lost node said last is old news.
        if subject.check().is_some() && subject.node().is_some_and(|node| self.lost.contains(node)) {
            return;
        }
        let held = now.monotonic.saturating_sub(trouble.began) + trouble.before;
        let mut about: Vec<Rule> =
            self.rules.of(subject).iter().filter(|rule| rule.state == trouble.state).cloned().collect();
        if let Subject::Check { check, .. } = subject
            && trouble.state == State::Critical
            && self.is_on_many(check)
        {
            // A common cause is told once, for all.
            let alone_after = self.rules.alone_after(check);
            about.iter_mut().for_each(|rule| rule.for_ = rule.for_.max(alone_after));
        }
        if let Some(next) = about.iter().map(|rule| rule.for_).filter(|for_| *for_ > held).min() {
            wake.at(now.monotonic + next.saturating_sub(held));
        }
        if about.is_empty() {
            if open {
                self.close(now, subject);
            }
            return;
        }
        let met = about.into_iter().filter(|rule| rule.for_ <= held).max_by_key(|rule| (rule.severity, rule.for_));
        match (open, met) {
            (true, None) => {}
            (true, Some(rule)) => {
                if let Some(alert) = self.alerts.get_mut(subject) {
                    update(alert, &rule, &trouble);
                }
            }
            (false, None) => {}
            (false, Some(rule)) => self.open(now, subject, &rule, &trouble, effects),
        }
    }

    fn open(&mut self, now: Now, subject: &Subject, rule: &Rule, trouble: &Trouble, effects: &mut Vec<Effect>) {
        if let Subject::Node(node) = subject {
            if self.is_open(&Subject::Fleet) {
                return;
            }
            if self.fleet.is_most_lost() {
                return self.settle(now, &Subject::Fleet, effects);
            }
            self.fleet.told_of(node);
        }
        if self.is_folded(subject) {
            return;
        }
        self.insert(now, subject, rule, trouble);
    }

    fn insert(&mut self, now: Now, subject: &Subject, rule: &Rule, trouble: &Trouble) {
        let old = self.alerts.remove(subject);
        let again = old.as_ref().and_then(|old| old.closed_at).is_some_and(|closed| now.wall.since(closed) < FLAP);
        let old = old.as_ref();
        let alert = Alert {
            subject: subject.clone(),
            state: rule.state,
            severity: rule.severity,
            tell: rule.tell.clone(),
            summary: trouble.summary.clone(),
            since: trouble.since,
            opened_at: now.wall,
            closed_at: None,
            openings: if again { old.map_or(0, |old| old.openings).saturating_add(1) } else { 1 },
            notices: old.map_or(0, |old| old.notices),
            told: old.and_then(|old| old.told.clone()),
            told_closed_at: old.and_then(|old| old.told_closed_at),
            ack: None,
        };
        self.alerts.insert(subject.clone(), alert);
    }

    fn decide_fleet(&mut self, now: Now, wake: &mut Wake, released: &mut Vec<Subject>) {
        let (lost, all) = self.fleet.counts();
        let is_open = self.is_open(&Subject::Fleet);
        if self.fleet.is_most_lost() {
            self.fleet.below_since = None;
            let names: Vec<&str> = self.fleet.lost().take(3).map(Name::as_str).collect();
            let more = if lost > names.len() { ", ..." } else { "" };
            let summary = format!("{lost} of {all} nodes are lost ({}{more})", names.join(", "));
            if is_open {
                if let Some(alert) = self.alerts.get_mut(&Subject::Fleet) {
                    alert.summary = summary;
                }
                return;
            }
            let rule = self.rules.of(&Subject::Fleet).first().cloned();
            let since = self.fleet.lost().filter_map(|node| self.troubles.get(&Subject::Node(node.clone())));
            let since = since.map(|trouble| trouble.since).min().unwrap_or(now.wall);
            let trouble = Trouble { state: State::Lost, began: now.monotonic, before: Duration::ZERO, since, summary };
            if let Some(rule) = rule {
                self.insert(now, &Subject::Fleet, &rule, &trouble);
            }
        } else if is_open {
            let below_since = *self.fleet.below_since.get_or_insert(now.monotonic);
            if now.monotonic < below_since + RELEASE {
                return wake.at(below_since + RELEASE);
            }
            self.fleet.below_since = None;
            self.close(now, &Subject::Fleet);
            // Whoever is still away is so by themselves.
            released.extend(self.fleet.lost().cloned().map(Subject::Node));
        }
    }

    fn close(&mut self, now: Now, subject: &Subject) {
        if let Some(alert) = self.alerts.get_mut(subject) {
            alert.closed_at = Some(now.wall);
            alert.ack = None;
        }
    }

    fn tell(&mut self, now: Now, subject: &Subject, gone: bool, wake: &mut Wake) -> Option<Tell> {
        let silenced = self.silence_of(subject, now.wall).map(|silence| silence.ends_at);
        let folded = self.is_folded(subject);
        let alert = self.alerts.get_mut(subject)?;
        let mut wait = |at: Timestamp| {
            wake.at_wall(now, at);
            None
        };
        let what = match (alert.is_open(), &alert.told) {
            (false, None) => None,
            (false, Some(_)) => Some(if gone { What::Gone } else { What::Closed }),
            (true, None) => match alert.told_closed_at.map(|at| at.plus(FLAP)).filter(|end| *end > now.wall) {
                Some(end) => wait(end),
                None => Some(What::Opened),
            },
            (true, Some(told)) if (alert.state, alert.severity) > (told.state, told.severity) => Some(What::Worse),
            (true, Some(told)) if alert.severity == Severity::Page || alert.failed_since(told) => {
                let acked = alert.ack.as_ref().map(|ack| ack.until);
                let due = told.at.plus(REMIND).max(acked.unwrap_or_default());
                if due > now.wall { wait(due) } else { Some(What::Still) }
            }
            (true, Some(_)) => None,
        }?;
        if let Some(end) = silenced {
            wake.at_wall(now, end);
            return None;
        }
        if folded && alert.is_open() {
            return None;
        }
        let known = alert.told.as_ref().map(|told| told.to.clone()).unwrap_or_default();
        let there = |notifier: &Name| self.rules.notifiers().contains(notifier);
        let to: BTreeSet<Name> = match what {
            What::Closed | What::Gone => known.into_iter().filter(there).collect(),
            _ => self.rules.receivers(&alert.tell).union(&known).cloned().collect(),
        };
        if alert.is_open() {
            if to.is_empty() {
                return None;
            }
            let worst = alert.told.as_ref().map_or((alert.state, alert.severity), |told| {
                (alert.state, alert.severity).max((told.state, told.severity))
            });
            alert.told = Some(Told { state: worst.0, severity: worst.1, to: to.clone(), at: now.wall });
            if alert.severity == Severity::Page {
                wake.at_wall(now, now.wall.plus(REMIND));
            }
        } else {
            alert.told = None;
            alert.told_closed_at = Some(now.wall);
        }
        alert.notices += 1;
        Some(Tell { what, alert: alert.clone(), to })
    }
}

fn update(alert: &mut Alert, rule: &Rule, trouble: &Trouble) {
    alert.state = rule.state;
    alert.severity = rule.severity;
    alert.tell.clone_from(&rule.tell);
    alert.summary.clone_from(&trouble.summary);
    alert.since = trouble.since;
}

/// The earliest of some times.
#[derive(Default)]
struct Wake(Option<Duration>);

impl Wake {
    fn at(&mut self, at: Duration) {
        self.0 = Some(self.0.map_or(at, |known| known.min(at)));
    }

    fn at_wall(&mut self, now: Now, at: Timestamp) {
        self.at(now.monotonic + at.since(now.wall));
    }
}
