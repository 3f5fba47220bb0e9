//! The control plane put together: what there is one of, and how it starts and
//! stops.

use crate::access::Proving;
use crate::audit::{self, AuditError};
use crate::blobs::Blobs;
use crate::brakes::{self, Watched};
use crate::config::Config;
use crate::fleet::Fleet;
use crate::journal::{Journal, JournalError};
use crate::notices::{self, Notices};
use crate::pki::{Pki, PkiError};
use crate::records::{self, NewEvent};
use crate::runs::{self, RunFiles, Work};
use crate::schedules::{self, Schedules};
use crate::vault::{KeyError, Vault};
use crate::watchers::Duties;
use crate::world::{Mirror, WorldError};
use crate::{addresses, approvals, clock, contexts, http, link, serve, watchers};
use hostler_proto::store as rest;
use hostler_store::{Options, Probe, Store, StoreError, Txn};
use hostler_types::{EventKind, Stamp};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// systemd's own default is 90 s; an operator who restarts does not wait so long.
const GRACE: Duration = Duration::from_secs(5);

pub struct App {
    pub config: Config,
    pub store: Arc<dyn Store>,
    /// What the store has to tell people; taken by whoever writes it down.
    told: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    pub mirror: Arc<Mirror>,
    pub journal: Arc<Journal>,
    pub fleet: Arc<Fleet>,
    pub vault: Vault,
    pub pki: Arc<Pki>,
    pub audit: Arc<audit::Log>,
    pub notices: Arc<Notices>,
    /// The nodes that tell people when this control plane is gone.
    pub duties: watch::Sender<Arc<Duties>>,
    /// Who fails what, and whether many do together.
    pub watched: Watched,
    /// What is done across nodes now.
    pub work: Work,
    /// What is done when it is due.
    pub schedules: Schedules,
    /// Tokens that operators show, and who shows wrong ones.
    pub proving: Proving,
    /// Plugins, and the files of specs.
    pub blobs: Blobs,
    /// The objects of each kept version of a system.
    pub documents: Blobs,
    /// What runs brought back.
    pub run_files: RunFiles,
    /// Changes of specs take turns: a large one is not overtaken for ever by small
    /// ones.
    pub spec_turn: tokio::sync::Mutex<()>,
    /// Of what waits for a second person one decision is made at a time; taken before
    /// `spec_turn`.
    pub approvals_turn: tokio::sync::Mutex<()>,
    /// The history this control plane is part of; kept over restarts.
    pub lineage: u64,
    /// Grows with every start.
    pub term: u64,
    /// Counts what was ever sent to any node in this term.
    generation: AtomicU64,
    /// Of the certificate that this control plane shows now; 0: it shows none yet.
    pub certificate_ends_ms: AtomicU64,
    pub agents_port: u16,
    pub operators_port: u16,
    pub sessions_opening: Arc<Semaphore>,
    pub tracker: TaskTracker,
    pub stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("make the folder {path}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("open the keys")]
    Pki(#[from] PkiError),
    #[error("open the secrets' key")]
    Vault(#[from] KeyError),
    #[error("open the state store in {path}")]
    Store { path: PathBuf, source: StoreError },
    #[error("begin a new term")]
    Term(#[source] StoreError),
    #[error("load the state")]
    World(#[from] WorldError),
    #[error("load the events")]
    Journal(#[from] JournalError),
    #[error("begin the audit log")]
    Audit(#[from] AuditError),
    #[error("listen on {address} ({setting}): another program may hold the port")]
    Listen { setting: &'static str, address: std::net::SocketAddr, source: std::io::Error },
    #[error("prepare TLS")]
    Tls(#[from] rustls::Error),
    #[error("write the first operator's credential to {path}")]
    Context { path: PathBuf, source: std::io::Error },
    #[error("the context file {path} cannot be added to: {message}")]
    ContextFile { path: PathBuf, message: String },
    #[error("the state store could not write any more; the log says why, and a new start reads what is safe")]
    StoreFailed,
    #[error("store the first operator")]
    Operator(#[source] StoreError),
}

/// What is told is rare, and must not be lost.
fn listen_to_store() -> (hostler_store::Notify, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let notify = Arc::new(move |text: &str| drop(sender.send(text.to_owned())));
    (notify, receiver)
}

/// This very program tries the state first: sled may panic on what it finds.
fn probe_in_child() -> Probe {
    match std::env::current_exe() {
        Ok(program) => Probe::Child(vec![program.into(), "store".into(), "probe".into()]),
        Err(_) => Probe::InProcess,
    }
}

impl App {
    /// Runs until `stop` is cancelled, or until nothing can be stored any more.
    pub async fn run(config: Config, stop: CancellationToken) -> Result<(), StartError> {
        let listeners = serve::Sockets::bind(&config).await?;
        let app = Self::open(config, &listeners, stop.clone()).await?;
        contexts::welcome_back(&app).await?;
        contexts::ensure_first_operator(&app).await?;
        app.spawn_followers();
        notices::spawn(&app);
        let http_port = listeners.http_port();
        let plain = serve::spawn(&app, listeners)?;
        http::spawn(&app, plain);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            agents = app.agents_port,
            operators = app.operators_port,
            http = http_port,
            store = app.store.describe(),
            nodes = app.mirror.now().members.len(),
            "ready"
        );
        let store = Arc::clone(&app.store);
        let failed = tokio::select! {
            () = stop.cancelled() => false,
            () = store.stopped() => true,
        };
        stop.cancel();
        tracing::info!("stopping");
        app.tracker.close();
        if tokio::time::timeout(GRACE, app.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = app.tracker.len(), grace_s = GRACE.as_secs(), "stopped without waiting any longer");
        }
        audit::close(&app).await;
        if failed { Err(StartError::StoreFailed) } else { Ok(()) }
    }

    async fn open(config: Config, sockets: &serve::Sockets, stop: CancellationToken) -> Result<Arc<Self>, StartError> {
        let data = config.data_dir.clone();
        crate::files::private_folder(&data).map_err(|source| StartError::Folder { path: data.clone(), source })?;
        crate::upkeep::clear_scratch(&data);
        let keys = data.join("pki");
        if !keys.exists() && data.join("store").exists() {
            return Err(PkiError::Damaged { path: keys }.into());
        }
        let blobs_folder = data.join("blobs");
        let blobs = Blobs::open(&blobs_folder).map_err(|source| StartError::Folder { path: blobs_folder, source })?;
        let documents_folder = data.join("documents");
        let documents =
            Blobs::open(&documents_folder).map_err(|source| StartError::Folder { path: documents_folder, source })?;
        let files_folder = data.join("run-files");
        let run_files =
            RunFiles::open(&files_folder).map_err(|source| StartError::Folder { path: files_folder, source })?;
        let path = data.join("store");
        let (notify, told) = listen_to_store();
        let options = Options { probe: probe_in_child(), notify, ..Options::new(&path) };
        let opening = tokio::task::spawn_blocking(move || hostler_store::open_with(options)).await;
        let store = opening
            .map_err(|_| StoreError::Stopped)
            .and_then(|opened| opened)
            .map_err(|source| StartError::Store { path, source })?;
        let pki = Arc::new(Pki::open(&keys, clock::wall())?);
        let (lineage, term) = begin_term(&*store).await.map_err(StartError::Term)?;
        let mirror = Mirror::load(&*store, documents.clone()).await?;
        let fresh = mirror.now().secrets.is_empty();
        let vault = Vault::open(config.secrets_key.clone(), &data, fresh)?;
        let swept = crate::systems::sweep(&*store, &documents).await.map_err(WorldError::Store)?;
        if swept > 0 {
            tracing::info!(swept, "removed what an interrupted apply left over");
        }
        let journal = Journal::load(&*store, lineage, term).await?;
        let fleet = Fleet::new(&mirror);
        let audit = audit::open(&data, config.audit_days, &*store, &pki).await?;
        // Before anybody connects, so that no watcher is told to forget what it told.
        let duties = watch::Sender::new(Arc::new(watchers::chosen(&mirror.now(), &config)));
        let watched = Watched::new(&mirror.now().brakes);
        let work = runs::load(&*store).await?;
        let schedules = Schedules::new(schedules::load(&*store, &work).await?);
        let work = Work::new(work);
        Ok(Arc::new(Self {
            agents_port: sockets.agents_port(),
            operators_port: sockets.operators_port(),
            config,
            store,
            told: Mutex::new(Some(told)),
            mirror,
            journal,
            fleet,
            notices: Notices::new(clock::now()),
            duties,
            watched,
            work,
            schedules,
            pki,
            vault,
            audit,
            proving: Proving::default(),
            blobs,
            documents,
            run_files,
            spec_turn: tokio::sync::Mutex::default(),
            approvals_turn: tokio::sync::Mutex::default(),
            lineage,
            term,
            generation: AtomicU64::new(0),
            certificate_ends_ms: AtomicU64::new(0),
            sessions_opening: Arc::new(Semaphore::new(link::SESSIONS_OPENING_MAX)),
            tracker: TaskTracker::new(),
            stop,
        }))
    }

    fn spawn_followers(self: &Arc<Self>) {
        let store = || Arc::clone(&self.store);
        let stop = || self.stop.clone();
        self.tracker.spawn(Arc::clone(self).tell_of_store());
        self.tracker.spawn(audit::follow(Arc::clone(self)));
        self.tracker.spawn(watchers::run(Arc::clone(self)));
        self.tracker.spawn(brakes::run(Arc::clone(self)));
        self.tracker.spawn(runs::run(Arc::clone(self)));
        self.tracker.spawn(schedules::run(Arc::clone(self)));
        self.tracker.spawn(approvals::run(Arc::clone(self)));
        self.tracker.spawn(Arc::clone(&self.mirror).run(store(), stop()));
        self.tracker.spawn(Arc::clone(&self.journal).run(store(), stop()));
        let (mirror, journal) = (Arc::clone(&self.mirror), Arc::clone(&self.journal));
        self.tracker.spawn(Arc::clone(&self.fleet).run(store(), mirror, journal, stop()));
    }

    /// Damage that was found and mended is an event: somebody should look at the
    /// disk.
    async fn tell_of_store(self: Arc<Self>) {
        let taken = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut told) = taken else { return };
        loop {
            let message = tokio::select! {
                () = self.stop.cancelled() => return,
                message = told.recv() => message,
            };
            let Some(message) = message else { return };
            let (at, kind) = (clock::wall(), EventKind::SERVER);
            self.tell(NewEvent { at, kind, node: String::new(), subject: "store".to_owned(), message }).await;
        }
    }

    /// Above every stamp that this history ever gave out.
    pub fn next_stamp(&self) -> Stamp {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        Stamp { lineage: self.lineage, term: self.term, generation }
    }

    /// Where agents reach this control plane.
    pub fn agent_addresses(&self) -> Vec<String> {
        addresses::advertised(&self.config.advertise, self.config.agents_listen.ip(), self.agents_port)
    }

    pub fn operator_addresses(&self) -> Vec<String> {
        addresses::advertised(&[], self.config.operators_listen.ip(), self.operators_port)
    }

    /// An event of its own, where there is no transaction to ride on.
    pub async fn tell(&self, event: NewEvent) {
        let txn = self.journal.record(Txn::new(), event.at, std::slice::from_ref(&event));
        if let Err(error) = self.store.commit(txn).await {
            tracing::error!(error = %error, message = event.message, "recording an event failed");
        }
    }
}

/// The lineage is made at the first start; the term is the revision of the
/// commit that each start makes, so it only grows.
async fn begin_term(store: &dyn Store) -> Result<(u64, u64), StoreError> {
    let now = clock::wall();
    let stored = store.get(records::META).await?;
    let known = stored.and_then(|entry| records::decode::<rest::Meta>(records::META, &entry.value).ok());
    let meta = known.unwrap_or(rest::Meta { lineage: now.as_millis() / 1000, created_at_ms: now.as_millis() });
    let started = records::encode(&rest::Meta { lineage: meta.lineage, created_at_ms: now.as_millis() });
    let txn = Txn::new().put(records::META, records::encode(&meta)).put(records::TERM, started);
    let term = store.commit(txn).await?;
    Ok((meta.lineage, term))
}
