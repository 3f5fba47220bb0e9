//! What a seed makes of a world: its budgets, what operators ask for, and what goes wrong.

use super::dice::Dice;
use super::timers::{Timer, timers};
use hostler_core::runs::budget::Budget;
use hostler_core::runs::{Order, Verb};
use hostler_types::spec::{Packages, Reboot};
use hostler_types::task::Command;
use hostler_types::{Name, NodeId, ServiceVerb, TaskId, TaskStep, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds since the world began.
pub type Ms = u64;

pub const HOSTS: usize = 50;
pub const SECOND: Ms = 1_000;
const MINUTE: Ms = 60 * SECOND;
const HOUR: i64 = 3_600_000;
/// What every clock shows at first.
pub const WALL: Ms = 1_800_000_000_000;

/// A run that an operator asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub order: Order,
    pub steps: Vec<TaskStep>,
    pub hosts: Vec<usize>,
}

#[derive(Clone, Debug)]
pub enum Deed {
    Begin(Box<Wish>),
    /// The so many-th run that there was.
    Control(u64, Verb),
    /// After so many writes and messages more, and for so long.
    ControlDies(usize, Ms),
    ControlClock(i64),
    /// The connection is reset: what is on its way is lost.
    Break(usize),
    /// For so long nothing comes to these hosts, or from them.
    Cut {
        hosts: Vec<usize>,
        down: bool,
        up: bool,
        span: Ms,
    },
    /// After so many effects more, and for so long.
    AgentDies(usize, usize, Ms),
    PowerCut(usize, Ms),
    /// So long after so many effects more, and for so long.
    PowerFails {
        host: usize,
        after: usize,
        delay: Ms,
        span: Ms,
    },
    HostClock(usize, i64),
    /// Nobody knows whether what is asked next of the host is done.
    Lose(usize),
    /// Its tasks wait behind something slow.
    Busy(usize, Ms),
    Sick(usize, bool),
    Freeze(usize, bool),
    Remove(usize),
    /// A second control plane begins from a copy of the first one's records, so old;
    /// the first goes on for a while.
    Split {
        age: Ms,
        span: Ms,
    },
}

pub struct Plan {
    pub budgets: Vec<Budget>,
    pub timers: Vec<Timer>,
    pub deeds: Vec<(Ms, Deed)>,
    /// From then on nothing goes wrong any more.
    pub heals: Ms,
}

pub fn node(host: usize) -> NodeId {
    NodeId::from_random([u8::try_from(host + 1).expect("few hosts"); 10])
}

pub fn name(host: usize) -> Name {
    Name::new(format!("web{host}")).expect("a name")
}

impl Plan {
    pub fn new(dice: &mut Dice) -> Self {
        let heals = dice.between(2, 8) * MINUTE;
        let mut deeds = Vec::new();
        for number in 0..dice.between(3, 6) {
            let at = if number == 0 { SECOND } else { dice.between(SECOND, heals * 3 / 4) };
            deeds.push((at, Deed::Begin(Box::new(wish(dice)))));
            if dice.chance(400) {
                let verb = dice.pick(&[Verb::Pause, Verb::Pause, Verb::Abort]);
                deeds.push((at + dice.between(0, 2 * MINUTE), Deed::Control(number + 1, verb)));
                if verb == Verb::Pause {
                    deeds.push((at + dice.between(MINUTE, 4 * MINUTE), Deed::Control(number + 1, Verb::Resume)));
                }
            }
        }
        for _ in 0..dice.between(10, 80) {
            let at = dice.between(0, heals);
            trouble(dice, at, &mut deeds);
        }
        if dice.chance(400) {
            let (age, span) = (dice.between(0, MINUTE), dice.between(10 * SECOND, 3 * MINUTE));
            deeds.push((dice.between(20 * SECOND, heals * 3 / 4), Deed::Split { age, span }));
        }
        Self { budgets: budgets(dice), timers: timers(dice), deeds, heals }
    }
}

fn jump(dice: &mut Dice) -> i64 {
    let small = i64::try_from(dice.between(1, 90_000)).expect("small");
    let span = dice.pick(&[HOUR, HOUR, 24 * HOUR, small]);
    if dice.chance(500) { -span } else { span }
}

