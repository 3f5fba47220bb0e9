//! The agent's own host of plugins, for a plugin that is on this machine: it is
//! compiled by this program's other half, as on a node.

use anyhow::{Context, Result};
use hostler_plugin_host::{Backend, Cache, Companion, Plugin, PluginHost};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;

/// Whoever builds again and again leaves a compiled file each time.
const COMPILED_KEPT: Duration = Duration::from_secs(7 * 86_400);

pub struct RealHost {
    runtime: Runtime,
    host: Arc<PluginHost>,
    cache: Cache,
    companion: Companion,
}

impl RealHost {
    pub fn new(backend: Arc<dyn Backend>) -> Result<RealHost> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let folder = cache_folder();
        forget_old(&folder);
        let cache = Cache::open(&folder).or_else(|_| Cache::open(own_temporary()))?;
        let program = std::env::current_exe().context("find this program, which compiles plugins")?;
        Ok(RealHost { runtime, host: PluginHost::new(backend)?, cache, companion: Companion::new(program) })
    }

    /// Compiled before, it is only read again: each is as if never run.
    pub fn load(&self, wasm: &Path, bytes: &[u8]) -> Result<Arc<Plugin>> {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let digest = data_encoding::HEXLOWER.encode(digest.as_ref());
        let loading = self.host.load_cached(&self.cache, &digest, wasm, &self.companion);
        self.runtime.block_on(loading).with_context(|| format!("load {}", wasm.display()))
    }

    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

fn cache_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    base.map_or_else(own_temporary, |base| base.join("hostler/compiled"))
}

/// Named by its user: nobody else's folder is taken.
fn own_temporary() -> PathBuf {
    std::env::temp_dir().join(format!("hostler-compiled-{}", rustix::process::geteuid().as_raw()))
}

/// What cannot be removed stays: it is in nobody's way.
fn forget_old(folder: &Path) {
    let Some(before) = SystemTime::now().checked_sub(COMPILED_KEPT) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let old = entry.metadata().is_ok_and(|found| found.is_file() && found.modified().is_ok_and(|at| at < before));
        if old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
