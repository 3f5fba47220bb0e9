//! The checks of this node, without any IO: timetable and health side by side,
//! and how they show. The bench drives this with a clock of its own.

use super::{Ended, log_sink, outcome};
use crate::standing::Standings;
use crate::vault::Vault;
use crate::view::{CheckSeen, View};
use hostler_agent_core::health::{Health, Rules};
use hostler_agent_core::quarantine::{BREAKS, Change, Quarantine};
use hostler_agent_core::supervision::Checked;
use hostler_agent_core::timetable::{Effect, Input, RunId, Timetable};
use hostler_plugin_host::{Fault, LogSink};
use hostler_types::{CheckAssignment, CheckState, Name, NodeId, Now, Status, Transition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A run that is due.
pub struct Order {
    pub check: Name,
    pub plugin: Name,
    pub run: RunId,
    pub config: Arc<str>,
    pub timeout: Duration,
    pub log: LogSink,
}

/// A result that counted.
pub struct Counted {
    pub check: Name,
    pub transition: Option<Transition>,
    /// For whoever looks after a service by it.
    pub checked: Checked,
    /// What happened to its plugin here.
    pub news: Option<String>,
}

struct Watched {
    health: Health,
    quarantine: Quarantine,
    /// Its last run gave a report.
    worked: bool,
    config: Arc<str>,
    log: LogSink,
}

pub struct Watch {
    timetable: Timetable,
    watched: BTreeMap<Name, Watched>,
    standings: Standings,
    /// Checks whose plugin is not there yet.
    waiting: BTreeSet<Name>,
    vault: Arc<Vault>,
}

impl Watch {
    pub fn new(node: NodeId, standings: Standings, vault: &Arc<Vault>) -> Self {
        Self {
            timetable: Timetable::new(node),
            watched: BTreeMap::new(),
            standings,
            waiting: BTreeSet::new(),
            vault: Arc::clone(vault),
        }
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.timetable.next_deadline()
    }

    pub fn standings(&self) -> Standings {
        self.standings.clone()
    }

    /// Whether what is on disk is not right any more.
    pub fn configure(&mut self, now: Now, checks: &[CheckAssignment], view: &View) -> bool {
        let effects = self.timetable.step(now, Input::Configure(checks.to_vec()));
        let mut stale = false;
        for effect in effects {
            match effect {
                Effect::Begin { check } => {
                    self.begin(now, &check, view);
                    stale = true;
                }
                Effect::Adjust { check } => {
                    if let (Some(watched), Some(assignment)) =
                        (self.watched.get_mut(&check), self.timetable.assignment(&check))
                    {
                        watched.health.set_rules(Rules::from(assignment));
                    }
                }
                Effect::End { check } => {
                    self.watched.remove(&check);
                    self.waiting.remove(&check);
                    stale |= self.standings.remove(&check);
                    view.lock().checks.remove(&check);
                }
                Effect::Run { .. } | Effect::Skipped { .. } => {}
            }
        }
        stale
    }

    fn begin(&mut self, now: Now, check: &Name, view: &View) {
        let Some(assignment) = self.timetable.assignment(check) else { return };
        let stood = self.standings.get(assignment);
        let health = Health::new(now, check.clone(), Rules::from(assignment), stood);
        self.standings.set(assignment, health.standing());
        let seen = CheckSeen::new(check, assignment.plugin.clone(), CheckState::Starting);
        let config = Arc::from(assignment.config_json.as_str());
        self.watched.insert(
            check.clone(),
            Watched {
                health,
                quarantine: Quarantine::default(),
                worked: false,
                config,
                log: log_sink(check, &self.vault),
            },
        );
        self.waiting.remove(check);
        view.lock().checks.insert(check.clone(), seen);
        self.show(check, view);
    }

    pub fn due(&mut self, now: Now) -> Vec<Order> {
        if self.timetable.next_deadline().is_none_or(|due| due > now.monotonic) {
            return Vec::new();
        }
        let effects = self.timetable.step(now, Input::Tick);
        let orders = self.orders(effects);
        orders.into_iter().filter_map(|order| self.unless_quarantined(now, order)).collect()
    }

    /// A run that is left out is no result.
    fn unless_quarantined(&mut self, now: Now, order: Order) -> Option<Order> {
        if !self.watched.get(&order.check).is_some_and(|watched| watched.quarantine.holds(now)) {
            return Some(order);
        }
        self.timetable.step(now, Input::Finished { check: order.check, run: order.run });
        None
    }

    /// It is wanted before its turn.
    pub fn probe(&mut self, now: Now, check: Name) -> Vec<Order> {
        let effects = self.timetable.step(now, Input::Soon(check));
        self.orders(effects)
    }

    pub fn forgive(&mut self, now: Now, check: &Name, until: Duration) {
        if let Some(watched) = self.watched.get_mut(check) {
            watched.health.forgive(now, until);
        }
    }

    /// A plugin's checks whose last run was fine.
    pub fn worked(&self, plugin: &Name) -> Vec<Name> {
        let of_plugin = |check: &Name| self.timetable.assignment(check).is_some_and(|one| one.plugin == *plugin);
        let worked = self.watched.iter().filter(|(check, watched)| watched.worked && of_plugin(check));
        worked.map(|(check, _)| check.clone()).collect()
    }

    /// Its run said nothing: another one now.
    pub fn again(&mut self, now: Now, ended: &Ended) -> Vec<Order> {
        if !self.timetable.is_current(&ended.check, ended.run) {
            return Vec::new();
        }
        self.timetable.step(now, Input::Finished { check: ended.check.clone(), run: ended.run });
        let effects = self.timetable.step(now, Input::Soon(ended.check.clone()));
        self.orders(effects)
    }

    fn orders(&self, effects: Vec<Effect>) -> Vec<Order> {
        let order = |effect| {
            let Effect::Run { check, run } = effect else { return None };
            let (assignment, watched) = (self.timetable.assignment(&check)?, self.watched.get(&check)?);
            Some(Order {
                plugin: assignment.plugin.clone(),
                run,
                config: Arc::clone(&watched.config),
                timeout: assignment.timeout,
                log: Arc::clone(&watched.log),
                check,
            })
        };
        effects.into_iter().filter_map(order).collect()
    }

    /// Its plugin is not there yet: that is no result.
    pub fn postpone(&mut self, now: Now, order: &Order) {
        self.timetable.step(now, Input::Finished { check: order.check.clone(), run: order.run });
        self.waiting.insert(order.check.clone());
    }

    /// Runs of those that waited, as far as their plugin is there now.
    pub fn plugins_changed(&mut self, now: Now, coming: impl Fn(&Name) -> bool) -> Vec<Order> {
        let there: Vec<Name> = self
            .waiting
            .iter()
            .filter(|check| self.timetable.assignment(check).is_none_or(|one| !coming(&one.plugin)))
            .cloned()
            .collect();
        let mut orders = Vec::new();
        for check in there {
            self.waiting.remove(&check);
            let effects = self.timetable.step(now, Input::Soon(check));
            orders.extend(self.orders(effects));
        }
        orders
    }

    /// Judges a result. `None` for one that does not count any more.
    pub fn ended(&mut self, now: Now, ended: Ended, view: &View) -> Option<Counted> {
        let Ended { check, run, result, .. } = ended;
        if !self.timetable.is_current(&check, run) {
            return None;
        }
        self.timetable.step(now, Input::Finished { check: check.clone(), run });
        let dropped = result.as_ref().map_or(0, |run| u64::from(run.bill.log_lines_dropped));
        let fault = result.as_ref().map_or(true, |run| run.outcome.is_err());
        let broke = result.as_ref().is_ok_and(|run| run.outcome.as_ref().is_err_and(Fault::is_the_plugins));
        let outcome = outcome(&result);
        let assignment = self.timetable.assignment(&check)?;
        {
            let mut view = view.lock();
            let counts = &mut view.counts;
            counts.runs += 1;
            counts.log_lines_dropped += dropped;
            counts.faults += u64::from(fault);
            if let Ok(run) = result {
                match counts.bills.get_mut(&assignment.plugin) {
                    Some(bill) => bill.add(&run.bill, fault),
                    None => counts.bills.entry(assignment.plugin.clone()).or_default().add(&run.bill, fault),
                }
                if let Some(seen) = view.checks.get_mut(&check) {
                    seen.samples = run.samples;
                }
            }
        }
        let began = now.monotonic.saturating_sub(outcome.took);
        let good = matches!(outcome.status, Status::Ok | Status::Warning);
        let watched = self.watched.get_mut(&check)?;
        watched.worked = !fault;
        let news = watched.quarantine.ran(now, broke).map(|change| match change {
            Change::Entered => format!(
                "plugin {} broke {BREAKS} times in a row here and is run less often until it works: {}",
                assignment.plugin, outcome.summary
            ),
            Change::Left => format!("plugin {} works again here", assignment.plugin),
        });
        let transition = watched.health.step(now, outcome);
        if transition.is_some() {
            self.standings.set(assignment, watched.health.standing());
        }
        let health = &watched.health;
        let (state, proven, summary) = (health.state(), health.proven(), health.summary().to_owned());
        let checked = Checked { check: check.clone(), good, state, summary, began, proven };
        Some(Counted { check, transition, checked, news })
    }

    /// Brings the view up to date with one check.
    pub fn show(&self, check: &Name, view: &View) {
        let Some(Watched { health, .. }) = self.watched.get(check) else { return };
        let overruns = self.timetable.overruns(check);
        let mut view = view.lock();
        let Some(seen) = view.checks.get_mut(check) else { return };
        seen.state = health.state();
        let before = seen.report.overruns;
        let report = &mut seen.report;
        set(&mut report.state, health.state().word());
        report.since_ms = health.since().as_millis();
        set(&mut report.summary, health.summary());
        report.overruns = overruns;
        if let Some((at, outcome)) = health.last() {
            report.last_run_ms = at.as_millis();
            set(&mut report.status, Status::word(outcome.status));
            set(&mut report.details, &outcome.details);
            report.duration_us = u64::try_from(outcome.took.as_micros()).unwrap_or(u64::MAX);
        }
        seen.changed();
        view.counts.overruns += overruns.saturating_sub(before);
    }
}

/// Keeps the allocation: this happens at every run.
fn set(field: &mut String, text: &str) {
    if field != text {
        field.clear();
        field.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::Timestamp;

    fn assignment(name: &str) -> CheckAssignment {
        CheckAssignment {
            name: Name::new(name).expect("a name"),
            plugin: Name::new("http").expect("a name"),
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            config_json: "{}".into(),
            fails: 2,
            passes: 1,
            grace: Duration::ZERO,
        }
    }

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), wall: Timestamp::from_millis(1_000_000 + seconds * 1_000) }
    }

    fn watch(folder: &std::path::Path) -> Watch {
        Watch::new(
            NodeId::from_random([1; 10]),
            Standings::open(folder, &BTreeMap::new()),
            &Vault::open(folder).expect("opens"),
        )
    }

    fn fail(watch: &mut Watch, view: &View, order: Order, now: Now) -> Option<Transition> {
        let ended = Ended { check: order.check, run: order.run, result: Err("broke".into()), ran: None };
        let counted = watch.ended(now, ended, view).expect("counts");
        watch.show(&counted.check, view);
        counted.transition
    }

    #[test]
    fn waiting_for_a_plugin_is_no_result() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut watch, view) = (watch(folder.path()), View::default());
        assert!(watch.configure(at(0), &[assignment("site")], &view));
        let order = watch.due(at(2)).pop().expect("due");
        watch.postpone(at(2), &order);
        assert!(watch.plugins_changed(at(3), |_| true).is_empty());
        assert_eq!(view.lock().counts.runs, 0);
        let order = watch.plugins_changed(at(3), |_| false).pop().expect("runs at once");
        assert_eq!(fail(&mut watch, &view, order, at(3)), None);
        assert_eq!(view.lock().checks.values().next().map(|seen| seen.state), Some(CheckState::Starting));
    }

    #[test]
    fn a_check_goes_on_after_a_restart_and_anew_with_another_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut first, view) = (watch(folder.path()), View::default());
        let mut check = assignment("site");
        first.configure(at(0), std::slice::from_ref(&check), &view);
        for (now, changes) in [(2, false), (10, true)] {
            let order = first.due(at(now)).pop().expect("due");
            assert_eq!(fail(&mut first, &view, order, at(now)).is_some(), changes);
        }
        first.standings().save(7).expect("saved");

        let (mut second, view) = (watch(folder.path()), View::default());
        second.configure(at(20), std::slice::from_ref(&check), &view);
        let report = view.lock().all_reports().pop().expect("one");
        assert_eq!((report.state.as_str(), report.since_ms, report.last_run_ms), ("unknown", 1_010_000, 0));
        check.config_json = "{\"url\":1}".into();
        second.configure(at(21), std::slice::from_ref(&check), &view);
        assert_eq!(view.lock().all_reports().pop().map(|one| one.state), Some("starting".into()));
        assert!(second.configure(at(22), &[], &view));
        assert!(view.lock().checks.is_empty());
    }
}
