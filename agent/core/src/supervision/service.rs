//! One service: its programs, its checks, and whether it is well.

use super::drift::Watch;
use super::files::Files;
use super::replica::{Phase, Replica};
use super::{Checked, Key, PROBE_FOR, PROBE_MAX, PROBE_MIN, PROBE_SHARE, SETTLED_AFTER, Standing};
use hostler_types::service::Runs;
use hostler_types::spec::Restarter;
use hostler_types::{CheckState, Name, Now, ServiceAssignment, ServiceState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(super) struct CheckSeen {
    /// The last result that says something about what runs now.
    pub good: Option<bool>,
    /// One of those was good.
    pub once_good: bool,
    pub state: Option<CheckState>,
    pub summary: String,
    pub proven: bool,
}

/// How far healing has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Ladder {
    pub step: usize,
    pub asked: Option<Asked>,
    pub not_before: Duration,
    /// What held it back was recorded, so that it is not at each try.
    pub told: Option<String>,
    pub paged: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub id: u64,
    pub check: Name,
    pub until: Duration,
}

/// What others go by that need it, or that it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Face {
    pub is_well: bool,
    pub stays: bool,
    pub is_down: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub assignment: Arc<ServiceAssignment>,
    pub fingerprint: u64,
    pub files: Files,
    /// What others may do to them.
    pub watch: Watch,
    /// Which files it is to have.
    pub files_wanted: u64,
    /// By whose wish it does not run.
    pub stopped: Option<String>,
    /// It is not wanted here any more.
    pub leaving: bool,
    pub replicas: Vec<Replica>,
    pub checks: BTreeMap<Name, CheckSeen>,
    pub ladder: Ladder,
    pub well_since: Option<Duration>,
    /// It was started anew since it was well last.
    pub fresh: bool,
    pub probe_at: Option<Duration>,
    pub orders: Vec<(u64, hostler_types::ServiceVerb)>,
    pub restarts: u64,
    /// To be looked at.
    pub touched: bool,
    /// Looked at then, whatever comes in.
    pub wakes_at: Option<Duration>,
    /// As its neighbours saw it last.
    pub face: Option<Face>,
}

impl Service {
    pub fn name(&self) -> &Name {
        &self.assignment.name
    }

    pub fn wanted(&self) -> bool {
        !self.leaving && self.stopped.is_none()
    }

    /// systemd starts it again when it ends.
    pub fn is_theirs(&self) -> bool {
        matches!(self.assignment.runs, Runs::Unit { restarter: Restarter::Unit, .. })
    }

    /// It was there before us, and stays when we go.
    pub fn is_adopted(&self) -> bool {
        matches!(self.assignment.runs, Runs::Unit { .. })
    }

    /// Its programs run on.
    pub fn stays(&self) -> bool {
        self.wanted() || (self.leaving && self.is_adopted())
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let service = self.name().clone();
        (0..self.replicas.len())
            .map(move |index| Key { service: service.clone(), replica: u32::try_from(index).unwrap_or(u32::MAX) })
    }

    pub fn origin(&self, field: &str) -> String {
        let origins = &self.assignment.origins;
        origins.get(field).or_else(|| origins.get("")).cloned().unwrap_or_default()
    }

    /// Its files may be changing.
    pub fn is_putting(&self) -> bool {
        self.files.putting.is_some() || self.replicas.iter().any(|one| matches!(one.phase, Phase::Starting { .. }))
    }

    /// The checks that say whether it is well.
    pub fn watched(&self) -> impl Iterator<Item = &Name> {
        self.assignment.live.iter().chain(&self.assignment.ready)
    }

    fn youngest(&self) -> Option<Duration> {
        self.replicas.iter().filter_map(|one| one.started.map(|(at, _)| at)).max()
    }

    pub fn all_up(&self) -> bool {
        !self.replicas.is_empty() && self.replicas.iter().all(Replica::is_up)
    }

    /// Whether what waits for it may start.
    pub fn is_well(&self, now: Now) -> bool {
        if !self.all_up() || self.replicas.iter().any(|one| one.bounce) {
            return false;
        }
        let mut watched = self.watched().peekable();
        if watched.peek().is_none() {
            // A unit that is there already says itself when it is started.
            return self.is_adopted() || self.settles_at().is_none_or(|at| at <= now.monotonic);
        }
        watched.all(|check| {
            let still = |seen: &CheckSeen| matches!(seen.state, Some(CheckState::Passing | CheckState::Warning));
            self.checks.get(check).is_some_and(|seen| seen.once_good && (seen.good == Some(true) || still(seen)))
        })
    }

    fn settles_at(&self) -> Option<Duration> {
        self.youngest().map(|at| at.saturating_add(SETTLED_AFTER))
    }

