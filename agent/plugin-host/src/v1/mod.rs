//! Version 1 of the interface, the host's side. One such folder per major
//! version. Here the interface's words become [`Call`]s and answers become the
//! interface's words; who answers is the run's session.

mod basics;
mod convert;
mod exports;
mod http;
mod machine;
mod network;

use crate::answer::{Answer, Sample};
use crate::call::{Call, CallError, Session};
use crate::fault::Fault;
use crate::host::PluginHost;
use crate::limits;
use crate::run::RunRequest;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;
use wasmtime::component::{HasSelf, Linker, ResourceTable};

/// How every import begins, and how those of this version end.
pub(crate) const IMPORTS: &str = "hostler:host/";
pub(crate) const VERSION: &str = "@1.";

mod bindings {
    #![allow(unused_qualifications, clippy::all, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../../wit/1.0",
        world: "check",
        imports: {
            "hostler:host/clock.now": async | trappable,
            "hostler:host/random.bytes": async | trappable,
            "hostler:host/kv.get": async | trappable,
            "hostler:host/kv.set": async | trappable,
            "hostler:host/kv.delete": async | trappable,
            "hostler:host/kv.compare-and-set": async | trappable,
            "hostler:host/secrets.get": async | trappable,
            "hostler:host/secrets-reveal.reveal": async | trappable,
            "hostler:host/http.[method]request.send": async | trappable,
            "hostler:host/tcp.[static]connection.connect": async | trappable,
            "hostler:host/tcp.[static]connection.connect-unix": async | trappable,
            "hostler:host/tcp.[method]connection.start-tls": async | trappable,
            "hostler:host/tcp.[method]connection.send": async | trappable,
            "hostler:host/tcp.[method]connection.send-secret": async | trappable,
            "hostler:host/tcp.[method]connection.receive": async | trappable,
            "hostler:host/tls.inspect": async | trappable,
            "hostler:host/dns.query": async | trappable,
            "hostler:host/icmp.ping": async | trappable,
            "hostler:host/files.stat-path": async | trappable,
            "hostler:host/files.read": async | trappable,
            "hostler:host/files.glob": async | trappable,
            "hostler:host/files.[static]cursor.open": async | trappable,
            "hostler:host/files.[method]cursor.lines": async | trappable,
            "hostler:host/files.[method]cursor.commit": async | trappable,
            "hostler:host/commands.run": async | trappable,
            "hostler:host/system.get-cpu": async | trappable,
            "hostler:host/system.get-memory": async | trappable,
            "hostler:host/system.get-filesystems": async | trappable,
            "hostler:host/system.get-networks": async | trappable,
            "hostler:host/system.get-disks": async | trappable,
            "hostler:host/system.get-machine": async | trappable,
            "hostler:host/processes.find": async | trappable,
            "hostler:host/units.find": async | trappable,
            "hostler:host/containers.find": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "hostler:host/secrets.secret": super::basics::SecretName,
            "hostler:host/http.request": super::http::Draft,
            "hostler:host/http.response": crate::answer::HttpResponse,
            "hostler:host/tcp.connection": super::network::Connection,
            "hostler:host/files.cursor": super::machine::Cursor,
        },
    });
}

/// What the other worlds export; what they import is the same.
macro_rules! exports {
    ($module:ident, $world:literal, $interface:literal, {$($with:tt)*}) => {
        mod $module {
            #![allow(unused_qualifications, clippy::all, reason = "generated")]
            wasmtime::component::bindgen!({
                path: "../../wit/1.0",
                inline: $interface,
                world: $world,
                exports: { default: async },
                with: { $($with)* },
            });
        }
    };
}
exports!(
    collector,
    "host:exports/collector",
    "package host:exports; world collector { export hostler:plugin/lifecycle@1.0.0; export hostler:plugin/collector-api@1.0.0; }",
    {}
);
exports!(
    notifier,
    "host:exports/notifier",
    "package host:exports; world notifier { export hostler:plugin/lifecycle@1.0.0; export hostler:plugin/notifier-api@1.0.0; }",
    { "hostler:host/types@1.0.0": super::bindings::hostler::host::types }
);
exports!(
    action,
    "host:exports/action",
    "package host:exports; world action { export hostler:plugin/lifecycle@1.0.0; export hostler:plugin/action-api@1.0.0; }",
    { "hostler:host/types@1.0.0": super::bindings::hostler::host::types }
);

use bindings::exports::hostler::plugin::{check_api, lifecycle};
use bindings::hostler::host as wit;
pub(crate) use exports::Exports;

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::Check::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// What is counted during a run and read after it, even if it was dropped.
#[derive(Default)]
pub(crate) struct Tally {
    memory_peak_bytes: AtomicUsize,
    calls: AtomicU32,
    bytes: AtomicU64,
    log_lines_dropped: AtomicU32,
}

pub(crate) struct Counts {
    pub(crate) memory_peak_bytes: usize,
    pub(crate) calls: u32,
    pub(crate) bytes: u64,
    pub(crate) log_lines_dropped: u32,
}

