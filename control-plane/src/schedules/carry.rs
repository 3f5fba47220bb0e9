//! Carries out what was decided: what comes to no run is written down, what does is begun,
//! each schedule's in its order.

use super::{Slot, ends, fire};
use crate::app::App;
use crate::records::NewEvent;
use crate::records::schedules::{
    Begun, Failure, Fire, Record, encode_failure, encode_fire, encode_schedule, ends_of, failure_key, fire_key,
    fires_prefix, schedule_key,
};
use crate::runs::NewRun;
use crate::world::World;
use bytes::Bytes;
use hostler_core::runs::Verb;
use hostler_core::schedules::{Decision, Fires, Reason, Schedule, asked};
use hostler_store::Txn;
use hostler_types::calendar::in_words;
use hostler_types::spec::Offline;
use hostler_types::{EventKind, Name, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// In one commit, with three records and an event each.
const WRITES_AT_ONCE: usize = 30;
const DELETES_AT_ONCE: usize = 90;
/// Fires of a schedule that are written before old ones are looked for.
const FIRES_BEFORE_TRIM: u32 = 20;

/// What somebody said of a schedule, for its record and the events.
pub struct Said {
    pub name: Name,
    pub words: String,
}

/// A part of it that is one commit.
enum Unit {
    /// What is told of it, and whether people are told as of a failure.
    Write {
        record: Bytes,
        fire: Option<Fire>,
        words: Option<String>,
        failed: bool,
    },
    Begin {
        new: Box<NewRun>,
        due: Timestamp,
        replaces: Vec<Timestamp>,
        asks: bool,
    },
}

/// `None`: the control plane stops.
pub async fn out(
    app: &App,
    world: &World,
    now: Timestamp,
    decisions: Vec<(Name, Decision)>,
    said: Option<Said>,
) -> Option<()> {
    let mut queues: BTreeMap<Name, VecDeque<Unit>> = BTreeMap::new();
    {
        let mut inside = app.schedules.inside();
        for (name, decision) in decisions {
            let Some(schedule) = inside.table.schedule(&name).cloned() else { continue };
            let Some(slot) = inside.slots.get_mut(&name) else { continue };
            let (units, failed) = units(world, &name, &schedule, slot, decision, now);
            if slot.new_fires >= FIRES_BEFORE_TRIM {
                slot.new_fires = 0;
                inside.to_trim.insert(name.clone());
            }
            for due in failed {
                inside.table.finished(&name, due);
            }
            queues.entry(name).or_default().extend(units);
        }
        if let Some(Said { name, words }) = said
            && let Some(slot) = inside.slots.get_mut(&name)
        {
            slot.is_kept = true;
            let record = encode_schedule(&slot.record);
            queues.entry(name).or_default().push_back(Unit::Write {
                record,
                fire: None,
                words: Some(words),
                failed: false,
            });
        }
    }
    while !queues.is_empty() {
        let (mut writes, mut begins) = (Vec::new(), Vec::new());
        for (name, queue) in &mut queues {
            while let Some(unit) = queue.pop_front_if(|unit| matches!(unit, Unit::Write { .. })) {
                writes.push((name.clone(), unit));
            }
            while let Some(unit) = queue.pop_front_if(|unit| matches!(unit, Unit::Begin { .. })) {
                begins.push((name.clone(), unit));
            }
        }
        queues.retain(|_, queue| !queue.is_empty());
        write(app, now, writes).await?;
        begin(app, begins).await?;
    }
    Some(())
}

/// What one decision comes to, and the fires that can't be done, which do not run.
fn units(
    world: &World,
    name: &Name,
    schedule: &Schedule,
    slot: &mut Slot,
    decision: Decision,
    now: Timestamp,
) -> (Vec<Unit>, Vec<Timestamp>) {
    let mut made = Made { world, name, schedule, slot, now, units: Vec::new(), failed: Vec::new() };
    match decision {
        Decision::Fire { at, late_by, ref replaces, until } => {
            let replaces = replaces.clone();
            made.slot.record.ledger.record(&decision);
            let late = late_by >= hostler_core::schedules::ON_TIME;
            let words = if late { format!("{} late", in_words(late_by)) } else { String::new() };
            made.begin(at, words, until, replaces, false);
        }
        Decision::Wait { at, delay } => {
            made.slot.record.ledger.record(&decision);
            let words = format!("waits: {}", delay.words(&schedule.recurrence, now));
            made.write(single(at), words, None, false);
        }
        Decision::Skip { fires, ref reason } => {
            let alone = made.slot.reading.spec().is_some_and(|spec| spec.offline == Offline::Run);
            let before = made.slot.record.ledger.clone();
            let (left, asks) = if alone { asked(schedule, &before, &decision, now) } else { (Some(fires), Vec::new()) };
            if let Some(left) = left {
                made.skip(left, reason);
            }
            for at in asks {
                let one = Decision::Skip { fires: single(at), reason: reason.clone() };
                made.slot.record.ledger.record(&one);
                made.begin(at, reason.words(&schedule.recurrence, now), None, Vec::new(), true);
            }
        }
    }
    (made.units, made.failed)
}

fn single(at: Timestamp) -> Fires {
    Fires { first: at, last: at, count: 1 }
}

struct Made<'a> {
    world: &'a World,
    name: &'a Name,
    schedule: &'a Schedule,
    slot: &'a mut Slot,
    now: Timestamp,
    units: Vec<Unit>,
    failed: Vec<Timestamp>,
}

