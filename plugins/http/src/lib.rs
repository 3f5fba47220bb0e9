//! Whether a URL answers as it should.

mod certificate;
mod components;

use hostler_plugin_sdk::units::{self, format_micros};
use hostler_plugin_sdk::{Check, ConfigError, Error, Host, Report, Request, Response, Status, export_check};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

pub struct Http;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    url: String,
    #[serde(default = "default_method")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    status: Statuses,
    body_contains: Option<String>,
    #[serde(default, deserialize_with = "units::duration")]
    timeout: Option<Duration>,
    #[serde(default)]
    components: bool,
    #[serde(default)]
    max_redirects: u8,
    cert_days: Option<u32>,
    cert_critical_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a status like 200, or a list of them")]
pub enum Statuses {
    One(u16),
    List(Vec<u16>),
}

impl Default for Statuses {
    fn default() -> Self {
        Statuses::One(200)
    }
}

impl Statuses {
    fn list(&self) -> &[u16] {
        match self {
            Statuses::One(one) => std::slice::from_ref(one),
            Statuses::List(list) => list,
        }
    }

    fn words(&self) -> String {
        self.list().iter().map(u16::to_string).collect::<Vec<_>>().join(" or ")
    }
}

fn default_method() -> String {
    "GET".to_owned()
}

/// What the agent lets a plugin follow.
const REDIRECTS_MAX: u8 = 10;

impl Check for Http {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let lower = options.url.to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            problems.push(ConfigError::new("/url", "is no URL: begin with http:// or https://"));
        }
        let list = options.status.list();
        if list.is_empty() || list.iter().any(|status| !(100..600).contains(status)) {
            problems.push(ConfigError::new("/status", "is no list of statuses from 100 to 599"));
        }
        if options.max_redirects > REDIRECTS_MAX {
            problems.push(ConfigError::new("/max_redirects", format!("is more than {REDIRECTS_MAX}")));
        }
        if let (Some(warn), Some(critical)) = (options.cert_days, options.cert_critical_days)
            && warn <= critical
        {
            problems
                .push(ConfigError::new("/cert_days", "is not above cert_critical_days, so it would never be reached"));
        }
        if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
            problems.push(ConfigError::new("/timeout", "is nothing"));
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let request = Request {
            method: options.method.clone(),
            headers: options.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            timeout: options.timeout,
            redirects_max: options.max_redirects,
            ..Request::get(&options.url)
        };
        match host.http(&request) {
            Ok(response) => Ok(judge(options, &response, host.wall().as_secs())),
            Err(Error::Timeout) => Ok(Report::critical(match options.timeout {
                Some(timeout) => format!("no answer within {} ms", timeout.as_millis()),
                None => "no answer in time".to_owned(),
            })),
            Err(Error::Unreachable(why)) => Ok(Report::critical(why)),
            Err(Error::Other { key, value }) if key == "redirects" => {
                Ok(Report::critical(format!("{value} redirects")))
            }
            // Not the target's doing.
            Err(error) => Err(error.to_string()),
        }
    }
}

const DAY: u64 = 86_400;

/// What is to be said of a certificate that ends soon.
fn judge_certificate(options: &Options, report: Report, response: &Response, now: u64) -> Report {
    if options.cert_days.is_none() && options.cert_critical_days.is_none() {
        return report;
    }
    let Some(ends) = response.peer_certificates.first().and_then(|leaf| certificate::not_after(leaf)) else {
        // Without TLS there is nothing to end.
        return report;
    };
    let days = ends.saturating_sub(now) / DAY;
    let words = if ends <= now {
        "its certificate has ended".to_owned()
    } else {
        format!("its certificate ends in {days} days")
    };
    let report = report.attr("certificate_days", days);
    let status = if ends <= now || options.cert_critical_days.is_some_and(|least| days < u64::from(least)) {
        Status::Critical
    } else if options.cert_days.is_some_and(|least| days < u64::from(least)) {
        Status::Warning
    } else {
        return report;
    };
    // What is worse speaks first.
    match report.status {
        Status::Critical | Status::Unknown => report,
        _ => Report { status, summary: format!("{}, {words}", response.status), ..report },
    }
}

