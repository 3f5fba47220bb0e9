//! `hostler-plugin lint`.

use super::{case, component, folder, holds, hostler_plugin, our_own_plugins, root};
use std::path::Path;

/// With another manifest, built of it.
fn packed(folder: &Path, name: &str, from: &str, to: &str) {
    let path = folder.join("plugin.toml");
    let text = std::fs::read_to_string(&path).expect("reads");
    assert!(text.contains(from), "{from}");
    std::fs::write(&path, text.replacen(from, to, 1)).expect("write");
    let wasm = format!("{name}.wasm");
    let pack = ["pack", "--component", &wasm, "--manifest", "plugin.toml", "--output", &wasm];
    hostler_plugin(folder, &pack).exits(0);
}

#[test]
fn our_own_plugins_are_without_fault() {
    for name in our_own_plugins() {
        let component = component(&name).display().to_string();
        let said = hostler_plugin(&root(), &["lint", &format!("plugins/{name}"), "--wasm", &component]).exits(0);
        assert_eq!(said.out, "0 errors, 0 warnings, 0 notes\n", "{name}");
    }
}

#[test]
fn what_is_asked_for_and_never_needed_is_told() {
    let folder = folder("memory");
    packed(folder.path(), "memory", "system = true", "system = true\nfiles = [\n  \"/var/log/*\",\n]");
    case(
        folder.path(),
        "x",
        "answers:\n  - {call: system.get-memory, answer: {total: 10, available: 9}}\nexpect: {status: ok}\n",
    );
    let said = hostler_plugin(folder.path(), &["lint"]).exits(0);
    holds(&said.out, "plugin.toml:9: warning: grant files /var/log/*: no test case needs it\n");
    holds(&said.out, "0 errors, 1 warning, 0 notes\n");
}

#[test]
fn what_the_plugin_refuses_is_no_example() {
    let folder = folder("memory");
    packed(folder.path(), "memory", "example = \"80%\"\ndefault = \"80%\"", "example = \"99%\"\ndefault = \"95%\"");
    let said = hostler_plugin(folder.path(), &["lint"]).exits(1);
    holds(&said.out, "error: [with.warn]: the plugin refuses the example 99%: warn: is above critical");
    holds(&said.out, "error: [with.warn]: the plugin refuses its default 95%: warn: is above critical");
    holds(&said.out, "warning: there are no test cases: record one with `hostler-plugin record .`");
    packed(folder.path(), "memory", "example = \"99%\"", "example = \"a lot\"");
    let said = hostler_plugin(folder.path(), &["lint"]).exits(1);
    holds(&said.out, "plugin.toml:14: error: [with.warn]: example a lot is \"a lot\", and should be a share like 80%");
}

#[test]
fn an_option_may_need_another() {
    let component = component("dns").display().to_string();
    let said = hostler_plugin(&root(), &["lint", "plugins/dns", "--wasm", &component]).exits(0);
    holds(&said.out, "0 errors, ");
}

#[test]
fn what_no_host_would_load_is_an_error() {
    let said = hostler_plugin(&root(), &["lint", "target/plugins/fixtures/wasi.wasm"]).exits(1);
    holds(&said.out, "error: it asks for wasi:cli/environment@0.2.6, which no host gives");
    let folder = folder("memory");
    packed(folder.path(), "memory", "world = \"check\"", "world = \"collector\"");
    let said = hostler_plugin(folder.path(), &["lint"]).exits(1);
    holds(
        &said.out,
        "it does not provide hostler:plugin/collector-api@1.0.0, which world \"collector\" of plugin.toml has",
    );
}

#[test]
fn a_folder_is_looked_at_before_anything_is_built() {
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("plugin.toml"), "name = \"x\"\nversion = \"v1\"\nworld = \"check\"\n")
        .expect("write");
    let said = hostler_plugin(folder.path(), &["lint"]).exits(1);
    holds(&said.out, "plugin.toml:2: error: version \"v1\" is none");
    holds(&said.out, "warning: there is no README.md");
    std::fs::write(folder.path().join("plugin.toml"), "name = \"x\"\nversion = \"1\"\nworld = \"check\"\n")
        .expect("write");
    let said = hostler_plugin(folder.path(), &["lint"]).exits(1);
    holds(&said.out, "error: there is no x.wasm: build it with `hostler-plugin build .`");
}

#[test]
fn wrong_and_failing_cases_are_told() {
    let folder = folder("memory");
    case(
        folder.path(),
        "a",
        "answers:\n  - {call: system.get-memory, answer: {total: 10, available: 9}}\nexpect: {status: critical}\n",
    );
    let said = hostler_plugin(folder.path(), &["lint"]).exits(0);
    holds(&said.out, "testcases/a.yaml: warning: it fails: hostler-plugin test . says how");
    case(folder.path(), "b", "wiht: {}\nexpect: {status: ok}\n");
    let said = hostler_plugin(folder.path(), &["lint"]).exits(1);
    holds(&said.out, "testcases/b.yaml:1: error: a case of a check has no field \"wiht\" (did you mean with?)");
}
