//! Runs plugins: load a compiled component, limit it, grant it what it was
//! given, call it, say plainly how that went.
//!
//! Not for: deciding when a check is due, what its result means for a service,
//! or which plugin a node should have. And there is no compiler in here: the
//! [`Cache`] asks the program `hostler-plugin` to compile, in a process of its
//! own.

mod cache;
mod companion;
mod engine;
mod fault;
mod host;
mod http;
pub mod limits;
mod redirect;
mod report;
mod run;
mod system;
mod ticker;
mod v0_1;

pub use cache::{Cache, CacheError, CompileError};
pub use companion::Companion;
pub use engine::{ENGINE_KEY, WASMTIME_VERSION, engine_config};
pub use fault::{ConfigProblem, Fault};
pub use host::{HostConfig, HostError, LoadError, Plugin, PluginHost, PrepareError};
pub use report::Report;
pub use run::{CheckRun, CheckRunRequest, LogLevel, LogLine, LogSink};
