//! What a host answers with: plain values, written and read as the interface
//! names them.

use crate::call::{Call, Handle, Millis};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What was asked for. Each kind of call has one kind of answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Done,
    Flag(bool),
    Text(String),
    Lines(Vec<String>),
    Bytes(Vec<u8>),
    Value(Option<Vec<u8>>),
    Handle(Handle),
    Instant(Instant),
    Http(HttpResponse),
    Probe(Probe),
    Dns(DnsAnswer),
    Echo(Echo),
    Stat(Stat),
    Output(Output),
    Cpu(Cpu),
    Memory(Memory),
    Filesystems(Arc<[Filesystem]>),
    Networks(Vec<Network>),
    Disks(Vec<Disk>),
    Machine(Machine),
    Processes(Vec<Process>),
    Units(Vec<Unit>),
    Containers(Vec<Container>),
}

impl Answer {
    /// What it carries in, for the plugin's bill.
    pub fn bytes(&self) -> usize {
        match self {
            Answer::Http(response) => response.body.0.len(),
            Answer::Bytes(bytes) => bytes.len(),
            Answer::Text(text) => text.len(),
            Answer::Lines(lines) => lines.iter().map(String::len).sum(),
            Answer::Value(value) => value.as_ref().map_or(0, Vec::len),
            Answer::Output(output) => output.stdout.0.len() + output.stderr.0.len(),
            _ => 0,
        }
    }
}

