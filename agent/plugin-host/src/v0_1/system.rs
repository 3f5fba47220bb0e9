//! system: the readings, for whom they were granted.

use super::{State, wit};
use crate::host::PluginHost;
use crate::system::SystemError;
use std::sync::Arc;
use wit::system::{Cpu, Filesystem, Host, Memory};
use wit::types::{Attr, Error};

impl State {
    fn granted_system(&mut self) -> wasmtime::Result<Result<Arc<PluginHost>, Error>> {
        self.charge()?;
        if !self.request.grants.system {
            return Ok(Err(Error::Denied("grants.system = true".to_owned())));
        }
        Ok(self.host())
    }
}

impl From<SystemError> for Error {
    fn from(error: SystemError) -> Self {
        Error::Other(Attr { key: "system".to_owned(), value: error.to_string() })
    }
}

impl Host for State {
    fn get_cpu(&mut self) -> wasmtime::Result<Result<Cpu, Error>> {
        let host = match self.granted_system()? {
            Ok(host) => host,
            Err(error) => return Ok(Err(error)),
        };
        let convert = |cpu: crate::system::Cpu| Cpu {
            user: cpu.user,
            system: cpu.system,
            iowait: cpu.iowait,
            steal: cpu.steal,
            idle: cpu.idle,
            load1: cpu.load1,
            load5: cpu.load5,
            load15: cpu.load15,
            cores: cpu.cores,
        };
        Ok(host.system.cpu().map(convert).map_err(Error::from))
    }

    fn get_memory(&mut self) -> wasmtime::Result<Result<Memory, Error>> {
        let host = match self.granted_system()? {
            Ok(host) => host,
            Err(error) => return Ok(Err(error)),
        };
        let convert = |memory: crate::system::Memory| Memory {
            total: memory.total,
            available: memory.available,
            used: memory.used,
            swap_total: memory.swap_total,
            swap_used: memory.swap_used,
        };
        Ok(host.system.memory().map(convert).map_err(Error::from))
    }

    async fn get_filesystems(&mut self) -> wasmtime::Result<Result<Vec<Filesystem>, Error>> {
        let host = match self.granted_system()? {
            Ok(host) => host,
            Err(error) => return Ok(Err(error)),
        };
        let convert = |one: &crate::system::Filesystem| Filesystem {
            mount: one.mount.clone(),
            device: one.device.clone(),
            fstype: one.fstype.clone(),
            total: one.total,
            free: one.free,
            available: one.available,
            inodes: one.inodes,
            inodes_free: one.inodes_free,
            read_only: one.read_only,
            hung: one.hung,
        };
        let read = host.system.filesystems().await;
        Ok(read.map(|list| list.iter().map(convert).collect()).map_err(Error::from))
    }
}
