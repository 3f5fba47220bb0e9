//! The task that owns what schedules did: it looks when something is due, begins runs
//! through the task that owns these, and writes down what became of each time.
//!
//! Each (schedule, time) happens exactly once, whenever the process dies: a run's head and
//! the schedule's mark that is above that time are one commit (`Begun` beside a run), and
//! what comes to no run is written with its mark before anything later of that schedule.
//! Before that commit nothing was done, so a new start decides the same anew; after it the
//! mark is above that time. What runs is not kept twice: it is read from the runs.

mod carry;
mod ends;
mod fire;
mod follow;
mod trim;

pub use ends::unknown_end;
pub use fire::task_of;
pub use follow::{Reading, does};

use crate::app::App;
use crate::clock;
use crate::records::schedules::{Pause, Record, SCHEDULES, decode_schedule};
use crate::runs;
use crate::world::{World, WorldError};
use hostler_core::offline::Standing;
use hostler_core::schedules::{Decision, Hold, Schedule, Timetable};
use hostler_store::{Revision, Store};
use hostler_types::spec::Offline;
use hostler_types::{Name, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Words of people, one at a time each.
const INBOX: usize = 64;
/// So long at most without a look at the time, which somebody may have set.
const LOOK: Duration = Duration::from_secs(60);
/// A sleep may end a little early.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Word {
    name: Name,
    /// None: it goes on.
    pause: Option<Pause>,
    by: String,
    answer: oneshot::Sender<bool>,
}

/// What schedules did and will do, for whoever looks, and the way to say something to them.
pub struct Schedules {
    words: mpsc::Sender<Word>,
    inbox: Mutex<Option<mpsc::Receiver<Word>>>,
    inside: Mutex<Inside>,
    /// The newest revision of the world that was looked at.
    looked: watch::Sender<Revision>,
    /// Of those that hosts hold.
    standing: watch::Sender<Arc<Standing>>,
}

/// One applied schedule.
#[derive(Debug)]
pub struct Slot {
    pub reading: Reading,
    pub record: Record,
    /// Why it is never due.
    pub problem: Option<String>,
    pub hold: Option<Hold>,
    /// The store has a record of it.
    is_kept: bool,
    /// At which look at the specs it was there.
    seen: u64,
    /// Fires that were written since old ones were dropped.
    new_fires: u32,
}

#[derive(Debug, Default)]
pub struct Inside {
    table: Timetable<Name>,
    pub slots: BTreeMap<Name, Slot>,
    /// Those of before this start, until their specs are seen.
    loaded: BTreeMap<Name, Record>,
    /// Fires whose run is not over, by its number.
    running: BTreeMap<u64, (Name, Timestamp)>,
    looks: u64,
    to_trim: BTreeSet<Name>,
}

impl Inside {
    /// As it is due; none: it never is.
    pub fn schedule(&self, name: &Name) -> Option<&Schedule> {
        self.table.schedule(name)
    }
}

impl Schedules {
    pub fn new(inside: Inside) -> Self {
        let (words, inbox) = mpsc::channel(INBOX);
        // Until their specs are seen, as they were.
        let standing = watch::Sender::new(Arc::new(standing_of(inside.loaded.iter())));
        let (inbox, inside) = (Mutex::new(Some(inbox)), Mutex::new(inside));
        Self { words, inbox, inside, looked: watch::Sender::new(0), standing }
    }

    pub fn standing(&self) -> Arc<Standing> {
        self.standing.borrow().clone()
    }

    /// Word of each change to what hosts have to know of schedules that stands in no spec.
    pub fn follow_standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.subscribe()
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what is applied was looked at, so that whoever applied it sees it here.
    pub async fn reach(&self, revision: Revision) {
        /// Longer than a look takes, unless nothing can be written.
        const PATIENCE: Duration = Duration::from_secs(5);
        let mut looked = self.looked.subscribe();
        let _ = tokio::time::timeout(PATIENCE, looked.wait_for(|seen| *seen >= revision)).await;
    }

    /// Whether there is such a schedule, once that is kept. `None`: the control plane stops.
    pub async fn pause(&self, name: Name, pause: Option<Pause>, by: String) -> Option<bool> {
        let (answer, done) = oneshot::channel();
        self.words.send(Word { name, pause, by, answer }).await.ok()?;
        done.await.ok()
    }
}

fn standing_of<'a>(all: impl Iterator<Item = (&'a Name, &'a Record)>) -> Standing {
    let mut standing = Standing::default();
    for (name, record) in all {
        if record.paused.is_some() {
            standing.paused.insert(name.clone());
        }
        standing.since.insert(name.clone(), record.since);
    }
    standing
}

