//! The same check, from every template.

use super::host::{Answers, Plugin};
use super::{hostler_plugin, succeeds};
use std::path::Path;
use wit_component::DecodedWasm;

/// How a build says that the author's compiler is not installed.
const MISSING: [&str; 6] = [
    "no C compiler for WebAssembly was found",
    "no Go compiler was found",
    "no Rust compiler",
    "neither componentize-qjs nor npx was found",
    "componentize-py was not found",
    // npx, without a network.
    "npm error",
];

/// What a build makes of a folder, unless the compiler is missing.
pub fn built(folder: &Path, language: &str) -> Option<Vec<u8>> {
    let built = hostler_plugin(folder, &["build", "memory-use"]);
    let error = String::from_utf8_lossy(&built.stderr).into_owned();
    if MISSING.iter().any(|missing| error.contains(missing)) {
        println!("skipped: {language}: {}", error.trim());
        return None;
    }
    assert!(built.status.success(), "{error}");
    let line = String::from_utf8_lossy(&built.stdout).into_owned();
    println!("{line}");
    assert!(line.starts_with("memory-use 0.1.0  ") && line.contains("  sha256:"), "{line}");
    Some(std::fs::read(folder.join("memory-use/memory-use.wasm")).expect("the plugin"))
}

pub fn begin(language: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let says = succeeds(folder.path(), &["new", "--lang", language, "memory-use"]);
    for command in [
        "hostler-plugin build memory-use\n",
        "hostler-plugin test memory-use\n",
        "hostlerctl plugin push memory-use/memory-use.wasm\n",
    ] {
        assert!(says.contains(command), "{says}");
    }
    folder
}

fn check(language: &str) {
    let folder = begin(language);
    let Some(bytes) = built(folder.path(), language) else { return };
    let tested = succeeds(folder.path(), &["test", "memory-use"]);
    assert!(tested.ends_with("2 passed, 0 failed\n"), "{tested}");
    let linted = succeeds(folder.path(), &["lint", "memory-use"]);
    assert!(linted.contains("0 errors, 0 warnings, "), "{linted}");
    let manifest = hostler_types::plugin::embedded_manifest(&bytes).expect("has its manifest");
    assert!(manifest.name.as_str() == "memory-use" && manifest.grants.system && manifest.with.is_some());
    borders(&bytes);
    behaves(&Plugin::load(&bytes));
}

fn borders(bytes: &[u8]) {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(bytes).expect("parses") else {
        panic!("not a component");
    };
    let world = &resolve.worlds[world];
    let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    for wanted in ["hostler:plugin/lifecycle@1.0.0", "hostler:plugin/check-api@1.0.0"] {
        assert!(exports.iter().any(|name| name == wanted), "{exports:?}");
    }
    for name in world.imports.keys().map(|key| resolve.name_world_key(key)) {
        assert!(name.starts_with("hostler:host/"), "imports {name}");
    }
}

