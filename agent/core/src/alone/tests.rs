use super::*;
use hostler_types::WindowAssignment;
use hostler_types::calendar::When;
use hostler_types::cron::Cron;
use hostler_types::spec::Zone;
use hostler_types::task::{Command, TaskStep};

/// A Sunday, at midnight.
pub(super) const START: Timestamp = Timestamp::from_millis(1_795_305_600_000);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(super) fn node() -> NodeId {
    NodeId::from_random([7; 10])
}

pub(super) fn schedule(line: &str) -> ScheduleAssignment {
    ScheduleAssignment {
        name: name("tidy"),
        when: When::parse(line).expect("a line"),
        zone: Zone::utc(),
        jitter: Duration::ZERO,
        since: START,
        window: None,
        steps: vec![TaskStep::Command(Command { argv: vec!["df".into()], ..Command::default() })],
        timeout: MINUTE,
        origin: String::new(),
    }
}

fn window(line: &str, lasts: Duration, cutoff: Duration) -> Option<WindowAssignment> {
    Some(WindowAssignment { cron: Cron::parse(line).expect("a line"), zone: Zone::utc(), lasts, cutoff })
}

/// A host with one schedule, whose agent runs since the start and is cut off.
struct Host {
    alone: Alone,
    now: Now,
}

impl Host {
    fn new(schedule: ScheduleAssignment) -> Self {
        let now = Now { monotonic: Duration::ZERO, wall: START };
        let mut host = Self { alone: Alone::new(now, node(), Kept::default()), now };
        assert!(host.tell(Input::Schedules(vec![schedule])).is_empty());
        host
    }

    /// The fires that begin, by when they were due.
    fn tell(&mut self, input: Input) -> Vec<Timestamp> {
        let effects = self.alone.step(self.now, input);
        begun(&effects).into_iter().map(|offer| fire_of(&offer)).collect()
    }

    /// Time goes on, and the agent looks when it wants to.
    fn pass(&mut self, span: Duration) -> Vec<Timestamp> {
        let (end, mut fires) = (self.now.plus(span), Vec::new());
        while let Some(next) = self.alone.next_deadline(self.now).filter(|next| *next <= end.monotonic) {
            assert!(next > self.now.monotonic, "it would look again at once");
            self.now = self.now.plus(next - self.now.monotonic);
            fires.extend(self.tell(Input::Tick));
        }
        self.now = end;
        fires
    }

    fn clock(&mut self, wall: Timestamp) {
        self.now.wall = wall;
    }
}

pub(super) fn begun(effects: &[Effect]) -> Vec<TaskOffer> {
    let offers = effects.iter().filter_map(|effect| match effect {
        Effect::Begin { offer, .. } => Some((**offer).clone()),
        Effect::Keep => None,
    });
    offers.collect()
}

pub(super) fn fire_of(offer: &TaskOffer) -> Timestamp {
    let (_, seconds) = offer.id.as_str().rsplit_once('.').expect("a time");
    Timestamp::from_millis(seconds.parse::<u64>().expect("seconds") * 1_000)
}

#[test]
fn it_fires_at_its_place_in_the_jitter_once() {
    let spread = ScheduleAssignment { jitter: 10 * MINUTE, ..schedule("0 2 * * *") };
    let due = START.plus(2 * HOUR);
    let place = jittered("tidy", &node(), due, spread.jitter);
    assert!(place > due.plus(Duration::from_secs(1)), "the test would say little");
    let mut host = Host::new(spread);
    assert_eq!(host.pass(place.since(START) - TICK), []);
    let kept = host.alone.kept().clone();
    host.now = host.now.plus(TICK);
    let effects = host.alone.step(host.now, Input::Tick);
    assert!(matches!(&effects[..], [Effect::Keep, Effect::Begin { .. }]), "{effects:?}");
    assert!(*host.alone.kept() != kept);
    let offer = begun(&effects).remove(0);
    assert_eq!((fire_of(&offer), offer.by.as_str(), offer.reason.as_str()), (due, "schedule/tidy", REASON));
    assert_eq!(host.pass(20 * HOUR), []);
    assert_eq!(host.pass(5 * HOUR), [due.plus(24 * HOUR)]);
}

#[test]
fn whoever_is_connected_waits_for_the_control_plane() {
    let mut host = Host::new(schedule("0 * * * *"));
    assert_eq!(host.pass(10 * MINUTE), []);
    assert_eq!(host.tell(Input::Connected), []);
    assert_eq!(host.alone.next_deadline(host.now), None, "nothing wakes for it");
    host.pass(50 * MINUTE + MINUTE);
    assert_eq!(host.tell(Input::Away), [START.plus(HOUR)], "cut off within its minute");
    host.tell(Input::Connected);
    host.pass(HOUR + TICK);
    assert_eq!(host.tell(Input::Away), [], "it is too late");
    assert_eq!(host.pass(HOUR), [START.plus(3 * HOUR)]);
}

