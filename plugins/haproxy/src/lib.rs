//! Whether enough servers of an HAProxy backend are up, from its statistics page.

use hostler_plugin_sdk::{Check, ConfigError, Error, Host, Report, Request, Status, export_check};
use serde::Deserialize;
use std::collections::BTreeMap;

pub struct Haproxy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    #[serde(default = "default_url")]
    url: String,
    backend: String,
    #[serde(default = "default_min_up")]
    min_up: u32,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

fn default_url() -> String {
    "http://127.0.0.1:8404/stats;csv".to_owned()
}

fn default_min_up() -> u32 {
    1
}

impl Check for Haproxy {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !options.url.starts_with("http://") && !options.url.starts_with("https://") {
            problems.push(ConfigError::new("/url", "is no URL: begin with http:// or https://"));
        }
        if options.backend.is_empty() {
            problems.push(ConfigError::new("/backend", "is empty"));
        }
        if options.min_up == 0 {
            problems.push(ConfigError::new("/min_up", "is 0, so it would never be critical"));
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let request = Request {
            headers: options.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            ..Request::get(&options.url)
        };
        match host.http(&request) {
            Ok(response) if response.status == 200 => {
                Ok(judge(options, &String::from_utf8_lossy(&response.body), response.truncated))
            }
            Ok(response) => Ok(Report::critical(format!("the statistics page answers {}", response.status))),
            Err(Error::Timeout) => Ok(Report::critical("the statistics page does not answer in time")),
            Err(Error::Unreachable(why)) => Ok(Report::critical(format!("the statistics page: {why}"))),
            // Not the target's doing.
            Err(error) => Err(error.to_string()),
        }
    }
}

struct Server<'a> {
    name: &'a str,
    status: &'a str,
}

impl Server<'_> {
    /// `UP 1/3` is on its way down, and still takes what comes.
    fn is_up(&self) -> bool {
        self.status.starts_with("UP") || self.status == "no check"
    }
}

/// A line of CSV; HAProxy quotes only what holds a comma.
fn fields(line: &str) -> Vec<&str> {
    let (mut fields, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                fields.push(line.get(start..at).unwrap_or_default().trim_matches('"'));
                start = at + 1;
            }
            _ => {}
        }
    }
    fields.push(line.get(start..).unwrap_or_default().trim_matches('"'));
    fields
}

fn judge(options: &Options, page: &str, truncated: bool) -> Report {
    let mut lines = page.lines();
    let head = lines.next().map(|line| fields(line.trim_start_matches(['#', ' ']))).unwrap_or_default();
    let column = |name: &str| head.iter().position(|title| *title == name);
    let (Some(proxy), Some(server), Some(status)) = (column("pxname"), column("svname"), column("status")) else {
        return Report::unknown("this is no statistics page of HAProxy as CSV: does the URL end in ;csv?");
    };
    let (mut backends, mut servers) = (Vec::new(), Vec::new());
    let rows: Vec<Vec<&str>> = lines.map(fields).collect();
    for row in &rows {
        let cell = |column: usize| row.get(column).copied().unwrap_or_default();
        match cell(server) {
            "BACKEND" => backends.push(cell(proxy)),
            "FRONTEND" | "" => {}
            name if cell(proxy) == options.backend => servers.push(Server { name, status: cell(status) }),
            _ => {}
        }
    }
    if servers.is_empty() {
        let part = if truncated { ", as far as its page was read" } else { "" };
        let known = if backends.is_empty() { "none".to_owned() } else { backends.join(", ") };
        return Report::unknown(format!(
            "there is no backend {:?} with servers{part}; there are {known}",
            options.backend
        ));
    }
    let up = servers.iter().filter(|server| server.is_up()).count();
    let out: Vec<String> =
        servers.iter().filter(|server| !server.is_up()).map(|one| format!("{} {}", one.name, one.status)).collect();
    let told = if out.is_empty() { String::new() } else { format!("; {}", out.join(", ")) };
    let summary = format!("{up} of {} up{told}", servers.len());
    let status = if (up as u64) < u64::from(options.min_up) {
        Status::Critical
    } else if out.is_empty() {
        Status::Ok
    } else {
        Status::Warning
    };
    Report::new(status, summary).attr("up", up).attr("servers", servers.len())
}

export_check!(Haproxy);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, Response, read_options};

    fn page(states: [&str; 3]) -> String {
        let [one, two, three] = states;
        format!(
            "# pxname,svname,qcur,status,last_chk\nstats,FRONTEND,0,OPEN,\nshop,app1,0,{one},\"L7, OK\"\nshop,app2,0,{two},\n\
             shop,app3,0,{three},\nshop,BACKEND,0,UP,\nother,x,0,DOWN,\nother,BACKEND,0,DOWN,\n"
        )
    }

    fn says(config: &str, page: &str) -> (Status, String) {
        let response = Response { status: 200, body: page.as_bytes().to_vec(), ..Response::default() };
        let host = FakeHost { http: Some(Ok(response)), ..FakeHost::default() };
        let report = Haproxy::run(&read_options(config).expect(config), &host).expect("a report");
        (report.status, report.summary)
    }

    const TWO: &str = r#"{"backend": "shop", "min_up": 2}"#;

    #[test]
    fn counts_those_that_are_up_and_names_the_others() {
        assert_eq!(says(TWO, &page(["UP", "UP 1/3", "no check"])), (Status::Ok, "3 of 3 up".into()));
        assert_eq!(says(TWO, &page(["UP", "UP", "DOWN"])), (Status::Warning, "2 of 3 up; app3 DOWN".into()));
        assert_eq!(
            says(TWO, &page(["UP", "MAINT", "DRAIN"])),
            (Status::Critical, "1 of 3 up; app2 MAINT, app3 DRAIN".into())
        );
    }

    #[test]
    fn what_can_not_be_judged_is_unknown() {
        let (status, summary) = says(r#"{"backend": "shpo"}"#, &page(["UP", "UP", "UP"]));
        assert_eq!(
            (status, summary.as_str()),
            (Status::Unknown, "there is no backend \"shpo\" with servers; there are shop, other")
        );
        assert_eq!(says(TWO, "<html>").0, Status::Unknown);
        assert_eq!(says(TWO, "").0, Status::Unknown);
    }

    #[test]
    fn a_page_that_is_not_there_is_critical() {
        let refused = Some(Err(Error::Unreachable("connection refused".into())));
        let host = FakeHost { http: refused, ..FakeHost::default() };
        let report = Haproxy::run(&read_options(TWO).expect("valid"), &host).expect("a report");
        assert_eq!(
            (report.status, report.summary.as_str()),
            (Status::Critical, "the statistics page: connection refused")
        );
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        let options: Options = read_options(r#"{"backend": "", "min_up": 0, "url": "x"}"#).expect("readable");
        let pointers: Vec<String> = Haproxy::problems(&options).into_iter().map(|one| one.pointer).collect();
        assert_eq!(pointers, ["/url", "/backend", "/min_up"]);
    }
}
