//! Runs plugins: load a compiled component, limit it, grant it what it was
//! given, call it, say plainly how that went.
//!
//! Not for: deciding when a check is due, what its result means for a service,
//! or which plugin a node should have. And there is no compiler in here: the
//! [`Cache`] asks the program `hostler-plugin` to compile, in a process of its
//! own.

pub mod answer;
mod cache;
mod call;
mod companion;
mod engine;
mod fault;
mod host;
pub mod limits;
mod machine;
mod report;
mod run;
mod ticker;
mod v1;

pub use cache::{Cache, CacheError, CompileError};
pub use call::{Answering, Backend, Call, CallError, Handle, Millis, RunContext, Session};
pub use companion::Companion;
pub use engine::{ENGINE_KEY, WASMTIME_VERSION, engine_config};
pub use fault::{ConfigProblem, Fault};
pub use host::{HostError, LoadError, Plugin, PluginHost, PrepareError, World};
pub use machine::{Given, Machine, MachineConfig};
pub use report::Report;
pub use run::{Bill, Done, LogLevel, LogLine, LogSink, Notice, NoticeOutcome, Run, RunRequest, Step, Work};
