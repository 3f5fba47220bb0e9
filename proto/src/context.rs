//! The context file: by which control planes an operator is known, and how.
//!
//! Text to value and back; who reads and writes the file is not here.

use crate::pem;
use crate::transport::{ClientIdentity, Trust};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Overrides where the file is looked for.
pub const FILE_VARIABLE: &str = "HOSTLER_CONTEXT_FILE";
/// Shown instead of what the file holds.
pub const TOKEN_VARIABLE: &str = "HOSTLER_TOKEN";
pub const FILE_IN_HOME: &str = ".config/hostler/contexts.toml";
pub const FILE_OF_SYSTEM: &str = "/etc/hostler/contexts.toml";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `host:port` of the operators' listener, tried in order.
    pub addresses: Vec<String>,
    pub operator: String,
    /// PEM: the authorities that sign control planes.
    pub authorities: String,
    /// PEM: the operator's certificate; empty with a token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// PEM: its key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Shown instead of a certificate.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Context");
        shown.field("addresses", &self.addresses).field("operator", &self.operator).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("it is not a context file")]
    Syntax(#[from] toml::de::Error),
    #[error("context {context}: its {part} is not readable PEM")]
    Pem { context: String, part: &'static str },
    #[error("context {context} has neither a certificate nor a token: set {TOKEN_VARIABLE}")]
    NoCredential { context: String },
    #[error("there is no context {name:?}; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("no context is chosen; choose one of these with `hostlerctl context use NAME`: {known}")]
    NoneChosen { known: String },
}

impl Contexts {
    pub fn parse(text: &str) -> Result<Self, ContextError> {
        Ok(toml::from_str(text)?)
    }

    pub fn print(&self) -> String {
        // Only string keys and values: there is nothing in it that TOML can't say.
        toml::to_string(self).unwrap_or_default()
    }

    /// The named context, or the current one, or the only one.
    pub fn choose(&self, name: Option<&str>) -> Result<(&str, &Context), ContextError> {
        let known = || self.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
        let name = name.or(self.current.as_deref());
        match name {
            Some(name) => {
                let (name, context) = self
                    .contexts
                    .get_key_value(name)
                    .ok_or_else(|| ContextError::Unknown { name: name.to_owned(), known: known() })?;
                Ok((name, context))
            }
            None => match self.contexts.iter().next() {
                Some((name, context)) if self.contexts.len() == 1 => Ok((name, context)),
                _ => Err(ContextError::NoneChosen { known: known() }),
            },
        }
    }
}

impl Context {
    /// Without an identity where there is no certificate.
    pub fn credentials(&self, name: &str) -> Result<(Trust, Option<ClientIdentity>), ContextError> {
        let wrong = |part| ContextError::Pem { context: name.to_owned(), part };
        let authorities = pem::decode_chain(&self.authorities).ok_or_else(|| wrong("authorities"))?;
        let trust = Trust::Authorities(authorities);
        if self.certificate.is_empty() {
            return Ok((trust, None));
        }
        let chain = pem::decode_chain(&self.certificate).ok_or_else(|| wrong("certificate"))?;
        let key = pem::decode_key(&self.key).ok_or_else(|| wrong("key"))?;
        Ok((trust, Some(ClientIdentity { chain, key })))
    }
}

/// Where the file may be, best first.
pub fn file_candidates(explicit: Option<PathBuf>, home: Option<PathBuf>) -> Vec<PathBuf> {
    match explicit {
        Some(path) => vec![path],
        None => home.map(|home| home.join(FILE_IN_HOME)).into_iter().chain([PathBuf::from(FILE_OF_SYSTEM)]).collect(),
    }
}
