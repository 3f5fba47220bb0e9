//! What the host keeps for its control plane until that has it durably: check
//! transitions and events, in order, each under a number that is never used twice.
//!
//! Bytes and plans only: the format of a record and what a damaged file still
//! holds ([`record`]), and when to append, refuse, rotate and forget
//! ([`Ledger`]). Files and fsync belong to the shell.

mod ledger;
pub mod record;

pub use ledger::{Admission, Ledger, Limits, Loss, SegmentId};

#[cfg(test)]
mod tests;
