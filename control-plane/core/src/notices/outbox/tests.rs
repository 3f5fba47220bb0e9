use super::*;
use hostler_types::spec::Severity;
use proptest::prelude::*;

fn start() -> Now {
    Now { monotonic: Duration::from_secs(3), wall: Timestamp::from_millis(1_772_373_600_000) }
}

fn ops() -> Name {
    Name::new("ops").expect("a name")
}

fn notice(id: u32) -> Notice {
    let mut notice = Notice::test(format!("n{id}"), &ops(), "ann", start().wall);
    notice.title = format!("title {id}");
    notice.severity = Severity::Warn;
    notice
}

/// An outbox, what is kept of it, and what a server saw.
struct World {
    now: Now,
    outbox: Outbox,
    kept: BTreeMap<u64, Waiting>,
    given_up: usize,
    seen: Vec<Notice>,
}

impl World {
    fn new() -> Self {
        Self { now: start(), outbox: Outbox::default(), kept: BTreeMap::new(), given_up: 0, seen: Vec::new() }
    }

    fn keep(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::Keep(one) => drop(self.kept.insert(one.number, one)),
                Effect::Forget(number) => drop(self.kept.remove(&number)),
                Effect::GaveUp(one) => {
                    self.kept.remove(&one.number);
                    self.given_up += 1;
                }
            }
        }
    }

    fn push(&mut self, id: u32) {
        let effect = self.outbox.push(self.now, &ops(), notice(id));
        self.keep(effect);
    }

    fn close(&mut self) {
        loop {
            let effects = self.outbox.step(self.now);
            if effects.is_empty() {
                return;
            }
            assert!(effects.len() <= hostler_store_operations(), "{}", effects.len());
            self.keep(effects);
        }
    }

    /// Time goes on, with a server that takes what it is sent, or not.
    fn pass(&mut self, span: Duration, server: Server) {
        let end = self.now.plus(span);
        loop {
            self.close();
            while let Some(one) = self.outbox.take(self.now, &ops()) {
                let outcome = match server {
                    Server::Takes => Outcome::Taken,
                    // It took it, and we never heard: the connection broke.
                    Server::TakesAndBreaks | Server::Down => Outcome::Failed("down".into()),
                };
                if server != Server::Down {
                    self.seen.push(one.notice.clone());
                }
                let effect = self.outbox.finish(self.now, one.number, outcome, 500);
                self.keep(effect);
            }
            match self.outbox.next_deadline().filter(|next| *next <= end.monotonic) {
                Some(next) => self.now = self.now.plus(next.saturating_sub(self.now.monotonic)),
                None => break,
            }
        }
        self.now = end;
    }

    fn restart(&mut self) {
        self.outbox = Outbox::new(self.now, self.kept.values().cloned());
    }

    fn titles(&self) -> Vec<&str> {
        self.seen.iter().map(|one| one.title.as_str()).collect()
    }
}

