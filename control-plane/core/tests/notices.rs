//! What is told of what happens, by scripts and by random histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hostler_core::applied::Applied;
use hostler_core::notices::alerts::FLAP;
use hostler_core::notices::notice::of_alert;
use hostler_core::notices::rules::LOST_AFTER;
use hostler_core::notices::{Ack, Alert, Alerts, Effect, Input, Notice, Rules, Seen, Silence, Subject, Tell, What};
use hostler_types::notice::{json, mail_text, slack};
use hostler_types::spec::{Source, SourceFile, compile};
use hostler_types::{CheckState, Event, EventKind, Labels, Name, NodeState, Now, Selector, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const NOTIFIERS: &str = "
notifier:
  ops: {default: true, plugin: slack, with: {url: \"http://x/\"}}
  night: {plugin: slack, with: {url: \"http://x/\"}}
check:
  disk: {where: all, plugin: disk}
  site: {where: all, plugin: http}
";
const ESCALATING: &str = "
alert:
  slow: {check: site, state: warning, for: 10m, severity: info}
  down: {check: site, state: critical, tell: [ops]}
  long: {check: site, state: critical, for: 15m, severity: page, tell: [night]}
";

fn rules(more: &str) -> Rules {
    let files = vec![SourceFile { path: "s.yaml".into(), text: format!("{NOTIFIERS}{more}") }];
    let compiled = compile(&Source { files, ..Source::default() }).unwrap_or_else(|error| panic!("{error}"));
    let mut applied = Applied::default();
    applied.set_system(&Name::new("default").unwrap(), compiled.objects.into_iter().map(Arc::new));
    Rules::new(&applied, LOST_AFTER)
}

fn start() -> Now {
    Now { monotonic: Duration::from_secs(5), wall: Timestamp::from_millis(1_772_373_600_000) }
}

/// Alerts, and what was kept and told of them.
struct World {
    now: Now,
    rules: Rules,
    alerts: Alerts,
    kept: BTreeMap<Subject, Alert>,
    silences: BTreeMap<String, Silence>,
    seen: BTreeMap<Subject, Seen>,
    told: Vec<(Now, Tell)>,
}

impl World {
    fn new(rules: Rules) -> Self {
        let alerts = Alerts::new(start(), rules.clone(), [], []);
        let mut world = Self {
            now: start(),
            rules,
            alerts,
            kept: BTreeMap::new(),
            silences: BTreeMap::new(),
            seen: BTreeMap::new(),
            told: Vec::new(),
        };
        world.input(Input::Tick);
        world
    }

    fn input(&mut self, input: Input) {
        for effect in self.alerts.step(self.now, input) {
            match effect {
                Effect::Keep(alert) => drop(self.kept.insert(alert.subject.clone(), alert)),
                Effect::Forget(subject) => drop(self.kept.remove(&subject)),
                Effect::Tell(tell) => {
                    self.kept.insert(tell.alert.subject.clone(), tell.alert.clone());
                    self.told.push((self.now, tell));
                }
                Effect::KeepSilence(silence) => drop(self.silences.insert(silence.id.clone(), silence)),
                Effect::ForgetSilence(id) => drop(self.silences.remove(&id)),
            }
        }
    }

    fn see(&mut self, subject: Subject, seen: Seen) {
        match seen {
            Seen::Gone => drop(self.seen.remove(&subject)),
            _ => drop(self.seen.insert(subject.clone(), seen.clone())),
        }
        self.input(Input::Seen { subject, seen });
    }

    /// Time goes on, with a look whenever one is due.
    fn pass(&mut self, span: Duration) {
        let end = self.now.plus(span);
        while let Some(next) = self.alerts.next_deadline().filter(|next| *next <= end.monotonic) {
            self.now = self.now.plus(next.saturating_sub(self.now.monotonic));
            self.input(Input::Tick);
            assert!(self.alerts.next_deadline().is_none_or(|next| next > self.now.monotonic), "time stands still");
        }
        self.now = end;
        self.input(Input::Tick);
    }

    /// From what was kept, and what is so.
    fn restart(&mut self) {
        let now = Now { monotonic: Duration::from_secs(1), wall: self.now.wall };
        self.now = now;
        self.alerts =
            Alerts::new(now, self.rules.clone(), self.kept.values().cloned(), self.silences.values().cloned());
        for (subject, seen) in self.seen.clone() {
            self.input(Input::Seen { subject, seen });
        }
        self.input(Input::Tick);
    }

    fn node(&mut self, name: &str, state: NodeState) {
        let labels = Labels::from([("role".to_owned(), if name < "n3" { "db" } else { "app" }.to_owned())]);
        self.see(Subject::parse(name).unwrap(), Seen::Node { state, labels, since: self.now.wall });
    }

    fn check(&mut self, name: &str, state: CheckState) {
        self.see(
            Subject::parse(name).unwrap(),
            Seen::Check { state, summary: format!("is {state}"), since: self.now.wall },
        );
    }
}

/// A line an act: `check web1/disk critical`, `pass 2m`, `silence role=db disk 1h`.
fn run(rules: Rules, script: &str) -> Vec<String> {
    let mut world = World::new(rules);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["node", "gone", name] => world.see(Subject::parse(name).unwrap(), Seen::Gone),
            ["node", names, state] => {
                for name in names.split(',') {
                    world.node(name, state.parse().unwrap());
                }
            }
            ["check", "gone", name] => world.see(Subject::parse(name).unwrap(), Seen::Gone),
            ["check", name, state] => world.check(name, state.parse().unwrap()),
            ["run", name, outcome] => {
                let subject = Subject::parse(name).unwrap();
                let seen = Seen::Run {
                    failed: *outcome == "failed",
                    summary: format!("run/7 {outcome}"),
                    ended: world.now.wall,
                };
                world.see(subject, seen);
            }
            ["pass", span] => world.pass(hostler_types::units::parse_duration(span).unwrap()),
            ["silence", selector, check, span] => {
                let silence =
                    silence(&world, "s1", selector, check, hostler_types::units::parse_duration(span).unwrap());
                world.input(Input::Silence(silence));
            }
            ["unsilence"] => world.input(Input::EndSilence("s1".into())),
            ["ack", name, span] => {
                let until = world.now.wall.plus(hostler_types::units::parse_duration(span).unwrap());
                let ack = Ack { by: "ann".into(), until, reason: String::new() };
                world.input(Input::Ack { subject: Subject::parse(name).unwrap(), ack });
            }
            ["restart"] => world.restart(),
            other => panic!("what is {other:?}?"),
        }
    }
    let line = |(now, tell): &(Now, Tell)| {
        let to: Vec<&str> = tell.to.iter().map(Name::as_str).collect();
        let after = now.wall.since(start().wall);
        let title = of_alert(tell.what, &tell.alert, &[], now.wall).title;
        format!(
            "{} {} [{}] {title}",
            hostler_types::units::format_duration(after),
            tell.alert.severity.word(),
            to.join(",")
        )
    };
    world.told.iter().map(line).collect()
}

fn silence(world: &World, id: &str, selector: &str, check: &str, span: Duration) -> Silence {
    Silence {
        id: id.into(),
        selector: Selector::parse(selector).unwrap(),
        check: (check != "-").then(|| Name::new(check).unwrap()),
        reason: "works".into(),
        by: "ann".into(),
        created_at: world.now.wall,
        ends_at: world.now.wall.plus(span),
    }
}

#[test]
fn a_schedule_that_fails_is_told_each_night_and_to_whom_it_names() {
    let specs = "task: {tidy: {where: all, steps: [{run: bin/tidy}]}}
schedule: {nightly: {cron: 0 2 * * *, task: tidy, tell: [night]}, hourly: {cron: 0 * * * *, task: tidy}}";
    let told = run(
        rules(specs),
        "run SCHEDULE/nightly failed
         run SCHEDULE/other failed
         restart
         pass 24h
         run SCHEDULE/nightly failed
         pass 1h
         run SCHEDULE/nightly failed
         pass 3h
         run SCHEDULE/nightly succeeded
         run SCHEDULE/hourly failed
         pass 1h
         run SCHEDULE/hourly failed
         pass 2h
         run SCHEDULE/hourly failed
         pass 24h",
    );
    let expect = [
        "0s warn [night] schedule nightly failed",
        "1d warn [night] schedule nightly failed again, 24h after it first did",
        "1d4h warn [night] schedule nightly failed again, 28h after it first did",
        "1d4h warn [night] schedule nightly succeeds again, 28h after it failed",
        "1d4h warn [ops] schedule hourly failed",
        "1d8h warn [ops] schedule hourly failed again, 4h after it first did",
    ];
    assert_eq!(told, expect);
}

fn check(script: &str, expect: &[&str]) {
    assert_eq!(run(rules(""), script), expect, "{script}");
}

#[test]
fn a_critical_check_is_told_at_once_and_an_unknown_one_when_it_lasts() {
    check(
        "node web1 ready
         check web1/disk critical
         pass 1m
         check web1/disk passing
         check web1/site warning
         pass 1h
         check web1/site unknown
         pass 1h",
        &[
            "0s warn [ops] disk on web1 is critical",
            "1m warn [ops] disk on web1 is well again after 60s",
            "1h11m warn [ops] site on web1 is unknown",
        ],
    );
}

#[test]
fn what_alert_objects_say_goes_before() {
    let script = "check a/site warning
                  pass 11m
                  check a/site critical
                  pass 1h
                  check a/site passing";
    let told = run(rules(ESCALATING), script);
    assert_eq!(
        told,
        [
            "10m info [ops] site on a is warning",
            "11m warn [ops] site on a is critical now, which is worse",
            "26m page [night,ops] site on a is critical now, which is worse",
            "1h11m page [night,ops] site on a is well again after 60m",
        ]
    );
}

#[test]
fn a_lost_node_is_a_page_after_two_minutes_and_its_checks_are_old_news() {
    check(
        "node web1,web2 ready
         check web1/disk warning
         node web1 lost
         pass 1m
         node web1 ready
         pass 1m
         node web1 lost
         check web1/disk critical
         pass 10m
         restart
         pass 5m
         node web1 ready
         check web1/disk passing
         pass 1h",
        &[
            "4m page [ops] web1 is lost",
            "17m page [ops] web1 is back after 15m",
            "17m warn [ops] disk on web1 is critical",
            "17m warn [ops] disk on web1 is well again after 15m",
        ],
    );
}

#[test]
fn most_of_the_fleet_is_one_notice() {
    check(
        "node n0,n1,n2,n3,n4,n5,n6,n7 ready
         node n0,n1,n2,n3,n4,n5,n6 lost
         pass 5m
         node n0,n1,n2,n3,n4,n5 ready
         pass 30s
         pass 10m
         node n6 ready",
        &[
            "2m page [ops] most of the fleet is lost: control plane or network?",
            "6m page [ops] most of the fleet is back after 6m",
            "6m page [ops] n6 is lost",
            "15m30s page [ops] n6 is back after 15m",
        ],
    );
}

#[test]
fn a_common_cause_is_one_page_and_its_nodes_are_told_after_it() {
    check(
        "node n0,n1,n2,n3,n4,n5 ready
         check n0/disk critical
         check FLEET/disk critical
         check n1/disk critical
         check n2/disk critical
         check n3/site critical
         pass 10m
         restart
         check n0/disk passing
         check n1/disk passing
         pass 1m
         check FLEET/disk passing
         pass 1m
         check n2/disk passing",
        &[
            "0s warn [ops] disk on n0 is critical",
            "0s page [ops] is critical: a common cause; healing on it waits",
            "0s warn [ops] site on n3 is critical",
            "10m warn [ops] disk on n0 is well again after 10m",
            "11m page [ops] check disk fails on few nodes again, after 11m; it heals",
            "11m warn [ops] disk on n2 is critical",
            "12m warn [ops] disk on n2 is well again after 12m",
        ],
    );
    check(
        "silence all disk 1h
         check FLEET/disk critical
         pass 2h",
        &["1h page [ops] is critical: a common cause; healing on it waits"],
    );
}

#[test]
fn a_check_on_many_nodes_is_told_when_it_is_known_to_fail_alone() {
    let passing = "check n0/disk passing
         check n1/disk passing
         check n2/disk passing
         check n3/disk passing";
    check(
        &format!(
            "{passing}
             check n0/disk critical
             pass 5s
             check n1/disk critical
             pass 5s
             check n2/disk critical
             check FLEET/disk critical
             pass 5m
             check n0/disk passing
             check n1/disk passing
             check n2/disk passing
             check FLEET/disk passing
             pass 5m"
        ),
        &[
            "10s page [ops] is critical: a common cause; healing on it waits",
            "5m10s page [ops] check disk fails on few nodes again, after 5m; it heals",
        ],
    );
    check(
        &format!(
            "{passing}
             check n0/disk critical
             pass 10m"
        ),
        &["40s warn [ops] disk on n0 is critical"],
    );
}

#[test]
fn a_few_are_named() {
    check(
        "node n0,n1,n2,n3 ready
           node n0,n1,n2,n3 lost
           pass 3m",
        &[
            "2m page [ops] n0 is lost",
            "2m page [ops] n1 is lost",
            "2m page [ops] n2 is lost",
            "2m page [ops] n3 is lost",
        ],
    );
}

#[test]
fn what_comes_and_goes_is_told_once_and_counted() {
    check(
        "check a/disk critical
         pass 10s
         check a/disk passing
         pass 10s
         check a/disk critical
         pass 10s
         check a/disk passing
         pass 10s
         check a/disk critical
         pass 10m
         check a/disk passing",
        &[
            "0s warn [ops] disk on a is critical",
            "10s warn [ops] disk on a is well again after 10s",
            "5m10s warn [ops] disk on a is critical (3 times)",
            "10m40s warn [ops] disk on a is well again after 10m (3 times)",
        ],
    );
}

#[test]
fn silences_hold_back_both_ways_and_lose_nothing() {
    check(
        "node n1,n5 ready
         silence role=db disk 1h
         check n1/disk critical
         check n5/disk critical
         check n1/site critical
         pass 30m
         check n1/site passing
         restart
         pass 2h
         silence all - 1h
         check n1/disk passing
         pass 10m
         unsilence",
        &[
            "0s warn [ops] disk on n5 is critical",
            "0s warn [ops] site on n1 is critical",
            "30m warn [ops] site on n1 is well again after 30m",
            "1h warn [ops] disk on n1 is critical",
            "2h40m warn [ops] disk on n1 is well again after 2h",
        ],
    );
}

#[test]
fn a_page_is_repeated_until_somebody_sees_to_it() {
    check(
        "node n1 ready
         node n1 lost
         pass 5h
         ack n1 8h
         pass 9h
         node gone n1",
        &[
            "2m page [ops] n1 is lost",
            "4h2m page [ops] n1 is still lost after 4h",
            "13h page [ops] n1 is still lost after 13h",
            "14h page [ops] n1 is looked at no more; it was lost",
        ],
    );
}

fn example() -> (Alert, Vec<Event>) {
    let mut world = World::new(rules(""));
    world.see(
        Subject::parse("web1/disk").unwrap(),
        Seen::Check {
            state: CheckState::Critical,
            summary: "/ 95 % used <b>\u{1b}[2J".into(),
            since: world.now.wall.minus(Duration::from_secs(90)),
        },
    );
    let event = |minute: u64, message: &str| Event {
        seq: format!("7.{minute}.0"),
        at: Timestamp::from_millis(1_772_373_600_000 + minute * 60_000),
        kind: EventKind::new(EventKind::CHECK),
        node: "web1".into(),
        subject: "disk".into(),
        message: message.into(),
    };
    let events =
        vec![event(1, "starting -> passing: / 71 % used"), event(2, "passing -> critical: / 95 % used\r\nBcc: x")];
    (world.told.remove(0).1.alert, events)
}

#[test]
fn how_a_notice_reads() {
    let (alert, events) = example();
    let at = start().wall;
    let notice = of_alert(What::Opened, &alert, &events, at);
    insta::assert_snapshot!("mail", mail_text(&notice));
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&json(&notice)).unwrap());
    insta::assert_snapshot!("slack", slack(&notice)["text"].as_str().unwrap());
    let mut storm = Notice::storm(&notice);
    for _ in 0..40 {
        storm.add(&notice);
    }
    let text = mail_text(&storm).replace(&format!("{}  {}\n", "", notice.title).repeat(28), "  ...\n");
    insta::assert_snapshot!("storm", text);
}

#[derive(Clone, Debug)]
enum Act {
    Node(u8, NodeState),
    NodeGone(u8),
    Check(u8, bool, CheckState),
    CheckGone(u8, bool),
    Cause(bool, CheckState),
    Silence(u8, Option<bool>, u64),
    Unsilence(u8),
    Ack(u8, u64),
    Notifiers(bool),
    Restart,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let node = 0u8..7;
    let state =
        prop_oneof![3 => Just(NodeState::Ready), 3 => Just(NodeState::Lost), 1 => Just(NodeState::Disconnected)];
    let check = prop_oneof![
        2 => Just(CheckState::Passing),
        2 => Just(CheckState::Critical),
        1 => Just(CheckState::Warning),
        1 => Just(CheckState::Unknown)
    ];
    prop_oneof![
        4 => (node.clone(), state).prop_map(|(node, state)| Act::Node(node, state)),
        1 => node.clone().prop_map(Act::NodeGone),
        6 => (node.clone(), any::<bool>(), check).prop_map(|(node, which, state)| Act::Check(node, which, state)),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, which)| Act::CheckGone(node, which)),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(which, holds)| {
            Act::Cause(which, if holds { CheckState::Critical } else { CheckState::Passing })
        }),
        1 => (0u8..3, any::<Option<bool>>(), 1u64..4_000).prop_map(|(who, which, span)| Act::Silence(who, which, span)),
        1 => (0u8..3).prop_map(Act::Unsilence),
        1 => (node, 1u64..40_000).prop_map(|(node, span)| Act::Ack(node, span)),
        1 => any::<bool>().prop_map(Act::Notifiers),
        1 => Just(Act::Restart),
        6 => (1u64..1_500).prop_map(Act::Pass),
        1 => (10_000u64..60_000).prop_map(Act::Pass),
    ]
}

