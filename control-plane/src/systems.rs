//! A version of a system at rest: one blob that holds its objects, and the small
//! record that names it.

use crate::blobs::Blobs;
use crate::records::{self, RecordError};
use hostler_core::applied::Applied;
use hostler_proto::store as rest;
use hostler_store::{Store, StoreError};
use hostler_types::spec::{Kind, Object, read_json};
use hostler_types::{Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the first line of a blob begins: what it is, and how it is written. Its
/// system and number follow, so that no two versions share one, and it can go with
/// its version.
const FORMAT: &str = "hostler-system 1 ";

/// A version of a system, without its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemVersion {
    pub system: Name,
    pub number: u64,
    /// Of the blob; empty where the system was deleted.
    pub digest: String,
    pub at: Timestamp,
    pub by: String,
    pub message: String,
    pub env: String,
    pub created: u32,
    pub updated: u32,
    pub deleted: u32,
    pub named: Vec<String>,
    pub more: u32,
    /// Who said yes where two had to agree; else empty.
    pub approved_by: String,
}

impl SystemVersion {
    pub fn is_there(&self) -> bool {
        !self.digest.is_empty()
    }

    pub fn encode(&self) -> bytes::Bytes {
        records::encode(&rest::SystemVersion {
            number: self.number,
            digest: self.digest.clone(),
            at_ms: self.at.as_millis(),
            by: self.by.clone(),
            message: self.message.clone(),
            env: self.env.clone(),
            created: self.created,
            updated: self.updated,
            deleted: self.deleted,
            named: self.named.clone(),
            more: self.more,
            approved_by: self.approved_by.clone(),
        })
    }

    pub fn decode(system: Name, key: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let one: rest::SystemVersion = records::decode(key, bytes)?;
        Ok(Self {
            system,
            number: one.number,
            digest: one.digest,
            at: Timestamp::from_millis(one.at_ms),
            by: one.by,
            message: one.message,
            env: one.env,
            created: one.created,
            updated: one.updated,
            deleted: one.deleted,
            named: one.named,
            more: one.more,
            approved_by: one.approved_by,
        })
    }
}

/// An object as it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    pub kind: String,
    pub name: String,
    /// JSON, as text.
    pub body: String,
    pub origin: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, String>,
}

pub fn write(system: &Name, number: u64, documents: &[Document]) -> Vec<u8> {
    let mut text = format!("{FORMAT}{system} {number}\n");
    for document in documents {
        text.push_str(&serde_json::to_string(document).unwrap_or_default());
        text.push('\n');
    }
    text.into_bytes()
}