/// As the store has it; this crate does not know the store.
fn hostler_store_operations() -> usize {
    100
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Server {
    Takes,
    TakesAndBreaks,
    Down,
}

#[test]
fn a_few_go_one_by_one_and_many_as_one() {
    let mut world = World::new();
    (0..3).for_each(|id| world.push(id));
    world.pass(Duration::from_secs(1), Server::Takes);
    assert_eq!(world.titles(), Vec::<&str>::new(), "others may come");
    world.pass(Duration::from_secs(5), Server::Takes);
    assert_eq!(world.titles(), ["title 0", "title 1", "title 2"]);
    world.seen.clear();
    (100..500).for_each(|id| world.push(id));
    world.pass(Duration::from_secs(10), Server::Takes);
    assert_eq!(world.titles(), ["400 notices at once"]);
    assert_eq!(world.seen[0].titles.len(), hostler_types::notice::TITLES_MAX);
    (600..602).for_each(|id| world.push(id));
    world.pass(Duration::from_secs(20), Server::Takes);
    assert_eq!(world.titles().len(), 1, "after a storm others are waited for");
    world.pass(Duration::from_secs(60), Server::Takes);
    assert_eq!(world.titles(), ["400 notices at once", "title 600", "title 601"]);
    assert!(world.kept.is_empty());
}

#[test]
fn who_trickles_in_is_held_back_once_it_is_a_storm() {
    let mut world = World::new();
    for id in 0..60 {
        world.push(id);
        world.pass(Duration::from_secs(4), Server::Takes);
    }
    world.pass(Duration::from_secs(120), Server::Takes);
    assert!(world.seen.len() <= 5 * STORM, "{:?}", world.titles());
    let told: u32 = world.seen.iter().map(|one| one.count.max(1)).sum();
    assert_eq!(told, 60);
}

#[test]
fn a_server_that_is_down_for_a_day_gets_all_of_it_in_few_notices() {
    let mut world = World::new();
    for id in 0..2_000 {
        world.push(id);
        world.pass(Duration::from_secs(40), Server::Down);
    }
    assert_eq!(world.given_up, 0);
    world.pass(BACKOFF_MAX + GATHER_LONG, Server::Takes);
    assert!(world.kept.is_empty());
    let told: u32 = world.seen.iter().map(|one| one.count.max(1)).sum();
    assert_eq!(told, 2_000);
    assert!(world.seen.len() <= 1_400, "{}", world.seen.len());
}

#[test]
fn what_nobody_takes_for_two_days_is_given_up_and_counted() {
    let mut world = World::new();
    world.push(1);
    world.pass(GIVE_UP_AFTER + 2 * BACKOFF_MAX, Server::Down);
    assert_eq!((world.given_up, world.kept.len()), (1, 0));
    world.push(2);
    let gone = world.outbox.drop_notifier(&ops());
    world.keep(gone);
    assert_eq!((world.given_up, world.kept.len()), (2, 0));
}

#[test]
fn tries_come_less_and_less_often() {
    let waits: Vec<u64> = (1..=10).map(|attempts| back_off(attempts, 1000).as_secs()).collect();
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(back_off(1, 0), Duration::from_secs(1));
    assert_eq!(back_off(u32::MAX, 1000), BACKOFF_MAX);
}

#[derive(Clone, Debug)]
enum Act {
    Push(u32),
    Again(u32),
    Pass(u64, u8),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (1u32..40).prop_map(Act::Push),
        1 => (0u32..100).prop_map(Act::Again),
        4 => (0u64..100, 0u8..3).prop_map(|(span, server)| Act::Pass(span, server)),
        2 => Just(Act::Restart),
    ]
}

proptest! {
    /// Nothing is lost, whatever servers and crashes do; and whatever arrives twice
    /// does so under its id, with the same content.
    #[test]
    fn each_arrives_once_to_the_eye(acts in prop::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        let mut next = 0;
        for act in acts {
            match act {
                Act::Push(count) => {
                    for _ in 0..count {
                        world.push(next);
                        next += 1;
                    }
                }
                Act::Again(id) if world.kept.values().any(|one| one.notice.id == format!("n{id}")) => world.push(id),
                Act::Again(_) => {}
                Act::Pass(span, server) => {
                    let server = [Server::Takes, Server::TakesAndBreaks, Server::Down][usize::from(server)];
                    world.pass(Duration::from_secs(span), server);
                }
                Act::Restart => world.restart(),
            }
            let memory: Vec<&Waiting> = world.outbox.iter().collect();
            prop_assert_eq!(memory, world.kept.values().collect::<Vec<_>>(), "a restart goes on with the same");
        }
        world.pass(BACKOFF_MAX + 2 * GATHER_LONG, Server::Takes);
        world.pass(BACKOFF_MAX + 2 * GATHER_LONG, Server::Takes);
        prop_assert!(world.kept.is_empty());
        let mut by_id: BTreeMap<&str, &Notice> = BTreeMap::new();
        for seen in &world.seen {
            let first = by_id.entry(&seen.id).or_insert(seen);
            prop_assert_eq!(*first, seen, "the same each time");
        }
        let told: u32 = by_id.values().map(|one| one.count.max(1)).sum();
        prop_assert_eq!(told, next);
    }
}
