use super::*;
use hostler_types::notice::{What, json, mail_text};
use proptest::prelude::*;
use std::collections::BTreeMap;

const AFTER: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn start() -> Now {
    Now { monotonic: Duration::ZERO, wall: Timestamp::from_millis(1_772_373_600_000) }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn terms(tell: &[&str]) -> Option<Terms> {
    Some(Terms { lineage: 7, term: 3, gone_after: AFTER, tell: tell.iter().copied().map(name).collect() })
}

fn seen() -> Seen {
    Seen {
        node: "web1".into(),
        addresses: vec!["10.0.0.1:7443".into(), "cp.example.com:7443".into()],
        error: "10.0.0.1:7443: connection refused".into(),
        critical: vec!["disk: / is 96 % full".into(), "http: 503 from \u{1b}[31mlocalhost".into()],
    }
}

/// A try: number, notifier, id, and what it says.
type Try = (u64, String, String, What);

/// The shell: keeps what it is told to, and remembers what went out.
struct World {
    now: Now,
    gone: Gone,
    disk: Kept,
    open: Vec<Try>,
    gave_up: usize,
}

impl World {
    fn new(tell: &[&str]) -> Self {
        let gone = Gone::new(start(), Kept::default(), terms(tell), 1);
        Self { now: start(), gone, disk: Kept::default(), open: Vec::new(), gave_up: 0 }
    }

    fn step(&mut self, input: Input) -> Vec<Try> {
        let mut tries = Vec::new();
        for effect in self.gone.step(self.now, input, &seen) {
            match effect {
                Effect::Keep => {
                    assert!(tries.is_empty(), "kept first");
                    self.disk = self.gone.kept().clone();
                }
                Effect::Try { number, notifier, notice } => {
                    tries.push((number, notifier.to_string(), notice.id.clone(), notice.what));
                }
                Effect::GaveUp { .. } => self.gave_up += 1,
            }
        }
        assert_eq!(self.disk, *self.gone.kept());
        self.open.extend(tries.clone());
        tries
    }

    fn pass(&mut self, span: Duration) -> Vec<Try> {
        self.now = self.now.plus(span);
        self.step(Input::Tick)
    }

    fn answer(&mut self, taken: bool) -> Vec<Try> {
        let mut tries = Vec::new();
        for (number, ..) in std::mem::take(&mut self.open) {
            tries.extend(self.step(Input::Finished { number, taken }));
        }
        tries
    }

    /// Through what lies on the disk; the clock that never jumps begins anew.
    fn restart(&mut self, tell: &[&str]) -> Vec<Try> {
        self.now.monotonic = Duration::ZERO;
        self.open.clear();
        self.gone = Gone::new(self.now, self.disk.clone(), terms(tell), 1);
        self.step(Input::Tick)
    }

    /// Whether it says that the control plane is gone, to whom.
    fn said(tries: &[Try], what: What) -> Vec<&str> {
        tries.iter().filter(|(_, _, _, said)| *said == what).map(|(_, to, ..)| to.as_str()).collect()
    }
}

#[test]
fn a_silence_is_told_once_and_so_is_its_end() {
    let mut world = World::new(&["mail", "hook"]);
    world.step(Input::Connected);
    world.step(Input::Away);
    assert!(world.pass(AFTER - SECOND).is_empty());
    let told = world.pass(SECOND);
    assert_eq!(World::said(&told, What::Opened), ["hook", "mail"]);
    assert!(world.answer(true).is_empty());
    assert!(world.pass(10 * AFTER).is_empty(), "once");
    world.step(Input::Away);
    let back = world.step(Input::Connected);
    assert_eq!(World::said(&back, What::Closed), ["hook", "mail"]);
    assert_eq!(back[0].2, format!("{}:back", told[0].2));
    world.answer(true);
    assert!(world.disk.is_empty());
    assert!(world.pass(10 * AFTER).is_empty());
}

#[test]
fn what_is_short_or_was_never_told_has_no_end_either() {
    let mut world = World::new(&["mail"]);
    world.step(Input::Connected);
    world.step(Input::Away);
    world.pass(AFTER - SECOND);
    assert!(world.step(Input::Connected).is_empty());
    world.step(Input::Away);
    assert!(world.pass(AFTER - SECOND).is_empty(), "each silence counts for itself");
    assert_eq!(world.pass(SECOND).len(), 1);
    world.answer(false);
    assert!(world.step(Input::Connected).is_empty(), "nobody heard of it");
    assert!(world.pass(AFTER).is_empty());
    assert!(world.disk.is_empty());
}

#[test]
fn a_try_under_way_that_is_taken_after_the_return_is_taken_back() {
    let mut world = World::new(&["mail"]);
    world.pass(AFTER);
    assert!(world.step(Input::Connected).is_empty());
    assert_eq!(World::said(&world.answer(true), What::Closed), ["mail"]);
    let mut world = World::new(&["mail"]);
    world.pass(AFTER);
    world.step(Input::Connected);
    assert!(world.answer(false).is_empty());
    assert!(world.disk.is_empty());
}

#[test]
fn restarts_and_reboots_neither_tell_twice_nor_forget() {
    let mut world = World::new(&["mail", "hook"]);
    world.step(Input::Connected);
    world.step(Input::Away);
    world.pass(AFTER / 2);
    // Down for longer than the rest: what had passed counts.
    world.now = world.now.plus(AFTER);
    assert!(world.restart(&["mail", "hook"]).is_empty(), "it may connect first");
    assert!(world.pass(START_GRACE - SECOND).is_empty());
    let told = world.pass(SECOND);
    assert_eq!(told.len(), 2);
    // One took it; the other is tried again by the next agent, under the same id.
    world.step(Input::Finished { number: told[0].0, taken: true });
    let again = world.restart(&["mail", "hook"]);
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0].1, &again[0].2), (&told[1].1, &told[1].2));
    world.answer(true);
    assert!(world.restart(&["mail", "hook"]).is_empty());
    assert!(world.pass(AFTER).is_empty());
    assert_eq!(World::said(&world.step(Input::Connected), What::Closed), ["hook", "mail"]);
    assert_eq!(World::said(&world.restart(&["mail", "hook"]), What::Closed), ["hook", "mail"]);
}

