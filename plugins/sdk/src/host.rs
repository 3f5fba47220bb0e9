//! What the agent offers, as a trait: the real one in a component, a
//! [`FakeHost`](crate::FakeHost) in tests.

use std::fmt;
use std::time::Duration;

/// Each call says in `plugin.toml` what it needs; without it the answer is
/// [`Error::Denied`], naming the missing line.
pub trait Host {
    type Connection: Connection;
    type Cursor: Cursor;

    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    /// How long until the agent ends this run.
    fn remaining(&self) -> Duration;
    /// Since 1970.
    fn wall(&self) -> Duration;
    fn random(&self, count: u32) -> Vec<u8>;
    /// All of them or none.
    fn report(&self, samples: &[Sample]) -> Result<(), Error>;
    /// The same for a check's figures: a graph that can't be drawn is a line in
    /// the log, and no reason to fail the check.
    fn graph(&self, samples: &[Sample]) {
        if let Err(error) = self.report(samples) {
            self.log(Level::Warn, "metrics not reported", &[("error", &error.to_string())]);
        }
    }

    /// What an earlier run of the same check left.
    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error>;
    fn kv_set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Error>;
    fn kv_delete(&self, key: &str) -> Result<(), Error>;
    /// Whether `old` was what stood there; `None` is nothing at all.
    fn kv_compare_and_set(&self, key: &str, old: Option<&[u8]>, new: &[u8]) -> Result<bool, Error>;

    /// `grants.reveal`. Most need no secret's bytes: see [`Request::secret_header`].
    fn reveal(&self, secret: &str) -> Result<String, Error>;
    /// `grants.http`
    fn http(&self, request: &Request) -> Result<Response, Error>;
    /// `grants.tcp`
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> Result<Self::Connection, Error>;
    fn connect_unix(&self, path: &str, timeout: Duration) -> Result<Self::Connection, Error>;
    fn inspect_tls(&self, target: &TlsTarget) -> Result<Probe, Error>;
    /// `grants.dns`; without a server, the host's own.
    fn dns(&self, name: &str, rrtype: &str, server: Option<&str>, timeout: Duration) -> Result<DnsAnswer, Error>;
    /// `grants.icmp`
    fn ping(&self, host: &str, count: u32, timeout: Duration) -> Result<Echo, Error>;

    /// `grants.files`
    fn stat(&self, path: &str) -> Result<Stat, Error>;
    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Error>;
    fn glob(&self, pattern: &str, max: u32) -> Result<Vec<String>, Error>;
    /// A file that grows, read on from where the last run committed.
    fn cursor(&self, name: &str, path: &str, from_end: bool) -> Result<Self::Cursor, Error>;
    /// `grants.commands`, by the name that stands there.
    fn command(&self, name: &str, args: &[&str], stdin: &[u8], timeout: Duration) -> Result<Output, Error>;

    /// `grants.system`, as do the next five.
    fn cpu(&self) -> Result<Cpu, Error>;
    fn memory(&self) -> Result<Memory, Error>;
    fn filesystems(&self) -> Result<Vec<Filesystem>, Error>;
    fn networks(&self) -> Result<Vec<Network>, Error>;
    fn disks(&self) -> Result<Vec<Disk>, Error>;
    fn machine(&self) -> Result<Machine, Error>;
    /// `grants.processes`
    fn processes(&self, name: &str, max: u32) -> Result<Vec<Process>, Error>;
    /// `grants.units`
    fn units(&self, name: &str, max: u32) -> Result<Vec<Unit>, Error>;
    /// `grants.containers`
    fn containers(&self, name: &str, max: u32) -> Result<Vec<Container>, Error>;
}

pub trait Connection {
    fn start_tls(&self, server_name: &str, timeout: Duration) -> Result<(), Error>;
    fn send(&self, bytes: &[u8]) -> Result<(), Error>;
    /// A secret's bytes, which stay unseen.
    fn send_secret(&self, secret: &str) -> Result<(), Error>;
    /// What there is; empty: the peer closed.
    fn receive(&self, max: u32, timeout: Duration) -> Result<Vec<u8>, Error>;
}