#[test]
fn a_clock_that_is_moved_makes_nothing_up_and_repeats_nothing() {
    let mut host = Host::new(schedule("0 * * * *"));
    host.pass(30 * MINUTE);
    // Suspended, or put forward.
    host.clock(START.plus(24 * HOUR + 2 * MINUTE));
    assert_eq!(host.pass(HOUR), [START.plus(25 * HOUR)]);
    host.clock(START.plus(24 * HOUR + 30 * MINUTE));
    assert_eq!(host.pass(HOUR), [], "that one was begun");
    assert_eq!(host.pass(HOUR), [START.plus(26 * HOUR)]);
    host.clock(START.plus(27 * HOUR + Duration::from_secs(20)));
    assert_eq!(host.pass(LOOK), [START.plus(27 * HOUR)], "passed by less than a minute");
    // By years, and put right again: that must not hold it for as long.
    host.clock(START.plus(87_600 * HOUR - MINUTE));
    assert_eq!(host.pass(2 * MINUTE), [START.plus(87_600 * HOUR)]);
    host.clock(START.plus(30 * HOUR - MINUTE));
    assert_eq!(host.pass(2 * MINUTE), [START.plus(30 * HOUR)]);
}

#[test]
fn an_agent_that_starts_waits_a_little_for_its_control_plane() {
    let due = START.plus(2 * HOUR);
    let start = |late: u64, kept: &Kept| {
        let now = Now { monotonic: Duration::from_secs(9), wall: due.plus(Duration::from_secs(late)) };
        let mut host = Host { alone: Alone::new(now, node(), kept.clone()), now };
        let at_once = host.tell(Input::Schedules(vec![schedule("0 2 * * *")]));
        (host, at_once)
    };
    let (mut host, at_once) = start(5, &Kept::default());
    assert_eq!(at_once, []);
    assert_eq!(host.pass(START_GRACE - TICK), []);
    assert_eq!(host.pass(TICK), [due]);
    let kept = host.alone.kept().clone();
    assert_eq!(start(30, &kept).1, [], "begun by the one before");
    assert_eq!(start(30, &kept).0.pass(MINUTE), []);
    // There is hardly time left: better now than never.
    assert_eq!(start(50, &Kept::default()).0.pass(Duration::from_secs(5)), [due]);
    assert_eq!(start(58, &Kept::default()).1, [due]);
    assert_eq!(start(61, &Kept::default()).0.pass(MINUTE), []);
}

#[test]
fn whom_the_control_plane_refused_begins_nothing() {
    let mut host = Host::new(schedule("0 * * * *"));
    host.tell(Input::Refused);
    assert_eq!(host.tell(Input::Away), []);
    assert_eq!((host.pass(3 * HOUR), host.alone.next_deadline(host.now)), (vec![], None));
    let mut again = Host { alone: Alone::new(host.now, node(), host.alone.kept().clone()), now: host.now };
    again.tell(Input::Schedules(vec![schedule("0 * * * *")]));
    again.tell(Input::Away);
    assert_eq!(again.pass(3 * HOUR), []);
    again.tell(Input::Connected);
    again.tell(Input::Away);
    assert_eq!(again.pass(HOUR), [START.plus(7 * HOUR)]);
    assert!(matches!(again.alone.kept(), Kept { refused: false, .. }));
}

#[test]
fn its_window_has_to_be_open() {
    let late = ScheduleAssignment { window: window("0 20 * * *", 4 * HOUR, HOUR), ..schedule("30 18-23 * * *") };
    let mut host = Host::new(late);
    let at = |minutes: u32| START.plus(MINUTE * minutes);
    assert_eq!(host.pass(24 * HOUR), [at(20 * 60 + 30), at(21 * 60 + 30), at(22 * 60 + 30)]);
    // It opens within the fire's minute, and from its cutoff on nothing starts.
    let edge = ScheduleAssignment { window: window("1 0 * * *", MINUTE, MINUTE / 2), ..schedule("0 * * * *") };
    let mut host = Host::new(edge);
    host.pass(23 * HOUR);
    assert_eq!(host.pass(HOUR + MINUTE - TICK), []);
    host.now = host.now.plus(TICK);
    let offer = begun(&host.alone.step(host.now, Input::Tick)).remove(0);
    assert_eq!((fire_of(&offer), offer.begin_by), (START.plus(24 * HOUR), host.now.wall.plus(MINUTE / 2)));
}

#[test]
fn what_was_due_before_it_was_there_is_not_its_own() {
    let mut host = Host::new(ScheduleAssignment { since: START.plus(HOUR), ..schedule("0 * * * *") });
    assert_eq!(host.pass(2 * HOUR), [START.plus(2 * HOUR)]);
    // A change of another field begins nothing anew, and one that went is forgotten.
    let changed = ScheduleAssignment { timeout: HOUR, ..schedule("0 * * * *") };
    assert_eq!(host.tell(Input::Schedules(vec![changed])), []);
    host.tell(Input::Schedules(Vec::new()));
    assert!(host.alone.kept().is_empty() && host.alone.held().is_empty());
    assert_eq!(host.alone.next_deadline(host.now), None);
}

#[test]
fn it_says_when_it_is_due_and_what_it_can_not_do() {
    let berlin = ScheduleAssignment { zone: Zone("Europe/Berlin".into()), ..schedule("0 20 * * tue") };
    let mars = ScheduleAssignment { name: name("mars"), zone: Zone("Mars/Base".into()), ..schedule("0 2 * * *") };
    let mut host = Host::new(berlin);
    assert_eq!(host.alone.held()[0].words(START), "Tue 24 Nov 20:00 Europe/Berlin, in 2 d 19 h");
    host.tell(Input::Schedules(vec![mars, schedule("0 * * * *")]));
    assert!(host.alone.held()[0].words(START).starts_with("never: this version knows no time zone \"Mars/Base\""));
    assert_eq!(host.pass(HOUR), [START.plus(HOUR)], "the others are held all the same");
}
