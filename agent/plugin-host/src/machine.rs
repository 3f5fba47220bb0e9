//! The backend that is this machine: sockets, files, programs and readings.
//!
//! Each module does one thing for one call and knows nothing of plugins. What a
//! run opened is its session's, and gone with it.

mod blocking;
mod commands;
mod containers;
mod cursor;
mod dns;
mod files;
mod http;
mod icmp;
mod kept;
mod kv;
mod names;
mod network;
mod processes;
mod secrets;
mod system;
mod tcp;
mod tls;
mod units;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::answer::Answer;
use crate::call::{Answering, Backend, Call, CallError, RunContext, Session};
use crate::limits;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use http::need as http_need;
pub use secrets::Given;

/// Where the machine's own things are.
#[derive(Clone)]
pub struct MachineConfig {
    /// What plugins keep between runs; absent: only as long as this process runs.
    pub state_folder: Option<PathBuf>,
    /// Looked at first.
    pub secrets_given: Option<Given>,
    /// A file a secret, named as it.
    pub secrets_folder: PathBuf,
    /// The container engine's.
    pub container_socket: PathBuf,
}

impl Default for MachineConfig {
    fn default() -> Self {
        MachineConfig {
            state_folder: None,
            secrets_given: None,
            secrets_folder: "/etc/hostler/secrets".into(),
            container_socket: "/var/run/docker.sock".into(),
        }
    }
}

pub struct Machine {
    shared: Arc<Shared>,
}

/// What all sessions use.
struct Shared {
    config: MachineConfig,
    tls: network::Tls,
    system: system::System,
    processes: processes::Processes,
    kv: kv::Store,
    units: units::Manager,
}

impl Machine {
    pub fn new(config: MachineConfig) -> Machine {
        let kv = kv::Store::new(config.state_folder.clone());
        let shared = Shared {
            config,
            tls: network::Tls::default(),
            system: system::System::default(),
            processes: processes::Processes::default(),
            kv,
            units: units::Manager::default(),
        };
        Machine { shared: Arc::new(shared) }
    }
}

impl Backend for Machine {
    fn session(&self, run: &RunContext) -> Box<dyn Session> {
        Box::new(MachineSession {
            shared: self.shared.clone(),
            run: run.clone(),
            requests: 0,
            connections: Vec::new(),
            cursors: Vec::new(),
        })
    }
}

struct MachineSession {
    shared: Arc<Shared>,
    run: RunContext,
    requests: u32,
    connections: Vec<tcp::Connection>,
    cursors: Vec<cursor::Cursor>,
}

impl Session for MachineSession {
    fn call(&mut self, call: Call) -> Answering<'_> {
        Box::pin(self.answer(call))
    }
}

