//! Whether containers run and are healthy.

use hostler_plugin_sdk::{Check, ConfigError, Container as Found, Host, Report, Sample, Status, export_check, growth};
use serde::Deserialize;
use std::time::Duration;

pub struct Container;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    name: String,
    min: Option<usize>,
    #[serde(default)]
    health: bool,
    restarts_warn: Option<u64>,
}

/// What the agent tells of at most.
const CONTAINERS_MAX: u32 = 200;

const RESTARTS_WITHIN: Duration = Duration::from_secs(3600);

impl Check for Container {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        if options.name.is_empty() || options.name.contains(['/', ' ']) {
            wrong("/name", "is no container's name");
        }
        if !options.name.contains('*') && options.min.is_some_and(|min| min > 1) {
            wrong("/min", "is above 1, and a name without * is one container's");
        }
        if options.min.is_some_and(|min| min > CONTAINERS_MAX as usize) {
            wrong("/min", "is more than the agent looks at, which are 200");
        }
        if options.restarts_warn == Some(0) {
            wrong("/restarts_warn", "is 0, so it would always be reached");
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let found = host.containers(&options.name, CONTAINERS_MAX)?;
        let restarts: Vec<(&str, u64)> = found.iter().map(|one| (one.name.as_str(), one.restarts.into())).collect();
        let grown = match options.restarts_warn {
            Some(_) => growth(host, "restarts", RESTARTS_WITHIN, &restarts)?,
            None => vec![0; found.len()],
        };
        let restarts = found
            .iter()
            .map(|one| Sample::counter("container_restarts_total", one.restarts.into()).attr("name", &one.name));
        let running = found.iter().filter(|one| one.state == "running").count();
        let samples: Vec<Sample> = restarts.chain([Sample::gauge("container_running", running as f64)]).collect();
        host.graph(&samples);
        Ok(judge(options, &found, &grown))
    }
}

fn line(one: &Found) -> String {
    let health = one.health.as_ref().map(|health| format!(", {health}")).unwrap_or_default();
    match one.state.as_str() {
        "running" => format!("{} running{health}", one.name),
        "exited" | "dead" => format!("{} {} ({})", one.name, one.state, one.exit_code),
        state => format!("{} {state}", one.name),
    }
}

/// Whether it does what it is there for. Health is unsaid until a check is over.
fn is_up(one: &Found) -> bool {
    one.state == "running" && one.health.as_deref() != Some("unhealthy")
}

/// What to say of one that is up, if something.
fn complaint(options: &Options, one: &Found, grown: u64) -> Option<String> {
    if options.restarts_warn.is_some_and(|warn| grown >= warn) {
        return Some(format!("{}, restarted {grown} times lately", line(one)));
    }
    let unasked = options.health && one.health.is_none();
    unasked.then(|| format!("{} without a health check", line(one)))
}

fn judge(options: &Options, found: &[Found], grown: &[u64]) -> Report {
    let (up, down): (Vec<_>, Vec<_>) = found.iter().zip(grown).partition(|(one, _)| is_up(one));
    let complaints = up.iter().filter_map(|(one, grown)| complaint(options, one, **grown));
    let wrong: Vec<String> = down.iter().map(|(one, _)| line(one)).chain(complaints).collect();
    let count = format!("{} of {} up", up.len(), found.len());
    let enough = up.len() >= options.min.unwrap_or(found.len().max(1));
    let status = match (enough, wrong.is_empty()) {
        (false, _) => Status::Critical,
        (true, false) => Status::Warning,
        (true, true) => Status::Ok,
    };
    let summary = match (found, wrong.as_slice()) {
        ([], _) => format!("there is no container {}", options.name),
        ([_], [one]) => one.clone(),
        ([one], _) => line(one),
        (_, []) if !enough => format!("{count}, want at least {}", options.min.unwrap_or_default()),
        (_, []) => count,
        (_, [one]) => format!("{one}; {count}"),
        (_, [first, others @ ..]) => format!("{first}, and {} more; {count}", others.len()),
    };
    let mut details: Vec<String> =
        down.iter().chain(&up).map(|(one, _)| format!("{} {}", line(one), one.image)).collect();
    details.truncate(CONTAINERS_MAX as usize);
    Report::new(status, summary).details(details.join("\n")).attr("up", up.len()).attr("containers", found.len())
}

