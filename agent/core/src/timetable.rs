//! When each check runs.
//!
//! Every node has a phase of its own, so that a fleet does not ask one server all
//! at once. Those of one turn share a wake-up: for a check that takes 25 us, waking a
//! processor that sleeps is most of the cost. The checks of a usual host share one;
//! those of a host with many take a few turns an interval, so that it does not run all
//! at once, and there those of one plugin share a turn, and so what it reads of the
//! host. A run that is still going when the next is due is
//! not stacked: the due one is skipped and counted.

use crate::hash::fnv1a;
use hostler_types::{CheckAssignment, Name, NodeId, Now};
use std::collections::BTreeMap;
use std::time::Duration;

/// Checks due within it share one wake-up of the processor.
pub const WAKE_TOGETHER: Duration = Duration::from_millis(100);
/// In each interval at most, from a hash of the plugin's name.
const TURNS_MAX: u64 = 4;
/// For each so many of the host's checks there is a turn.
const A_TURNS_CHECKS: u64 = 24;
/// What is more of one plugin is spread over several turns.
const TOGETHER_MAX: u64 = 8;
/// A new check says something soon, however seldom it runs.
pub const FIRST_RUN_MAX: Duration = Duration::from_secs(2);
/// Below it a check would do little but be scheduled; specs ask for a second at least.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// Tells a run from an earlier one of the same check.
pub type RunId = u64;

#[derive(Clone, Debug)]
pub enum Input {
    /// All checks, as they should be from now on.
    Configure(Vec<CheckAssignment>),
    /// Time passed: see [`Timetable::next_deadline`].
    Tick,
    Finished {
        check: Name,
        run: RunId,
    },
    /// What a check waited for is there: run it now, not at its next turn.
    Soon(Name),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Run {
        check: Name,
        run: RunId,
    },
    /// A new check, or one with another target: what was known of it is void.
    Begin {
        check: Name,
    },
    /// Same target, other numbers.
    Adjust {
        check: Name,
    },
    End {
        check: Name,
    },
    Skipped {
        check: Name,
        runs: u64,
    },
}

#[derive(Debug)]
struct Entry {
    assignment: CheckAssignment,
    phase: Duration,
    due: Duration,
    running: Option<RunId>,
    overruns: u64,
}

#[derive(Debug)]
pub struct Timetable {
    node: NodeId,
    checks: BTreeMap<Name, Entry>,
    runs: RunId,
}

impl Timetable {
    pub fn new(node: NodeId) -> Self {
        Self { node, checks: BTreeMap::new(), runs: 0 }
    }

    pub fn assignment(&self, check: &Name) -> Option<&CheckAssignment> {
        self.checks.get(check).map(|entry| &entry.assignment)
    }

    pub fn overruns(&self, check: &Name) -> u64 {
        self.checks.get(check).map_or(0, |entry| entry.overruns)
    }

    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Whether this run's result still counts.
    pub fn is_current(&self, check: &Name, run: RunId) -> bool {
        self.checks.get(check).is_some_and(|entry| entry.running == Some(run))
    }