pub trait Cursor {
    /// Whole lines without their ends; empty: no more now.
    fn lines(&self, max_lines: u32, max_bytes: u32) -> Result<Vec<String>, Error>;
    /// What was read is not read again.
    fn commit(&self) -> Result<(), Error>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The grant that is missing.
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Denied(grant) => write!(f, "denied: {grant}"),
            Error::Invalid(what) => write!(f, "invalid: {what}"),
            Error::Timeout => f.write_str("timeout"),
            Error::Unreachable(why) => f.write_str(why),
            Error::Limit(which) => write!(f, "limit reached: {which}"),
            Error::Other { key, value } => write!(f, "{key}: {value}"),
        }
    }
}

impl From<Error> for String {
    fn from(error: Error) -> String {
        error.to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// Header, what stands before the secret, and the secret's name.
    pub secret_headers: Vec<(String, String, String)>,
    pub body: Vec<u8>,
    /// Absent: what is left of the run.
    pub timeout: Option<Duration>,
    pub redirects_max: u8,
    pub body_bytes_max: u32,
}

impl Request {
    pub fn get(url: impl Into<String>) -> Request {
        Request {
            method: "GET".to_owned(),
            url: url.into(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            redirects_max: 0,
            body_bytes_max: 64 * 1024,
        }
    }

    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
        Request { method: "POST".to_owned(), body: body.into(), ..Request::get(url) }
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `secret_header("authorization", "Bearer ", "token")`: the agent puts the
    /// secret there, for the first host only. Needs `grants.secrets`.
    #[must_use]
    pub fn secret_header(
        mut self,
        name: impl Into<String>,
        prefix: impl Into<String>,
        secret: impl Into<String>,
    ) -> Request {
        self.secret_headers.push((name.into(), prefix.into(), secret.into()));
        self
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub truncated: bool,
    pub timings: Timings,
    /// The chain of whoever answered, leaf first, in DER; empty without TLS.
    pub peer_certificates: Vec<Vec<u8>>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    pub dns: u32,
    pub connect: u32,
    pub tls: u32,
    pub first_byte: u32,
    pub total: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsTarget {
    pub host: String,
    pub port: u16,
    pub server_name: String,
    /// How TLS is asked for first: smtp, imap, pop3, ftp or postgres.
    pub starttls: Option<String>,
    pub timeout: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    pub version: String,
    pub cipher: String,
    pub alpn: String,
    /// Leaf first.
    pub chain: Vec<Certificate>,
    /// Why a client would not trust it, if so.
    pub verify_error: Option<String>,
}

/// Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub names: Vec<String>,
    pub not_before: u64,
    pub not_after: u64,
    pub sha256: String,
    pub der: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsAnswer {
    /// NOERROR, NXDOMAIN, SERVFAIL.
    pub rcode: String,
    pub records: Vec<DnsRecord>,
    pub authority: u32,
    pub authenticated: bool,
    pub micros: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsRecord {
    pub name: String,
    pub rrtype: String,
    pub ttl: u32,
    pub data: String,
}

/// Microseconds, of what came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    pub sent: u32,
    pub received: u32,
    pub min_micros: u32,
    pub mean_micros: u32,
    pub max_micros: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileKind {
    #[default]
    File,
    Directory,
    Symlink,
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub kind: FileKind,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub modified: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    Gauge,
    /// Its name ends in `_total`.
    Counter,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub kind: SampleKind,
    pub attrs: Vec<(String, String)>,
    pub value: f64,
}

impl Sample {
    pub fn gauge(name: impl Into<String>, value: f64) -> Sample {
        Sample { name: name.into(), kind: SampleKind::Gauge, attrs: Vec::new(), value }
    }

    pub fn counter(name: impl Into<String>, value: f64) -> Sample {
        Sample { name: name.into(), kind: SampleKind::Counter, attrs: Vec::new(), value }
    }

    #[must_use]
    pub fn attr(mut self, key: impl Into<String>, value: impl Into<String>) -> Sample {
        self.attrs.push((key.into(), value.into()));
        self
    }
}

/// Shares of all processors, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    pub available: u64,
    pub used: u64,
    pub swap_total: u64,
    pub swap_used: u64,
}

/// Bytes; a hung one has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub hostname: String,
    pub kernel: String,
    /// Seconds since 1970.
    pub booted: u64,
    pub cores: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Seconds since 1970.
    pub started: u64,
    pub cgroup: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    pub load: String,
    pub active: String,
    pub sub: String,
    pub result: String,
    pub main_pid: u32,
    pub restarts: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub image: String,
    pub state: String,
    pub health: Option<String>,
    pub exit_code: i32,
    pub restarts: u32,
    /// Seconds since 1970.
    pub started: u64,
}
