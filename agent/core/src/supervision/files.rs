//! The files of a service: what stands on the host, what its programs have read of
//! it, and what is done where those differ.

use super::replica::Replica;
use super::words::span;
use super::{Effect, FilesPut, Key, Placed, REFUSED_AGAIN, RETRY, Supervisor, Trouble};
use crate::hash::fnv1a;
use hostler_types::service::FileAssignment;
use hostler_types::spec::{OnChange, names_secret};
use hostler_types::{Deed, Name, Now, ServiceAssignment};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a file says, by its path: equal as long as it is the same.
pub type Prints = BTreeMap<String, u64>;

#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// As they stand on the host by our hand.
    pub placed: Prints,
    /// Which ones were tried last, well or not.
    pub tried: Option<u64>,
    /// Which ones were all put last.
    pub settled: Option<u64>,
    /// They are being put in place.
    pub putting: Option<u64>,
    /// What was wrong at the last try: the old ones stay until that is mended.
    pub wrong: Option<String>,
    /// What failed is not tried again before then.
    pub again: Option<Duration>,
}

/// The print of no file: what stands there was put after it was read. It stays when it is
/// not known any more what that is, so that it never passes for read.
pub(super) const UNREAD: u64 = u64::MAX;

impl Files {
    /// Somebody asks for it, or other ones are wanted.
    pub fn try_anew(&mut self) {
        (self.tried, self.again) = (None, None);
    }
}

/// Equal as long as the same files and packages are wanted.
pub fn files_fingerprint(service: &ServiceAssignment) -> u64 {
    let mut parts: Vec<String> = Vec::new();
    for file in &service.files {
        parts.extend(["file".to_owned(), file.path.clone(), file.digest.clone()]);
        parts.extend(file.validate.iter().map(|text| format!("validate {text}")));
        parts.extend(file.owner.iter().map(|text| format!("owner {text}")));
        parts.extend(file.mode.map(|mode| format!("mode {mode:o}")));
        parts.extend(file.with.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
    }
    parts.extend(service.packages.iter().map(|name| format!("package {name}")));
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    fnv1a(&parts)
}

/// What they say may change though the spec does not.
pub(super) fn name_secrets(service: &ServiceAssignment) -> bool {
    service.files.iter().any(|file| file.with.values().any(|value| names_secret(value)))
}

/// Of several, the one that does the others' work as well.
fn strongest<'a>(changed: impl Iterator<Item = &'a FileAssignment>) -> OnChange {
    let rank = |change: &OnChange| match change {
        OnChange::Nothing => 0,
        OnChange::Reload => 1,
        OnChange::Restart => 2,
    };
    changed.map(|file| file.change).max_by_key(rank).unwrap_or(OnChange::Nothing)
}

impl Supervisor {
    /// As they stand on the host by our hand, less those that are being put back.
    pub fn placed(&self, service: &Name) -> Prints {
        let Some(service) = self.services.get(service) else { return Prints::new() };
        let placed = service.files.placed.iter().filter(|(path, _)| !service.watch.repairing.contains(*path));
        placed.map(|(path, print)| (path.clone(), *print)).collect()
    }

    /// The paths of those that once stood there by our hand: it can be started with them,
    /// whatever became of newer ones.
    pub fn had(&self, service: &Name) -> BTreeSet<String> {
        let Some(service) = self.services.get(service) else { return BTreeSet::new() };
        let read = service.replicas.iter().filter_map(|one| one.read.as_ref());
        std::iter::once(&service.files.placed).chain(read).flat_map(Prints::keys).cloned().collect()
    }

    pub(super) fn files(&mut self, now: Now, name: &Name) {
        let braked = self.brake(now, None).is_some();
        let Some(service) = self.services.get_mut(name) else { return };
        if service.files.again.is_some_and(|at| at <= now.monotonic) {
            service.files.try_anew();
        }
        // What starts takes them along.
        let runs = service.replicas.iter().any(|one| one.is_up() && !one.bounce);
        let anew = |one: &Replica| !service.is_adopted() && one.is_up() && one.runs_as != Some(service.fingerprint);
        let anew = service.replicas.iter().any(anew);
        let none = service.assignment.files.is_empty() && service.assignment.packages.is_empty();
        if braked || none || !runs || anew || !service.wanted() || service.files.putting.is_some() {
            return;
        }
        if service.files.tried != Some(service.files_wanted) {
            if service.files.again.is_none() {
                self.ops += 1;
                service.files.putting = Some(self.ops);
                self.effects.push(Effect::Keep);
                self.effects.push(Effect::PutFiles { service: name.clone(), op: self.ops });
            }
            return;
        }
        // A part of what belongs together is not taken up.
        if service.files.wrong.is_some() {
            return;
        }
        let keys: Vec<Key> = service.keys().collect();
        for key in keys {
            self.take_up(now, &key);
        }
    }