impl Made<'_> {
    fn skip(&mut self, fires: Fires, reason: &Reason) {
        self.slot.record.ledger.record(&Decision::Skip { fires, reason: reason.clone() });
        let words = reason.words(&self.schedule.recurrence, self.now);
        // What was lost is news; what people or runs hold back is not. Where it says that it may be
        // missed, nobody is told.
        let is_failure = matches!(reason, Reason::TooLate { .. } | Reason::TooMany | Reason::WindowClosed { .. });
        let is_news = is_failure || matches!(reason, Reason::Missed { .. });
        let say = |at| self.schedule.recurrence.say(at, self.now);
        let told = is_news.then(|| match fires.count {
            1 => format!("due {}, and did not run: {words}", say(fires.last)),
            count => {
                format!("due {count} times from {} to {}, and did not run: {words}", say(fires.first), say(fires.last))
            }
        });
        self.write(fires, words, told, is_failure);
    }

    fn write(&mut self, fires: Fires, words: String, told: Option<String>, failed: bool) {
        let fire = self.fire(fires, words);
        self.slot.record.last = Some(fire.clone());
        self.slot.is_kept = true;
        let record = encode_schedule(&self.slot.record);
        self.units.push(Unit::Write { record, fire: Some(fire), words: told, failed });
    }

    fn fire(&mut self, fires: Fires, words: String) -> Fire {
        self.slot.new_fires += 1;
        let count = u32::try_from(fires.count).unwrap_or(u32::MAX);
        Fire { due: fires.last, run: 0, words, at: self.now, first: fires.first, count }
    }

    fn begin(&mut self, at: Timestamp, words: String, until: Option<Timestamp>, replaces: Vec<Timestamp>, asks: bool) {
        let asked = fire::Asked { at, until, now: self.now, asks, words: &words };
        match fire::run(self.world, self.name, self.schedule, &self.slot.reading, &asked) {
            Ok(mut new) => {
                let fire = self.fire(single(at), words);
                let record = Record { last: None, ..self.slot.record.clone() };
                self.slot.record.last = Some(fire.clone());
                self.slot.is_kept = true;
                new.begun = Some(Box::new(Begun { name: self.name.clone(), record, fire }));
                self.units.push(Unit::Begin { new: Box::new(new), due: at, replaces, asks });
            }
            // There is nobody to ask: it stays what it was.
            Err(_) if asks => self.write(single(at), words, None, false),
            Err(words) => {
                self.slot.record.ledger.finished(at);
                self.failed.push(at);
                let told = format!("due {}, and nothing ran: {words}", self.schedule.recurrence.say(at, self.now));
                self.write(single(at), words, Some(told), true);
            }
        }
    }
}

pub fn event(name: &Name, at: Timestamp, message: String) -> NewEvent {
    NewEvent { at, kind: EventKind::RUN, node: String::new(), subject: format!("schedule/{name}"), message }
}

