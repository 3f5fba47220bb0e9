//! Schedules of a world: each does something short on some hosts, so that it is seen how
//! often.

use super::dice::Dice;
use super::plan::{HOSTS, node};
use hostler_core::runs::Order;
use hostler_core::schedules::{Hold, Schedule};
use hostler_types::calendar::{Recurrence, jittered};
use hostler_types::cron::Cron;
use hostler_types::spec::{Missed, Overlap, Zone};
use hostler_types::task::Command;
use hostler_types::{Name, ScheduleAssignment, TaskId, TaskStep, Timestamp};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Timer {
    pub name: Name,
    cron: Cron,
    pub recurrence: Recurrence,
    jitter: Duration,
    missed: Missed,
    pub overlap: Overlap,
    pub deadline: Duration,
    /// Hosts that are cut off do it by themselves.
    pub alone: bool,
    pub steps: Vec<TaskStep>,
    pub hosts: Vec<usize>,
    max: usize,
}

/// Some worlds have none.
pub fn timers(dice: &mut Dice) -> Vec<Timer> {
    if dice.chance(600) {
        return Vec::new();
    }
    (0..dice.between(1, 2)).map(|number| timer(dice, number)).collect()
}

fn timer(dice: &mut Dice, number: u64) -> Timer {
    let cron = Cron::parse(dice.pick(&["* * * * *", "*/2 * * * *", "*/2 * * * *", "0 * * * *"])).expect("a line");
    let program = dice.pick(&["quick", "quick", "short"]);
    let count = dice.index(5) + 2;
    Timer {
        name: Name::new(format!("tidy{number}")).expect("a name"),
        recurrence: Recurrence::new(cron.clone(), &Zone::utc()).expect("a zone"),
        cron,
        jitter: Duration::from_secs(dice.pick(&[0, 0, 20])),
        missed: dice.pick(&[Missed::Skip, Missed::Once, Missed::All]),
        overlap: dice.pick(&[Overlap::Allow, Overlap::Allow, Overlap::Forbid, Overlap::Replace]),
        deadline: Duration::from_secs(dice.pick(&[1, 600, 7_200])),
        alone: dice.chance(600),
        steps: vec![TaskStep::Command(Command { argv: vec![program.into()], ..Command::default() })],
        hosts: dice.some(count, HOSTS),
        max: dice.index(4) + 1,
    }
}

impl Timer {
    /// As the control plane has it.
    pub fn schedule(&self, held: bool) -> Schedule {
        Schedule {
            recurrence: self.recurrence.clone(),
            window: None,
            missed: self.missed,
            deadline: self.deadline,
            overlap: self.overlap,
            hold: held.then(|| Hold::Paused { by: "ada".into() }),
            since: SINCE,
        }
    }

    /// As a host holds it.
    pub fn assignment(&self) -> ScheduleAssignment {
        ScheduleAssignment {
            name: self.name.clone(),
            when: self.cron.clone().into(),
            zone: Zone::utc(),
            jitter: self.jitter,
            since: SINCE,
            window: None,
            steps: self.steps.clone(),
            timeout: TIMEOUT,
            origin: String::new(),
        }
    }

    /// The run that a fire becomes; one that comes too late only asks.
    pub fn order(&self, due: Timestamp, asks: bool) -> Order {
        let only_on_time = asks;
        let fire = hostler_core::runs::Fire { schedule: self.name.clone(), at: due, alone: self.alone, only_on_time };
        Order {
            number: 0,
            task: TaskId::of_fire(&self.name, due),
            title: String::new(),
            by: format!("schedule/{}", self.name),
            reason: String::new(),
            at: Timestamp::default(),
            origin: "care.yaml:9".into(),
            chosen: "role=web".into(),
            max: if asks { self.hosts.len() } else { self.max },
            max_errors: self.hosts.len(),
            canary: 0,
            jitter: self.jitter,
            timeout: TIMEOUT,
            deadline: None,
            begin_by: None,
            fire: Some(fire),
            disturbs: false,
            settles: false,
        }
    }

    /// A host's own place within the jitter.
    pub fn place(&self, host: usize) -> Duration {
        let start = Timestamp::default();
        jittered(self.name.as_str(), &node(host), start, self.jitter).since(start)
    }
}

/// When the world begins.
const SINCE: Timestamp = Timestamp::from_millis(super::plan::WALL);
const TIMEOUT: Duration = Duration::from_secs(20);