/// The documents of a version that is kept.
pub fn read(blobs: &Blobs, version: &SystemVersion) -> Result<Vec<Document>, RecordError> {
    if !version.is_there() {
        return Ok(Vec::new());
    }
    let damaged = |problem: String| RecordError::Damaged {
        key: format!("version {} of system {} (blob {})", version.number, version.system, version.digest),
        problem,
    };
    let bytes = blobs.get(&version.digest).map_err(|error| damaged(error.to_string()))?;
    let bytes = bytes.ok_or_else(|| damaged("it is not there: restore the blobs folder from a backup".to_owned()))?;
    if crate::pki::sha256_hex(&bytes) != version.digest {
        return Err(damaged("its content is not what its name says: restore it from a backup".to_owned()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut lines = text.lines();
    if !lines.next().is_some_and(|line| line.starts_with(FORMAT)) {
        return Err(damaged("it was written by a newer version: upgrade".to_owned()));
    }
    lines.map(|line| serde_json::from_str(line).map_err(|error| damaged(error.to_string()))).collect()
}

/// Every system's newest version, and all objects.
#[derive(Clone, Debug, Default)]
pub struct Systems {
    pub versions: BTreeMap<Name, Arc<SystemVersion>>,
    pub applied: Applied,
}

impl Systems {
    /// The number of the version that is there; 0 where the system never was.
    pub fn number(&self, system: &Name) -> u64 {
        self.versions.get(system).map_or(0, |version| version.number)
    }

    pub fn set(&mut self, version: SystemVersion, blobs: &Blobs) -> Result<(), RecordError> {
        let key = records::system_key(&version.system);
        let mut objects = Vec::new();
        for document in read(blobs, &version)? {
            let object = read_json(&document.kind, &document.name, &document.body, &document.origin);
            let object: Object =
                object.map_err(|problems| RecordError::Damaged { key: key.clone(), problem: problems.to_string() })?;
            // Acts on services name the lines of their rules; nothing else asks for them.
            let origins = if object.kind() == Kind::Service { document.origins } else { BTreeMap::new() };
            objects.push(Arc::new(Object { origins, ..object }));
        }
        self.applied.set_system(&version.system, objects);
        self.versions.insert(version.system.clone(), Arc::new(version));
        Ok(())
    }
}

/// Removes what no kept version and nothing that waits names: what was left over by a crash, or by an
/// apply that somebody else overtook. Only at a start, when nobody writes.
pub async fn sweep(store: &dyn Store, documents: &Blobs) -> Result<usize, StoreError> {
    let kept = store.scan(records::SYSTEM_VERSIONS, None).await?;
    let digest = |bytes: &[u8]| records::decode::<rest::SystemVersion>("", bytes).ok().map(|one| one.digest);
    let mut known = BTreeSet::new();
    for (key, entry) in &kept.entries {
        match digest(&entry.value) {
            Some(digest) => drop(known.insert(digest)),
            // What can't be read might name any of them.
            None => {
                tracing::error!(key = %key, "a version could not be read; nothing is swept");
                return Ok(0);
            }
        }
    }
    let waiting = store.scan(records::APPROVALS, None).await?;
    for (key, entry) in &waiting.entries {
        if let Ok(one) = records::decode::<rest::Approval>(key, &entry.value) {
            known.insert(one.body);
        }
    }
    let left_over: Vec<String> = documents.list().into_iter().filter(|digest| !known.contains(digest)).collect();
    for digest in &left_over {
        documents.remove(digest);
    }
    Ok(left_over.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> Document {
        Document {
            kind: "check".into(),
            name: name.into(),
            body: r#"{"where":"all","plugin":"disk"}"#.into(),
            origin: "a.yaml:3".into(),
            origins: BTreeMap::new(),
        }
    }

    fn version(digest: &str) -> SystemVersion {
        SystemVersion {
            system: Name::new("shop").expect("a name"),
            number: 4,
            digest: digest.into(),
            at: Timestamp::from_millis(7),
            by: "anna".into(),
            message: String::new(),
            env: "prod".into(),
            created: 1,
            updated: 0,
            deleted: 0,
            named: vec!["create check disk".into()],
            more: 0,
            approved_by: String::new(),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(folder.path()).expect("opens");
        let documents = vec![document("disk"), document("other")];
        let digest = blobs.put(&write(&version("").system, 4, &documents)).expect("written");
        assert_eq!(read(&blobs, &version(&digest)).expect("reads"), documents);
        let mut systems = Systems::default();
        systems.set(version(&digest), &blobs).expect("set");
        assert_eq!((systems.applied.iter().count(), systems.number(&version("").system)), (2, 4));
        // Deleted: the number stays, the objects go.
        systems.set(SystemVersion { number: 5, ..version("") }, &blobs).expect("set");
        assert_eq!((systems.applied.iter().count(), systems.number(&version("").system)), (0, 5));
        std::fs::write(blobs.path(&digest), "hostler-system 1 shop 4\n").expect("damaged");
        let error = read(&blobs, &version(&digest)).expect_err("damaged").to_string();
        assert!(error.contains("version 4 of system shop") && error.contains("restore"), "{error}");
        let error = read(&blobs, &version(&"0".repeat(64))).expect_err("gone").to_string();
        assert!(error.contains("it is not there"), "{error}");
    }

    #[tokio::test]
    async fn what_no_version_names_is_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (blobs, store) = (Blobs::open(folder.path()).expect("opens"), hostler_store::open_memory().expect("opens"));
        let put = |number| blobs.put(&write(&version("").system, number, &[document("disk")])).expect("written");
        let (kept, left_over) = (put(4), put(5));
        assert_ne!(kept, left_over, "two versions never share one");
        let one = version(&kept);
        let key = records::system_version_key(&one.system, one.number);
        store.commit(hostler_store::Txn::new().put(key.as_str(), one.encode())).await.expect("commits");
        std::fs::write(folder.path().join("half.0.new"), "x").expect("written");
        assert_eq!(sweep(&*store, &blobs).await.expect("reads"), 2);
        assert!(blobs.has(&kept) && !blobs.has(&left_over));
    }

    #[test]
    fn records_read_back() {
        let one = version("d");
        let key = records::system_version_key(&one.system, one.number);
        assert_eq!(key, "/system-version/shop/00000000000000000004");
        assert_eq!(SystemVersion::decode(one.system.clone(), &key, &one.encode()).expect("reads"), one);
    }
}
