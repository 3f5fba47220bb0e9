//! What is done to the control plane's folder as a whole: looked over, taken out,
//! put back.

mod archive;
mod audit;
mod backup;
mod commands;
pub mod restore;
pub mod seal;
mod verify;

pub use backup::{Pieces, clear_scratch, stream};
pub use commands::{Command, run};
