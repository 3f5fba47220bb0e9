//! The host of a test.

use crate::host::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// A host that answers what the test says; what it does not say is denied.
#[derive(Default)]
pub struct FakeHost {
    pub http: Option<Result<Response, Error>>,
    /// What a peer sends, a piece a `receive`; then it closes.
    pub connection: Option<Result<Vec<Vec<u8>>, Error>>,
    pub tls: Option<Result<Probe, Error>>,
    pub dns: Option<Result<DnsAnswer, Error>>,
    pub echo: Option<Result<Echo, Error>>,
    /// Whole files, by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What is said of a path instead of what its file is.
    pub stats: BTreeMap<String, Result<Stat, Error>>,
    /// By a command's name.
    pub commands: BTreeMap<String, Output>,
    pub secrets: BTreeMap<String, String>,
    pub cpu: Option<Cpu>,
    pub memory: Option<Memory>,
    pub filesystems: Option<Vec<Filesystem>>,
    pub networks: Option<Vec<Network>>,
    pub disks: Option<Vec<Disk>>,
    pub machine: Option<Machine>,
    pub processes: Option<Vec<Process>>,
    pub units: Option<Vec<Unit>>,
    pub containers: Option<Vec<Container>>,
    /// Seconds since 1970.
    pub wall: u64,
    /// How long a connection takes to be made, or to fail.
    pub connect_takes: Duration,

    /// What earlier runs left, and this one.
    pub kv: RefCell<BTreeMap<String, Vec<u8>>>,
    /// The requests it was sent, in order.
    pub requests: RefCell<Vec<Request>>,
    pub samples: RefCell<Vec<Sample>>,
    pub lines: RefCell<Vec<String>>,
    /// How many lines of its file each cursor has committed, by its name.
    pub cursors: Rc<RefCell<BTreeMap<String, usize>>>,
    /// What connections have taken by now.
    pub elapsed: Cell<Duration>,
}

fn denied<T>(grant: &str) -> Result<T, Error> {
    Err(Error::Denied(format!("grants.{grant}")))
}

fn given<T: Clone>(answer: Option<&T>, grant: &str) -> Result<T, Error> {
    answer.cloned().map_or_else(|| denied(grant), Ok)
}

fn said<T: Clone>(answer: Option<&Result<T, Error>>, grant: &str) -> Result<T, Error> {
    answer.cloned().unwrap_or_else(|| denied(grant))
}

fn take<T>(list: Vec<T>, max: u32) -> Vec<T> {
    list.into_iter().take(usize::try_from(max).unwrap_or(usize::MAX)).collect()
}

/// One of a [`FakeHost`].
pub struct FakeConnection {
    pieces: RefCell<std::collections::VecDeque<Vec<u8>>>,
}

/// One of a [`FakeHost`]: its file, from where the one before it committed.
pub struct FakeCursor {
    name: String,
    lines: Vec<String>,
    at: Cell<usize>,
    cursors: Rc<RefCell<BTreeMap<String, usize>>>,
}

impl Host for FakeHost {
    type Connection = FakeConnection;
    type Cursor = FakeCursor;

    fn log(&self, _level: Level, message: &str, _fields: &[(&str, &str)]) {
        self.lines.borrow_mut().push(message.to_owned());
    }

    fn remaining(&self) -> Duration {
        Duration::from_secs(10).saturating_sub(self.elapsed.get())
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(self.wall)
    }

    fn random(&self, count: u32) -> Vec<u8> {
        (0..count).map(|at| at.to_le_bytes().first().copied().unwrap_or_default()).collect()
    }

