//! Whether a name server answers, and as it should.

use hostler_plugin_sdk::units::{self, format_micros};
use hostler_plugin_sdk::{Check, ConfigError, DnsAnswer, Error, Host, Report, Sample, Status, export_check};
use serde::Deserialize;
use std::time::Duration;

pub struct Dns;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    name: String,
    #[serde(default = "default_type", rename = "type")]
    rrtype: String,
    expect: Option<Values>,
    #[serde(default)]
    only: bool,
    #[serde(default = "default_rcode")]
    rcode: String,
    server: Option<String>,
    #[serde(default, deserialize_with = "units::duration")]
    warn: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    critical: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    timeout: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a record like 192.0.2.1, or a list of them")]
pub enum Values {
    One(String),
    List(Vec<String>),
}

impl Options {
    fn expect(&self) -> &[String] {
        match &self.expect {
            None => &[],
            Some(Values::One(one)) => std::slice::from_ref(one),
            Some(Values::List(list)) => list,
        }
    }
}

fn default_type() -> String {
    "A".to_owned()
}

fn default_rcode() -> String {
    "NOERROR".to_owned()
}

const TYPES: [&str; 10] = ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "CAA"];

impl Check for Dns {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        if options.name.is_empty() || options.name.contains([' ', '/', ':']) {
            wrong("/name", "is no name: write it like www.example.com");
        }
        if !TYPES.contains(&options.rrtype.to_ascii_uppercase().as_str()) {
            wrong("/type", "is none of A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT and CAA");
        }
        if options.rcode != "NOERROR" && options.expect.is_some() {
            wrong("/expect", "has records, which an answer with this rcode has not");
        }
        if options.only && options.expect().is_empty() {
            wrong("/only", "needs the records in expect");
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
        let timeout = options.timeout.unwrap_or_else(|| host.remaining());
        match host.dns(&options.name, &options.rrtype, options.server.as_deref(), timeout) {
            Ok(answer) => {
                let seconds = f64::from(answer.micros) / 1e6;
                host.graph(&[Sample::gauge("probe_dns_lookup_time_seconds", seconds)]);
                Ok(judge(options, &answer))
            }
            Err(Error::Timeout) => Ok(Report::critical("the name server does not answer in time")),
            Err(Error::Unreachable(why)) => Ok(Report::critical(format!("the name server: {why}"))),
            // Not the target's doing.
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Names are the same in any case, with or without the dot at their end. Text is
/// compared as it is, and need not have its quotes in an option.
fn is_same(data: &str, wanted: &str) -> bool {
    if let Some(text) = data.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return data == wanted || text == wanted;
    }
    data.trim_end_matches('.').eq_ignore_ascii_case(wanted.trim_end_matches('.'))
}

fn judge(options: &Options, answer: &DnsAnswer) -> Report {
    // Others are on the way there: a name's CNAME before its address.
    let asked = answer.records.iter().filter(|one| one.rrtype.eq_ignore_ascii_case(&options.rrtype));
    let found: Vec<&str> = asked.map(|one| one.data.as_str()).collect();
    let is_there = |wanted: &&str| found.iter().any(|one| is_same(one, wanted));
    let missing: Vec<&str> = options.expect().iter().map(String::as_str).filter(|one| !is_there(one)).collect();
    let wanted = |one: &&&str| options.expect().iter().any(|want| is_same(one, want));
    let others: Vec<&str> = found.iter().filter(|one| !wanted(one)).copied().collect();
    let took = format_micros(answer.micros.into());
    let report = if answer.rcode != options.rcode {
        Report::critical(format!("{}, want {}", answer.rcode, options.rcode))
    } else if answer.rcode != "NOERROR" {
        timed(options, answer, format!("{} in {took}", answer.rcode))
    } else if found.is_empty() {
        Report::critical(format!("no {} record", options.rrtype.to_ascii_uppercase()))
    } else if !missing.is_empty() {
        Report::critical(format!("without {}: {}", missing.join(", "), found.join(", ")))
    } else if options.only && !others.is_empty() {
        Report::critical(format!("{} too", others.join(", ")))
    } else {
        timed(options, answer, format!("{} in {took}", found.join(", ")))
    };
    let ttl = answer.records.iter().map(|one| one.ttl).min().unwrap_or_default();
    report
        .attr("rcode", &answer.rcode)
        .attr("records", found.len())
        .attr("ttl", ttl)
        .attr("authenticated", answer.authenticated)
        .attr("took_us", answer.micros)
}

fn timed(options: &Options, answer: &DnsAnswer, summary: String) -> Report {
    let took = Duration::from_micros(answer.micros.into());
    Report::new(Status::reached(took, options.warn, options.critical), summary)
}

export_check!(Dns);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{DnsRecord, FakeHost, read_options};

    fn answer(rcode: &str, records: &[(&str, &str)]) -> Result<DnsAnswer, Error> {
        let record = |(rrtype, data): &(&str, &str)| DnsRecord {
            name: "a.example.".into(),
            rrtype: (*rrtype).to_owned(),
            ttl: 60,
            data: (*data).to_owned(),
        };
        let records = records.iter().map(record).collect();
        Ok(DnsAnswer { rcode: rcode.to_owned(), records, micros: 150_000, ..DnsAnswer::default() })
    }

    fn check(config: &str, dns: Result<DnsAnswer, Error>) -> Result<Report, String> {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Dns::problems(&options), []);
        Dns::run(&options, &FakeHost { dns: Some(dns), ..FakeHost::default() })
    }

