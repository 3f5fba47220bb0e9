//! Breaks the state store on purpose and looks at what it kept: writers in a
//! process that is killed, on a disk that loses power, is damaged or full, and a
//! checker that knows every transaction they wrote.
//!
//! Not here: whether the store's answers are right while nothing breaks; its own
//! conformance suite holds it to that.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test's harness fails its test")]

pub mod child;
pub mod corrupt;
pub mod disk;
pub mod full;
pub mod history;
pub mod model;
pub mod points;
pub mod rounds;
pub mod state;
pub mod store;
pub mod tally;
pub mod worker;

#[cfg(test)]
mod history_tests;
