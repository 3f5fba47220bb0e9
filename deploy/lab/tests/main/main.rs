//! What a fleet must do, with the real programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod aborts;
mod access;
mod actions;
mod approvals;
mod audit;
mod brakes;
mod containers;
mod delivery;
mod demo;
#[path = "../../../../agent/executor/tests/executor/dockerd.rs"]
mod dockerd;
mod doctor;
mod fetch;
mod golden;
mod guides;
mod hostile;
mod identity;
mod lab;
mod notices;
mod outage;
mod plugins;
mod refusals;
mod runs;
mod schedules;
mod secrets;
mod services;
mod spine;
mod systems;
mod terminal;
mod upkeep;
mod watchers;
