//! What a plugin's author does with a built plugin: tests, records, lints, signs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod cases;
mod lint;
mod record;
mod sign;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Our own plugins, by their folders' names.
fn our_own_plugins() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("plugins")).expect("the plugins");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    let mut names: Vec<String> = folders
        .filter(|folder| folder.join("plugin.toml").is_file())
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    assert!(names.iter().any(|name| name == "disk"), "{names:?}");
    names
}

/// One of our own plugins, built by `cargo xtask plugins`.
fn component(name: &str) -> PathBuf {
    let path = root().join(format!("target/plugins/{name}.wasm"));
    assert!(path.is_file(), "there is no {}: cargo xtask plugins", path.display());
    path
}

/// A folder as its author has it: plugin.toml, README.md, what was built.
fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let source = root().join("plugins").join(name);
    for file in ["plugin.toml", "README.md"] {
        std::fs::copy(source.join(file), folder.path().join(file)).expect(file);
    }
    std::fs::copy(component(name), folder.path().join(format!("{name}.wasm"))).expect("the component");
    folder
}

fn case(folder: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(folder.join("testcases")).expect("folder");
    std::fs::write(folder.join(format!("testcases/{name}.yaml")), text).expect("write");
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn hostler_plugin(folder: &Path, arguments: &[&str]) -> Said {
    hostler_plugin_as("", folder, arguments)
}

/// As `hostlerctl plugin` starts it, say.
fn hostler_plugin_as(called: &str, folder: &Path, arguments: &[&str]) -> Said {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_hostler-plugin"))
        .args(arguments)
        .current_dir(folder)
        .env("HOSTLER_PLUGIN_CALLED_AS", called)
        // Each plugin is compiled once for all tests.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("start hostler-plugin");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: status.code().expect("an exit code"), out: text(stdout), err: text(stderr) }
}

impl Said {
    #[track_caller]
    fn exits(self, code: i32) -> Said {
        assert_eq!(self.code, code, "\n{}\n{}", self.out, self.err);
        self
    }
}

#[track_caller]
fn holds(text: &str, part: &str) {
    assert!(text.contains(part), "there is no {part:?} in:\n{text}");
}
