//! files, commands, and the readings of the host.

use super::convert::all;
use super::{State, take, wit};
use crate::answer::{Answer, Bytes};
use crate::call::{Call, Handle};
use wasmtime::component::Resource;
use wit::types::Error;

/// A cursor of the session's.
pub struct Cursor(Handle);

impl wit::files::Host for State {
    async fn stat_path(&mut self, path: String) -> wasmtime::Result<Result<wit::files::Stat, Error>> {
        Ok(take!(self.ask(Call::FileStat { path }).await?, Stat))
    }

    async fn read(&mut self, path: String, offset: u64, max: u32) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        Ok(take!(self.ask(Call::FileRead { path, offset, max }).await?, Bytes))
    }

    async fn glob(&mut self, pattern: String, max: u32) -> wasmtime::Result<Result<Vec<String>, Error>> {
        Ok(take!(self.ask(Call::FileGlob { pattern, max }).await?, Lines))
    }
}

impl wit::files::HostCursor for State {
    async fn open(
        &mut self,
        name: String,
        path: String,
        from_end: bool,
    ) -> wasmtime::Result<Result<Resource<Cursor>, Error>> {
        let handle: Result<Handle, Error> = take!(self.ask(Call::CursorOpen { name, path, from_end }).await?, Handle);
        Ok(match handle {
            Ok(handle) => Ok(self.table.push(Cursor(handle))?),
            Err(error) => Err(error),
        })
    }

    async fn lines(
        &mut self,
        of: Resource<Cursor>,
        max_lines: u32,
        max_bytes: u32,
    ) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let cursor = self.table.get(&of)?.0;
        Ok(take!(self.ask(Call::CursorLines { cursor, max_lines, max_bytes }).await?, Lines))
    }

    async fn commit(&mut self, of: Resource<Cursor>) -> wasmtime::Result<Result<(), Error>> {
        let cursor = self.table.get(&of)?.0;
        Ok(take!(self.ask(Call::CursorCommit { cursor }).await?))
    }

    fn drop(&mut self, of: Resource<Cursor>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}

impl wit::commands::Host for State {
    async fn run(
        &mut self,
        command: String,
        args: Vec<String>,
        stdin: Vec<u8>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<wit::commands::Output, Error>> {
        Ok(take!(self.ask(Call::Command { command, args, stdin: Bytes(stdin), timeout_ms }).await?, Output))
    }
}

impl wit::system::Host for State {
    async fn get_cpu(&mut self) -> wasmtime::Result<Result<wit::system::Cpu, Error>> {
        Ok(take!(self.ask(Call::Cpu).await?, Cpu))
    }

    async fn get_memory(&mut self) -> wasmtime::Result<Result<wit::system::Memory, Error>> {
        Ok(take!(self.ask(Call::Memory).await?, Memory))
    }

    async fn get_filesystems(&mut self) -> wasmtime::Result<Result<Vec<wit::system::Filesystem>, Error>> {
        Ok(match self.ask(Call::Filesystems).await? {
            // Shared by all who ask: copied here, not moved.
            Ok(Answer::Filesystems(list)) => Ok(all(list.iter().cloned())),
            Ok(_) => Err(super::mismatched()),
            Err(error) => Err(error),
        })
    }

    async fn get_networks(&mut self) -> wasmtime::Result<Result<Vec<wit::system::Network>, Error>> {
        self.list(Call::Networks, |answer| match answer {
            Answer::Networks(list) => Some(all(list)),
            _ => None,
        })
        .await
    }

    async fn get_disks(&mut self) -> wasmtime::Result<Result<Vec<wit::system::Disk>, Error>> {
        self.list(Call::Disks, |answer| match answer {
            Answer::Disks(list) => Some(all(list)),
            _ => None,
        })
        .await
    }

    async fn get_machine(&mut self) -> wasmtime::Result<Result<wit::system::Machine, Error>> {
        Ok(take!(self.ask(Call::Machine).await?, Machine))
    }
}

impl State {
    async fn list<T>(
        &mut self,
        call: Call,
        take: impl FnOnce(Answer) -> Option<Vec<T>>,
    ) -> wasmtime::Result<Result<Vec<T>, Error>> {
        Ok(match self.ask(call).await? {
            Ok(answer) => take(answer).ok_or_else(super::mismatched),
            Err(error) => Err(error),
        })
    }
}

impl wit::processes::Host for State {
    async fn find(&mut self, name: String, max: u32) -> wasmtime::Result<Result<Vec<wit::processes::Process>, Error>> {
        self.list(Call::Processes { name, max }, |answer| match answer {
            Answer::Processes(list) => Some(all(list)),
            _ => None,
        })
        .await
    }
}

impl wit::units::Host for State {
    async fn find(&mut self, name: String, max: u32) -> wasmtime::Result<Result<Vec<wit::units::Unit>, Error>> {
        self.list(Call::Units { name, max }, |answer| match answer {
            Answer::Units(list) => Some(all(list)),
            _ => None,
        })
        .await
    }
}

impl wit::containers::Host for State {
    async fn find(
        &mut self,
        name: String,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<wit::containers::Container>, Error>> {
        self.list(Call::Containers { name, max }, |answer| match answer {
            Answer::Containers(list) => Some(all(list)),
            _ => None,
        })
        .await
    }
}
