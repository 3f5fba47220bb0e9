//! Whether a server's certificate is trusted, and for how long.

use hostler_plugin_sdk::units;
use hostler_plugin_sdk::{
    Certificate as Found, Check, ConfigError, Error, Host, Probe, Report, Sample, Status, TlsTarget, export_check,
};
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;

pub struct Certificate;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    host: String,
    port: Option<u16>,
    server_name: Option<String>,
    starttls: Option<String>,
    #[serde(default = "default_warn")]
    warn: u32,
    #[serde(default = "default_critical")]
    critical: u32,
    #[serde(default = "default_verify")]
    verify: bool,
    #[serde(default, deserialize_with = "units::duration")]
    timeout: Option<Duration>,
}

/// Who renews by machine does so 30 days before: a week of failures is enough.
fn default_warn() -> u32 {
    21
}

fn default_critical() -> u32 {
    7
}

fn default_verify() -> bool {
    true
}

const DAY: u64 = 86_400;

/// Each with its protocol's port.
const STARTTLS: [(&str, u16); 5] = [("smtp", 25), ("imap", 143), ("pop3", 110), ("ftp", 21), ("postgres", 5432)];

impl Options {
    fn name(&self) -> &str {
        self.server_name.as_deref().unwrap_or(&self.host)
    }

    fn port(&self) -> u16 {
        let usual = STARTTLS.iter().find(|(word, _)| Some(*word) == self.starttls.as_deref());
        self.port.or(usual.map(|(_, port)| *port)).unwrap_or(443)
    }
}

impl Check for Certificate {
    type Options = Options;

    fn problems(options: &Options) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if options.host.is_empty() || options.host.contains(['/', ' ']) {
            problems.push(ConfigError::new("/host", "is no name or address"));
        }
        if options.warn <= options.critical {
            problems.push(ConfigError::new("/warn", "is not above critical, so it would never be reached"));
        }
        let known = |word: &String| STARTTLS.iter().any(|(known, _)| known == word);
        if !options.starttls.as_ref().is_none_or(known) {
            problems.push(ConfigError::new("/starttls", "is none of smtp, imap, pop3, ftp and postgres"));
        }
        problems
    }

    fn run(options: &Options, host: &impl Host) -> Result<Report, String> {
        let target = TlsTarget {
            host: options.host.clone(),
            port: options.port(),
            server_name: options.name().to_owned(),
            starttls: options.starttls.clone(),
            timeout: options.timeout.unwrap_or_else(|| host.remaining()),
        };
        let probe = match host.inspect_tls(&target) {
            Ok(probe) => probe,
            Err(Error::Timeout) => return Ok(Report::critical("no handshake in time")),
            Err(Error::Unreachable(why)) => return Ok(Report::critical(why)),
            // Not the target's doing.
            Err(error) => return Err(error.to_string()),
        };
        let now = host.wall().as_secs();
        let Some((leaf, first)) = probe.chain.first().zip(first_to_end(&probe.chain, now)) else {
            return Ok(Report::critical("the server shows no certificate"));
        };
        host.graph(&[Sample::gauge("probe_ssl_earliest_cert_expiry", first.not_after as f64)]);
        let report = judge(options, &probe, leaf, first, now);
        Ok(report.details(details(&probe, now)).attr("names", leaf.names.join(" ")).attr("version", &probe.version))
    }
}

/// What a client does not need may have ended: servers send such for old clients.
fn first_to_end(chain: &[Found], now: u64) -> Option<&Found> {
    let (leaf, issuers) = chain.split_first()?;
    issuers.iter().filter(|one| one.not_after > now).chain([leaf]).min_by_key(|one| one.not_after)
}

/// As RFC 6125 has it: a star stands for one whole label, the first.
fn covers(pattern: &str, name: &str) -> bool {
    if let (Ok(one), Ok(other)) = (pattern.parse::<IpAddr>(), name.parse::<IpAddr>()) {
        return one == other;
    }
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.trim_end_matches('.').to_ascii_lowercase());
    match (pattern.strip_prefix("*."), name.split_once('.')) {
        (Some(domain), Some((_, rest))) => domain == rest,
        _ => pattern == name,
    }
}

fn judge(options: &Options, probe: &Probe, leaf: &Found, first: &Found, now: u64) -> Report {
    let name = options.name();
    if leaf.not_after == 0 {
        return Report::unknown("the server's certificate can't be read");
    }
    if leaf.not_after <= now {
        return Report::critical(format!("ended {} days ago", (now - leaf.not_after) / DAY)).attr("days", 0);
    }
    let days = (first.not_after - now) / DAY;
    if options.verify && !leaf.names.iter().any(|pattern| covers(pattern, name)) {
        let names = if leaf.names.is_empty() { "no name".to_owned() } else { leaf.names.join(", ") };
        return Report::critical(format!("is for {names}, not for {name}")).attr("days", days);
    }
    if let Some(why) = probe.verify_error.as_ref().filter(|_| options.verify) {
        return Report::critical(format!("is not trusted: {why}")).attr("days", days);
    }
    let status = if days < options.critical.into() {
        Status::Critical
    } else if days < options.warn.into() {
        Status::Warning
    } else {
        Status::Ok
    };
    let whose = if first == leaf { String::new() } else { format!("its issuer's, {}, ", first.subject) };
    Report::new(status, format!("{whose}ends in {days} days")).attr("days", days)
}

