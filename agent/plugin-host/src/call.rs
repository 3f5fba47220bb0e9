//! What a plugin asks of its host and what it is told, as values.
//!
//! Everything beyond the sandbox is one [`Call`]: what it needs to be granted is
//! read from it, a [`Session`] answers it, and whoever records or replays a run
//! does so here, without knowing how any of it is done.

use crate::answer::{Answer, Bytes, HttpRequest};
use hostler_types::plugin::{Grants, Need};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Milliseconds, since that is what the interface takes.
pub type Millis = u32;

/// Connections and cursors of a run, in order of their opening.
pub type Handle = u32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", content = "with", deny_unknown_fields)]
pub enum Call {
    #[serde(rename = "clock.now")]
    Now,
    #[serde(rename = "random.bytes")]
    Random { count: u32 },
    #[serde(rename = "kv.get")]
    KvGet { key: String },
    #[serde(rename = "kv.set")]
    KvSet { key: String, value: Bytes, ttl_seconds: Option<u32> },
    #[serde(rename = "kv.delete")]
    KvDelete { key: String },
    #[serde(rename = "kv.compare-and-set")]
    KvCompareAndSet { key: String, old: Option<Bytes>, new: Bytes },
    #[serde(rename = "secrets.get")]
    SecretGet { name: String },
    #[serde(rename = "secrets-reveal.reveal")]
    SecretReveal { name: String },
    #[serde(rename = "http.send")]
    Http(HttpRequest),
    #[serde(rename = "tcp.connect")]
    TcpConnect { host: String, port: u16, timeout_ms: Millis },
    #[serde(rename = "tcp.connect-unix")]
    TcpConnectUnix { path: String, timeout_ms: Millis },
    #[serde(rename = "tcp.start-tls")]
    TcpStartTls { connection: Handle, server_name: String, timeout_ms: Millis },
    #[serde(rename = "tcp.send")]
    TcpSend { connection: Handle, bytes: Bytes },
    #[serde(rename = "tcp.send-secret")]
    TcpSendSecret { connection: Handle, secret: String },
    #[serde(rename = "tcp.receive")]
    TcpReceive { connection: Handle, max: u32, timeout_ms: Millis },
    #[serde(rename = "tls.inspect")]
    TlsInspect { host: String, port: u16, server_name: String, starttls: Option<String>, timeout_ms: Millis },
    #[serde(rename = "dns.query")]
    DnsQuery { name: String, rrtype: String, server: Option<String>, timeout_ms: Millis },
    #[serde(rename = "icmp.ping")]
    Ping { host: String, count: u32, timeout_ms: Millis },
    #[serde(rename = "files.stat-path")]
    FileStat { path: String },
    #[serde(rename = "files.read")]
    FileRead { path: String, offset: u64, max: u32 },
    #[serde(rename = "files.glob")]
    FileGlob { pattern: String, max: u32 },
    #[serde(rename = "files.open")]
    CursorOpen { name: String, path: String, from_end: bool },
    #[serde(rename = "files.lines")]
    CursorLines { cursor: Handle, max_lines: u32, max_bytes: u32 },
    #[serde(rename = "files.commit")]
    CursorCommit { cursor: Handle },
    #[serde(rename = "commands.run")]
    Command { command: String, args: Vec<String>, stdin: Bytes, timeout_ms: Millis },
    #[serde(rename = "system.get-cpu")]
    Cpu,
    #[serde(rename = "system.get-memory")]
    Memory,
    #[serde(rename = "system.get-filesystems")]
    Filesystems,
    #[serde(rename = "system.get-networks")]
    Networks,
    #[serde(rename = "system.get-disks")]
    Disks,
    #[serde(rename = "system.get-machine")]
    Machine,
    #[serde(rename = "processes.find")]
    Processes { name: String, max: u32 },
    #[serde(rename = "units.find")]
    Units { name: String, max: u32 },
    #[serde(rename = "containers.find")]
    Containers { name: String, max: u32 },
}

