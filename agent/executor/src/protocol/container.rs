//! A container as it is asked for, and as it was found.

use super::{Ended, Environment, Limits};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// On the host's network, and otherwise with as little as an engine gives: what is not
/// here can't be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub image: String,
    /// Empty: as the image says.
    #[serde(default)]
    pub command: Vec<String>,
    /// A user of this host, or `UID` or `UID:GID`; without one: as the image says.
    #[serde(default)]
    pub user: Option<String>,
    /// In the container.
    #[serde(default)]
    pub folder: Option<String>,
    #[serde(default)]
    pub env: Environment,
    #[serde(default)]
    pub limits: Limits,
    /// Folders of this host, at the same places in the container.
    #[serde(default)]
    pub mounts: Vec<PathBuf>,
    /// What it prints, in files of this size.
    pub log_bytes_max: u64,
    pub log_files_max: u32,
    #[serde(default)]
    pub log_compress: bool,
    /// `SIGTERM` or alike.
    pub stop_signal: String,
    pub grace_ms: u64,
    /// Kept with it: one that was made from something else is replaced.
    pub made_from: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// By its digest.
    pub image: String,
    pub made_from: String,
    pub running: bool,
    /// As this host numbers it.
    pub pid: Option<u32>,
    /// How it ended, if it ran.
    pub ended: Option<Ended>,
}