fn behaves(plugin: &Plugin) {
    let answers = |config: &str, memory: Result<(u64, u64), &str>| Answers {
        config: config.into(),
        memory: memory.map_err(str::to_owned),
        looks: 0,
    };
    for (config, wrong) in [
        ("{}", None),
        (r#"{"warn": 50, "critical": 50}"#, None),
        (r#"{"warn": 12.5}"#, None),
        (r#"{"warn": 95, "critical": 90}"#, Some("/warn")),
        (r#"{"warn": 95}"#, Some("/warn")),
        (r#"{"warn": "80"}"#, Some("/warn")),
        (r#"{"critical":true}"#, Some("/critical")),
    ] {
        let found = plugin.start(answers("{}", Err("timeout"))).configure(config);
        assert_eq!(found.first().map(String::as_str), wrong, "{config}: {found:?}");
    }

    let limits = r#"{"warn": 80, "critical": 90}"#;
    for (config, memory, expect) in [
        (limits, Ok((1000, 400)), Ok("ok: 40 % of memory used [used_percent=40]")),
        (limits, Ok((1000, 950)), Ok("critical: 95 % of memory used [used_percent=95]")),
        ("{}", Ok((1000, 850)), Ok("warning: 85 % of memory used [used_percent=85]")),
        (r#"{"warn": 12.5}"#, Ok((16 << 30, 1 << 31)), Ok("warning: 13 % of memory used [used_percent=13]")),
        ("{}", Err("denied: grants.system"), Err("denied: grants.system")),
        ("{}", Err("timeout"), Err("timeout")),
        ("{}", Err("meminfo: unreadable"), Err("meminfo: unreadable")),
        ("{}", Ok((0, 0)), Err("this host does not say how much memory it has")),
    ] {
        let said = plugin.start(answers(config, memory)).run();
        let expect = expect.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(said, expect, "{config} {memory:?}");
    }

    // What one call was given and gave, the next ones do without.
    let mut running = plugin.start(answers(limits, Ok((1000, 400))));
    for _ in 0..500 {
        assert_eq!(running.configure(limits), [""; 0]);
        assert_eq!(running.run().as_deref(), Ok("ok: 40 % of memory used [used_percent=40]"));
    }
}

#[test]
fn rust() {
    check("rust");
}

#[test]
fn c() {
    check("c");
}

#[test]
fn go() {
    check("go");
}

#[test]
fn javascript() {
    check("javascript");
}

#[test]
fn python() {
    check("python");
}

/// A host that has nothing but its clock and randomness to give.
fn alone() -> Answers {
    Answers { config: "{}".into(), memory: Err("timeout".into()), looks: 0 }
}

/// What a program asks of its system is answered within the plugin: the wall's
/// clock and randomness by the host, everything else by nothing.
#[test]
fn the_system_of_c() {
    let folder = begin("c");
    let source = r#"
        #include "check.h"
        #include <stdio.h>
        #include <stdlib.h>
        #include <time.h>
        #include <unistd.h>
        bool exports_hostler_plugin_lifecycle_configure(
            check_string_t *json, exports_hostler_plugin_lifecycle_list_config_error_t *err) {
            (void)json, (void)err;
            return true;
        }
        bool exports_hostler_plugin_check_api_run(
            exports_hostler_plugin_check_api_report_t *ret, check_string_t *err) {
            (void)ret;
            unsigned char random[3] = {9, 9, 9}, many[5000] = {0};
            int entropy = getentropy(random, sizeof random);
            for (int i = 0; i < 20; i++) getentropy(many + 250 * i, 250);
            struct timespec steady;
            clock_gettime(CLOCK_MONOTONIC, &steady);
            int printed = printf("nobody reads this\n");
            struct timespec nap = {.tv_sec = 0, .tv_nsec = 5000000};
            int slept = nanosleep(&nap, NULL);
            char line[200];
            snprintf(line, sizeof line, "%lld %d:%d,%d,%d %d %d %d %d %d %d", (long long)time(NULL), entropy,
                     random[0], random[1], random[2], many[249], steady.tv_nsec > 0, printed, slept,
                     fopen("/etc/passwd", "r") == NULL, getenv("HOME") == NULL);
            check_string_dup(err, line);
            return false;
        }
    "#;
    std::fs::write(folder.path().join("memory-use/plugin.c"), source).expect("write");
    let Some(bytes) = built(folder.path(), "c") else { return };
    borders(&bytes);
    let said = Plugin::load(&bytes).start(alone()).run();
    assert_eq!(said, Err("1700000000 0:0,1,2 249 1 18 0 1 1".into()));
}

#[test]
fn the_system_of_go() {
    let folder = begin("go");
    let source = r#"
        package main

        import ("crypto/rand"; "fmt"; "os"; "time"; "example.com/check/hostler")

        type check struct{}

        func (check) Configure([]byte) []hostler.ConfigError { panic("not today") }

        func (check) Run() (hostler.Report, error) {
            fmt.Println("nobody reads this")
            bytes := make([]byte, 5000)
            count, err := rand.Read(bytes)
            start := time.Now()
            time.Sleep(5 * time.Millisecond)
            waited := time.Since(start) >= 5*time.Millisecond
            _, missing := os.ReadFile("/etc/passwd")
            done := make(chan int)
            go func() { done <- 7 }()
            _, home := os.LookupEnv("HOME")
            return hostler.Report{}, fmt.Errorf("%d %d %v %v %v %d %v %v", start.Unix(), count, err, bytes[1:3], waited,
                <-done, missing != nil, home)
        }

        func init() { hostler.Export(check{}) }
        func main() {}
    "#;
    std::fs::write(folder.path().join("memory-use/main.go"), source).expect("write");
    let Some(bytes) = built(folder.path(), "go") else { return };
    borders(&bytes);
    let plugin = Plugin::load(&bytes);
    assert_eq!(plugin.start(alone()).configure("{}"), [""]);
    let said = plugin.start(alone()).run();
    assert_eq!(said, Err("1700000000 5000 <nil> [1 2] true 7 true false".into()));
}
