//! Whether programs run, how many of them, and what they use together.

mod cpu;

use hostler_plugin_sdk::units::{Size, format_bytes};
use hostler_plugin_sdk::{Check, ConfigError, Host, Process as Found, Report, Sample, Status, export_check};
use serde::Deserialize;

pub struct Process;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    name: String,
    user: Option<String>,
    min: Option<usize>,
    max: Option<usize>,
    memory_warn: Option<Size>,
    memory_critical: Option<Size>,
    cpu_warn: Option<f64>,
    cpu_critical: Option<f64>,
}

/// What the agent tells of at most.
const PROCESSES_MAX: u32 = 1000;

/// Of the details, as many lines as are read by anybody.
const NAMED_MAX: usize = 20;

impl Options {
    fn min(&self) -> usize {
        self.min.unwrap_or(if self.max == Some(0) { 0 } else { 1 })
    }
}

impl Check for Process {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        if options.name.is_empty() || options.name.starts_with('/') {
            wrong("/name", "is no program's name: write it without its path, like nginx");
        }
        if options.max.is_some_and(|max| options.min() > max) {
            wrong("/min", "is above max, so no number would do");
        }
        if options.memory_warn.zip(options.memory_critical).is_some_and(|(warn, critical)| warn > critical) {
            wrong("/memory_warn", "is above memory_critical, so it would never be reached");
        }
        if options.cpu_warn.zip(options.cpu_critical).is_some_and(|(warn, critical)| warn > critical) {
            wrong("/cpu_warn", "is above cpu_critical, so it would never be reached");
        }
        let limits = [options.memory_warn.is_some(), options.memory_critical.is_some()];
        let limits = limits.into_iter().chain([options.cpu_warn.is_some(), options.cpu_critical.is_some()]);
        if options.min() == 0 && options.max.is_none() && !limits.into_iter().any(|set| set) {
            wrong("/min", "is 0 and nothing else is asked, so it would never be critical");
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let found = host.processes(&options.name, PROCESSES_MAX)?;
        let full = found.len() as u64 >= u64::from(PROCESSES_MAX);
        let of_user = |one: &Found| options.user.as_ref().is_none_or(|user| *user == one.user);
        let (zombies, alive): (Vec<_>, Vec<_>) =
            found.into_iter().filter(of_user).partition(|one| one.state == "zombie");
        let cores = cpu::cores_busy(host, &alive)?;
        let sum = Sum { count: alive.len(), full, memory: alive.iter().map(|one| one.resident_bytes).sum(), cores };
        host.graph(&sum.samples(&options.name));
        Ok(judge(options, &sum).details(details(&alive, &zombies)))
    }
}

struct Sum {
    count: usize,
    /// There may be more.
    full: bool,
    memory: u64,
    cores: Option<f64>,
}

impl Sum {
    fn samples(&self, name: &str) -> Vec<Sample> {
        let mut samples = vec![
            Sample::gauge("namedprocess_namegroup_num_procs", self.count as f64),
            Sample::gauge("namedprocess_namegroup_memory_bytes", self.memory as f64).attr("memtype", "resident"),
        ];
        samples.extend(self.cores.map(|cores| Sample::gauge("namedprocess_namegroup_cpu_cores", cores)));
        samples.into_iter().map(|sample| sample.attr("groupname", name)).collect()
    }
}

fn judge(options: &Options, sum: &Sum) -> Report {
    let whose = options.user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default();
    let count = match (sum.count, sum.full) {
        (0, _) => format!("no process {}{whose}", options.name),
        (1, _) => format!("1 process{whose}"),
        (count, full) => format!("{count} processes{whose}{}", if full { " or more" } else { "" }),
    };
    let memory = Status::reached(Size(sum.memory), options.memory_warn, options.memory_critical);
    let cpu = sum.cores.map_or(Status::Ok, |cores| Status::reached(cores, options.cpu_warn, options.cpu_critical));
    let report = if sum.count < options.min() {
        let want = if options.min() > 1 { format!(", want at least {}", options.min()) } else { String::new() };
        Report::critical(format!("{count}{want}"))
    } else if let Some(max) = options.max.filter(|max| sum.count > *max) {
        Report::critical(format!("{count}, want {}", if max == 0 { "none".into() } else { format!("at most {max}") }))
    } else if sum.count == 0 {
        Report::ok(count)
    } else {
        let cores = sum.cores.map(|cores| format!(", {cores:.2} cores")).unwrap_or_default();
        Report::new(memory.worst(cpu), format!("{count}, {}{cores}", format_bytes(sum.memory)))
    };
    let report = report.attr("count", sum.count).attr("resident_bytes", sum.memory);
    match sum.cores {
        Some(cores) => report.attr("cores", format!("{cores:.2}")),
        None => report,
    }
}

/// The largest first, as those are what is looked for.
fn details(alive: &[Found], zombies: &[Found]) -> String {
    let mut alive: Vec<&Found> = alive.iter().collect();
    alive.sort_by_key(|one| std::cmp::Reverse(one.resident_bytes));
    let line = |one: &Found, what: String| format!("{} {} {} {what}", one.pid, one.name, one.user);
    let lines = zombies.iter().map(|one| line(one, "zombie".to_owned()));
    let lines = lines.chain(alive.into_iter().map(|one| line(one, format_bytes(one.resident_bytes))));
    lines.take(NAMED_MAX).collect::<Vec<_>>().join("\n")
}

