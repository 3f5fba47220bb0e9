//! What the author of a plugin in Rust imports: a [`Check`] reads its options
//! into a struct, asks the [`Host`], and answers with a [`Report`]. A
//! [`Collector`] reports metrics, a [`Notifier`] delivers notices, an [`Action`]
//! changes something in steps.
//!
//! ```
//! use hostler_plugin_sdk::{Check, Host, Report, export_check};
//!
//! pub struct Memory;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Options {
//!     warn_percent: f64,
//! }
//!
//! impl Check for Memory {
//!     type Options = Options;
//!
//!     fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
//!         let memory = host.memory()?;
//!         let used = memory.used as f64 / memory.total as f64 * 100.0;
//!         let summary = format!("{used:.0} % used");
//!         Ok(if used < options.warn_percent { Report::ok(summary) } else { Report::warning(summary) })
//!     }
//! }
//!
//! export_check!(Memory);
//! ```
//!
//! Everything here builds natively too, where [`FakeHost`] stands in for the
//! agent: a plugin's logic is tested by `cargo test`, without a wasm target.

mod fake;
mod growth;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
#[cfg(any(target_arch = "wasm32", test))]
mod memory;
mod options;
mod report;
pub mod units;
mod worlds;

pub use fake::{FakeConnection, FakeCursor, FakeHost};
pub use growth::growth;
pub use host::{
    Certificate, Connection, Container, Cpu, Cursor, Disk, DnsAnswer, DnsRecord, Echo, Error, FileKind, Filesystem,
    Host, Level, Machine, Memory, Network, Output, Probe, Process, Request, Response, Sample, SampleKind, Stat,
    Timings, TlsTarget, Unit,
};
pub use options::{ConfigError, NoOptions, read as read_options};
pub use report::{Attr, Report, Status};
pub use worlds::{Action, Check, Collector, Notice, Notifier, Outcome, Step};