    fn says(config: &str, dns: Result<DnsAnswer, Error>) -> (Status, String) {
        let report = check(config, dns).expect("a report");
        (report.status, report.summary)
    }

    const PLAIN: &str = r#"{"name": "a.example"}"#;
    const TWO: [(&str, &str); 3] = [("CNAME", "b.example."), ("A", "192.0.2.1"), ("A", "192.0.2.2")];

    #[test]
    fn the_records_are_told_and_the_time_decides() {
        assert_eq!(says(PLAIN, answer("NOERROR", &TWO)), (Status::Ok, "192.0.2.1, 192.0.2.2 in 150 ms".into()));
        let slow = |limits: &str| says(&format!("{{\"name\": \"a\", {limits}}}"), answer("NOERROR", &TWO)).0;
        assert_eq!(slow(r#""warn": "100ms", "critical": "200ms""#), Status::Warning);
        assert_eq!(slow(r#""warn": "100ms", "critical": "150ms""#), Status::Critical);
    }

    #[test]
    fn the_code_must_be_right() {
        assert_eq!(says(PLAIN, answer("SERVFAIL", &[])), (Status::Critical, "SERVFAIL, want NOERROR".into()));
        assert_eq!(says(PLAIN, answer("NOERROR", &TWO[..1])), (Status::Critical, "no A record".into()));
        let gone = r#"{"name": "a.example", "rcode": "NXDOMAIN"}"#;
        assert_eq!(says(gone, answer("NXDOMAIN", &[])), (Status::Ok, "NXDOMAIN in 150 ms".into()));
        assert_eq!(says(gone, answer("NOERROR", &TWO)).0, Status::Critical);
    }

    #[test]
    fn what_is_expected_must_be_there() {
        let one = r#"{"name": "a.example", "expect": "192.0.2.1"}"#;
        assert_eq!(says(one, answer("NOERROR", &TWO)).0, Status::Ok);
        let only = r#"{"name": "a.example", "expect": ["192.0.2.1"], "only": true}"#;
        assert_eq!(says(only, answer("NOERROR", &TWO)), (Status::Critical, "192.0.2.2 too".into()));
        assert_eq!(says(only, answer("NOERROR", &TWO[..2])).0, Status::Ok);
        let other = r#"{"name": "a.example", "expect": ["192.0.2.1", "192.0.2.9"]}"#;
        let without = says(other, answer("NOERROR", &TWO));
        assert_eq!(without, (Status::Critical, "without 192.0.2.9: 192.0.2.1, 192.0.2.2".into()));
        let mail = r#"{"name": "a.example", "type": "mx", "expect": "10 Mail.example"}"#;
        assert_eq!(says(mail, answer("NOERROR", &[("MX", "10 mail.example.")])).0, Status::Ok);
        let text = r#"{"name": "a.example", "type": "TXT", "expect": "v=spf1 -all"}"#;
        assert_eq!(says(text, answer("NOERROR", &[("TXT", "\"v=spf1 -all\"")])).0, Status::Ok);
        assert_eq!(says(text, answer("NOERROR", &[("TXT", "\"V=SPF1 -all\"")])).0, Status::Critical);
        assert_eq!(
            says(&text.replace("v=spf1", "V=SPF1"), answer("NOERROR", &[("TXT", "\"v=spf1 -all\"")])).0,
            Status::Critical
        );
    }

    #[test]
    fn nobody_there_is_critical_and_no_grant_no_report() {
        let refused = says(PLAIN, Err(Error::Unreachable("connection refused".into())));
        assert_eq!(refused, (Status::Critical, "the name server: connection refused".into()));
        assert_eq!(says(PLAIN, Err(Error::Timeout)).0, Status::Critical);
        assert_eq!(check(PLAIN, Err(Error::Denied("grants.dns".into()))), Err("denied: grants.dns".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"name": "http://x"}"#, "/name"),
            (r#"{"name": "x", "type": "AX"}"#, "/type"),
            (r#"{"name": "x", "rcode": "NXDOMAIN", "expect": "1.2.3.4"}"#, "/expect"),
            (r#"{"name": "x", "only": true}"#, "/only"),
            (r#"{"name": "x", "warn": "2s", "critical": "1s"}"#, "/warn"),
            (r#"{"name": "x", "critical": "1s", "timeout": "1s"}"#, "/timeout"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Dns::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
