//! What a plugin says about itself, and what it may do.
//!
//! The manifest travels inside the component, as a custom section: whatever
//! covers the component's bytes (a digest, a signature) covers it too, and no
//! second file can go missing. Nothing here runs a plugin or reads a file.

mod component;
mod grant;
mod signature;
mod with;

pub use component::{ComponentError, MANIFEST_SECTION, embed_manifest, embedded_manifest};
pub use grant::{
    CommandPattern, Grants, HostPattern, HttpPattern, Need, PathPattern, Pattern, PatternError, Scheme, SocketPattern,
    WordPattern, is_link_local, is_private,
};
pub use signature::{
    SIGNATURE_SECTION, Signature, SignatureError, TrustedKey, attach_signature, key_id, split_signature,
    verify as verify_signature,
};
pub use with::{With, WithField, WithProblem, WithType, check as check_with};

use crate::Name;
use serde::{Deserialize, Serialize};

/// A manifest is read on every push and every load: enough for any honest one.
pub const MANIFEST_BYTES_MAX: usize = 32 * 1024;
/// One line of a list.
pub const SUMMARY_BYTES_MAX: usize = 200;
/// As long as a version with a pre-release and a build hash gets.
pub const VERSION_BYTES_MAX: usize = 64;
/// What this version can run.
pub const WORLDS: [&str; 4] = ["check", "collector", "notifier", "action"];

/// A component's SHA-256 in hex, or enough of its beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

/// 128 bits: nobody finds another component that begins with these.
const DIGEST_DIGITS_MIN: usize = 32;
const DIGEST_DIGITS_MAX: usize = 64;

impl Digest {
    /// Whether it is this component's.
    pub fn fits(&self, sha256_hex: &str) -> bool {
        sha256_hex.starts_with(&self.0)
    }
}

impl std::str::FromStr for Digest {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let sound = (DIGEST_DIGITS_MIN..=DIGEST_DIGITS_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match sound {
            true => Ok(Digest(text.to_owned())),
            false => Err(PatternError::new(
                text,
                "is no SHA-256: it has 64 digits from 0 to f, of which the first 32 will do",
            )),
        }
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `plugin.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub name: Name,
    pub version: String,
    /// Which exports the plugin has: one of [`WORLDS`].
    pub world: String,
    #[serde(default)]
    pub summary: String,
    /// What it asks for; who runs it may give less.
    #[serde(default)]
    pub grants: Grants,
    /// What may stand under `with`; absent where the plugin does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<With>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("plugin.toml: {0}")]
    Toml(String),
    #[error("plugin.toml has {0} bytes: at most {MANIFEST_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("plugin.toml: version {0:?} is none: begin with a digit and use letters, digits, '.', '-' and '+'")]
    Version(String),
    #[error("plugin.toml: world {0:?} is not known: use {known}", known = WORLDS.join(" or "))]
    World(String),
    #[error("plugin.toml: summary is longer than {SUMMARY_BYTES_MAX} bytes or not one line")]
    Summary,
    #[error("plugin.toml: {0}")]
    With(String),
}

impl Manifest {
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong(text.len()));
        }
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| ManifestError::Toml(error.to_string().trim_end().to_owned()))?;
        let version = &manifest.version;
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        if version.len() > VERSION_BYTES_MAX
            || !version.starts_with(|c: char| c.is_ascii_digit())
            || !version.chars().all(word)
        {
            return Err(ManifestError::Version(version.clone()));
        }
        if !WORLDS.contains(&manifest.world.as_str()) {
            return Err(ManifestError::World(manifest.world));
        }
        if manifest.summary.len() > SUMMARY_BYTES_MAX || manifest.summary.chars().any(char::is_control) {
            return Err(ManifestError::Summary);
        }
        if let Some(with) = &manifest.with {
            with::check_table(with).map_err(ManifestError::With)?;
        }
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "name = \"http\"\nversion = \"0.1.0\"\nworld = \"check\"\nsummary = \"asks a URL\"\n\
                         [grants]\nhttp = [\"http://127.0.0.1:*\"]\n";

    #[test]
    fn reads_a_whole_manifest() {
        let manifest = Manifest::parse(WHOLE).expect("valid");
        assert_eq!(manifest.name.as_str(), "http");
        assert_eq!(manifest.grants.http.len(), 1);
        assert!(!manifest.grants.system);
    }

    #[test]
    fn grants_and_summary_may_be_absent() {
        let manifest = Manifest::parse("name = \"x\"\nversion = \"1\"\nworld = \"check\"\n").expect("valid");
        assert!(manifest.grants.is_empty());
    }

    #[test]
    fn errors_name_the_key() {
        for (from, to, says) in [
            ("name = \"http\"", "name = \"Http\"", "contains 'H'"),
            ("name = \"http\"\n", "", "missing field `name`"),
            ("summary", "sumary", "unknown field `sumary`"),
            ("[grants]", "[grants]\nfile = true", "unknown field `file`"),
            ("version = \"0.1.0\"", "version = \"v1\"", "version \"v1\""),
            ("\"check\"", "\"checker\"", "world \"checker\" is not known: use check or collector"),
            ("asks a URL", "asks\\na URL", "summary"),
            ("127.0.0.1:*", "127.0.0.1/health", "has a path"),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from:?} is not there to be replaced");
            let error = Manifest::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(says), "{error:?} does not say {says:?}");
        }
        let long = format!("{WHOLE}#{}", " ".repeat(MANIFEST_BYTES_MAX));
        assert!(matches!(Manifest::parse(&long), Err(ManifestError::TooLong(_))));
    }
}