    /// What was known of its checks was about another run of it.
    pub fn begun(&mut self, now: Now) {
        for seen in self.checks.values_mut() {
            (seen.good, seen.once_good) = (None, false);
        }
        self.well_since = None;
        self.fresh = true;
        self.probe_at = Some(now.monotonic);
    }

    /// Nothing, if it is no check of this service.
    pub fn take(&mut self, checked: &Checked) {
        let youngest = self.youngest();
        let Some(seen) = self.checks.get_mut(&checked.check) else { return };
        self.touched = true;
        seen.state = Some(checked.state);
        seen.summary.clone_from(&checked.summary);
        seen.proven = checked.proven;
        if youngest.is_some_and(|started| started <= checked.began) {
            seen.good = Some(checked.good);
            seen.once_good |= checked.good;
        }
    }

    /// Checks to run now, so that whoever waits for it does not wait for their turn.
    pub fn probes(&mut self, now: Now) -> Vec<Name> {
        let Some(at) = self.probe_at.filter(|_| self.all_up()) else { return Vec::new() };
        let Some(age) = self.youngest().map(|started| now.monotonic.saturating_sub(started)) else { return Vec::new() };
        let open: Vec<Name> = {
            let open = |check: &&Name| {
                let well = |seen: &CheckSeen| {
                    seen.state.is_some_and(|state| state.severity() <= CheckState::Warning.severity())
                };
                self.checks.get(*check).is_some_and(|seen| seen.good != Some(true) || !well(seen))
            };
            self.watched().filter(open).cloned().collect()
        };
        if open.is_empty() || age >= PROBE_FOR {
            self.probe_at = None;
            return Vec::new();
        }
        if at > now.monotonic {
            return Vec::new();
        }
        let gap = (age / PROBE_SHARE).clamp(PROBE_MIN, PROBE_MAX);
        self.probe_at = Some(now.monotonic.saturating_add(gap));
        open
    }

    pub fn deadline(&self, now: Now) -> Option<Duration> {
        let settles = self.settles_at().filter(|at| *at > now.monotonic && self.all_up());
        let settles = settles.filter(|_| self.watched().next().is_none());
        let probes = self.probe_at.filter(|_| self.all_up());
        let reset = self.well_since.map(|since| since.saturating_add(self.assignment.restart.reset));
        let reset = reset.filter(|_| self.counts());
        let heals = Some(self.ladder.not_before).filter(|at| *at > now.monotonic && self.failing().next().is_some());
        let asked = self.ladder.asked.as_ref().map(|asked| asked.until);
        let replicas = self.replicas.iter().filter_map(Replica::deadline);
        let rests = self.watch.deadline(now);
        [settles, probes, reset, heals, asked, self.files.again, rests].into_iter().flatten().chain(replicas).min()
    }

    /// Something is counted that ends when it was well for long enough.
    pub fn counts(&self) -> bool {
        let replicas = self.replicas.iter().any(|one| !one.pace.is_fresh() || one.crashing);
        replicas || self.ladder.step > 0 || self.ladder.paged
    }

    /// Its live checks that are critical.
    pub fn failing(&self) -> impl Iterator<Item = (&Name, &CheckSeen)> {
        let seen = self.assignment.live.iter().filter_map(|check| Some((check, self.checks.get(check)?)));
        seen.filter(|(_, seen)| seen.state == Some(CheckState::Critical) && seen.good == Some(false))
    }

    pub fn standings(&self, now: Now) -> Vec<Standing> {
        let well = self.is_well(now);
        let one = |(key, replica): (Key, &Replica)| {
            let mut standing = replica.standing(key, now, well, self.stopped.is_some());
            // It was well since it started, and is not any more.
            if standing.state == ServiceState::Starting && replica.phase == Phase::Up && !self.fresh {
                standing.state = ServiceState::Unwell;
            }
            if replica.phase == Phase::Up && !well {
                let bad = self.watched().filter_map(|check| Some((check, self.checks.get(check)?)));
                let bad: Vec<String> = bad
                    .filter(|(_, seen)| seen.good == Some(false))
                    .map(|(check, seen)| format!("{check}: {}", seen.summary))
                    .collect();
                standing.words = bad.join("; ");
            }
            if let (Some(wrong), Phase::Up, true) = (&self.files.wrong, &replica.phase, standing.words.is_empty()) {
                standing.words = format!("with its old files: {}", wrong.lines().next().unwrap_or_default());
            }
            if let (Some(words), Phase::Up, true) = (self.watch.words(), &replica.phase, standing.words.is_empty()) {
                standing.words = words;
            }
            if let (Some(by), Phase::Down) = (&self.stopped, &replica.phase) {
                standing.words = format!("by {by}");
            }
            standing
        };
        self.keys().zip(&self.replicas).map(one).collect()
    }
}
