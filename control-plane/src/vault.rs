//! Secrets' values: sealed at rest under a master key that is no part of the state,
//! opened only to be sealed again, for a node that needs one.

mod key;

use crate::app::App;
use crate::clock;
use crate::world::World;
use hostler_proto::seal;
use hostler_proto::store as rest;
use hostler_types::{Name, NodeId, SealedSecret};
pub use key::{FILE as KEY_FILE, KeyError, Source};
use key::{Keeper, MasterKey};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use zeroize::Zeroizing;

/// A private key with its chain is some 10 KiB.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The newest, and those that a rollout may still go back to.
const VERSIONS_KEPT: usize = 5;
/// What was sealed for nodes is kept, so that the same orders are the same bytes.
const SEALED_KEPT_MAX: usize = 20_000;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("secret {name}, version {number}: it was sealed under the key {sealed_by}, and here is {here}")]
    OtherKey { name: String, number: u64, sealed_by: String, here: String },
    #[error("secret {name}, version {number} is damaged")]
    Damaged { name: String, number: u64 },
}

/// Why a request that waits can't be read any more.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("it was sealed under an older key, and all was sealed anew since: let it be asked for again")]
    OtherKey,
    #[error("it is damaged: let it be asked for again")]
    Damaged,
}

/// For whom, which secret, which version.
type For = (Vec<u8>, Name, u64);

pub struct Vault {
    keeper: Keeper,
    key: RwLock<Arc<MasterKey>>,
    sealed: Mutex<BTreeMap<For, Arc<[u8]>>>,
}

impl Vault {
    /// Makes a key where there is none yet: `fresh` says that no secret was ever kept.
    pub fn open(source: Source, data_dir: &Path, fresh: bool) -> Result<Self, KeyError> {
        let (keeper, key) = Keeper::open(source, data_dir.join(key::FILE), fresh)?;
        Ok(Self { keeper, key: RwLock::new(Arc::new(key)), sealed: Mutex::default() })
    }

    fn key(&self) -> Arc<MasterKey> {
        Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn key_id(&self) -> String {
        self.key().id().to_owned()
    }

    pub fn source(&self) -> String {
        self.keeper.describe()
    }

    /// The record with one more version; what is too old goes.
    pub fn add(&self, before: Option<&rest::Secret>, name: &Name, value: &[u8], by: &str) -> Option<rest::Secret> {
        let mut record =
            before.cloned().unwrap_or_else(|| rest::Secret { name: name.to_string(), versions: Vec::new() });
        let number = record.versions.last().map_or(1, |last| last.number + 1);
        let (nonce, sealed) = self.key().seal(&purpose(name, number), value)?;
        record.versions.push(rest::SecretVersion {
            number,
            key_id: self.key_id(),
            nonce,
            sealed,
            at_ms: clock::wall().as_millis(),
            by: by.to_owned(),
        });
        let old = record.versions.len().saturating_sub(VERSIONS_KEPT);
        record.versions.drain(..old);
        Some(record)
    }

    /// A request with a secret's value in it, to be kept for a while.
    pub fn seal_request(&self, id: &str, request: &[u8]) -> Option<rest::SecretVersion> {
        let (nonce, sealed) = self.key().seal(&purpose_of_request(id), request)?;
        Some(rest::SecretVersion { key_id: self.key_id(), nonce, sealed, ..rest::SecretVersion::default() })
    }

    pub fn open_request(&self, id: &str, one: &rest::SecretVersion) -> Result<Zeroizing<Vec<u8>>, RequestError> {
        let key = self.key();
        if !key.opens(&one.key_id) {
            return Err(RequestError::OtherKey);
        }
        key.open(&one.key_id, &purpose_of_request(id), &one.nonce, &one.sealed).ok_or(RequestError::Damaged)
    }

    /// The newest value, for the control plane's own use; absent where there is none.
    pub fn value(&self, record: &rest::Secret, name: &Name) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        record.versions.last().map(|newest| open_with(&self.key(), name, newest)).transpose()
    }

