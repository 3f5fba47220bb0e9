//! What the control plane decides, without doing any of it.
//!
//! Every rule takes what is known and the time, and returns what is to happen.
//! Nothing here reads a clock, makes randomness, touches a file or a network.

pub mod apply;
pub mod assign;
pub mod catalogue;
pub mod enrol;
pub mod liveness;
pub mod version;
