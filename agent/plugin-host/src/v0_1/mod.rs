//! Version 0.1 of the interface, the host's side. One such folder per major
//! version; what they offer is implemented outside of them.

mod basics;
mod http;
mod system;

use crate::fault::Fault;
use crate::host::PluginHost;
use crate::limits;
use crate::report::Report;
use crate::run::CheckRunRequest;
use hostler_types::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;
use wasmtime::component::{HasSelf, Linker, ResourceTable};

/// How every import of this version begins.
pub(crate) const IMPORTS: &str = "hostler:host/";

mod bindings {
    #![allow(unused_qualifications, clippy::all, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../../wit/0.1",
        world: "check",
        imports: {
            "hostler:host/http.[method]request.send": async | trappable,
            "hostler:host/system.get-filesystems": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "hostler:host/http.request": super::http::Draft,
            "hostler:host/http.response": crate::http::Answer,
        },
    });
}

pub(crate) use bindings::CheckPre;
use bindings::exports::hostler::plugin::check_api;
pub(crate) use bindings::hostler::host as wit;

pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    bindings::Check::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

pub(crate) fn report(report: check_api::Report) -> Report {
    use wit::types::Status as Wit;
    let status = match report.status {
        Wit::Ok => Status::Ok,
        Wit::Warning => Status::Warning,
        Wit::Critical => Status::Critical,
        Wit::Unknown => Status::Unknown,
    };
    let attrs = report.attrs.into_iter().map(|one| (one.key, one.value)).collect();
    Report::capped(status, report.summary, report.details, attrs)
}

/// What is counted during a run and read after it, even if it was dropped.
#[derive(Default)]
pub(crate) struct Tally {
    memory_peak_bytes: AtomicUsize,
    host_calls: AtomicU32,
    log_lines_dropped: AtomicU32,
}

pub(crate) struct Counts {
    pub(crate) memory_peak_bytes: usize,
    pub(crate) host_calls: u32,
    pub(crate) log_lines_dropped: u32,
}

impl Tally {
    pub(crate) fn read(&self) -> Counts {
        Counts {
            memory_peak_bytes: self.memory_peak_bytes.load(Ordering::Relaxed),
            host_calls: self.host_calls.load(Ordering::Relaxed),
            log_lines_dropped: self.log_lines_dropped.load(Ordering::Relaxed),
        }
    }
}

/// What belongs to one run.
pub(crate) struct State {
    pub(crate) request: CheckRunRequest,
    host: Arc<PluginHost>,
    began: Instant,
    deadline: Instant,
    /// While the plugin judges its configuration nothing of the host is given.
    pub(crate) configuring: bool,
    pub(crate) tally: Arc<Tally>,
    pub(crate) memory: MemoryLimit,
    log_lines: u32,
    log_bytes: usize,
    http_requests: u32,
    pub(crate) last_error_line: Option<String>,
    table: ResourceTable,
    stopped: Option<Fault>,
}

impl State {
    pub(crate) fn new(host: &Arc<PluginHost>, request: CheckRunRequest, deadline: Instant) -> State {
        let tally = Arc::new(Tally::default());
        let bytes_max = request.memory_bytes_max.min(limits::MEMORY_BYTES_MAX);
        State {
            memory: MemoryLimit { bytes_max, bytes: 0, exceeded: false, tally: tally.clone() },
            request,
            host: host.clone(),
            began: Instant::now(),
            deadline,
            configuring: false,
            tally,
            log_lines: 0,
            log_bytes: 0,
            http_requests: 0,
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
        if self.tally.host_calls.fetch_add(1, Ordering::Relaxed) >= limits::HOST_CALLS_MAX {
            return Err(self.stop(Fault::HostCallsExhausted));
        }
        Ok(())
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The host, unless the plugin is only being configured.
    fn host(&self) -> Result<Arc<PluginHost>, wit::types::Error> {
        if self.configuring {
            return Err(wit::types::Error::Denied("configure may not ask the host for anything".to_owned()));
        }
        Ok(self.host.clone())
    }
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
