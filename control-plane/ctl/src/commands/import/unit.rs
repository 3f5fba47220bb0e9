//! A unit as systemd reads it: sections, assignments, lines that go on, and the files
//! that `systemctl cat` shows one after the other.

use std::fmt;

pub const ENDINGS: [&str; 5] = [".service", ".socket", ".timer", ".path", ".target"];

#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// With its ending.
    pub name: String,
    /// In the order in which they count; an empty value has taken its place already.
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub section: String,
    pub key: String,
    pub value: String,
    pub at: At,
}

#[derive(Clone, Debug, PartialEq)]
pub struct At {
    /// Of a drop-in.
    file: Option<String>,
    line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "line {} of {file}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// Those that an empty value begins anew; of all others the last one counts.
const LISTS: [&str; 25] = [
    "After",
    "Before",
    "BindsTo",
    "Conflicts",
    "Documentation",
    "Environment",
    "EnvironmentFile",
    "ExecCondition",
    "ExecReload",
    "ExecStart",
    "ExecStartPost",
    "ExecStartPre",
    "ExecStop",
    "ExecStopPost",
    "LoadCredential",
    "PassEnvironment",
    "PartOf",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "Requires",
    "Requisite",
    "SupplementaryGroups",
    "SystemCallFilter",
    "WantedBy",
    "Wants",
];

pub fn parse(name: &str, text: &str) -> Result<Unit, String> {
    let mut unit = Unit { name: name.to_owned(), settings: Vec::new() };
    let mut section = String::new();
    let (mut file, mut begins) = (None, 0);
    let lines: Vec<&str> = text.lines().collect();
    let mut next = 0;
    while let Some(line) = lines.get(next) {
        let number = next - begins + 1;
        next += 1;
        if let Some(path) = header(line) {
            // A unit's own lines are told without its name.
            file = path.ends_with(".conf").then(|| path.rsplit('/').next().unwrap_or(path).to_owned());
            (begins, section) = (next, String::new());
            continue;
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let at = At { file: file.clone(), line: number };
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(head) = whole.strip_suffix('\\').map(str::to_owned) {
            let Some(more) = lines.get(next) else {
                whole = head;
                break;
            };
            next += 1;
            let more = more.trim();
            // Comments between the parts are left out.
            whole = if more.starts_with(['#', ';']) { format!("{head}\\") } else { format!("{head} {more}") };
        }
        let Some((key, value)) = whole.split_once('=') else {
            return Err(format!("{name}, {at}: {:?} is no KEY=VALUE; is it a unit?", short(&whole)));
        };
        if section.is_empty() {
            return Err(format!("{name}, {at}: {} stands in no [Section]; is it a unit?", short(key)));
        }
        unit.set(Setting { section: section.clone(), key: key.trim().into(), value: value.trim().into(), at });
    }
    Ok(unit)
}

/// What `systemctl cat` writes above each file.
fn header(line: &str) -> Option<&str> {
    let path = line.strip_prefix("# ").filter(|path| path.starts_with('/') && !path.contains(' '))?;
    let is_unit = path.ends_with(".conf") || ENDINGS.iter().any(|ending| path.ends_with(ending));
    is_unit.then_some(path)
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

impl Unit {
    fn set(&mut self, setting: Setting) {
        let is_same = |one: &Setting| one.section == setting.section && one.key == setting.key;
        if setting.value.is_empty() || !LISTS.contains(&setting.key.as_str()) {
            self.settings.retain(|one| !is_same(one));
        }
        if !setting.value.is_empty() {
            self.settings.push(setting);
        }
    }

    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.settings.iter().filter(move |one| one.key == key)
    }

    pub fn last<'a>(&'a self, key: &'a str) -> Option<&'a Setting> {
        self.all(key).last()
    }

    /// `nginx`, or `postgresql@15-main`.
    pub fn stem(&self) -> &str {
        ENDINGS.iter().find_map(|ending| self.name.strip_suffix(ending)).unwrap_or(&self.name)
    }
}