async fn write(app: &App, now: Timestamp, writes: Vec<(Name, Unit)>) -> Option<()> {
    let (mut puts, mut events) = (BTreeMap::<String, Bytes>::new(), Vec::new());
    let mut count = 0;
    for (name, unit) in writes {
        let Unit::Write { record, fire, words, failed } = unit else { continue };
        if count == WRITES_AT_ONCE {
            commit(app, now, std::mem::take(&mut puts), &std::mem::take(&mut events)).await?;
            count = 0;
        }
        count += 1;
        // The newest of a schedule stands for those before it in the same commit.
        puts.insert(schedule_key(&name), record);
        if let Some(fire) = fire {
            puts.insert(fire_key(&name, fire.due), encode_fire(&fire));
        }
        if let Some(words) = words.as_ref().filter(|_| failed) {
            let failure = Failure { run: 0, words: words.clone(), at: now };
            puts.insert(failure_key(&name), encode_failure(&failure));
        }
        events.extend(words.map(|words| event(&name, now, format!("schedule {name}: {words}"))));
    }
    commit(app, now, puts, &events).await
}

async fn commit(app: &App, now: Timestamp, puts: BTreeMap<String, Bytes>, events: &[NewEvent]) -> Option<()> {
    let txn = puts.into_iter().fold(Txn::new(), |txn, (key, value)| txn.put(key, value));
    let txn = app.journal.record(txn, now, events);
    written(app, txn).await
}

/// Until it is written: what was decided is not decided again.
pub async fn written(app: &App, txn: Txn) -> Option<()> {
    if txn.is_empty() {
        return Some(());
    }
    loop {
        match app.store.commit(txn.clone()).await {
            Ok(_) => return Some(()),
            Err(error) if !error.may_pass() => {
                tracing::error!(error = %error, "what schedules did could not be written and is left out");
                return Some(());
            }
            Err(error) => tracing::error!(error = %error, "writing down what schedules did failed"),
        }
        tokio::select! {
            () = app.stop.cancelled() => return None,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}

async fn begin(app: &App, begins: Vec<(Name, Unit)>) -> Option<()> {
    let (mut fires, mut runs) = (Vec::new(), Vec::new());
    for (name, unit) in begins {
        let Unit::Begin { new, due, replaces, asks } = unit else { continue };
        for number in replaced(app, &name, &replaces) {
            // It may have ended by itself meanwhile.
            app.work.control(number, Verb::Abort, format!("schedule {name} is due again, and replaces it")).await?;
        }
        fires.push((name, due, asks, new.run.order.fire.as_ref().is_some_and(|fire| fire.alone)));
        runs.push(*new);
    }
    let numbers = app.work.begin_all(runs).await?;
    {
        let mut inside = app.schedules.inside();
        for ((name, due, asks, _), number) in fires.iter().zip(&numbers) {
            if !asks {
                inside.running.insert(*number, (name.clone(), *due));
            }
            let last = inside.slots.get_mut(name).and_then(|slot| slot.record.last.as_mut());
            if let Some(last) = last.filter(|last| last.due == *due) {
                last.run = *number;
            }
        }
    }
    for ((name, due, _, alone), number) in fires.iter().zip(&numbers) {
        if *alone {
            ends::hand_over(app, name, *due, *number).await?;
        }
    }
    Some(())
}

fn replaced(app: &App, name: &Name, replaces: &[Timestamp]) -> Vec<u64> {
    let inside = app.schedules.inside();
    let own = inside.running.iter().filter(|(_, (of, due))| of == name && replaces.contains(due));
    own.map(|(number, _)| *number).collect()
}

/// What is known of schedules that are gone.
pub async fn remove(app: &App, gone: Vec<Name>) -> Option<()> {
    for name in gone {
        drop_all(app, vec![schedule_key(&name)]).await?;
        for prefix in [fires_prefix(&name), ends_of(&name)] {
            let Ok(found) = app.store.scan(&prefix, None).await else { continue };
            drop_all(app, found.entries.iter().map(|(key, _)| key.to_string()).collect()).await?;
        }
    }
    Some(())
}

pub async fn drop_all(app: &App, keys: Vec<String>) -> Option<()> {
    for keys in keys.chunks(DELETES_AT_ONCE) {
        written(app, keys.iter().fold(Txn::new(), |txn, key| txn.delete(key.as_str()))).await?;
    }
    Some(())
}
