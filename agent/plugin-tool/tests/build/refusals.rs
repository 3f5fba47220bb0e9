//! What `new` and `build` refuse, and what they say then.

use super::{fails, succeeds};
use std::fs;

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
