//! The program itself, as root, as the parent of services' processes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports, in its helpers as well"
)]

mod containers;
mod dockerd;
mod half;
mod refusals;
mod rights;
mod services;
mod tasks;