/// What was decided before this start, and which of it still runs.
pub async fn load(store: &dyn Store, work: &runs::Inside) -> Result<Inside, WorldError> {
    let mut inside = Inside::default();
    for (key, entry) in store.scan(SCHEDULES, None).await?.entries {
        let Some(name) = key.strip_prefix(SCHEDULES).and_then(|name| Name::new(name).ok()) else { continue };
        inside.loaded.insert(name, decode_schedule(&key, &entry.value)?);
    }
    for run in work.runs.iter() {
        // One that only asks holds nothing up.
        let Some(fire) = run.order.fire.as_ref().filter(|fire| !fire.only_on_time) else { continue };
        inside.running.insert(run.order.number, (fire.schedule.clone(), fire.at));
        if let Some(record) = inside.loaded.get_mut(&fire.schedule) {
            record.ledger.running.insert(fire.at);
        }
    }
    Ok(inside)
}

pub async fn run(app: Arc<App>) {
    let taken = app.schedules.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut inbox) = taken else { return };
    let (mut plans, mut turns) = (app.mirror.follow_plans(), app.work.follow());
    let (mut seen, mut trimming) = (None, trim::Trimming::default());
    let mut word = None;
    if ends::hand_over_all(&app).await.is_none() {
        return;
    }
    loop {
        if look(&app, &mut seen, word.take()).await.is_none() {
            return;
        }
        let more = trimming.some(&app).await;
        let wait = if more { TICK } else { wait(&app) };
        // Each of these takes nothing before it is chosen.
        tokio::select! {
            () = app.stop.cancelled() => return,
            said = inbox.recv() => match said {
                Some(said) => word = Some(said),
                None => return,
            },
            changed = plans.changed() => if changed.is_err() { return },
            changed = turns.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn wait(app: &App) -> Duration {
    let next = app.schedules.inside().table.next_deadline();
    next.map_or(LOOK, |at| at.since(clock::wall()) + TICK).min(LOOK)
}

/// Looks at what is so now, and carries out what follows. `None`: the control plane stops.
async fn look(app: &App, seen: &mut Option<Arc<World>>, word: Option<Word>) -> Option<()> {
    let (world, now) = (app.mirror.now(), clock::wall());
    let other_specs = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(&seen.specs, &world.specs));
    let (decisions, gone, paused) = {
        let mut inside = app.schedules.inside();
        inside.finished(app);
        let mut decisions = Vec::new();
        let gone = follow::follow(&mut inside, seen.as_deref(), &world, now, &mut decisions);
        let paused = word.as_ref().and_then(|word| inside.pause(word, &world, now, &mut decisions));
        decisions.extend(inside.table.tick(now));
        if other_specs || paused.is_some() {
            let standing = inside.standing();
            app.schedules.standing.send_if_modified(|before| {
                let is_other = **before != standing;
                *before = Arc::new(standing);
                is_other
            });
        }
        (decisions, gone, paused)
    };
    app.schedules.looked.send_replace(world.revision);
    *seen = Some(Arc::clone(&world));
    carry::out(app, &world, now, decisions, paused).await?;
    carry::remove(app, gone).await?;
    if let Some(word) = word {
        let is_there = app.schedules.inside().slots.contains_key(&word.name);
        // Who does not wait any more needs no answer.
        let _ = word.answer.send(is_there);
    }
    Some(())
}

impl Inside {
    fn standing(&self) -> Standing {
        let by_hosts = |slot: &Slot| slot.reading.spec().is_some_and(|spec| spec.offline == Offline::Run);
        let held = self.slots.iter().filter(|(_, slot)| by_hosts(slot));
        standing_of(held.map(|(name, slot)| (name, &slot.record)))
    }

    /// Lets go of fires whose run is over.
    fn finished(&mut self, app: &App) {
        let over: Vec<u64> = {
            let work = app.work.inside();
            let runs = |number: &u64| work.runs.get(*number).is_some_and(|run| !run.state.is_over());
            self.running.keys().filter(|number| !runs(number)).copied().collect()
        };
        for number in over {
            let Some((name, due)) = self.running.remove(&number) else { continue };
            self.table.finished(&name, due);
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.record.ledger.finished(due);
            }
        }
    }

    /// What somebody said of one; what was due until now is decided as it was.
    fn pause(
        &mut self,
        word: &Word,
        world: &World,
        now: Timestamp,
        decisions: &mut Vec<(Name, Decision)>,
    ) -> Option<carry::Said> {
        let slot = self.slots.get_mut(&word.name)?;
        let was = std::mem::replace(&mut slot.record.paused, word.pause.clone());
        if was == word.pause {
            return None;
        }
        decisions.extend(follow::hold_anew(self, &word.name, &mut follow::Holds::new(world), now));
        let words = match &word.pause {
            Some(pause) => format!("paused {}", hostler_core::brakes::words(&pause.by, &pause.reason)),
            None => format!("resumed by {}", word.by),
        };
        Some(carry::Said { name: word.name.clone(), words })
    }
}
