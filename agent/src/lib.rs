//! The agent on each host: the IO around `hostler-agent-core`, which decides.
//!
//! Where things are: [`app`] builds and drains; [`link`] holds the stream to the
//! control plane; [`orders`] keeps what it asks for; [`plugins`] fetches and
//! loads; [`checks`] runs them and turns results into transitions; [`spool`]
//! keeps those until they are acked; [`services`] looks after what is to run here, with
//! what [`executor`] does as root, and [`tasks`] does once what it is asked; [`gone`] tells people when the control plane is
//! gone, [`deliveries`] by plugins and for it; [`view`] is what everything else shows.

pub mod app;
pub mod bench;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod deliveries;
pub mod demo;
pub mod executor;
pub mod files;
pub mod gone;
pub mod host;
pub mod http;
pub mod identity;
pub mod join;
pub mod link;
pub mod local;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod orders;
pub mod plugins;
pub mod services;
pub mod spool;
pub mod standing;
pub mod status;
pub mod tasks;
pub mod uninstall;
pub mod vault;
pub mod view;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
