//! The host of plugins, and loading one.

use crate::cache::{self, Cache, CompileError};
use crate::companion::Companion;
use crate::engine::engine_config;
use crate::http::HttpClient;
use crate::limits;
use crate::run::{self, CheckRun, CheckRunRequest};
use crate::system::System;
use crate::ticker::Ticker;
use crate::v0_1::{self, State};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

/// Nothing to choose yet: every limit is a constant in [`limits`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HostConfig {}

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
    #[error("the plugin is no check: {0}")]
    NotACheck(String),
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
    pub(crate) http: HttpClient,
    pub(crate) system: System,
}

impl PluginHost {
    pub fn new(_config: HostConfig) -> Result<Arc<PluginHost>, HostError> {
        let engine = Engine::new(&engine_config()).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        v0_1::add_to_linker(&mut linker).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(&engine).map_err(HostError::Ticker)?;
        Ok(Arc::new(PluginHost {
            engine,
            linker,
            ticker,
            slots: Semaphore::new(limits::RUNS_AT_ONCE as usize),
            http: HttpClient::default(),
            system: System::default(),
        }))
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
        if let Some(wasi) = imports.iter().find(|name| name.starts_with("wasi:")) {
            return Err(LoadError::ImportsWasi(wasi.clone()));
        }
        if let Some(unknown) = imports.iter().find(|name| !name.starts_with(v0_1::IMPORTS)) {
            return Err(LoadError::UnknownImport(unknown.clone()));
        }
        let instance =
            self.linker.instantiate_pre(&component).map_err(|error| LoadError::UnknownImport(format!("{error:#}")))?;
        let check = v0_1::CheckPre::new(instance).map_err(|error| LoadError::NotACheck(format!("{error:#}")))?;
        Ok(Arc::new(Plugin { host: self.clone(), check, valid_configs: Mutex::default() }))
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
    pub(crate) check: v0_1::CheckPre<State>,
    /// Hashes of configurations it has accepted: it is asked once for each.
    pub(crate) valid_configs: Mutex<HashSet<u64>>,
}

impl Plugin {
    /// One run in a fresh instance. Ends by its timeout, whatever the plugin
    /// does; may be dropped at any time.
    pub async fn check(&self, request: CheckRunRequest) -> CheckRun {
        run::check(self, request).await
    }
}
