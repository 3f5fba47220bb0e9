//! From results to states: one bad result is an accident, several in a row are a
//! fact.

use hostler_types::{CheckAssignment, CheckState, Name, Now, Status, Timestamp, Transition};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Results in a row that it takes to get worse.
    pub fails: u32,
    /// Results in a row that it takes to get better.
    pub passes: u32,
    /// For how long after its start bad results leave a check `starting`.
    pub grace: Duration,
}

impl From<&CheckAssignment> for Rules {
    fn from(check: &CheckAssignment) -> Self {
        Self { fails: check.fails.max(1), passes: check.passes.max(1), grace: check.grace }
    }
}

/// What one run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    pub summary: String,
    pub details: String,
    pub took: Duration,
}

/// Where a check stood when it was last written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: CheckState,
    pub since: Timestamp,
    pub summary: String,
    /// It has been well since it was last changed itself.
    pub proven: bool,
}

#[derive(Clone, Debug)]
pub struct Health {
    check: Name,
    rules: Rules,
    started: Duration,
    state: CheckState,
    since: Timestamp,
    /// The summary of the last result, or the one written down before a restart.
    summary: String,
    last: Option<(Timestamp, Outcome)>,
    streaks: Streaks,
    /// Before then bad results do not count: what it looks at has just been started.
    forgiven_until: Duration,
    proven: bool,
}

/// Consecutive results, each counted against the present state.
#[derive(Clone, Copy, Debug, Default)]
struct Streaks {
    ok: u32,
    worse: u32,
    better: u32,
}

impl Health {
    pub fn new(now: Now, check: Name, rules: Rules, stood: Option<Standing>) -> Self {
        let stood = stood.unwrap_or(Standing {
            state: CheckState::Starting,
            since: now.wall,
            summary: String::new(),
            proven: false,
        });
        Self {
            check,
            rules,
            started: now.monotonic,
            state: stood.state,
            since: stood.since,
            summary: stood.summary,
            last: None,
            streaks: Streaks::default(),
            forgiven_until: Duration::ZERO,
            proven: stood.proven,
        }
    }

    /// Its own grace may be longer.
    pub fn forgive(&mut self, now: Now, until: Duration) {
        self.forgiven_until = until.max(now.monotonic.saturating_add(self.rules.grace));
        self.streaks = Streaks::default();
    }

    /// It has been well since it was last changed itself.
    pub fn proven(&self) -> bool {
        self.proven
    }

    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    pub fn state(&self) -> CheckState {
        self.state
    }

    pub fn since(&self) -> Timestamp {
        self.since
    }

    pub fn summary(&self) -> &str {
        &self.summary
    }

    pub fn last(&self) -> Option<(Timestamp, &Outcome)> {
        self.last.as_ref().map(|(at, outcome)| (*at, outcome))
    }

    pub fn standing(&self) -> Standing {
        Standing { state: self.state, since: self.since, summary: self.summary.clone(), proven: self.proven }
    }

    /// Takes one result; says so if the state changed by it.
    pub fn step(&mut self, now: Now, outcome: Outcome) -> Option<Transition> {
        let status = outcome.status;
        self.summary.clone_from(&outcome.summary);
        self.last = Some((now.wall, outcome));
        self.proven |= matches!(status, Status::Ok | Status::Warning);
        let starting =
            self.state == CheckState::Starting && now.monotonic.saturating_sub(self.started) < self.rules.grace;
        if status != Status::Ok && (starting || now.monotonic < self.forgiven_until) {
            self.streaks = Streaks::default();
            return None;
        }
        let to = CheckState::from(status);
        self.streaks.count(self.state, to);
        let (streak, needed) = self.evidence(to)?;
        if streak < needed {
            return None;
        }
        let transition = Transition {
            check: self.check.clone(),
            from: self.state,
            to,
            at: now.wall,
            summary: self.summary.clone(),
            streak,
            needed,
        };
        (self.state, self.since, self.streaks) = (to, now.wall, Streaks::default());
        Some(transition)
    }

    /// How many results speak for `to`, of how many needed; `None` where the
    /// check is already.
    fn evidence(&self, to: CheckState) -> Option<(u32, u32)> {
        let Streaks { ok, worse, better } = self.streaks;
        match (self.state, to) {
            (from, to) if from == to => None,
            (CheckState::Starting, CheckState::Passing) => Some((ok, 1)),
            (_, CheckState::Passing) => Some((ok, self.rules.passes)),
            (from, to) if is_worse(from, to) => Some((worse, self.rules.fails)),
            _ => Some((better, self.rules.passes)),
        }
    }
}

/// Anything but passing is worse than a check of which nothing is known yet.
fn is_worse(from: CheckState, to: CheckState) -> bool {
    to != CheckState::Passing && (from == CheckState::Starting || to.severity() > from.severity())
}

