//! Whether somebody takes connections, and answers as it should.

use hostler_plugin_sdk::units::{self, format_micros};
use hostler_plugin_sdk::{Check, ConfigError, Connection, Error, Host, Report, Sample, Status, export_check};
use serde::Deserialize;
use std::time::Duration;

pub struct Tcp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    host: Option<String>,
    port: Option<u16>,
    unix: Option<String>,
    #[serde(default)]
    tls: bool,
    send: Option<String>,
    expect: Option<String>,
    #[serde(default, deserialize_with = "units::duration")]
    warn: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    critical: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    timeout: Option<Duration>,
}

/// A greeting or an answer to a ping; what is longer is no sign of life but data.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// Of an answer, as much as fits a line.
const SHOWN_LETTERS_MAX: usize = 80;

impl Check for Tcp {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        match (&options.unix, options.port) {
            (None, None) => wrong("/port", "is missing, or unix instead of it"),
            (None, Some(0)) => wrong("/port", "is 0, which nobody listens at"),
            (Some(path), _) if !path.starts_with('/') => wrong("/unix", "is no absolute path"),
            (Some(_), Some(_)) => wrong("/port", "goes with host, not with unix"),
            _ => {}
        }
        if options.unix.is_some() && options.host.is_some() {
            wrong("/host", "goes with port, not with unix");
        }
        if options.unix.is_some() && options.tls {
            wrong("/tls", "needs a host's name for its certificate, which a Unix socket has not");
        }
        if options.expect.as_deref() == Some("") {
            wrong("/expect", "is empty, so every answer has it");
        }
        if options.warn.zip(options.critical).is_some_and(|(warn, critical)| warn > critical) {
            wrong("/warn", "is above critical, so it would never be reached");
        }
        if options.timeout.zip(options.critical.or(options.warn)).is_some_and(|(whole, part)| part >= whole) {
            wrong("/timeout", "is not above the thresholds, so they would never be reached");
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let began = host.remaining();
        let deadline = options.timeout.unwrap_or(began);
        let took = || began.saturating_sub(host.remaining());
        let left = || deadline.saturating_sub(took());
        let connection = match connect(options, host, left) {
            Ok(connection) => connection,
            Err(error) => return failed(error, "no connection", deadline),
        };
        let connected = took();
        host.graph(&[Sample::gauge("probe_duration_seconds", connected.as_secs_f64())]);
        let micros = u64::try_from(connected.as_micros()).unwrap_or(u64::MAX);
        let status = Status::reached(connected, options.warn, options.critical);
        let report = Report::new(status, format!("connected in {}", format_micros(micros))).attr("connect_us", micros);
        match talk(options, &connection, left) {
            Ok(answer) => Ok(judge(options, report, &answer)),
            Err(error) => failed(error, "connected, but no answer", deadline),
        }
    }
}

fn connect<H: Host>(options: &Options, host: &H, left: impl Fn() -> Duration) -> Result<H::Connection, Error> {
    if let Some(path) = &options.unix {
        return host.connect_unix(path, left());
    }
    let name = options.host.as_deref().unwrap_or("127.0.0.1");
    let connection = host.connect(name, options.port.unwrap_or_default(), left())?;
    if options.tls {
        connection.start_tls(name, left())?;
    }
    Ok(connection)
}

fn failed(error: Error, what: &str, deadline: Duration) -> Result<Report, String> {
    match error {
        Error::Timeout => Ok(Report::critical(format!("{what} within {} ms", deadline.as_millis()))),
        Error::Unreachable(why) => Ok(Report::critical(why)),
        // Not the target's doing.
        error => Err(error.to_string()),
    }
}

/// What came, until it has what is expected, the peer closed, or it is too long.
/// A peer that says something else and then waits has answered too.
fn talk(options: &Options, connection: &impl Connection, left: impl Fn() -> Duration) -> Result<String, Error> {
    if let Some(text) = &options.send {
        connection.send(text.as_bytes())?;
    }
    let Some(expect) = &options.expect else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    loop {
        let room = ANSWER_BYTES_MAX - bytes.len().min(ANSWER_BYTES_MAX);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if room == 0 || text.contains(expect) {
            return Ok(text);
        }
        match connection.receive(u32::try_from(room).unwrap_or(u32::MAX), left()) {
            Ok(more) if more.is_empty() => return Ok(text),
            Ok(more) => bytes.extend(more),
            Err(Error::Timeout) if !text.is_empty() => return Ok(text),
            Err(error) => return Err(error),
        }
    }
}

