//! Which language a plugin is written in.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    Go,
    Javascript,
    Python,
}

impl Language {
    pub const ALL: [Language; 5] = [Language::Rust, Language::C, Language::Go, Language::Javascript, Language::Python];

    /// As it is written after `--lang`, and the name of its template's folder.
    pub const fn word(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::C => "c",
            Language::Go => "go",
            Language::Javascript => "javascript",
            Language::Python => "python",
        }
    }

    /// What makes a folder one of this language: a file, or any of an ending.
    const fn mark(self) -> Mark {
        match self {
            Language::Rust => Mark::File("Cargo.toml"),
            Language::Go => Mark::File("go.mod"),
            Language::C => Mark::Ending("c"),
            Language::Javascript => Mark::Ending("js"),
            Language::Python => Mark::Ending("py"),
        }
    }

    /// By what is in the folder; a project's file says more than a source's
    /// ending, so those come first.
    pub fn find(folder: &Path) -> Result<Language> {
        let order = [Language::Rust, Language::Go, Language::C, Language::Javascript, Language::Python];
        for language in order {
            let found = match language.mark() {
                Mark::File(name) => folder.join(name).is_file(),
                Mark::Ending(ending) => !sources(folder, ending)?.is_empty(),
            };
            if found {
                return Ok(language);
            }
        }
        bail!(
            "{}: nothing here says what language this is: there is no Cargo.toml, go.mod, *.c, *.js or *.py",
            folder.display()
        )
    }
}

enum Mark {
    File(&'static str),
    Ending(&'static str),
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Language, String> {
        let words = Language::ALL.map(Language::word).join(", ");
        let found = Language::ALL.into_iter().find(|language| language.word() == text);
        found.ok_or_else(|| format!("there is no template for {text:?}: use one of {words}"))
    }
}

/// The folder's own files of an ending, sorted.
pub fn sources(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let list = || format!("list {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(list)? {
        let path = entry.with_context(list)?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
