//! `/etc/hostler/agent.toml`: what the host's own administrator decides. The
//! control plane cannot change any of it.

use crate::files;
use hostler_types::Policy;
use hostler_types::plugin::{Grants, TrustedKey, key_id};
use hostler_types::spec::nearest;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub const FILE_DEFAULT: &str = "/etc/hostler/agent.toml";
const STATE_DIR_DEFAULT: &str = "/var/lib/hostler-agent";
const RUNTIME_DIR_DEFAULT: &str = "/run/hostler-agent";
const HTTP_LISTEN_DEFAULT: &str = "127.0.0.1:7481";
const PLUGIN_TOOL: &str = "hostler-plugin";
/// The kernel's limit for a socket's path, with its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const SECRETS_DIR_DEFAULT: &str = "/etc/hostler/secrets";
const OUTPUT_DIR_DEFAULT: &str = "/var/log/hostler";
const NAMES: [&str; 10] = [
    "state_dir",
    "runtime_dir",
    "policy",
    "plugin_tool",
    "plugin_keys",
    "http_listen",
    "secrets_dir",
    "output_dir",
    "public_only",
    "allow",
];
/// The word before a public key in its file; here it may stand or be left out.
const KEY_WORD: &str = "hostler-plugin-key";
/// An Ed25519 public key's.
const KEY_BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{path}: {message}")]
    Parse { path: PathBuf, message: String },
    #[error("{setting}: {problem}")]
    Value { setting: &'static str, problem: String },
}

/// The file, and the flags of `join`, which are written into it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub state_dir: Option<PathBuf>,
    pub runtime_dir: Option<PathBuf>,
    pub policy: Option<Policy>,
    pub plugin_tool: Option<PathBuf>,
    pub http_listen: Option<String>,
    pub secrets_dir: Option<PathBuf>,
    pub output_dir: Option<PathBuf>,
    pub plugin_keys: Option<Vec<String>>,
    pub public_only: Option<bool>,
    pub allow: Option<Grants>,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub policy: Policy,
    pub plugin_tool: PathBuf,
    /// `None`: off.
    pub http_listen: Option<SocketAddr>,
    /// Whose signatures count on this host, whatever the control plane says; none:
    /// plugins need no signature here.
    pub plugin_keys: Vec<TrustedKey>,
    /// This host's own secrets for plugins: a file each.
    pub secrets_dir: PathBuf,
    /// What services print is kept here.
    pub output_dir: PathBuf,
    /// Plugins reach no private network from here, but for addresses that their
    /// grants write out.
    pub public_only: bool,
    /// What plugins may do here at most; absent: whatever they are granted.
    pub allow: Option<Grants>,
}

impl Config {
    /// A file that was named must be there; the default one need not.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::settle(Settings::load(file, file.is_some())?)
    }

    pub fn settle(settings: Settings) -> Result<Self, ConfigError> {
        let config = Self {
            state_dir: settings.state_dir.unwrap_or_else(|| STATE_DIR_DEFAULT.into()),
            runtime_dir: settings.runtime_dir.unwrap_or_else(|| RUNTIME_DIR_DEFAULT.into()),
            policy: settings.policy.unwrap_or(Policy::Operate),
            plugin_tool: settings.plugin_tool.unwrap_or_else(beside_this_program),
            http_listen: listen(settings.http_listen.as_deref().unwrap_or(HTTP_LISTEN_DEFAULT))?,
            secrets_dir: settings.secrets_dir.unwrap_or_else(|| SECRETS_DIR_DEFAULT.into()),
            output_dir: settings.output_dir.unwrap_or_else(|| OUTPUT_DIR_DEFAULT.into()),
            plugin_keys: settings.plugin_keys.iter().flatten().map(|text| key(text)).collect::<Result<_, _>>()?,
            public_only: settings.public_only.unwrap_or(false),
            allow: settings.allow,
        };
        let folders = [
            ("state_dir", &config.state_dir),
            ("runtime_dir", &config.runtime_dir),
            ("secrets_dir", &config.secrets_dir),
            ("output_dir", &config.output_dir),
        ];
        for (setting, path) in folders {
            if !path.is_absolute() {
                let problem = format!("{} is not absolute: begin it with /", path.display());
                return Err(ConfigError::Value { setting, problem });
            }
        }
        let socket = config.socket();
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let problem =
                format!("{} is longer than a socket's path may be ({SOCKET_PATH_BYTES_MAX} bytes)", socket.display());
            return Err(ConfigError::Value { setting: "runtime_dir", problem });
        }
        Ok(config)
    }

    /// What is left of a plugin's grants on this host.
    pub fn narrowed(&self, grants: &Grants) -> Grants {
        let mut left = self.allow.as_ref().map_or_else(|| grants.clone(), |allow| grants.intersect(allow));
        left.public_only |= self.public_only;
        left
    }

    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("agent.sock")
    }
}

impl Settings {
    pub fn load(file: Option<&Path>, required: bool) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(FILE_DEFAULT));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
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
}

