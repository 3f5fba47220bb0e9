//! Whether a host answers pings, how many and how fast.

use hostler_plugin_sdk::units::{self, Percent, format_micros};
use hostler_plugin_sdk::{Check, ConfigError, Echo, Error, Host, Report, Sample, Status, export_check};
use serde::Deserialize;
use std::time::Duration;

pub struct Ping;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    host: String,
    #[serde(default = "default_count")]
    count: u32,
    #[serde(default = "default_loss_warn")]
    loss_warn: Percent,
    #[serde(default = "default_loss_critical")]
    loss_critical: Percent,
    #[serde(default, deserialize_with = "units::duration")]
    warn: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    critical: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    timeout: Option<Duration>,
}

fn default_count() -> u32 {
    5
}

/// Two of five: one is lost on every busy line now and then.
fn default_loss_warn() -> Percent {
    Percent(40.0)
}

fn default_loss_critical() -> Percent {
    Percent(80.0)
}

/// What the agent sends at most.
const COUNT_MAX: u32 = 20;

impl Check for Ping {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        if options.host.is_empty() || options.host.contains([' ', '/']) {
            wrong("/host", "is no name or address");
        }
        if !(1..=COUNT_MAX).contains(&options.count) {
            wrong("/count", "is not from 1 to 20");
        }
        if options.loss_warn > options.loss_critical {
            wrong("/loss_warn", "is above loss_critical, so it would never be reached");
        }
        if options.loss_warn.0 <= 0.0 {
            wrong("/loss_warn", "is 0, so it would always be reached");
        }
        if options.warn.zip(options.critical).is_some_and(|(warn, critical)| warn > critical) {
            wrong("/warn", "is above critical, so it would never be reached");
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let timeout = options.timeout.unwrap_or_else(|| host.remaining());
        let echo = match host.ping(&options.host, options.count, timeout) {
            Ok(echo) => echo,
            Err(Error::Timeout) => return Ok(Report::critical("nothing came back in time")),
            Err(Error::Unreachable(why)) => return Ok(Report::critical(why)),
            // Not the target's doing.
            Err(error) => return Err(error.to_string()),
        };
        let mut samples = vec![Sample::gauge("probe_icmp_loss_ratio", lost_percent(&echo) / 100.0)];
        if echo.received > 0 {
            samples.push(Sample::gauge("probe_icmp_duration_seconds", f64::from(echo.mean_micros) / 1e6));
        }
        host.graph(&samples);
        Ok(judge(options, &echo))
    }
}

fn lost_percent(echo: &Echo) -> f64 {
    match echo.sent {
        0 => 100.0,
        sent => f64::from(sent.saturating_sub(echo.received)) * 100.0 / f64::from(sent),
    }
}

fn judge(options: &Options, echo: &Echo) -> Report {
    let lost = lost_percent(echo);
    let mut status = Status::reached(lost, Some(options.loss_warn.0), Some(options.loss_critical.0));
    let mut summary = format!("{} of {} back", echo.received, echo.sent);
    if echo.received > 0 {
        let mean = Duration::from_micros(echo.mean_micros.into());
        status = status.worst(Status::reached(mean, options.warn, options.critical));
        summary.push_str(&format!(" in {}", format_micros(echo.mean_micros.into())));
        if lost > 0.0 {
            summary.push_str(&format!(", {} % lost", lost.round()));
        }
    }
    Report::new(status, summary)
        .attr("lost_percent", format!("{lost:.0}"))
        .attr("min_us", echo.min_micros)
        .attr("mean_us", echo.mean_micros)
        .attr("max_us", echo.max_micros)
}

export_check!(Ping);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn check(config: &str, echo: Result<Echo, Error>) -> Result<Report, String> {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Ping::problems(&options), []);
        Ping::run(&options, &FakeHost { echo: Some(echo), ..FakeHost::default() })
    }

    fn says(config: &str, received: u32, mean_micros: u32) -> (Status, String) {
        let echo = Echo { sent: 5, received, mean_micros, ..Echo::default() };
        let report = check(config, Ok(echo)).expect("a report");
        (report.status, report.summary)
    }

    const PLAIN: &str = r#"{"host": "192.0.2.1"}"#;

    #[test]
    fn loss_decides() {
        assert_eq!(says(PLAIN, 5, 1_234), (Status::Ok, "5 of 5 back in 1.2 ms".into()));
        assert_eq!(says(PLAIN, 4, 1_234), (Status::Ok, "4 of 5 back in 1.2 ms, 20 % lost".into()));
        assert_eq!(says(PLAIN, 3, 1_234), (Status::Warning, "3 of 5 back in 1.2 ms, 40 % lost".into()));
        assert_eq!(says(PLAIN, 1, 1_234).0, Status::Critical);
        assert_eq!(says(PLAIN, 0, 0), (Status::Critical, "0 of 5 back".into()));
        assert_eq!(says(r#"{"host": "a", "loss_warn": "20%", "loss_critical": 20}"#, 4, 0).0, Status::Critical);
    }

    #[test]
    fn the_round_trip_decides_where_it_was_asked_for() {
        let config = r#"{"host": "a", "warn": "50ms", "critical": "200ms"}"#;
        assert_eq!(says(config, 5, 49_000).0, Status::Ok);
        assert_eq!(says(config, 5, 50_000), (Status::Warning, "5 of 5 back in 50 ms".into()));
        assert_eq!(says(config, 3, 300_000).0, Status::Critical);
    }

    #[test]
    fn what_is_lost_is_drawn_and_what_never_came_is_not() {
        let echo = Echo { sent: 5, ..Echo::default() };
        let host = FakeHost { echo: Some(Ok(echo)), ..FakeHost::default() };
        Ping::run(&read_options(PLAIN).expect("options"), &host).expect("a report");
        assert_eq!(*host.samples.borrow(), [Sample::gauge("probe_icmp_loss_ratio", 1.0)]);
    }

    #[test]
    fn nobody_there_is_critical_and_no_grant_no_report() {
        let unknown = check(PLAIN, Err(Error::Unreachable("no address for a".into()))).expect("a report");
        assert_eq!((unknown.status, unknown.summary.as_str()), (Status::Critical, "no address for a"));
        assert_eq!(check(PLAIN, Err(Error::Timeout)).expect("a report").status, Status::Critical);
        assert_eq!(check(PLAIN, Err(Error::Denied("grants.icmp".into()))), Err("denied: grants.icmp".into()));
        let kernel = Error::Other { key: "icmp".into(), value: "no pings".into() };
        assert_eq!(check(PLAIN, Err(kernel)), Err("icmp: no pings".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"host": "http://x"}"#, "/host"),
            (r#"{"host": "x", "count": 21}"#, "/count"),
            (r#"{"host": "x", "loss_warn": 90}"#, "/loss_warn"),
            (r#"{"host": "x", "loss_warn": 0}"#, "/loss_warn"),
            (r#"{"host": "x", "warn": "2s", "critical": "1s"}"#, "/warn"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Ping::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