    /// The newest value, for the node's key alone; absent where there is none.
    pub fn for_node(
        &self,
        record: &rest::Secret,
        name: &Name,
        node: &NodeId,
        node_key: &[u8],
    ) -> Result<Option<SealedSecret>, VaultError> {
        let Some(newest) = record.versions.last() else { return Ok(None) };
        let version = newest.number;
        let whose = (node_key.to_vec(), name.clone(), version);
        let kept = || self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = kept().get(&whose) {
            return Ok(Some(SealedSecret { name: name.clone(), version, sealed: sealed.to_vec() }));
        }
        let value = open_with(&self.key(), name, newest)?;
        let Ok(sealed) = seal::seal(node_key, &SealedSecret::purpose(node, name, version), &value) else {
            tracing::warn!(node = %node, "its sealing key is none: it gets no secrets");
            return Ok(None);
        };
        let mut kept = kept();
        if kept.len() >= SEALED_KEPT_MAX {
            kept.clear();
        }
        kept.insert(whose, sealed.as_slice().into());
        Ok(Some(SealedSecret { name: name.clone(), version, sealed }))
    }

    /// A new key before the one that there is, which still opens what it sealed: so a
    /// crash at any time loses nothing. A key that is handed over may have a newer
    /// one before it already.
    pub fn begin_rekey(&self) -> Result<(), RekeyError> {
        let key = self.key();
        match self.keeper.can_keep() {
            Ok(()) => {}
            Err(_) if key.has_older() => return Ok(()),
            Err(why) => return Err(RekeyError::Elsewhere(why)),
        }
        self.adopt(key.with_new()?)?;
        Ok(())
    }

    /// Every version of a secret under the newest key.
    pub fn reseal(&self, name: &Name, record: &rest::Secret) -> Result<rest::Secret, RekeyError> {
        let (key, mut record) = (self.key(), record.clone());
        for version in &mut record.versions {
            let value = open_with(&key, name, version)?;
            let sealed = key.seal(&purpose(name, version.number), &value);
            (version.nonce, version.sealed) = sealed.ok_or(KeyError::Random)?;
            version.key_id = key.id().to_owned();
        }
        Ok(record)
    }

    /// Whether all of it is sealed by the newest key.
    pub fn is_newest(&self, record: &rest::Secret) -> bool {
        let id = self.key_id();
        record.versions.iter().all(|version| version.key_id == id)
    }

    /// Once nothing is sealed by older ones any more.
    pub fn finish_rekey(&self) -> Result<(), RekeyError> {
        Ok(self.adopt(self.key().without_older())?)
    }

    fn adopt(&self, key: MasterKey) -> Result<(), KeyError> {
        self.keeper.keep(&key)?;
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0}")]
    Elsewhere(String),
}

/// Which values the key that lies there does not open, each in words; changes nothing.
pub fn unopened(source: Source, data_dir: &Path, secrets: &[rest::Secret]) -> Result<Vec<String>, KeyError> {
    let key = Keeper::look(source, data_dir.join(key::FILE))?;
    let of = |secret: &rest::Secret| -> Vec<String> {
        let Ok(name) = Name::new(&secret.name) else { return vec![format!("{:?} is no name", secret.name)] };
        let wrong = secret.versions.iter().filter_map(|version| open_with(&key, &name, version).err());
        wrong.map(|error| error.to_string()).collect()
    };
    Ok(secrets.iter().flat_map(of).collect())
}

fn open_with(key: &MasterKey, name: &Name, version: &rest::SecretVersion) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let number = version.number;
    if !key.opens(&version.key_id) {
        return Err(VaultError::OtherKey {
            name: name.to_string(),
            number,
            sealed_by: version.key_id.clone(),
            here: key.id().to_owned(),
        });
    }
    let damaged = VaultError::Damaged { name: name.to_string(), number };
    key.open(&version.key_id, &purpose(name, number), &version.nonce, &version.sealed).ok_or(damaged)
}

/// What a value at rest is bound to.
fn purpose(name: &Name, number: u64) -> Vec<u8> {
    format!("hostler secret {name} {number}").into_bytes()
}

fn purpose_of_request(id: &str) -> Vec<u8> {
    format!("hostler request {id}").into_bytes()
}