impl MachineSession {
    async fn answer(&mut self, call: Call) -> Result<Answer, CallError> {
        let (shared, grants, instance) = (&self.shared, &*self.run.grants, &*self.run.instance);
        Ok(match call {
            Call::Now => Answer::Instant(SystemTime::now().into()),
            Call::Random { count } => Answer::Bytes(random(count)?),
            Call::KvGet { key } => Answer::Value(shared.kv.get(instance, &key)?),
            Call::KvSet { key, value, ttl_seconds } => {
                shared.kv.set(instance, &key, value.0, ttl_seconds)?;
                Answer::Done
            }
            Call::KvDelete { key } => {
                shared.kv.delete(instance, &key)?;
                Answer::Done
            }
            Call::KvCompareAndSet { key, old, new } => {
                Answer::Flag(shared.kv.compare_and_set(instance, &key, old.map(|old| old.0), new.0)?)
            }
            Call::SecretGet { name } => {
                secrets::read(&shared.config, &name)?;
                Answer::Done
            }
            Call::SecretReveal { name } => Answer::Text(secrets::read(&shared.config, &name)?.reveal()?),
            Call::Http(request) => {
                self.requests += 1;
                if self.requests > limits::HTTP_REQUESTS_MAX {
                    return Err(CallError::Limit(format!("{} requests in one run", limits::HTTP_REQUESTS_MAX)));
                }
                Answer::Http(http::send(request, grants, &shared.tls, &shared.config).await?)
            }
            Call::TcpConnect { host, port, .. } => {
                self.room()?;
                let connection = tcp::Connection::connect(&host, port, grants).await?;
                self.connected(connection)
            }
            Call::TcpConnectUnix { path, .. } => {
                self.room()?;
                let connection = tcp::Connection::connect_unix(&path, grants).await?;
                self.connected(connection)
            }
            Call::TcpStartTls { connection, server_name, .. } => {
                let tls = shared.tls.clone();
                self.connection(connection)?.start_tls(&server_name, &tls).await?;
                Answer::Done
            }
            Call::TcpSend { connection, bytes } => {
                self.connection(connection)?.send(&bytes.0).await?;
                Answer::Done
            }
            Call::TcpSendSecret { connection, secret } => {
                let secret = secrets::read(&shared.config, &secret)?;
                self.connection(connection)?.send(secret.bytes()).await?;
                Answer::Done
            }
            Call::TcpReceive { connection, max, .. } => Answer::Bytes(self.connection(connection)?.receive(max).await?),
            Call::TlsInspect { host, port, server_name, starttls, .. } => {
                let starttls = starttls.as_deref();
                Answer::Probe(tls::inspect(&host, port, &server_name, starttls, grants, &shared.tls).await?)
            }
            Call::DnsQuery { name, rrtype, server, .. } => {
                Answer::Dns(dns::query(&name, &rrtype, server.as_deref(), grants).await?)
            }
            Call::Ping { host, count, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms.into());
                Answer::Echo(icmp::ping(&host, count, timeout, grants).await?)
            }
            Call::FileStat { path } => Answer::Stat(files::stat(&path, grants).await?),
            Call::FileRead { path, offset, max } => Answer::Bytes(files::read(&path, offset, max, grants).await?),
            Call::FileGlob { pattern, max } => Answer::Lines(files::glob(&pattern, max, grants).await?),
            Call::CursorOpen { name, path, from_end } => {
                if self.cursors.len() >= limits::CURSORS_MAX {
                    return Err(CallError::Limit(format!("{} cursors in one run", limits::CURSORS_MAX)));
                }
                let cursor = cursor::Cursor::open(&name, &path, from_end, grants, &shared.kv, instance).await?;
                self.cursors.push(cursor);
                Answer::Handle(last(self.cursors.len()))
            }
            Call::CursorLines { cursor, max_lines, max_bytes } => {
                let cursor = index(&mut self.cursors, cursor)?;
                Answer::Lines(cursor.lines(max_lines, max_bytes).await?)
            }
            Call::CursorCommit { cursor } => {
                let kv = &self.shared.kv;
                index(&mut self.cursors, cursor)?.commit(kv, instance)?;
                Answer::Done
            }
            Call::Command { command, args, stdin, .. } => {
                Answer::Output(commands::run(&command, &args, stdin.0, grants).await?)
            }
            Call::Cpu => Answer::Cpu(shared.system.cpu()?),
            Call::Memory => Answer::Memory(shared.system.memory()?),
            Call::Filesystems => Answer::Filesystems(shared.system.filesystems().await?),
            Call::Networks => Answer::Networks(shared.system.networks()?),
            Call::Disks => Answer::Disks(shared.system.disks()?),
            Call::Machine => Answer::Machine(shared.system.machine()?),
            Call::Processes { name, max } => {
                let booted = shared.system.machine()?.booted;
                Answer::Processes(shared.processes.find(&name, max, booted.seconds).await?)
            }
            Call::Units { name, max } => Answer::Units(shared.units.find(&name, max).await?),
            Call::Containers { name, max } => {
                Answer::Containers(containers::find(&shared.config.container_socket, &name, max).await?)
            }
        })
    }

    fn room(&self) -> Result<(), CallError> {
        match self.connections.len() < limits::CONNECTIONS_MAX {
            true => Ok(()),
            false => Err(CallError::Limit(format!("{} connections in one run", limits::CONNECTIONS_MAX))),
        }
    }

    fn connected(&mut self, connection: tcp::Connection) -> Answer {
        self.connections.push(connection);
        Answer::Handle(last(self.connections.len()))
    }

    fn connection(&mut self, handle: u32) -> Result<&mut tcp::Connection, CallError> {
        index(&mut self.connections, handle)
    }
}

fn last(count: usize) -> u32 {
    u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX)
}

fn index<T>(list: &mut [T], handle: u32) -> Result<&mut T, CallError> {
    let found = usize::try_from(handle).ok().and_then(|at| list.get_mut(at));
    found.ok_or_else(|| CallError::Invalid(format!("there is no handle {handle}")))
}

fn random(count: u32) -> Result<Vec<u8>, CallError> {
    use ring::rand::SecureRandom;
    let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX).min(limits::RANDOM_BYTES_MAX)];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| CallError::other("random", "the host has none"))
}

impl From<SystemTime> for crate::answer::Instant {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
    }
}
