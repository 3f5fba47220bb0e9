//! One run of a plugin: instance, limits, call, verdict.

use crate::answer::{Instant, Sample};
use crate::call::RunContext;
use crate::fault::{ConfigProblem, Fault};
use crate::host::{Plugin, World};
use crate::limits;
use crate::report::{self, Report};
use crate::ticker::{CpuClock, OnCpu};
use crate::v1::State;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
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

/// What a run is asked to do: a call of one of the plugin's exports.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    Check,
    Collect,
    Notify(Notice),
    Plan { parameters_json: String },
    Apply { parameters_json: String, step: String, idempotency_key: String },
    Undo { parameters_json: String, step: String, idempotency_key: String },
}

impl Work {
    /// Which world has the export.
    pub fn world(&self) -> World {
        match self {
            Work::Check => World::Check,
            Work::Collect => World::Collector,
            Work::Notify(_) => World::Notifier,
            Work::Plan { .. } | Work::Apply { .. } | Work::Undo { .. } => World::Action,
        }
    }
}

/// What came of it, if the plugin itself did not break.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Report(Report),
    Collected,
    Notified(NoticeOutcome),
    Planned(Vec<Step>),
    Applied(Vec<(String, String)>),
    Undone,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    pub id: String,
    pub title: String,
    pub body: String,
    pub state: String,
    pub at: Instant,
    pub attrs: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeOutcome {
    /// What the receiver calls it.
    Delivered(String),
    RetryAfter(Duration),
    Rejected(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub id: String,
    pub summary: String,
    pub reversible: bool,
}

#[derive(Clone)]
pub struct RunRequest {
    pub context: RunContext,
    pub config_json: Arc<str>,
    pub timeout: Duration,
    /// At most [`limits::MEMORY_BYTES_MAX`].
    pub memory_bytes_max: usize,
    pub log: Option<LogSink>,
}

impl RunRequest {
    /// With no grants, the default limits, and no log.
    pub fn new(config_json: impl Into<Arc<str>>) -> RunRequest {
        RunRequest {
            context: RunContext { instance: "".into(), grants: Arc::default() },
            config_json: config_json.into(),
            timeout: limits::RUN_TIMEOUT,
            memory_bytes_max: limits::MEMORY_BYTES_MAX,
            log: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Run {
    pub outcome: Result<Done, Fault>,
    /// What it reported before it ended, however it ended.
    pub samples: Vec<Sample>,
    pub bill: Bill,
}

impl Run {
    /// A check's own.
    pub fn report(&self) -> Result<&Report, Fault> {
        match &self.outcome {
            Ok(Done::Report(report)) => Ok(report),
            Ok(_) => Err(Fault::Broke("it gave no report".to_owned())),
            Err(fault) => Err(fault.clone()),
        }
    }
}

/// What a run cost its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Without the wait for a free slot.
    pub wall: Duration,
    /// Processor time, host calls included.
    pub cpu: Duration,
    pub memory_peak_bytes: usize,
    pub calls: u32,
    /// Carried out of the host and in, as far as a plugin can choose how much.
    pub bytes: u64,
    pub series: usize,
    pub log_lines_dropped: u32,
}

pub(crate) async fn run(plugin: &Plugin, work: Work, request: RunRequest) -> Run {
    // Nobody closes the semaphore; without a permit the pool itself refuses.
    let _slot = plugin.host.slots.acquire().await.ok();
    let began = std::time::Instant::now();
    let timeout = request.timeout;
    let deadline = began + timeout;
    let cpu = Arc::new(CpuClock::default());
    let config_key = hash(&request.config_json);
    let known = plugin.valid_configs.lock().unwrap_or_else(PoisonError::into_inner).contains(&config_key);

    let state = State::new(&plugin.host, request, deadline);
    let tally = state.tally.clone();
    let samples = Arc::new(Mutex::new(Vec::new()));
    let call = call(plugin, work, state, known, deadline, cpu.clone(), samples.clone());
    let on_cpu = OnCpu { run: Box::pin(call), ticker: &plugin.host.ticker, clock: cpu.clone() };
    let outcome = match tokio::time::timeout_at(deadline.into(), on_cpu).await {
        Ok(Ok(done)) => {
            remember(plugin, config_key, known);
            Ok(done)
        }
        Ok(Err(fault)) => {
            if !matches!(fault, Fault::ConfigInvalid(_)) {
                tracing::debug!(%fault, "plugin run ended without a result");
            }
            Err(fault)
        }
        Err(_elapsed) => Err(Fault::TimedOut { after: timeout }),
    };
    let counts = tally.read();
    let samples = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
    let bill = Bill {
        wall: began.elapsed(),
        cpu: cpu.used(),
        memory_peak_bytes: counts.memory_peak_bytes,
        calls: counts.calls,
        bytes: counts.bytes,
        series: samples.len(),
        log_lines_dropped: counts.log_lines_dropped,
    };
    Run { outcome, samples, bill }
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
    work: Work,
    state: State,
    config_known: bool,
    deadline: std::time::Instant,
    cpu: Arc<CpuClock>,
    samples: Arc<Mutex<Vec<Sample>>>,
) -> Result<Done, Fault> {
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
        if std::time::Instant::now() >= deadline {
            return Err(state.stop(Fault::TimedOut { after: state.request.timeout }));
        }
        // Tokio's own yield lets timers and sockets have their turn; waking
        // at once would go round the run queue without looking at them.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    let result = guest(plugin, work, &mut store, config_known).await;
    *samples.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut store.data_mut().samples);
    result.unwrap_or_else(|error| Err(fault(store.data_mut(), &error)))
}

async fn guest(
    plugin: &Plugin,
    work: Work,
    store: &mut Store<State>,
    config_known: bool,
) -> wasmtime::Result<Result<Done, Fault>> {
    let instance = plugin.exports.instantiate(&mut *store).await?;
    if !config_known {
        let config = store.data().request.config_json.clone();
        store.data_mut().configuring = true;
        let answer = instance.configure(&mut *store, &config).await?;
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
    let done = instance.work(&mut *store, work).await?;
    Ok(done.map_err(|broke| Fault::Broke(short(broke))))
}

/// As many as anybody reads at once.
const CONFIG_PROBLEMS_MAX: usize = 20;

fn short(text: String) -> String {
    report::cap(text, limits::FAULT_BYTES_MAX, &mut false)
}

/// How the engine tells of [`limits::HOST_CALL_BYTES_MAX`]; its type is private.
const CARRIED_TOO_MUCH: &str = "fuel allocated for hostcalls has been exhausted";

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
        None if format!("{error:#}").contains(CARRIED_TOO_MUCH) => Fault::HostCallTooLarge,
        None => Fault::Trapped(short(format!("{error:#}"))),
    }
}
