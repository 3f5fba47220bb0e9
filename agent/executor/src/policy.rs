//! `/etc/hostler/policy.toml`: what this host's own administrator lets anybody do
//! through the executor. It has the last word; nobody but root writes it.

use crate::pattern::matches;
use crate::protocol::{Told, ToldList};
use hostler_types::Policy as Profile;
use hostler_types::spec::nearest;
use serde::Serialize;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub const FILE: &str = "/etc/hostler/policy.toml";
pub const AGENT_FILE: &str = "/etc/hostler/agent.toml";
const NAMES: [&str; 7] = ["profile", "units", "paths", "users", "packages", "commands", "images"];
/// More is not read by anybody.
const LISTED_MAX: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} {problem}; until then the profile watch is in force")]
    Owner { path: PathBuf, problem: String },
    #[error("{path}: {message}; until then the profile watch is in force")]
    Parse { path: PathBuf, message: String },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Policy {
    pub profile: Profile,
    /// Where the profile is said, for refusals.
    pub said_by: String,
    pub units: Option<Listed>,
    pub paths: Option<Listed>,
    pub users: Option<Listed>,
    pub packages: Option<Listed>,
    pub commands: Option<Listed>,
    pub images: Option<Listed>,
    /// Whoever has the user id 0 on this host.
    #[serde(skip)]
    pub roots: Vec<String>,
}

/// A list of the file, and the line on which it begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    pub values: Vec<String>,
    pub line: usize,
}

impl Listed {
    pub fn has(&self, text: &str) -> bool {
        self.values.iter().any(|pattern| matches(pattern, text))
    }
}

impl Policy {
    pub fn of(profile: Profile, said_by: impl Into<String>) -> Self {
        Self {
            profile,
            said_by: said_by.into(),
            units: None,
            paths: None,
            users: None,
            packages: None,
            commands: None,
            images: None,
            roots: vec!["root".into()],
        }
    }

    /// The policy in force, and why it is not the file's if it is not.
    pub fn load(file: &Path, agent_file: &Path) -> (Self, Option<PolicyError>) {
        let read = trusted(file).and_then(|text| match text {
            Some(text) => Self::parse(file, &text, || of_agent(agent_file)),
            None => Ok(of_agent(agent_file)),
        });
        let (mut policy, problem) = match read {
            Ok(policy) => (policy, None),
            Err(problem) => (Self::of(Profile::Watch, format!("{} can't be used", file.display())), Some(problem)),
        };
        policy.roots = crate::account::roots();
        (policy, problem)
    }

    pub fn parse(path: &Path, text: &str, otherwise: impl FnOnce() -> Self) -> Result<Self, PolicyError> {
        let wrong = |message: String| PolicyError::Parse { path: path.to_owned(), message };
        let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string().trim().to_owned()))?;
        if let Some(name) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
            let help = match nearest(name, NAMES) {
                Some(word) => format!("did you mean {word}?"),
                None => format!("settings are {}", NAMES.join(", ")),
            };
            return Err(wrong(format!("line {}: {name} is no setting: {help}", line_of(text, name))));
        }
        let mut policy = match table.get("profile") {
            Some(value) => {
                let line = line_of(text, "profile");
                let word = value.as_str().unwrap_or_default();
                let Ok(profile) = word.parse() else {
                    return Err(wrong(format!("line {line}: profile is {value}: it is one of watch, operate, full")));
                };
                Self::of(profile, format!("line {line} of {}", path.display()))
            }
            None => otherwise(),
        };
        let list = |name: &str| listed(&table, text, name).map_err(wrong);
        policy.units = list("units")?;
        policy.paths = list("paths")?;
        policy.users = list("users")?;
        policy.packages = list("packages")?;
        policy.commands = list("commands")?;
        policy.images = list("images")?;
        Ok(policy)
    }

    pub fn told(&self, problem: Option<String>) -> Told {
        let list = |(name, list): (&str, Option<&Listed>)| ToldList {
            name: name.to_owned(),
            values: list.map(|list| list.values.clone()),
            line: list.map_or(0, |list| list.line),
        };
        Told {
            profile: self.profile.to_string(),
            said_by: self.said_by.clone(),
            problem,
            lists: self.lists().into_iter().map(list).collect(),
        }
    }

    /// The lists with their names, as people read them.
    pub fn lists(&self) -> [(&'static str, Option<&Listed>); 6] {
        [
            ("units", self.units.as_ref()),
            ("paths", self.paths.as_ref()),
            ("users", self.users.as_ref()),
            ("packages", self.packages.as_ref()),
            ("commands", self.commands.as_ref()),
            ("images", self.images.as_ref()),
        ]
    }
}

fn listed(table: &Table, text: &str, name: &str) -> Result<Option<Listed>, String> {
    let Some(value) = table.get(name) else { return Ok(None) };
    let line = line_of(text, name);
    let strings = value.as_array().and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    let Some(values): Option<Vec<String>> = strings else {
        return Err(format!("line {line}: {name} is a list of texts, like {name} = [\"{}\"]", example(name)));
    };
    if values.len() > LISTED_MAX {
        return Err(format!("line {line}: {name} has {} entries, and may have {LISTED_MAX}", values.len()));
    }
    let absolute = matches!(name, "paths" | "commands");
    if let Some(one) = values.iter().find(|one| one.is_empty() || absolute && !one.starts_with('/')) {
        return Err(format!("line {line}: \"{one}\" can't match anything: write it like \"{}\"", example(name)));
    }
    Ok(Some(Listed { values, line }))
}

fn example(name: &str) -> &'static str {
    match name {
        "units" => "nginx.service",
        "paths" => "/etc/nginx/**",
        "commands" => "/opt/shop/bin/*",
        "packages" => "nginx",
        "images" => "registry.example.com/*",
        _ => "shop",
    }
}

fn line_of(text: &str, name: &str) -> usize {
    let begins = |line: &str| {
        let rest = line.trim_start().trim_start_matches(['"', '\'']).strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(['=', '.']))
    };
    text.lines().position(begins).map_or(1, |at| at + 1)
}

/// What the host joined with.
fn of_agent(file: &Path) -> Policy {
    let said =
        || trusted(file).ok().flatten()?.parse::<Table>().ok()?.get("policy").and_then(Value::as_str)?.parse().ok();
    match said() {
        Some(profile) => Policy::of(profile, format!("policy in {}", file.display())),
        None => Policy::of(Profile::Operate, "the default"),
    }
}

/// The text of a file that only root can have written; `None` if there is no file.
fn trusted(file: &Path) -> Result<Option<String>, PolicyError> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let failed = |source| PolicyError::Read { path: file.to_owned(), source };
    let mut open = match std::fs::File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = open.metadata().map_err(failed)?;
    // Without root, for development, whoever runs this decides.
    let me = rustix::process::geteuid().as_raw();
    let problem = if found.uid() != 0 && found.uid() != me {
        Some(format!("belongs to the user with the id {}: chown root it", found.uid()))
    } else if found.mode() & 0o022 != 0 {
        Some(format!("can be written by others than root (mode {:04o}): chmod go-w it", found.mode() & 0o7777))
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(PolicyError::Owner { path: file.to_owned(), problem });
    }
    let mut text = String::new();
    open.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
