//! Builds the agent from its configuration, runs it, and drains it.

use crate::checks::{Runner, Trials, Watch};
use crate::config::Config;
use crate::deliveries::{self, Deliverer};
use crate::executor::Executor;
use crate::gone::{self, Standing, Watcher};
use crate::identity::Identity;
use crate::link::Link;
use crate::local::{self, Who};
use crate::orders::OrderBook;
use crate::plugins::{HostTrust, Reverted, Table, Workshop};
use crate::services::{Ask, Services};
use crate::spool::Spool;
use crate::standing::Standings;
use crate::tasks::{self, Worker};
use crate::vault::Vault;
use crate::view::View;
use crate::{VERSION, clock, http, memory, services};
use anyhow::{Context, Result};
use hostler_agent_core::hash::fnv1a;
use hostler_plugin_host::{Cache, Companion, Machine, MachineConfig, PluginHost};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Below what systemd waits before it kills.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// One a plugin at most, and each ends once.
const TRIAL_ENDS_MAX: usize = 256;
const SPOOL: &str = "spool";
const PLUGINS: &str = "plugins";
/// The content of the files that services read.
const FILES: &str = "files";
const COMPILED: &str = "compiled";
const PLUGIN_STATE: &str = "plugin-state";

/// The tasks, by name, so that a stop can say who is late.
#[derive(Clone, Default)]
struct Tasks {
    tracker: TaskTracker,
    named: Arc<Mutex<Vec<(&'static str, AbortHandle)>>>,
}

impl Tasks {
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tracker.spawn(task).abort_handle();
        self.named.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((name, handle));
    }

    fn late(&self) -> Vec<&'static str> {
        let named = self.named.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        named.iter().filter(|(_, handle)| !handle.is_finished()).map(|(name, _)| *name).collect()
    }
}

/// Runs until `stop` is cancelled.
pub async fn run(config: Config, stop: CancellationToken) -> Result<()> {
    let identity = Identity::load(&config.state_dir)?;
    let running = Tasks::default();
    let view = Arc::new(View::default());
    tracing::info!(
        version = VERSION, node = %identity.node, name = %identity.name, policy = %config.policy, "the agent starts"
    );

    let (spool, found) = Spool::open(&config.state_dir.join(SPOOL)).context("open the spool")?;
    for note in &found.notes {
        tracing::warn!(note, "the spool was not whole");
    }
    view.lock().spool = spool.state();
    let keys = identity.desired_state_keys();
    let (book, held) = OrderBook::open(&config.state_dir, &identity.node, &keys, clock::wall());
    let standings = Standings::open(&config.state_dir, &found.transitions);
    drop(found);

    let vault = Vault::open(&config.state_dir)?;
    let machine = Machine::new(MachineConfig {
        secrets_given: Some(vault.given()),
        state_folder: Some(config.state_dir.join(PLUGIN_STATE)),
        secrets_folder: config.secrets_dir.clone(),
        ..MachineConfig::default()
    });
    let host = PluginHost::new(Arc::new(machine)).context("start the plugin engine")?;
    let compiled = config.state_dir.join(COMPILED);
    let cache = Cache::open(&compiled).with_context(|| format!("open the plugin cache {}", compiled.display()))?;
    if let Some(held) = &held {
        vault.take(&held.desired.node, &held.desired.secrets);
    }
    let orders = watch::Sender::new(held);
    let standing = watch::Sender::new(Standing::Away);
    let channel = watch::Sender::new(None);
    let table = watch::Sender::new(Table::default());

    let (trial_ends, heard_trial_ends) = mpsc::channel(TRIAL_ENDS_MAX);
    let awake = Arc::new(tokio::sync::Notify::new());
    let news = Arc::new(tokio::sync::Notify::new());
    let (executor, connection) = Executor::inherited();
    let (check_asks, asked_checks) = mpsc::channel(services::QUEUE);
    let (checked, heard_checked) = mpsc::channel(services::QUEUE);
    let watched = watch::Sender::default();
    let (service_asks, asked_services) = mpsc::channel(services::QUEUE);
    let (task_asks, asked_tasks) = mpsc::channel(tasks::QUEUE);
    let (to_control_plane, outgoing) = mpsc::channel(services::QUEUE);

    let runner = Runner {
        watch: Watch::new(identity.node.clone(), standings, &vault),
        spool: spool.clone(),
        view: Arc::clone(&view),
        vault: Arc::clone(&vault),
        orders: orders.subscribe(),
        table: table.subscribe(),
        trials: Trials::default(),
        trial_ends,
        awake: Arc::clone(&awake),
        asks: asked_checks,
        watched: watched.subscribe(),
        checked,
    };
    let worker = Worker {
        node: identity.node.clone(),
        state_dir: config.state_dir.clone(),
        output: config.output_dir.clone(),
        channel: channel.subscribe(),
        executor: executor.clone(),
        vault: Arc::clone(&vault),
        spool: spool.clone(),
        view: Arc::clone(&view),
        orders: orders.subscribe(),
        table: table.subscribe(),
        standing: standing.subscribe(),
        services: service_asks.clone(),
        checks: check_asks.clone(),
        asks: asked_tasks,
        to_control_plane: to_control_plane.clone(),
    };
    let looking_after = Services {
        state_dir: config.state_dir.clone(),
        output: config.output_dir.clone(),
        files: config.state_dir.join(FILES),
        channel: channel.subscribe(),
        executor,
        vault: Arc::clone(&vault),
        spool: spool.clone(),
        view: Arc::clone(&view),
        orders: orders.subscribe(),
        standing: standing.subscribe(),
        checks: check_asks,
        checked: heard_checked,
        watched,
        asks: asked_services,
        to_control_plane,
        news: Arc::clone(&news),
    };
    let deliverer = Deliverer { orders: orders.subscribe(), table: table.subscribe(), vault: Arc::clone(&vault) };
    let (deliveries, asked) = mpsc::channel(deliveries::QUEUE);
    let workshop = Workshop {
        folder: config.state_dir.join(PLUGINS),
        host,
        cache: Arc::new(cache),
        companion: Companion::new(config.plugin_tool.clone()),
        narrow: {
            let config = config.clone();
            Box::new(move |grants| config.narrowed(grants))
        },
        spool: spool.clone(),
        view: Arc::clone(&view),
        orders: orders.subscribe(),
        channel: channel.subscribe(),
        table,
        trial_ends: heard_trial_ends,
        reverted: Reverted::open(&config.state_dir.join(PLUGINS)),
        trust: HostTrust::new(config.plugin_keys.clone(), &config.state_dir.join(PLUGINS)),
    };
    let watcher = Watcher {
        path: gone::path(&config.state_dir),
        name: identity.name.clone(),
        spool: spool.clone(),
        view: Arc::clone(&view),
        vault: Arc::clone(&vault),
        orders: orders.subscribe(),
        standing: standing.subscribe(),
    };
    serve_local(&config, &identity, &view, &service_asks, &running, &stop).await;
    // Two agents must not wait alike, and one must not at each start.
    let seed = clock::wall().as_millis() ^ fnv1a(&[identity.node.as_str()]) ^ u64::from(std::process::id()) << 40;
    let link = Link {
        state_dir: config.state_dir.clone(),
        policy: config.policy,
        identity,
        book,
        spool,
        view,
        sealing_key: vault.public_key(),
        orders,
        standing,
        channel,
        awake,
        deliveries,
        services: service_asks.clone(),
        tasks: task_asks,
        news,
        outgoing,
    };
    if let Some(connection) = connection {
        running.spawn("executor", connection.run(stop.clone()));
    }
    running.spawn("services", looking_after.run(stop.clone(), seed.rotate_left(51)));
    running.spawn("tasks", worker.run(stop.clone()));
    running.spawn("checks", runner.run(stop.clone()));
    running.spawn("plugins", workshop.run(stop.clone(), seed.rotate_left(17)));
    running.spawn("deliveries", deliverer.run(asked, stop.clone()));
    running.spawn("gone", watcher.run(stop.clone(), seed.rotate_left(34)));
    running.spawn("link", link.run(stop.clone(), seed));
    memory::give_back();

    stop.cancelled().await;
    drain(&running).await;
    Ok(())
}

