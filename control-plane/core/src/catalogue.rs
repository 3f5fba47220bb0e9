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

    /// The version that the spec names, or the newest, with what manifest and
    /// spec both allow.
    pub fn choose(&self, plugin: &Name, spec: Option<&PluginSpec>) -> Result<Chosen<'_>, CatalogueError> {
        let versions = self.versions(plugin);
        let newest = versions.last().ok_or_else(|| CatalogueError::NoPlugin {
            plugin: plugin.to_string(),
            known: self.names().map(ToString::to_string).collect(),
        })?;
        let artifact = match spec.and_then(|spec| spec.version.as_ref()) {
            None => newest,
            Some(wanted) => versions.iter().find(|one| one.manifest.version == *wanted).ok_or_else(|| {
                let known: Vec<_> = versions.iter().map(|one| one.manifest.version.clone()).collect();
                CatalogueError::NoVersion {
                    plugin: plugin.to_string(),
                    version: wanted.clone(),
                    known: known.join(", "),
                }
            })?,
        };
        let asked = &artifact.manifest.grants;
        let grants = match spec.and_then(|spec| spec.allow.as_ref()) {
            None => asked.clone(),
            Some(allow) => asked.intersect(&allow.grants()),
        };
        Ok(Chosen { artifact, grants })
    }
}
