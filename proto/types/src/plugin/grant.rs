//! Grants: what a plugin asks for, what it is given, and whether one covers the
//! other.

mod address;
mod command;
mod need;
mod path;
mod word;

pub use address::{HostPattern, HttpPattern, Scheme, SocketPattern, is_link_local, is_private};
pub use command::CommandPattern;
pub use need::Need;
pub use path::PathPattern;
pub use word::WordPattern;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// One line of a grant. Written, compared and met like all the others.
pub trait Pattern: Sized + Clone + PartialEq {
    /// What both allow, or a part of it; never more.
    fn meet(&self, other: &Self) -> Option<Self>;

    /// Whether this allows all that the other allows.
    fn covers(&self, other: &Self) -> bool {
        self.meet(other).as_ref() == Some(other)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}")]
pub struct PatternError {
    text: String,
    problem: &'static str,
}

impl PatternError {
    fn new(text: &str, problem: &'static str) -> Self {
        Self { text: text.to_owned(), problem }
    }
}

/// A pattern is its text wherever it is written down.
macro_rules! pattern_text {
    ($($pattern:ty),+) => {$(
        impl serde::Serialize for $pattern {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $pattern {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
use pattern_text;

/// Whether the text is what the pattern says, `*` standing for anything. As a `*`
/// in the text is matched by one in the pattern only, the text may be a pattern
/// too: then this says whether the first covers it.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(in_text) {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at, in_text));
                at += 1;
            }
            Some(wanted) if wanted == letter => {
                at += 1;
                in_text += 1;
            }
            _ => match &mut retry {
                Some((star, from)) => {
                    *from += 1;
                    (at, in_text) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|letter| *letter == '*'))
}

/// What a plugin may reach. Everything absent is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Where it may send requests to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpPattern>,
    /// Where it may connect to, TLS or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<SocketPattern>,
    /// Which names it may ask the DNS for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<HostPattern>,
    /// Whom it may ping.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icmp: Vec<HostPattern>,
    /// Which files it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathPattern>,
    /// Which programs it may run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandPattern>,
    /// Which units of systemd it may look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<WordPattern>,
    /// Which containers it may look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<WordPattern>,
    /// Which secrets it may send on, without seeing them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<WordPattern>,
    /// Which of them it may see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reveal: Vec<WordPattern>,
    /// Whether it may read this host's processors, memory, disks and network.
    #[serde(skip_serializing_if = "is_false")]
    pub system: bool,
    /// Whether it may see processes, with their command lines.
    #[serde(skip_serializing_if = "is_false")]
    pub processes: bool,
    /// Whether addresses of private networks are refused to it, unless one is
    /// written out above. Not a grant but a narrowing of them.
    #[serde(skip_serializing_if = "is_false")]
    pub public_only: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Calls `$do` with each list's name and its place on both sides, so that no list
/// is forgotten in one of the places that go over all of them.
macro_rules! each_list {
    ($do:ident) => {
        $do!(http);
        $do!(tcp);
        $do!(dns);
        $do!(icmp);
        $do!(files);
        $do!(commands);
        $do!(units);
        $do!(containers);
        $do!(secrets);
        $do!(reveal);
    };
}

impl Grants {
    pub fn is_empty(&self) -> bool {
        self.lines().next().is_none()
    }

    /// Each grant as (its key in plugin.toml, its text); the text of a flag is empty.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let mut lines: Vec<(&'static str, String)> = Vec::new();
        macro_rules! add {
            ($list:ident) => {
                lines.extend(self.$list.iter().map(|one| (stringify!($list), one.to_string())))
            };
        }
        each_list!(add);
        let flags = [("system", self.system), ("processes", self.processes), ("public_only", self.public_only)];
        lines.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name, String::new())));
        lines.into_iter()
    }

    /// What both allow. The effective grant is the manifest's, the operator's
    /// and the host's, intersected.
    pub fn intersect(&self, other: &Grants) -> Grants {
        let mut both = Grants {
            system: self.system && other.system,
            processes: self.processes && other.processes,
            public_only: self.public_only || other.public_only,
            ..Grants::default()
        };
        macro_rules! meet {
            ($list:ident) => {
                both.$list = self.$list.iter().flat_map(|a| other.$list.iter().filter_map(|b| a.meet(b))).collect();
                both.$list.sort();
                both.$list.dedup();
            };
        }
        each_list!(meet);
        both
    }

    /// Whether `other` allows all that this allows. A pattern counts as allowed
    /// only if a single one of `other` covers it.
    pub fn is_subset(&self, other: &Grants) -> bool {
        self.beyond(other).is_empty()
    }

    /// What this allows and `other` does not.
    pub fn beyond(&self, other: &Grants) -> Grants {
        let mut more = Grants {
            system: self.system && !other.system,
            processes: self.processes && !other.processes,
            ..Grants::default()
        };
        macro_rules! keep {
            ($list:ident) => {
                let covered = |one| other.$list.iter().any(|wide| wide.covers(one));
                more.$list = self.$list.iter().filter(|one| !covered(*one)).cloned().collect();
            };
        }
        each_list!(keep);
        // Without the narrowing every address pattern reaches further.
        if other.public_only && !self.public_only {
            more.http = self.http.clone();
            more.tcp = self.tcp.clone();
            more.icmp = self.icmp.clone();
        }
        more
    }

    /// All that one of the two allows.
    pub fn union(&self, other: &Grants) -> Grants {
        let mut all = Grants {
            system: self.system || other.system,
            processes: self.processes || other.processes,
            public_only: self.public_only && other.public_only,
            ..Grants::default()
        };
        macro_rules! join {
            ($list:ident) => {
                all.$list = self.$list.iter().chain(&other.$list).cloned().collect();
                all.$list.sort();
                all.$list.dedup();
            };
        }
        each_list!(join);
        all
    }

