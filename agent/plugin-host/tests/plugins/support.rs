//! Finds, compiles and loads the plugins that `cargo xtask plugins` built.

use hostler_plugin_host::{
    Bill, Cache, Companion, Fault, Machine, MachineConfig, Plugin, PluginHost, Report, Run, RunContext, RunRequest,
    Work,
};
use hostler_types::plugin::Grants;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

fn built(path: PathBuf) -> PathBuf {
    assert!(path.is_file(), "{} is missing: run cargo xtask plugins first", path.display());
    path
}

/// `disk`, or `fixtures/spin`.
pub fn component(name: &str) -> PathBuf {
    let folder = std::env::var_os("HOSTLER_PLUGINS_DIR").map_or_else(|| target().join("plugins"), PathBuf::from);
    built(folder.join(format!("{name}.wasm")))
}

pub fn companion() -> Companion {
    Companion::new(built(target().join("debug/hostler-plugin")))
}

pub fn digest(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("read component");
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    data_encoding::HEXLOWER.encode(digest.as_ref())
}

pub fn host() -> Arc<PluginHost> {
    PluginHost::new(Arc::new(Machine::new(MachineConfig::default()))).expect("start the host")
}

/// Compiled once for all tests.
pub async fn load(host: &Arc<PluginHost>, name: &str) -> Arc<Plugin> {
    let cache = Cache::open(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-plugins")).expect("open the cache");
    let component = component(name);
    let loaded = host.load_cached(&cache, &digest(&component), &component, &companion()).await;
    loaded.unwrap_or_else(|error| panic!("load {name}: {error}"))
}

pub fn request(config: &str, http: &[&str], system: bool) -> RunRequest {
    let http = http.iter().map(|text| text.parse().expect("a pattern")).collect();
    granted(config, Grants { http, system, ..Grants::default() })
}

pub fn granted(config: &str, grants: Grants) -> RunRequest {
    let mut request = RunRequest::new(config);
    request.context = RunContext { instance: "test".into(), grants: Arc::new(grants) };
    request
}

/// One run of a check, its outcome and what it cost.
#[derive(Debug)]
pub struct CheckRun {
    pub outcome: Result<Report, Fault>,
    pub bill: Bill,
}

impl From<Run> for CheckRun {
    fn from(run: Run) -> Self {
        Self { outcome: run.report().cloned(), bill: run.bill }
    }
}

pub async fn check(plugin: &Plugin, request: RunRequest) -> CheckRun {
    plugin.run(Work::Check, request).await.into()
}
