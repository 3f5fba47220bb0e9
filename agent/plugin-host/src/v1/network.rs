//! tcp, tls, dns and icmp.

use super::basics::SecretName;
use super::{State, take, wit};
use crate::answer::Bytes;
use crate::call::{Call, Handle};
use wasmtime::component::Resource;
use wit::types::Error;

/// A connection of the session's.
pub struct Connection(Handle);

impl wit::tcp::Host for State {}

impl State {
    fn open(&self, connection: &Resource<Connection>) -> wasmtime::Result<Handle> {
        Ok(self.table.get(connection)?.0)
    }

    async fn connected(&mut self, call: Call) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let handle: Result<Handle, Error> = take!(self.ask(call).await?, Handle);
        Ok(match handle {
            Ok(handle) => Ok(self.table.push(Connection(handle))?),
            Err(error) => Err(error),
        })
    }
}

impl wit::tcp::HostConnection for State {
    async fn connect(
        &mut self,
        host: String,
        port: u16,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        self.connected(Call::TcpConnect { host, port, timeout_ms }).await
    }

    async fn connect_unix(
        &mut self,
        path: String,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        self.connected(Call::TcpConnectUnix { path, timeout_ms }).await
    }

    async fn start_tls(
        &mut self,
        of: Resource<Connection>,
        server_name: String,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let connection = self.open(&of)?;
        Ok(take!(self.ask(Call::TcpStartTls { connection, server_name, timeout_ms }).await?))
    }

    async fn send(&mut self, of: Resource<Connection>, bytes: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let connection = self.open(&of)?;
        Ok(take!(self.ask(Call::TcpSend { connection, bytes: Bytes(bytes) }).await?))
    }

    async fn send_secret(
        &mut self,
        of: Resource<Connection>,
        value: Resource<SecretName>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let (connection, secret) = (self.open(&of)?, self.table.get(&value)?.0.clone());
        Ok(take!(self.ask(Call::TcpSendSecret { connection, secret }).await?))
    }

    async fn receive(
        &mut self,
        of: Resource<Connection>,
        max: u32,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let connection = self.open(&of)?;
        Ok(take!(self.ask(Call::TcpReceive { connection, max, timeout_ms }).await?, Bytes))
    }

    fn drop(&mut self, of: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(of)?;
        Ok(())
    }
}

impl wit::tls::Host for State {
    async fn inspect(
        &mut self,
        host: String,
        port: u16,
        server_name: String,
        starttls: Option<String>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<wit::tls::Probe, Error>> {
        Ok(take!(self.ask(Call::TlsInspect { host, port, server_name, starttls, timeout_ms }).await?, Probe))
    }
}

impl wit::dns::Host for State {
    async fn query(
        &mut self,
        name: String,
        rrtype: String,
        server: Option<String>,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<wit::dns::Answer, Error>> {
        Ok(take!(self.ask(Call::DnsQuery { name, rrtype, server, timeout_ms }).await?, Dns))
    }
}

impl wit::icmp::Host for State {
    async fn ping(
        &mut self,
        host: String,
        count: u32,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<wit::icmp::Echo, Error>> {
        Ok(take!(self.ask(Call::Ping { host, count, timeout_ms }).await?, Echo))
    }
}
