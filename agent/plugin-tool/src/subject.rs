//! Which plugin is meant: its folder, its built file, its manifest.

use crate::called_as::called_as;
use anyhow::{Context, Result, bail, ensure};
use hostler_types::plugin::{Manifest, embedded_manifest};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a fleet takes at most; Python's have 18 MB.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;

#[derive(clap::Args)]
pub struct SubjectArguments {
    /// The plugin's folder with its plugin.toml, or its built file
    #[arg(value_name = "FOLDER|FILE.wasm", default_value = ".")]
    plugin: PathBuf,
    /// Where the built file is [default: FOLDER/NAME.wasm]
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
}

/// A plugin that was built.
pub struct Subject {
    pub folder: PathBuf,
    pub wasm: PathBuf,
    pub bytes: Vec<u8>,
    /// As it is in the built file.
    pub manifest: Manifest,
    /// plugin.toml's text, where the folder has one.
    pub manifest_text: Option<String>,
}

impl SubjectArguments {
    pub fn find(&self) -> Result<Subject> {
        let (folder, given) = self.places()?;
        let manifest_path = within(&folder).join("plugin.toml");
        let manifest_text = match std::fs::read_to_string(&manifest_path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            result => Some(result.with_context(|| format!("read {}", manifest_path.display()))?),
        };
        let wasm = match (given, &manifest_text) {
            (Some(wasm), _) => wasm,
            (None, Some(text)) => {
                let manifest = Manifest::parse(text).with_context(|| format!("{}", manifest_path.display()))?;
                within(&folder).join(format!("{}.wasm", manifest.name))
            }
            (None, None) => bail!(
                "{} has no plugin.toml: give the folder of a plugin, or begin one with `{} new`",
                folder.display(),
                called_as()
            ),
        };
        let bytes = read(&wasm, &folder)?;
        let manifest = embedded_manifest(&bytes).with_context(|| format!("{} is no plugin", wasm.display()))?;
        Ok(Subject { folder, wasm, bytes, manifest, manifest_text })
    }

    /// Its folder, and its file where that was said.
    pub fn places(&self) -> Result<(PathBuf, Option<PathBuf>)> {
        let found = std::fs::metadata(&self.plugin).with_context(|| format!("find {}", self.plugin.display()))?;
        if found.is_dir() {
            return Ok((self.plugin.clone(), self.wasm.clone()));
        }
        ensure!(self.wasm.is_none(), "{} is a file: give its folder together with --wasm", self.plugin.display());
        let folder = self.plugin.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((folder.to_owned(), Some(self.plugin.clone())))
    }
}

/// What is in the folder that one stands in is told without it.
pub fn within(folder: &Path) -> &Path {
    if folder == Path::new(".") { Path::new("") } else { folder }
}

fn read(wasm: &Path, folder: &Path) -> Result<Vec<u8>> {
    match std::fs::metadata(wasm) {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "there is no {}: build it with `{} build {}`, or say where it is by --wasm",
            wasm.display(),
            called_as(),
            folder.display()
        ),
        Ok(found) if found.len() > COMPONENT_BYTES_MAX => {
            bail!("{} has {} bytes; a component may have {COMPONENT_BYTES_MAX}", wasm.display(), found.len())
        }
        _ => std::fs::read(wasm).with_context(|| format!("read {}", wasm.display())),
    }
}

impl Subject {
    /// What is told where the folder says something else than what was built of it.
    pub fn is_stale(&self) -> bool {
        self.manifest_text.as_deref().is_some_and(|text| Manifest::parse(text).is_ok_and(|one| one != self.manifest))
    }

    /// Its folder of cases.
    pub fn cases(&self) -> PathBuf {
        within(&self.folder).join(crate::case::FOLDER)
    }
}
