//! From an assignment to a plugin that can run: fetch, compile, load; again with
//! back-off when one of them fails; forget what is no longer assigned.

mod fetch;
mod reverted;
mod trust;

use crate::checks::TrialEnd;
use crate::logging::whole;
use crate::orders::Orders;
use crate::spool::Spool;
use crate::view::View;
use crate::{clock, memory};
pub use reverted::Reverted;
pub use trust::HostTrust;

use hostler_agent_core::jitter::Jitter;
use hostler_agent_core::retry::{Backoff, Pace};
use hostler_plugin_host::{Cache, Companion, Plugin, PluginHost};
use hostler_proto::agent::PluginReport;
use hostler_types::plugin::Grants;
use hostler_types::{EventKind, Name, PluginAssignment};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A damaged download or a busy disk passes; a plugin that cannot be compiled
/// does not, and each try of that costs seconds of processor.
const RETRY_PACE: Pace = Pace { base: Duration::from_secs(4), cap: Duration::from_secs(600) };

#[derive(Clone)]
pub enum Readiness {
    /// Not there yet; checks that need it wait.
    Coming,
    Ready(Arc<Plugin>),
    /// It cannot be used. Where there is none before it, checks that need it are
    /// unknown, and say why.
    Failed(String),
    /// It broke in its first runs, so the one before it runs again.
    Reverted(String),
}

#[derive(Clone)]
pub struct Slot {
    pub assignment: PluginAssignment,
    /// What manifest, operator and this host all allow.
    pub grants: Arc<Grants>,
    pub readiness: Readiness,
    /// The version before: it runs until this one is ready, and again if this one
    /// breaks.
    pub before: Option<Before>,
}

#[derive(Clone)]
pub struct Before {
    pub assignment: PluginAssignment,
    pub grants: Arc<Grants>,
    pub plugin: Arc<Plugin>,
}

/// What a run needs of a slot.
pub struct Running {
    pub plugin: Arc<Plugin>,
    pub grants: Arc<Grants>,
    pub digest: String,
}

impl Slot {
    /// What runs now. `refused`: this version has just broken, and nobody has
    /// noted it yet.
    pub fn running(&self, refused: bool) -> Option<Running> {
        match (&self.readiness, &self.before) {
            (Readiness::Ready(plugin), before) if !refused || before.is_none() => Some(Running {
                plugin: Arc::clone(plugin),
                grants: Arc::clone(&self.grants),
                digest: self.assignment.digest.clone(),
            }),
            (_, Some(before)) => Some(Running {
                plugin: Arc::clone(&before.plugin),
                grants: Arc::clone(&before.grants),
                digest: before.assignment.digest.clone(),
            }),
            (_, None) => None,
        }
    }

    /// Nothing can run yet, and something may soon.
    pub fn is_coming(&self) -> bool {
        matches!(self.readiness, Readiness::Coming | Readiness::Reverted(_)) && self.before.is_none()
    }
}

pub type Table = Arc<BTreeMap<Name, Slot>>;

/// What is left of grants on this host.
pub type Narrow = Box<dyn Fn(&Grants) -> Grants + Send + Sync>;

/// Everything that making a plugin ready needs.
pub struct Workshop {
    pub folder: PathBuf,
    pub host: Arc<PluginHost>,
    pub cache: Arc<Cache>,
    pub companion: Companion,
    pub narrow: Narrow,
    pub spool: Spool,
    pub view: Arc<View>,
    pub orders: watch::Receiver<Option<Arc<Orders>>>,
    pub channel: watch::Receiver<Option<Channel>>,
    pub table: watch::Sender<Table>,
    pub trial_ends: mpsc::Receiver<TrialEnd>,
    pub reverted: Reverted,
    pub trust: HostTrust,
}

/// What is known about one that is not ready.
struct Attempt {
    backoff: Backoff,
    due: Duration,
}

