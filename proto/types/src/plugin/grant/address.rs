//! Where a connection may go: hosts, ports, and the patterns made of them.

use super::path::PathPattern;
use super::{Pattern, PatternError, pattern_text};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

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

    pub fn parse(word: &str) -> Option<Scheme> {
        match word.to_ascii_lowercase().as_str() {
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            _ => None,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpPattern {
    scheme: Scheme,
    host: HostPattern,
    port: Port,
}

/// A name or an address, `*`, or `*.` and a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    Any,
    /// With its leading dot.
    Below(String),
    Exact(String),
}

/// `host:port`, or `unix:` and the path of a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketPattern {
    Tcp { host: HostPattern, port: Port },
    Unix(PathPattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    Any,
    Exact(u16),
}

impl Port {
    fn matches(self, port: u16) -> bool {
        match self {
            Port::Any => true,
            Port::Exact(wanted) => wanted == port,
        }
    }

    fn meet(self, other: Port) -> Option<Port> {
        match (self, other) {
            (Port::Any, port) | (port, Port::Any) => Some(port),
            (Port::Exact(a), Port::Exact(b)) => (a == b).then_some(Port::Exact(a)),
        }
    }

    fn parse(text: &str) -> Option<Port> {
        match text {
            "*" => Some(Port::Any),
            number => number.parse().ok().filter(|number| *number > 0).map(Port::Exact),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Any => f.write_str("*"),
            Port::Exact(port) => write!(f, "{port}"),
        }
    }
}

impl HostPattern {
    /// With or without the brackets of an IPv6 address.
    pub fn matches(&self, host: &str) -> bool {
        let host = normal_host(host);
        match self {
            HostPattern::Any => !host.is_empty(),
            HostPattern::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            HostPattern::Exact(name) => *name == host,
        }
    }

    /// Whether this very address is written here.
    pub fn is_address(&self, address: IpAddr) -> bool {
        matches!(self, HostPattern::Exact(name) if name.parse() == Ok(address))
    }
}

impl Pattern for HostPattern {
    fn meet(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (HostPattern::Any, host) | (host, HostPattern::Any) => host.clone(),
            (HostPattern::Exact(a), HostPattern::Exact(b)) if a == b => HostPattern::Exact(a.clone()),
            (HostPattern::Exact(name), HostPattern::Below(suffix))
            | (HostPattern::Below(suffix), HostPattern::Exact(name))
                if name.len() > suffix.len() && name.ends_with(suffix.as_str()) =>
            {
                HostPattern::Exact(name.clone())
            }
            (HostPattern::Below(a), HostPattern::Below(b)) if a.ends_with(b.as_str()) => HostPattern::Below(a.clone()),
            (HostPattern::Below(a), HostPattern::Below(b)) if b.ends_with(a.as_str()) => HostPattern::Below(b.clone()),
            _ => return None,
        })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Below(suffix) => write!(f, "*{suffix}"),
            HostPattern::Exact(name) if name.contains(':') => write!(f, "[{name}]"),
            HostPattern::Exact(name) => f.write_str(name),
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        parse_host(text).ok_or_else(|| no_host(text))
    }
}

fn no_host(text: &str) -> PatternError {
    PatternError::new(text, "has no usable host: use a name, an address, *.example.com or *")
}

fn no_port(text: &str) -> PatternError {
    PatternError::new(text, "has no usable port: use 1 to 65535, or *")
}

/// `host`, `host:port`, `[::1]:port`.
fn host_and_port(text: &str) -> Option<(HostPattern, Option<&str>)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (address, after) = inner.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return None,
        };
        return Some((HostPattern::Exact(address.to_string()), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    Some((parse_host(host)?, port))
}

impl HttpPattern {
    pub fn matches(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        scheme == self.scheme && self.host.matches(host) && self.port.matches(port)
    }

    pub(super) fn host(&self) -> &HostPattern {
        &self.host
    }
}

impl Pattern for HttpPattern {
    /// Each part of the one met with the same part of the other: two patterns
    /// have at most one pattern in common.
    fn meet(&self, other: &Self) -> Option<Self> {
        let same = self.scheme == other.scheme;
        let (host, port) = (self.host.meet(&other.host)?, self.port.meet(other.port)?);
        same.then_some(HttpPattern { scheme: self.scheme, host, port })
    }
}

impl SocketPattern {
    pub fn matches(&self, to_host: &str, to_port: u16) -> bool {
        matches!(self, SocketPattern::Tcp { host, port } if host.matches(to_host) && port.matches(to_port))
    }

    pub fn matches_unix(&self, path: &str) -> bool {
        matches!(self, SocketPattern::Unix(pattern) if pattern.matches(path))
    }
}

impl Pattern for SocketPattern {
    fn meet(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (SocketPattern::Tcp { host, port }, SocketPattern::Tcp { host: other_host, port: other_port }) => {
                Some(SocketPattern::Tcp { host: host.meet(other_host)?, port: port.meet(*other_port)? })
            }
            (SocketPattern::Unix(a), SocketPattern::Unix(b)) => Some(SocketPattern::Unix(a.meet(b)?)),
            _ => None,
        }
    }
}

