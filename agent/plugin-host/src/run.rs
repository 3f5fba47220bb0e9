//! One run of a check: instance, limits, call, verdict.

use crate::fault::{ConfigProblem, Fault};
use crate::host::Plugin;
use crate::limits;
use crate::report::{self, Report};
use crate::ticker::{CpuClock, OnCpu};
use crate::v0_1::{self, State};
use hostler_types::plugin::Grants;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::{Store, Trap, UpdateDeadline};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
    pub fields: Vec<(String, String)>,
}

/// Where a plugin's lines go. Called on the run's own thread: hand them on, do
/// not write them there.
pub type LogSink = Arc<dyn Fn(LogLine) + Send + Sync>;

#[derive(Clone)]
pub struct CheckRunRequest {
    pub config_json: Arc<str>,
    pub grants: Arc<Grants>,
    pub timeout: Duration,
    /// At most [`limits::MEMORY_BYTES_MAX`].
    pub memory_bytes_max: usize,
    pub log: Option<LogSink>,
}

impl CheckRunRequest {
    /// With no grants, the default limits, and no log.
    pub fn new(config_json: impl Into<Arc<str>>) -> CheckRunRequest {
        CheckRunRequest {
            config_json: config_json.into(),
            grants: Arc::default(),
            timeout: limits::RUN_TIMEOUT,
            memory_bytes_max: limits::MEMORY_BYTES_MAX,
            log: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct CheckRun {
    pub outcome: Result<Report, Fault>,
    /// Without the wait for a free slot.
    pub wall: Duration,
    /// Processor time, host calls included.
    pub guest_cpu: Duration,
    pub memory_peak_bytes: usize,
    pub host_calls: u32,
    pub log_lines_dropped: u32,
}

pub(crate) async fn check(plugin: &Plugin, request: CheckRunRequest) -> CheckRun {
    // Nobody closes the semaphore; without a permit the pool itself refuses.
    let _slot = plugin.host.slots.acquire().await.ok();
    let began = Instant::now();
    let timeout = request.timeout;
    let deadline = began + timeout;
    let cpu = Arc::new(CpuClock::default());
    let config_key = hash(&request.config_json);
    let known = plugin.valid_configs.lock().unwrap_or_else(PoisonError::into_inner).contains(&config_key);

    let state = State::new(&plugin.host, request, deadline);
    let tally = state.tally.clone();
    let call = call(plugin, state, known, deadline, cpu.clone());
    let on_cpu = OnCpu { run: Box::pin(call), ticker: &plugin.host.ticker, clock: cpu.clone() };
    let outcome = match tokio::time::timeout_at(deadline.into(), on_cpu).await {
        Ok(Ok(report)) => {
            remember(plugin, config_key, known);
            Ok(report)
        }
        Ok(Err(fault)) => {
            if !matches!(fault, Fault::ConfigInvalid(_)) {
                tracing::debug!(%fault, "check run gave no report");
            }
            Err(fault)
        }
        Err(_elapsed) => Err(Fault::TimedOut { after: timeout }),
    };
    let tally = tally.read();
    CheckRun {
        outcome,
        wall: began.elapsed(),
        guest_cpu: cpu.used(),
        memory_peak_bytes: tally.memory_peak_bytes,
        host_calls: tally.host_calls,
        log_lines_dropped: tally.log_lines_dropped,
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn remember(plugin: &Plugin, config_key: u64, known: bool) {
    if !known {
        let mut valid = plugin.valid_configs.lock().unwrap_or_else(PoisonError::into_inner);
        if valid.len() >= limits::CONFIGS_REMEMBERED_MAX {
            valid.clear();
        }
        valid.insert(config_key);
    }
}

async fn call(
    plugin: &Plugin,
    state: State,
    config_known: bool,
    deadline: Instant,
    cpu: Arc<CpuClock>,
) -> Result<Report, Fault> {
    let mut store = Store::try_new(&plugin.host.engine, state).map_err(|error| Fault::Trapped(format!("{error:#}")))?;
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(limits::HOST_CALL_BYTES_MAX);
    store.set_max_component_handles(limits::HANDLES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut store| {
        let state = store.data_mut();
        if cpu.used_by_now() >= limits::GUEST_CPU_MAX || cpu.on_thread_by_now() >= limits::GUEST_ON_THREAD_MAX {
            return Err(state.stop(Fault::CpuExhausted));
        }
        if Instant::now() >= deadline {
            return Err(state.stop(Fault::TimedOut { after: state.request.timeout }));
        }
        // Tokio's own yield lets timers and sockets have their turn; waking
        // at once would go round the run queue without looking at them.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    let result = guest(plugin, &mut store, config_known).await;
    result.unwrap_or_else(|error| Err(fault(store.data_mut(), &error)))
}

async fn guest(
    plugin: &Plugin,
    store: &mut Store<State>,
    config_known: bool,
) -> wasmtime::Result<Result<Report, Fault>> {
    let check = plugin.check.instantiate_async(&mut *store).await?;
    if !config_known {
        let config = store.data().request.config_json.clone();
        store.data_mut().configuring = true;
        let answer = check.hostler_plugin_lifecycle().call_configure(&mut *store, &config).await?;
        store.data_mut().configuring = false;
        if let Err(problems) = answer {
            let problems = problems
                .into_iter()
                .take(CONFIG_PROBLEMS_MAX)
                .map(|one| ConfigProblem { pointer: short(one.pointer), message: short(one.message) })
                .collect();
            return Ok(Err(Fault::ConfigInvalid(problems)));
        }
    }
    Ok(match check.hostler_plugin_check_api().call_run(&mut *store).await? {
        Ok(report) => Ok(v0_1::report(report)),
        Err(broke) => Err(Fault::Broke(short(broke))),
    })
}

/// As many as anybody reads at once.
const CONFIG_PROBLEMS_MAX: usize = 20;

fn short(text: String) -> String {
    report::cap(text, limits::FAULT_BYTES_MAX, &mut false)
}

/// What ended the guest: our own reason first, then what the engine says.
fn fault(state: &mut State, error: &wasmtime::Error) -> Fault {
    if let Some(fault) = state.take_stop() {
        return fault;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Fault::StackOverflow,
        Some(Trap::UnreachableCodeReached) => match state.last_error_line.take() {
            // A Rust guest's panic is logged, then traps.
            Some(line) => Fault::Trapped(short(line)),
            None => Fault::Trapped("it reached `unreachable`, as a panic or an abort does".to_owned()),
        },
        Some(trap) => Fault::Trapped(trap.to_string()),
        None => Fault::Trapped(short(format!("{error:#}"))),
    }
}