/// The newest values of these secrets, sealed for the node. One that can't be
/// opened is left out, and the log says why: its checks say that it is missing.
pub fn sealed_for(
    app: &App,
    world: &World,
    node: &NodeId,
    node_key: &[u8],
    names: &BTreeSet<Name>,
) -> Vec<SealedSecret> {
    let mut sealed = Vec::new();
    if node_key.is_empty() {
        return sealed;
    }
    for name in names {
        let Some(record) = world.secrets.get(name) else { continue };
        match app.vault.for_node(record, name, node, node_key) {
            Ok(one) => sealed.extend(one),
            Err(error) => tracing::error!(error = %error, "a secret can't be opened"),
        }
    }
    sealed
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_proto::seal::SealingKey;

    fn name(text: &str) -> Name {
        Name::new(text).expect(text)
    }

    fn vault(folder: &Path) -> Vault {
        Vault::open(Source::File, folder, true).expect("opens")
    }

    #[test]
    fn a_value_is_sealed_at_rest_and_for_its_node_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = vault(folder.path());
        let smtp = name("smtp");
        let record = vault.add(None, &smtp, b"hunter2", "anna").expect("seals");
        let newest = vault.add(Some(&record), &smtp, b"hunter3", "anna").expect("seals");
        assert_eq!(newest.versions.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2]);
        assert!(!format!("{newest:?}").contains("hunter"));

        let (node, key) = (NodeId::from_random([1; 10]), SealingKey::generate());
        let sealed = vault.for_node(&newest, &smtp, &node, &key.public_key()).expect("opens").expect("has one");
        let purpose = SealedSecret::purpose(&node, &smtp, 2);
        assert_eq!(*key.open(&purpose, &sealed.sealed).expect("opens"), b"hunter3");
        let again = vault.for_node(&newest, &smtp, &node, &key.public_key()).expect("opens").expect("has one");
        assert_eq!(sealed, again, "the same orders are the same bytes");
        let other = SealedSecret::purpose(&NodeId::from_random([2; 10]), &smtp, 2);
        assert!(key.open(&other, &sealed.sealed).is_err());
    }

    #[test]
    fn old_versions_go_and_numbers_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = vault(folder.path());
        let mut record = None;
        for count in 0..VERSIONS_KEPT + 3 {
            record = vault.add(record.as_ref(), &name("x"), count.to_string().as_bytes(), "anna");
        }
        let versions = record.expect("seals").versions;
        assert_eq!(versions.len(), VERSIONS_KEPT);
        assert_eq!(versions.last().map(|one| one.number), Some(VERSIONS_KEPT as u64 + 3));
    }

    #[test]
    fn another_key_opens_nothing_and_a_swapped_value_is_noticed() {
        let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (ours, theirs) = (vault(here.path()), vault(there.path()));
        let record = ours.add(None, &name("x"), b"value", "anna").expect("seals");
        let (node, key) = (NodeId::from_random([1; 10]), SealingKey::generate().public_key());
        let error = theirs.for_node(&record, &name("x"), &node, &key).expect_err("another key").to_string();
        assert!(error.contains("it was sealed under the key"), "{error}");
        let error = ours.for_node(&record, &name("y"), &node, &key).expect_err("another name").to_string();
        assert_eq!(error, "secret y, version 1 is damaged");
    }

    #[test]
    fn a_new_key_takes_over_and_a_crash_in_between_loses_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = vault(folder.path());
        let record = vault.add(None, &name("x"), b"value", "anna").expect("seals");
        let (node, key) = (NodeId::from_random([1; 10]), SealingKey::generate());
        let opens = |vault: &Vault, record: &rest::Secret| {
            let sealed = vault.for_node(record, &name("x"), &node, &key.public_key()).expect("opens").expect("has one");
            assert_eq!(
                *key.open(&SealedSecret::purpose(&node, &name("x"), 1), &sealed.sealed).expect("opens"),
                b"value"
            );
        };
        let restarted = || Vault::open(Source::File, folder.path(), false).expect("opens");
        vault.begin_rekey().expect("makes one");
        assert!(!vault.is_newest(&record));
        opens(&vault, &record);
        opens(&restarted(), &record);
        let anew = vault.reseal(&name("x"), &record).expect("seals anew");
        assert!(vault.is_newest(&anew));
        opens(&restarted(), &anew);
        vault.finish_rekey().expect("forgets the old one");
        opens(&vault, &anew);
        opens(&restarted(), &anew);
        assert!(restarted().for_node(&record, &name("x"), &node, &key.public_key()).is_err());
    }
}
