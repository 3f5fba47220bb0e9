//! This host's own word on whose plugins it runs: even a control plane that fell
//! into wrong hands can't bring a plugin that no trusted key signed, nor an old
//! one with a known hole.

use crate::files;
use hostler_types::plugin::{
    ComponentError, SignatureError, TrustedKey, embedded_manifest, split_signature, verify_signature,
};
use hostler_types::version::Version;
use hostler_types::{PluginAssignment, Timestamp};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "highest.json";

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("this host takes plugins of its own trusted keys only (plugin_keys in agent.toml), and {0}")]
    Signature(#[from] SignatureError),
    #[error("it is {found}, and not the {wanted} that it is said to be")]
    OtherPlugin { wanted: String, found: String },
    #[error(
        "this host has run {seen} of it, and {version} is older: sign it as a newer one, or remove {path} to go back on purpose"
    )]
    Older { version: String, seen: String, path: PathBuf },
    #[error("remember its version in {path}")]
    Remember { path: PathBuf, source: io::Error },
}

/// Without keys everything is taken.
pub struct HostTrust {
    keys: Vec<TrustedKey>,
    path: PathBuf,
}

impl HostTrust {
    pub fn new(keys: Vec<TrustedKey>, folder: &Path) -> Self {
        Self { keys, path: folder.join(FILE) }
    }

    /// `first`: it has just come. Later its signature may run out: what was taken
    /// while it was valid goes on running through an outage of whoever signs.
    pub fn admit(
        &self,
        component: &Path,
        assignment: &PluginAssignment,
        first: bool,
        now: Timestamp,
    ) -> Result<(), TrustError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let bytes =
            std::fs::read(component).map_err(|source| TrustError::Read { path: component.to_owned(), source })?;
        let manifest = embedded_manifest(&bytes)?;
        if manifest.name != assignment.name || manifest.version != assignment.version {
            return Err(TrustError::OtherPlugin {
                wanted: format!("{} {}", assignment.name, assignment.version),
                found: format!("{} {}", manifest.name, manifest.version),
            });
        }
        let (rest, signature) = split_signature(&bytes)?;
        drop(bytes);
        let digest = ring::digest::digest(&ring::digest::SHA256, &rest);
        let valid = |key: &[u8], message: &[u8], made: &[u8]| {
            ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key).verify(message, made).is_ok()
        };
        let judged = verify_signature(signature.as_ref(), &manifest, digest.as_ref(), &self.keys, now, valid);
        match judged {
            Err(SignatureError::Expired { .. }) if !first => {}
            judged => drop(judged?),
        }
        self.remember(assignment)
    }

    fn remember(&self, assignment: &PluginAssignment) -> Result<(), TrustError> {
        let failed = |source| TrustError::Remember { path: self.path.clone(), source };
        let kept = files::read_if_there(&self.path).map_err(failed)?;
        let mut highest: BTreeMap<String, String> = match kept {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(io::Error::other(error)))?,
            None => BTreeMap::new(),
        };
        let version = Version::parse(&assignment.version);
        match highest.get(assignment.name.as_str()) {
            Some(seen) if Version::parse(seen) > version => {
                return Err(TrustError::Older {
                    version: assignment.version.clone(),
                    seen: seen.clone(),
                    path: self.path.clone(),
                });
            }
            Some(seen) if *seen == assignment.version => return Ok(()),
            _ => {}
        }
        highest.insert(assignment.name.to_string(), assignment.version.clone());
        let bytes = serde_json::to_vec(&highest).map_err(|error| failed(io::Error::other(error)))?;
        files::replace(&self.path, &bytes, files::PRIVATE).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::Name;
    use hostler_types::plugin::{Grants, Signature, attach_signature, embed_manifest, key_id};
    use ring::signature::KeyPair;

    fn assignment(version: &str) -> PluginAssignment {
        let name = Name::new("disk").expect("a name");
        PluginAssignment {
            name,
            version: version.into(),
            digest: String::new(),
            size_bytes: 0,
            grants: Grants::default(),
        }
    }

    struct Place {
        folder: tempfile::TempDir,
        key: ring::signature::Ed25519KeyPair,
    }

    impl Place {
        fn new() -> Self {
            let document = ring::signature::Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new());
            let key = ring::signature::Ed25519KeyPair::from_pkcs8(document.expect("a key").as_ref()).expect("a key");
            Self { folder: tempfile::tempdir().expect("a folder"), key }
        }

        fn trust(&self) -> HostTrust {
            let key = TrustedKey { name: "ci".into(), public_key: self.key.public_key().as_ref().to_vec() };
            HostTrust::new(vec![key], self.folder.path())
        }

        fn component(&self, version: &str, expires_ms: Option<u64>, sign: bool) -> PathBuf {
            let manifest = format!("name = \"disk\"\nversion = \"{version}\"\nworld = \"check\"\n");
            let mut bytes = embed_manifest(b"\0asm\x0d\0\x01\0", &manifest).expect("packs");
            if sign {
                let mut signature = Signature {
                    key: key_id(self.key.public_key().as_ref()),
                    name: "disk".into(),
                    version: version.into(),
                    expires_ms,
                    signature: String::new(),
                };
                let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
                let made = self.key.sign(&signature.message(digest.as_ref()));
                signature.signature = data_encoding::HEXLOWER.encode(made.as_ref());
                bytes = attach_signature(&bytes, &signature);
            }
            let path = self.folder.path().join("x.wasm");
            std::fs::write(&path, bytes).expect("writes");
            path
        }
    }

    #[test]
    fn a_host_with_keys_takes_only_what_they_signed_and_nothing_older() {
        let place = Place::new();
        let now = Timestamp::from_millis(5_000);
        let admit = |version: &str, expires, sign, first| {
            let path = place.component(version, expires, sign);
            place.trust().admit(&path, &assignment(version), first, now).map_err(|error| error.to_string())
        };
        assert!(admit("1.0.0", None, false, true).expect_err("unsigned").contains("is not signed"));
        assert!(admit("1.0.0", Some(4_000), true, true).expect_err("expired").contains("expired"));
        assert_eq!(admit("1.0.0", Some(4_000), true, false), Ok(()), "it ran before");
        assert_eq!(admit("1.1.0", None, true, true), Ok(()));
        assert!(admit("1.0.0", None, true, true).expect_err("older").contains("has run 1.1.0"));
        assert_eq!(admit("1.1.0", None, true, true), Ok(()));
        let path = place.component("2.0.0", None, true);
        let mixed = place.trust().admit(&path, &assignment("1.2.0"), true, now).expect_err("mixed up");
        assert!(mixed.to_string().contains("it is disk 2.0.0"), "{mixed}");
        let free = HostTrust::new(Vec::new(), place.folder.path());
        assert!(free.admit(Path::new("/nonexistent"), &assignment("1"), true, now).is_ok());
    }
}