impl Tally {
    pub(crate) fn read(&self) -> Counts {
        Counts {
            memory_peak_bytes: self.memory_peak_bytes.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            log_lines_dropped: self.log_lines_dropped.load(Ordering::Relaxed),
        }
    }

    fn carry(&self, bytes: usize) {
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// What belongs to one run.
pub(crate) struct State {
    pub(crate) request: RunRequest,
    session: Box<dyn Session>,
    began: Instant,
    deadline: Instant,
    /// While the plugin judges its configuration nothing of the host is given.
    pub(crate) configuring: bool,
    pub(crate) tally: Arc<Tally>,
    pub(crate) memory: MemoryLimit,
    pub(crate) samples: Vec<Sample>,
    log_lines: u32,
    log_bytes: usize,
    pub(crate) last_error_line: Option<String>,
    table: ResourceTable,
    stopped: Option<Fault>,
}

impl State {
    pub(crate) fn new(host: &Arc<PluginHost>, request: RunRequest, deadline: Instant) -> State {
        let tally = Arc::new(Tally::default());
        let bytes_max = request.memory_bytes_max.min(limits::MEMORY_BYTES_MAX);
        State {
            memory: MemoryLimit { bytes_max, bytes: 0, exceeded: false, tally: tally.clone() },
            session: host.backend.session(&request.context),
            request,
            began: Instant::now(),
            deadline,
            configuring: false,
            tally,
            samples: Vec::new(),
            log_lines: 0,
            log_bytes: 0,
            last_error_line: None,
            table: ResourceTable::new(),
            stopped: None,
        }
    }

    /// Ends the run: the guest gets a trap, the caller this fault.
    pub(crate) fn stop(&mut self, fault: Fault) -> wasmtime::Error {
        let error = wasmtime::Error::msg(fault.to_string());
        self.stopped.get_or_insert(fault);
        error
    }

    pub(crate) fn take_stop(&mut self) -> Option<Fault> {
        if self.memory.exceeded {
            return Some(Fault::MemoryExhausted { bytes_max: self.memory.bytes_max });
        }
        self.stopped.take()
    }

    /// Every host call begins with this.
    fn charge(&mut self) -> wasmtime::Result<()> {
        if self.tally.calls.fetch_add(1, Ordering::Relaxed) >= limits::HOST_CALLS_MAX {
            return Err(self.stop(Fault::HostCallsExhausted));
        }
        Ok(())
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Everything beyond the sandbox goes through here: counted, judged, timed,
    /// answered.
    async fn ask(&mut self, call: Call) -> wasmtime::Result<Result<Answer, wit::types::Error>> {
        self.charge()?;
        Ok(self.answer(call).await.map_err(wit::types::Error::from))
    }

    async fn answer(&mut self, call: Call) -> Result<Answer, CallError> {
        if self.configuring && !matches!(call, Call::Now | Call::Random { .. }) {
            return Err(CallError::Denied("configure may not ask the host for anything".to_owned()));
        }
        let need = call.need()?;
        if !self.request.context.grants.allows(&need) {
            return Err(CallError::denied(&need));
        }
        self.tally.carry(call.bytes());
        let left = self.remaining().saturating_sub(limits::HOST_CALL_MARGIN);
        let limit = call.timeout().map_or(left, |own| own.min(left));
        let answer = tokio::time::timeout(limit, self.session.call(call)).await.unwrap_or(Err(CallError::Timeout))?;
        self.tally.carry(answer.bytes());
        Ok(answer)
    }
}

/// Takes the one kind of answer that a call has.
macro_rules! take {
    ($asked:expr, $answer:ident) => {
        match $asked {
            Ok(crate::answer::Answer::$answer(value)) => Ok(value.into()),
            Ok(_) => Err(crate::v1::mismatched()),
            Err(error) => Err(error),
        }
    };
    ($asked:expr) => {
        match $asked {
            Ok(crate::answer::Answer::Done) => Ok(()),
            Ok(_) => Err(crate::v1::mismatched()),
            Err(error) => Err(error),
        }
    };
}
use take;

/// Only a backend that mixes up its calls gets here.
fn mismatched() -> wit::types::Error {
    CallError::other("host", "the answer is of another kind than the call").into()
}

/// Memory of all of a run's linear memories together.
pub(crate) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    exceeded: bool,
    tally: Arc<Tally>,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self.bytes.saturating_add(desired.saturating_sub(current));
        if total > self.bytes_max {
            // Told as the limit that it is, instead of as whatever a language's
            // allocator does when it gets nothing.
            self.exceeded = true;
            return Err(wasmtime::Error::msg("memory limit reached"));
        }
        self.bytes = total;
        self.tally.memory_peak_bytes.fetch_max(total, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= maximum.unwrap_or(usize::MAX).min(limits::TABLE_ELEMENTS_MAX))
    }

    fn instances(&self) -> usize {
        limits::PARTS_PER_COMPONENT as usize
    }

    fn tables(&self) -> usize {
        limits::PARTS_PER_COMPONENT as usize
    }

    fn memories(&self) -> usize {
        limits::PARTS_PER_COMPONENT as usize
    }
}
