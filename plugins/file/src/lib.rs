//! Whether files are there, how old, how large and how many.
//!
//! What is in them is not read: that is the log's check.

mod options;

use hostler_plugin_sdk::units::{format_age, format_bytes};
use hostler_plugin_sdk::{Check, ConfigError, Error, Host, Report, Sample, Stat, export_check};
use options::Options;
use std::time::Duration;

pub struct File;

/// What the agent names at most.
const PATHS_MAX: u32 = 10_000;

/// Each is a call of some 20 us: a tenth of a run's processor time.
const STATS_MAX: usize = 2_000;

/// Of those that are wrong, as many as are read by anybody.
const NAMED_MAX: usize = 20;

impl Check for File {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        options.problems()
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let paths = match options.is_pattern() {
            true => host.glob(&options.path, PATHS_MAX)?,
            false => vec![options.path.clone()],
        };
        let looks = options.looks_inside();
        if looks && paths.len() > STATS_MAX {
            let summary = format!("{} files: age and size are looked at for up to {STATS_MAX}", paths.len());
            return Ok(Report::unknown(summary));
        }
        let seen = match looks {
            true => look(options, host, &paths)?,
            false => Seen { found: paths.len(), counted: paths.len(), ..Seen::default() },
        };
        host.graph(&seen.samples(options));
        Ok(judge(options, host.wall(), seen))
    }
}

#[derive(Default)]
struct Seen {
    found: usize,
    /// Of those, the ones whose age is asked for.
    counted: usize,
    /// Which of those have a wrong size, and why.
    wrong: Vec<String>,
    /// The one that is there, where there is but one path.
    only: Option<Stat>,
}

impl Seen {
    fn samples(&self, options: &Options) -> Vec<Sample> {
        let mut samples = vec![Sample::gauge("file_glob_match_number", self.counted as f64)];
        if let Some(stat) = &self.only {
            samples.push(Sample::gauge("file_stat_size_bytes", stat.size as f64));
            samples.push(Sample::gauge("file_stat_modif_time_seconds", stat.modified as f64));
        }
        samples.into_iter().map(|sample| sample.attr("path", &options.path)).collect()
    }
}

fn look(options: &Options, host: &impl Host, paths: &[String]) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for path in paths {
        let stat = match host.stat(path) {
            Ok(stat) => stat,
            // One that went away meanwhile is none.
            Err(Error::Other { value, .. }) if value == "not found" => continue,
            Err(error) => return Err(error.to_string()),
        };
        seen.found += 1;
        seen.only = Some(stat).filter(|_| !options.is_pattern());
        if options.counts(age(&stat, host.wall())) {
            seen.counted += 1;
            seen.wrong.extend(wrong_size(options, &stat).map(|why| format!("{path}, {why}")));
        }
    }
    Ok(seen)
}

fn age(stat: &Stat, now: Duration) -> Duration {
    Duration::from_secs(now.as_secs().saturating_sub(stat.modified))
}

fn wrong_size(options: &Options, stat: &Stat) -> Option<String> {
    let size = format_bytes(stat.size);
    if let Some(min) = options.min_size.filter(|min| stat.size < min.0) {
        return Some(format!("{size}, want at least {}", format_bytes(min.0)));
    }
    let max = options.max_size.filter(|max| stat.size > max.0)?;
    Some(format!("{size}, want at most {}", format_bytes(max.0)))
}

/// What is the case, without what should be.
fn told(options: &Options, now: Duration, seen: &Seen) -> String {
    let files = |count: usize| format!("{count} {}", if count == 1 { "file" } else { "files" });
    match (&seen.only, seen.counted) {
        (Some(stat), _) => format!("{}, {} old", options.path, format_age(age(stat, now))),
        (None, _) if !options.is_pattern() => format!("{} is not there", options.path),
        (None, 0) if seen.found == 0 => format!("no file {}", options.path),
        (None, 0) => format!("none of {}{}", files(seen.found), options.which()),
        (None, counted) => format!("{}{}", files(counted), options.which()),
    }
}

fn judge(options: &Options, now: Duration, seen: Seen) -> Report {
    let told = told(options, now, &seen);
    // Said already of several.
    let which = if options.is_pattern() { String::new() } else { options.which() };
    let (min, max) = (options.min_count(), options.max_count().unwrap_or(usize::MAX));
    let mut report = if seen.counted < min {
        options.wrong(match (min, &seen.only) {
            (1, None) => told,
            (1, Some(_)) => format!("{told}, want one{which}"),
            _ => format!("{told}, want at least {min}"),
        })
    } else if seen.counted > max {
        options.wrong(if max == 0 {
            format!("{told}, want none{which}")
        } else {
            format!("{told}, want at most {max}")
        })
    } else if let Some((first, others)) = seen.wrong.split_first() {
        let others = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
        options.wrong(format!("{first}{others}"))
    } else {
        Report::ok(seen.only.map_or_else(|| told.clone(), |stat| format!("{told}, {}", format_bytes(stat.size))))
    };
    if let Some(stat) = &seen.only {
        report = report.attr("age_seconds", age(stat, now).as_secs()).attr("size_bytes", stat.size);
    }
    let details: Vec<String> = seen.wrong.into_iter().take(NAMED_MAX).collect();
    report.attr("count", seen.counted).attr("found", seen.found).details(details.join("\n"))
}

