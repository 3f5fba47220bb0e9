//! What the control plane is told: a file, and flags that win over it.

use crate::vault::Source;
use clap::Args;
use hostler_core::approvals::Policy;
use hostler_core::notices::rules::LOST_AFTER;
use hostler_types::Selector;
use hostler_types::notifier::Url;
use hostler_types::spec::nearest;
use hostler_types::units::{format_duration, parse_duration};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const FILE_DEFAULT: &str = "/etc/hostler/control-plane.toml";

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("{setting}: {problem}")]
    Value { setting: &'static str, problem: String },
}

/// Each may also stand in the file, under the same name with underscores.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where state, keys and blobs are kept [default: /var/lib/hostler]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Where agents connect and hosts join [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDR:PORT")]
    agents_listen: Option<SocketAddr>,
    /// Where hostlerctl connects [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR:PORT")]
    operators_listen: Option<SocketAddr>,
    /// Plain HTTP for /health, /ready and /metrics; loopback only [default: 127.0.0.1:7482]
    #[arg(long, value_name = "ADDR:PORT")]
    http_listen: Option<SocketAddr>,
    /// HOST:PORT at which agents reach this control plane; may be given more than once
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(default)]
    advertise: Vec<String>,
    /// Where the first operator's credential is written [default: the user's own, else /etc/hostler/contexts.toml]
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// Its name in the context file [default: local]
    #[arg(long, value_name = "NAME")]
    context_name: Option<String>,
    /// For how many days the audit log is kept [default: 400]
    #[arg(long, value_name = "DAYS")]
    audit_days: Option<u32>,
    /// Where the agent's programs lie that hosts install [default: beside this program]
    #[arg(long, value_name = "DIR")]
    agent_programs: Option<PathBuf>,
    /// Where the key comes from that secrets are sealed under: file (secrets.key in the data folder), passphrase (on standard input at each start), or credential:NAME (from systemd) [default: file]
    #[arg(long, value_name = "SOURCE")]
    secrets_key: Option<String>,
    /// After how long a lost node is told to people [default: 2m]
    #[arg(long, value_name = "DURATION")]
    page_lost_after: Option<String>,
    /// An address of a dead man's switch elsewhere, asked again and again while all is well here
    #[arg(long, value_name = "URL")]
    heartbeat_url: Option<String>,
    /// How often it is asked [default: 1m]
    #[arg(long, value_name = "DURATION")]
    heartbeat_every: Option<String>,
    /// Nodes of which three tell people when this control plane is gone: a selector of labels, or none [default: all]
    #[arg(long, value_name = "SELECTOR")]
    watchers: Option<String>,
    /// After how long they do, at least 30s [default: 5m]
    #[arg(long, value_name = "DURATION")]
    gone_after: Option<String>,
    /// What changes something on more nodes than this waits for another operator's yes; 0: whatever changes anything on any [default: nothing waits]
    #[arg(long, value_name = "NODES")]
    second_approval: Option<usize>,
}

/// Which nodes may be chosen to tell people that the control plane is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watchers {
    Nobody,
    Where(Selector),
}

#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub agents_listen: SocketAddr,
    pub operators_listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub advertise: Vec<String>,
    pub context_file: PathBuf,
    pub context_name: String,
    pub audit_days: u32,
    pub agent_programs: PathBuf,
    pub secrets_key: Source,
    pub page_lost_after: Duration,
    pub heartbeat_url: Option<String>,
    pub heartbeat_every: Duration,
    pub watchers: Watchers,
    pub gone_after: Duration,
    pub second_approval: Policy,
}

/// More often, and the other side takes it for an attack.
const HEARTBEAT_EVERY_MIN: Duration = Duration::from_secs(1);

/// A control plane that is updated is back by then.
const GONE_AFTER_MIN: Duration = Duration::from_secs(30);
const GONE_AFTER: Duration = Duration::from_secs(300);

const NAMES: [&str; 16] = [
    "data_dir",
    "agents_listen",
    "operators_listen",
    "http_listen",
    "advertise",
    "context_file",
    "context_name",
    "audit_days",
    "agent_programs",
    "secrets_key",
    "page_lost_after",
    "heartbeat_url",
    "heartbeat_every",
    "watchers",
    "gone_after",
    "second_approval",
];

