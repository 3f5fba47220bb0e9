//! The control plane: an IO shell around `hostler-core`.
//!
//! `app` puts it together. A stream of an agent ends in `link`, a call of an
//! operator in `admin`, and both pass `gate` first. What is kept goes through
//! `records` into the store and comes back through `world`; what happened goes
//! through `journal`.

pub mod app;
pub mod approvals;
pub mod audit;
pub mod config;
pub mod logging;
pub mod upkeep;
mod vault;

mod access;
mod acts;
mod addresses;
mod admin;
mod blobs;
mod brakes;
mod budgets;
mod clock;
mod contexts;
mod deliveries;
mod edge;
mod enroll;
mod files;
mod fleet;
mod gate;
mod heal;
mod http;
mod install;
mod interface;
mod journal;
mod link;
mod listener;
mod notices;
mod orders;
mod pki;
mod policies;
mod records;
mod runs;
mod schedules;
mod serve;
mod systems;
mod tls;
mod watchers;
mod world;
