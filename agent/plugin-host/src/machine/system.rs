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
use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const READ_BYTES: usize = 4 << 10;
/// A host with thousands of mounts has a megabyte of them.
const READ_BYTES_MAX: u64 = 64 << 20;

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
    /// /proc/stat: the kernel sums up for it whatever interrupts there were.
    stat: Kept<Arc<str>>,
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
            let ticks = proc::cpu_ticks(&self.stat()?)?;
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
        Ok(self.machine.or_read(SYSTEM_SNAPSHOT_AGE_MAX, || host::machine(&self.stat()?))?)
    }

    fn stat(&self) -> Result<Arc<str>, SystemError> {
        self.stat.or_read(SYSTEM_SNAPSHOT_AGE_MAX, || read_file(proc::STAT).map(Arc::from))
    }
}

/// Nobody knows how long a file of /proc is, so nobody is asked: most are read in one
/// step where there is room.
fn read_file(path: &'static str) -> Result<String, SystemError> {
    let mut text = String::with_capacity(READ_BYTES);
    let read = File::open(path).and_then(|file| file.take(READ_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|reason| SystemError::Read { path, reason })?;
    Ok(text)
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
