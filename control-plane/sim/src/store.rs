//! What of a control plane survives it, as its shell writes it down.

use super::plan::Ms;
use hostler_core::runs::{Order, Run, RunState, SETTLE, Task};
use hostler_core::schedules::Ledger;
use hostler_types::{Name, NodeId, Now, TaskId, TaskReport, TaskState, TaskStep, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub struct Head {
    pub order: Order,
    pub steps: Vec<TaskStep>,
    pub state: RunState,
    pub words: String,
    pub ended: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub name: Name,
    pub place: u32,
    pub offered: Option<Timestamp>,
    pub report: TaskReport,
}

impl Row {
    pub fn of(task: &Task) -> Self {
        Self { name: task.name.clone(), place: task.place, offered: task.offered, report: task.report.clone() }
    }
}

/// One write; they sort as keys do: a head comes after what it names.
#[derive(Clone, Debug)]
pub enum Put {
    Newest(u64),
    Note(u64),
    Task(u64, NodeId, Box<Row>),
    /// What a host did alone, of which no run is known.
    End(TaskId, usize, Box<TaskReport>),
    /// With the fire that it is of, if it is one.
    Head(u64, Box<Head>, Option<Box<Beside>>),
}

/// What is kept in one commit with a run.
#[derive(Clone, Debug)]
pub struct Beside {
    pub timer: usize,
    pub due: Timestamp,
    pub ledger: Ledger,
    pub asks: bool,
}

/// What a fire came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Run { number: u64, at: Ms, asks: bool },
    Nothing,
}

impl Put {
    pub fn key(&self) -> (u8, u64, Option<NodeId>) {
        match self {
            Self::Newest(_) => (0, 0, None),
            Self::Note(number) => (1, *number, None),
            Self::Task(number, node, _) => (2, *number, Some(node.clone())),
            Self::End(_, host, _) => (3, *host as u64, None),
            Self::Head(number, ..) => (4, *number, None),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Store {
    pub newest: u64,
    pub notes: BTreeMap<u64, usize>,
    pub tasks: BTreeMap<(u64, NodeId), Row>,
    pub heads: BTreeMap<u64, Head>,
    /// Up to where the spool of each host is kept.
    pub marks: BTreeMap<usize, u64>,
    /// Of schedules, without what runs.
    pub ledgers: BTreeMap<usize, Ledger>,
    pub fires: BTreeMap<(usize, Timestamp), Became>,
    pub ends: BTreeMap<(TaskId, usize), TaskReport>,
}

impl Store {
    pub fn put(&mut self, put: Put) {
        match put {
            Put::Newest(newest) => self.newest = newest,
            Put::Note(number) => *self.notes.entry(number).or_default() += 1,
            Put::Task(number, node, row) => drop(self.tasks.insert((number, node), *row)),
            Put::End(id, host, report) => drop(self.ends.insert((id, host), *report)),
            Put::Head(number, head, _) => drop(self.heads.insert(number, *head)),
        }
    }

    /// What runs is read from the runs.
    pub fn put_ledger(&mut self, timer: usize, ledger: &Ledger) {
        let running = BTreeSet::new();
        self.ledgers.insert(timer, Ledger { running, ..ledger.clone() });
    }

    /// Whether there is a run of it.
    pub fn has(&self, id: &TaskId) -> bool {
        self.heads.values().any(|head| head.order.task == *id)
    }

    pub fn row(&self, id: &TaskId, node: &NodeId) -> Option<&Row> {
        let (number, _) = self.heads.iter().find(|(_, head)| head.order.task == *id)?;
        self.tasks.get(&(*number, node.clone()))
    }

    /// Those that are not over, and those that disturbed somebody a moment ago.
    pub fn load(&self, now: Now) -> Vec<Run> {
        let recent = |head: &Head| head.ended.is_some_and(|ended| now.wall.since(ended) < SETTLE);
        let heads = self.heads.iter().filter(|(_, head)| !head.state.is_over() || recent(head));
        heads.map(|(number, head)| self.run(*number, head)).collect()
    }

    fn run(&self, number: u64, head: &Head) -> Run {
        let rows = self.tasks.iter().filter(|((of, _), _)| *of == number);
        let tasks = rows.map(|((_, node), row)| {
            let mut task = Task::new(row.name.clone(), row.place, row.report.clone());
            task.offered = row.offered;
            (node.clone(), task)
        });
        let notes = self.notes.get(&number).copied().unwrap_or_default().max(1);
        let mut run = Run::new(head.order.clone(), tasks.collect()).restored(head.state, head.words.clone(), notes);
        run.ended = head.ended;
        run
    }

    pub fn state_of(&self, id: &TaskId, node: &NodeId) -> Option<TaskState> {
        self.row(id, node).map(|row| row.report.state)
    }
}

/// A copy of the records, and when it was made.
pub type Backup = (Ms, Store);
