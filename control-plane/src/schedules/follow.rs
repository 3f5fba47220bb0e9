//! Follows what is applied, and what holds: by what changed since the last look.

use super::{Inside, Slot};
use crate::pki::sha256_hex;
use crate::world::World;
use hostler_core::applied::Applied;
use hostler_core::schedules::{Decision, Hold, spec};
use hostler_types::spec::{Body, Kind, Object, ScheduleSpec, WindowSpec, Zone};
use hostler_types::{Name, Selector, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

const NO_REPORTS: &str = "reports are not made yet";

/// Whatever a schedule is read from.
#[derive(Clone, Debug)]
pub struct Reading {
    pub system: Name,
    pub object: Arc<Object>,
    /// Its system's.
    zone: Zone,
    window: Option<(Arc<Object>, Zone)>,
}

impl Reading {
    pub fn spec(&self) -> Option<&ScheduleSpec> {
        match &self.object.body {
            Body::Schedule(spec) => Some(spec),
            _ => None,
        }
    }

    pub fn zone(&self) -> &Zone {
        self.spec().and_then(|spec| spec.zone.as_ref()).unwrap_or(&self.zone)
    }

    fn window(&self) -> Option<(&WindowSpec, &Zone)> {
        let (object, zone) = self.window.as_ref()?;
        match &object.body {
            Body::Window(spec) => Some((spec, zone)),
            _ => None,
        }
    }

    /// The very same objects: nobody applied them again.
    fn is_same(&self, other: &Self) -> bool {
        let windows = match (&self.window, &other.window) {
            (Some((own, zone)), Some((others, other_zone))) => Arc::ptr_eq(own, others) && zone == other_zone,
            (None, None) => true,
            _ => false,
        };
        windows && Arc::ptr_eq(&self.object, &other.object) && self.zone == other.zone
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.spec() == other.spec() && self.zone == other.zone && self.window() == other.window()
    }

    /// Of what its own spec says: another one is another schedule from then on.
    fn digest(&self) -> String {
        sha256_hex(format!("{} {}", self.object.body.to_json(true), self.zone().0).as_bytes())
    }
}

/// What it does, in a word or two.
pub fn does(spec: &ScheduleSpec) -> String {
    match (&spec.task, &spec.report) {
        (Some(task), _) => format!("task {}", task.name),
        (None, Some(parts)) => {
            format!("report {}", parts.iter().map(|part| part.word()).collect::<Vec<_>>().join(", "))
        }
        (None, None) => String::new(),
    }
}

fn zones(applied: &Applied) -> BTreeMap<&Name, &Zone> {
    let systems = applied.of_kind(Kind::System).filter_map(|one| match &one.object.body {
        Body::System(spec) => Some((&one.system, &spec.zone)),
        _ => None,
    });
    systems.collect()
}

/// Brings all up to what is so in the world, and says which are gone. What is decided on
/// the way is added to `decisions`.
pub fn follow(
    inside: &mut Inside,
    seen: Option<&World>,
    world: &World,
    now: Timestamp,
    decisions: &mut Vec<(Name, Decision)>,
) -> Vec<Name> {
    let specs = seen.is_none_or(|seen| !Arc::ptr_eq(&seen.specs, &world.specs));
    let gone = if specs { read_specs(inside, world, now, decisions) } else { Vec::new() };
    let members = seen.is_none_or(|seen| !Arc::ptr_eq(&seen.members, &world.members));
    let brakes = seen.is_none_or(|seen| seen.brakes.freezes != world.brakes.freezes);
    let freezes = !world.brakes.freezes.is_empty();
    if brakes || (freezes && (specs || members)) {
        let mut holds = Holds::new(world);
        let other = inside.slots.iter().filter(|(_, slot)| holds.of(slot) != slot.hold);
        let other: Vec<Name> = other.map(|(name, _)| name.clone()).collect();
        for name in other {
            decisions.extend(hold_anew(inside, &name, &mut holds, now));
        }
    }
    gone
}

fn read_specs(inside: &mut Inside, world: &World, now: Timestamp, decisions: &mut Vec<(Name, Decision)>) -> Vec<Name> {
    inside.looks += 1;
    let (look, applied, utc) = (inside.looks, &world.specs.applied, Zone::utc());
    let mut holds = Holds::new(world);
    let zones = zones(applied);
    let zone_of = |system: &Name| (*zones.get(system).unwrap_or(&&utc)).clone();
    for owned in applied.of_kind(Kind::Schedule) {
        let Body::Schedule(spec) = &owned.object.body else { continue };
        let window = spec.window.as_ref().and_then(|window| applied.get(Kind::Window, &window.name));
        let reading = Reading {
            system: owned.system.clone(),
            object: Arc::clone(&owned.object),
            zone: zone_of(&owned.system),
            window: window.map(|window| (Arc::clone(&window.object), zone_of(&window.system))),
        };
        let name = &owned.object.name;
        let since = world.specs.versions.get(&owned.system).map_or(now, |version| version.at);
        match inside.slots.get_mut(name) {
            Some(slot) => {
                slot.seen = look;
                if slot.reading.is_same(&reading) {
                    continue;
                }
                let same = slot.reading.says_the_same(&reading);
                slot.reading = reading;
                if !same {
                    let digest = slot.reading.digest();
                    if digest != slot.record.digest {
                        (slot.record.digest, slot.record.since) = (digest, since);
                    }
                    decisions.extend(inside.renew(name, now));
                }
            }
            None => inside.add(name, reading, since, &mut holds, now),
        }
    }
    let gone: Vec<Name> =
        inside.slots.iter().filter(|(_, slot)| slot.seen != look).map(|(name, _)| name.clone()).collect();
    let mut dropped = Vec::new();
    for name in gone {
        inside.table.remove(&name);
        inside.to_trim.remove(&name);
        if inside.slots.remove(&name).is_some_and(|slot| slot.is_kept) {
            dropped.push(name);
        }
    }
    // Removed just before the control plane died.
    dropped.extend(std::mem::take(&mut inside.loaded).into_keys());
    dropped
}

impl Inside {
    fn add(&mut self, name: &Name, reading: Reading, since: Timestamp, holds: &mut Holds<'_>, now: Timestamp) {
        let digest = reading.digest();
        let loaded = self.loaded.remove(name);
        let is_kept = loaded.is_some();
        let mut record = loaded.unwrap_or_default();
        if record.digest != digest {
            (record.digest, record.since) = (digest, since);
        }
        let mut slot = Slot { reading, record, problem: None, hold: None, is_kept, seen: self.looks, new_fires: 0 };
        slot.hold = holds.of(&slot);
        self.slots.insert(name.clone(), slot);
        self.renew(name, now);
    }

    /// It is as its slot says from now on.
    fn renew(&mut self, name: &Name, now: Timestamp) -> Vec<(Name, Decision)> {
        let Some(slot) = self.slots.get_mut(name) else { return Vec::new() };
        let read = match slot.reading.spec() {
            Some(spec) if spec.task.is_some() => {
                spec::read(spec, &slot.reading.zone, slot.reading.window(), slot.record.since)
                    .map_err(|error| error.to_string())
            }
            _ => Err(NO_REPORTS.to_owned()),
        };
        match read {
            Ok(mut schedule) => {
                (slot.problem, schedule.hold) = (None, slot.hold.clone());
                if self.table.schedule(name).is_none() {
                    self.table.insert(name.clone(), schedule, slot.record.ledger.clone());
                    return Vec::new();
                }
                self.table.change(name, schedule, now).into_iter().map(|one| (name.clone(), one)).collect()
            }
            Err(problem) => {
                slot.problem = Some(problem);
                self.table.remove(name);
                Vec::new()
            }
        }
    }
}

/// What holds one now, after somebody said something about it.
pub fn hold_anew(inside: &mut Inside, name: &Name, holds: &mut Holds<'_>, now: Timestamp) -> Vec<(Name, Decision)> {
    let Some(slot) = inside.slots.get_mut(name) else { return Vec::new() };
    slot.hold = holds.of(slot);
    inside.renew(name, now)
}

/// What holds schedules. A fleet's tasks, and so their selectors, are few.
pub struct Holds<'a> {
    world: &'a World,
    frozen: BTreeMap<String, Option<Hold>>,
}

