//! Which plugins there are, and which version of each is meant.

use crate::version::Version;
use hostler_types::Name;
use hostler_types::plugin::{Grants, Manifest};
use hostler_types::spec::PluginSpec;
use std::collections::BTreeMap;

/// A pushed component.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub manifest: Manifest,
    /// SHA-256 in hex.
    pub digest: String,
    pub size_bytes: u64,
    /// It asks for more than was approved before it: until somebody approves it,
    /// it is there and nothing runs it.
    pub waiting: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    artifacts: BTreeMap<Name, Vec<Artifact>>,
}

/// A plugin that can be assigned: one version, and what it may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen<'a> {
    pub artifact: &'a Artifact,
    pub grants: Grants,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    #[error("there is no plugin {plugin:?} here")]
    NoPlugin { plugin: String, known: Vec<String> },
    #[error("plugin {plugin} has no version {version:?}; there are {known}")]
    NoVersion { plugin: String, version: String, known: String },
    #[error("plugin {plugin} {version} waits for approval")]
    Waiting { plugin: String, version: String },
    #[error("plugin {plugin} {version} has digest {found}, not {pinned}")]
    OtherDigest { plugin: String, version: String, found: String, pinned: String },
}

impl Catalogue {
    pub fn new(artifacts: impl IntoIterator<Item = Artifact>) -> Self {
        let mut by_name: BTreeMap<Name, Vec<Artifact>> = BTreeMap::new();
        for artifact in artifacts {
            by_name.entry(artifact.manifest.name.clone()).or_default().push(artifact);
        }
        for versions in by_name.values_mut() {
            versions.sort_by_key(|artifact| Version::parse(&artifact.manifest.version));
        }
        Self { artifacts: by_name }
    }

    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.artifacts.keys()
    }

    /// Oldest first.
    pub fn versions(&self, plugin: &Name) -> &[Artifact] {
        self.artifacts.get(plugin).map(Vec::as_slice).unwrap_or_default()
    }

    /// What runs of a plugin without any word about it: the newest that waits for
    /// nobody.
    pub fn newest(&self, plugin: &Name) -> Option<&Artifact> {
        self.versions(plugin).iter().rev().find(|one| !one.waiting)
    }

    /// The version that the spec names, or the newest, with what manifest and
    /// spec both allow.
    pub fn choose(&self, plugin: &Name, spec: Option<&PluginSpec>) -> Result<Chosen<'_>, CatalogueError> {
        let versions = self.versions(plugin);
        let last = versions.last().ok_or_else(|| CatalogueError::NoPlugin {
            plugin: plugin.to_string(),
            known: self.names().map(ToString::to_string).collect(),
        })?;
        let artifact = match spec.and_then(|spec| spec.version.as_ref()) {
            None => self.newest(plugin).unwrap_or(last),
            Some(wanted) => versions.iter().find(|one| one.manifest.version == *wanted).ok_or_else(|| {
                let known: Vec<_> = versions.iter().map(|one| one.manifest.version.clone()).collect();
                CatalogueError::NoVersion {
                    plugin: plugin.to_string(),
                    version: wanted.clone(),
                    known: known.join(", "),
                }
            })?,
        };
        let version = || artifact.manifest.version.clone();
        if artifact.waiting {
            return Err(CatalogueError::Waiting { plugin: plugin.to_string(), version: version() });
        }
        if let Some(pinned) = spec.and_then(|spec| spec.digest.as_ref()).filter(|pinned| !pinned.fits(&artifact.digest))
        {
            return Err(CatalogueError::OtherDigest {
                plugin: plugin.to_string(),
                version: version(),
                found: artifact.digest.clone(),
                pinned: pinned.to_string(),
            });
        }
        let asked = &artifact.manifest.grants;
        let grants = match spec.and_then(|spec| spec.allow.as_ref()) {
            None => asked.clone(),
            Some(allow) => asked.intersect(&allow.grants()),
        };
        Ok(Chosen { artifact, grants })
    }
}