export_check!(File);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, Status, read_options};

    const NOW: u64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;

    /// Name, minutes since it changed, and size.
    fn host(files: &[(&str, u64, u64)]) -> FakeHost {
        let mut host = FakeHost { wall: NOW, ..FakeHost::default() };
        let none = Error::Other { key: "file".into(), value: "not found".into() };
        host.stats.insert("/none".into(), Err(none));
        for (name, minutes, size) in files {
            let stat = Stat { size: *size, modified: NOW - minutes * 60, ..Stat::default() };
            host.stats.insert(format!("/d/{name}"), Ok(stat));
        }
        host
    }

    fn says(config: &str, files: &[(&str, u64, u64)]) -> (Status, String) {
        let options: Options = read_options(config).expect(config);
        assert_eq!(File::problems(&options), [], "{config}");
        let report = File::run(&options, &host(files)).expect("a report");
        (report.status, report.summary)
    }

    #[test]
    fn one_is_there_or_not() {
        let files = [("a", 3, MIB)];
        assert_eq!(says(r#"{"path": "/d/a"}"#, &files), (Status::Ok, "/d/a, 3 min old, 1.0 MiB".into()));
        assert_eq!(says(r#"{"path": "/none"}"#, &files), (Status::Critical, "/none is not there".into()));
        assert_eq!(says(r#"{"path": "/none", "missing": true}"#, &files), (Status::Ok, "/none is not there".into()));
        let there = says(r#"{"path": "/d/a", "missing": true, "severity": "warning"}"#, &files);
        assert_eq!(there, (Status::Warning, "/d/a, 3 min old, want none".into()));
    }

    #[test]
    fn one_is_of_an_age_and_a_size() {
        let files = [("a", 30, 5 * MIB)];
        assert_eq!(says(r#"{"path": "/d/a", "newer_than": "1h", "min_size": "1MiB"}"#, &files).0, Status::Ok);
        let old = says(r#"{"path": "/d/a", "newer_than": "10m"}"#, &files);
        assert_eq!(old, (Status::Critical, "/d/a, 30 min old, want one changed within 10 min".into()));
        let stuck = says(r#"{"path": "/d/a", "older_than": "10m", "max_count": 0}"#, &files);
        assert_eq!(stuck, (Status::Critical, "/d/a, 30 min old, want none older than 10 min".into()));
        assert_eq!(says(r#"{"path": "/d/a", "older_than": "1h", "max_count": 0}"#, &files).0, Status::Ok);
        let large = says(r#"{"path": "/d/a", "max_size": "1MiB", "severity": "warning"}"#, &files);
        assert_eq!(large, (Status::Warning, "/d/a, 5.0 MiB, want at most 1.0 MiB".into()));
    }

    #[test]
    fn many_are_counted() {
        let files = [("a.x", 1, 1), ("b.x", 90, 1), ("c.y", 90, 1)];
        assert_eq!(says(r#"{"path": "/d/*.x"}"#, &files), (Status::Ok, "2 files".into()));
        assert_eq!(says(r#"{"path": "/d/*.z"}"#, &files), (Status::Critical, "no file /d/*.z".into()));
        assert_eq!(says(r#"{"path": "/d/*.z", "max_count": 5, "min_count": 0}"#, &files).0, Status::Ok);
        let many = says(r#"{"path": "/d/*", "max_count": 2}"#, &files);
        assert_eq!(many, (Status::Critical, "3 files, want at most 2".into()));
        let few = says(r#"{"path": "/d/*", "min_count": 4}"#, &files);
        assert_eq!(few, (Status::Critical, "3 files, want at least 4".into()));
        let stuck = says(r#"{"path": "/d/*", "older_than": "1h", "max_count": 0}"#, &files);
        assert_eq!(stuck, (Status::Critical, "2 files older than 60 min, want none".into()));
    }

    #[test]
    fn a_backup_is_fresh_and_large() {
        let config = r#"{"path": "/d/*", "newer_than": "26h", "min_size": "1MiB"}"#;
        let fresh = says(config, &[("1", 3000, 1), ("2", 60, 2 * MIB)]);
        assert_eq!(fresh, (Status::Ok, "1 file changed within 26 h".into()));
        let old = says(config, &[("1", 3000, MIB), ("2", 4500, MIB)]);
        assert_eq!(old, (Status::Critical, "none of 2 files changed within 26 h".into()));
        let small = says(config, &[("1", 3000, MIB), ("2", 60, 0)]);
        assert_eq!(small, (Status::Critical, "/d/2, 0 B, want at least 1.0 MiB".into()));
    }

    #[test]
    fn without_the_grant_there_is_no_report() {
        let options = read_options(r#"{"path": "/d/other"}"#).expect("options");
        assert_eq!(File::run(&options, &host(&[])), Err("denied: grants.files".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"path": "a"}"#, "/path"),
            (r#"{"path": "/a", "missing": true, "max_count": 0}"#, "/missing"),
            (r#"{"path": "/a", "missing": true, "max_size": "1B"}"#, "/missing"),
            (r#"{"path": "/a", "newer_than": "1h", "older_than": "1h"}"#, "/older_than"),
            (r#"{"path": "/a", "min_size": "2B", "max_size": "1B"}"#, "/min_size"),
            (r#"{"path": "/a", "min_count": 2, "max_count": 1}"#, "/min_count"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = File::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
