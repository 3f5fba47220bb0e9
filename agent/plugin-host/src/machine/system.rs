//! Readings of this host, each by itself and only when asked for. Checks that
//! run within the same second share one.

mod disks;
mod filesystems;
mod host;
mod networks;
mod proc;

use super::kept::Kept;
use crate::answer::{Cpu, Disk, Filesystem, Machine, Memory, Network};
use crate::call::CallError;
use crate::limits::SYSTEM_SNAPSHOT_AGE_MAX;
use filesystems::Prober;
use proc::CpuTicks;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug, thiserror::Error)]
pub(super) enum SystemError {
    #[error("read {path}: {reason}")]
    Read { path: &'static str, reason: std::io::Error },
    #[error("{path} is not as expected")]
    Format { path: &'static str },
}

impl From<SystemError> for CallError {
    fn from(error: SystemError) -> Self {
        CallError::other("system", error)
    }
}

#[derive(Default)]
pub(super) struct System {
    cpu: Kept<Cpu>,
    /// The processors' counters at the reading before: shares are of the time
    /// since then.
    cpu_before: Mutex<CpuTicks>,
    memory: Kept<Memory>,
    filesystems: Kept<Arc<[Filesystem]>>,
    prober: Prober,
    networks: Kept<Vec<Network>>,
    disks: Kept<Vec<Disk>>,
    machine: Kept<Machine>,
}

impl System {
    pub(super) fn cpu(&self) -> Result<Cpu, CallError> {
        let read = || -> Result<Cpu, SystemError> {
            let ticks = proc::read_cpu_ticks()?;
            let before = {
                let mut slot = self.cpu_before.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *slot, ticks)
            };
            Ok(proc::cpu_since(&before, &ticks, proc::read_load()?))
        };
        Ok(self.cpu.or_read(SYSTEM_SNAPSHOT_AGE_MAX, read)?)
    }

    pub(super) fn memory(&self) -> Result<Memory, CallError> {
        Ok(self.memory.or_read(SYSTEM_SNAPSHOT_AGE_MAX, proc::read_memory)?)
    }

    pub(super) async fn filesystems(&self) -> Result<Arc<[Filesystem]>, CallError> {
        if let Some(list) = self.filesystems.younger_than(SYSTEM_SNAPSHOT_AGE_MAX) {
            return Ok(list);
        }
        let asked = Instant::now();
        let list: Arc<[Filesystem]> = self.prober.read().await?.into();
        self.filesystems.keep(asked, &list);
        Ok(list)
    }

    pub(super) fn networks(&self) -> Result<Vec<Network>, CallError> {
        Ok(self.networks.or_read(SYSTEM_SNAPSHOT_AGE_MAX, networks::read)?)
    }

    pub(super) fn disks(&self) -> Result<Vec<Disk>, CallError> {
        Ok(self.disks.or_read(SYSTEM_SNAPSHOT_AGE_MAX, disks::read)?)
    }

    pub(super) fn machine(&self) -> Result<Machine, CallError> {
        Ok(self.machine.or_read(SYSTEM_SNAPSHOT_AGE_MAX, host::read)?)
    }
}

/// When this machine started, in seconds since 1970.
pub(super) fn booted() -> Result<u64, CallError> {
    Ok(host::read()?.booted.seconds)
}

fn read_file(path: &'static str) -> Result<String, SystemError> {
    std::fs::read_to_string(path).map_err(|reason| SystemError::Read { path, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_again_at_once_is_told_the_same() {
        let system = System::default();
        let first = system.cpu().expect("a reading");
        assert_eq!(system.cpu().expect("a reading"), first);
        let list = system.filesystems().await.expect("a reading");
        assert!(Arc::ptr_eq(&list, &system.filesystems().await.expect("a reading")));
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let error: CallError = read_file("/no/such/file").expect_err("absent").into();
        let CallError::Other { key, value } = error else { panic!("{error:?}") };
        assert!(key == "system" && value.starts_with("read /no/such/file: "), "{value}");
    }
}