    /// What stands there and was not read yet is brought to the program, once for all.
    fn take_up(&mut self, now: Now, key: &Key) {
        let Some(service) = self.services.get(&key.service) else { return };
        let Some(replica) = usize::try_from(key.replica).ok().and_then(|at| service.replicas.get(at)) else { return };
        let waits = !replica.not_before.is_zero() || replica.reading.is_some() || replica.bounce;
        let Some(read) = replica.read.as_ref().filter(|_| replica.is_up() && !waits) else { return };
        let unread = |file: &&FileAssignment| {
            let print = service.files.placed.get(&file.path);
            print.is_some() && read.get(&file.path) != print
        };
        let changed: Vec<&FileAssignment> = service.assignment.files.iter().filter(unread).collect();
        if changed.is_empty() {
            return;
        }
        let change = strongest(changed.iter().copied());
        let paths: Vec<&str> = changed.iter().map(|file| file.path.as_str()).collect();
        let saw = format!("changed {}", paths.join(", "));
        let placed = service.files.placed.clone();
        let deed = if change == OnChange::Reload { Deed::Reloaded } else { Deed::Restarted };
        if change == OnChange::Nothing {
            if let Some(replica) = self.replica(key) {
                replica.read = Some(placed);
            }
            return self.effects.push(Effect::Keep);
        }
        let mut act = self.act(now, key, deed, "files");
        act.saw.push(saw);
        act.rule = format!("files: change = {}", change.word());
        let Some(replica) = self.replica(key) else { return };
        replica.act = Some((act.clone(), now.monotonic));
        if change == OnChange::Reload {
            replica.reading = Some(placed);
            self.effects.push(Effect::Record(Box::new(act)));
            self.effects.push(Effect::Reload { key: key.clone() });
        } else {
            replica.bounce = true;
        }
    }

    /// What was left as it stood, since it was known, while an answer was lost by which it
    /// is not known any more: it is put again.
    fn doubt_what_was_left(&self, name: &Name, put: &mut FilesPut) {
        let Some(service) = self.services.get(name) else { return };
        let known = |one: &Placed| {
            let was_left = !one.changed && one.stood.is_none();
            !was_left || service.files.placed.get(&one.path) == Some(&one.print)
        };
        let all = put.placed.len();
        put.placed.retain(known);
        if put.placed.len() < all && put.trouble.is_none() {
            put.trouble = Some(Trouble::Lost("an answer about what stands there was lost".to_owned()));
        }
    }

    /// By a start or for what runs.
    pub(super) fn files_put(&mut self, now: Now, name: &Name, mut put: FilesPut) {
        self.doubt_what_was_left(name, &mut put);
        let put_back = self.files_were_put(now, name, &mut put);
        let FilesPut { op, wanted, placed, trouble, found: _ } = put;
        let Some(service) = self.services.get_mut(name) else { return };
        if op.is_some() && op == service.files.putting {
            service.files.putting = None;
        }
        let sure: Vec<String> = placed.iter().map(|one| one.path.clone()).collect();
        for one in placed {
            let before = service.files.placed.insert(one.path.clone(), one.print);
            for read in service.replicas.iter_mut().filter_map(|replica| replica.read.as_mut()) {
                if one.changed {
                    // It was another, if only for a while.
                    read.insert(one.path.clone(), UNREAD);
                } else if before.is_none() {
                    // It stood there before us, and was read as it is.
                    read.entry(one.path.clone()).or_insert(one.print);
                }
            }
        }
        let assigned: Vec<&String> = service.assignment.files.iter().map(|file| &file.path).collect();
        service.files.placed.retain(|path, _| assigned.contains(&path));
        self.effects.push(Effect::Keep);
        let (words, again) = match trouble {
            // The spec is as good as before.
            Some(Trouble::Failed(_) | Trouble::Refused(_)) if put_back => return,
            None => {
                service.files.wrong = None;
                (service.files.tried, service.files.settled) = (Some(wanted), Some(wanted));
                return;
            }
            // The way to it is gone, or the control plane: that passes.
            Some(Trouble::Lost(_)) => {
                service.files.again = Some(now.monotonic.saturating_add(RETRY));
                let (left, drifted) = (service.files.settled == Some(wanted), &service.watch.drifted);
                service.files.placed.retain(|path, _| sure.contains(path) || (left && drifted.contains_key(path)));
                return;
            }
            Some(Trouble::Failed(words)) => (words, None),
            Some(Trouble::Refused(words)) => (words, Some(REFUSED_AGAIN)),
        };
        service.files.tried = Some(wanted);
        service.files.again = again.map(|wait| now.monotonic.saturating_add(wait));
        if service.files.wrong.replace(words.clone()) == Some(words.clone()) {
            return;
        }
        let Some(key) = service.keys().next() else { return };
        let mut act = self.act(now, &key, Deed::Failed, "files");
        let mut lines = words.lines().map(str::to_owned);
        act.saw.extend(lines.next());
        act.tail = lines.collect();
        "files: put in place before it reads them".clone_into(&mut act.rule);
        let again = again.map_or_else(
            || "tried again when the spec changes, or when it is asked to reload or restart".to_owned(),
            |wait| format!("tried again in {}", span(wait)),
        );
        act.result = Some(format!("it goes on with what was there; {again}"));
        self.effects.push(Effect::Record(Box::new(act)));
    }
}
