//! Grants: what a plugin asks for, what it is given, and whether one covers the
//! other.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a plugin may reach. Everything absent is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Where it may send requests to; empty: nowhere.
    pub http: Vec<HttpPattern>,
    /// Whether it may read this host's processors, memory and filesystems.
    pub system: bool,
}

impl Grants {
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && !self.system
    }

    /// What both allow. The effective grant is the manifest's, the operator's
    /// and the host's, intersected.
    pub fn intersect(&self, other: &Grants) -> Grants {
        let mut http: Vec<HttpPattern> =
            self.http.iter().flat_map(|a| other.http.iter().filter_map(|b| a.intersect(b))).collect();
        http.sort();
        http.dedup();
        Grants { http, system: self.system && other.system }
    }

    /// Whether `other` allows all that this allows. A pattern counts as allowed
    /// only if a single one of `other` covers it.
    pub fn is_subset(&self, other: &Grants) -> bool {
        let covered = |one: &HttpPattern| other.http.iter().any(|wide| wide.covers(one));
        (!self.system || other.system) && self.http.iter().all(covered)
    }

    /// Whether a request there is allowed.
    pub fn allows_http(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.http.iter().any(|pattern| pattern.matches(scheme, host, port))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// `scheme://host[:port]`.
///
/// The host is a name or address as it stands in the URL, `*`, or `*.` and a
/// domain (all names below it, not itself). The port is a number or `*`; absent
/// it is the scheme's own. Names are compared as written: who grants a name
/// trusts whoever answers for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpPattern {
    scheme: Scheme,
    host: Host,
    port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Any,
    /// With its leading dot.
    Below(String),
    Exact(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Port {
    Any,
    Exact(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpPatternError {
    #[error("grants.http: {0:?} has no scheme: write it like http://127.0.0.1:* or https://*.example.com")]
    Scheme(String),
    #[error("grants.http: {0:?} has a path: a grant names scheme, host and port only")]
    Path(String),
    #[error("grants.http: {0:?} has no usable host: use a name, an address, *.example.com or *")]
    Host(String),
    #[error("grants.http: {0:?} has no usable port: use 1 to 65535, or *")]
    Port(String),
}

impl HttpPattern {
    /// Host as in a URL, with or without the brackets of an IPv6 address.
    pub fn matches(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host = normal_host(host);
        scheme.eq_ignore_ascii_case(self.scheme.word())
            && match &self.host {
                Host::Any => !host.is_empty(),
                Host::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
                Host::Exact(name) => *name == host,
            }
            && match self.port {
                Port::Any => true,
                Port::Exact(wanted) => wanted == port,
            }
    }

    pub fn covers(&self, other: &HttpPattern) -> bool {
        self.intersect(other).as_ref() == Some(other)
    }

    /// Each part of the one met with the same part of the other: two patterns
    /// have at most one pattern in common.
    pub fn intersect(&self, other: &HttpPattern) -> Option<HttpPattern> {
        if self.scheme != other.scheme {
            return None;
        }
        let host = match (&self.host, &other.host) {
            (Host::Any, host) | (host, Host::Any) => host.clone(),
            (Host::Exact(a), Host::Exact(b)) if a == b => Host::Exact(a.clone()),
            (Host::Exact(name), Host::Below(suffix)) | (Host::Below(suffix), Host::Exact(name))
                if name.len() > suffix.len() && name.ends_with(suffix.as_str()) =>
            {
                Host::Exact(name.clone())
            }
            (Host::Below(a), Host::Below(b)) if a.ends_with(b.as_str()) => Host::Below(a.clone()),
            (Host::Below(a), Host::Below(b)) if b.ends_with(a.as_str()) => Host::Below(b.clone()),
            _ => return None,
        };
        let port = match (self.port, other.port) {
            (Port::Any, port) | (port, Port::Any) => port,
            (Port::Exact(a), Port::Exact(b)) if a == b => Port::Exact(a),
            _ => return None,
        };
        Some(HttpPattern { scheme: self.scheme, host, port })
    }
}

fn normal_host(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl FromStr for HttpPattern {
    type Err = HttpPatternError;

    fn from_str(text: &str) -> Result<Self, HttpPatternError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| HttpPatternError::Scheme(text.to_owned()))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(HttpPatternError::Scheme(text.to_owned())),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(HttpPatternError::Path(text.to_owned()));
        }
        let wrong_host = || HttpPatternError::Host(text.to_owned());
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (address, after) = inner.split_once(']').ok_or_else(wrong_host)?;
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| wrong_host())?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(wrong_host()),
            };
            (Host::Exact(address.to_string()), port)
        } else {
            let (host, port) = match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            };
            (parse_host(host).ok_or_else(wrong_host)?, port)
        };
        let port = match port {
            None => Port::Exact(scheme.default_port()),
            Some("*") => Port::Any,
            Some(number) => match number.parse() {
                Ok(number) if number > 0 => Port::Exact(number),
                _ => return Err(HttpPatternError::Port(text.to_owned())),
            },
        };
        Ok(HttpPattern { scheme, host, port })
    }
}

