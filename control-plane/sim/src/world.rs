//! The world: what comes next, and to whom.

use super::Sabotage;
use super::control::Control;
use super::dice::Dice;
use super::host::{Host, Place};
use super::judge::Judge;
use super::plan::{Deed, HOSTS, Ms, Plan, SECOND, node};
use super::timers::Timer;
use super::wire::{Down, Stream, Up};
use hostler_agent_core::tasks::{Fate, Input};
use hostler_core::runs::budget::Budget;
use hostler_types::NodeId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// After all is well schedules go on for so long.
const FIRES_ON: Ms = 4 * 60 * SECOND;
/// Of a story that nobody reads, the end is enough.
const STORY_LINES: usize = 400_000;
/// Far more than a run of this size takes: a world that does not come to rest is wrong.
const EVENTS_MAX: u64 = 3_000_000;

pub enum Event {
    Deed(Deed),
    Heals,
    /// Schedules are paused, so that all comes to rest.
    Holds,
    Uncut(Vec<usize>),
    Down {
        stream: u64,
        message: Box<Down>,
    },
    Up {
        stream: u64,
        message: Box<Up>,
    },
    /// A cut is over, and what it held back comes.
    Resent {
        stream: u64,
    },
    /// One end of a connection hears that it is over.
    HostHears {
        stream: u64,
    },
    ControlHears {
        stream: u64,
    },
    Turn {
        control: usize,
        life: u32,
    },
    Written {
        control: usize,
        life: u32,
    },
    Look {
        control: usize,
        life: u32,
        at: Ms,
    },
    Schedules {
        control: usize,
        life: u32,
        at: Ms,
    },
    ScheduleWritten {
        control: usize,
        life: u32,
    },
    LeaseEnds {
        control: usize,
        life: u32,
        host: usize,
        renewed: Ms,
    },
    ControlBack {
        control: usize,
    },
    ControlEnds {
        control: usize,
    },
    Dial {
        host: usize,
        life: u32,
    },
    GivesUp {
        host: usize,
        life: u32,
        stream: u64,
    },
    Restored {
        host: usize,
        life: u32,
    },
    Ask {
        host: usize,
        life: u32,
        ask: Box<Down>,
    },
    ToAgent {
        host: usize,
        life: u32,
        input: Box<Input>,
    },
    Tick {
        host: usize,
        life: u32,
        at: Ms,
    },
    Alone {
        host: usize,
        life: u32,
        at: Ms,
    },
    Measured {
        host: usize,
        life: u32,
    },
    AgentBack {
        host: usize,
        life: u32,
    },
    PowerBack {
        host: usize,
        boot: u32,
    },
    Starts {
        host: usize,
        boot: u32,
        place: Place,
        after: Ms,
        fate: Fate,
    },
    Ends {
        host: usize,
        boot: u32,
        place: Place,
        fate: Fate,
    },
    Stopped {
        host: usize,
        boot: u32,
        life: u32,
        place: Place,
    },
    Restarts {
        host: usize,
        boot: u32,
        place: Option<Place>,
    },
    Shutdown {
        host: usize,
        boot: u32,
        place: Place,
    },
}

