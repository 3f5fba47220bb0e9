//! Which lines are worth a look, and how many of them.

use crate::pattern::Pattern;
use hostler_plugin_sdk::{ConfigError, Status};
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub path: String,
    #[serde(default)]
    include: Patterns,
    #[serde(default)]
    exclude: Patterns,
    #[serde(default)]
    ignore_case: bool,
    warn: Option<u64>,
    pub critical: Option<u64>,
    #[serde(default)]
    missing: Missing,
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

    fn read(&self, fold: impl Fn(&str) -> String) -> Vec<Pattern> {
        self.list().iter().map(|text| Pattern::new(&fold(text))).collect()
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

/// Which lines count.
pub struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    ignore_case: bool,
}

impl Filter {
    pub fn patterns(&self) -> usize {
        self.include.len() + self.exclude.len()
    }

    pub fn counts(&self, line: &str) -> bool {
        let line = if self.ignore_case { Cow::Owned(line.to_lowercase()) } else { Cow::Borrowed(line) };
        let any = |patterns: &[Pattern]| patterns.iter().any(|one| one.is_in(&line));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

impl Options {
    pub fn filter(&self) -> Filter {
        let fold = |text: &str| if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        Filter { include: self.include.read(fold), exclude: self.exclude.read(fold), ignore_case: self.ignore_case }
    }

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
                if Pattern::new(text).is_empty() {
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
