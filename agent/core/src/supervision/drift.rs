//! What other hands did to what our hand put on the host: it is told once, and left or
//! put back, as the spec says. Who puts it back against another who changes it again
//! and again rests after a few tries.

use super::files::UNREAD;
use super::machine::ON_THE_HOST;
use super::words::span;
use super::{Effect, FilesPut, Key, Placed, Supervisor, Trouble};
use hostler_types::service::Runs;
use hostler_types::spec::{Drift, Restarter};
use hostler_types::units::format_duration;
use hostler_types::{Act, Deed, Name, Now, ServiceAssignment, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So often within this time one file is put back, or told of. A second one for who
/// mistyped, a third for whoever does not know of us; more is a machine.
pub const TRIES_MAX: usize = 3;
pub const TRIES_WITHIN: Duration = Duration::from_secs(600);
/// And then not before this has passed.
pub const REST: Duration = Duration::from_secs(3_600);

/// Where the units are that are written here.
pub const UNIT_FOLDER: &str = "/etc/systemd/system";
/// The drop-in of a unit that we start again instead of systemd.
pub const DROP_IN: &str = "hostler-restart";

/// A file as it was put, or as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    pub print: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stands {
    Gone,
    /// A symlink, a folder, a device.
    NoFile,
    There(Stood),
}

/// What a look at a file found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub path: String,
    /// By which the next look knows whether anything is different.
    pub mark: Option<u64>,
    /// Nothing: as at the look before, or nobody could see.
    pub stands: Option<Stands>,
    /// When it was changed last.
    pub changed: Option<Timestamp>,
}

/// The files of a service to look at, each with the mark of the look before.
#[derive(Clone, Debug, PartialEq)]
pub struct Looking {
    pub service: Name,
    /// Of what is known: what is found of an earlier one counts for nothing.
    pub era: u64,
    pub files: Vec<(String, Option<u64>)>,
}

/// A file that does not stand as it was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    stands: Stands,
    since: Timestamp,
    /// What was told of it, so that it is told once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<String>,
}

/// How often something was done about one file of late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    at: Vec<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rests_until: Option<Timestamp>,
}

impl Drifted {
    #[cfg(test)]
    pub fn is_told_as(&self, stands: Stands) -> bool {
        self.told.is_some() && self.stands == stands
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    Now,
    /// Once too often.
    RestsNow,
    Rests,
}

impl Tries {
    fn begin(&mut self, now: Timestamp) -> Try {
        // A clock that was set back holds nothing up.
        self.rests_until = self.rests_until.filter(|until| *until > now && until.since(now) <= REST);
        if self.rests_until.is_some() {
            return Try::Rests;
        }
        self.at.retain(|at| *at <= now && now.since(*at) < TRIES_WITHIN);
        if self.at.len() >= TRIES_MAX {
            self.rest(now);
            return Try::RestsNow;
        }
        self.at.push(now);
        Try::Now
    }

    fn rest(&mut self, now: Timestamp) {
        self.at.clear();
        self.rests_until = Some(now.plus(REST));
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// As it was put.
    pub stood: BTreeMap<String, Stood>,
    pub drifted: BTreeMap<String, Drifted>,
    pub tries: BTreeMap<String, Tries>,
    marks: BTreeMap<String, u64>,
    era: u64,
    /// They are being put back.
    pub repairing: BTreeSet<String>,
    repairing_unit: bool,
}

impl Watch {
    /// Of which files a spec speaks is said by [`Watch::only`]: one that has gone may come
    /// back, and what was put for it is known until then.
    pub fn new(kept: &super::KeptService) -> Self {
        let (stood, drifted, tries) = (kept.stood.clone(), kept.drifted.clone(), kept.tries.clone());
        Self { stood, drifted, tries, ..Self::default() }
    }

    /// What is no part of the spec any more anybody may change.
    pub fn only(&mut self, service: &ServiceAssignment) {
        let unit = unit_path(service);
        let keeps = |path: &String| unit.as_ref() == Some(path) || service.files.iter().any(|file| file.path == *path);
        self.stood.retain(|path, _| keeps(path));
        self.drifted.retain(|path, _| keeps(path));
        self.tries.retain(|path, _| keeps(path));
        self.marks.retain(|path, _| keeps(path));
    }

    /// The spec says something else of it now.
    pub fn judge_anew(&mut self) {
        self.tries.clear();
        self.drifted.values_mut().for_each(|one| one.told = None);
    }

    /// When the first of them has rested for long enough.
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        let rests = self.drifted.keys().filter_map(|path| self.tries.get(path)?.rests_until);
        let rests = rests.filter(|until| *until > now.wall);
        rests.map(|until| now.monotonic.saturating_add(until.since(now.wall))).min()
    }

