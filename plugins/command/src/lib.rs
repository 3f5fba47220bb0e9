//! What a program says, by the rules of Nagios plugins: its code is the state,
//! its first line the summary, and what follows a `|` its figures.

mod perfdata;

use hostler_plugin_sdk::{Check, ConfigError, Error, Host, Output, Report, Sample, Status, export_check, units};
use perfdata::Figure;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

pub struct Command;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "default_command")]
    command: String,
    #[serde(default)]
    args: Vec<String>,
    stdin: Option<String>,
    #[serde(default, deserialize_with = "units::duration")]
    timeout: Option<Duration>,
}

fn default_command() -> String {
    "check".to_owned()
}

/// Plugins that look at many things have a figure for each of them.
const FIGURES_MAX: usize = 100;

/// In the report they share 4 KiB with everything else.
const ATTRS_MAX: usize = 20;

impl Check for Command {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if options.command.is_empty() || options.command.contains(['/', ' ']) {
            let why = "is no name: programs and their paths stand in the manifest's grants, here only their names";
            problems.push(ConfigError::new("/command", why));
        }
        for (index, argument) in options.args.iter().enumerate() {
            if argument.contains('\0') {
                problems.push(ConfigError::new(format!("/args/{index}"), "has a zero byte in it"));
            }
        }
        if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
            problems.push(ConfigError::new("/timeout", "is nothing"));
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let timeout = options.timeout.unwrap_or_else(|| host.remaining());
        let args: Vec<&str> = options.args.iter().map(String::as_str).collect();
        let stdin = options.stdin.as_deref().unwrap_or_default().as_bytes();
        let output = match host.command(&options.command, &args, stdin, timeout) {
            Ok(output) => output,
            Err(Error::Timeout) => {
                return Ok(Report::critical(format!("it did not end within {} ms", timeout.as_millis())));
            }
            // Nothing ran, so nothing is known of the target.
            Err(error) => return Err(error.to_string()),
        };
        let said = Said::read(&String::from_utf8_lossy(&output.stdout));
        let samples: Vec<Sample> = said.figures.iter().map(Figure::sample).collect();
        host.graph(&samples);
        Ok(judge(&output, said))
    }
}

struct Said {
    first: String,
    more: Vec<String>,
    figures: Vec<Figure>,
}

impl Said {
    /// Figures stand after the first line's `|`, and after one in a later line
    /// up to the end.
    fn read(stdout: &str) -> Said {
        let mut lines = stdout.trim_start().lines();
        let (first, mut figures) = parts(lines.next().unwrap_or_default());
        let (mut more, mut in_figures) = (Vec::new(), false);
        for line in lines {
            if in_figures {
                figures.extend(perfdata::read(line));
                continue;
            }
            let (text, found) = parts(line);
            in_figures = line.contains('|');
            figures.extend(found);
            if !text.is_empty() {
                more.push(text);
            }
        }
        // One label is one graph: the first counts.
        let mut seen = BTreeSet::new();
        figures.retain(|one| seen.insert(one.label.clone()));
        figures.truncate(FIGURES_MAX);
        Said { first, more, figures }
    }
}

fn parts(line: &str) -> (String, Vec<Figure>) {
    let (text, figures) = line.split_once('|').unwrap_or((line, ""));
    (text.trim().to_owned(), perfdata::read(figures))
}

fn judge(output: &Output, said: Said) -> Report {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let complaint = stderr.trim().lines().next().unwrap_or_default();
    let words = if said.first.is_empty() { complaint } else { said.first.as_str() };
    let or_else = |what: String| if words.is_empty() { what } else { words.to_owned() };
    let report = match (output.exit_code, output.signal) {
        (Some(0), _) => Report::ok(or_else("it says nothing".to_owned())),
        (Some(1), _) => Report::warning(or_else("ended with 1, and says nothing".to_owned())),
        (Some(2), _) => Report::critical(or_else("ended with 2, and says nothing".to_owned())),
        (Some(3), _) => Report::unknown(or_else("ended with 3, and says nothing".to_owned())),
        (Some(other), _) => Report::unknown(format!("ended with {other}: {words}").trim_end_matches([':', ' '])),
        (None, Some(signal)) => Report::unknown(format!("ended by signal {signal}")),
        (None, None) => Report::unknown("nobody knows how it ended"),
    };
    let mut details = said.more;
    if report.status != Status::Ok {
        details.extend(stderr.lines().map(str::to_owned));
    }
    let report = report.details(details.join("\n"));
    said.figures
        .iter()
        .take(ATTRS_MAX)
        .fold(report, |report, one| report.attr(one.label.as_str(), format!("{}{}", one.value, one.unit)))
}