fn details(probe: &Probe, now: u64) -> String {
    let line = |one: &Found| {
        let days = one.not_after.saturating_sub(now) / DAY;
        format!("{}\n  by {}\n  {days} days left, SHA-256 {}", one.subject, one.issuer, one.sha256)
    };
    let chain: Vec<String> = probe.chain.iter().map(line).collect();
    format!("{} {}\n{}", probe.version, probe.cipher, chain.join("\n"))
}

export_check!(Certificate);

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_sdk::{FakeHost, read_options};

    const NOW: u64 = 20_000 * DAY;

    fn certificate(subject: &str, days: u64) -> Found {
        let names = vec!["*.example.com".to_owned(), "10.0.0.1".to_owned()];
        Found { subject: subject.to_owned(), names, not_after: NOW + days * DAY + 60, ..Found::default() }
    }

    fn chain(leaf: u64, issuer: u64) -> Probe {
        let chain = vec![certificate("CN=x", leaf), certificate("CN=Issuing 1", issuer)];
        Probe { version: "TLSv1.3".into(), chain, ..Probe::default() }
    }

    fn check(config: &str, tls: Result<Probe, Error>) -> Result<Report, String> {
        let options: Options = read_options(config).expect(config);
        assert_eq!(Certificate::problems(&options), []);
        Certificate::run(&options, &FakeHost { tls: Some(tls), wall: NOW, ..FakeHost::default() })
    }

    fn says(config: &str, probe: Probe) -> (Status, String) {
        let report = check(config, Ok(probe)).expect("a report");
        (report.status, report.summary)
    }

    const PLAIN: &str = r#"{"host": "www.example.com"}"#;

    #[test]
    fn its_days_decide() {
        assert_eq!(says(PLAIN, chain(62, 900)), (Status::Ok, "ends in 62 days".into()));
        assert_eq!(says(PLAIN, chain(21, 900)).0, Status::Ok);
        assert_eq!(says(PLAIN, chain(20, 900)), (Status::Warning, "ends in 20 days".into()));
        assert_eq!(says(PLAIN, chain(6, 900)), (Status::Critical, "ends in 6 days".into()));
        let wide = r#"{"host": "a.example.com", "warn": 90, "critical": 70}"#;
        assert_eq!(says(wide, chain(80, 900)).0, Status::Warning);
        let mut ended = chain(62, 900);
        ended.chain[0].not_after = NOW - 3 * DAY;
        ended.verify_error = Some("certificate expired".into());
        assert_eq!(says(PLAIN, ended), (Status::Critical, "ended 3 days ago".into()));
    }

    #[test]
    fn an_issuer_that_ends_first_decides() {
        let issuer = says(PLAIN, chain(62, 5));
        assert_eq!(issuer, (Status::Critical, "its issuer's, CN=Issuing 1, ends in 5 days".into()));
        let mut old = chain(62, 900);
        old.chain[1].not_after = NOW - DAY;
        assert_eq!(says(PLAIN, old), (Status::Ok, "ends in 62 days".into()), "nobody needs it");
    }

    #[test]
    fn it_must_be_for_the_name_and_trusted() {
        let other = says(r#"{"host": "example.com"}"#, chain(62, 900));
        assert_eq!(other, (Status::Critical, "is for *.example.com, 10.0.0.1, not for example.com".into()));
        assert_eq!(says(r#"{"host": "10.0.0.1"}"#, chain(62, 900)).0, Status::Ok);
        let named = r#"{"host": "10.0.0.9", "server_name": "WWW.example.com", "starttls": "smtp"}"#;
        assert_eq!(says(named, chain(62, 900)).0, Status::Ok);
        let unknown = Probe { verify_error: Some("unknown issuer".into()), ..chain(62, 900) };
        assert_eq!(says(PLAIN, unknown.clone()), (Status::Critical, "is not trusted: unknown issuer".into()));
        let own = r#"{"host": "localhost", "verify": false}"#;
        assert_eq!(says(own, unknown), (Status::Ok, "ends in 62 days".into()));
    }

    #[test]
    fn stars_stand_for_one_label() {
        for (pattern, name, expect) in [
            ("a.example", "A.example.", true),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", "example", false),
            ("::1", "0:0:0:0:0:0:0:1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            assert_eq!(covers(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn nobody_there_is_critical_and_no_grant_no_report() {
        let refused = check(PLAIN, Err(Error::Unreachable("connection refused".into()))).expect("a report");
        assert_eq!((refused.status, refused.summary.as_str()), (Status::Critical, "connection refused"));
        assert_eq!(check(PLAIN, Err(Error::Timeout)).expect("a report").status, Status::Critical);
        assert_eq!(says(PLAIN, Probe::default()).0, Status::Critical);
        let garbled = Probe { chain: vec![Found::default()], ..Probe::default() };
        assert_eq!(says(PLAIN, garbled), (Status::Unknown, "the server's certificate can't be read".into()));
        assert_eq!(check(PLAIN, Err(Error::Denied("grants.tcp".into()))), Err("denied: grants.tcp".into()));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (config, expect) in [
            (r#"{"host": "https://x/"}"#, "/host"),
            (r#"{"host": "x", "warn": 7}"#, "/warn"),
            (r#"{"host": "x", "starttls": "ldap"}"#, "/starttls"),
        ] {
            let options: Options = read_options(config).expect(config);
            let pointers: Vec<String> = Certificate::problems(&options).into_iter().map(|one| one.pointer).collect();
            assert_eq!(pointers, [expect], "{config}");
        }
    }
}
