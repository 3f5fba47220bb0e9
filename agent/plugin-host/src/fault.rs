//! Why a run gave no report. Whatever it is, the check is `unknown`: none of
//! these says anything about the target.

use crate::limits;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The JSON pointer of the wrong value; empty: the whole.
    pub pointer: String,
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `/url` reads as `url`: the check's `with:` is rarely nested.
        match self.pointer.trim_start_matches('/') {
            "" => f.write_str(&self.message),
            key => write!(f, "{key}: {}", self.message),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the plugin refuses its configuration: {}", list(.0))]
    ConfigInvalid(Vec<ConfigProblem>),
    #[error("the check broke: {0}")]
    Broke(String),
    #[error(
        "the plugin computed for more than {} ms (or {} ms on a busy host) and was stopped",
        limits::GUEST_CPU_MAX.as_millis(),
        limits::GUEST_ON_THREAD_MAX.as_millis()
    )]
    CpuExhausted,
    #[error("the plugin wanted more than {} MiB of memory and was stopped", .bytes_max >> 20)]
    MemoryExhausted { bytes_max: usize },
    #[error("the plugin's calls nested too deep for its stack")]
    StackOverflow,
    #[error("the check took longer than its timeout of {} ms and was stopped", .after.as_millis())]
    TimedOut { after: Duration },
    #[error("the plugin called the host more than {} times in one run and was stopped", limits::HOST_CALLS_MAX)]
    HostCallsExhausted,
    #[error("the plugin handed the host more than {} KiB in one call and was stopped", limits::HOST_CALL_BYTES_MAX >> 10)]
    HostCallTooLarge,
    #[error("the plugin crashed: {0}")]
    Trapped(String),
}

impl Fault {
    /// Whether the plugin itself broke, whatever its target or its
    /// configuration do.
    pub fn is_the_plugins(&self) -> bool {
        !matches!(self, Fault::ConfigInvalid(_) | Fault::Broke(_) | Fault::TimedOut { .. })
    }
}

fn list(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("; ")
}
