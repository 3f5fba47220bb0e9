//! What the agent offers, as a trait: the real one in a component, a
//! [`FakeHost`] in tests.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

pub trait Host {
    fn log(&self, level: Level, message: &str, fields: &[(&str, &str)]);
    /// How long until the agent ends this run.
    fn remaining(&self) -> Duration;
    /// Seconds since 1970.
    fn wall(&self) -> u64;
    /// Needs `grants.http`.
    fn http(&self, request: &Request) -> Result<Response, Error>;
    /// Needs `grants.system`, as do the next two.
    fn cpu(&self) -> Result<Cpu, Error>;
    fn memory(&self) -> Result<Memory, Error>;
    fn filesystems(&self) -> Result<Vec<Filesystem>, Error>;
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
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
            body: Vec::new(),
            timeout: None,
            redirects_max: 0,
            body_bytes_max: 64 * 1024,
        }
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

/// A host that answers what the test says; what it does not say is denied.
#[derive(Default)]
pub struct FakeHost {
    pub http: Option<Result<Response, Error>>,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub filesystems: Option<Vec<Filesystem>>,
    /// Seconds since 1970.
    pub wall: u64,
    /// The requests it was sent, in order.
    pub requests: RefCell<Vec<Request>>,
    pub lines: RefCell<Vec<String>>,
}

fn denied(grant: &str) -> Error {
    Error::Denied(grant.to_owned())
}

impl Host for FakeHost {
    fn log(&self, _level: Level, message: &str, _fields: &[(&str, &str)]) {
        self.lines.borrow_mut().push(message.to_owned());
    }

    fn remaining(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn wall(&self) -> u64 {
        self.wall
    }

    fn http(&self, request: &Request) -> Result<Response, Error> {
        self.requests.borrow_mut().push(request.clone());
        self.http.clone().unwrap_or_else(|| Err(denied("grants.http")))
    }

    fn cpu(&self) -> Result<Cpu, Error> {
        self.cpu.ok_or_else(|| denied("grants.system"))
    }

    fn memory(&self) -> Result<Memory, Error> {
        self.memory.ok_or_else(|| denied("grants.system"))
    }

    fn filesystems(&self) -> Result<Vec<Filesystem>, Error> {
        self.filesystems.clone().ok_or_else(|| denied("grants.system"))
    }
}