    /// In a few words, where something is not as it should be.
    pub fn words(&self) -> Option<String> {
        let one = |(path, drifted): (&String, &Drifted)| {
            Some(format!("{path} ({})", difference(*self.stood.get(path)?, drifted.stands)))
        };
        let all: Vec<String> = self.drifted.iter().filter_map(one).collect();
        (!all.is_empty()).then(|| format!("changed by others: {}", all.join(", ")))
    }
}

/// The file of ours that systemd reads for a service.
pub fn unit_path(service: &ServiceAssignment) -> Option<String> {
    match &service.runs {
        Runs::Written { name, .. } => Some(format!("{UNIT_FOLDER}/{name}")),
        Runs::Unit { name, restarter: Restarter::Hostler } => Some(format!("{UNIT_FOLDER}/{name}.d/{DROP_IN}.conf")),
        Runs::Unit { .. } | Runs::Process(_) | Runs::Container { .. } => None,
    }
}

fn difference(stood: Stood, stands: Stands) -> String {
    let found = match stands {
        Stands::Gone => return "gone".to_owned(),
        Stands::NoFile => return "no plain file any more".to_owned(),
        Stands::There(found) => found,
    };
    let mut words = Vec::new();
    if found.print != stood.print {
        words.push("content".to_owned());
    }
    if found.mode != stood.mode {
        words.push(format!("mode {:04o} instead of {:04o}", found.mode, stood.mode));
    }
    if (found.uid, found.gid) != (stood.uid, stood.gid) {
        words.push(format!("owner {}:{} instead of {}:{}", found.uid, found.gid, stood.uid, stood.gid));
    }
    words.join(", ")
}

impl Supervisor {
    /// What is to be looked at now and then: how it stands on the host.
    pub fn to_look_at(&self) -> Vec<Looking> {
        let services = self.services.values().filter(|one| !one.leaving && !one.is_putting());
        let look = |one: &super::service::Service| Looking {
            service: one.name().clone(),
            era: one.watch.era,
            files: one.watch.stood.keys().map(|path| (path.clone(), one.watch.marks.get(path).copied())).collect(),
        };
        services.map(look).filter(|one| !one.files.is_empty()).collect()
    }

    pub(super) fn files_looked(&mut self, now: Now, name: &Name, era: u64, found: Vec<Found>) {
        // What is put meanwhile is no other hand's.
        if self.services.get(name).is_some_and(|one| one.watch.era == era && !one.is_putting()) {
            self.found(now, name, found);
        }
    }

    fn found(&mut self, now: Now, name: &Name, found: Vec<Found>) {
        for one in found {
            let Some(service) = self.services.get_mut(name) else { return };
            let watch = &mut service.watch;
            let Some(stood) = watch.stood.get(&one.path).copied() else { continue };
            let Some(stands) = one.stands else { continue };
            match one.mark {
                Some(mark) => watch.marks.insert(one.path.clone(), mark),
                None => watch.marks.remove(&one.path),
            };
            if stands == Stands::There(stood) {
                if let Some(drifted) = watch.drifted.remove(&one.path) {
                    // Whoever fights us stopped; what only flaps stays quiet.
                    if service.assignment.drift == Drift::Repair {
                        watch.tries.remove(&one.path);
                    }
                    self.righted(now, name, &one.path, stood, &drifted);
                }
                continue;
            }
            let since = one.changed.unwrap_or(now.wall);
            match watch.drifted.get_mut(&one.path) {
                Some(drifted) if drifted.stands == stands => continue,
                Some(drifted) => {
                    drifted.stands = stands;
                    // What holds a repair back is told once, whatever stands there.
                    if service.assignment.drift == Drift::Alarm {
                        drifted.told = None;
                    }
                }
                None => drop(watch.drifted.insert(one.path, Drifted { stands, since, told: None })),
            }
            self.effects.push(Effect::Keep);
        }
    }

    /// Tells of what others changed, and puts it back where the spec says so.
    pub(super) fn drift(&mut self, now: Now, name: &Name) {
        let Some(service) = self.services.get(name) else { return };
        if service.leaving || service.is_putting() || service.watch.repairing_unit || service.watch.drifted.is_empty() {
            return;
        }
        let unit = unit_path(&service.assignment);
        let drifted: Vec<(String, Drifted)> =
            service.watch.drifted.iter().map(|(path, one)| (path.clone(), one.clone())).collect();
        let (mut files, mut units) = (BTreeSet::new(), false);
        for (path, one) in drifted {
            let is_unit = unit.as_ref() == Some(&path);
            if !self.may_repair(now, name, &path, &one, is_unit) {
                continue;
            }
            if is_unit {
                units = true;
            } else {
                files.insert(path);
            }
        }
        let Some(service) = self.services.get_mut(name) else { return };
        if units {
            service.watch.repairing_unit = true;
            self.effects.push(Effect::Keep);
            self.effects.push(Effect::PutUnit { service: name.clone() });
        }
        if !files.is_empty() {
            self.ops += 1;
            service.files.putting = Some(self.ops);
            service.watch.repairing = files;
            self.effects.push(Effect::Keep);
            self.effects.push(Effect::PutFiles { service: name.clone(), op: self.ops });
        }
    }

