//! What `hostler-plugin new` begins, `hostler-plugin build` builds, and a host
//! runs: each language whose compiler is here. The others say what they lack.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test reports"
)]

mod host;
mod languages;
mod refusals;
mod worlds;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a folder.
fn hostler_plugin(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hostler-plugin"))
        .args(arguments)
        .current_dir(folder)
        // Rust's standard library is there already where the guests were built.
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests"))
        .output()
        .expect("start hostler-plugin")
}

/// What it says, if it fails as it should.
fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = hostler_plugin(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} went well");
    said
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = hostler_plugin(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
