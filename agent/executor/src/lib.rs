//! The root half of an agent: a small program without a network that starts the
//! agent proper under an unprivileged user and carries out what it asks for, if the
//! host's policy allows it.
//!
//! [`protocol`] is what both halves speak, and all that the agent uses of this.

pub mod account;
pub mod clock;
pub mod judge;
pub mod pattern;
pub mod policy;
pub mod protocol;
mod signals;