    /// Whether it is to be put back now; where it is not, that is told once.
    fn may_repair(&mut self, now: Now, name: &Name, path: &str, drifted: &Drifted, is_unit: bool) -> bool {
        let Some(service) = self.services.get(name) else { return false };
        let repairs = service.assignment.drift == Drift::Repair;
        let held = if repairs { self.held_repair(now, name, is_unit) } else { None };
        if let Some(words) = held {
            if drifted.told.as_ref() != Some(&words) {
                self.tell(now, name, path, drifted, &words, vec![words.clone()]);
            }
            return false;
        }
        let Some(service) = self.services.get_mut(name) else { return false };
        // The way to it is gone; that passes.
        let waits = service.files.again.is_some() && !is_unit;
        if waits || (!repairs && drifted.told.is_some()) {
            return false;
        }
        let tried = service.watch.tries.entry(path.to_owned()).or_default().begin(now.wall);
        match tried {
            Try::Now if repairs => return true,
            Try::Now => {
                let words = if drifted.stands == Stands::Gone && !is_unit {
                    "left as it is; put back for the next start, which may not do without it"
                } else if is_unit {
                    "left as it is; written anew when it is started again"
                } else {
                    "left as it is"
                };
                self.tell(now, name, path, drifted, words, Vec::new());
            }
            Try::RestsNow => {
                let within = format_duration(TRIES_WITHIN);
                let what = if repairs { "put back" } else { "told" };
                let words = format!(
                    "{what} {TRIES_MAX} times in {within}, and changed again: others fight over it, so it is left as it \
                     is for {}",
                    format_duration(REST)
                );
                self.tell(now, name, path, drifted, &words, vec![words.clone()]);
            }
            Try::Rests => {}
        }
        false
    }

    /// Why what others changed is not put back yet.
    fn held_repair(&self, now: Now, name: &Name, is_unit: bool) -> Option<String> {
        let service = self.services.get(name)?;
        if let Some(words) = self.brake(now, None) {
            return Some(words);
        }
        if let Some(wrong) = service.files.wrong.as_ref().filter(|_| !is_unit) {
            let wrong = wrong.lines().next().unwrap_or_default();
            return Some(format!("what the spec says now can't be put there: {wrong}"));
        }
        let runs = service.wanted() && service.replicas.iter().any(super::replica::Replica::is_up);
        (!runs).then(|| "it does not run: put back when it is started".to_owned())
    }

    fn tell(&mut self, now: Now, name: &Name, path: &str, drifted: &Drifted, words: &str, refused: Vec<String>) {
        let Some(stood) = self.services.get(name).and_then(|one| one.watch.stood.get(path)).copied() else { return };
        let mut act = self.drift_act(now, name, Deed::Drifted);
        act.saw.push(format!("{path}: {}", difference(stood, drifted.stands)));
        act.saw.extend(since(now, drifted));
        if refused.is_empty() {
            act.result = Some(words.to_owned());
        }
        act.refused = refused;
        let service = self.services.get_mut(name);
        if let Some(drifted) = service.and_then(|one| one.watch.drifted.get_mut(path)) {
            drifted.told = Some(words.to_owned());
        }
        self.effects.push(Effect::Record(Box::new(act)));
        self.effects.push(Effect::Keep);
    }

    fn righted(&mut self, now: Now, name: &Name, path: &str, stood: Stood, drifted: &Drifted) {
        self.effects.push(Effect::Keep);
        if drifted.told.is_none() {
            return;
        }
        let mut act = self.drift_act(now, name, Deed::Repaired);
        ON_THE_HOST.clone_into(&mut act.by);
        act.saw.push(format!("{path}: {}", difference(stood, drifted.stands)));
        act.saw.extend(since(now, drifted));
        act.result = Some("it stands as the spec says again".to_owned());
        self.effects.push(Effect::Record(Box::new(act)));
    }

    fn drift_act(&mut self, now: Now, name: &Name, deed: Deed) -> Act {
        let key = Key { service: name.clone(), replica: 0 };
        let mut act = self.act(now, &key, deed, "drift");
        if let Some(service) = self.services.get(name) {
            act.rule = format!("drift = {}", service.assignment.drift.word());
        }
        act
    }