impl FromStr for SocketPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(SocketPattern::Unix(path.parse()?));
        }
        let (host, port) = host_and_port(text).ok_or_else(|| no_host(text))?;
        let port = port.ok_or_else(|| {
            PatternError::new(text, "has no port: write it like 127.0.0.1:6379, or unix:/run/redis.sock")
        })?;
        Ok(SocketPattern::Tcp { host, port: Port::parse(port).ok_or_else(|| no_port(text))? })
    }
}

impl fmt::Display for SocketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketPattern::Tcp { host, port } => write!(f, "{host}:{port}"),
            SocketPattern::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Addresses that only this host's own network knows. A mapped address is the
/// one it maps.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, ..] = four.octets();
            let shared = a == 100 && (64..128).contains(&b);
            four.is_loopback()
                || four.is_private()
                || four.is_link_local()
                || four.is_unspecified()
                || four.is_broadcast()
                || four.is_multicast()
                || shared
        }
        IpAddr::V6(six) => {
            let first = six.segments().first().copied().unwrap_or_default();
            six.is_loopback()
                || six.is_unspecified()
                || six.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
        }
    }
}

/// Where clouds hand out credentials to whoever asks.
pub fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80),
    }
}

fn normal_host(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl FromStr for HttpPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let no_scheme =
            || PatternError::new(text, "has no scheme: write it like http://127.0.0.1:* or https://*.example.com");
        let (scheme, rest) = text.split_once("://").ok_or_else(no_scheme)?;
        let scheme = Scheme::parse(scheme).ok_or_else(no_scheme)?;
        if rest.contains(['/', '?', '#']) {
            return Err(PatternError::new(text, "has a path: a grant names scheme, host and port only"));
        }
        let (host, port) = host_and_port(rest).ok_or_else(|| no_host(text))?;
        let port = match port {
            None => Port::Exact(scheme.default_port()),
            Some(port) => Port::parse(port).ok_or_else(|| no_port(text))?,
        };
        Ok(HttpPattern { scheme, host, port })
    }
}

fn parse_host(text: &str) -> Option<HostPattern> {
    if text == "*" {
        return Some(HostPattern::Any);
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
        (true, true) => Some(HostPattern::Below(format!(".{name}"))),
        (true, false) => Some(HostPattern::Exact(name)),
    }
}

impl fmt::Display for HttpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.word(), self.host)?;
        match self.port {
            Port::Exact(port) if port == self.scheme.default_port() => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

pattern_text!(HttpPattern, HostPattern, SocketPattern);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> HttpPattern {
        text.parse().expect(text)
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
            assert_eq!(
                pattern(text).matches(Scheme::parse(scheme).expect(scheme), host, port),
                expect,
                "{text} {scheme} {host} {port}"
            );
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
    fn sockets_are_hosts_with_ports_or_paths() {
        let socket = |text: &str| text.parse::<SocketPattern>().expect(text);
        assert!(socket("*.db:5432").matches("a.db", 5432) && !socket("*.db:5432").matches("a.db", 5433));
        assert!(socket("[::1]:*").matches("::1", 9));
        assert!(socket("unix:/run/*.sock").matches_unix("/run/redis.sock"));
        assert!(!socket("unix:/run/*.sock").matches_unix("/run/a/redis.sock"));
        assert_eq!(socket("*:*").meet(&socket("a:1")), Some(socket("a:1")));
        assert_eq!(socket("*:*").meet(&socket("unix:/run/x")), None);
        for text in ["*.db:5432", "[::1]:*", "unix:/run/*.sock"] {
            assert_eq!(socket(text).to_string(), text);
        }
        for (text, says) in [("a", "has no port"), (":1", "no usable host"), ("a:0", "no usable port"), ("unix:x", "/")]
        {
            let error = text.parse::<SocketPattern>().expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn knows_private_addresses() {
        for (text, private) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("192.168.0.1", true),
            ("169.254.169.254", true),
            ("100.64.0.1", true),
            ("0.0.0.0", true),
            ("8.8.8.8", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("2001:4860::1", false),
        ] {
            assert_eq!(is_private(text.parse().expect(text)), private, "{text}");
        }
        assert!(is_link_local("::ffff:169.254.169.254".parse().expect("an address")));
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
            let scheme = Scheme::parse(&scheme).expect("one of two");
            let (a, b) = (pattern(&a), pattern(&b));
            let both = a.meet(&b);
            let met = both.as_ref().is_some_and(|one| one.matches(scheme, &host, port));
            prop_assert_eq!(met, a.matches(scheme, &host, port) && b.matches(scheme, &host, port));
        }
    }
}