pub struct World {
    pub now: Ms,
    pub dice: Dice,
    pub sabotage: Sabotage,
    pub queue: BTreeMap<(Ms, u64), Event>,
    count: u64,
    pub controls: Vec<Control>,
    /// Whom operators ask. One before it is of a time that is over.
    pub main: usize,
    pub hosts: Vec<Host>,
    pub places: BTreeMap<NodeId, usize>,
    pub streams: BTreeMap<u64, Stream>,
    pub streams_made: u64,
    pub budgets: Vec<Budget>,
    pub timers: Vec<Timer>,
    pub frozen: BTreeSet<usize>,
    pub removed: BTreeSet<usize>,
    pub begun: u64,
    pub heals: Ms,
    pub healed: bool,
    /// All schedules are.
    pub held: bool,
    pub judge: Judge,
    pub wrong: Option<String>,
    tells: bool,
    pub story: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64, sabotage: Sabotage, tells: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::new(&mut dice);
        let mut world = Self {
            now: 0,
            dice,
            sabotage,
            queue: BTreeMap::new(),
            count: 0,
            controls: vec![Control::new()],
            main: 0,
            hosts: (0..HOSTS).map(Host::new).collect(),
            places: (0..HOSTS).map(|host| (node(host), host)).collect(),
            streams: BTreeMap::new(),
            streams_made: 0,
            budgets: plan.budgets,
            timers: plan.timers,
            frozen: BTreeSet::new(),
            removed: BTreeSet::new(),
            begun: 0,
            heals: plan.heals,
            healed: false,
            held: false,
            judge: Judge::default(),
            wrong: None,
            tells,
            story: VecDeque::new(),
        };
        for (at, deed) in plan.deeds {
            world.at(at, Event::Deed(deed));
        }
        world.at(plan.heals, Event::Heals);
        world.at(plan.heals + if world.timers.is_empty() { 0 } else { FIRES_ON }, Event::Holds);
        world.control_begins(0);
        (0..HOSTS).for_each(|host| world.power_on(host));
        world
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.tells {
            if self.story.len() == STORY_LINES {
                self.story.pop_front();
            }
            let line = format!("{:>9.3} {}", self.now as f64 / 1000.0, line());
            self.story.push_back(line);
        }
    }

    /// The first thing that must not be.
    pub fn fail(&mut self, what: String) {
        self.tell(|| format!("WRONG: {what}"));
        self.wrong.get_or_insert(what);
    }

    pub fn at(&mut self, at: Ms, event: Event) {
        self.count += 1;
        self.queue.insert((at.max(self.now), self.count), event);
    }

    pub fn later(&mut self, from: Ms, to: Ms, event: Event) {
        let at = self.now + self.dice.between(from, to);
        self.at(at, event);
    }

    /// Until nothing goes wrong any more, and then until all is over.
    pub fn play(&mut self) -> Result<(), String> {
        let mut bound = None;
        for _ in 0..EVENTS_MAX {
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
            if self.healed && self.is_over() {
                return self.judge_the_end();
            }
            let Some(((at, _), event)) = self.queue.pop_first() else {
                return Err(self.still_open("nothing comes any more"));
            };
            self.now = at;
            if self.healed && *bound.get_or_insert_with(|| self.bound()) < at {
                return Err(self.still_open("its time is over"));
            }
            self.come(event);
        }
        Err(self.still_open("it does not come to rest"))
    }

    fn come(&mut self, event: Event) {
        match event {
            Event::Deed(deed) if !self.healed => self.does(deed),
            Event::Deed(_) => {}
            Event::Heals => self.heal(),
            Event::Holds => self.hold_schedules(),
            Event::Uncut(hosts) => self.uncut(&hosts),
            Event::Down { stream, message } => self.comes_down(stream, message),
            Event::Up { stream, message } => self.comes_up(stream, message),
            Event::Resent { stream } => self.resent(stream),
            Event::HostHears { stream } => self.host_hears(stream),
            Event::ControlHears { stream } => self.control_hears(stream),
            Event::Turn { control, life } => self.turn(control, life),
            Event::Written { control, life } => self.written(control, life),
            Event::Look { control, life, at } => self.look(control, life, at),
            Event::Schedules { control, life, at } => self.schedules(control, life, at),
            Event::ScheduleWritten { control, life } => self.schedule_written(control, life),
            Event::LeaseEnds { control, life, host, renewed } => self.lease_ends(control, life, host, renewed),
            Event::ControlBack { control } => {
                if control == self.main {
                    self.control_begins(control);
                }
            }
            Event::ControlEnds { control } => self.control_ends(control),
            Event::Dial { host, life } => self.dial(host, life),
            Event::GivesUp { host, life, stream } => self.gives_up(host, life, stream),
            Event::Restored { host, life } => self.restored(host, life),
            Event::Ask { host, life, ask } => self.asked(host, life, *ask),
            Event::ToAgent { host, life, input } => {
                if self.lives(host, life) {
                    self.step(host, *input);
                }
            }
            Event::Tick { host, life, at } => self.tick(host, life, at),
            Event::Alone { host, life, at } => self.look_alone(host, life, at),
            Event::Measured { host, life } => self.measured(host, life),
            Event::AgentBack { host, life } => self.agent_back(host, life),
            Event::PowerBack { host, boot } => self.power_back(host, boot),
            Event::Starts { host, boot, place, after, fate } => self.starts(host, boot, place, after, fate),
            Event::Ends { host, boot, place, fate } => self.ends(host, boot, place, fate),
            Event::Stopped { host, boot, life, place } => self.stopped(host, boot, life, place),
            Event::Restarts { host, boot, place } => self.restarts(host, boot, place),
            Event::Shutdown { host, boot, place } => self.shuts_down(host, boot, place),
        }
    }

    fn does(&mut self, deed: Deed) {
        self.tell(|| format!("== {deed:?}"));
        match deed {
            Deed::Begin(wish) => self.wish(*wish),
            Deed::Control(run, verb) => self.operator(run, verb),
            Deed::ControlDies(after, span) => self.controls[self.main].dies_in = Some((after, span)),
            Deed::ControlClock(by) => self.control_clock(by),
            Deed::Break(host) => {
                if let Some(stream) = self.hosts[host].stream {
                    self.breaks(stream);
                }
            }
            Deed::Cut { hosts, down, up, span } => self.cut(hosts, down, up, span),
            Deed::AgentDies(host, after, span) => self.hosts[host].dies_in = Some((after, span)),
            Deed::PowerCut(host, span) => self.power_cut(host, span),
            Deed::PowerFails { host, after, delay, span } => self.hosts[host].fails_in = Some((after, delay, span)),
            Deed::HostClock(host, by) => self.host_clock(host, by),
            Deed::Lose(host) => self.hosts[host].loses = true,
            Deed::Busy(host, span) => {
                self.hosts[host].busy_until = self.hosts[host].busy_until.max(self.now + span);
            }
            Deed::Sick(host, sick) => self.sick(host, sick),
            Deed::Freeze(host, on) => self.freeze(host, on),
            Deed::Remove(host) => self.remove(host),
            Deed::Split { age, span } => self.split(age, span),
        }
    }

    /// Everything is well from now on, but for clocks.
    fn heal(&mut self) {
        self.tell(|| "== heals".into());
        self.healed = true;
        (0..self.main).for_each(|control| self.control_ends(control));
        self.controls[self.main].dies_in = None;
        if !self.controls[self.main].up {
            self.control_begins(self.main);
        }
        for host in 0..HOSTS {
            (self.hosts[host].dies_in, self.hosts[host].fails_in) = (None, None);
            self.hosts[host].loses = false;
            self.sick(host, false);
            self.freeze(host, false);
            self.heal_host(host);
        }
        self.uncut(&(0..HOSTS).collect::<Vec<_>>());
        let newest = self.controls[self.main].newest + 1;
        (1..=newest).for_each(|run| self.operator(run, hostler_core::runs::Verb::Resume));
    }

    /// If each node of each run took as long as one may, one after the other.
    fn bound(&self) -> Ms {
        let spans = self.controls[self.main].runs.iter().map(|run| {
            let one = run.order.timeout.as_millis() as u64 + 240 * SECOND;
            run.order.jitter.as_millis() as u64 + run.tasks.len() as u64 * one
        });
        self.now + spans.sum::<Ms>() + 6_000 * SECOND
    }

    /// No run is open, no task is, and whoever should know how they ended does.
    fn is_over(&self) -> bool {
        let control = &self.controls[self.main];
        let quiet =
            control.up && control.flight.is_none() && control.inbox.is_empty() && control.runs.iter().next().is_none();
        quiet
            && self.held
            && control.schedules.is_quiet()
            && self.hosts.iter().all(|host| self.removed.contains(&host.index) || host.is_quiet())
    }

    fn still_open(&self, why: &str) -> String {
        let control = &self.controls[self.main];
        let runs: Vec<String> = control
            .runs
            .iter()
            .map(|run| {
                let held = run.tasks.values().filter_map(|task| {
                    Some(format!("{} {}", task.name, task.held.as_ref()?.words)).filter(|_| !task.state().is_over())
                });
                let held: Vec<String> = held.collect();
                format!("{} is {}: {} ({})", run.order.title, run.state.word(), run.tally(), held.join(", "))
            })
            .collect();
        let left = |host: &&Host| !self.removed.contains(&host.index) && !host.is_quiet();
        let hosts: Vec<usize> = self.hosts.iter().filter(left).map(|host| host.index).collect();
        format!("a run does not end: {why}; {}; hosts {hosts:?} are not quiet", runs.join("; "))
    }
}