    /// Whether this much is granted.
    pub fn allows(&self, need: &Need) -> bool {
        match need {
            Need::Nothing => true,
            Need::Http { scheme, host, port } => self.http.iter().any(|one| one.matches(*scheme, host, *port)),
            Need::Tcp { host, port } => self.tcp.iter().any(|one| one.matches(host, *port)),
            Need::Unix { path } => self.tcp.iter().any(|one| one.matches_unix(path)),
            Need::Dns { name } => self.dns.iter().any(|one| one.matches(name)),
            Need::Icmp { host } => self.icmp.iter().any(|one| one.matches(host)),
            Need::File { path } => self.files.iter().any(|one| one.matches(path)),
            Need::Command { name, arguments } => self.commands.iter().any(|one| one.matches(name, arguments)),
            Need::Unit { name } => self.units.iter().any(|one| one.matches(name)),
            Need::Container { name } => self.containers.iter().any(|one| one.matches(name)),
            Need::Secret { name } => self.secrets.iter().any(|one| one.matches(name)),
            Need::Reveal { name } => self.reveal.iter().any(|one| one.matches(name)),
            Need::System => self.system,
            Need::Processes => self.processes,
        }
    }

    /// Whether what a granted name turned out to be may be connected to. An
    /// address that a pattern writes out may be; one of the link's own network,
    /// where clouds keep credentials, may not be met by chance.
    pub fn allows_address(&self, need: &Need, address: IpAddr) -> bool {
        let written = match need {
            Need::Http { scheme, host, port } => {
                self.http.iter().any(|one| one.matches(*scheme, host, *port) && one.host().is_address(address))
            }
            Need::Tcp { host, port } => self.tcp.iter().any(|one| {
                one.matches(host, *port) && matches!(one, SocketPattern::Tcp { host, .. } if host.is_address(address))
            }),
            Need::Icmp { host } => self.icmp.iter().any(|one| one.matches(host) && one.is_address(address)),
            _ => false,
        };
        written || !(is_link_local(address) || self.public_only && is_private(address))
    }
}

/// As a sentence's end: `http https://*, system`.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.lines().peekable();
        if lines.peek().is_none() {
            return f.write_str("nothing");
        }
        let mut before = "";
        for (key, text) in lines {
            match (before.is_empty(), before == key) {
                (true, _) => f.write_str(key)?,
                (false, true) => {}
                (false, false) => write!(f, ", {key}")?,
            }
            if !text.is_empty() {
                write!(f, " {text}")?;
            }
            before = key;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> Grants {
        toml::from_str(text).expect(text)
    }

    #[test]
    fn meets_part_by_part() {
        let ours = grants("http = [\"http://*:8080\", \"https://*.example.com:*\"]\nsystem = true");
        let theirs = grants("http = [\"http://a.com:*\", \"https://x.example.com\", \"https://*.b.example.com:9\"]");
        let both = ours.intersect(&theirs);
        let expect = "http = [\"http://a.com:8080\", \"https://*.b.example.com:9\", \"https://x.example.com\"]";
        assert_eq!(both, grants(expect));
        assert!(both.is_subset(&ours) && both.is_subset(&theirs));
        assert!(!ours.is_subset(&theirs));
        assert!(Grants::default().is_subset(&both));
    }

    #[test]
    fn every_list_is_met_compared_joined_and_shown() {
        let all = grants(
            "http = [\"http://a\"]\ntcp = [\"a:1\"]\ndns = [\"a\"]\nicmp = [\"a\"]\nfiles = [\"/a\"]\n\
             commands = [\"a: /a\"]\nunits = [\"a\"]\ncontainers = [\"a\"]\nsecrets = [\"a\"]\nreveal = [\"a\"]\n\
             system = true\nprocesses = true",
        );
        let keys: Vec<&str> = all.lines().map(|(key, _)| key).collect();
        let whole = toml::Table::try_from(&all).expect("serializes");
        assert_eq!(keys.len(), whole.len());
        assert_eq!(all.intersect(&all), all);
        assert_eq!(all.beyond(&Grants::default()), all);
        assert_eq!(all.union(&Grants::default()), all);
        assert!(all.beyond(&all).is_empty() && all.intersect(&Grants::default()).is_empty());
        assert_eq!(
            all.to_string(),
            "http http://a, tcp a:1, dns a, icmp a, files /a, commands a: /a, units a, containers a, secrets a, \
             reveal a, system, processes"
        );
    }

    #[test]
    fn private_networks_can_be_refused_and_the_link_is() {
        let need = Need::Http { scheme: Scheme::Http, host: "db".into(), port: 80 };
        let open = grants("http = [\"http://*\"]");
        let narrow = grants("http = [\"http://*\"]\npublic_only = true");
        let written = grants("http = [\"http://10.0.0.1\"]\npublic_only = true");
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        assert!(open.allows_address(&need, address("10.0.0.1")));
        assert!(!open.allows_address(&need, address("169.254.169.254")));
        assert!(!narrow.allows_address(&need, address("10.0.0.1")));
        assert!(narrow.allows_address(&need, address("8.8.8.8")));
        let need = Need::Http { scheme: Scheme::Http, host: "10.0.0.1".into(), port: 80 };
        assert!(written.allows_address(&need, address("10.0.0.1")));
        assert!(!narrow.allows_address(&need, address("10.0.0.1")));
        assert!(!open.is_subset(&narrow) && narrow.is_subset(&open));
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*a*b*", "xxaxxbxx", true),
            ("a", "*", false),
            ("a*", "ab*", true),
            ("*.service", "nginx.service", true),
        ] {
            assert_eq!(glob(pattern, text), expect, "{pattern} {text}");
        }
    }
}