fn judge(options: &Options, response: &Response, now: u64) -> Report {
    let took = format_micros(response.timings.total.into());
    let mut report = if !options.status.list().contains(&response.status) {
        Report::critical(format!("{}, want {}", response.status, options.status.words()))
    } else {
        Report::ok(format!("{} in {took}", response.status))
    };
    let body = String::from_utf8_lossy(&response.body);
    let missing = options.body_contains.as_deref().filter(|text| !body.contains(text));
    if let Some(text) = missing.filter(|_| report.status == Status::Ok) {
        let part = if response.truncated { ", as far as it was read" } else { "" };
        report = Report::critical(format!("{}, body without {text:?}{part}", response.status));
    }
    if options.components {
        report = components::judge(report, response.status, &body, response.truncated);
    }
    report = judge_certificate(options, report, response, now);
    if let Some(location) = response.header("location").filter(|_| report.status != Status::Ok) {
        report = report.attr("location", location);
    }
    let timings = &response.timings;
    report
        .attr("status", response.status)
        .attr("dns_us", timings.dns)
        .attr("connect_us", timings.connect)
        .attr("tls_us", timings.tls)
        .attr("first_byte_us", timings.first_byte)
        .attr("total_us", timings.total)
}

export_check!(Http);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, Timings, read_options};

    fn answer(status: u16, body: &str) -> Result<Response, Error> {
        let timings = Timings { total: 1_234, ..Timings::default() };
        Ok(Response { status, body: body.as_bytes().to_vec(), timings, ..Response::default() })
    }

    fn check(config: &str, http: Result<Response, Error>) -> Result<Report, String> {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Http::problems(&options), []);
        Http::run(&options, &FakeHost { http: Some(http), ..FakeHost::default() })
    }

    fn says(config: &str, http: Result<Response, Error>) -> (Status, String) {
        let report = check(config, http).expect("a report");
        (report.status, report.summary)
    }

    const PLAIN: &str = r#"{"url": "http://x/"}"#;
    const COMPONENTS: &str = r#"{"url": "http://x/", "components": true}"#;

    #[test]
    fn says_what_came_back() {
        assert_eq!(says(PLAIN, answer(200, "")), (Status::Ok, "200 in 1.2 ms".into()));
        assert_eq!(says(PLAIN, answer(503, "")), (Status::Critical, "503, want 200".into()));
        let some = r#"{"url": "http://x/", "status": [200, 204]}"#;
        assert_eq!(says(some, answer(204, "")), (Status::Ok, "204 in 1.2 ms".into()));
        assert_eq!(says(some, answer(404, "")), (Status::Critical, "404, want 200 or 204".into()));
        let one = r#"{"url": "http://x/", "status": 301}"#;
        assert_eq!(says(one, answer(301, "")).0, Status::Ok);
    }

    #[test]
    fn says_why_nothing_came_back() {
        let refused = || Err(Error::Unreachable("connection refused".into()));
        assert_eq!(says(PLAIN, refused()), (Status::Critical, "connection refused".into()));
        let limited = r#"{"url": "http://x/", "timeout": "500ms"}"#;
        assert_eq!(says(limited, Err(Error::Timeout)), (Status::Critical, "no answer within 500 ms".into()));
        let loops = Error::Other { key: "redirects".into(), value: "more than 3".into() };
        assert_eq!(says(PLAIN, Err(loops)), (Status::Critical, "more than 3 redirects".into()));
    }

    #[test]
    fn what_is_not_the_targets_doing_is_no_report() {
        for error in [Error::Denied("grants.http".into()), Error::Invalid("url".into()), Error::Limit("x".into())] {
            assert!(check(PLAIN, Err(error)).is_err());
        }
    }

    #[test]
    fn looks_for_the_text() {
        let config = r#"{"url": "http://x/", "body_contains": "ready"}"#;
        assert_eq!(says(config, answer(200, "all ready")).0, Status::Ok);
        assert_eq!(says(config, answer(200, "no")), (Status::Critical, "200, body without \"ready\"".into()));
        assert_eq!(says(config, answer(500, "no")), (Status::Critical, "500, want 200".into()));
    }

    #[test]
    fn names_the_component_that_is_not_well() {
        let well = r#"{"status": "UP", "components": {"db": {"status": "UP"}, "queue": "ok"}}"#;
        assert_eq!(says(COMPONENTS, answer(200, well)), (Status::Ok, "200 in 1.2 ms".into()));
        let part = r#"{"status": "ok", "components": {"db": {"status": "slow"}, "a": "ok", "queue": "down"}}"#;
        assert_eq!(says(COMPONENTS, answer(200, part)), (Status::Warning, "200, db slow, queue down".into()));
        let bare = r#"{"components": {"db": "down"}}"#;
        assert_eq!(says(COMPONENTS, answer(200, bare)), (Status::Warning, "200, db down".into()));
        let down = r#"{"status": "DOWN", "components": {"db": {"status": "DOWN"}}}"#;
        assert_eq!(says(COMPONENTS, answer(200, down)), (Status::Critical, "200, status DOWN, db DOWN".into()));
        assert_eq!(says(COMPONENTS, answer(503, down)), (Status::Critical, "503, want 200, db DOWN".into()));
        let degraded = r#"{"status": "degraded", "components": {"db": "ok"}}"#;
        assert_eq!(says(COMPONENTS, answer(200, degraded)), (Status::Warning, "200, status degraded".into()));
    }

    #[test]
    fn a_body_that_is_no_component_health_is_critical() {
        for body in ["", "<html>", "[]", "{\"components\": 5}"] {
            let (status, summary) = says(COMPONENTS, answer(200, body));
            assert_eq!(status, Status::Critical, "{body}");
            assert!(summary.contains("no component health"), "{summary}");
        }
        assert_eq!(says(COMPONENTS, answer(502, "<html>")), (Status::Critical, "502, want 200".into()));
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told() {
        // 2030-01-02 03:04:05, seen so many days before.
        let (ends, leaf) = (1_893_553_445, certificate::tests::ending(0x17, "300102030405Z"));
        let check = |config: &str, days: u64, status: u16| {
            let response = Response { peer_certificates: vec![leaf.clone()], ..answer(status, "").expect("an answer") };
            let host = FakeHost { http: Some(Ok(response)), wall: ends - days * DAY - 60, ..FakeHost::default() };
            let report = Http::run(&read_options(config).expect(config), &host).expect("a report");
            (report.status, report.summary)
        };
        let config = r#"{"url": "https://x/", "cert_days": 21, "cert_critical_days": 7}"#;
        assert_eq!(check(config, 30, 200).0, Status::Ok);
        assert_eq!(check(config, 20, 200), (Status::Warning, "200, its certificate ends in 20 days".into()));
        assert_eq!(check(config, 3, 200), (Status::Critical, "200, its certificate ends in 3 days".into()));
        assert_eq!(check(config, 3, 503), (Status::Critical, "503, want 200".into()));
        assert_eq!(check(r#"{"url": "https://x/"}"#, 3, 200).0, Status::Ok);
        let host = FakeHost { http: Some(answer(200, "")), ..FakeHost::default() };
        let report = Http::run(&read_options(config).expect(config), &host).expect("a report");
        assert_eq!(report.status, Status::Ok, "without TLS");
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, pointer) in [
            (r#"{"url": "x"}"#, "/url"),
            (r#"{"url": "http://x", "status": []}"#, "/status"),
            (r#"{"url": "http://x", "status": [99]}"#, "/status"),
            (r#"{"url": "http://x", "max_redirects": 11}"#, "/max_redirects"),
            (r#"{"url": "http://x", "timeout": "0s"}"#, "/timeout"),
            (r#"{"url": "http://x", "cert_days": 7, "cert_critical_days": 7}"#, "/cert_days"),
        ] {
            let options: Options = read_options(config).expect(config);
            let problems = Http::problems(&options);
            assert!(matches!(problems.as_slice(), [one] if one.pointer == pointer), "{config}: {problems:?}");
        }
        for (config, pointer) in [
            (r#"{}"#, ""),
            (r#"{"url": "http://x", "timeout": 5}"#, "/timeout"),
            (r#"{"url": "http://x", "statuss": 200}"#, "/statuss"),
        ] {
            assert_eq!(read_options::<Options>(config).err().map(|one| one.pointer), Some(pointer.into()));
        }
    }

    #[test]
    fn asks_as_it_was_told() {
        let config =
            r#"{"url": "http://x/", "method": "HEAD", "headers": {"A": "b"}, "timeout": "2s", "max_redirects": 3}"#;
        let host = FakeHost { http: Some(answer(200, "")), ..FakeHost::default() };
        Http::run(&read_options(config).expect(config), &host).expect("a report");
        let requests = host.requests.borrow();
        let request = requests.first().expect("one request");
        assert_eq!((request.method.as_str(), request.redirects_max), ("HEAD", 3));
        assert_eq!(request.headers, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(request.timeout, Some(Duration::from_secs(2)));
    }
}
