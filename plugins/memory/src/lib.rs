//! How much of a host's memory is used. What the kernel would give back at once,
//! such as its cache of files, is not.

use hostler_plugin_sdk::units::{Percent, format_bytes};
use hostler_plugin_sdk::{Check, ConfigError, Host, Memory as Found, Report, Status, export_check};
use serde::Deserialize;

pub struct Memory;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "default_warn")]
    warn: Percent,
    #[serde(default = "default_critical")]
    critical: Percent,
    swap_warn: Option<Percent>,
    swap_critical: Option<Percent>,
}

fn default_warn() -> Percent {
    Percent(80.0)
}

fn default_critical() -> Percent {
    Percent(90.0)
}

impl Check for Memory {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let never = "is above critical, so it would never be reached";
        if options.warn > options.critical {
            problems.push(ConfigError::new("/warn", never));
        }
        if let (Some(warn), Some(critical)) = (options.swap_warn, options.swap_critical)
            && warn > critical
        {
            problems.push(ConfigError::new("/swap_warn", never));
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let found = host.memory().map_err(|error| error.to_string())?;
        Ok(judge(options, &found))
    }
}

fn share(used: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { used as f64 / of as f64 * 100.0 }
}

fn status(used: f64, warn: Option<Percent>, critical: Option<Percent>) -> Status {
    let reached = |limit: Option<Percent>| limit.is_some_and(|limit| used >= limit.0);
    if reached(critical) {
        Status::Critical
    } else if reached(warn) {
        Status::Warning
    } else {
        Status::Ok
    }
}

fn judge(options: &Options, found: &Found) -> Report {
    if found.total == 0 {
        return Report::unknown("this host does not say how much memory it has");
    }
    let used = share(found.total.saturating_sub(found.available), found.total);
    let swap = share(found.swap_used, found.swap_total);
    let memory = status(used, Some(options.warn), Some(options.critical));
    let swapped = status(swap, options.swap_warn, options.swap_critical);
    let mut summary = format!("{} % used, {} available", used.round(), format_bytes(found.available));
    if swapped != Status::Ok {
        summary = format!("{summary}, {} % of swap used", swap.round());
    }
    let worst = match (memory, swapped) {
        (Status::Critical, _) | (_, Status::Critical) => Status::Critical,
        (Status::Warning, _) | (_, Status::Warning) => Status::Warning,
        _ => Status::Ok,
    };
    Report::new(worst, summary)
        .attr("used_percent", format!("{used:.1}"))
        .attr("available_bytes", found.available)
        .attr("swap_used_percent", format!("{swap:.1}"))
}

export_check!(Memory);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    const GIB: u64 = 1 << 30;

    fn says(config: &str, available: u64, swap_used: u64) -> (Status, String) {
        let memory = Found { total: 16 * GIB, available, swap_total: 4 * GIB, swap_used, ..Found::default() };
        let host = FakeHost { memory: Some(memory), ..FakeHost::default() };
        let report = Memory::run(&read_options(config).expect(config), &host).expect("a report");
        (report.status, report.summary)
    }

    #[test]
    fn what_is_available_decides() {
        assert_eq!(says("{}", 8 * GIB, 0), (Status::Ok, "50 % used, 8.0 GiB available".into()));
        assert_eq!(says("{}", 3 * GIB, 0), (Status::Warning, "81 % used, 3.0 GiB available".into()));
        assert_eq!(says("{}", GIB, 0), (Status::Critical, "94 % used, 1.0 GiB available".into()));
        assert_eq!(says(r#"{"warn": 40, "critical": "99%"}"#, 8 * GIB, 0).0, Status::Warning);
    }

    #[test]
    fn swap_counts_where_it_was_asked_for() {
        assert_eq!(says("{}", 8 * GIB, 4 * GIB).0, Status::Ok);
        let config = r#"{"swap_warn": "25%", "swap_critical": "90%"}"#;
        assert_eq!(
            says(config, 8 * GIB, 2 * GIB),
            (Status::Warning, "50 % used, 8.0 GiB available, 50 % of swap used".into())
        );
        assert_eq!(says(config, 8 * GIB, 4 * GIB).0, Status::Critical);
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        let options: Options = read_options(r#"{"warn": 95, "swap_warn": 9, "swap_critical": 8}"#).expect("readable");
        let pointers: Vec<String> = Memory::problems(&options).into_iter().map(|one| one.pointer).collect();
        assert_eq!(pointers, ["/warn", "/swap_warn"]);
    }
}