/// Bytes that are text where they can be: a person reads and writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_map([("hex", data_encoding::HEXLOWER.encode(&self.0))]),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Hex { hex: String },
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Bytes(text.into_bytes())),
            Written::Hex { hex } => {
                data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map(Bytes).map_err(serde::de::Error::custom)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instant {
    pub seconds: u64,
    #[serde(default)]
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// Header, what stands before the secret, and the secret's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_headers: Vec<(String, String, String)>,
    #[serde(skip_serializing_if = "is_empty")]
    pub body: Bytes,
    pub timeout_ms: Option<Millis>,
    pub redirects: u8,
    pub max_body: u32,
}

fn is_empty(bytes: &Bytes) -> bool {
    bytes.0.is_empty()
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub truncated: bool,
    pub timings: Timings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer_certificates: Vec<Bytes>,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Timings {
    pub dns: u32,
    pub connect: u32,
    pub tls: u32,
    pub first_byte: u32,
    pub total: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Probe {
    pub version: String,
    pub cipher: String,
    pub alpn: String,
    pub chain: Vec<Certificate>,
    pub verify_error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub names: Vec<String>,
    pub not_before: Instant,
    pub not_after: Instant,
    /// In hex.
    pub sha256: String,
    pub der: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DnsAnswer {
    pub rcode: String,
    pub records: Vec<DnsRecord>,
    pub authority: u32,
    pub authenticated: bool,
    pub micros: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DnsRecord {
    pub name: String,
    pub rrtype: String,
    pub ttl: u32,
    pub data: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Echo {
    pub sent: u32,
    pub received: u32,
    pub min_micros: u32,
    pub mean_micros: u32,
    pub max_micros: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    #[default]
    File,
    Directory,
    Symlink,
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Stat {
    pub kind: FileKind,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: Instant,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Output {
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Bytes,
    pub stderr: Bytes,
    pub truncated: bool,
}

/// Shares of all processors since the reading before, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
    pub iowait: f64,
    pub steal: f64,
    pub idle: f64,
    pub load1: f64,
    pub load5: f64,
    pub load15: f64,
    pub cores: u32,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Memory {
    pub total: u64,
    pub available: u64,
    pub used: u64,
    pub swap_total: u64,
    pub swap_used: u64,
}

/// Bytes; a hung one gave no answer in time and has no sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Filesystem {
    pub mount: String,
    pub device: String,
    pub fstype: String,
    pub total: u64,
    pub free: u64,
    pub available: u64,
    pub inodes: u64,
    pub inodes_free: u64,
    pub read_only: bool,
    pub hung: bool,
}

/// Since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Network {
    pub name: String,
    pub up: bool,
    pub received_bytes: u64,
    pub received_packets: u64,
    pub received_errors: u64,
    pub received_dropped: u64,
    pub sent_bytes: u64,
    pub sent_packets: u64,
    pub sent_errors: u64,
    pub sent_dropped: u64,
}

/// Since boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Disk {
    pub name: String,
    pub reads: u64,
    pub read_bytes: u64,
    pub read_millis: u64,
    pub writes: u64,
    pub written_bytes: u64,
    pub write_millis: u64,
    pub busy_millis: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    pub hostname: String,
    pub kernel: String,
    pub booted: Instant,
    pub cores: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    pub ppid: u32,
    pub name: String,
    pub command: Vec<String>,
    pub user: String,
    pub state: String,
    pub threads: u32,
    pub resident_bytes: u64,
    pub cpu_seconds: f64,
    pub open_files: Option<u32>,
    pub started: Instant,
    pub cgroup: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Unit {
    pub name: String,
    pub load: String,
    pub active: String,
    pub sub: String,
    pub result: String,
    pub main_pid: u32,
    pub restarts: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub image: String,
    pub state: String,
    pub health: Option<String>,
    pub exit_code: i32,
    pub restarts: u32,
    pub started: Instant,
}

/// One value of one series, as a run reports it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    pub name: String,
    pub kind: SampleKind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<(String, String)>,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleKind {
    Gauge,
    Counter,
}

/// Reads what was recorded for a call. What kind of answer it is, the call says.
pub fn read_answer(call: &Call, json: serde_json::Value) -> Result<Answer, serde_json::Error> {
    use serde_json::from_value as read;
    Ok(match call {
        Call::KvSet { .. }
        | Call::KvDelete { .. }
        | Call::SecretGet { .. }
        | Call::TcpStartTls { .. }
        | Call::TcpSend { .. }
        | Call::TcpSendSecret { .. }
        | Call::CursorCommit { .. } => {
            read::<Option<()>>(json)?;
            Answer::Done
        }
        Call::KvCompareAndSet { .. } => Answer::Flag(read(json)?),
        Call::SecretReveal { .. } => Answer::Text(read(json)?),
        Call::FileGlob { .. } | Call::CursorLines { .. } => Answer::Lines(read(json)?),
        Call::Random { .. } | Call::TcpReceive { .. } | Call::FileRead { .. } => Answer::Bytes(read::<Bytes>(json)?.0),
        Call::KvGet { .. } => Answer::Value(read::<Option<Bytes>>(json)?.map(|bytes| bytes.0)),
        Call::TcpConnect { .. } | Call::TcpConnectUnix { .. } | Call::CursorOpen { .. } => Answer::Handle(read(json)?),
        Call::Now => Answer::Instant(read(json)?),
        Call::Http(_) => Answer::Http(read(json)?),
        Call::TlsInspect { .. } => Answer::Probe(read(json)?),
        Call::DnsQuery { .. } => Answer::Dns(read(json)?),
        Call::Ping { .. } => Answer::Echo(read(json)?),
        Call::FileStat { .. } => Answer::Stat(read(json)?),
        Call::Command { .. } => Answer::Output(read(json)?),
        Call::Cpu => Answer::Cpu(read(json)?),
        Call::Memory => Answer::Memory(read(json)?),
        Call::Filesystems => Answer::Filesystems(read::<Vec<Filesystem>>(json)?.into()),
        Call::Networks => Answer::Networks(read(json)?),
        Call::Disks => Answer::Disks(read(json)?),
        Call::Machine => Answer::Machine(read(json)?),
        Call::Processes { .. } => Answer::Processes(read(json)?),
        Call::Units { .. } => Answer::Units(read(json)?),
        Call::Containers { .. } => Answer::Containers(read(json)?),
    })
}

/// The other way round.
pub fn write_answer(answer: &Answer) -> Result<serde_json::Value, serde_json::Error> {
    use serde_json::to_value as write;
    match answer {
        Answer::Done => Ok(serde_json::Value::Null),
        Answer::Flag(flag) => write(flag),
        Answer::Text(text) => write(text),
        Answer::Lines(lines) => write(lines),
        Answer::Bytes(bytes) => write(Bytes(bytes.clone())),
        Answer::Value(value) => write(value.clone().map(Bytes)),
        Answer::Handle(handle) => write(handle),
        Answer::Instant(instant) => write(instant),
        Answer::Http(response) => write(response),
        Answer::Probe(probe) => write(probe),
        Answer::Dns(answer) => write(answer),
        Answer::Echo(echo) => write(echo),
        Answer::Stat(stat) => write(stat),
        Answer::Output(output) => write(output),
        Answer::Cpu(cpu) => write(cpu),
        Answer::Memory(memory) => write(memory),
        Answer::Filesystems(list) => write(list.as_ref()),
        Answer::Networks(list) => write(list),
        Answer::Disks(list) => write(list),
        Answer::Machine(machine) => write(machine),
        Answer::Processes(list) => write(list),
        Answer::Units(list) => write(list),
        Answer::Containers(list) => write(list),
    }
}
