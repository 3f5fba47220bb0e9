#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::ask::{Answer, Budget, Question, WAIT_MAX, answer, most_down};
use super::causes::{Causes, Effect, Input, NODES_MIN, PERCENT_MIN, RECOUNT, RELEASE, Standing, WINDOW, threshold};
use super::*;
use hostler_types::Now;
use hostler_types::spec::Amount;
use hostler_types::units::parse_share;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::from_random([number; 10])
}

/// 14:02 UTC.
fn start() -> Now {
    Now { monotonic: Duration::from_secs(5), wall: Timestamp::from_millis(1_772_373_720_000) }
}

/// One check, and what became of it.
struct Fleet {
    now: Now,
    causes: Causes,
    effects: Vec<Effect>,
}

impl Fleet {
    fn of(nodes: u8) -> Self {
        let mut fleet = Self { now: start(), causes: Causes::default(), effects: Vec::new() };
        fleet.nodes(nodes);
        fleet
    }

    fn input(&mut self, input: Input) {
        self.effects.extend(self.causes.step(self.now, input));
    }

    fn nodes(&mut self, nodes: u8) {
        let all: BTreeSet<NodeId> = (0..nodes).map(node).collect();
        self.input(Input::Nodes(BTreeMap::from([(name("web"), all)])));
    }

    fn fails(&mut self, number: u8) {
        self.input(Input::Failing { check: name("web"), node: node(number), before: Duration::ZERO });
    }

    fn passes(&mut self, number: u8) {
        self.input(Input::Well { check: name("web"), node: node(number) });
    }

    /// As a shell's timer would.
    fn pass(&mut self, span: Duration) {
        let end = self.now.plus(span);
        while let Some(at) = self.causes.next_deadline().filter(|at| *at <= end.monotonic) {
            self.now = self.now.plus(at.saturating_sub(self.now.monotonic));
            self.input(Input::Tick);
        }
        self.now = self.now.plus(end.monotonic.saturating_sub(self.now.monotonic));
    }

    fn is_held(&self) -> bool {
        let last = self.effects.iter().rev().find(|one| !matches!(one, Effect::Recount(_)));
        matches!(last, Some(Effect::Begin(_)))
    }

    fn ask(&self, number: u8, asked: Duration, brakes: &[Brake]) -> Answer {
        let check = name("web");
        let standing = self.causes.standing(self.now, &check, &node(number));
        let (every, timeout) = (Duration::from_secs(10), Duration::from_secs(5));
        answer(self.now, &Question { check: &check, every, timeout, asked, brakes, standing, budgets: &[] })
    }
}

fn said(effects: &[Effect]) -> Vec<String> {
    let words = effects.iter().map(|one| match one {
        Effect::Begin(cause) => format!("begin: {}", cause.words()),
        Effect::Recount(cause) => format!("recount: {}", cause.words()),
        Effect::End(cause) => format!("end: {}", cause.words()),
    });
    words.collect()
}

#[test]
fn many_at_once_are_one_cause_and_it_ends() {
    let mut fleet = Fleet::of(6);
    for number in 0..6 {
        fleet.fails(number);
        fleet.pass(Duration::from_secs(1));
    }
    fleet.pass(RECOUNT);
    for number in 0..4 {
        fleet.passes(number);
    }
    fleet.pass(RELEASE / 2);
    assert!(fleet.is_held(), "not at once");
    fleet.fails(0);
    fleet.pass(RELEASE);
    assert!(fleet.is_held(), "three fail again");
    fleet.passes(0);
    fleet.pass(RELEASE);
    assert_eq!(
        said(&fleet.effects),
        [
            "begin: check web fails on 3 of 6 nodes since 14:02 UTC",
            "recount: check web fails on 6 of 6 nodes since 14:02 UTC",
            "end: check web fails on 6 of 6 nodes since 14:02 UTC",
        ]
    );
}

