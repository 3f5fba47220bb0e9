//! Whether systemd's units are in the state they should be in.

use hostler_plugin_sdk::{Check, ConfigError, Host, Report, Sample, Status, Unit as Found, export_check, growth};
use serde::Deserialize;
use std::time::Duration;

pub struct Unit;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    name: String,
    state: Option<States>,
    min: Option<usize>,
    restarts_warn: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a state like active, or a list of them")]
pub enum States {
    One(String),
    List(Vec<String>),
}

/// A host has some hundred.
const UNITS_MAX: u32 = 1000;

/// Counters and lines of details, of those that have something to say.
const NAMED_MAX: usize = 100;

const RESTARTS_WITHIN: Duration = Duration::from_secs(3600);

/// As node_exporter counts them.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

impl Options {
    fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }

    /// As systemctl reads it.
    fn whole_name(&self) -> String {
        let plain = self.is_pattern() || self.name.contains('.');
        if plain { self.name.clone() } else { format!("{}.service", self.name) }
    }

    fn min(&self) -> usize {
        self.min.unwrap_or(if self.is_pattern() { 0 } else { 1 })
    }

    fn states(&self) -> &[String] {
        match &self.state {
            None => &[],
            Some(States::One(one)) => std::slice::from_ref(one),
            Some(States::List(list)) => list,
        }
    }

    fn is_right(&self, state: &str) -> bool {
        match self.states() {
            [] if self.is_pattern() => state != "failed",
            [] => state == "active",
            states => states.iter().any(|one| one == state),
        }
    }
}

impl Check for Unit {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        if options.name.is_empty() || options.name.contains(['/', ' ']) {
            wrong("/name", "is no unit's name: write it like nginx.service");
        }
        if options.state.is_some() && options.states().is_empty() {
            wrong("/state", "is empty, so no state would be right");
        }
        if !options.states().iter().all(|state| STATES.contains(&state.as_str())) {
            wrong("/state", "is none of active, activating, deactivating, inactive and failed");
        }
        if !options.is_pattern() && options.min() > 1 {
            wrong("/min", "is above 1, and a name without * is one unit's");
        }
        if options.restarts_warn == Some(0) {
            wrong("/restarts_warn", "is 0, so it would always be reached");
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let mut found = host.units(&options.whole_name(), UNITS_MAX)?;
        // Named by another one, and there is no such file.
        found.retain(|one| one.load != "not-found");
        let restarted: Vec<&Found> = found.iter().filter(|one| one.restarts > 0).take(NAMED_MAX).collect();
        host.graph(&samples(&found, &restarted));
        let restarts: Vec<(&str, u64)> = restarted.iter().map(|one| (one.name.as_str(), one.restarts.into())).collect();
        let grown = match options.restarts_warn {
            Some(_) => growth(host, "restarts", RESTARTS_WITHIN, &restarts)?,
            None => Vec::new(),
        };
        let news: Vec<(&str, u64)> = restarts.iter().zip(grown).map(|((name, _), grown)| (*name, grown)).collect();
        Ok(judge(options, &found, &news))
    }
}

fn samples(found: &[Found], restarted: &[&Found]) -> Vec<Sample> {
    let count = |state: &str| found.iter().filter(|one| one.active == state).count() as f64;
    let states = STATES.iter().map(|state| Sample::gauge("node_systemd_units", count(state)).attr("state", *state));
    let restarts = restarted
        .iter()
        .map(|one| Sample::counter("node_systemd_service_restart_total", one.restarts.into()).attr("name", &one.name));
    states.chain(restarts).collect()
}

/// What one unit says, and how bad that is.
fn verdict(options: &Options, one: &Found, grown: u64) -> (Status, String) {
    let fine = matches!(one.result.as_str(), "" | "success");
    let why = if fine || one.result == one.active { &one.sub } else { &one.result };
    let mut line = format!("{} {}", one.name, one.active);
    if *why != one.active {
        line = format!("{line} ({why})");
    }
    // What systemd says while it waits to start a failed one again.
    let waits = one.sub.starts_with("auto-restart");
    // On its way to what may be right.
    let between = matches!(one.active.as_str(), "activating" | "deactivating");
    match options.is_right(&one.active) {
        _ if waits && !options.is_right("failed") => (Status::Critical, line),
        false if between => (Status::Warning, line),
        // It runs on meanwhile.
        false if matches!(one.active.as_str(), "reloading" | "refreshing") && options.is_right("active") => {
            (Status::Ok, line)
        }
        false => (Status::Critical, line),
        true if options.restarts_warn.is_some_and(|warn| grown >= warn) => {
            (Status::Warning, format!("{line}, restarted {grown} times lately"))
        }
        true if !fine && one.active != "failed" => (Status::Warning, line),
        true => (Status::Ok, line),
    }
}

fn judge(options: &Options, found: &[Found], news: &[(&str, u64)]) -> Report {
    let grown = |name: &str| news.iter().find(|(other, _)| *other == name).map_or(0, |(_, grown)| *grown);
    let verdicts: Vec<_> = found.iter().map(|one| verdict(options, one, grown(&one.name))).collect();
    let status = verdicts.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let mut wrong: Vec<&(Status, String)> = verdicts.iter().filter(|(status, _)| *status != Status::Ok).collect();
    wrong.sort_by_key(|(status, _)| std::cmp::Reverse(*status));
    let report = if found.len() < options.min() && !options.is_pattern() {
        Report::critical(format!("there is no unit {}", options.whole_name()))
    } else if found.len() < options.min() {
        Report::critical(format!("{} of at least {} units {}", found.len(), options.min(), options.name))
    } else if let Some((_, first)) = wrong.first() {
        let others = if wrong.len() > 1 { format!(", and {} more", wrong.len() - 1) } else { String::new() };
        Report::new(status, format!("{first}{others}"))
    } else if let [(_, line)] = verdicts.as_slice() {
        Report::ok(line)
    } else {
        let right = if options.state.is_some() { "all as they should be" } else { "none failed" };
        Report::ok(format!("{} units, {right}", found.len()))
    };
    let lines: Vec<&str> = wrong.iter().take(NAMED_MAX).map(|(_, line)| line.as_str()).collect();
    report.details(lines.join("\n")).attr("units", found.len()).attr("wrong", wrong.len())
}

