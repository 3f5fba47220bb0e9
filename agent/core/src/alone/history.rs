//! Hosts under random histories: the link comes and goes, clocks are moved, the agent and
//! its host die. What is due while a host is cut off for all of its minute begins there,
//! and nothing begins twice, too late, or beside a control plane that is connected.

use super::tests::{START, begun, fire_of, node, schedule};
use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;

const LINES: [&str; 4] = ["0 * * * *", "*/7 * * * *", "* * * * *", "30 1-5 * * *"];

#[derive(Clone, Debug)]
enum Deed {
    Pass {
        seconds: u32,
    },
    /// To just about where the next is due.
    PassToDue {
        less: u8,
    },
    Jump {
        seconds: u32,
        back: bool,
    },
    Connect,
    Cut,
    Refuse,
    /// It is not there for so long.
    Restart {
        seconds: u32,
    },
    /// After what it keeps next, and before what would follow.
    DiesInBetween,
    /// The same schedules once more, as a change of something else sends them.
    Orders,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Connected,
    Away,
    Refused,
}

struct World {
    schedule: ScheduleAssignment,
    recurrence: Recurrence,
    place: Duration,
    now: Now,
    alone: Alone,
    disk: Kept,
    deadline: Option<Duration>,
    link: Link,
    begun: BTreeSet<Timestamp>,
    /// Kept, and not begun any more.
    lost: BTreeSet<Timestamp>,
    /// Since when it is cut off with its agent there, by a clock that nobody moves.
    watched: Option<Timestamp>,
    /// The newest that was begun by then: what is behind it does not begin any more.
    floor: Timestamp,
    dies: bool,
}

impl World {
    fn new(line: &str, jitter: Duration) -> Self {
        let schedule = ScheduleAssignment { jitter, ..schedule(line) };
        let recurrence = Recurrence::new(schedule.when.clone(), &schedule.zone).expect("a zone");
        let place = jittered(schedule.name.as_str(), &node(), START, jitter).since(START);
        // A day is there to go back.
        let now = Now { monotonic: Duration::from_secs(3), wall: START.plus(Duration::from_secs(86_400)) };
        let alone = Alone::new(now, node(), Kept::default());
        let mut world = Self {
            schedule,
            recurrence,
            place,
            now,
            alone,
            disk: Kept::default(),
            deadline: None,
            link: Link::Away,
            begun: BTreeSet::new(),
            lost: BTreeSet::new(),
            watched: Some(now.wall),
            floor: Timestamp::default(),
            dies: false,
        };
        let first = Input::Schedules(vec![world.schedule.clone()]);
        world.tell(first).expect("nothing is due yet");
        world
    }

    fn tell(&mut self, input: Input) -> Result<(), String> {
        for effect in self.alone.step(self.now, input) {
            match effect {
                Effect::Keep => self.disk = self.alone.kept().clone(),
                Effect::Begin { .. } if self.dies => {
                    self.lost.extend(begun(&[effect]).iter().map(fire_of));
                    self.dies = false;
                    return self.restart(1);
                }
                Effect::Begin { .. } => self.begins(fire_of(&begun(&[effect]).remove(0)))?,
            }
        }
        self.deadline = self.alone.next_deadline(self.now);
        match self.deadline {
            Some(deadline) if deadline <= self.now.monotonic => Err("it would look again at once".to_owned()),
            Some(_) if self.link != Link::Away => Err(format!("it looks while it is {:?}", self.link)),
            _ => Ok(()),
        }
    }

    fn begins(&mut self, fire: Timestamp) -> Result<(), String> {
        let (now, due) = (self.now.wall, fire.plus(self.place));
        if self.link != Link::Away {
            return Err(format!("{fire} begins while it is {:?}", self.link));
        }
        if now < due || now > due.plus(ON_TIME) {
            return Err(format!("{fire} begins at {now}"));
        }
        if self.lost.contains(&fire) || !self.begun.insert(fire) {
            return Err(format!("{fire} begins twice"));
        }
        Ok(())
    }

    fn watch(&mut self, since: Option<Timestamp>) {
        self.watched = since;
        self.floor = self.begun.union(&self.lost).max().copied().unwrap_or_default();
    }