    /// The last moment that serves all checks due within [`WAKE_TOGETHER`] of the
    /// first one.
    pub fn next_deadline(&self) -> Option<Duration> {
        let first = self.checks.values().map(|entry| entry.due).min()?;
        let together = first.saturating_add(WAKE_TOGETHER);
        self.checks.values().map(|entry| entry.due).filter(|due| *due <= together).max()
    }

    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        match input {
            Input::Configure(checks) => self.configure(now.monotonic, checks),
            Input::Tick => self.tick(now.monotonic),
            Input::Finished { check, run } => {
                if let Some(entry) = self.checks.get_mut(&check).filter(|entry| entry.running == Some(run)) {
                    entry.running = None;
                }
                Vec::new()
            }
            Input::Soon(check) => {
                if let Some(entry) = self.checks.get_mut(&check).filter(|entry| entry.running.is_none()) {
                    entry.due = now.monotonic;
                }
                self.tick(now.monotonic)
            }
        }
    }

    fn configure(&mut self, now: Duration, checks: Vec<CheckAssignment>) -> Vec<Effect> {
        let mut before = std::mem::take(&mut self.checks);
        let mut effects = Vec::new();
        let mut alike: BTreeMap<Name, u64> = BTreeMap::new();
        for assignment in &checks {
            *alike.entry(assignment.plugin.clone()).or_default() += 1;
        }
        let turns = (checks.len() as u64).div_ceil(A_TURNS_CHECKS).clamp(1, TURNS_MAX);
        for assignment in checks {
            let name = assignment.name.clone();
            if self.checks.contains_key(&name) {
                continue;
            }
            let every = assignment.every.max(EVERY_MIN);
            let alike = alike.get(&assignment.plugin).copied().unwrap_or_default();
            let turn = turn(&self.node, &name, &assignment.plugin, alike, turns);
            let phase = phase(&self.node, every, turn, turns);
            let entry = match before.remove(&name) {
                Some(old) if old.assignment == assignment => old,
                Some(old) if old.assignment.same_target(&assignment) => {
                    effects.push(Effect::Adjust { check: name.clone() });
                    let due = old.due.min(next_on_grid(phase, every, now));
                    Entry { assignment, phase, due, ..old }
                }
                _ => {
                    effects.push(Effect::Begin { check: name.clone() });
                    let due = now.saturating_add(first_delay(phase, every));
                    Entry { assignment, phase, due, running: None, overruns: 0 }
                }
            };
            self.checks.insert(name, entry);
        }
        effects.extend(before.into_keys().map(|check| Effect::End { check }));
        effects
    }

    fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (name, entry) in self.checks.iter_mut().filter(|(_, entry)| entry.due <= now) {
            let every = entry.assignment.every.max(EVERY_MIN);
            // Whole turns that passed while nobody looked: a suspended host.
            let missed = now.saturating_sub(entry.due).as_nanos() / every.as_nanos().max(1);
            let mut skipped = u64::try_from(missed).unwrap_or(u64::MAX);
            // The first run is off the grid; the second should not follow it at once.
            entry.due = next_on_grid(entry.phase, every, now.saturating_add(every / 2));
            if entry.running.is_some() {
                skipped = skipped.saturating_add(1);
            } else {
                self.runs += 1;
                entry.running = Some(self.runs);
                effects.push(Effect::Run { check: name.clone(), run: self.runs });
            }
            if skipped > 0 {
                entry.overruns = entry.overruns.saturating_add(skipped);
                effects.push(Effect::Skipped { check: name.clone(), runs: skipped });
            }
        }
        effects
    }
}

/// `alike` are the host's checks by that plugin.
fn turn(node: &NodeId, check: &Name, plugin: &Name, alike: u64, turns: u64) -> u64 {
    let spread = fnv1a(&[node.as_str(), check.as_str()]) % alike.div_ceil(TOGETHER_MAX).max(1);
    (fnv1a(&[node.as_str(), plugin.as_str()]) % turns + spread) % turns
}

fn phase(node: &NodeId, every: Duration, turn: u64, turns: u64) -> Duration {
    let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    let offset = fnv1a(&[node.as_str()]) % every_ms;
    Duration::from_millis(offset.saturating_add(every_ms / turns * turn) % every_ms)
}

fn first_delay(phase: Duration, every: Duration) -> Duration {
    let span = every.min(FIRST_RUN_MAX);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis(phase) % millis(span).max(1))
}