export_check!(Unit);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn unit(name: &str, active: &str, sub: &str, result: &str) -> Found {
        let text = str::to_owned;
        Found {
            name: text(name),
            load: text("loaded"),
            active: text(active),
            sub: text(sub),
            result: text(result),
            ..Found::default()
        }
    }

    fn running(name: &str) -> Found {
        unit(name, "active", "running", "success")
    }

    fn check(config: &str, host: &FakeHost) -> (Status, String) {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Unit::problems(&options), [], "{config}");
        let report = Unit::run(&options, host).expect("a report");
        (report.status, report.summary)
    }

    fn says(config: &str, units: Vec<Found>) -> (Status, String) {
        check(config, &FakeHost { units: Some(units), ..FakeHost::default() })
    }

    const ONE: &str = r#"{"name": "a"}"#;
    const ALL: &str = r#"{"name": "*"}"#;

    #[test]
    fn one_is_active() {
        assert_eq!(says(ONE, vec![running("a.service")]), (Status::Ok, "a.service active (running)".into()));
        let failed = says(ONE, vec![unit("a.service", "failed", "failed", "exit-code")]);
        assert_eq!(failed, (Status::Critical, "a.service failed (exit-code)".into()));
        let stopped = says(ONE, vec![unit("a.service", "inactive", "dead", "success")]);
        assert_eq!(stopped, (Status::Critical, "a.service inactive (dead)".into()));
        let missing = vec![Found { load: "not-found".into(), ..unit("a.service", "inactive", "dead", "") }];
        assert_eq!(says(ONE, missing), (Status::Critical, "there is no unit a.service".into()));
        let loops = says(ONE, vec![unit("a.service", "activating", "auto-restart", "exit-code")]);
        assert_eq!(loops, (Status::Critical, "a.service activating (exit-code)".into()));
    }

    #[test]
    fn between_two_states_is_a_warning() {
        let starts = says(ONE, vec![unit("a.service", "activating", "start", "success")]);
        assert_eq!(starts, (Status::Warning, "a.service activating (start)".into()));
        assert_eq!(says(ONE, vec![unit("a.service", "reloading", "reload", "success")]).0, Status::Ok);
        let oneshot = r#"{"name": "a", "state": ["inactive", "activating"]}"#;
        assert_eq!(says(oneshot, vec![unit("a.service", "activating", "start", "success")]).0, Status::Ok);
        let killed = says(oneshot, vec![unit("a.service", "inactive", "dead", "oom-kill")]);
        assert_eq!(killed, (Status::Warning, "a.service inactive (oom-kill)".into()));
    }

    #[test]
    fn of_many_none_has_failed() {
        let idle = unit("b.timer", "inactive", "dead", "");
        let failed = || unit("c.service", "failed", "failed", "timeout");
        assert_eq!(says(ALL, vec![running("a.service"), idle.clone()]), (Status::Ok, "2 units, none failed".into()));
        let some = says(ALL, vec![running("a.service"), failed(), failed()]);
        assert_eq!(some, (Status::Critical, "c.service failed (timeout), and 1 more".into()));
        let all = r#"{"name": "*", "state": "active", "min": 3}"#;
        assert_eq!(says(all, vec![idle.clone(), idle.clone(), idle]).0, Status::Critical);
        let few = says(all, vec![running("a.service")]);
        assert_eq!(few, (Status::Critical, "1 of at least 3 units *".into()));
        assert_eq!(says(ALL, Vec::new()), (Status::Ok, "0 units, none failed".into()));
    }

    #[test]
    fn restarts_are_told_while_they_are_new() {
        let mut host = FakeHost::default();
        let mut run = |minutes: u64, restarts: u32| {
            host.wall += minutes * 60;
            host.units = Some(vec![Found { restarts, ..running("a.service") }]);
            check(r#"{"name": "a", "restarts_warn": 2}"#, &host)
        };
        assert_eq!(run(0, 9).0, Status::Ok);
        let warned = run(5, 11);
        assert_eq!(warned, (Status::Warning, "a.service active (running), restarted 2 times lately".into()));
        assert_eq!(run(30, 11).0, Status::Warning);
        assert_eq!(run(40, 11).0, Status::Ok);
        assert_eq!(
            host.samples.borrow().last(),
            Some(&Sample::counter("node_systemd_service_restart_total", 11.0).attr("name", "a.service"))
        );
    }

    #[test]
    fn without_the_grant_there_is_no_report() {
        let options = read_options(ONE).expect("options");
        assert_eq!(Unit::run(&options, &FakeHost::default()), Err("denied: grants.units".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"name": "/etc/a.service"}"#, "/name"),
            (r#"{"name": "a", "state": []}"#, "/state"),
            (r#"{"name": "a", "state": "running"}"#, "/state"),
            (r#"{"name": "a", "min": 2}"#, "/min"),
            (r#"{"name": "a", "restarts_warn": 0}"#, "/restarts_warn"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Unit::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
