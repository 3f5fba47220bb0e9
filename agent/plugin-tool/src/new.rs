//! `hostler-plugin new`: a plugin to begin with, that builds and passes its
//! test cases as it is.

use crate::build::Language;
use crate::called_as::called_as;
use crate::embedded;
use crate::output::print;
use anyhow::{Context, Result, bail, ensure};
use hostler_types::Name;
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
    let called = called_as();
    let text = format!(
        "{shown} has a check in {}: {} says what is what. Next:\n  {called} build {shown}\n  \
         {called} test {shown}\n  hostlerctl plugin push {}\n",
        arguments.lang.word(),
        folder.join("README.md").display(),
        folder.join(format!("{name}.wasm")).display()
    );
    print(&text)
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
fn files(language: Language, name: &Name) -> Vec<(String, String)> {
    let below = |path: &'static str| path.strip_prefix(language.word())?.strip_prefix('/');
    let mut files: Vec<(String, String)> = embedded::TEMPLATES
        .iter()
        .filter_map(|(path, text)| Some((below(path)?.to_owned(), text.replace(NAME, name.as_str()))))
        .collect();
    if language == Language::Rust {
        files.extend(sdk());
    }
    files
}

/// In our sources the SDK reads the interface where all read it.
const WIT_HERE: &str = "\"../../wit/1.0\"";
const WIT_THERE: &str = "\"wit\"";

/// The SDK with its interface, and the versions that it was tested with.
fn sdk() -> Vec<(String, String)> {
    let sources = embedded::SDK.iter().map(|(path, text)| (format!("sdk/{path}"), text.replace(WIT_HERE, WIT_THERE)));
    let interface = embedded::INTERFACE.iter().map(|(path, text)| (format!("sdk/wit/{path}"), (*text).to_owned()));
    let lock = ("Cargo.lock".to_owned(), embedded::SDK_LOCK.to_owned());
    sources.chain(interface).chain([lock]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_types::plugin::Manifest;
    use std::collections::BTreeMap;

    fn template(language: Language) -> BTreeMap<String, String> {
        files(language, &Name::new("disk.free").expect("a name")).into_iter().collect()
    }

    #[test]
    fn every_language_has_the_same_check() {
        let same = ["plugin.toml", "testcases/plenty.yaml", "testcases/full.yaml"];
        let first = template(Language::C);
        for language in Language::ALL {
            let files = template(language);
            for path in same {
                assert_eq!(files.get(path), first.get(path), "{} {path}", language.word());
            }
            let manifest = Manifest::parse(&files["plugin.toml"]).expect("plugin.toml");
            assert_eq!((manifest.name.as_str(), manifest.world.as_str()), ("disk.free", "check"));
            assert!(files.contains_key(".gitignore"), "{}", language.word());
            assert!(files["README.md"].starts_with("# disk.free\n"), "{}", language.word());
            for (path, text) in &files {
                assert!(!text.contains(NAME), "{}/{path} has a place left", language.word());
            }
        }
    }

    #[test]
    fn the_sdk_stands_alone() {
        let files = template(Language::Rust);
        let guest = &files["sdk/src/guest.rs"];
        assert!(guest.contains(WIT_THERE) && !guest.contains("../.."), "guest.rs reads its interface elsewhere");
        assert!(files.contains_key("sdk/wit/deps/host/host.wit") && files["Cargo.lock"].contains("wit-bindgen"));
        // What the SDK takes from its workspace, the template's has as well.
        let ours = include_str!("../../../plugins/Cargo.toml");
        for line in
            ours.lines().filter(|line| ["serde", "edition", "rust-version"].iter().any(|key| line.starts_with(key)))
        {
            assert!(files["Cargo.toml"].contains(line), "the Rust template's Cargo.toml lacks {line}");
        }
    }
}