fn check_name(which: bool) -> &'static str {
    if which { "site" } else { "disk" }
}

impl World {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Node(node, state) => self.node(&format!("n{node}"), *state),
            Act::NodeGone(node) => self.see(Subject::parse(&format!("n{node}")).unwrap(), Seen::Gone),
            Act::Check(node, which, state) => self.check(&format!("n{node}/{}", check_name(*which)), *state),
            Act::Cause(which, state) => self.check(&format!("FLEET/{}", check_name(*which)), *state),
            Act::CheckGone(node, which) => {
                self.see(Subject::parse(&format!("n{node}/{}", check_name(*which))).unwrap(), Seen::Gone);
            }
            Act::Silence(who, which, span) => {
                let selector = ["role=db", "role=app", "all"][usize::from(*who)];
                let check = which.map_or("-", check_name);
                let silence = silence(self, &format!("s{who}"), selector, check, Duration::from_secs(*span));
                self.input(Input::Silence(silence));
            }
            Act::Unsilence(who) => self.input(Input::EndSilence(format!("s{who}"))),
            Act::Ack(node, span) => {
                let until = self.now.wall.plus(Duration::from_secs(*span));
                let subject = Subject::parse(&format!("n{node}")).unwrap();
                self.input(Input::Ack { subject, ack: Ack { by: "ann".into(), until, reason: String::new() } });
            }
            Act::Notifiers(escalating) => {
                self.rules = rules(if *escalating { ESCALATING } else { "" });
                self.input(Input::Rules(self.rules.clone()));
            }
            Act::Restart => self.restart(),
            Act::Pass(seconds) => self.pass(Duration::from_secs(*seconds)),
        }
    }

    /// What silences say, found out in another way.
    fn is_silenced(&self, subject: &Subject) -> bool {
        self.silences.values().filter(|one| one.ends_at > self.now.wall).any(|one| {
            let who = one.id.as_str();
            let (node, check) = (subject.node().map(Name::as_str), subject.check());
            let check_fits = one.check.is_none() || one.check.as_ref() == check;
            let node_fits = match (who, node) {
                ("s2", _) => true,
                (_, None) => false,
                // A node that went took its labels along.
                (_, Some(node)) if !self.seen.contains_key(&Subject::parse(node).unwrap()) => false,
                ("s0", Some(node)) => node < "n3",
                (_, Some(node)) => node >= "n3",
            };
            check_fits && node_fits
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn people_know_what_is_so(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new(rules(""));
        let mut known: BTreeSet<Subject> = BTreeSet::new();
        let mut checked = 0;
        for act in &acts {
            world.act(act);
            for (now, tell) in &world.told[checked..] {
                let subject = &tell.alert.subject;
                match tell.what {
                    What::Opened => prop_assert!(known.insert(subject.clone()), "{subject} was told twice"),
                    What::Worse | What::Still => prop_assert!(known.contains(subject), "{subject} was not told yet"),
                    What::Closed | What::Gone => prop_assert!(known.remove(subject), "{subject} was over already"),
                    other => prop_assert!(false, "{other:?}"),
                }
                if *now == world.now {
                    prop_assert!(!world.is_silenced(subject), "{subject} was told and is silenced");
                }
            }
            checked = world.told.len();
            let told: BTreeSet<Subject> =
                world.kept.values().filter(|one| one.told.is_some()).map(|one| one.subject.clone()).collect();
            prop_assert_eq!(&told, &known, "what is kept is what was told");
            let memory: Vec<Alert> = world.alerts.iter().cloned().collect();
            let kept: Vec<Alert> = world.kept.values().cloned().collect();
            prop_assert_eq!(memory, kept, "a restart goes on with the same");
        }
        // No silence, and time enough: whatever is bad was told.
        for who in 0..3 {
            world.act(&Act::Unsilence(who));
        }
        for which in [false, true] {
            world.act(&Act::Cause(which, CheckState::Passing));
        }
        world.pass(FLAP + LOST_AFTER + Duration::from_secs(900));
        let fleet = world.alerts.get(&Subject::Fleet).is_some_and(Alert::is_open);
        for (subject, seen) in world.seen.clone() {
            let lost = |node: &Name| matches!(world.seen.get(&Subject::Node(node.clone())), Some(Seen::Node { state: NodeState::Lost, .. }));
            let told = world.kept.get(&subject).is_some_and(|one| one.told.is_some());
            match seen {
                Seen::Node { state, .. } => {
                    let is_lost = state == NodeState::Lost;
                    prop_assert!(told == is_lost || (fleet && is_lost), "{subject} {state}: told {told}");
                }
                Seen::Check { state: CheckState::Critical, .. } if !subject.node().is_some_and(lost) => {
                    prop_assert!(told, "{subject} is critical");
                }
                Seen::Check { state: CheckState::Passing, .. } if !subject.node().is_some_and(lost) => {
                    prop_assert!(!told, "{subject} is passing");
                }
                _ => {}
            }
        }
        // All well: nothing is left open in anybody's mind.
        for node in 0..7 {
            world.act(&Act::Node(node, NodeState::Ready));
            for which in [false, true] {
                world.act(&Act::Check(node, which, CheckState::Passing));
            }
        }
        world.pass(Duration::from_secs(120));
        prop_assert!(world.kept.values().all(|one| one.told.is_none() && !one.is_open()));
    }
}
