//! How many lines of a log are worth a look since the last run.

mod options;
mod pattern;

use hostler_plugin_sdk::{Check, ConfigError, Cursor, Error, Host, Report, Sample, Status, export_check};
use options::{Filter, Options};
use std::collections::VecDeque;

pub struct Log;

/// What one call gives at most.
const LINES_MAX: u32 = 10_000;
const BYTES_MAX: u32 = 1 << 20;

/// What a run reads, in calls: far more than is logged between two of them. Each
/// pattern looks through all of it, and a run that takes too long is ended before
/// it could tell anything.
fn calls_max(patterns: usize) -> usize {
    (16 / (2 + patterns)).max(1)
}

/// What of the lines is told, and how much of each: a report has 4 KiB.
const SHOWN_MAX: usize = 10;
const LINE_LETTERS_MAX: usize = 300;

impl Check for Log {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        options.problems()
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let cursor = match host.cursor("log", &options.path, !options.from_start) {
            Ok(cursor) => cursor,
            Err(Error::Other { value, .. }) if value == "not found" => {
                return Ok(Report::new(options.when_missing(), format!("{} is not there", options.path)));
            }
            Err(error) => return Err(error.to_string()),
        };
        let seen = read(options, &cursor)?;
        // Before the report is made: a line that can't be told must not come again.
        cursor.commit()?;
        host.graph(&[
            Sample::gauge("log_lines", seen.lines as f64).attr("path", &options.path),
            Sample::gauge("log_matching_lines", seen.matching as f64).attr("path", &options.path),
        ]);
        Ok(judge(options, seen))
    }
}

#[derive(Default)]
struct Seen {
    lines: u64,
    matching: u64,
    last: VecDeque<String>,
    /// There is more than a run reads.
    behind: bool,
}

impl Seen {
    fn add(&mut self, filter: &Filter, lines: Vec<String>) {
        for line in lines {
            self.lines += 1;
            if filter.counts(&line) {
                self.matching += 1;
                self.last.push_back(line.chars().take(LINE_LETTERS_MAX).collect());
                if self.last.len() > SHOWN_MAX {
                    self.last.pop_front();
                }
            }
        }
    }
}

fn read(options: &Options, cursor: &impl Cursor) -> Result<Seen, String> {
    let filter = options.filter();
    let mut seen = Seen::default();
    for _ in 0..calls_max(filter.patterns()) {
        let lines = cursor.lines(LINES_MAX, BYTES_MAX)?;
        if lines.is_empty() {
            return Ok(seen);
        }
        seen.add(&filter, lines);
    }
    // A call may well have given the last there was: one line more tells.
    let next = cursor.lines(1, BYTES_MAX)?;
    seen.behind = !next.is_empty();
    seen.add(&filter, next);
    Ok(seen)
}

fn judge(options: &Options, seen: Seen) -> Report {
    let all = match seen.lines {
        1 => "1 new line".to_owned(),
        lines => format!("{lines} new lines"),
    };
    let mut summary = match seen.last.back() {
        _ if seen.lines == 0 => "no new lines".to_owned(),
        None => format!("none of {all}"),
        Some(last) if seen.matching == seen.lines => format!("{all}, last: {}", last.trim()),
        Some(last) => format!("{} of {all}, last: {}", seen.matching, last.trim()),
    };
    if seen.behind {
        summary = format!("more than is read at once, {summary}");
    }
    let status = Status::reached(seen.matching, options.warn(), options.critical);
    let last: Vec<String> = seen.last.into();
    Report::new(status, summary).details(last.join("\n")).attr("lines", seen.lines).attr("matching", seen.matching)
}