    fn restart(&mut self, seconds: u32) -> Result<(), String> {
        self.complete()?;
        self.now = self.now.plus(Duration::from_secs(seconds.into()));
        self.alone = Alone::new(self.now, node(), self.disk.clone());
        // Who was refused stays so, also where nobody answers now.
        self.link = if self.link == Link::Refused { Link::Refused } else { Link::Away };
        self.watch((self.link == Link::Away).then_some(self.now.wall));
        self.tell(Input::Schedules(vec![self.schedule.clone()]))?;
        self.tell(Input::Away)
    }

    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let end = self.now.plus(span).monotonic;
        while let Some(next) = self.deadline.filter(|next| *next <= end) {
            self.now = self.now.plus(next.saturating_sub(self.now.monotonic));
            self.tell(Input::Tick)?;
            self.complete()?;
        }
        self.now = self.now.plus(end.saturating_sub(self.now.monotonic));
        self.complete()
    }

    /// Whatever was due for a whole minute since it is watched was begun.
    fn complete(&self) -> Result<(), String> {
        let Some(watched) = self.watched else { return Ok(()) };
        let from = watched.minus(self.place).minus(TICK);
        // At the end of its minute it is looked at once more.
        let to = self.now.wall.minus(self.place).minus(ON_TIME).minus(TICK);
        for fire in self.recurrence.between(from.max(self.floor), to, usize::MAX) {
            if !self.begun.contains(&fire.at) && !self.lost.contains(&fire.at) {
                return Err(format!("{} is missed at {}, watched since {watched}", fire.at, self.now.wall));
            }
        }
        Ok(())
    }

    fn moved(&mut self, link: Link, input: Input) -> Result<(), String> {
        self.complete()?;
        let quiet = self.link == Link::Refused && link == Link::Away;
        if !quiet {
            if self.link != link {
                self.watch((link == Link::Away).then_some(self.now.wall));
            }
            self.link = link;
        }
        self.tell(input)
    }

    fn play(&mut self, deed: &Deed) -> Result<(), String> {
        match *deed {
            Deed::Pass { seconds } => self.pass(Duration::from_secs(seconds.into())),
            Deed::PassToDue { less } => {
                let next = self.recurrence.next_after(self.now.wall.minus(self.place)).expect("one comes").at;
                let span = next.plus(self.place).since(self.now.wall);
                self.pass(span.saturating_sub(Duration::from_secs(less.into())))
            }
            Deed::Jump { seconds, back } => {
                self.complete()?;
                let span = Duration::from_secs(seconds.into());
                let earliest = START.plus(Duration::from_secs(3_600));
                self.now.wall = if back { self.now.wall.minus(span).max(earliest) } else { self.now.wall.plus(span) };
                // It is noticed at the next look.
                let settles = self.now.wall.plus(LOOK);
                self.watch(self.watched.map(|_| settles));
                Ok(())
            }
            Deed::Connect => self.moved(Link::Connected, Input::Connected),
            Deed::Cut => self.moved(Link::Away, Input::Away),
            Deed::Refuse => self.moved(Link::Refused, Input::Refused),
            Deed::Restart { seconds } => self.restart(seconds),
            Deed::DiesInBetween => {
                self.dies = true;
                Ok(())
            }
            Deed::Orders => self.tell(Input::Schedules(vec![self.schedule.clone()])),
        }
    }
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => (0u32..9_000).prop_map(|seconds| Deed::Pass { seconds }),
        6 => (0u8..90).prop_map(|less| Deed::PassToDue { less }),
        // All of them together go back by less than a day: further, and marks are not believed.
        2 => (1u32..2_000, any::<bool>()).prop_map(|(seconds, back)| Deed::Jump { seconds, back }),
        3 => Just(Deed::Connect),
        4 => Just(Deed::Cut),
        1 => Just(Deed::Refuse),
        3 => (0u32..90).prop_map(|seconds| Deed::Restart { seconds }),
        1 => Just(Deed::DiesInBetween),
        1 => Just(Deed::Orders),
    ];
    proptest::collection::vec(deed, 1..40)
}

proptest! {
    #[test]
    fn what_is_due_while_it_is_cut_off_begins_once(
        line in select(LINES.to_vec()),
        jitter in select(vec![0_u64, 45, 600]),
        deeds in deeds(),
    ) {
        let mut world = World::new(line, Duration::from_secs(jitter));
        for deed in &deeds {
            let played = world.play(deed);
            prop_assert!(played.is_ok(), "{} at {deed:?}", played.err().unwrap_or_default());
        }
    }
}

#[test]
fn the_world_finds_what_is_planted() {
    let hour = START.plus(Duration::from_secs(25 * 3_600));
    let world = || {
        let mut world = World::new("0 * * * *", Duration::ZERO);
        world.now.wall = hour;
        world
    };
    assert_eq!(world().begins(hour), Ok(()));
    let mut twice = world();
    twice.begun.insert(hour);
    assert!(twice.begins(hour).is_err_and(|error| error.contains("twice")));
    let mut connected = world();
    connected.link = Link::Connected;
    assert!(connected.begins(hour).is_err_and(|error| error.contains("Connected")));
    let mut late = world();
    late.now = late.now.plus(ON_TIME + TICK);
    assert!(late.begins(hour).is_err());
    late.now = late.now.plus(TICK);
    assert!(late.complete().is_err_and(|error| error.contains("missed")));
}
