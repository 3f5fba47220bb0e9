//! The root half of an agent: a small program without a network that starts the
//! agent proper under an unprivileged user and carries out what it asks for, if the
//! host's policy allows it.
//!
//! [`protocol`] is what both halves speak; of the rest the agent uses [`clock`] and
//! [`account`] alone.

pub mod account;
pub mod act;
pub mod cli;
pub mod clock;
mod engine;
mod files;
mod firewall;
pub mod judge;
pub mod launch;
pub mod memory;
mod packages;
mod parent;
pub mod pattern;
pub mod policy;
pub mod program;
pub mod protocol;
pub mod rotate;
pub mod run;
mod sandbox;
mod seccomp;
pub mod serve;
mod signals;
mod systemd;
pub mod take;
mod units;
pub mod usage;
mod wait;
