//! `hostler-plugin new`: a plugin to begin with, that builds and passes its
//! test cases as it is.

use crate::build::Language;
use crate::embedded;
use anyhow::{Context, Result, bail, ensure};
use hostler_types::Name;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What stands in a template where the plugin's name belongs.
const NAME: &str = "{{name}}";

#[derive(clap::Args)]
pub struct Arguments {
    /// rust, c, go, javascript or python
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// What the plugin is called
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to put it, a folder that does not exist yet [default: NAME]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub fn new(arguments: &Arguments) -> Result<()> {
    let name = Name::new(arguments.name.as_str()).context("the plugin's name")?;
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    write(arguments.lang, &name, &folder)?;
    let shown = folder.display();
    let text = format!(
        "{shown} has a check in {}: {} says what is what. Next:\n  hostlerctl plugin build {shown}\n  \
         hostlerctl plugin test {shown}\n  hostlerctl plugin push {}\n",
        arguments.lang.word(),
        folder.join("README.md").display(),
        folder.join(format!("{name}.wasm")).display()
    );
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

/// Never into a folder that is there: what is in it is somebody's.
fn write(language: Language, name: &Name, folder: &Path) -> Result<()> {
    let files = files(language, name);
    ensure!(!files.is_empty(), "this program was built without the template for {}", language.word());
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is already there: choose another name, or another place by --folder", folder.display())
        }
        result => result.with_context(|| format!("create {}", folder.display()))?,
    }
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The template's files with the name in its places.
fn files(language: Language, name: &Name) -> Vec<(&'static str, String)> {
    let below = |path: &'static str| path.strip_prefix(language.word())?.strip_prefix('/');
    embedded::TEMPLATES
        .iter()
        .filter_map(|(path, text)| Some((below(path)?, text.replace(NAME, name.as_str()))))
        .collect()
}