/// The first turn after `after`.
fn next_on_grid(phase: Duration, every: Duration, after: Duration) -> Duration {
    if after < phase {
        return phase;
    }
    let every_ns = every.as_nanos().max(1);
    let turns = after.saturating_sub(phase).as_nanos() / every_ns + 1;
    let nanos = phase.as_nanos().saturating_add(turns.saturating_mul(every_ns));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node() -> NodeId {
        NodeId::from_random([7; 10])
    }

    fn assignment(name: &str, every_ms: u64) -> CheckAssignment {
        CheckAssignment {
            name: Name::new(name).expect("a name"),
            plugin: Name::new("http").expect("a name"),
            every: Duration::from_millis(every_ms),
            timeout: Duration::from_secs(5),
            config_json: "{}".into(),
            fails: 3,
            passes: 2,
            grace: Duration::ZERO,
        }
    }

    fn at(millis: u64) -> Now {
        Now { monotonic: Duration::from_millis(millis), ..Now::default() }
    }

    fn runs(effects: &[Effect]) -> Vec<(Name, RunId)> {
        effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Run { check, run } => Some((check.clone(), *run)),
                _ => None,
            })
            .collect()
    }

    /// Runs the table by its own deadlines until `until`, each run taking `takes`.
    fn drive(table: &mut Timetable, from: u64, until: u64, takes: u64) -> Vec<(u64, Name)> {
        let mut seen = Vec::new();
        let mut finishing: Vec<(u64, Name, RunId)> = Vec::new();
        let mut now = from;
        loop {
            let due = table.next_deadline().map_or(u64::MAX, |due| due.as_millis() as u64).max(now);
            let done = finishing.iter().map(|one| one.0).min().unwrap_or(u64::MAX);
            now = due.min(done);
            if now > until {
                return seen;
            }
            for (_, check, run) in finishing.extract_if(.., |one| one.0 <= now) {
                table.step(at(now), Input::Finished { check, run });
            }
            for (check, run) in runs(&table.step(at(now), Input::Tick)) {
                seen.push((now, check.clone()));
                finishing.push((now + takes, check, run));
            }
        }
    }

    #[test]
    fn runs_come_at_their_interval() {
        let mut table = Timetable::new(node());
        table.step(at(500), Input::Configure(vec![assignment("disk", 5_000)]));
        let seen = drive(&mut table, 500, 60_000, 10);
        assert!(seen[0].0 < 2_500, "first at {}", seen[0].0);
        let gaps: Vec<u64> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!((2_500..=7_500).contains(&gaps[0]), "{gaps:?}");
        assert!(gaps[1..].iter().all(|gap| *gap == 5_000), "{gaps:?}");
    }

    #[test]
    fn checks_of_one_interval_share_a_few_wake_ups() {
        for (count, turns) in [(1, 1), (24, 1), (25, 2), (96, 4), (200, 4)] {
            let mut table = Timetable::new(node());
            let checks = (0..count).map(|index| assignment(&format!("c{index}"), 10_000)).collect();
            table.step(at(0), Input::Configure(checks));
            let seen = drive(&mut table, 0, 100_000, 1);
            let within = |time: &u64| (50_000..60_000).contains(time);
            let settled: Vec<u64> = seen.iter().map(|one| one.0).filter(within).collect();
            assert_eq!(settled.len(), count);
            let wake_ups: std::collections::BTreeSet<u64> = settled.into_iter().collect();
            assert_eq!(wake_ups.len(), turns, "{count}: {wake_ups:?}");
        }
    }

    #[test]
    fn the_few_checks_of_one_plugin_share_a_turn() {
        let mut table = Timetable::new(node());
        let mut checks: Vec<CheckAssignment> = (0..8).map(|index| assignment(&format!("c{index}"), 10_000)).collect();
        checks.extend((0..88).map(|index| {
            let plugin = Name::new(format!("p{index}")).expect("a name");
            CheckAssignment { plugin, ..assignment(&format!("other{index}"), 10_000) }
        }));
        table.step(at(0), Input::Configure(checks));
        let seen = drive(&mut table, 0, 100_000, 1);
        let wake_ups = |of: &str| -> std::collections::BTreeSet<u64> {
            let of =
                seen.iter().filter(|(time, name)| (50_000..60_000).contains(time) && name.as_str().starts_with(of));
            of.map(|one| one.0).collect()
        };
        assert_eq!(wake_ups("c").len(), 1);
        assert!(wake_ups("other").len() > 1);
    }

    #[test]
    fn an_overrun_is_skipped_and_counted() {
        let mut table = Timetable::new(node());
        table.step(at(0), Input::Configure(vec![assignment("slow", 1_000)]));
        let seen = drive(&mut table, 0, 20_000, 2_500);
        assert!((6..=8).contains(&seen.len()), "{seen:?}");
        let slow = Name::new("slow").expect("a name");
        let skipped = table.overruns(&slow);
        assert!((11..=14).contains(&skipped), "{skipped}");
    }

    #[test]
    fn a_suspended_host_runs_once_and_counts_the_rest() {
        let mut table = Timetable::new(node());
        table.step(at(0), Input::Configure(vec![assignment("disk", 1_000)]));
        drive(&mut table, 0, 10_000, 1);
        let effects = table.step(at(70_000), Input::Tick);
        assert_eq!(runs(&effects).len(), 1);
        let missed = table.overruns(&Name::new("disk").expect("a name"));
        assert!((58..=60).contains(&missed), "{missed}");
    }

    #[test]
    fn same_target_keeps_its_place_and_another_begins_anew() {
        let mut table = Timetable::new(node());
        let disk = assignment("disk", 5_000);
        assert_eq!(
            table.step(at(0), Input::Configure(vec![disk.clone()])),
            [Effect::Begin { check: disk.name.clone() }]
        );
        let started = runs(&table.step(at(2_000), Input::Tick));
        let (check, run) = started[0].clone();
        assert_eq!(table.step(at(2_100), Input::Configure(vec![disk.clone()])), []);
        assert!(table.is_current(&check, run));
        let slower = CheckAssignment { fails: 9, ..disk.clone() };
        assert_eq!(table.step(at(2_100), Input::Configure(vec![slower])), [Effect::Adjust { check: check.clone() }]);
        assert!(table.is_current(&check, run));
        let other = CheckAssignment { config_json: "{\"path\":\"/\"}".into(), ..disk };
        assert_eq!(table.step(at(2_100), Input::Configure(vec![other])), [Effect::Begin { check: check.clone() }]);
        assert!(!table.is_current(&check, run));
        assert_eq!(table.step(at(2_100), Input::Configure(vec![])), [Effect::End { check }]);
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn what_a_check_waited_for_makes_it_run_at_once() {
        let mut table = Timetable::new(node());
        let daily = assignment("daily", 86_400_000);
        table.step(at(0), Input::Configure(vec![daily.clone()]));
        let (check, run) = runs(&table.step(at(2_000), Input::Tick))[0].clone();
        assert!(runs(&table.step(at(2_500), Input::Soon(check.clone()))).is_empty());
        table.step(at(2_600), Input::Finished { check: check.clone(), run });
        assert_eq!(runs(&table.step(at(3_000), Input::Soon(check))).len(), 1);
    }

    proptest! {
        #[test]
        fn wake_ups_are_shared_and_nobody_waits_long(
            everies in prop::collection::vec(1_000u64..8_000, 1..12),
        ) {
            let mut table = Timetable::new(node());
            let checks = everies.iter().enumerate().map(|(i, every)| assignment(&format!("c{i}"), *every)).collect();
            table.step(at(0), Input::Configure(checks));
            let mut last = None;
            for _ in 0..200 {
                let first = table.checks.values().map(|entry| entry.due).min().expect("checks");
                let deadline = table.next_deadline().expect("checks");
                prop_assert!(deadline >= first && deadline - first <= WAKE_TOGETHER);
                prop_assert!(last.is_none_or(|last| deadline > last));
                last = Some(deadline);
                for (check, run) in runs(&table.step(Now { monotonic: deadline, ..Now::default() }, Input::Tick)) {
                    table.step(Now { monotonic: deadline, ..Now::default() }, Input::Finished { check, run });
                }
                prop_assert!(table.checks.values().all(|entry| entry.due > deadline));
            }
            prop_assert!(table.checks.values().all(|entry| entry.overruns == 0));
        }

        /// Runs and skips together are all the turns there were.
        #[test]
        fn no_turn_is_lost(every in 1_000u64..5_000, takes in 0u64..12_000) {
            let mut table = Timetable::new(node());
            table.step(at(0), Input::Configure(vec![assignment("c", every)]));
            let until = every * 40;
            let seen = drive(&mut table, 0, until, takes).len() as u64;
            let all = seen + table.overruns(&Name::new("c").expect("a name"));
            prop_assert!((38..=42).contains(&all), "{all}");
        }

        #[test]
        fn the_first_run_comes_soon(every in 1_000u64..10_000_000, name in "[a-z]{1,12}x") {
            let mut table = Timetable::new(node());
            table.step(at(1_234), Input::Configure(vec![assignment(&name, every)]));
            let first = table.next_deadline().expect("a check");
            prop_assert!(first < Duration::from_millis(1_234 + every.min(2_000)));
        }
    }
}