#[test]
fn few_or_spread_out_are_not() {
    let mut pair = Fleet::of(2);
    (0..2).for_each(|number| pair.fails(number));
    assert_eq!(pair.effects, []);
    let mut large = Fleet::of(20);
    (0..5).for_each(|number| large.fails(number));
    assert_eq!(large.effects, [], "a quarter");
    large.fails(5);
    assert!(large.is_held(), "30 %");
    let mut slow = Fleet::of(4);
    for number in 0..4 {
        slow.fails(number);
        slow.pass(WINDOW / 2 + Duration::from_secs(1));
    }
    assert_eq!(slow.effects, [], "never three within the window");
}

#[test]
fn a_broken_check_pushed_to_all_heals_nothing() {
    // Nothing is wrong with any service: the check itself is, on each node from its
    // first runs on, as they take it over one after the other.
    let mut fleet = Fleet::of(9);
    for number in 0..9 {
        fleet.fails(number);
        fleet.pass(Duration::from_secs(4));
        let asked = fleet.now.monotonic;
        assert!(!matches!(fleet.ask(number, asked, &[]), Answer::Yes(_)), "node {number}");
    }
    assert!(fleet.is_held());
    // Taken back: the nodes run the check as it was, and it passes.
    (0..9).for_each(|number| fleet.passes(number));
    fleet.pass(RELEASE);
    assert!(!fleet.is_held());
    fleet.nodes(9);
    assert_eq!(fleet.effects.iter().filter(|one| matches!(one, Effect::Begin(_))).count(), 1);
}

#[test]
fn a_check_that_is_removed_lets_go() {
    let mut fleet = Fleet::of(3);
    (0..3).for_each(|number| fleet.fails(number));
    fleet.input(Input::Nodes(BTreeMap::new()));
    assert!(matches!(fleet.effects.last(), Some(Effect::End(_))));
    assert_eq!(fleet.causes.next_deadline(), None);
}

#[test]
fn a_restart_goes_on_with_what_was_held() {
    let mut fleet = Fleet::of(3);
    (0..3).for_each(|number| fleet.fails(number));
    let Some(Effect::Begin(cause)) = fleet.effects.pop() else { panic!("holds") };
    fleet.causes = Causes::new([cause]);
    fleet.nodes(3);
    let long = Duration::from_secs(3600);
    for number in 0..3 {
        fleet.input(Input::Failing { check: name("web"), node: node(number), before: long });
    }
    fleet.pass(RELEASE * 2);
    assert_eq!(fleet.effects, [], "nothing is news");
    (0..3).for_each(|number| fleet.passes(number));
    fleet.pass(RELEASE);
    assert!(matches!(fleet.effects.as_slice(), [Effect::End(_)]));
    // What failed for an hour has no cause in common with what fails now.
    let mut old = Fleet::of(3);
    for number in 0..3 {
        old.input(Input::Failing { check: name("web"), node: node(number), before: long * u32::from(number) });
    }
    assert_eq!(old.effects, []);
}

#[test]
fn who_fails_alone_may_after_the_others_had_their_time() {
    let mut fleet = Fleet::of(6);
    fleet.fails(0);
    let asked = fleet.now.monotonic;
    let due = asked + Duration::from_secs(15);
    assert_eq!(fleet.ask(0, asked, &[]), Answer::Later(due));
    fleet.pass(Duration::from_secs(15));
    let words = ["brake: 1 node fails, under 3", "not frozen"].map(str::to_owned).to_vec();
    assert_eq!(fleet.ask(0, asked, &[]), Answer::Yes(words.clone()));
    // It asks again after its stream broke: what was waited is not waited again.
    assert_eq!(fleet.ask(0, fleet.now.monotonic, &[]), Answer::Yes(words));
    fleet.fails(1);
    assert!(matches!(fleet.ask(0, asked, &[]), Answer::Yes(words) if words[0] == "brake: 2 nodes fail, under 3"));
    fleet.fails(2);
    let no = "common cause: check web fails on 3 of 6 nodes".to_owned();
    assert_eq!(fleet.ask(0, asked, &[]), Answer::No(vec![no]));
    let mut pair = Fleet::of(2);
    pair.fails(0);
    assert!(matches!(pair.ask(0, pair.now.monotonic, &[]), Answer::Yes(_)), "nobody to wait for");
}

