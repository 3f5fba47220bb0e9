//! May a node climb a step about a check that fails on it? A node that fails alone may;
//! whether it is alone is known only when the others had the time to fail, too.

use super::causes::{NODES_MIN, Standing, WINDOW, threshold};
use super::minute;
use crate::runs::steps::part;
use hostler_types::spec::Amount;
use hostler_types::units::format_duration;
use hostler_types::{Brake, BrakeKind, Name, Now};
use std::time::Duration;

/// A node that is down waits no longer than this for the others: past that, what it
/// costs to be down is more than what a needless restart does.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// Others that fail the check by the same cause have failed it as well by then.
pub fn alone_after(every: Duration, timeout: Duration) -> Duration {
    (every + timeout).min(WAIT_MAX)
}

#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub check: &'a Name,
    pub every: Duration,
    pub timeout: Duration,
    /// When it came, by our own clock.
    pub asked: Duration,
    /// All that hold on the node.
    pub brakes: &'a [Brake],
    pub standing: Standing,
    pub budgets: &'a [Budget],
}

/// How a budget stands that the node shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: String,
    pub max_down: usize,
    /// Of the others: this node is down already.
    pub down: Vec<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes(Vec<String>),
    No(Vec<String>),
    /// Ask this again then.
    Later(Duration),
}

pub fn answer(now: Now, question: &Question<'_>) -> Answer {
    let about = |brake: &&Brake| brake.check.as_ref().is_none_or(|check| check == question.check);
    let holds = |brake: &&Brake| brake.until.is_none_or(|until| until > now.wall);
    let held: Vec<String> = question.brakes.iter().filter(about).filter(holds).map(held).collect();
    if !held.is_empty() {
        return Answer::No(held);
    }
    let Standing { nodes, failing, together, failing_for } = question.standing;
    let enough = threshold(nodes);
    if together >= enough {
        // About to be held: whoever writes that down is not done yet.
        return Answer::No(vec![format!("common cause: check {} fails on {failing} of {nodes} nodes", question.check)]);
    }
    if nodes >= NODES_MIN {
        let wait = alone_after(question.every, question.timeout);
        let known = failing_for.unwrap_or_default().max(now.monotonic.saturating_sub(question.asked));
        if known < wait {
            return Answer::Later(now.monotonic + (wait - known));
        }
    }
    let alone = match failing.max(1) {
        1 => format!("brake: 1 node fails, under {enough}"),
        many if many < enough => format!("brake: {many} nodes fail, under {enough}"),
        many => format!("brake: {many} nodes fail, {together} of them within {}", format_duration(WINDOW)),
    };
    let mut words = vec![alone, "not frozen".to_owned()];
    words.extend(question.budgets.iter().map(Budget::words));
    Answer::Yes(words)
}

fn held(brake: &Brake) -> String {
    let until = brake.until.map(|until| format!(", until {}", minute(until))).unwrap_or_default();
    match brake.kind {
        BrakeKind::CommonCause => format!("common cause: {}", brake.words),
        kind => format!("{kind} {}{until}", brake.words),
    }
}

impl Budget {
    /// `budget web 0 of 1 down`. What is down may be restarted whatever it says: that
    /// takes nobody away.
    fn words(&self) -> String {
        let Self { name, max_down, down } = self;
        let who = match down.as_slice() {
            [] => String::new(),
            [one] => format!(" ({one})"),
            [one, two] => format!(" ({one}, {two})"),
            [one, two, ..] => format!(" ({one}, {two}, ...)"),
        };
        format!("budget {name} {} of {max_down} down{who}", down.len())
    }
}

/// How many of so many nodes. A share of few allows one: none would forbid for ever.
pub fn most_down(amount: Amount, nodes: usize) -> usize {
    match amount {
        Amount::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        Amount::Share(share) => part(share.fraction(), nodes).max(1),
    }
}
