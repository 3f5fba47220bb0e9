//! The spec language, from text to objects and back.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests read the specs they are about"
)]

mod coverage;
mod examples;
mod folder;
mod fuzz;
mod overlays;
mod pages;
mod properties;
mod random;
mod scalars;
mod strings;
mod twenty;
mod wrong;
