//! Facts: read, sent, dropped. They cost a few milliseconds and are not kept.

use hostler_types::Facts;
use hostler_types::facts::{Address, Disk};
use std::collections::BTreeMap;
use std::path::Path;
use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, RefreshKind, System};

const MACHINE_ID: &str = "/etc/machine-id";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// systemd says here that this host has another's kernel.
const CONTAINER: &str = "/run/systemd/container";
const INIT: &str = "/proc/1/stat";
/// A host of containers has thousands of each; a person reads a few.
const DISKS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 64;

fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

pub fn machine_id() -> String {
    line(MACHINE_ID)
}

pub fn is_container() -> bool {
    Path::new(CONTAINER).exists()
}

/// In a container the kernel goes on through a reboot, and its own id may be what is seen:
/// there it is the beginning of its first process as well.
pub fn boot_id() -> String {
    let kernel = line(BOOT_ID);
    match is_container().then(|| began(&line(INIT))).flatten() {
        Some(began) => format!("{kernel}.{began}"),
        None => kernel,
    }
}

/// Of a process, by its line of `stat`: the twenty-second word, where the second may hold
/// blanks.
fn began(stat: &str) -> Option<u64> {
    let (_, behind) = stat.rsplit_once(") ")?;
    behind.split(' ').nth(19)?.parse().ok()
}

pub fn hostname() -> String {
    System::host_name().unwrap_or_default()
}

pub fn facts() -> Facts {
    let what = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()).with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(what).ok();
    let cpus = system.as_ref().map(System::cpus).unwrap_or_default();
    Facts {
        hostname: hostname(),
        os_id: System::distribution_id(),
        os_version: System::os_version().unwrap_or_default(),
        os_name: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu_model: cpus.first().map(|cpu| cpu.brand().to_owned()).unwrap_or_default(),
        cpu_count: u32::try_from(cpus.len()).unwrap_or(u32::MAX),
        memory_bytes: system.as_ref().map_or(0, System::total_memory),
        swap_bytes: system.as_ref().map_or(0, System::total_swap),
        disks: disks(),
        addresses: addresses(),
        machine_id: machine_id(),
        boot_id: boot_id(),
        booted_at_ms: System::boot_time().unwrap_or(0).saturating_mul(1_000),
    }
}

fn disks() -> Vec<Disk> {
    let Ok(disks) = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage()) else {
        return Vec::new();
    };
    // One device mounted in several places is one disk: its shortest mount.
    let mut by_device: BTreeMap<String, Disk> = BTreeMap::new();
    for disk in disks.iter() {
        let one = Disk {
            mount: disk.mount_point().display().to_string(),
            device: disk.name().to_string_lossy().into_owned(),
            filesystem: disk.file_system().to_string_lossy().into_owned(),
            size_bytes: disk.total_space(),
        };
        match by_device.get(&one.device) {
            Some(known) if known.mount.len() <= one.mount.len() => {}
            _ => drop(by_device.insert(one.device.clone(), one)),
        }
    }
    by_device.into_values().take(DISKS_MAX).collect()
}

fn addresses() -> Vec<Address> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let mut addresses: Vec<Address> = networks
        .iter()
        .flat_map(|(interface, data)| {
            let real = data.ip_networks().iter().filter(|network| !network.addr.is_loopback());
            real.map(|network| Address {
                interface: interface.to_string_lossy().into_owned(),
                address: network.addr.to_string(),
            })
        })
        .collect();
    addresses.sort_by(|a, b| (&a.interface, &a.address).cmp(&(&b.interface, &b.address)));
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_began_where_its_name_has_blanks() {
        let stat = "1 (init (x) y) S 0 1 1 0 -1 4194560 9 8 7 6 5 4 3 2 20 0 1 0 2777 106 3 18446744073709551615";
        assert_eq!(super::began(stat), Some(2777));
        assert_eq!(super::began("1 (init)"), None);
    }

    #[test]
    fn this_host_says_who_it_is() {
        let facts = super::facts();
        assert!(facts.cpu_count > 0 && facts.memory_bytes > 0, "{facts:?}");
        assert!(!facts.kernel.is_empty() && !facts.hostname.is_empty(), "{facts:?}");
    }
}
