//! What the agent decides: when a check runs, what its results mean, what is kept
//! for the control plane, when to dial and when to give a connection up.
//!
//! Absent here: clocks, randomness, files, sockets, tasks. Time comes in as
//! [`hostler_types::Now`], randomness as a seed, and what is to be done goes out
//! as data; the shell around it (`hostler-agent`) does it.

pub mod alone;
pub mod clockwatch;
pub mod desired;
pub mod gone;
pub mod hash;
pub mod health;
pub mod jitter;
pub mod quarantine;
pub mod retry;
pub mod session;
pub mod spool;
pub mod supervision;
pub mod tasks;
pub mod timetable;
pub mod trial;