export_check!(Container);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn container(name: &str, state: &str, health: Option<&str>) -> Found {
        let (name, state) = (name.to_owned(), state.to_owned());
        Found { name, state, health: health.map(str::to_owned), exit_code: 137, ..Found::default() }
    }

    fn running(name: &str) -> Found {
        container(name, "running", None)
    }

    fn check(config: &str, host: &FakeHost) -> (Status, String) {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Container::problems(&options), [], "{config}");
        let report = Container::run(&options, host).expect("a report");
        (report.status, report.summary)
    }

    fn says(config: &str, containers: Vec<Found>) -> (Status, String) {
        check(config, &FakeHost { containers: Some(containers), ..FakeHost::default() })
    }

    const ONE: &str = r#"{"name": "a"}"#;

    #[test]
    fn one_runs_and_is_healthy() {
        assert_eq!(says(ONE, vec![running("a")]), (Status::Ok, "a running".into()));
        let healthy = says(ONE, vec![container("a", "running", Some("healthy"))]);
        assert_eq!(healthy, (Status::Ok, "a running, healthy".into()));
        assert_eq!(says(ONE, vec![container("a", "running", Some("starting"))]).0, Status::Ok);
        let unhealthy = says(ONE, vec![container("a", "running", Some("unhealthy"))]);
        assert_eq!(unhealthy, (Status::Critical, "a running, unhealthy".into()));
        let killed = says(ONE, vec![container("a", "exited", None)]);
        assert_eq!(killed, (Status::Critical, "a exited (137)".into()));
        assert_eq!(says(ONE, vec![container("a", "restarting", None)]).0, Status::Critical);
        assert_eq!(says(ONE, Vec::new()), (Status::Critical, "there is no container a".into()));
        let unasked = says(r#"{"name": "a", "health": true}"#, vec![running("a")]);
        assert_eq!(unasked, (Status::Warning, "a running without a health check".into()));
    }

    #[test]
    fn of_several_enough_run() {
        let (all, two) = (r#"{"name": "*"}"#, r#"{"name": "*", "min": 2}"#);
        let down = || container("c", "exited", None);
        assert_eq!(says(all, vec![running("a"), running("b")]), (Status::Ok, "2 of 2 up".into()));
        let one = says(all, vec![running("a"), running("b"), down()]);
        assert_eq!(one, (Status::Critical, "c exited (137); 2 of 3 up".into()));
        assert_eq!(says(two, vec![running("a"), running("b"), down()]).0, Status::Warning);
        let most = says(two, vec![running("a"), down(), down()]);
        assert_eq!(most, (Status::Critical, "c exited (137), and 1 more; 1 of 3 up".into()));
        let few = says(r#"{"name": "*", "min": 3}"#, vec![running("a"), running("b")]);
        assert_eq!(few, (Status::Critical, "2 of 2 up, want at least 3".into()));
        assert_eq!(says(r#"{"name": "*", "min": 0}"#, Vec::new()).0, Status::Ok);
    }

    #[test]
    fn restarts_are_told_while_they_are_new() {
        let mut host = FakeHost::default();
        let mut run = |minutes: u64, restarts: u32| {
            host.wall += minutes * 60;
            host.containers = Some(vec![Found { restarts, ..running("a") }]);
            check(r#"{"name": "a", "restarts_warn": 2}"#, &host)
        };
        assert_eq!(run(0, 9).0, Status::Ok);
        assert_eq!(run(5, 11), (Status::Warning, "a running, restarted 2 times lately".into()));
        assert_eq!(run(40, 11).0, Status::Warning);
        assert_eq!(run(40, 11).0, Status::Ok);
        assert_eq!(host.samples.borrow().last(), Some(&Sample::gauge("container_running", 1.0)));
    }

    #[test]
    fn without_the_grant_there_is_no_report() {
        let options = read_options(ONE).expect("options");
        assert_eq!(Container::run(&options, &FakeHost::default()), Err("denied: grants.containers".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"name": "/a"}"#, "/name"),
            (r#"{"name": "a", "min": 2}"#, "/min"),
            (r#"{"name": "*", "min": 201}"#, "/min"),
            (r#"{"name": "a", "restarts_warn": 0}"#, "/restarts_warn"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Container::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