impl Streaks {
    fn count(&mut self, from: CheckState, to: CheckState) {
        let next = |streak: u32, goes_on: bool| if goes_on { streak.saturating_add(1) } else { 0 };
        self.ok = next(self.ok, to == CheckState::Passing);
        self.worse = next(self.worse, is_worse(from, to));
        self.better = next(self.better, from != CheckState::Starting && to.severity() < from.severity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules { fails: 3, passes: 2, grace: Duration::ZERO };

    fn start() -> Now {
        Now { monotonic: Duration::from_secs(10), wall: Timestamp::from_millis(1_000_000) }
    }

    fn health(rules: Rules) -> Health {
        Health::new(start(), Name::new("site").expect("a name"), rules, None)
    }

    fn outcome(status: Status) -> Outcome {
        Outcome { status, summary: status.word().into(), details: String::new(), took: Duration::ZERO }
    }

    fn status(letter: char) -> Status {
        match letter {
            'o' => Status::Ok,
            'w' => Status::Warning,
            'c' => Status::Critical,
            _ => Status::Unknown,
        }
    }

    /// One letter a result, one second apart: where it stands after each.
    fn check(rules: Rules, results: &str, expect: &str) {
        let mut health = health(rules);
        let mut now = start();
        let mut states = String::new();
        for letter in results.chars() {
            now = now.plus(Duration::from_secs(1));
            health.step(now, outcome(status(letter)));
            states.push(health.state().word().chars().next().expect("a word"));
        }
        assert_eq!(states, expect, "{results}");
    }

    #[test]
    fn thresholds_are_results_in_a_row() {
        check(RULES, "occcoo", "pppccp");
        check(RULES, "occoccc", "ppppppc");
        check(RULES, "cccoo", "ssccp");
        check(RULES, "cco", "ssp");
        // Worse takes `fails`, better takes `passes`.
        check(RULES, "owwwccc", "pppwwwc");
        check(RULES, "occcwwoo", "pppccwwp");
        check(RULES, "owcwc", "pppww");
        check(RULES, "ouuuo", "pppuu");
        check(Rules { fails: 1, passes: 1, ..RULES }, "cowuc", "cpwuc");
    }

    #[test]
    fn within_its_grace_nothing_bad_counts() {
        let rules = Rules { grace: Duration::from_secs(4), ..RULES };
        check(rules, "cccccc", "sssssc");
        check(rules, "ccoccc", "sspppc");
    }

    #[test]
    fn a_transition_says_how_it_came_about() {
        let mut health = health(RULES);
        let first = health.step(start(), outcome(Status::Ok)).expect("passing at once");
        assert_eq!(
            (first.from, first.to, first.streak, first.needed),
            (CheckState::Starting, CheckState::Passing, 1, 1)
        );
        assert_eq!(health.step(start(), outcome(Status::Critical)), None);
        assert_eq!(health.step(start(), outcome(Status::Critical)), None);
        let third = health.step(start().plus(Duration::from_secs(9)), outcome(Status::Critical)).expect("critical");
        assert_eq!(third.to_string(), "passing -> critical: critical (3 of 3)");
        assert_eq!(health.since(), third.at);
    }

    #[test]
    fn a_check_goes_on_where_it_stood() {
        let stood = Standing {
            state: CheckState::Critical,
            since: Timestamp::from_millis(7),
            summary: "503".into(),
            proven: true,
        };
        let mut health = Health::new(start(), Name::new("site").expect("a name"), RULES, Some(stood.clone()));
        assert_eq!(health.standing(), stood);
        assert_eq!(health.step(start(), outcome(Status::Critical)), None);
        assert_eq!(health.since(), Timestamp::from_millis(7));
        assert_eq!(health.step(start(), outcome(Status::Ok)), None);
        assert!(health.step(start(), outcome(Status::Ok)).is_some_and(|one| one.from == CheckState::Critical));
    }

    #[test]
    fn what_was_just_started_is_forgiven_for_a_while() {
        let mut health = health(RULES);
        health.step(start(), outcome(Status::Ok));
        assert!(health.proven());
        health.step(start(), outcome(Status::Critical));
        health.forgive(start(), start().monotonic + Duration::from_secs(30));
        for second in 1..33 {
            health.step(start().plus(Duration::from_secs(second)), outcome(Status::Critical));
            let critical = health.state() == CheckState::Critical;
            assert_eq!(critical, second >= 32, "after {second} s");
        }
    }

    proptest! {
        /// Transitions chain: each begins where the last ended, none goes nowhere,
        /// and none comes with less evidence than it needs.
        #[test]
        fn transitions_chain(results in "[owcu]{1,200}", fails in 1u32..5, passes in 1u32..5, grace in 0u64..20) {
            let rules = Rules { fails, passes, grace: Duration::from_secs(grace) };
            let mut health = health(rules);
            let mut now = start();
            let mut at = CheckState::Starting;
            let mut since_change = 0u32;
            for letter in results.chars() {
                now = now.plus(Duration::from_secs(1));
                since_change += 1;
                if let Some(transition) = health.step(now, outcome(status(letter))) {
                    prop_assert_eq!(transition.from, at);
                    prop_assert_ne!(transition.to, at);
                    prop_assert_eq!(transition.to, CheckState::from(status(letter)));
                    prop_assert!(transition.streak >= transition.needed && transition.streak <= since_change);
                    at = transition.to;
                    since_change = 0;
                }
                prop_assert_eq!(health.state(), at);
            }
        }

        /// Enough bad results in a row always show.
        #[test]
        fn failing_long_enough_is_never_passing(before in "[owcu]{0,50}", bad in "[wcu]{5,10}", fails in 1u32..5) {
            let mut health = health(Rules { fails, passes: 2, grace: Duration::ZERO });
            for letter in before.chars().chain(bad.chars()) {
                health.step(start(), outcome(status(letter)));
            }
            prop_assert_ne!(health.state(), CheckState::Passing);
            prop_assert_ne!(health.state(), CheckState::Starting);
        }
    }
}