#[test]
fn a_host_that_is_not_wanted_is_quiet_and_stays_so() {
    let mut world = World::new(&["mail"]);
    world.step(Input::Connected);
    world.step(Input::Refused);
    world.step(Input::Away);
    assert!(world.pass(10 * AFTER).is_empty());
    assert!(world.restart(&["mail"]).is_empty());
    assert!(world.pass(10 * AFTER).is_empty());
    // Already told, and then revoked: neither tries nor an end.
    let mut world = World::new(&["mail"]);
    world.pass(AFTER);
    world.answer(false);
    world.step(Input::Refused);
    assert!(world.pass(10 * AFTER).is_empty());
    world.step(Input::Away);
    assert!(world.pass(10 * AFTER).is_empty());
}

#[test]
fn who_is_not_asked_to_tell_does_not() {
    let mut world = World::new(&[]);
    assert!(world.pass(10 * AFTER).is_empty());
    world.step(Input::Terms(None));
    assert!(world.pass(10 * AFTER).is_empty() && world.gone.next_deadline().is_none());
    let mut world = World::new(&["mail"]);
    world.pass(AFTER);
    world.answer(true);
    world.step(Input::Terms(None));
    assert!(world.step(Input::Connected).is_empty());
    assert!(world.disk.is_empty());
}

#[test]
fn two_days_are_enough() {
    let mut world = World::new(&["mail"]);
    world.pass(AFTER);
    world.now = world.now.plus(GIVE_UP_AFTER + SECOND);
    world.answer(false);
    assert_eq!(world.gave_up, 1);
    assert!(world.pass(AFTER).is_empty());
}

#[test]
fn hosts_that_lose_it_together_say_the_same() {
    let ids: BTreeSet<String> = [0, 900, 2_900]
        .into_iter()
        .map(|millis| {
            let mut world = World::new(&["mail"]);
            world.step(Input::Connected);
            world.pass(Duration::from_millis(millis));
            world.step(Input::Away);
            world.pass(AFTER)[0].2.clone()
        })
        .collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn how_it_reads() {
    let since = start().wall;
    let notice = words::gone("gone:7.3.1", since, since.plus(AFTER * 5), &seen());
    insta::assert_snapshot!("gone", mail_text(&notice));
    insta::assert_snapshot!("gone_json", serde_json::to_string_pretty(&json(&notice)).unwrap());
    insta::assert_snapshot!("back", mail_text(&words::back("gone:7.3.1", since, since.plus(AFTER * 12), &seen())));
}

#[test]
fn what_is_kept_reads_back() {
    let mut world = World::new(&["mail"]);
    world.pass(AFTER);
    let text = serde_json::to_string(&world.disk).unwrap();
    assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), world.disk);
}

