//! The task that owns runs: it takes what operators and nodes say in turns, keeps what
//! the core decides, and only then sends it.

mod files;
mod keep;
mod offer;
mod retention;
mod view;

pub use files::{RunFiles, RunFilesError};
pub use keep::{load, told};
pub use offer::readable;

use self::keep::Kept;
pub use self::view::FleetView;
use self::view::Members;
use crate::app::App;
use crate::approvals::Sealed;
use crate::clock;
use crate::link::to_agent_message;
use crate::records::NewEvent;
use crate::records::runs::Extra;
use crate::records::schedules::Begun;
use hostler_core::runs::steps::need_content;
use hostler_core::runs::{Effect, Input, Run, Runs, Verb};
use hostler_proto::agent::{self as wire, to_agent};
use hostler_types::task::TaskOffer;
use hostler_types::{EventKind, Name, NodeId, Stamp, TaskId, TaskReport, TaskStep, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Words that wait for their turn. Who finds it full waits: sessions hold their node's
/// spool back meanwhile.
const INBOX: usize = 1024;
/// What a turn takes at most.
const TURN: usize = 512;
/// Whom nothing could be sent to is tried again.
const RESEND: Duration = Duration::from_secs(1);

/// What the machine does not ask for.
#[derive(Debug)]
pub struct About {
    pub steps: Vec<TaskStep>,
    pub extra: Extra,
}

/// A run that is to begin; its number is given to it.
#[derive(Debug)]
pub struct NewRun {
    pub run: Run,
    pub about: About,
    /// Of a task that no run's number names.
    pub task: Option<TaskId>,
    /// The fire of a schedule that it is, kept in one commit with it.
    pub begun: Option<Box<Begun>>,
    /// By whose leave, kept with it as well.
    pub sealed: Sealed,
}

#[derive(Debug)]
enum Word {
    Begin { new: Box<NewRun>, answer: oneshot::Sender<u64> },
    Control { number: u64, verb: Verb, words: String, answer: oneshot::Sender<bool> },
    Report { node: NodeId, report: TaskReport, kept: Option<oneshot::Sender<()>> },
    Connected { node: NodeId },
}

/// Runs that are not over, for whoever looks, and the way to say something to them.
pub struct Work {
    words: mpsc::Sender<Word>,
    inbox: Mutex<Option<mpsc::Receiver<Word>>>,
    inside: Mutex<Inside>,
    /// Counts the turns in which something changed.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub struct Inside {
    pub runs: Runs,
    pub about: BTreeMap<u64, Arc<About>>,
    /// How many notes of each are kept.
    notes: BTreeMap<u64, usize>,
    newest: u64,
    /// What is to be kept with runs that begin in this turn.
    begun: BTreeMap<u64, Box<Begun>>,
    sealed: BTreeMap<u64, Sealed>,
    /// Who there was at the last look.
    members: Members,
}

impl Work {
    pub fn new(inside: Inside) -> Self {
        let (words, inbox) = mpsc::channel(INBOX);
        let (inbox, inside) = (Mutex::new(Some(inbox)), Mutex::new(inside));
        Self { words, inbox, inside, changed: watch::Sender::new(0) }
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn follow(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Its number, once it is kept; `None` when the control plane stops.
    pub async fn begin(&self, new: NewRun) -> Option<u64> {
        let (answer, number) = oneshot::channel();
        self.words.send(Word::Begin { new: Box::new(new), answer }).await.ok()?;
        number.await.ok()
    }

    /// The same of many: they may be one turn.
    pub async fn begin_all(&self, all: Vec<NewRun>) -> Option<Vec<u64>> {
        let mut answers = Vec::new();
        for new in all {
            let (answer, number) = oneshot::channel();
            self.words.send(Word::Begin { new: Box::new(new), answer }).await.ok()?;
            answers.push(number);
        }
        let mut numbers = Vec::new();
        for answer in answers {
            numbers.push(answer.await.ok()?);
        }
        Some(numbers)
    }

    /// Whether there is such a run that is not over, once that is kept.
    pub async fn control(&self, number: u64, verb: Verb, words: String) -> Option<bool> {
        let (answer, done) = oneshot::channel();
        self.words.send(Word::Control { number, verb, words, answer }).await.ok()?;
        done.await.ok()
    }

    /// A picture: the next one comes anyway. It takes no turn, since nothing follows from
    /// one of a task that goes on.
    pub fn heard(&self, node: &NodeId, report: TaskReport) {
        let mut inside = self.inside();
        if !inside.runs.waits_for(node, &report.id) {
            return;
        }
        if report.state.is_over() {
            let _ = self.words.try_send(Word::Report { node: node.clone(), report, kept: None });
        } else if inside.runs.picture(node, report) {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// The end of a task, which is kept when this returns.
    pub async fn ended(&self, node: &NodeId, report: TaskReport) -> Result<(), tonic::Status> {
        let stops = || tonic::Status::unavailable("the control plane stops");
        let (kept, done) = oneshot::channel();
        let word = Word::Report { node: node.clone(), report, kept: Some(kept) };
        self.words.send(word).await.map_err(|_| stops())?;
        done.await.map_err(|_| stops())
    }

    /// Whether a task that the node has, or is about to have, names it.
    pub fn needs_content(&self, node: &NodeId, digest: &str) -> bool {
        let inside = self.inside();
        inside.about.iter().any(|(number, about)| {
            let has = inside.runs.get(*number).is_some_and(|run| run.tasks.contains_key(node));
            has && need_content(&about.steps, digest)
        })
    }

    pub async fn connected(&self, node: &NodeId) {
        let _ = self.words.send(Word::Connected { node: node.clone() }).await;
    }
}

pub async fn run(app: Arc<App>) {
    let taken = app.work.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut inbox) = taken else { return };
    let mut world = app.mirror.follow();
    let mut resend = BTreeSet::new();
    let mut retention = retention::Retention::default();
    loop {
        let mut words = Vec::new();
        let (wait, waits_for_world) = sleep_for(&app, !resend.is_empty());
        let wait = wait.min(retention.wait());
        // Each of these takes nothing before it is chosen.
        tokio::select! {
            () = app.stop.cancelled() => return,
            count = inbox.recv_many(&mut words, TURN) => if count == 0 { return },
            Ok(()) = world.changed(), if waits_for_world => {}
            () = tokio::time::sleep(wait) => {}
        }
        words.extend(std::mem::take(&mut resend).into_iter().map(|node| Word::Connected { node }));
        let Some(unsent) = turn(&app, words).await else { return };
        resend = unsent;
        retention.go_on(&app).await;
    }
}

/// Until when nothing has to be looked at by itself, and whether a change of the fleet
/// may let something go on.
fn sleep_for(app: &App, resends: bool) -> (Duration, bool) {
    /// Somebody may have set the time, and a window closes by it.
    const LOOK: Duration = Duration::from_secs(60);
    let inside = app.work.inside();
    let now = clock::now().monotonic;
    let wait = inside.runs.next_deadline().map_or(LOOK, |at| at.saturating_sub(now)).min(LOOK);
    let held = inside.runs.iter().flat_map(|run| run.tasks.values()).any(|task| task.held.is_some());
    (if resends { wait.min(RESEND) } else { wait }, held)
}

/// Takes the words, keeps what follows from them, then sends and answers. Whom it could
/// not send to; `None`: nothing can be kept any more.
async fn turn(app: &App, words: Vec<Word>) -> Option<BTreeSet<NodeId>> {
    let mut answers = Vec::new();
    let (kept, sends, over) = {
        let mut inside = app.work.inside();
        let mut inputs = Vec::new();
        for word in words {
            inputs.push(inside.take(app, word, &mut answers));
        }
        let disturbs = inside.runs.iter().any(|run| run.order.disturbs)
            || inputs.iter().any(|input| matches!(input, Input::Begin(run) if run.order.disturbs));
        let ends = ends_in(&inputs);
        let view = FleetView::new(app, disturbs, &inside.members);
        inside.members = view.members();
        let effects = inside.runs.step(clock::now(), &view, inputs);
        let mut kept = inside.kept(&effects, clock::wall());
        kept.late = ends.into_iter().filter(|(node, report)| !inside.has(node, &report.id)).collect();
        (kept, inside.sends(app, &effects), over_in(&effects))
    };
    let changed = !kept.is_empty();
    keep::write(app, kept).await?;
    let unsent = sends.into_iter().filter(|(node, message)| !send(app, node, message.clone())).map(|(node, _)| node);
    let unsent = unsent.collect();
    {
        let mut inside = app.work.inside();
        for number in over {
            inside.runs.forget(number);
            inside.about.remove(&number);
            inside.notes.remove(&number);
        }
    }
    if changed || !answers.is_empty() {
        app.work.changed.send_modify(|count| *count += 1);
    }
    answers.into_iter().for_each(Answer::give);
    Some(unsent)
}

fn over_in(effects: &[Effect]) -> Vec<u64> {
    let over = effects.iter().filter_map(|effect| match effect {
        Effect::Over { number } => Some(*number),
        _ => None,
    });
    over.collect()
}

fn ends_in(inputs: &[Input]) -> Vec<(NodeId, TaskReport)> {
    let ends = inputs.iter().filter_map(|input| match input {
        Input::Report { node, report } if report.state.is_over() => Some((node.clone(), report.clone())),
        _ => None,
    });
    ends.collect()
}

/// What is told once all is kept.
enum Answer {
    Number(oneshot::Sender<u64>, u64),
    Done(oneshot::Sender<bool>, bool),
    Kept(oneshot::Sender<()>),
}

impl Answer {
    /// Who does not wait any more needs none.
    fn give(self) {
        match self {
            Self::Number(answer, number) => drop(answer.send(number)),
            Self::Done(answer, done) => drop(answer.send(done)),
            Self::Kept(answer) => drop(answer.send(())),
        }
    }
}

impl Inside {
    fn take(&mut self, app: &App, word: Word, answers: &mut Vec<Answer>) -> Input {
        match word {
            Word::Begin { new, answer } => {
                let NewRun { mut run, about, task, begun, sealed } = *new;
                self.newest += 1;
                let number = self.newest;
                let id = task.unwrap_or_else(|| TaskId::of_run(app.lineage, number));
                (run.order.number, run.order.task) = (number, id.clone());
                for task in run.tasks.values_mut() {
                    task.report.id = id.clone();
                }
                self.about.insert(number, Arc::new(about));
                self.begun.extend(begun.map(|begun| (number, begun)));
                self.sealed.insert(number, sealed);
                answers.push(Answer::Number(answer, number));
                Input::Begin(Box::new(run))
            }
            Word::Control { number, verb, words, answer } => {
                let there = self.runs.get(number).is_some_and(|run| !run.state.is_over());
                answers.push(Answer::Done(answer, there));
                Input::Control { number, verb, words }
            }
            Word::Report { node, report, kept } => {
                answers.extend(kept.map(Answer::Kept));
                Input::Report { node, report }
            }
            Word::Connected { node } => Input::Connected { node },
        }
    }

    /// Whether a run that is here knows that task. Of others an end comes late: what was
    /// taken for lost was not.
    fn has(&self, node: &NodeId, id: &TaskId) -> bool {
        self.runs.iter().any(|run| run.order.task == *id && run.tasks.contains_key(node))
    }

    fn kept(&mut self, effects: &[Effect], now: Timestamp) -> Kept {
        let mut kept = Kept::new(self.newest);
        for effect in effects {
            match effect {
                Effect::SaveRun { number } => {
                    if let (Some(run), Some(about)) = (self.runs.get(*number), self.about.get(number)) {
                        kept.run(run, about);
                    }
                    if let Some(begun) = self.begun.remove(number) {
                        kept.fire(*number, *begun);
                    }
                    if let Some(sealed) = self.sealed.remove(number) {
                        kept.sealed(*number, sealed);
                    }
                }
                Effect::SaveTask { number, node } => {
                    let task = self.runs.get(*number).and_then(|run| run.tasks.get(node));
                    if let Some(task) = task {
                        kept.task(*number, node, task);
                    }
                }
                Effect::Note { number, note } => {
                    let count = self.notes.entry(*number).or_default();
                    kept.note(*number, *count, note);
                    *count += 1;
                }
                Effect::Over { number } => {
                    let Some(run) = self.runs.get(*number) else { continue };
                    kept.events.push(ended(run, now));
                    let schedule =
                        self.about.get(number).and_then(|about| Name::new(about.extra.schedule.as_str()).ok());
                    if let Some(schedule) = schedule {
                        kept.outcome(run, &schedule, now);
                    }
                }
                Effect::Offer { .. } | Effect::Cancel { .. } => {}
            }
        }
        let begun = effects.iter().filter_map(|effect| match effect {
            Effect::Note { number, note } if note.what == hostler_core::runs::What::Chose => self.runs.get(*number),
            _ => None,
        });
        kept.events.extend(begun.map(|run| began(run, now)));
        kept
    }

    fn sends(&self, app: &App, effects: &[Effect]) -> Vec<(NodeId, to_agent::Message)> {
        let world = app.mirror.now();
        let stamp = Stamp { lineage: app.lineage, term: app.term, generation: 0 };
        let send = |effect: &Effect| match effect {
            Effect::Offer { number, node, begin_by } => {
                let (order, about) = (&self.runs.get(*number)?.order, self.about.get(number)?);
                let offer = TaskOffer {
                    id: order.task.clone(),
                    stamp,
                    title: format!("run/{number}"),
                    by: order.by.clone(),
                    reason: order.reason.clone(),
                    steps: app.steps_on(&world, node, &about.extra.steps_of(node, &about.steps)),
                    timeout: order.timeout,
                    begin_by: *begin_by,
                };
                Some((node.clone(), to_agent::Message::TaskOffer((&offer).into())))
            }
            Effect::Cancel { node, task, words } => {
                let (id, words) = (task.to_string(), words.clone());
                let cancel = wire::TaskCancel { id, stamp: Some(stamp.into()), words };
                Some((node.clone(), to_agent::Message::TaskCancel(cancel)))
            }
            _ => None,
        };
        effects.iter().filter_map(send).collect()
    }
}

/// Whether the node's stream took it; one that is gone is told when it is back.
fn send(app: &App, node: &NodeId, message: to_agent::Message) -> bool {
    app.fleet.line(node).is_none_or(|line| line.send(to_agent_message(message)))
}

fn event(run: &Run, at: Timestamp, message: String) -> NewEvent {
    let subject = format!("run/{}", run.order.number);
    NewEvent { at, kind: EventKind::RUN, node: String::new(), subject, message }
}

fn began(run: &Run, at: Timestamp) -> NewEvent {
    let reason = if run.order.reason.is_empty() { String::new() } else { format!(": {}", run.order.reason) };
    event(run, at, format!("{} on {} nodes, by {}{reason}", run.order.title, run.tasks.len(), run.order.by))
}

fn ended(run: &Run, at: Timestamp) -> NewEvent {
    event(run, at, run.outcome())
}
