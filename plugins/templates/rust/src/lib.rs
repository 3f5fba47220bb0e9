//! How much of this host's memory is used.

use hostler_plugin_sdk::{Check, ConfigError, Host, Memory, Report, Status, export_check};
use serde::Deserialize;

pub struct MemoryCheck;

/// What stands under `with:`, in percent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "default_warn")]
    warn: f64,
    #[serde(default = "default_critical")]
    critical: f64,
}

fn default_warn() -> f64 {
    80.0
}

fn default_critical() -> f64 {
    90.0
}

impl Check for MemoryCheck {
    type Options = Options;

    /// What is wrong with the options, beyond their types.
    fn problems(options: &Options) -> Vec<ConfigError> {
        if options.warn > options.critical {
            vec![ConfigError::new("/warn", "is above critical, so it would never be reached")]
        } else {
            Vec::new()
        }
    }

    /// One run. `Err` means that the check itself broke, which is shown as
    /// unknown; what is wrong with the host is a report.
    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let memory = host.memory()?;
        let used = used_percent(&memory).ok_or("this host does not say how much memory it has")?;
        let status = if used >= options.critical {
            Status::Critical
        } else if used >= options.warn {
            Status::Warning
        } else {
            Status::Ok
        };
        Ok(Report::new(status, format!("{used} % of memory used")).attr("used_percent", used))
    }
}

fn used_percent(memory: &Memory) -> Option<f64> {
    (memory.total > 0).then(|| (memory.used as f64 * 100.0 / memory.total as f64).round())
}

export_check!(MemoryCheck);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn status(options: &str, used: u64) -> Status {
        let memory = Memory { total: 1000, available: 1000 - used, used, ..Memory::default() };
        let host = FakeHost { memory: Some(memory), ..FakeHost::default() };
        let options = read_options(options).expect("options");
        MemoryCheck::run(&options, &host).expect("a report").status
    }

    #[test]
    fn what_is_used_decides() {
        assert_eq!(status("{}", 400), Status::Ok);
        assert_eq!(status("{}", 850), Status::Warning);
        assert_eq!(status(r#"{"critical": 85}"#, 850), Status::Critical);
    }
}
