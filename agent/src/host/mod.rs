//! What is read from the host itself. Linux only; everything here returns what it
//! can and never fails the agent.

mod facts;

pub use facts::{boot_id, facts, hostname, is_container, machine_id};

use std::io;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// For those who are not root.
    pub free_bytes: u64,
}

pub fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}