export_check!(Command);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    fn host(code: Option<i32>, stdout: &str, stderr: &str) -> FakeHost {
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), stderr.as_bytes().to_vec());
        let signal = if code.is_none() { Some(9) } else { None };
        let output = Output { exit_code: code, signal, stdout, stderr, truncated: false };
        FakeHost { commands: [("check".to_owned(), output)].into(), ..FakeHost::default() }
    }

    fn says(code: Option<i32>, stdout: &str, stderr: &str) -> (Status, String) {
        let options = read_options(r#"{"args": ["-H", "a"]}"#).expect("options");
        let report = Command::run(&options, &host(code, stdout, stderr)).expect("a report");
        (report.status, report.summary)
    }

    #[test]
    fn its_code_is_the_state_and_its_line_the_summary() {
        let line = "NTP: Offset 0.001 secs | offset=0.001s;60;120\nmore\n";
        let told = |status| (status, "NTP: Offset 0.001 secs".to_owned());
        assert_eq!(says(Some(0), line, ""), told(Status::Ok));
        assert_eq!(says(Some(1), line, ""), told(Status::Warning));
        assert_eq!(says(Some(2), line, "x"), told(Status::Critical));
        assert_eq!(says(Some(3), line, ""), told(Status::Unknown));
    }

    #[test]
    fn what_is_no_answer_is_unknown() {
        assert_eq!(
            says(Some(127), "", "sh: x: not found\n"),
            (Status::Unknown, "ended with 127: sh: x: not found".into())
        );
        assert_eq!(says(Some(7), "", ""), (Status::Unknown, "ended with 7".into()));
        assert_eq!(says(None, "half a", ""), (Status::Unknown, "ended by signal 9".into()));
        assert_eq!(says(Some(2), "", ""), (Status::Critical, "ended with 2, and says nothing".into()));
        assert_eq!(says(Some(0), "", ""), (Status::Ok, "it says nothing".into()));
    }

    #[test]
    fn figures_of_all_lines_are_drawn() {
        let stdout = "DISK OK | /=2MB;5;6;0;7\n/ 15272 MB (77%);\n/boot 68 MB; | /boot=68MB\n/home=1 /=9\n";
        let host = host(Some(1), stdout, "careful\n");
        let report = Command::run(&read_options("{}").expect("options"), &host).expect("a report");
        assert_eq!(report.details, "/ 15272 MB (77%);\n/boot 68 MB;\ncareful");
        let attrs: Vec<String> = report.attrs.iter().map(|one| format!("{} {}", one.key, one.value)).collect();
        assert_eq!(attrs, ["/ 2MB", "/boot 68MB", "/home 1"]);
        let samples = host.samples.borrow();
        assert_eq!(samples.first(), Some(&Sample::gauge("command_bytes", 2_097_152.0).attr("label", "/")));
        assert_eq!(samples.len(), 3);
    }

    #[test]
    fn without_the_grant_there_is_no_report() {
        let options = read_options(r#"{"command": "other"}"#).expect("options");
        assert_eq!(Command::run(&options, &FakeHost::default()), Err("denied: grants.commands".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"command": "/bin/true"}"#, "/command"),
            (r#"{"command": ""}"#, "/command"),
            (r#"{"args": ["a", "b\u0000"]}"#, "/args/1"),
            (r#"{"timeout": "0s"}"#, "/timeout"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Command::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
