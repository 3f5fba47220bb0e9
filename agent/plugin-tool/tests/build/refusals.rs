//! What `new` and `build` refuse, and what they say then.

use super::{fails, succeeds};
use std::fs;
use std::process::Command;

#[test]
fn new_refuses_wrong_names_and_folders_that_are_there() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    fs::create_dir(folder.join("taken")).expect("folder");
    for (arguments, says) in [
        (["new", "--lang", "c", "Wrong"].as_slice(), "contains 'W'"),
        (&["new", "--lang", "c", "../up"], "contains '.'"),
        (&["new", "--lang", "c", "true"], "means true or false in YAML"),
        (&["new", "--lang", "cobol", "x"], "use one of rust, c, go, javascript, python"),
        (&["new", "--lang", "c", "taken"], "taken is already there"),
        (&["new", "--lang", "c", "x", "--folder", "taken"], "taken is already there"),
        (&["new", "--lang", "c", "x", "--folder", "no/where"], "create no/where"),
        (&["new", "x"], "--lang"),
    ] {
        let said = fails(folder, arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(folder.join("taken")).expect("folder").count(), 0);
    succeeds(folder, &["new", "--lang", "c", "x", "--folder", "elsewhere"]);
    assert!(folder.join("elsewhere/testcases/full.yaml").is_file());
    assert!(fs::read_to_string(folder.join("elsewhere/plugin.toml")).expect("toml").contains("name = \"x\""));
}

/// Before a compiler is looked for.
#[test]
fn a_module_that_exports_nothing_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    succeeds(folder.path(), &["new", "--lang", "javascript", "x"]);
    fs::write(folder.path().join("x/check.js"), "export const lifecycle = {};\n").expect("write");
    let said = fails(folder.path(), &["build", "x"]);
    assert!(said.contains("check.js does not export `checkApi`, which the world check needs"), "{said}");

    fs::write(folder.path().join("x/other.js"), "").expect("write");
    fs::rename(folder.path().join("x/check.js"), folder.path().join("x/some.js")).expect("rename");
    let said = fails(folder.path(), &["build", "x"]);
    assert!(said.contains("has 2 files *.js: call the first one check.js"), "{said}");
}

/// An author with no compiler is told what to install.
#[test]
fn a_missing_compiler_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    for (language, says) in [
        ("rust", "rustup target add wasm32-unknown-unknown"),
        ("c", "apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32"),
        ("go", "https://go.dev/dl"),
        ("javascript", "install Node.js"),
        ("python", "pip install componentize-py"),
    ] {
        succeeds(folder.path(), &["new", "--lang", language, language]);
        let output = Command::new(env!("CARGO_BIN_EXE_hostler-plugin"))
            .args(["build", language])
            .current_dir(folder.path())
            .env("PATH", "")
            .env("WASI_SDK_PATH", folder.path())
            .output()
            .expect("start hostler-plugin");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says) && said.contains("found"), "{language}: {said}");
    }
}

#[test]
fn build_says_what_it_misses() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let empty = |name: &str| fs::create_dir(folder.join(name)).expect("folder");
    for name in ["bare", "wordless", "wrong"] {
        empty(name);
    }
    let manifest = "name = \"x\"\nversion = \"1\"\nworld = \"check\"\n";
    fs::write(folder.join("wordless/plugin.toml"), manifest).expect("write");
    fs::write(folder.join("wrong/plugin.toml"), manifest.replace("check", "chekc")).expect("write");
    for (name, says) in [
        ("nowhere", "find nowhere"),
        ("bare", "bare has no plugin.toml"),
        ("wordless", "there is no Cargo.toml, go.mod, *.c, *.js or *.py"),
        ("wrong", "world \"chekc\" is not known"),
    ] {
        let said = fails(folder, &["build", name]);
        assert!(said.contains(says), "{name}: {said}");
        assert!(!folder.join(name).join("x.wasm").exists());
    }
}
