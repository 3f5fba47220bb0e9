//! How many programs wait for a host's processors, for each of these.

use hostler_plugin_sdk::{Check, ConfigError, Cpu, Host, Report, Sample, Status, export_check};
use serde::Deserialize;

pub struct Load;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "default_warn")]
    warn: f64,
    #[serde(default = "default_critical")]
    critical: f64,
    #[serde(default = "default_of")]
    of: u8,
}

/// Every processor has a second program waiting: answers get slower.
fn default_warn() -> f64 {
    2.0
}

fn default_critical() -> f64 {
    4.0
}

/// Long enough that one job of a minute is no alarm.
fn default_of() -> u8 {
    5
}

impl Check for Load {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if options.warn > options.critical {
            problems.push(ConfigError::new("/warn", "is above critical, so it would never be reached"));
        }
        if options.warn.min(options.critical) <= 0.0 {
            let which = if options.critical <= 0.0 { "/critical" } else { "/warn" };
            problems.push(ConfigError::new(which, "is not above 0, so it would always be reached"));
        }
        if ![1, 5, 15].contains(&options.of) {
            problems.push(ConfigError::new("/of", "is none of 1, 5 and 15, which are what the kernel counts"));
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let found = host.cpu()?;
        host.graph(&[
            Sample::gauge("node_load1", found.load1),
            Sample::gauge("node_load5", found.load5),
            Sample::gauge("node_load15", found.load15),
        ]);
        Ok(judge(options, &found))
    }
}

fn judge(options: &Options, found: &Cpu) -> Report {
    let load = match options.of {
        1 => found.load1,
        15 => found.load15,
        _ => found.load5,
    };
    let cores = found.cores.max(1);
    let per_core = load / f64::from(cores);
    let status = Status::reached(per_core, Some(options.warn), Some(options.critical));
    Report::new(status, format!("load {load:.2} over {} min, {per_core:.2} a core", options.of))
        .attr("load1", format!("{:.2}", found.load1))
        .attr("load5", format!("{:.2}", found.load5))
        .attr("load15", format!("{:.2}", found.load15))
        .attr("cores", cores)
}

export_check!(Load);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn says(config: &str, load5: f64) -> (Status, String) {
        let cpu = Cpu { load1: 40.0, load5, load15: 0.5, cores: 4, ..Cpu::default() };
        let host = FakeHost { cpu: Some(cpu), ..FakeHost::default() };
        let report = Load::run(&read_options(config).expect(config), &host).expect("a report");
        assert_eq!(host.samples.borrow().get(1), Some(&Sample::gauge("node_load5", load5)));
        (report.status, report.summary)
    }

    #[test]
    fn it_is_shared_by_the_processors() {
        assert_eq!(says("{}", 3.1), (Status::Ok, "load 3.10 over 5 min, 0.78 a core".into()));
        assert_eq!(says("{}", 8.0), (Status::Warning, "load 8.00 over 5 min, 2.00 a core".into()));
        assert_eq!(says("{}", 17.0), (Status::Critical, "load 17.00 over 5 min, 4.25 a core".into()));
        assert_eq!(says(r#"{"warn": 0.5, "critical": 1}"#, 3.1).0, Status::Warning);
    }

    #[test]
    fn the_minutes_are_those_asked_for() {
        assert_eq!(says(r#"{"of": 1}"#, 3.1), (Status::Critical, "load 40.00 over 1 min, 10.00 a core".into()));
        assert_eq!(says(r#"{"of": 15}"#, 99.0), (Status::Ok, "load 0.50 over 15 min, 0.12 a core".into()));
    }

    #[test]
    fn without_the_grant_there_is_no_report() {
        let options = read_options("{}").expect("options");
        assert_eq!(Load::run(&options, &FakeHost::default()), Err("denied: grants.system".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"warn": 5}"#, "/warn"),
            (r#"{"warn": 0}"#, "/warn"),
            (r#"{"warn": -1, "critical": 0}"#, "/critical"),
            (r#"{"of": 10}"#, "/of"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Load::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
