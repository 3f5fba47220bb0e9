//! What a host says about itself. Claims, not credentials: whatever carries a
//! secret or a right selects by labels, which only operators set.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub hostname: String,
    pub os_id: String,
    pub os_version: String,
    pub os_name: String,
    pub kernel: String,
    pub arch: String,
    pub cpu_model: String,
    pub cpu_count: u32,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
    pub disks: Vec<Disk>,
    pub addresses: Vec<Address>,
    pub machine_id: String,
    pub boot_id: String,
    pub booted_at_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub mount: String,
    pub device: String,
    pub filesystem: String,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub interface: String,
    pub address: String,
}

impl Facts {
    /// The facts a selector can name, as `os.id`, `cpu.count` and so on.
    pub fn selectable(&self) -> BTreeMap<String, String> {
        [
            ("hostname", self.hostname.clone()),
            ("os.id", self.os_id.clone()),
            ("os.version", self.os_version.clone()),
            ("kernel", self.kernel.clone()),
            ("arch", self.arch.clone()),
            ("cpu.count", self.cpu_count.to_string()),
            ("machine.id", self.machine_id.clone()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }
}

/// Every fact a selector may name; others are refused with this list.
pub const SELECTABLE: [&str; 7] = ["hostname", "os.id", "os.version", "kernel", "arch", "cpu.count", "machine.id"];