#[derive(Clone, Debug)]
enum Act {
    Connected,
    Away,
    Refused,
    Pass(u64),
    Answer(bool),
    Restart(u64),
    Terms(usize),
}

const TELLS: [&[&str]; 3] = [&["hook", "mail"], &["mail"], &[]];

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Connected),
        4 => Just(Act::Away),
        1 => Just(Act::Refused),
        6 => (1u64..90).prop_map(Act::Pass),
        5 => any::<bool>().prop_map(Act::Answer),
        2 => (0u64..90).prop_map(Act::Restart),
        1 => (0usize..3).prop_map(Act::Terms),
    ]
}

/// What holds whatever happens.
#[derive(Default)]
struct Law {
    refused: bool,
    /// Since when nothing was heard, by the wall.
    quiet: Option<Timestamp>,
    silences: usize,
    tell: usize,
    /// Which silence an id is of.
    ids: BTreeMap<String, usize>,
    took: BTreeSet<(String, String)>,
}

impl Law {
    fn judge(&mut self, now: Now, tries: &[Try]) -> Result<(), TestCaseError> {
        for (_, to, id, what) in tries {
            prop_assert!(!self.refused, "not wanted, and told {to} {id}");
            prop_assert!(TELLS[self.tell].contains(&to.as_str()), "{to} is not to be told");
            prop_assert!(!self.took.contains(&(to.clone(), id.clone())), "{to} took {id} before");
            if *what == What::Opened {
                if !self.ids.contains_key(id) {
                    let quiet = self.quiet.map(|since| now.wall.since(since));
                    prop_assert!(quiet.is_some_and(|quiet| quiet >= AFTER), "{id} after {quiet:?}");
                    prop_assert!(!self.ids.values().any(|of| *of == self.silences), "told before under another id");
                    self.ids.insert(id.clone(), self.silences);
                }
            } else {
                let began = id.trim_end_matches(":back");
                prop_assert!(self.took.contains(&(to.clone(), began.to_owned())), "{to} never heard of {began}");
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_is_told_once(acts in prop::collection::vec(act(), 1..120)) {
        let mut world = World::new(TELLS[0]);
        let mut law = Law { quiet: Some(start().wall), ..Law::default() };
        let settle = [Act::Terms(0), Act::Connected];
        let answered = [Act::Answer(true), Act::Pass(600)].into_iter().cycle().take(8);
        let end = [Act::Away, Act::Pass(60), Act::Answer(true), Act::Connected, Act::Answer(true)];
        for act in acts.into_iter().chain(settle).chain(answered).chain(end) {
            let tries = match &act {
                Act::Connected => {
                    (law.refused, law.quiet) = (false, None);
                    world.step(Input::Connected)
                }
                Act::Away => {
                    if law.quiet.is_none() && !law.refused {
                        law.quiet = Some(world.now.wall);
                        law.silences += 1;
                    }
                    world.step(Input::Away)
                }
                Act::Refused => {
                    law.refused = true;
                    world.step(Input::Refused)
                }
                Act::Pass(seconds) => world.pass(Duration::from_secs(*seconds)),
                Act::Answer(taken) => {
                    let answered = world.open.clone();
                    if *taken {
                        // Before the answer is heard: what follows from it is judged by it.
                        law.took.extend(answered.into_iter().map(|(_, to, id, _)| (to, id)));
                    }
                    world.answer(*taken)
                }
                Act::Restart(seconds) => {
                    world.now = world.now.plus(Duration::from_secs(*seconds));
                    if law.quiet.is_none() && !law.refused {
                        law.quiet = Some(world.now.wall);
                        law.silences += 1;
                    }
                    world.restart(TELLS[law.tell])
                }
                Act::Terms(tell) => {
                    law.tell = *tell;
                    world.step(Input::Terms(terms(TELLS[*tell])))
                }
            };
            law.judge(world.now, &tries)?;
        }
        // After all that it still works, for everybody.
        let last = law.ids.iter().find(|(_, of)| **of == law.silences).map(|(id, _)| id.clone());
        let last = last.expect("told");
        for to in TELLS[0] {
            prop_assert!(law.took.contains(&(to.to_string(), last.clone())));
            let back = format!("{last}:back");
            prop_assert!(law.took.contains(&(to.to_string(), back)));
        }
        prop_assert!(world.disk.is_empty());
    }
}
