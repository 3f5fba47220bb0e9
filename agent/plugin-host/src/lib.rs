//! Runs plugins: load a compiled component, limit it, grant it what it was
//! given, call it, say plainly how that went.
//!
//! Not for: deciding when a check is due, what its result means for a service,
//! or which plugin a node should have. And there is no compiler in here: the
//! [`Cache`] asks the program `hostler-plugin` to compile, in a process of its
//! own.

pub mod answer;
pub mod call;
pub mod limits;
pub mod machine;
