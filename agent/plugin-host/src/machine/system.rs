//! Readings of this host, each by itself and only when asked for. Checks that
//! run within the same second share one.

mod filesystems;
mod proc;

pub(crate) use filesystems::Filesystem;
pub(crate) use proc::{Cpu, Memory};

use crate::limits;
use filesystems::Prober;
use proc::CpuTicks;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemError {
    #[error("read {path}: {reason}")]
    Read { path: &'static str, reason: std::io::Error },
    #[error("{path} is not as expected")]
    Format { path: &'static str },
}

/// A reading and when it was made.
struct Kept<T> {
    slot: Mutex<Option<(Instant, T)>>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept { slot: Mutex::new(None) }
    }
}

impl<T: Clone> Kept<T> {
    fn fresh(&self) -> Option<T> {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|(at, _)| at.elapsed() < limits::SYSTEM_SNAPSHOT_AGE_MAX).map(|(_, value)| value.clone())
    }

    fn keep(&self, value: &T) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), value.clone()));
    }
}

#[derive(Default)]
pub(crate) struct System {
    cpu: Kept<Cpu>,
    /// The processors' counters at the reading before: shares are of the time
    /// since then.
    cpu_before: Mutex<CpuTicks>,
    memory: Kept<Memory>,
    filesystems: Kept<Arc<[Filesystem]>>,
    prober: Prober,
}

impl System {
    pub(crate) fn cpu(&self) -> Result<Cpu, SystemError> {
        if let Some(cpu) = self.cpu.fresh() {
            return Ok(cpu);
        }
        let ticks = proc::read_cpu_ticks()?;
        let before = {
            let mut slot = self.cpu_before.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *slot, ticks)
        };
        let cpu = proc::cpu_since(&before, &ticks, proc::read_load()?);
        self.cpu.keep(&cpu);
        Ok(cpu)
    }

    pub(crate) fn memory(&self) -> Result<Memory, SystemError> {
        if let Some(memory) = self.memory.fresh() {
            return Ok(memory);
        }
        let memory = proc::read_memory()?;
        self.memory.keep(&memory);
        Ok(memory)
    }

    pub(crate) async fn filesystems(&self) -> Result<Arc<[Filesystem]>, SystemError> {
        if let Some(list) = self.filesystems.fresh() {
            return Ok(list);
        }
        let list: Arc<[Filesystem]> = self.prober.read().await?.into();
        self.filesystems.keep(&list);
        Ok(list)
    }
}

fn read_file(path: &'static str) -> Result<String, SystemError> {
    std::fs::read_to_string(path).map_err(|reason| SystemError::Read { path, reason })
}
