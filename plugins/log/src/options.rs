//! Which lines are worth a look, and how many of them.

use crate::pattern::Pattern;
use hostler_plugin_sdk::{ConfigError, Status};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub path: String,
    #[serde(default)]
    pub include: Patterns,
    #[serde(default)]
    pub exclude: Patterns,
    #[serde(default)]
    pub ignore_case: bool,
    warn: Option<u64>,
    pub critical: Option<u64>,
    #[serde(default)]
    pub missing: Missing,
    #[serde(default)]
    pub from_start: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected text to look for, or a list of such")]
pub enum Patterns {
    One(String),
    List(Vec<String>),
}

impl Default for Patterns {
    fn default() -> Self {
        Patterns::List(Vec::new())
    }
}

impl Patterns {
    fn list(&self) -> &[String] {
        match self {
            Patterns::One(one) => std::slice::from_ref(one),
            Patterns::List(list) => list,
        }
    }

    pub fn read(&self, ignore_case: bool) -> Vec<Pattern> {
        self.list().iter().map(|text| Pattern::new(text, ignore_case)).collect()
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    Ok,
    Warning,
    Critical,
    #[default]
    Unknown,
}

impl Options {
    /// One line is worth a look where nothing else was said.
    pub fn warn(&self) -> Option<u64> {
        self.warn.or(if self.critical.is_none() { Some(1) } else { None })
    }

    pub fn when_missing(&self) -> Status {
        match self.missing {
            Missing::Ok => Status::Ok,
            Missing::Warning => Status::Warning,
            Missing::Critical => Status::Critical,
            Missing::Unknown => Status::Unknown,
        }
    }

    /// Options of which one rules out another.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: String, why: &str| problems.push(ConfigError::new(pointer, why));
        if !self.path.starts_with('/') || self.path.contains('*') {
            wrong("/path".to_owned(), "is no absolute path of one file");
        }
        for (name, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            for (index, text) in patterns.list().iter().enumerate() {
                let index = if matches!(patterns, Patterns::One(_)) { String::new() } else { format!("/{index}") };
                if Pattern::new(text, false).is_empty() {
                    wrong(format!("/{name}{index}"), "is in every line: write some text of those that are meant");
                }
            }
        }
        if self.exclude.list().iter().any(|text| self.include.list().contains(text)) {
            wrong("/exclude".to_owned(), "has what include has, so no such line would count");
        }
        if self.warn.zip(self.critical).is_some_and(|(warn, critical)| warn > critical) {
            wrong("/warn".to_owned(), "is above critical, so it would never be reached");
        }
        if self.warn == Some(0) || self.critical == Some(0) {
            let which = if self.warn == Some(0) { "/warn" } else { "/critical" };
            wrong(which.to_owned(), "is 0, so it would always be reached");
        }
        problems
    }
}
