//! The spec language, from text to objects and back.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests read the specs they are about"
)]

mod examples;
mod folder;
mod pages;
mod wrong;
