//! Names that people choose and ids that machines make.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Long enough for any host name's first label, short enough for a column.
pub const NAME_LENGTH_MAX: usize = 63;

/// The name of a node, check, plugin or any other object of a spec.
///
/// Lower case letters, digits, `-`, `_` and `.`, beginning with a letter or a
/// digit: it is a key in the store, a part of a URL and a word on a command
/// line, and must need quoting in none of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name is missing")]
    Empty,
    #[error("{0:?} is longer than {NAME_LENGTH_MAX} characters")]
    TooLong(String),
    #[error("{name:?} contains {found:?}: use a-z, 0-9, '-', '_' and '.', and begin with a letter or digit")]
    Character { name: String, found: char },
    #[error("{0:?} means true or false in YAML: choose another name")]
    Reserved(String),
}

impl Name {
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_LENGTH_MAX {
            return Err(NameError::TooLong(text));
        }
        let wrong = text.char_indices().find(|(at, c)| {
            let word = c.is_ascii_lowercase() || c.is_ascii_digit();
            !(word || (*at > 0 && matches!(c, '-' | '_' | '.')))
        });
        if let Some((_, found)) = wrong {
            return Err(NameError::Character { name: text, found });
        }
        if matches!(text.as_str(), "on" | "off" | "yes" | "no" | "true" | "false" | "null") {
            return Err(NameError::Reserved(text));
        }
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A node's identity: random, given once at joining, and part of its
/// certificate. Never an address, never a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no node id: one looks like n-4q2zt7mxk5wdcb6a")]
pub struct NodeIdError(String);

/// 80 bits: no two nodes of any fleet will ever meet.
pub const NODE_ID_BYTES: usize = 10;

impl NodeId {
    pub fn from_random(bytes: [u8; NODE_ID_BYTES]) -> Self {
        let text = data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        Self(format!("n-{text}"))
    }

    pub fn parse(text: &str) -> Result<Self, NodeIdError> {
        let wrong = || NodeIdError(text.chars().take(40).collect());
        let body = text.strip_prefix("n-").ok_or_else(wrong)?;
        let plain = body.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if body.len() != 16 || !plain {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;
    fn try_from(text: String) -> Result<Self, NodeIdError> {
        Self::parse(&text)
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> String {
        id.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_need_no_quoting_are_taken() {
        for good in ["web1", "site-check", "a.b_c", "0", "disk"] {
            assert_eq!(Name::new(good).map(String::from), Ok(good.to_owned()));
        }
    }

    #[test]
    fn names_that_would_surprise_are_refused() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert!(matches!(Name::new("Web"), Err(NameError::Character { found: 'W', .. })));
        assert!(matches!(Name::new("-x"), Err(NameError::Character { found: '-', .. })));
        assert!(matches!(Name::new("a/b"), Err(NameError::Character { found: '/', .. })));
        assert!(matches!(Name::new("on"), Err(NameError::Reserved(_))));
        assert!(matches!(Name::new("x".repeat(64)), Err(NameError::TooLong(_))));
    }

    #[test]
    fn node_ids_round_trip() {
        let id = NodeId::from_random([7; NODE_ID_BYTES]);
        assert_eq!(NodeId::parse(id.as_str()), Ok(id));
        assert!(NodeId::parse("web1").is_err());
        assert!(NodeId::parse("n-../../etc/passwd0").is_err());
    }
}