fn judge(options: &Options, report: Report, answer: &str) -> Report {
    let Some(expect) = &options.expect else { return report };
    let shown: String = answer.trim_end().chars().take(SHOWN_LETTERS_MAX).collect();
    if answer.contains(expect) {
        let summary = format!("{}, got {expect:?}", report.summary);
        return Report { summary, ..report };
    }
    let got = if answer.is_empty() { "closed without an answer".to_owned() } else { format!("got {shown:?}") };
    Report { status: Status::Critical, summary: format!("{got}, want {expect:?}"), ..report }
}

export_check!(Tcp);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn check(config: &str, connection: Result<&[&str], Error>, connect_ms: u64) -> Result<Report, String> {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Tcp::problems(&options), []);
        let connection = connection.map(|pieces| pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect());
        let connect_takes = Duration::from_millis(connect_ms);
        Tcp::run(&options, &FakeHost { connection: Some(connection), connect_takes, ..FakeHost::default() })
    }

    fn says(config: &str, connection: Result<&[&str], Error>, connect_ms: u64) -> (Status, String) {
        let report = check(config, connection, connect_ms).expect("a report");
        (report.status, report.summary)
    }

    #[test]
    fn the_time_to_connect_decides() {
        let config = r#"{"port": 80, "warn": "100ms", "critical": "1s"}"#;
        assert_eq!(says(config, Ok(&[]), 2), (Status::Ok, "connected in 2.0 ms".into()));
        assert_eq!(says(config, Ok(&[]), 100), (Status::Warning, "connected in 100 ms".into()));
        assert_eq!(says(config, Ok(&[]), 1200), (Status::Critical, "connected in 1.2 s".into()));
        assert_eq!(says(r#"{"unix": "/run/x.sock"}"#, Ok(&[]), 900).0, Status::Ok);
    }

    #[test]
    fn nobody_there_is_critical() {
        let refused = Err(Error::Unreachable("connection refused".into()));
        assert_eq!(says(r#"{"port": 80}"#, refused, 0), (Status::Critical, "connection refused".into()));
        let config = r#"{"host": "db", "port": 80, "timeout": "2s"}"#;
        let late = says(config, Err(Error::Timeout), 0);
        assert_eq!(late, (Status::Critical, "no connection within 2000 ms".into()));
    }

    #[test]
    fn the_answer_is_looked_through() {
        let config = r#"{"port": 6379, "tls": true, "send": "PING\r\n", "expect": "+PONG", "warn": "100ms"}"#;
        assert_eq!(says(config, Ok(&["+PO", "NG\r\n"]), 2), (Status::Ok, "connected in 2.0 ms, got \"+PONG\"".into()));
        assert_eq!(says(config, Ok(&["+PONG\r\n"]), 200).0, Status::Warning);
        let other = says(config, Ok(&["-NOAUTH\r\n"]), 2);
        assert_eq!(other, (Status::Critical, "got \"-NOAUTH\", want \"+PONG\"".into()));
        let none = says(config, Ok(&[]), 2);
        assert_eq!(none, (Status::Critical, "closed without an answer, want \"+PONG\"".into()));
        let endless = "x".repeat(ANSWER_BYTES_MAX);
        assert_eq!(says(config, Ok(&[&endless, "+PONG"]), 2).0, Status::Critical);
    }

    #[test]
    fn what_is_not_the_targets_doing_is_no_report() {
        let denied = check(r#"{"port": 80}"#, Err(Error::Denied("grants.tcp".into())), 0);
        assert_eq!(denied, Err("denied: grants.tcp".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{}"#, "/port"),
            (r#"{"port": 0}"#, "/port"),
            (r#"{"unix": "x"}"#, "/unix"),
            (r#"{"unix": "/x", "port": 1}"#, "/port"),
            (r#"{"unix": "/x", "host": "a"}"#, "/host"),
            (r#"{"unix": "/x", "tls": true}"#, "/tls"),
            (r#"{"port": 1, "expect": ""}"#, "/expect"),
            (r#"{"port": 1, "warn": "2s", "critical": "1s"}"#, "/warn"),
            (r#"{"port": 1, "warn": "1s", "timeout": "1s"}"#, "/timeout"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Tcp::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