impl Config {
    /// A file that was named must be there; the default one need not.
    pub fn load(file: Option<&Path>, flags: Settings) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(FILE_DEFAULT));
        let from_file = match std::fs::read_to_string(path) {
            Ok(text) => parse(path, &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Settings::default(),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        Self::settle(flags, from_file)
    }

    fn settle(flags: Settings, file: Settings) -> Result<Self, ConfigError> {
        let beside =
            || std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)).unwrap_or_default();
        let config = Self {
            data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(|| "/var/lib/hostler".into()),
            agents_listen: flags.agents_listen.or(file.agents_listen).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7443))),
            operators_listen: flags
                .operators_listen
                .or(file.operators_listen)
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7480))),
            http_listen: flags.http_listen.or(file.http_listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7482))),
            advertise: if flags.advertise.is_empty() { file.advertise } else { flags.advertise },
            context_file: flags.context_file.or(file.context_file).unwrap_or_else(context_file_default),
            context_name: flags.context_name.or(file.context_name).unwrap_or_else(|| "local".into()),
            audit_days: flags.audit_days.or(file.audit_days).unwrap_or(crate::audit::DAYS_DEFAULT),
            agent_programs: flags.agent_programs.or(file.agent_programs).unwrap_or_else(beside),
            secrets_key: match flags.secrets_key.or(file.secrets_key) {
                Some(text) => text.parse().map_err(|problem| ConfigError::Value { setting: "secrets_key", problem })?,
                None => Source::File,
            },
            page_lost_after: span("page_lost_after", flags.page_lost_after.or(file.page_lost_after), LOST_AFTER)?,
            heartbeat_url: flags.heartbeat_url.or(file.heartbeat_url),
            heartbeat_every: span("heartbeat_every", flags.heartbeat_every.or(file.heartbeat_every), MINUTE)?,
            watchers: watchers(flags.watchers.or(file.watchers).as_deref())?,
            gone_after: span("gone_after", flags.gone_after.or(file.gone_after), GONE_AFTER)?,
            second_approval: Policy { above: flags.second_approval.or(file.second_approval) },
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(url) = self.heartbeat_url.as_ref().filter(|url| Url::place(url).is_none()) {
            let problem = format!("{url:?} is no address: write it as https://host/path");
            return Err(ConfigError::Value { setting: "heartbeat_url", problem });
        }
        if self.heartbeat_every < HEARTBEAT_EVERY_MIN {
            let problem = format!("may be {} at the least", format_duration(HEARTBEAT_EVERY_MIN));
            return Err(ConfigError::Value { setting: "heartbeat_every", problem });
        }
        if self.gone_after < GONE_AFTER_MIN {
            let problem = format!("may be {} at the least", format_duration(GONE_AFTER_MIN));
            return Err(ConfigError::Value { setting: "gone_after", problem });
        }
        if !self.http_listen.ip().is_loopback() {
            return Err(ConfigError::Value {
                setting: "http_listen",
                problem: format!(
                    "{} is open to the network, and this port has no TLS: use a loopback address",
                    self.http_listen
                ),
            });
        }
        if self.audit_days == 0 {
            let problem = "0 days keep nothing: give at least 1".to_owned();
            return Err(ConfigError::Value { setting: "audit_days", problem });
        }
        for address in &self.advertise {
            let port = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
            if port.is_none_or(|(host, _)| host.is_empty()) || address.contains(',') {
                return Err(ConfigError::Value {
                    setting: "advertise",
                    problem: format!("{address:?} is no address: write it as host:port"),
                });
            }
        }
        Ok(())
    }
}

fn watchers(text: Option<&str>) -> Result<Watchers, ConfigError> {
    let wrong = |problem| ConfigError::Value { setting: "watchers", problem };
    let selector = match text.map(str::trim) {
        None => Selector::all(),
        Some("none") => return Ok(Watchers::Nobody),
        Some(text) => Selector::parse(text).map_err(|error| wrong(error.to_string()))?,
    };
    if selector.names_facts() {
        let problem = "facts are a host's own claims, and watchers are given secrets: select by labels";
        return Err(wrong(problem.to_owned()));
    }
    Ok(Watchers::Where(selector))
}

const MINUTE: Duration = Duration::from_secs(60);

fn span(setting: &'static str, text: Option<String>, default: Duration) -> Result<Duration, ConfigError> {
    let parsed = text.map(|text| parse_duration(&text)).transpose();
    parsed
        .map(|span| span.unwrap_or(default))
        .map_err(|error| ConfigError::Value { setting, problem: error.to_string() })
}

/// Whoever starts it by hand gets the credential into their own home.
fn context_file_default() -> PathBuf {
    let by_systemd = std::env::var_os("INVOCATION_ID").is_some();
    match std::env::var_os("HOME") {
        Some(home) if !by_systemd => PathBuf::from(home).join(hostler_proto::context::FILE_IN_HOME),
        _ => hostler_proto::context::FILE_OF_SYSTEM.into(),
    }
}

fn parse(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    let wrong = |message: String| ConfigError::Parse { path: path.to_owned(), message };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    if let Some(name) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
        let help = match nearest(name, NAMES) {
            Some(word) => format!("did you mean {word}?"),
            None => format!("settings are {}", NAMES.join(", ")),
        };
        return Err(wrong(format!("there is no setting {name:?}; {help}")));
    }
    toml::from_str(text).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = parse(Path::new("c.toml"), "data_dir = \"/a\"\nagents_listen = \"127.0.0.1:1\"\n").expect("parses");
        let flags = Settings { data_dir: Some("/b".into()), ..Settings::default() };
        let config = Config::settle(flags, file).expect("fits");
        assert_eq!(config.data_dir, Path::new("/b"));
        assert_eq!(config.agents_listen.port(), 1);
        assert_eq!(config.operators_listen.port(), 7480);
    }

    #[test]
    fn mistakes_are_named() {
        let error = parse(Path::new("c.toml"), "data_dri = \"/a\"\n").expect_err("a slip");
        assert_eq!(error.to_string(), "c.toml: there is no setting \"data_dri\"; did you mean data_dir?");
        let open = Settings { http_listen: Some(SocketAddr::from(([0, 0, 0, 0], 80))), ..Settings::default() };
        let error = Config::settle(open, Settings::default()).expect_err("open");
        assert!(error.to_string().contains("use a loopback address"), "{error}");
        let hasty = Settings { gone_after: Some("10s".into()), ..Settings::default() };
        let error = Config::settle(hasty, Settings::default()).expect_err("hasty");
        assert_eq!(error.to_string(), "gone_after: may be 30s at the least");
        let claimed = Settings { watchers: Some("os.id=debian".into()), ..Settings::default() };
        let error = Config::settle(claimed, Settings::default()).expect_err("facts");
        assert!(error.to_string().contains("select by labels"), "{error}");
        let nobody = Settings { watchers: Some("none".into()), ..Settings::default() };
        assert_eq!(Config::settle(nobody, Settings::default()).expect("fits").watchers, Watchers::Nobody);
        let bare = Settings { advertise: vec!["host".into()], ..Settings::default() };
        assert!(Config::settle(bare, Settings::default()).is_err());
    }
}