/// Writes what `join` was told, and leaves all else in the file as it is.
pub fn write(path: &Path, settings: &[(&str, String)]) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let before = files::read_if_there(path).map_err(failed)?;
    let fresh = before.is_none();
    let text = String::from_utf8(before.unwrap_or_default()).unwrap_or_default();
    let wanted = merged(&text, settings);
    if wanted == text && !fresh {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    files::replace(path, wanted.as_bytes(), files::READABLE).map_err(failed)
}

fn merged(text: &str, settings: &[(&str, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Keys behind a table's head would belong to that table.
    let top = lines.iter().position(|line| line.trim_start().starts_with('[')).unwrap_or(lines.len());
    let mut added = Vec::new();
    for (key, value) in settings {
        let line = format!("{key} = {}", toml::Value::String(value.clone()));
        let names = |line: &&mut String| line.split_once('=').is_some_and(|(name, _)| name.trim() == *key);
        match lines.iter_mut().take(top).find(names) {
            Some(old) => *old = line,
            None => added.push(line),
        }
    }
    lines.splice(top..top, added);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A line of a .pub file.
fn key(text: &str) -> Result<TrustedKey, ConfigError> {
    let mut words = text.split_whitespace().filter(|word| *word != KEY_WORD);
    let bytes = words.next().and_then(|word| data_encoding::BASE64.decode(word.as_bytes()).ok());
    let public_key = bytes.filter(|bytes| bytes.len() == KEY_BYTES).ok_or_else(|| ConfigError::Value {
        setting: "plugin_keys",
        problem: format!("{text:?} is no public key: write the line of a .pub file of hostlerctl plugin keygen"),
    })?;
    let name = words.next().map_or_else(|| key_id(&public_key), str::to_owned);
    Ok(TrustedKey { name, public_key })
}

fn beside_this_program() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned)).unwrap_or_default();
    folder.join(PLUGIN_TOOL)
}

fn listen(text: &str) -> Result<Option<SocketAddr>, ConfigError> {
    let wrong = |problem| ConfigError::Value { setting: "http_listen", problem };
    if text == "off" {
        return Ok(None);
    }
    let address: SocketAddr =
        text.parse().map_err(|_| wrong(format!("{text:?} is neither ADDRESS:PORT nor \"off\"")))?;
    if !address.ip().is_loopback() {
        return Err(wrong(format!(
            "{address} is open to the network, and this port has no TLS: use a loopback address"
        )));
    }
    Ok(Some(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let settings = Settings::parse(Path::new("agent.toml"), text);
        settings.and_then(Config::settle).expect_err(text).to_string()
    }

    #[test]
    fn defaults_need_no_file() {
        let config = Config::settle(Settings::default()).expect("fits");
        assert_eq!(config.socket(), Path::new("/run/hostler-agent/agent.sock"));
        assert_eq!(config.policy, Policy::Operate);
        assert_eq!(config.http_listen.map(|one| one.port()), Some(7481));
        assert!(config.plugin_tool.ends_with("hostler-plugin"));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            error("state_dri = \"/a\""),
            "agent.toml: there is no setting \"state_dri\"; did you mean state_dir?"
        );
        assert!(error("policy = \"all\"").contains("unknown variant `all`"), "{}", error("policy = \"all\""));
        assert!(error("http_listen = \"0.0.0.0:80\"").contains("use a loopback address"));
        assert!(error("http_listen = \"7481\"").contains("neither ADDRESS:PORT nor"));
        assert!(error("state_dir = \"a\"").contains("not absolute"));
        assert!(error("[allow]\nfile = true").contains("file"));
    }

    #[test]
    fn keys_are_lines_of_their_files() {
        let base64 = data_encoding::BASE64.encode(&[7; 32]);
        let text = format!("plugin_keys = [\"hostler-plugin-key {base64} ci\", \"{base64}\"]\n");
        let config = Settings::parse(Path::new("a"), &text).and_then(Config::settle).expect("fits");
        let names: Vec<&str> = config.plugin_keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names, ["ci", "07".repeat(16).as_str()]);
        assert!(error("plugin_keys = [\"abc\"]").contains("is no public key"));
    }

    #[test]
    fn a_host_may_allow_less() {
        let settings =
            Settings::parse(Path::new("a"), "http_listen = \"off\"\n[allow]\nhttp = [\"http://127.0.0.1:*\"]\n");
        let config = settings.and_then(Config::settle).expect("fits");
        assert_eq!(config.http_listen, None);
        assert!(config.allow.is_some_and(|allow| !allow.system && allow.http.len() == 1));
    }

    #[test]
    fn join_changes_its_own_lines_only() {
        let told = [("policy", "full".to_owned()), ("state_dir", "/s".to_owned())];
        let text = merged("# ours\npolicy = \"watch\" \n\n[allow]\nsystem = true\n", &told);
        assert_eq!(text, "# ours\npolicy = \"full\"\n\nstate_dir = \"/s\"\n[allow]\nsystem = true\n");
        assert_eq!(merged(&text, &told), text);
    }
}