/// Neither of the two keeps a host from being watched: what cannot be had is
/// said, and the agent goes on without it.
async fn serve_local(
    config: &Config,
    identity: &Identity,
    view: &Arc<View>,
    services: &mpsc::Sender<Ask>,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let socket = config.socket();
    match local::bind(&socket) {
        Ok(listener) => {
            let who = Who::of(identity, config);
            tasks.spawn("local socket", local::serve(listener, who, Arc::clone(view), services.clone(), stop.clone()));
        }
        Err(error) => {
            tracing::warn!(path = %socket.display(), error = %error, "no local socket: `hostler-agent status` will not work");
        }
    }
    let Some(address) = config.http_listen else { return };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let serving = http::serve(listener, Arc::clone(view), stop.clone(), tasks.tracker.clone());
            tasks.spawn("http", serving);
        }
        Err(error) => {
            tracing::warn!(%address, error = %error, "no /health, /ready and /metrics: set http_listen to a free port, or to \"off\"");
        }
    }
}

async fn drain(tasks: &Tasks) {
    tracing::info!("the agent stops");
    tasks.tracker.close();
    if tokio::time::timeout(STOP_GRACE, tasks.tracker.wait()).await.is_err() {
        tracing::warn!(late = ?tasks.late(), "did not stop within {} s and are left", STOP_GRACE.as_secs());
    }
}

/// What `run` would trip over.
pub fn check(config: &Config) -> Result<()> {
    if Identity::exists(&config.state_dir) {
        Identity::load(&config.state_dir)?;
    }
    if let Some(address) = config.http_listen {
        match std::net::TcpListener::bind(address) {
            Ok(_) => {}
            // By the agent that runs here: that is as it should be.
            Err(_) if local::ask(config).is_ok() => {}
            Err(error) => {
                anyhow::bail!("http_listen: {address} cannot be listened on ({error}): set another port, or \"off\"")
            }
        }
    }
    if !config.plugin_tool.is_file() {
        anyhow::bail!(
            "plugin_tool: there is no {}: plugins cannot be compiled without it",
            config.plugin_tool.display()
        );
    }
    Ok(())
}

/// Removes what belongs to the node that this host was before.
pub fn forget_node(state_dir: &Path) -> Result<()> {
    OrderBook::forget(state_dir)?;
    Standings::forget(state_dir)?;
    gone::forget(state_dir)?;
    services::forget(state_dir)?;
    tasks::forget(state_dir)?;
    match std::fs::remove_dir_all(state_dir.join(SPOOL)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove the spool"),
        _ => Ok(()),
    }
}