impl Call {
    /// A request's redirects and a name's addresses are judged where they are met.
    pub fn need(&self) -> Result<Need, CallError> {
        Ok(match self {
            Call::Now
            | Call::Random { .. }
            | Call::KvGet { .. }
            | Call::KvSet { .. }
            | Call::KvDelete { .. }
            | Call::KvCompareAndSet { .. }
            | Call::TcpStartTls { .. }
            | Call::TcpSend { .. }
            | Call::TcpReceive { .. }
            | Call::CursorLines { .. }
            | Call::CursorCommit { .. } => Need::Nothing,
            Call::SecretGet { name } | Call::TcpSendSecret { secret: name, .. } => Need::Secret { name: name.clone() },
            Call::SecretReveal { name } => Need::Reveal { name: name.clone() },
            Call::Http(request) => crate::machine::http_need(&request.url)?,
            Call::TcpConnect { host, port, .. } | Call::TlsInspect { host, port, .. } => {
                Need::Tcp { host: host.clone(), port: *port }
            }
            Call::TcpConnectUnix { path, .. } => Need::Unix { path: path.clone() },
            Call::DnsQuery { name, .. } => Need::Dns { name: name.clone() },
            Call::Ping { host, .. } => Need::Icmp { host: host.clone() },
            Call::FileStat { path } | Call::FileRead { path, .. } | Call::CursorOpen { path, .. } => {
                Need::File { path: path.clone() }
            }
            Call::FileGlob { pattern, .. } => Need::File { path: pattern.clone() },
            Call::Command { command, args, .. } => Need::Command { name: command.clone(), arguments: args.clone() },
            Call::Cpu | Call::Memory | Call::Filesystems | Call::Networks | Call::Disks | Call::Machine => Need::System,
            Call::Processes { .. } => Need::Processes,
            Call::Units { name, .. } => Need::Unit { name: name.clone() },
            Call::Containers { name, .. } => Need::Container { name: name.clone() },
        })
    }

    /// The most this call may take of what is left of its run; absent: all of it.
    pub fn timeout(&self) -> Option<Duration> {
        let millis = match self {
            Call::Http(request) => request.timeout_ms?,
            Call::TcpConnect { timeout_ms, .. }
            | Call::TcpConnectUnix { timeout_ms, .. }
            | Call::TcpStartTls { timeout_ms, .. }
            | Call::TcpReceive { timeout_ms, .. }
            | Call::TlsInspect { timeout_ms, .. }
            | Call::DnsQuery { timeout_ms, .. }
            | Call::Ping { timeout_ms, .. }
            | Call::Command { timeout_ms, .. } => *timeout_ms,
            _ => return None,
        };
        Some(Duration::from_millis(millis.into()))
    }

    /// What it carries out of the host, for the plugin's bill.
    pub fn bytes(&self) -> usize {
        match self {
            Call::Http(request) => request.url.len() + request.body.0.len(),
            Call::TcpSend { bytes, .. } => bytes.0.len(),
            Call::KvSet { value, .. } => value.0.len(),
            Call::KvCompareAndSet { new, .. } => new.0.len(),
            Call::Command { stdin, .. } => stdin.0.len(),
            _ => 0,
        }
    }
}

/// The interface's own error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum CallError {
    /// The grant that is missing, as it would be written in plugin.toml.
    Denied(String),
    Invalid(String),
    Timeout,
    Unreachable(String),
    Limit(String),
    Other {
        key: String,
        value: String,
    },
}

impl CallError {
    pub fn other(key: &str, value: impl ToString) -> CallError {
        CallError::Other { key: key.to_owned(), value: value.to_string() }
    }

    pub fn denied(need: &Need) -> CallError {
        CallError::Denied(need.to_string())
    }
}

/// What a session knows of the run it answers.
#[derive(Clone)]
pub struct RunContext {
    /// Whose state is kept: a check's name. Empty: none is.
    pub instance: Arc<str>,
    pub grants: Arc<Grants>,
}

pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send + 'a>>;

/// Answers the calls of one run. Each was judged by its need before; whoever
/// answers may stop at any await, when the run's time is over.
pub trait Session: Send {
    fn call(&mut self, call: Call) -> Answering<'_>;
}

/// Where answers come from: the machine, or a file of recorded ones.
pub trait Backend: Send + Sync {
    fn session(&self, run: &RunContext) -> Box<dyn Session>;
}
