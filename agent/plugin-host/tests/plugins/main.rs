//! Real components in the real host: what an honest one gets, and what a
//! hostile one does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod cost;
mod grants;
mod http;
mod limits;
mod loading;
mod support;
