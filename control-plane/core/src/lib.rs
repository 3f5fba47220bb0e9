//! What the control plane decides, without doing any of it.
//!
//! Every rule takes what is known and the time, and returns what is to happen.
//! Nothing here reads a clock, makes randomness, touches a file or a network.

pub mod access;
pub mod applied;
pub mod approvals;
pub mod assign;
pub mod audit;
pub mod brakes;
pub mod catalogue;
pub mod doctor;
pub mod effects;
pub mod enrol;
pub mod liveness;
pub mod lockout;
pub mod notices;
pub mod offline;
pub mod plan;
pub mod runs;
pub mod schedules;
pub mod services;
pub mod watchers;
pub use hostler_types::version;
