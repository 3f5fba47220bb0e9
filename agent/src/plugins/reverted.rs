//! Versions that broke in their first runs here, and which one runs instead:
//! kept, so that a restart does not try them again.

use crate::files;
use hostler_types::plugin::Grants;
use hostler_types::{Name, PluginAssignment};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FILE: &str = "reverted.json";

pub struct Reverted {
    path: PathBuf,
    by_digest: BTreeMap<String, (String, PluginAssignment)>,
}

/// One on the disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    reason: String,
    name: Name,
    version: String,
    digest: String,
    size_bytes: u64,
    grants: Grants,
}

impl Reverted {
    /// What can't be read is forgotten: then the newer version is tried once more.
    pub fn open(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let kept: BTreeMap<String, Kept> = match files::read_if_there(&path) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        let by_digest = kept
            .into_iter()
            .map(|(digest, one)| {
                let Kept { reason, name, version, digest: before, size_bytes, grants } = one;
                (digest, (reason, PluginAssignment { name, version, digest: before, size_bytes, grants }))
            })
            .collect();
        Self { path, by_digest }
    }

    pub fn reason(&self, digest: &str) -> Option<&str> {
        self.by_digest.get(digest).map(|(reason, _)| reason.as_str())
    }

    pub fn before(&self, digest: &str) -> Option<&PluginAssignment> {
        self.by_digest.get(digest).map(|(_, before)| before)
    }

    /// Digests of versions that run instead.
    pub fn kept(&self) -> impl Iterator<Item = String> {
        self.by_digest.values().map(|(_, before)| before.digest.clone())
    }

    pub fn add(&mut self, digest: &str, reason: &str, before: &PluginAssignment) {
        let reason = format!("{} runs instead: {reason}", before.version);
        self.by_digest.insert(digest.to_owned(), (reason, before.clone()));
        self.save();
    }

    pub fn forget(&mut self, digest: &str) {
        if self.by_digest.remove(digest).is_some() {
            self.save();
        }
    }

    /// A version that is not assigned any more may be tried again one day.
    pub fn keep_only<'a>(&mut self, digests: impl Iterator<Item = &'a str>) {
        let digests: BTreeSet<&str> = digests.collect();
        let before = self.by_digest.len();
        self.by_digest.retain(|digest, _| digests.contains(digest.as_str()));
        if self.by_digest.len() < before {
            self.save();
        }
    }

    fn save(&self) {
        let kept = |(reason, one): &(String, PluginAssignment)| Kept {
            reason: reason.clone(),
            name: one.name.clone(),
            version: one.version.clone(),
            digest: one.digest.clone(),
            size_bytes: one.size_bytes,
            grants: one.grants.clone(),
        };
        let all: BTreeMap<&String, Kept> = self.by_digest.iter().map(|(digest, one)| (digest, kept(one))).collect();
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let written = serde_json::to_vec(&all).map_err(std::io::Error::other);
        let saved = written.and_then(|bytes| {
            files::private_folder(folder)?;
            files::replace(&self.path, &bytes, files::PRIVATE)
        });
        if let Err(error) = saved {
            tracing::warn!(error = %error, "which plugin versions broke here is forgotten at the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_is_known_after_a_restart_until_it_is_not_assigned() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = PluginAssignment {
            name: Name::new("disk").expect("a name"),
            version: "1.0.0".into(),
            digest: "a".into(),
            size_bytes: 7,
            grants: Grants { system: true, ..Grants::default() },
        };
        Reverted::open(folder.path()).add("b", "it crashed", &before);
        let mut found = Reverted::open(folder.path());
        assert_eq!(found.reason("b"), Some("1.0.0 runs instead: it crashed"));
        assert_eq!(found.before("b"), Some(&before));
        assert_eq!(found.kept().collect::<Vec<_>>(), ["a"]);
        found.keep_only(["c"].into_iter());
        assert_eq!(Reverted::open(folder.path()).reason("b"), None);
        std::fs::write(folder.path().join(FILE), "{").expect("writes");
        assert_eq!(Reverted::open(folder.path()).reason("b"), None);
    }
}