fn freeze(selector: &str, until: Option<Timestamp>) -> Freeze {
    Freeze {
        id: "f1".into(),
        selector: Selector::parse(selector).unwrap(),
        by: "admin".into(),
        reason: "storage work".into(),
        at: start().wall,
        until,
    }
}

#[test]
fn what_holds_a_node_says_by_whom_until_when_and_why() {
    let until = start().wall.plus(Duration::from_secs(3900));
    let cause = Cause { check: name("web"), since: start().wall, failing: 6, nodes: 6 };
    let worked_on = Maintenance { by: "kim".into(), reason: String::new(), at: start().wall, until: None };
    let brakes = Brakes {
        freezes: [("f1".into(), freeze("role=web", Some(until)))].into(),
        maintenance: [(node(1), worked_on)].into(),
        causes: [(name("web"), cause)].into(),
    };
    let labels = Labels::from([("role".to_owned(), "web".to_owned())]);
    let on = |number: u8, labels: &Labels, checks: &[Name]| brakes.on(&node(number), &name("web1"), labels, checks);
    let all = on(1, &labels, &[name("disk"), name("web")]);
    let fleet = Fleet::of(1);
    let Answer::No(words) = fleet.ask(1, Duration::ZERO, &all) else { panic!("held") };
    assert_eq!(
        words,
        [
            "frozen by admin: storage work, until 15:07 UTC",
            "maintenance by kim",
            "common cause: check web fails on 6 of 6 nodes since 14:02 UTC",
        ]
    );
    assert_eq!(on(2, &Labels::default(), &[name("disk")]), []);
    let by_name = Brakes { freezes: [("f1".into(), freeze("name=web1", None))].into(), ..Brakes::default() };
    assert_eq!(by_name.on(&node(9), &name("web1"), &labels, &[]).len(), 1);
    assert_eq!(by_name.on(&node(9), &name("web2"), &labels, &[]), []);
    // The host's own clock and ours both let go at its end, whoever takes it away.
    let mut later = Fleet::of(1);
    later.pass(Duration::from_secs(3900));
    let frozen = [all[0].clone()];
    assert!(matches!(later.ask(1, Duration::ZERO, &frozen), Answer::Yes(_)));
    assert_eq!(brakes.over(start().wall), []);
    assert_eq!(brakes.over(until).len(), 1);
}

#[test]
fn a_budget_is_said_and_does_not_keep_down_what_is_down() {
    let check = name("web");
    let now = start();
    let one =
        |down: &[&str]| Budget { name: "web".into(), max_down: 1, down: down.iter().map(|one| name(one)).collect() };
    for (down, words) in [
        (&[][..], "budget web 0 of 1 down"),
        (&["web2"], "budget web 1 of 1 down (web2)"),
        (&["web2", "web3", "web4"], "budget web 3 of 1 down (web2, web3, ...)"),
    ] {
        let question = Question {
            check: &check,
            every: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            asked: now.monotonic,
            brakes: &[],
            standing: Standing { nodes: 2, failing: 1, together: 1, failing_for: None },
            budgets: &[one(down)],
        };
        let Answer::Yes(said) = answer(now, &question) else { panic!("allowed") };
        assert_eq!(said, ["brake: 1 node fails, under 3", "not frozen", words]);
    }
    let share = |text: &str, nodes| most_down(Amount::Share(parse_share(text).unwrap()), nodes);
    assert_eq!([share("25%", 8), share("25%", 3), share("29%", 100)], [2, 1, 29]);
    assert_eq!(most_down(Amount::Count(0), 9), 0);
}