export_check!(Log);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    const PATH: &str = "/var/log/a.log";

    fn check(config: &str, host: &FakeHost) -> Report {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Log::problems(&options), [], "{config}");
        Log::run(&options, host).expect("a report")
    }

    /// What is said of these lines, which came after a first run.
    fn says(with: &str, lines: &str) -> (Status, String) {
        let config = format!("{{\"path\": \"{PATH}\"{with}}}");
        let mut host = FakeHost { files: [(PATH.to_owned(), b"old ERROR\n".to_vec())].into(), ..FakeHost::default() };
        assert_eq!(check(&config, &host).summary, "no new lines");
        host.files.insert(PATH.to_owned(), format!("old ERROR\n{lines}").into_bytes());
        let report = check(&config, &host);
        assert_eq!(check(&config, &host).summary, "no new lines", "what was read is not read again");
        (report.status, report.summary)
    }

    const THREE: &str = "one\n ERROR two\nerror three\n";

    #[test]
    fn lines_are_counted_once() {
        assert_eq!(says("", THREE), (Status::Warning, "3 new lines, last: error three".into()));
        let some = says(r#", "include": "ERROR""#, THREE);
        assert_eq!(some, (Status::Warning, "1 of 3 new lines, last: ERROR two".into()));
        assert_eq!(says(r#", "include": ["panic"]"#, THREE), (Status::Ok, "none of 3 new lines".into()));
        let any = says(r#", "include": ["Error *"], "ignore_case": true"#, THREE);
        assert_eq!(any, (Status::Warning, "2 of 3 new lines, last: error three".into()));
        let but = says(r#", "include": "error", "exclude": ["t*ee"], "ignore_case": true"#, THREE);
        assert_eq!(but, (Status::Warning, "1 of 3 new lines, last: ERROR two".into()));
    }

    #[test]
    fn their_number_decides() {
        assert_eq!(says(r#", "warn": 4"#, THREE).0, Status::Ok);
        assert_eq!(says(r#", "warn": 2, "critical": 4"#, THREE).0, Status::Warning);
        assert_eq!(says(r#", "warn": 2, "critical": 3"#, THREE).0, Status::Critical);
        assert_eq!(says(r#", "critical": 4"#, THREE).0, Status::Ok);
    }

    #[test]
    fn the_first_run_begins_at_the_end_unless_told() {
        let host = FakeHost { files: [(PATH.to_owned(), b"x\n".to_vec())].into(), ..FakeHost::default() };
        let start = check(&format!("{{\"path\": \"{PATH}\", \"from_start\": true}}"), &host);
        assert_eq!((start.status, start.summary.as_str()), (Status::Warning, "1 new line, last: x"));
    }

    #[test]
    fn what_is_too_much_is_left_for_the_next_run() {
        let lines = "x\n".repeat(LINES_MAX as usize * calls_max(1) + 5);
        let host = FakeHost { files: [(PATH.to_owned(), lines.into_bytes())].into(), ..FakeHost::default() };
        let config = format!("{{\"path\": \"{PATH}\", \"include\": \"y\", \"from_start\": true}}");
        assert_eq!(check(&config, &host).summary, "more than is read at once, none of 50001 new lines");
        assert_eq!(check(&config, &host).summary, "none of 4 new lines");
        // With so many patterns there is one call, and it has read all there is.
        let many = says(r#", "include": ["a", "b", "c", "d", "f", "g", "h"]"#, "one\n");
        assert_eq!(many, (Status::Ok, "none of 1 new line".into()));
    }

    #[test]
    fn a_file_that_is_not_there_is_what_was_said() {
        let none = Error::Other { key: "file".into(), value: "not found".into() };
        let host = FakeHost { stats: [(PATH.to_owned(), Err(none))].into(), ..FakeHost::default() };
        let report = check(&format!("{{\"path\": \"{PATH}\"}}"), &host);
        assert_eq!((report.status, report.summary.as_str()), (Status::Unknown, "/var/log/a.log is not there"));
        assert_eq!(check(&format!("{{\"path\": \"{PATH}\", \"missing\": \"ok\"}}"), &host).status, Status::Ok);
        let options = read_options(&format!("{{\"path\": \"{PATH}\"}}")).expect("options");
        assert_eq!(Log::run(&options, &FakeHost::default()), Err("denied: grants.files".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"path": "a"}"#, "/path"),
            (r#"{"path": "/a*"}"#, "/path"),
            (r#"{"path": "/a", "include": ["a", "*"]}"#, "/include/1"),
            (r#"{"path": "/a", "exclude": ""}"#, "/exclude"),
            (r#"{"path": "/a", "include": "a", "exclude": "a"}"#, "/exclude"),
            (r#"{"path": "/a", "warn": 2, "critical": 1}"#, "/warn"),
            (r#"{"path": "/a", "warn": 0}"#, "/warn"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Log::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
