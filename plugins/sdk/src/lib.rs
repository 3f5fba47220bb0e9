//! What the author of a plugin in Rust imports: a [`Check`] reads its options
//! into a struct, asks the [`Host`], and answers with a [`Report`].
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
//!     fn run(options: &Options, host: &dyn Host) -> Result<Report, String> {
//!         let memory = host.memory().map_err(|error| error.to_string())?;
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

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
mod options;
mod report;
pub mod units;

pub use host::{Cpu, Error, FakeHost, Filesystem, Host, Level, Memory, Request, Response, Timings};
pub use options::{ConfigError, NoOptions, read as read_options};
pub use report::{Attr, Report, Status};

/// A check: a type without values, its options, and how it runs.
pub trait Check {
    /// Give it `#[serde(deny_unknown_fields)]`: a misspelt option is an error.
    type Options: serde::de::DeserializeOwned;

    /// What serde cannot see, such as one option that rules out another. Each
    /// error names its option by JSON pointer.
    fn problems(_options: &Self::Options) -> Vec<ConfigError> {
        Vec::new()
    }

    /// What is wrong with the target is a report. `Err` means that the check
    /// itself broke.
    fn run(options: &Self::Options, host: &dyn Host) -> Result<Report, String>;
}

/// Makes a [`Check`] the component's exports. Does nothing on a native target.
#[macro_export]
macro_rules! export_check {
    ($check:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            impl $crate::guest::lifecycle::Guest for Component {
                fn configure(config_json: String) -> Result<(), Vec<$crate::guest::lifecycle::ConfigError>> {
                    $crate::guest::configure::<$check>(&config_json)
                }
            }
            impl $crate::guest::check_api::Guest for Component {
                fn run() -> Result<$crate::guest::check_api::Report, String> {
                    $crate::guest::run::<$check>()
                }
            }
    $crate::guest::export!(Component with_types_in $crate::guest::bindings);
        };
    };
}
