//! Rust: rustup's compiler with its target for wasm, or Debian's, which brings
//! the standard library as source.

use super::{Built, Job, program};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-unknown-unknown";
/// Where Debian's compiler is, whatever PATH says.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const ADVICE: &str = "no Rust compiler for wasm32-unknown-unknown was found: install Rust from https://rustup.rs and \
                      run `rustup target add wasm32-unknown-unknown`, or on Debian as root `apt-get install cargo \
                      rustc-web rust-web-src`";

pub fn build(job: &Job) -> Result<Built> {
    let mut command = toolchain(&job.folder)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| job.scratch.join("target"), PathBuf::from);
    command
        .current_dir(&job.folder)
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics", "--target-dir"])
        .arg(target)
        // A first build takes a minute: its author sees it move.
        .stderr(Stdio::inherit());
    let output = command.output().context("start cargo")?;
    if !output.status.success() {
        bail!("cargo ended with {}; what it said is above", output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let file = said
        .lines()
        .filter_map(artifact)
        .next_back()
        .context("cargo built no library for plugins: put `crate-type = [\"cdylib\"]` under [lib] in Cargo.toml")?;
    let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    // A folder with wasm-component-ld as its linker gets a component at once.
    Ok(if is_component(&bytes) { Built::Component(bytes) } else { Built::Core(bytes) })
}

/// The .wasm file that a line of cargo's tells of.
fn artifact(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

fn is_component(bytes: &[u8]) -> bool {
    // Version 13 in layer 1; a core module is version 1 in layer 0.
    bytes.get(4..8) == Some(&[0x0d, 0, 1, 0])
}

/// A cargo that builds for wasm.
fn toolchain(folder: &Path) -> Result<Command> {
    let cargo = program::find("cargo").context(ADVICE)?;
    let mut command = Command::new(cargo);
    let sysroot = program::says(Command::new("rustc").current_dir(folder).args(["--print", "sysroot"]));
    let sysroot = sysroot.map(PathBuf::from);
    if sysroot.as_ref().is_some_and(|sysroot| sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()) {
        return Ok(command);
    }
    let debian = program::says(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).context(ADVICE)?;
    if !Path::new(&debian).join("lib/rustlib/src/rust/library/std").is_dir() {
        bail!(ADVICE);
    }
    command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
    match sysroot.and_then(|sysroot| rustup_linkers(&sysroot)) {
        Some(path) => command.env("PATH", path),
        None => command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", system_linker().context(ADVICE_LINKER)?),
    };
    Ok(command)
}

const ADVICE_LINKER: &str = "no linker for WebAssembly was found: on Debian as root `apt-get install lld`";

/// The PATH with the linkers of rustup's compiler, which Debian's has not.
fn rustup_linkers(sysroot: &Path) -> Option<OsString> {
    let host = program::says(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let linkers = sysroot.join("lib/rustlib").join(host).join("bin");
    linkers.join("rust-lld").is_file().then_some(())?;
    let mut path = vec![linkers.clone(), linkers.join("gcc-ld")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    std::env::join_paths(path).ok()
}

fn system_linker() -> Option<PathBuf> {
    program::find("wasm-ld")
        .or_else(|| (15..=30).rev().find_map(|version| program::find(&format!("wasm-ld-{version}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_among_what_cargo_says() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["cdylib"]},"filenames":["/a/check.wasm"]}"#;
        assert_eq!(artifact(line), Some("/a/check.wasm".into()));
        for other in [
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"reason":"compiler-artifact","filenames":["/a/libserde.rlib"]}"#,
            "warning: no JSON",
        ] {
            assert_eq!(artifact(other), None);
        }
    }
}
