//! What one call to the host needs to be granted.

use super::{CommandPattern, Grants, Scheme};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Http {
        scheme: Scheme,
        host: String,
        port: u16,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Unix {
        path: String,
    },
    Dns {
        name: String,
    },
    Icmp {
        host: String,
    },
    /// A path, or a pattern of paths.
    File {
        path: String,
    },
    Command {
        name: String,
        arguments: Vec<String>,
    },
    /// A name, or a pattern of names; as the next one.
    Unit {
        name: String,
    },
    Container {
        name: String,
    },
    Secret {
        name: String,
    },
    Reveal {
        name: String,
    },
    System,
    Processes,
}

impl Need {
    /// Its key in plugin.toml, and the text that would grant it and no more; for
    /// a flag there is none.
    fn line(&self) -> (&'static str, Option<String>) {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Need::Nothing => ("", None),
            Need::Http { scheme, host, port } => {
                ("http", Some(format!("{}://{}:{port}", scheme.word(), bracketed(host))))
            }
            Need::Tcp { host, port } => ("tcp", Some(format!("{}:{port}", bracketed(host)))),
            Need::Unix { path } => ("tcp", Some(format!("unix:{path}"))),
            Need::Dns { name } => ("dns", Some(name.clone())),
            Need::Icmp { host } => ("icmp", Some(bracketed(host))),
            Need::File { path } => ("files", Some(path.clone())),
            Need::Command { name, arguments } => {
                let mut line = format!("{name}: /path/of/it");
                arguments.iter().for_each(|argument| {
                    line.push(' ');
                    line.push_str(argument);
                });
                ("commands", Some(line))
            }
            Need::Unit { name } => ("units", Some(name.clone())),
            Need::Container { name } => ("containers", Some(name.clone())),
            Need::Secret { name } => ("secrets", Some(name.clone())),
            Need::Reveal { name } => ("reveal", Some(name.clone())),
            Need::System => ("system", None),
            Need::Processes => ("processes", None),
        }
    }

    /// The least that would grant it. A command's program only who runs it knows.
    pub fn grants(&self, commands: &[CommandPattern]) -> Grants {
        let mut grants = Grants::default();
        if let Need::Command { name, arguments } = self {
            grants.commands.extend(commands.iter().find(|one| one.matches(name, arguments)).cloned());
            return grants;
        }
        let (key, text) = self.line();
        let value = match text {
            Some(text) => toml::Value::Array(vec![text.into()]),
            None => true.into(),
        };
        let mut table = toml::Table::new();
        if !key.is_empty() {
            table.insert(key.to_owned(), value);
        }
        // What is no pattern was refused when it was asked for.
        table.try_into().unwrap_or_default()
    }
}

/// As it would stand in plugin.toml: `grants.http = ["http://127.0.0.1:80"]`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            (key, Some(text)) => write!(f, "grants.{key} = [{text:?}]"),
            (key, None) => write!(f, "grants.{key} = true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_for_a_need_allows_it_and_says_so() {
        let commands = ["ready: /usr/bin/pg_isready -h *".parse().expect("a pattern")];
        let needs = [
            Need::Http { scheme: Scheme::Https, host: "::1".into(), port: 8443 },
            Need::Tcp { host: "db".into(), port: 5432 },
            Need::Unix { path: "/run/x.sock".into() },
            Need::Dns { name: "example.com".into() },
            Need::Icmp { host: "10.0.0.1".into() },
            Need::File { path: "/var/log/*.log".into() },
            Need::Command { name: "ready".into(), arguments: vec!["-h".into(), "db".into()] },
            Need::Unit { name: "nginx*".into() },
            Need::Container { name: "web".into() },
            Need::Secret { name: "token".into() },
            Need::Reveal { name: "token".into() },
            Need::System,
            Need::Processes,
        ];
        for need in &needs {
            let grants = need.grants(&commands);
            assert!(grants.allows(need), "{need}");
            assert!(needs.iter().filter(|other| grants.allows(other)).count() == 1, "{need}");
            assert!(!Grants::default().allows(need), "{need}");
        }
        assert_eq!(needs[0].to_string(), "grants.http = [\"https://[::1]:8443\"]");
        assert_eq!(needs[11].to_string(), "grants.system = true");
        assert!(Grants::default().allows(&Need::Nothing));
    }
}
