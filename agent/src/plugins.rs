//! From an assignment to a plugin that can run: fetch, compile, load; again with
//! back-off when one of them fails; forget what is no longer assigned.

mod fetch;

use crate::logging::whole;
use crate::orders::Orders;
use crate::spool::Spool;
use crate::view::View;
use crate::{clock, memory};
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
use tokio::sync::watch;
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
    /// Checks that need it are unknown, and say why.
    Failed(String),
}

#[derive(Clone)]
pub struct Slot {
    pub assignment: PluginAssignment,
    /// What manifest, operator and this host all allow.
    pub grants: Arc<Grants>,
    pub readiness: Readiness,
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
                        outcome = make(&self.folder, &self.host, &self.cache, &self.companion, self.channel.clone(), &self.table, &self.view, &name) => Some(outcome),
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
            let grants = (self.narrow)(&assignment.grants);
            let same = before.get(&assignment.name).filter(|slot| slot.assignment.digest == assignment.digest);
            let readiness = same.map_or(Readiness::Coming, |slot| slot.readiness.clone());
            let slot = Slot { assignment: assignment.clone(), grants: Arc::new(grants), readiness };
            after.insert(assignment.name.clone(), slot);
        }
        let digests: BTreeSet<String> = after.values().map(|slot| slot.assignment.digest.clone()).collect();
        let forgotten = before.values().any(|slot| !digests.contains(&slot.assignment.digest));
        self.publish(after);
        drop(before);
        let (folder, cache) = (self.folder.clone(), Arc::clone(&self.cache));
        let removed = tokio::task::spawn_blocking(move || {
            fetch::keep_only(&folder, &digests)?;
            cache.keep_only(&digests).map(drop)
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(error = %error, "removing plugins that are no longer assigned failed");
        }
        if forgotten {
            memory::give_back();
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
        self.set(name, Readiness::Ready(plugin));
        memory::give_back();
        let Some(slot) = self.table.borrow().get(name).cloned() else { return };
        let PluginAssignment { version, digest, .. } = slot.assignment;
        tracing::info!(plugin = %name, version, digest, "plugin is ready");
        if attempts.remove(&digest).is_some() {
            let message = format!("{name} {version} is ready, after it had failed");
            self.spool.event(EventKind::PLUGIN, name.as_str(), message).await;
        }
    }

    async fn failed(
        &self,
        name: &Name,
        error: MakeError,
        attempts: &mut BTreeMap<String, Attempt>,
        jitter: &mut Jitter,
    ) {
        let Some(slot) = self.table.borrow().get(name).cloned() else { return };
        let digest = slot.assignment.digest;
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
    name: &Name,
) -> Result<Arc<Plugin>, MakeError> {
    let slots = Arc::clone(&table.borrow());
    let assignment = slots.get(name).map(|slot| slot.assignment.clone()).ok_or(MakeError::Gone)?;
    let path = fetch::file(folder, &assignment.digest);
    if !path.exists() {
        show(view, &slots, Some((name, "fetching")));
        let channel = channel.borrow().clone();
        fetch::fetch(folder, &assignment, channel).await?;
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