export_check!(Process);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    const NOW: u64 = 1_000_000;

    fn process(pid: u32, mib: u64, cpu_seconds: f64) -> Found {
        let started = NOW - 10;
        let name = "nginx".to_owned();
        let user = if pid == 1 { "root" } else { "www" }.to_owned();
        Found {
            pid,
            name,
            user,
            state: "sleeping".into(),
            resident_bytes: mib << 20,
            cpu_seconds,
            started,
            ..Found::default()
        }
    }

    fn check(config: &str, host: &FakeHost) -> (Status, String) {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Process::problems(&options), [], "{config}");
        let report = Process::run(&options, host).expect("a report");
        (report.status, report.summary)
    }

    fn says(config: &str, processes: Vec<Found>) -> (Status, String) {
        check(config, &FakeHost { processes: Some(processes), wall: NOW, ..FakeHost::default() })
    }

    const PLAIN: &str = r#"{"name": "nginx"}"#;

    fn three() -> Vec<Found> {
        (1..=3).map(|pid| process(pid, 40, 0.0)).collect()
    }

    #[test]
    fn they_are_counted() {
        assert_eq!(says(PLAIN, three()), (Status::Ok, "3 processes, 120 MiB".into()));
        assert_eq!(says(PLAIN, Vec::new()), (Status::Critical, "no process nginx".into()));
        let few = says(r#"{"name": "nginx", "min": 4}"#, three());
        assert_eq!(few, (Status::Critical, "3 processes, want at least 4".into()));
        let many = says(r#"{"name": "nginx", "max": 2}"#, three());
        assert_eq!(many, (Status::Critical, "3 processes, want at most 2".into()));
        let none = r#"{"name": "nginx", "max": 0}"#;
        assert_eq!(says(none, three()), (Status::Critical, "3 processes, want none".into()));
        assert_eq!(says(none, Vec::new()), (Status::Ok, "no process nginx".into()));
        let root = says(r#"{"name": "nginx", "user": "root"}"#, three());
        assert_eq!(root, (Status::Ok, "1 process of root, 40 MiB".into()));
        let dead = vec![Found { state: "zombie".into(), ..process(1, 0, 0.0) }];
        assert_eq!(says(PLAIN, dead).0, Status::Critical);
    }

    #[test]
    fn their_memory_is_summed() {
        let config = |warn: &str, critical: &str| {
            format!("{{\"name\": \"n\", \"memory_warn\": \"{warn}\", \"memory_critical\": \"{critical}\"}}")
        };
        assert_eq!(says(&config("121MiB", "1GiB"), three()).0, Status::Ok);
        assert_eq!(says(&config("120MiB", "1GiB"), three()).0, Status::Warning);
        assert_eq!(says(&config("1MiB", "100MiB"), three()), (Status::Critical, "3 processes, 120 MiB".into()));
    }

    #[test]
    fn processors_are_counted_between_two_runs() {
        let config = r#"{"name": "nginx", "cpu_warn": 1, "cpu_critical": 2}"#;
        let mut host = FakeHost { wall: NOW, ..FakeHost::default() };
        let mut run = |seconds: u64, processes: Vec<Found>| {
            host.wall += seconds;
            host.processes = Some(processes);
            check(config, &host)
        };
        assert_eq!(run(0, vec![process(1, 1, 500.0), process(2, 1, 7.0)]), (Status::Ok, "2 processes, 2.0 MiB".into()));
        let busy = run(10, vec![process(1, 1, 505.0), process(2, 1, 7.0)]);
        assert_eq!(busy, (Status::Ok, "2 processes, 2.0 MiB, 0.50 cores".into()));
        let new = Found { started: NOW + 15, ..process(3, 1, 10.0) };
        assert_eq!(run(10, vec![process(1, 1, 505.0), new]).0, Status::Warning);
        assert_eq!(run(10, vec![process(1, 1, 525.0), process(9, 1, 400.0)]).0, Status::Critical);
        assert_eq!(run(10, vec![process(1, 1, 2.0)]), (Status::Ok, "1 process, 1.0 MiB, 0.20 cores".into()));
    }

    #[test]
    fn without_the_grant_there_is_no_report() {
        let options = read_options(PLAIN).expect("options");
        assert_eq!(Process::run(&options, &FakeHost::default()), Err("denied: grants.processes".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"name": "/usr/sbin/nginx"}"#, "/name"),
            (r#"{"name": "x", "min": 2, "max": 1}"#, "/min"),
            (r#"{"name": "x", "min": 0}"#, "/min"),
            (r#"{"name": "x", "memory_warn": "2MiB", "memory_critical": "1MiB"}"#, "/memory_warn"),
            (r#"{"name": "x", "cpu_warn": 2, "cpu_critical": 1}"#, "/cpu_warn"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Process::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