fn trouble(dice: &mut Dice, at: Ms, deeds: &mut Vec<(Ms, Deed)>) {
    let host = dice.index(HOSTS);
    let back = at + dice.between(SECOND, 2 * MINUTE);
    match dice.between(0, 23) {
        0..=3 => deeds.push((at, Deed::Break(host))),
        4..=6 => {
            let hosts = if dice.chance(300) { dice.some(25, HOSTS) } else { dice.some(3, HOSTS) };
            let (down, up) = dice.pick(&[(true, true), (true, true), (true, false), (false, true)]);
            // Some are longer than anybody waits for a host.
            let (least, most) = if dice.chance(300) { (MINUTE, 4 * MINUTE) } else { (SECOND, MINUTE) };
            let span = dice.between(least, most);
            deeds.push((at, Deed::Cut { hosts, down, up, span }));
        }
        7..=11 => {
            let span = dice.pick(&[4 * MINUTE, MINUTE, MINUTE, MINUTE, SECOND / 10]);
            deeds.push((at, Deed::AgentDies(host, dice.index(12), dice.between(50, span))));
        }
        12 => deeds.push((at, Deed::PowerCut(host, dice.between(5 * SECOND, 4 * MINUTE)))),
        13 => {
            let (after, delay, span) = (dice.index(12), dice.between(0, 5 * SECOND), dice.between(SECOND, 4 * MINUTE));
            deeds.push((at, Deed::PowerFails { host, after, delay, span }));
        }
        14..=15 => deeds.push((at, Deed::HostClock(host, jump(dice)))),
        16 => deeds.push((at, Deed::Lose(host))),
        17 => deeds.push((at, Deed::Busy(host, dice.between(SECOND, 20 * SECOND)))),
        18..=19 => {
            deeds.push((at, Deed::Sick(host, true)));
            deeds.push((back, Deed::Sick(host, false)));
        }
        20 => {
            deeds.push((at, Deed::Freeze(host, true)));
            deeds.push((back, Deed::Freeze(host, false)));
        }
        21..=22 => deeds.push((at, Deed::ControlDies(dice.index(30), dice.between(200, 30 * SECOND)))),
        _ if dice.chance(250) => deeds.push((at, Deed::Remove(host))),
        _ => deeds.push((at, Deed::ControlClock(jump(dice)))),
    }
}

fn budgets(dice: &mut Dice) -> Vec<Budget> {
    let budget = |name: &str, max_down, hosts: Vec<usize>| Budget {
        name: name.into(),
        origin: "system.yaml:4".into(),
        max_down,
        nodes: hosts.into_iter().map(|host| (node(host), super::plan::name(host))).collect::<BTreeMap<_, _>>(),
    };
    vec![
        budget("web", dice.index(3) + 1, (0..20).collect()),
        budget("db", 1, (15..25).collect()),
        budget("all", dice.index(6) + 3, (0..HOSTS).collect()),
    ]
}

fn step(dice: &mut Dice) -> TaskStep {
    let named = |text: &str| Name::new(text).expect("a name");
    let service = |verb| TaskStep::Service { service: named("api"), verb };
    match dice.between(0, 15) {
        0..=4 => {
            let program = dice.pick(&["quick", "quick", "short", "short", "fails", "long", "stubborn"]);
            TaskStep::Command(Command { argv: vec![program.into()], ..Command::default() })
        }
        5..=8 => service(ServiceVerb::Restart),
        9 => service(ServiceVerb::Start),
        10 => TaskStep::Packages(Packages::Security),
        11..=12 => TaskStep::Reboot(Reboot::Always),
        13 => TaskStep::Check { check: named("ok"), within: Duration::from_secs(9) },
        14 => TaskStep::Wait(Duration::from_secs(3)),
        _ => TaskStep::Drain,
    }
}

fn wish(dice: &mut Dice) -> Wish {
    let steps: Vec<TaskStep> = (0..dice.between(1, 3)).map(|_| step(dice)).collect();
    let count = dice.index(15) + 2;
    let seconds = |dice: &mut Dice, from, to| Duration::from_secs(dice.between(from, to));
    let order = Order {
        number: 0,
        task: TaskId::of_run(0, 0),
        title: String::new(),
        by: "ada".into(),
        reason: String::new(),
        at: Timestamp::default(),
        origin: "care.yaml:3".into(),
        chosen: "role=web".into(),
        max: dice.index(8) + 1,
        max_errors: dice.pick(&[0, 2, 5, 20]),
        canary: if dice.chance(250) { dice.index(3) } else { 0 },
        jitter: if dice.chance(250) { seconds(dice, 1, 60) } else { Duration::ZERO },
        timeout: seconds(dice, 10, 60),
        deadline: dice.chance(300).then(|| seconds(dice, 20, 240)),
        begin_by: None,
        fire: None,
        disturbs: steps.iter().any(TaskStep::disturbs),
        settles: steps.iter().any(TaskStep::settles),
    };
    Wish { order, steps, hosts: dice.some(count, HOSTS) }
}