impl Workshop {
    /// One plugin at a time: compiling is the most a host ever does for us.
    pub async fn run(mut self, stop: CancellationToken, seed: u64) {
        let mut jitter = Jitter::new(seed);
        let mut attempts: BTreeMap<String, Attempt> = BTreeMap::new();
        self.assign().await;
        loop {
            let now = clock::now().monotonic;
            let next = self.next(&attempts, now);
            match next {
                Some((name, due)) if due <= now => {
                    // A plugin that is no longer wanted must not hold up the others.
                    let outcome = tokio::select! {
                        () = stop.cancelled() => return,
                        changed = self.orders.changed() => match changed {
                            Ok(()) => None,
                            Err(_) => return,
                        },
                        outcome = make(&self.folder, &self.host, &self.cache, &self.companion, self.channel.clone(), &self.table, &self.view, &self.reverted, &self.trust, &name) => Some(outcome),
                    };
                    match outcome {
                        Some(Ok(plugin)) => self.made(&name, plugin, &mut attempts).await,
                        Some(Err(error)) => self.failed(&name, error, &mut attempts, &mut jitter).await,
                        None => self.assign().await,
                    }
                }
                next => {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        changed = self.orders.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            self.assign().await;
                        }
                        changed = self.channel.changed() => {
                            if changed.is_err() {
                                return;
                            }
                            // What failed for want of a connection need not wait.
                            attempts.values_mut().for_each(|attempt| attempt.due = Duration::ZERO);
                        }
                        Some(end) = self.trial_ends.recv() => self.trial_ended(end).await,
                        () = clock::sleep_until(next.map(|(_, due)| due)) => {}
                    }
                }
            }
        }
    }

    fn next(&self, attempts: &BTreeMap<String, Attempt>, now: Duration) -> Option<(Name, Duration)> {
        let table = self.table.borrow();
        let connected = self.channel.borrow().is_some();
        let waiting = table.iter().filter(|(_, slot)| match slot.readiness {
            Readiness::Ready(_) => false,
            Readiness::Reverted(_) => slot.before.is_none(),
            Readiness::Coming | Readiness::Failed(_) => {
                connected || fetch::file(&self.folder, &slot.assignment.digest).exists()
            }
        });
        let due = |slot: &Slot| attempts.get(&slot.assignment.digest).map_or(now, |attempt| attempt.due);
        waiting.map(|(name, slot)| (name.clone(), due(slot))).min_by_key(|(_, due)| *due)
    }

    /// Takes over what is assigned now, and forgets the rest.
    async fn assign(&mut self) {
        let orders = self.orders.borrow_and_update().clone();
        let Some(orders) = orders else { return };
        let before = Arc::clone(&self.table.borrow());
        let mut after = BTreeMap::new();
        for assignment in &orders.desired.plugins {
            let slot = self.slot_for(assignment, before.get(&assignment.name));
            after.insert(assignment.name.clone(), slot);
        }
        self.reverted.keep_only(after.values().map(|slot| slot.assignment.digest.as_str()));
        let digests = self.digests(&after);
        let forgotten = before.values().any(|slot| !digests.contains(&slot.assignment.digest));
        self.publish(after);
        drop(before);
        self.remove_others(digests).await;
        if forgotten {
            memory::give_back();
        }
    }

    /// What must stay on the disk: versions assigned, and those before them.
    fn digests(&self, table: &BTreeMap<Name, Slot>) -> BTreeSet<String> {
        let assigned = table.values().map(|slot| slot.assignment.digest.clone());
        let before = table.values().filter_map(|slot| slot.before.as_ref()).map(|one| one.assignment.digest.clone());
        assigned.chain(before).chain(self.reverted.kept()).collect()
    }

    /// What an assignment makes of what was there.
    fn slot_for(&self, assignment: &PluginAssignment, before: Option<&Slot>) -> Slot {
        let grants = Arc::new((self.narrow)(&assignment.grants));
        let fresh =
            |readiness, before| Slot { assignment: assignment.clone(), grants: grants.clone(), readiness, before };
        match before {
            Some(slot) if slot.assignment.digest == assignment.digest => {
                // What was taken from the new version is taken from the old one too.
                let narrowed = slot.before.clone().map(|mut one| {
                    if slot.assignment.grants != assignment.grants {
                        one.grants = Arc::new(one.grants.intersect(&grants));
                    }
                    one
                });
                fresh(slot.readiness.clone(), narrowed)
            }
            Some(slot) => {
                let old = match &slot.readiness {
                    Readiness::Ready(plugin) => Some(Before {
                        assignment: slot.assignment.clone(),
                        grants: Arc::clone(&slot.grants),
                        plugin: Arc::clone(plugin),
                    }),
                    _ => slot.before.clone(),
                };
                match old {
                    // Back to the one that runs anyway.
                    Some(old) if old.assignment.digest == assignment.digest => {
                        fresh(Readiness::Ready(old.plugin), None)
                    }
                    old => fresh(Readiness::Coming, old),
                }
            }
            None => match self.reverted.reason(&assignment.digest) {
                Some(reason) => fresh(Readiness::Reverted(reason.to_owned()), None),
                None => fresh(Readiness::Coming, None),
            },
        }
    }

    async fn trial_ended(&mut self, end: TrialEnd) {
        let mut table = BTreeMap::clone(&self.table.borrow());
        let Some(slot) = table.get_mut(&end.plugin).filter(|slot| slot.assignment.digest == end.digest) else { return };
        let version = slot.assignment.version.clone();
        match (end.back, &slot.before) {
            (None, _) => {
                slot.before = None;
                tracing::info!(plugin = %end.plugin, version, "the new version works wherever the one before did");
            }
            (Some(_), None) => return,
            (Some(reason), Some(before)) => {
                let old = before.assignment.version.clone();
                self.reverted.add(&end.digest, &reason, &before.assignment);
                let message = format!("{} {version} broke in its first runs, {old} runs again: {reason}", end.plugin);
                slot.readiness = Readiness::Reverted(format!("{old} runs instead: {reason}"));
                tracing::error!(plugin = %end.plugin, version, reason, "the version before runs again");
                self.spool.event(EventKind::PLUGIN, end.plugin.as_str(), message).await;
            }
        }
        let digests = self.digests(&table);
        self.publish(table);
        self.remove_others(digests).await;
    }

    async fn remove_others(&self, digests: BTreeSet<String>) {
        let (folder, cache) = (self.folder.clone(), Arc::clone(&self.cache));
        let removed = tokio::task::spawn_blocking(move || {
            fetch::keep_only(&folder, &digests)?;
            cache.keep_only(&digests).map(drop)
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(error = %error, "removing plugins that are no longer assigned failed");
        }
    }

    fn publish(&self, table: BTreeMap<Name, Slot>) {
        show(&self.view, &table, None);
        self.table.send_replace(Arc::new(table));
    }

    fn set(&self, name: &Name, readiness: Readiness) {
        let mut table = BTreeMap::clone(&self.table.borrow());
        if let Some(slot) = table.get_mut(name) {
            slot.readiness = readiness;
        }
        self.publish(table);
    }

    async fn made(&self, name: &Name, plugin: Arc<Plugin>, attempts: &mut BTreeMap<String, Attempt>) {
        let Some(slot) = self.table.borrow().get(name).cloned() else { return };
        memory::give_back();
        if let Readiness::Reverted(_) = slot.readiness {
            return self.restored(name, &slot, plugin);
        }
        self.set(name, Readiness::Ready(plugin));
        let PluginAssignment { version, digest, .. } = slot.assignment;
        tracing::info!(plugin = %name, version, digest, "plugin is ready");
        if attempts.remove(&digest).is_some() {
            let message = format!("{name} {version} is ready, after it had failed");
            self.spool.event(EventKind::PLUGIN, name.as_str(), message).await;
        }
    }

    /// The version before one that broke, loaded again after a start.
    fn restored(&self, name: &Name, slot: &Slot, plugin: Arc<Plugin>) {
        let Some(assignment) = self.reverted.before(&slot.assignment.digest) else { return };
        // Its own grants are not known any more: at most what both ask for.
        let grants = Arc::new(slot.grants.intersect(&(self.narrow)(&assignment.grants)));
        let mut table = BTreeMap::clone(&self.table.borrow());
        if let Some(slot) = table.get_mut(name) {
            slot.before = Some(Before { assignment: assignment.clone(), grants, plugin });
        }
        self.publish(table);
    }

    async fn failed(
        &mut self,
        name: &Name,
        error: MakeError,
        attempts: &mut BTreeMap<String, Attempt>,
        jitter: &mut Jitter,
    ) {
        let Some(slot) = self.table.borrow().get(name).cloned() else { return };
        let digest = slot.assignment.digest.clone();
        let attempt = attempts
            .entry(digest)
            .or_insert_with(|| Attempt { backoff: Backoff::new(RETRY_PACE), due: Duration::ZERO });
        let pause = attempt.backoff.next(jitter);
        attempt.due = clock::now().monotonic.saturating_add(pause);
        let message = whole(&error);
        // A connection that broke is the link's to tell.
        if matches!(error, MakeError::Fetch(fetch::FetchError::Link(_))) {
            tracing::info!(plugin = %name, error = message, "fetching the plugin was interrupted");
            return;
        }
        let said = matches!(&slot.readiness, Readiness::Failed(before) if *before == message);
        if let Readiness::Reverted(_) = slot.readiness {
            // Without the old version the new one is better than none.
            self.reverted.forget(&slot.assignment.digest);
            self.set(name, Readiness::Coming);
            return;
        }
        self.set(name, Readiness::Failed(message.clone()));
        if !said {
            tracing::error!(plugin = %name, error = message, "plugin cannot be used; it is tried again");
            let message = format!("{name} {} cannot be used: {message}", slot.assignment.version);
            self.spool.event(EventKind::PLUGIN, name.as_str(), message).await;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("it is not assigned any more")]
    Gone,
    #[error("fetch it")]
    Fetch(#[from] fetch::FetchError),
    #[error("{0}")]
    Trust(#[from] trust::TrustError),
    #[error("compile and load it")]
    Prepare(#[from] hostler_plugin_host::PrepareError),
}

#[allow(clippy::too_many_arguments, reason = "borrows parts of the workshop while another part is waited on")]
async fn make(
    folder: &Path,
    host: &Arc<PluginHost>,
    cache: &Cache,
    companion: &Companion,
    channel: watch::Receiver<Option<Channel>>,
    table: &watch::Sender<Table>,
    view: &View,
    reverted: &Reverted,
    trust: &HostTrust,
    name: &Name,
) -> Result<Arc<Plugin>, MakeError> {
    let slots = Arc::clone(&table.borrow());
    let slot = slots.get(name).ok_or(MakeError::Gone)?;
    let assignment = match slot.readiness {
        Readiness::Reverted(_) => reverted.before(&slot.assignment.digest).ok_or(MakeError::Gone)?.clone(),
        _ => slot.assignment.clone(),
    };
    let path = fetch::file(folder, &assignment.digest);
    let first = !path.exists();
    if first {
        show(view, &slots, Some((name, "fetching")));
        let channel = channel.borrow().clone();
        fetch::fetch(folder, &assignment, channel).await?;
    }
    if let Err(error) = trust.admit(&path, &assignment, first, clock::wall()) {
        if first {
            fetch::remove(folder, &assignment)?;
        }
        return Err(error.into());
    }
    show(view, &slots, Some((name, "compiling")));
    match Box::pin(host.load_cached(cache, &assignment.digest, &path, companion)).await {
        Ok(plugin) => Ok(plugin),
        Err(error) => {
            // The disk may have changed it since it was fetched: then it is fetched anew.
            fetch::remove_damaged(folder, &assignment)?;
            Err(error.into())
        }
    }
}

/// How the plugins stand, with what is being done about one of them.
fn show(view: &View, table: &BTreeMap<Name, Slot>, doing: Option<(&Name, &str)>) {
    let report = |name: &Name, slot: &Slot| {
        let (state, message) = match &slot.readiness {
            Readiness::Ready(_) => ("ready", String::new()),
            Readiness::Failed(message) => ("failed", message.clone()),
            Readiness::Reverted(message) => ("reverted", message.clone()),
            Readiness::Coming => match doing {
                Some((busy, what)) if busy == name => (what, String::new()),
                _ => ("fetching", String::new()),
            },
        };
        PluginReport {
            name: name.to_string(),
            version: slot.assignment.version.clone(),
            digest: slot.assignment.digest.clone(),
            state: state.to_owned(),
            message,
        }
    };
    let reports = table.iter().map(|(name, slot)| (name.clone(), report(name, slot))).collect();
    view.lock().set_plugins(reports);
}