#[derive(Clone, Debug)]
enum Act {
    Fails(u8),
    Passes(u8),
    Nodes(u8),
    Freeze(bool),
    Ask(u8, u8),
    Restart,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u8..12).prop_map(Act::Fails),
        4 => (0u8..12).prop_map(Act::Passes),
        1 => (1u8..12).prop_map(Act::Nodes),
        1 => any::<bool>().prop_map(Act::Freeze),
        6 => (0u8..12, 0u8..40).prop_map(|(node, age)| Act::Ask(node, age)),
        1 => Just(Act::Restart),
        5 => (0u64..200).prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    /// Held to the letter against a model that knows only who fails since when.
    #[test]
    fn nothing_heals_while_it_is_held(acts in prop::collection::vec(act(), 1..80)) {
        let mut fleet = Fleet::of(12);
        let (mut nodes, mut since, mut frozen) = (12u8, BTreeMap::<u8, Duration>::new(), false);
        let mut kept: Option<Cause> = None;
        for act in acts {
            let before = fleet.effects.len();
            match act {
                Act::Fails(number) if number < nodes => {
                    since.entry(number).or_insert(fleet.now.monotonic);
                    fleet.fails(number);
                }
                Act::Passes(number) => {
                    since.remove(&number);
                    fleet.passes(number);
                }
                Act::Nodes(count) => {
                    nodes = count;
                    since.retain(|number, _| *number < nodes);
                    fleet.nodes(count);
                }
                Act::Freeze(on) => frozen = on,
                Act::Restart => {
                    fleet.causes = Causes::new(kept.clone());
                    fleet.nodes(nodes);
                    for (number, since) in &since {
                        let before = fleet.now.monotonic.saturating_sub(*since);
                        fleet.input(Input::Failing { check: name("web"), node: node(*number), before });
                    }
                }
                Act::Pass(seconds) => fleet.pass(Duration::from_secs(seconds)),
                Act::Ask(number, age) => {
                    let asked = fleet.now.monotonic.saturating_sub(Duration::from_secs(age.into()));
                    let brakes = Brakes {
                        freezes: frozen.then(|| ("f1".to_owned(), freeze("all", None))).into_iter().collect(),
                        causes: kept.clone().map(|cause| (name("web"), cause)).into_iter().collect(),
                        ..Brakes::default()
                    };
                    let held = brakes.on(&node(number), &name("n"), &Labels::default(), &[name("web")]);
                    match fleet.ask(number, asked, &held) {
                        Answer::Yes(_) => {
                            prop_assert!(!frozen && kept.is_none(), "allowed while held");
                            let recent = since.values().filter(|at| fleet.now.monotonic.saturating_sub(**at) <= WINDOW);
                            let recent = recent.count();
                            prop_assert!(recent < NODES_MIN || recent * 100 < PERCENT_MIN * usize::from(nodes), "allowed among {recent}");
                        }
                        Answer::No(words) => {
                            prop_assert!(!words.is_empty());
                            prop_assert!(frozen || since.len() >= NODES_MIN || kept.is_some(), "refused without a reason");
                        }
                        Answer::Later(at) => {
                            prop_assert!(at > fleet.now.monotonic && at <= fleet.now.monotonic + WAIT_MAX);
                            prop_assert!(usize::from(nodes) >= NODES_MIN);
                        }
                    }
                }
                Act::Fails(_) => {}
            }
            for effect in &fleet.effects[before..] {
                match effect {
                    Effect::Begin(cause) => {
                        prop_assert!(kept.is_none(), "begun twice without an end");
                        let failing = usize::try_from(cause.failing).unwrap();
                        prop_assert!(failing >= NODES_MIN && failing * 100 >= PERCENT_MIN * usize::try_from(cause.nodes).unwrap());
                        kept = Some(cause.clone());
                    }
                    Effect::Recount(cause) => {
                        prop_assert_eq!(kept.as_ref().map(|one| one.since), Some(cause.since));
                        kept = Some(cause.clone());
                    }
                    Effect::End(_) => {
                        prop_assert!(kept.take().is_some(), "ended and was not held");
                        prop_assert!(since.len() < threshold(usize::from(nodes)), "most fail still");
                    }
                }
            }
        }
        // All well: whatever was held ends by itself.
        (0..12).for_each(|number| fleet.passes(number));
        fleet.pass(RELEASE);
        prop_assert!(!fleet.is_held());
        prop_assert_eq!(fleet.causes.next_deadline(), None);
    }
}