fn parse_host(text: &str) -> Option<Host> {
    if text == "*" {
        return Some(Host::Any);
    }
    let (name, below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = normal_host(name);
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let sound = !name.is_empty() && name.chars().all(word) && name.split('.').all(|label| !label.is_empty());
    match (sound, below) {
        (false, _) => None,
        (true, true) => Some(Host::Below(format!(".{name}"))),
        (true, false) => Some(Host::Exact(name)),
    }
}

impl fmt::Display for HttpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.word())?;
        match &self.host {
            Host::Any => f.write_str("*")?,
            Host::Below(suffix) => write!(f, "*{suffix}")?,
            Host::Exact(name) if name.contains(':') => write!(f, "[{name}]")?,
            Host::Exact(name) => f.write_str(name)?,
        }
        match self.port {
            Port::Any => f.write_str(":*"),
            Port::Exact(port) if port == self.scheme.default_port() => Ok(()),
            Port::Exact(port) => write!(f, ":{port}"),
        }
    }
}

impl TryFrom<String> for HttpPattern {
    type Error = HttpPatternError;
    fn try_from(text: String) -> Result<Self, HttpPatternError> {
        text.parse()
    }
}

impl From<HttpPattern> for String {
    fn from(pattern: HttpPattern) -> String {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> HttpPattern {
        text.parse().expect(text)
    }

    fn grants(http: &[&str], system: bool) -> Grants {
        Grants { http: http.iter().map(|text| pattern(text)).collect(), system }
    }

    #[test]
    fn matches_what_it_says() {
        for (text, scheme, host, port, expect) in [
            ("http://127.0.0.1:*", "http", "127.0.0.1", 8080, true),
            ("http://127.0.0.1:*", "https", "127.0.0.1", 8080, false),
            ("http://127.0.0.1:*", "http", "127.0.0.2", 8080, false),
            ("http://127.0.0.1:*", "http", "127.0.0.1.evil.com", 80, false),
            ("http://127.0.0.1", "http", "127.0.0.1", 80, true),
            ("http://127.0.0.1", "http", "127.0.0.1", 81, false),
            ("https://*.example.com", "https", "a.b.EXAMPLE.com.", 443, true),
            ("https://*.example.com", "https", "example.com", 443, false),
            ("https://*.example.com", "https", "badexample.com", 443, false),
            ("https://*.example.com", "https", ".example.com", 443, false),
            ("http://*", "http", "x", 80, true),
            ("http://*", "http", "x", 8080, false),
            ("http://*:*", "http", "[::1]", 8080, true),
            ("http://[::1]:*", "http", "[::1]", 1, true),
            ("HTTP://Example.com:8080", "http", "example.COM", 8080, true),
        ] {
            assert_eq!(pattern(text).matches(scheme, host, port), expect, "{text} {scheme} {host} {port}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for (text, says) in [
            ("127.0.0.1", "no scheme"),
            ("ftp://x", "no scheme"),
            ("http://x/y", "has a path"),
            ("http://", "no usable host"),
            ("http://a*b", "no usable host"),
            ("http://*.*", "no usable host"),
            ("http://a..b", "no usable host"),
            ("http://u@x", "no usable host"),
            ("http://[::1", "no usable host"),
            ("http://[x]", "no usable host"),
            ("http://x:0", "no usable port"),
            ("http://x:99999", "no usable port"),
            ("http://x:", "no usable port"),
        ] {
            let error = text.parse::<HttpPattern>().expect_err(text).to_string();
            assert!(error.contains(says) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn meets_part_by_part() {
        let ours = grants(&["http://*:8080", "https://*.example.com:*"], true);
        let theirs = grants(&["http://a.com:*", "https://x.example.com", "https://*.b.example.com:9"], false);
        let both = ours.intersect(&theirs);
        assert_eq!(both, grants(&["http://a.com:8080", "https://*.b.example.com:9", "https://x.example.com"], false));
        assert!(both.is_subset(&ours) && both.is_subset(&theirs));
        assert!(!ours.is_subset(&theirs));
        assert!(Grants::default().is_subset(&both));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,40}") {
            let _ = text.parse::<HttpPattern>();
        }

        #[test]
        fn display_reads_back(text in "https?://(\\*|\\*\\.[a-c]{1,2}\\.d|[a-c]{1,2}\\.d|\\[::[1-9]\\])(:\\*|:[1-9][0-9]{0,3})?") {
            let one = pattern(&text);
            prop_assert_eq!(pattern(&one.to_string()), one);
        }

        /// What the intersection allows is exactly what both allow.
        #[test]
        fn intersection_means_both(
            a in "https?://(\\*|\\*\\.[ab]|\\*\\.[ab]\\.[ab]|[ab]\\.[ab])(:\\*|:[12])",
            b in "https?://(\\*|\\*\\.[ab]|\\*\\.[ab]\\.[ab]|[ab]\\.[ab])(:\\*|:[12])",
            scheme in "https?", host in "[ab](\\.[ab]){0,2}", port in 1u16..3,
        ) {
            let (a, b) = (pattern(&a), pattern(&b));
            let both = a.intersect(&b);
            let met = both.as_ref().is_some_and(|one| one.matches(&scheme, &host, port));
            prop_assert_eq!(met, a.matches(&scheme, &host, port) && b.matches(&scheme, &host, port));
        }
    }
}