impl<'a> Holds<'a> {
    pub fn new(world: &'a World) -> Self {
        Self { world, frozen: BTreeMap::new() }
    }

    fn of(&mut self, slot: &Slot) -> Option<Hold> {
        if let Some(pause) = &slot.record.paused {
            let by = if pause.reason.is_empty() { pause.by.clone() } else { format!("{}: {}", pause.by, pause.reason) };
            return Some(Hold::Paused { by });
        }
        if self.world.brakes.freezes.is_empty() {
            return None;
        }
        let task = &slot.reading.spec()?.task.as_ref()?.name;
        let Body::Task(task) = &self.world.specs.applied.get(Kind::Task, task)?.object.body else { return None };
        let world = self.world;
        self.frozen.entry(task.where_.to_string()).or_insert_with(|| frozen(world, &task.where_)).clone()
    }
}

/// Whether freezes take every node that a selector does. One that takes none is held by
/// nothing.
fn frozen(world: &World, by: &Selector) -> Option<Hold> {
    let none = BTreeMap::new();
    let mut first = None;
    for member in world.members.values().filter(|member| member.revoked.is_none()) {
        let labels = world.labels(member);
        if !by.matches(&labels, &none) {
            continue;
        }
        let freeze = world.brakes.freezes.values().find(|one| one.takes(&member.name, &labels))?;
        first.get_or_insert(freeze);
    }
    first.map(|freeze| Hold::Frozen { by: freeze.by.clone(), reason: freeze.reason.clone() })
}