    /// Of what was put, by a start, for a new spec, or to put it back. Answers whether it
    /// was that.
    pub(super) fn files_were_put(&mut self, now: Now, name: &Name, put: &mut FilesPut) -> bool {
        let Some(service) = self.services.get_mut(name) else { return false };
        let repairing = if put.op.is_some() && put.op == service.files.putting {
            std::mem::take(&mut service.watch.repairing)
        } else {
            BTreeSet::new()
        };
        if matches!(put.trouble, Some(Trouble::Lost(_))) {
            // How the others stand is not known any more.
            let unit = unit_path(&service.assignment);
            let left = service.files.settled == Some(put.wanted);
            let Watch { stood, drifted, .. } = &mut service.watch;
            let placed = |path: &String| put.placed.iter().any(|one| one.path == *path);
            let sure = |path: &String| unit.as_ref() == Some(path) || placed(path);
            drifted.retain(|path, _| left || sure(path));
            stood.retain(|path, _| sure(path) || drifted.contains_key(path));
            // Were they put back, nobody has read them since.
            for read in service.replicas.iter_mut().filter_map(|replica| replica.read.as_mut()) {
                let again = read.iter_mut().filter(|(path, _)| repairing.contains(*path));
                again.for_each(|(_, print)| *print = UNREAD);
            }
        }
        for one in &put.placed {
            self.was_put(now, name, one);
        }
        self.found(now, name, std::mem::take(&mut put.found));
        let Some(service) = self.services.get_mut(name) else { return false };
        service.watch.only(&service.assignment);
        if let (false, Some(Trouble::Failed(words) | Trouble::Refused(words))) = (repairing.is_empty(), &put.trouble) {
            for path in &repairing {
                self.not_repaired(now, name, path, words);
            }
        }
        !repairing.is_empty()
    }

    /// It is left for a while, and that is told.
    fn not_repaired(&mut self, now: Now, name: &Name, path: &str, words: &str) {
        let Some(service) = self.services.get_mut(name) else { return };
        let Some(drifted) = service.watch.drifted.get(path).cloned() else { return };
        service.watch.tries.entry(path.to_owned()).or_default().rest(now.wall);
        let first = words.lines().next().unwrap_or_default();
        let words = format!("it can't be put back: {first}; tried again in {}", format_duration(REST));
        self.tell(now, name, path, &drifted, &words, vec![words.clone()]);
    }

    fn was_put(&mut self, now: Now, name: &Name, placed: &Placed) {
        let Some(service) = self.services.get_mut(name) else { return };
        let watch = &mut service.watch;
        watch.era += 1;
        let Some(stood) = placed.stood else { return };
        let before = watch.stood.insert(placed.path.clone(), stood);
        watch.marks.remove(&placed.path);
        let drifted = watch.drifted.remove(&placed.path);
        let same = before == Some(stood);
        match (before, drifted) {
            (Some(before), Some(drifted)) if placed.changed => {
                let mut act = self.drift_act(now, name, Deed::Repaired);
                act.saw.push(format!("{}: {}", placed.path, difference(before, drifted.stands)));
                act.saw.extend(since(now, &drifted));
                let words = if same { "put back as the spec says" } else { "the spec's newer one took its place" };
                act.result = Some(words.to_owned());
                self.effects.push(Effect::Record(Box::new(act)));
            }
            (Some(before), Some(drifted)) => self.righted(now, name, &placed.path, before, &drifted),
            (Some(_), None) if placed.changed && same => {
                let mut act = self.drift_act(now, name, Deed::Repaired);
                act.saw.push(format!("{}: changed or removed by others", placed.path));
                act.result = Some("put back as the spec says".to_owned());
                self.effects.push(Effect::Record(Box::new(act)));
            }
            _ => {}
        }
    }

    /// By a start, a look, or to put it back.
    pub(super) fn unit_put(&mut self, now: Now, name: &Name, put: Result<Placed, Trouble>) {
        let Some(service) = self.services.get_mut(name) else { return };
        service.watch.repairing_unit = false;
        let Some(path) = unit_path(&service.assignment) else { return };
        match put {
            Ok(placed) if placed.path == path => {
                let news = placed.changed || service.watch.stood.get(&path).copied() != placed.stood;
                if news || service.watch.drifted.contains_key(&path) {
                    self.was_put(now, name, &placed);
                    self.effects.push(Effect::Keep);
                }
            }
            // It runs as another meanwhile.
            Ok(_) => {}
            Err(trouble) => self.not_repaired(now, name, &path, &trouble.into_words()),
        }
    }
}

fn since(now: Now, drifted: &Drifted) -> Option<String> {
    let age = now.wall.since(drifted.since);
    (!age.is_zero()).then(|| format!("by others, {} ago", span(age)))
}