    fn report(&self, samples: &[Sample]) -> Result<(), Error> {
        self.samples.borrow_mut().extend_from_slice(samples);
        Ok(())
    }

    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.kv.borrow().get(key).cloned())
    }

    fn kv_set(&self, key: &str, value: &[u8], _ttl: Option<Duration>) -> Result<(), Error> {
        self.kv.borrow_mut().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn kv_delete(&self, key: &str) -> Result<(), Error> {
        self.kv.borrow_mut().remove(key);
        Ok(())
    }

    fn kv_compare_and_set(&self, key: &str, old: Option<&[u8]>, new: &[u8]) -> Result<bool, Error> {
        let mut kv = self.kv.borrow_mut();
        let same = kv.get(key).map(Vec::as_slice) == old;
        if same {
            kv.insert(key.to_owned(), new.to_owned());
        }
        Ok(same)
    }

    fn reveal(&self, secret: &str) -> Result<String, Error> {
        given(self.secrets.get(secret), "reveal")
    }

    fn http(&self, request: &Request) -> Result<Response, Error> {
        self.requests.borrow_mut().push(request.clone());
        said(self.http.as_ref(), "http")
    }

    fn connect(&self, _host: &str, _port: u16, _timeout: Duration) -> Result<FakeConnection, Error> {
        self.elapsed.set(self.elapsed.get() + self.connect_takes);
        let pieces = said(self.connection.as_ref(), "tcp")?;
        Ok(FakeConnection { pieces: RefCell::new(pieces.into()) })
    }

    fn connect_unix(&self, _path: &str, timeout: Duration) -> Result<FakeConnection, Error> {
        self.connect("", 0, timeout)
    }

    fn inspect_tls(&self, _target: &TlsTarget) -> Result<Probe, Error> {
        said(self.tls.as_ref(), "tcp")
    }

    fn dns(&self, _name: &str, _rrtype: &str, _server: Option<&str>, _timeout: Duration) -> Result<DnsAnswer, Error> {
        said(self.dns.as_ref(), "dns")
    }

    fn ping(&self, _host: &str, _count: u32, _timeout: Duration) -> Result<Echo, Error> {
        said(self.echo.as_ref(), "icmp")
    }

    fn stat(&self, path: &str) -> Result<Stat, Error> {
        if let Some(said) = self.stats.get(path) {
            return said.clone();
        }
        let file = given(self.files.get(path), "files")?;
        Ok(Stat { size: u64::try_from(file.len()).unwrap_or(u64::MAX), mode: 0o644, ..Stat::default() })
    }

    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        let file = given(self.files.get(path), "files")?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
        Ok(take(file.get(from..).unwrap_or_default().to_owned(), max))
    }

    fn glob(&self, pattern: &str, max: u32) -> Result<Vec<String>, Error> {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        let fits = |path: &&String| path.starts_with(before) && path.ends_with(after);
        let mut paths: Vec<String> = self.files.keys().chain(self.stats.keys()).filter(fits).cloned().collect();
        paths.sort();
        paths.dedup();
        Ok(take(paths, max))
    }

    fn cursor(&self, name: &str, path: &str, from_end: bool) -> Result<FakeCursor, Error> {
        if let Some(Err(error)) = self.stats.get(path) {
            return Err(error.clone());
        }
        let file = given(self.files.get(path), "files")?;
        let lines: Vec<String> = String::from_utf8_lossy(&file).lines().map(str::to_owned).collect();
        let first = if from_end { lines.len() } else { 0 };
        let at = self.cursors.borrow().get(name).copied().unwrap_or(first);
        Ok(FakeCursor { name: name.to_owned(), lines, at: Cell::new(at), cursors: self.cursors.clone() })
    }

    fn command(&self, name: &str, _args: &[&str], _stdin: &[u8], _timeout: Duration) -> Result<Output, Error> {
        given(self.commands.get(name), "commands")
    }

    fn cpu(&self) -> Result<Cpu, Error> {
        given(self.cpu.as_ref(), "system")
    }

    fn memory(&self) -> Result<Memory, Error> {
        given(self.memory.as_ref(), "system")
    }

    fn filesystems(&self) -> Result<Vec<Filesystem>, Error> {
        given(self.filesystems.as_ref(), "system")
    }

    fn networks(&self) -> Result<Vec<Network>, Error> {
        given(self.networks.as_ref(), "system")
    }

    fn disks(&self) -> Result<Vec<Disk>, Error> {
        given(self.disks.as_ref(), "system")
    }

    fn machine(&self) -> Result<Machine, Error> {
        given(self.machine.as_ref(), "system")
    }

    fn processes(&self, _name: &str, max: u32) -> Result<Vec<Process>, Error> {
        given(self.processes.as_ref(), "processes").map(|list| take(list, max))
    }

    fn units(&self, _name: &str, max: u32) -> Result<Vec<Unit>, Error> {
        given(self.units.as_ref(), "units").map(|list| take(list, max))
    }

    fn containers(&self, _name: &str, max: u32) -> Result<Vec<Container>, Error> {
        given(self.containers.as_ref(), "containers").map(|list| take(list, max))
    }
}

impl Connection for FakeConnection {
    fn start_tls(&self, _server_name: &str, _timeout: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn send(&self, _bytes: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn send_secret(&self, _secret: &str) -> Result<(), Error> {
        Ok(())
    }

    fn receive(&self, max: u32, _timeout: Duration) -> Result<Vec<u8>, Error> {
        Ok(take(self.pieces.borrow_mut().pop_front().unwrap_or_default(), max))
    }
}

impl Cursor for FakeCursor {
    fn lines(&self, max_lines: u32, _max_bytes: u32) -> Result<Vec<String>, Error> {
        let rest = self.lines.get(self.at.get()..).unwrap_or_default().to_vec();
        let lines = take(rest, max_lines);
        self.at.set(self.at.get() + lines.len());
        Ok(lines)
    }

    fn commit(&self) -> Result<(), Error> {
        self.cursors.borrow_mut().insert(self.name.clone(), self.at.get());
        Ok(())
    }
}
