//! Names with `*` in them: units, containers, secrets.

use super::{Pattern, PatternError, glob, pattern_text};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WordPattern(String);

impl WordPattern {
    /// A name, or another pattern that this one covers.
    pub fn matches(&self, word: &str) -> bool {
        glob(&self.0, word)
    }
}

impl Pattern for WordPattern {
    fn meet(&self, other: &Self) -> Option<Self> {
        if self.matches(&other.0) { Some(other.clone()) } else { other.matches(&self.0).then(|| self.clone()) }
    }
}

impl FromStr for WordPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let sound =
            !text.is_empty() && text.len() <= 256 && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
        match sound {
            true => Ok(WordPattern(text.to_owned())),
            false => Err(PatternError::new(text, "is no name: it is empty, too long, or has spaces in it")),
        }
    }
}

impl fmt::Display for WordPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pattern_text!(WordPattern);
