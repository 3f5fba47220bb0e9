//! What is asked of files, and how it is said.

use hostler_plugin_sdk::units::{self, Size, format_age};
use hostler_plugin_sdk::{ConfigError, Report};
use serde::Deserialize;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub path: String,
    #[serde(default)]
    pub missing: bool,
    #[serde(default, deserialize_with = "units::duration")]
    pub newer_than: Option<Duration>,
    #[serde(default, deserialize_with = "units::duration")]
    pub older_than: Option<Duration>,
    pub min_size: Option<Size>,
    pub max_size: Option<Size>,
    pub min_count: Option<usize>,
    pub max_count: Option<usize>,
    #[serde(default)]
    pub severity: Severity,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    #[default]
    Critical,
}

impl Options {
    pub fn min_count(&self) -> usize {
        let none = self.missing || self.max_count == Some(0);
        self.min_count.unwrap_or(if none { 0 } else { 1 })
    }

    pub fn max_count(&self) -> Option<usize> {
        if self.missing { Some(0) } else { self.max_count }
    }

    pub fn is_pattern(&self) -> bool {
        self.path.contains('*')
    }

    /// Whether it takes more than the names.
    pub fn looks_inside(&self) -> bool {
        let by_age = self.newer_than.is_some() || self.older_than.is_some();
        by_age || self.min_size.is_some() || self.max_size.is_some() || !self.is_pattern()
    }

    pub fn counts(&self, age: Duration) -> bool {
        self.newer_than.is_none_or(|limit| age < limit) && self.older_than.is_none_or(|limit| age >= limit)
    }

    /// What a file's age must be to count, to be said after its number.
    pub fn which(&self) -> String {
        match (self.newer_than, self.older_than) {
            (None, None) => String::new(),
            (Some(newer), None) => format!(" changed within {}", format_age(newer)),
            (None, Some(older)) => format!(" older than {}", format_age(older)),
            (Some(newer), Some(older)) => format!(" from {} to {} old", format_age(older), format_age(newer)),
        }
    }

    pub fn wrong(&self, summary: String) -> Report {
        match self.severity {
            Severity::Warning => Report::warning(summary),
            Severity::Critical => Report::critical(summary),
        }
    }

    /// Options of which one rules out another.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |pointer: &str, why: &str| problems.push(ConfigError::new(pointer, why));
        if !self.path.starts_with('/') {
            wrong("/path", "is no absolute path");
        }
        if self.missing && (self.min_count.is_some() || self.max_count.is_some()) {
            wrong("/missing", "means that none may be there: leave min_count and max_count out");
        }
        if self.missing && (self.min_size.is_some() || self.max_size.is_some()) {
            wrong("/missing", "means that none may be there, so there is no size to look at");
        }
        if self.older_than.zip(self.newer_than).is_some_and(|(older, newer)| older >= newer) {
            wrong("/older_than", "is not below newer_than, so no file would count");
        }
        if self.min_size.zip(self.max_size).is_some_and(|(min, max)| min > max) {
            wrong("/min_size", "is above max_size, so no file would do");
        }
        if self.max_count.is_some_and(|max| self.min_count.is_some_and(|min| min > max)) {
            wrong("/min_count", "is above max_count, so no number would do");
        }
        problems
    }
}
