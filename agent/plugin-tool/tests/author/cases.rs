//! `hostler-plugin test`.

use super::{case, component, folder, holds, hostler_plugin, hostler_plugin_as, our_own_plugins, root};

const PLENTY: &str = "answers:\n  - call: system.get-memory\n    answer: {total: 1000, available: 600}\n\
                      expect: {status: ok, attrs: {used_percent: \"40.0\"}}\n";

#[test]
fn our_own_plugins_pass_their_cases() {
    for name in our_own_plugins() {
        let component = component(&name).display().to_string();
        let said = hostler_plugin(&root(), &["test", &format!("plugins/{name}"), "--wasm", &component]).exits(0);
        let cases = said.out.lines().filter(|line| line.starts_with("ok   ")).count();
        assert!(cases >= 3, "{name}:\n{}", said.out);
        assert_eq!(said.err, "", "{name}");
    }
}

#[test]
fn a_case_passes_or_says_what_differs() {
    let folder = folder("memory");
    case(folder.path(), "plenty", PLENTY);
    let said = hostler_plugin(folder.path(), &["test"]).exits(0);
    let line = said.out.lines().next().expect("a line");
    assert!(line.starts_with("ok   plenty   ") && line.contains(" us cpu, ") && line.contains(" MiB, "), "{line}");
    assert!(said.out.ends_with("\n1 passed, 0 failed\n"), "{}", said.out);

    let wrong = "answers:\n  - {call: system.get-memory, answer: {total: 1000, available: 50}}\nexpect: {status: ok}\n";
    case(folder.path(), "full", wrong);
    let said = hostler_plugin(folder.path(), &["test", "."]).exits(1);
    holds(&said.out, "FAIL full: status: expected ok, got critical\n");
    holds(&said.out, "1 passed, 1 failed\n");
    let said = hostler_plugin(folder.path(), &["test", "memory.wasm", "--case", "plenty"]).exits(0);
    holds(&said.out, "1 passed, 0 failed\n");
    let said = hostler_plugin(folder.path(), &["test", "--case", "plentiful"]).exits(2);
    holds(&said.err, "there is no case \"plentiful\" in testcases; there are full, plenty");
}

#[test]
fn what_was_not_recorded_fails_with_what_to_paste() {
    let folder = folder("http");
    let head = "with: {url: \"http://127.0.0.1:8080/x\"}\n";
    let expect = "expect: {status: ok}\n";
    case(folder.path(), "up", &format!("{head}{expect}"));
    let said = hostler_plugin(folder.path(), &["test"]).exits(1);
    let told = "FAIL up: asked for http.send, and no answer was recorded: add it to testcases/up.yaml:\n";
    let (_, snippet) = said.out.split_once(told).unwrap_or_else(|| panic!("{}", said.out));
    let (snippet, _) = snippet.split_once("0 passed").expect("a sum");
    holds(snippet, "  - call: http.send\n    with: {method: GET, url: ");
    // It is pasted as it is, and passes.
    case(folder.path(), "up", &format!("{head}{snippet}{expect}"));
    hostler_plugin(folder.path(), &["test"]).exits(0);
}

#[test]
fn answers_that_nobody_asked_for_are_told() {
    let folder = folder("memory");
    let more = PLENTY.replace("expect:", "  - {call: system.get-cpu, answer: {cores: 4}}\nexpect:");
    case(folder.path(), "plenty", &more);
    let said = hostler_plugin(folder.path(), &["test"]).exits(0);
    holds(&said.err, "warning: testcases/plenty.yaml:4: nothing asked for this answer to system.get-cpu");
}

#[test]
fn a_missing_grant_shows_as_on_a_node() {
    let folder = folder("memory");
    let manifest = std::fs::read_to_string(folder.path().join("plugin.toml")).expect("reads");
    std::fs::write(folder.path().join("less.toml"), manifest.replace("system = true", "")).expect("write");
    let pack = ["pack", "--component", "memory.wasm", "--manifest", "less.toml", "--output", "memory.wasm"];
    hostler_plugin(folder.path(), &pack).exits(0);
    case(folder.path(), "plenty", PLENTY);
    let said = hostler_plugin(folder.path(), &["test"]).exits(1);
    holds(&said.out, "FAIL plenty: the check broke: ");
    holds(&said.out, "grants.system = true");
    holds(&said.err, "plugin.toml was changed since memory.wasm was built: hostler-plugin build .");
}

#[test]
fn wrong_files_are_told_all_at_once_and_nothing_runs() {
    let folder = folder("memory");
    case(folder.path(), "a", "wiht: {}\nexpect: {status: ok}\n");
    case(folder.path(), "b", "answers:\n  - {call: system.get-memroy}\nexpect: {status: ok}\n");
    case(folder.path(), "plenty", PLENTY);
    let said = hostler_plugin(folder.path(), &["test"]).exits(2);
    assert_eq!(said.out, "");
    holds(&said.err, "testcases/a.yaml:1:1: a case of a check has no field \"wiht\"\n  1 | wiht: {}\n");
    holds(&said.err, "help: did you mean with?");
    holds(&said.err, "testcases/b.yaml:2:12: there is no call \"system.get-memroy\"");
}

#[test]
fn what_is_missing_is_told_with_the_command_that_was_typed() {
    let folder = folder("memory");
    let said = hostler_plugin(folder.path(), &["test"]).exits(2);
    holds(&said.err, "there is no test case in testcases: write one, or record one with `hostler-plugin record .`");
    let said = hostler_plugin_as("hostlerctl plugin", folder.path(), &["test"]).exits(2);
    holds(&said.err, "hostlerctl plugin: there is no test case");
    holds(&said.err, "`hostlerctl plugin record .`");
    std::fs::remove_file(folder.path().join("memory.wasm")).expect("removes");
    let said = hostler_plugin(folder.path(), &["test"]).exits(2);
    holds(&said.err, "build it with `hostler-plugin build .`, or say where it is by --wasm");
    let empty = tempfile::tempdir().expect("folder");
    let said = hostler_plugin(empty.path(), &["test"]).exits(2);
    holds(&said.err, "has no plugin.toml");
    let said = hostler_plugin(empty.path(), &["test", "nowhere"]).exits(2);
    holds(&said.err, "find nowhere");
}
