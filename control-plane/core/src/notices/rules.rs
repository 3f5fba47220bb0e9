//! When something is worth telling: what `alert` objects say, and what holds
//! where they say nothing.

use super::{State, Subject};
use crate::applied::Applied;
use crate::brakes::ask;
use hostler_types::Name;
use hostler_types::spec::{AlertSpec, AlertState, Body, CheckSpec, Kind, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A host that reboots is back by then, and nobody was woken up.
pub const LOST_AFTER: Duration = Duration::from_secs(120);
/// A check that can't find out says nothing about its target yet; if that lasts,
/// nobody watches the target, and somebody should know.
const UNKNOWN_AFTER: Duration = Duration::from_secs(600);

/// A state that lasted for so long is told with this urgency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub state: State,
    pub for_: Duration,
    pub severity: Severity,
    /// Empty: the default notifiers.
    pub tell: BTreeSet<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    by_check: BTreeMap<Name, Vec<Rule>>,
    otherwise: Vec<Rule>,
    /// Whoever fails a check alone is known to be alone by then.
    alone_after: BTreeMap<Name, Duration>,
    node: Rule,
    cause: Rule,
    schedules: BTreeMap<Name, Rule>,
    notifiers: BTreeSet<Name>,
    defaults: BTreeSet<Name>,
}

fn rule(state: State, for_: Duration, severity: Severity) -> Rule {
    Rule { state, for_, severity, tell: BTreeSet::new() }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(&Applied::default(), LOST_AFTER)
    }
}

impl Rules {
    pub fn new(applied: &Applied, lost_after: Duration) -> Self {
        let otherwise = vec![
            rule(State::Critical, Duration::ZERO, Severity::Warn),
            rule(State::Unknown, UNKNOWN_AFTER, Severity::Warn),
        ];
        let mut by_check: BTreeMap<Name, Vec<Rule>> = BTreeMap::new();
        for one in applied.of_kind(Kind::Alert) {
            let Body::Alert(alert) = &one.object.body else { continue };
            for check in checks_of(alert, applied) {
                by_check.entry(check).or_default().push(written(alert));
            }
        }
        for rules in by_check.values_mut() {
            let silent = |other: &&Rule| !rules.iter().any(|rule| rule.state == other.state);
            let missing: Vec<Rule> = otherwise.iter().filter(silent).cloned().collect();
            rules.extend(missing);
        }
        let notifiers = applied.of_kind(Kind::Notifier);
        let (mut all, mut defaults) = (BTreeSet::new(), BTreeSet::new());
        for one in notifiers {
            let Body::Notifier(spec) = &one.object.body else { continue };
            all.insert(one.object.name.clone());
            if spec.default {
                defaults.insert(one.object.name.clone());
            }
        }
        let node = rule(State::Lost, lost_after, Severity::Page);
        // Healing waits for somebody to look.
        let cause = rule(State::Critical, Duration::ZERO, Severity::Page);
        let alone_after =
            |(check, spec): (&Name, &CheckSpec)| (check.clone(), ask::alone_after(spec.every.0, spec.timeout.0));
        let alone_after = applied.checks().map(alone_after).collect();
        let schedules = applied.of_kind(Kind::Schedule).filter_map(|one| match &one.object.body {
            Body::Schedule(spec) => {
                let tell = spec.tell.iter().map(|notifier| notifier.name.clone()).collect();
                Some((one.object.name.clone(), Rule { tell, ..rule(State::Critical, Duration::ZERO, Severity::Warn) }))
            }
            _ => None,
        });
        let schedules = schedules.collect();
        Self { by_check, otherwise, alone_after, node, cause, schedules, notifiers: all, defaults }
    }

    pub fn of(&self, subject: &Subject) -> &[Rule] {
        match subject {
            Subject::Fleet | Subject::Node(_) => std::slice::from_ref(&self.node),
            Subject::Cause(_) => std::slice::from_ref(&self.cause),
            Subject::Schedule(schedule) => self.schedules.get(schedule).map_or(&[], std::slice::from_ref),
            Subject::Check { check, .. } => self.by_check.get(check).unwrap_or(&self.otherwise),
        }
    }

    pub fn alone_after(&self, check: &Name) -> Duration {
        self.alone_after.get(check).copied().unwrap_or_default()
    }

    /// Those of the wanted notifiers that there are.
    pub fn receivers(&self, tell: &BTreeSet<Name>) -> BTreeSet<Name> {
        let wanted = if tell.is_empty() { &self.defaults } else { tell };
        wanted.intersection(&self.notifiers).cloned().collect()
    }

    pub fn defaults(&self) -> &BTreeSet<Name> {
        &self.defaults
    }

    pub fn notifiers(&self) -> &BTreeSet<Name> {
        &self.notifiers
    }

    pub fn lost_after(&self) -> Duration {
        self.node.for_
    }
}

/// An alert about a service is about its checks. What logs and metrics say is not
/// known here.
fn checks_of(alert: &AlertSpec, applied: &Applied) -> Vec<Name> {
    let of_service = |service: &Name| {
        let its = applied.checks().filter(|(_, check)| check.service.as_ref().is_some_and(|of| of.name == *service));
        its.map(|(name, _)| name.clone()).collect()
    };
    match (&alert.check, &alert.service) {
        (Some(check), _) => vec![check.name.clone()],
        (None, Some(service)) => of_service(&service.name),
        (None, None) => Vec::new(),
    }
}

fn written(alert: &AlertSpec) -> Rule {
    let state = match alert.state.unwrap_or(AlertState::Critical) {
        AlertState::Warning => State::Warning,
        AlertState::Critical => State::Critical,
        AlertState::Unknown => State::Unknown,
    };
    let tell = alert.tell.iter().map(|notifier| notifier.name.clone()).collect();
    Rule { state, for_: alert.for_.0, severity: alert.severity, tell }
}
