//! The host of plugins, and loading one.

use crate::cache::{self, Cache, CompileError};
use crate::call::Backend;
use crate::companion::Companion;
use crate::engine::engine_config;
use crate::limits;
use crate::run::{self, Run, RunRequest, Work};
use crate::ticker::Ticker;
use crate::v1::{self, Exports, State};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// What a plugin provides: one of the interface's worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    Check,
    Collector,
    Notifier,
    Action,
}

impl World {
    const ALL: [World; 4] = [World::Check, World::Collector, World::Notifier, World::Action];

    pub fn word(self) -> &'static str {
        match self {
            World::Check => "check",
            World::Collector => "collector",
            World::Notifier => "notifier",
            World::Action => "action",
        }
    }

    /// The one whose interface is among these exports.
    fn of(exports: &[String]) -> Option<World> {
        let has = |world: &World| {
            let interface = format!("hostler:plugin/{}-api{}", world.word(), v1::VERSION);
            exports.iter().any(|name| name.starts_with(&interface))
        };
        World::ALL.into_iter().find(has)
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("start the engine: {0}")]
    Engine(String),
    #[error("start the epoch ticker")]
    Ticker(#[source] std::io::Error),
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Compile it again.
    #[error("{path} is not as it was compiled: {reason}", path = .path.display())]
    Damaged { path: PathBuf, reason: String },
    /// Compile it again.
    #[error("{path} was compiled for another engine or processor: {reason}", path = .path.display())]
    Incompatible { path: PathBuf, reason: String },
    #[error(
        "the plugin imports {0}: there is no WASI on a host; build it for a target without (Rust: wasm32-unknown-unknown) or with WASI stubbed out"
    )]
    ImportsWasi(String),
    #[error("the plugin imports {0}, which this version of the agent does not offer: update the agent")]
    UnknownImport(String),
    #[error("the plugin was built for the interface {0}, and this agent speaks 1.0: build it again with its SDK")]
    OtherVersion(String),
    #[error("the plugin is no check, collector, notifier or action: it exports {0}")]
    NoWorld(String),
    #[error("the plugin's exports are not as its world has them: {0}")]
    WrongExports(String),
}

impl LoadError {
    /// Whether compiling again from the component can help.
    pub fn recompile_helps(&self) -> bool {
        matches!(self, LoadError::Damaged { .. } | LoadError::Incompatible { .. })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Load(#[from] LoadError),
}

pub struct PluginHost {
    pub(crate) engine: Engine,
    linker: Linker<State>,
    pub(crate) ticker: Ticker,
    pub(crate) slots: Semaphore,
    pub(crate) backend: Arc<dyn Backend>,
}

impl PluginHost {
    /// `backend` answers what plugins ask for.
    pub fn new(backend: Arc<dyn Backend>) -> Result<Arc<PluginHost>, HostError> {
        let engine = Engine::new(&engine_config()).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        v1::add_to_linker(&mut linker).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine).map_err(HostError::Ticker)?;
        let slots = Semaphore::new(limits::RUNS_AT_ONCE as usize);
        Ok(Arc::new(PluginHost { engine, linker, ticker, slots, backend }))
    }

    /// Loads what a [`Cache`] compiled. The file must be ours and unchanged
    /// since: it is machine code, and whoever wrote it runs as us.
    pub fn load(self: &Arc<Self>, compiled: &Path) -> Result<Arc<Plugin>, LoadError> {
        let damaged = |reason: String| LoadError::Damaged { path: compiled.to_owned(), reason };
        cache::verify(compiled).map_err(|error| damaged(error.to_string()))?;
        // SAFETY: the bytes are those that hostler-plugin's compiler wrote:
        // file and checksum are owned by us, writable by nobody else, in a
        // folder that only we can write, and the checksum was just compared.
        // The cache replaces a file by renaming, never in place, so the mapping
        // stays as it is.
        #[allow(unsafe_code, reason = "mapping compiled code has no safe form")]
        let component = unsafe { Component::deserialize_file(&self.engine, compiled) }
            .map_err(|error| LoadError::Incompatible { path: compiled.to_owned(), reason: format!("{error:#}") })?;

        let kind = component.component_type();
        let imports: Vec<String> = kind.imports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        let exports: Vec<String> = kind.exports(&self.engine).map(|(name, _)| name.to_owned()).collect();
        if let Some(wasi) = imports.iter().find(|name| name.starts_with("wasi:")) {
            return Err(LoadError::ImportsWasi(wasi.clone()));
        }
        for name in imports.iter().chain(&exports).filter(|name| name.starts_with("hostler:")) {
            if !name.contains(v1::VERSION) {
                return Err(LoadError::OtherVersion(name.clone()));
            }
        }
        if let Some(unknown) = imports.iter().find(|name| !name.starts_with(v1::IMPORTS)) {
            return Err(LoadError::UnknownImport(unknown.clone()));
        }
        let world = World::of(&exports).ok_or_else(|| LoadError::NoWorld(exports.join(", ")))?;
        let instance =
            self.linker.instantiate_pre(&component).map_err(|error| LoadError::UnknownImport(format!("{error:#}")))?;
        let exports = Exports::new(instance, world).map_err(|error| LoadError::WrongExports(format!("{error:#}")))?;
        Ok(Arc::new(Plugin { host: self.clone(), world, exports, valid_configs: Mutex::default() }))
    }

    /// Compiles where needed, loads, and does both once more where the cache's
    /// copy turns out damaged or of another engine.
    pub async fn load_cached(
        self: &Arc<Self>,
        cache: &Cache,
        digest_hex: &str,
        component: &Path,
        companion: &Companion,
    ) -> Result<Arc<Plugin>, PrepareError> {
        let compiled = cache.compiled(digest_hex, component, companion).await?;
        match self.load(&compiled) {
            Err(error) if error.recompile_helps() => {
                tracing::warn!(%error, digest = digest_hex, "compiled plugin is unusable, compiling it again");
                cache.forget(digest_hex).map_err(CompileError::Forget)?;
                let compiled = cache.compiled(digest_hex, component, companion).await?;
                Ok(self.load(&compiled)?)
            }
            loaded => Ok(loaded?),
        }
    }
}

/// A loaded plugin: code, mapped once, and no instance until it runs.
pub struct Plugin {
    pub(crate) host: Arc<PluginHost>,
    world: World,
    pub(crate) exports: Exports,
    /// Hashes of configurations it has accepted: it is asked once for each.
    pub(crate) valid_configs: Mutex<HashSet<u64>>,
}

impl Plugin {
    pub fn world(&self) -> World {
        self.world
    }

    /// One run in a fresh instance. Ends by its timeout, whatever the plugin
    /// does; may be dropped at any time.
    pub async fn run(&self, work: Work, request: RunRequest) -> Run {
        run::run(self, work, request).await
    }
}
