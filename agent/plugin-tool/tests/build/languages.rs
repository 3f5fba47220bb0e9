//! The same check, from every template.

use super::host::{Answers, Plugin};
use super::{hostler_plugin, succeeds};
use std::path::Path;
use wasmtime::component::Val;
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
        ..alone()
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
    Answers { config: "{}".into(), memory: Err("timeout".into()), looks: 0, random: 0, log: Vec::new() }
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

/// What a run writes to the log, by what it says at its end.
fn logs(plugin: &Plugin, answers: Answers) -> (Result<String, String>, Vec<String>) {
    let mut running = plugin.start(answers);
    (running.run(), running.log().to_vec())
}

#[test]
fn the_system_of_python() {
    let folder = begin("python");
    let source = r#"
import datetime, os, random, secrets, select, socket, subprocess, sys, tempfile, threading, time
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config

class Lifecycle(exports.Lifecycle):
    def configure(self, config_json):
        pass

def tried(what):
    try:
        what()
        return "went well"
    except Exception as error:
        return type(error).__name__

class CheckApi(exports.CheckApi):
    def run(self):
        how = config.json()
        if how == "bytes":
            sys.stdout.buffer.write(b"half \xc3 a caf\xc3\xa9 \xed\xa0\x80 \xf0\x9f\x98\x80\n")
            print("\u00e9" * 3000)
            raise Err(how)
        if how == "key":
            {}["missing"]
        if how == "exit":
            sys.exit(3)
        print("a line", "of words")
        print("not a line", end="")
        print(" until now\n\ntwo")
        print("a warning", file=sys.stderr)
        print("drew", random.random() < 1, secrets.token_hex(4))
        print("drew", random.random())
        start = time.monotonic()
        time.sleep(0.005)
        waited = 0.005 <= time.monotonic() - start < 0.05
        for what in [
            lambda: open("/etc/passwd"),
            lambda: open("out.txt", "w"),
            lambda: os.listdir("/"),
            lambda: tempfile.mkdtemp(),
            lambda: socket.socket(),
            lambda: socket.getaddrinfo(b"example.com", 80),
            lambda: threading.Thread(target=print).start(),
            lambda: subprocess.run(["ls"]),
            lambda: input(),
        ]:
            print(tried(what))
        select.select([], [], [], 0.001)
        raise Err(f"{time.time()} {datetime.datetime.now()} {waited} {dict(os.environ)} {sys.argv}")
"#;
    std::fs::write(folder.path().join("memory-use/check.py"), source).expect("write");
    let Some(bytes) = built(folder.path(), "python") else { return };
    borders(&bytes);
    let plugin = Plugin::load(&bytes);
    let (said, log) = logs(&plugin, alone());
    assert_eq!(said, Err("1700000000.0 2023-11-14 22:13:20 True {} []".into()));
    let (drawn, log): (Vec<String>, Vec<String>) = log.into_iter().partition(|line| line.contains("drew 0."));
    let expect = [
        "info: a line of words",
        "info: not a line until now",
        "info: two",
        "warn: a warning",
        "info: drew True 00010203",
        "info: FileNotFoundError",
        "info: FileNotFoundError",
        "info: FileNotFoundError",
        "info: FileNotFoundError",
        "info: PermissionError",
        "info: PermissionError",
        "info: RuntimeError",
        "info: OSError",
        "info: EOFError",
    ];
    assert_eq!(log, expect);
    let (_, again) = logs(&plugin, Answers { random: 100, ..alone() });
    assert!(drawn.len() == 1 && !again.contains(&drawn[0]), "{drawn:?} {again:?}");

    for (how, expect) in [
        ("key", "error: KeyError: 'missing'"),
        ("exit", "error: the plugin asked to exit, and a run ends with its report"),
    ] {
        let mut running = plugin.start(Answers { config: how.into(), ..alone() });
        let crash = running.crashes("check-api", "run", &[]);
        assert!(crash.contains("unreachable"), "{crash}");
        let errors: Vec<&String> = running.log().iter().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors, [expect], "{:?}", running.log());
    }
    let (said, log) = logs(&plugin, Answers { config: "bytes".into(), ..alone() });
    assert_eq!(said, Err("bytes".into()));
    let whole = "\u{e9}".repeat(511);
    let rest = "\u{e9}".repeat(3000 - 5 * 511);
    let lines = ["half ? a caf\u{e9} ??? \u{1f600}", &whole, &whole, &whole, &whole, &whole, &rest];
    assert_eq!(log, lines.map(|line| format!("info: {line}")));
}

#[test]
fn the_system_of_javascript() {
    let folder = begin("javascript");
    let source = r#"
        import { json } from 'hostler:host/config@1.0.0';

        console.log('nobody reads this', Math.random() < 1);

        export const lifecycle = {
          configure(configJson) {
            null.anything;
          },
        };

        export const checkApi = {
          run() {
            if (json() === 'key') {
              null.anything;
            }
            console.log('a line', 'of words', 7, { a: [1] }, null, undefined);
            console.info('one\n\ntwo');
            console.warn('a warning');
            console.error('an error');
            console.debug('a detail');
            console.log('drew', Math.random());
            throw `${Date.now()} ${new Date().toISOString()}`;
          },
        };
    "#;
    std::fs::write(folder.path().join("memory-use/check.js"), source).expect("write");
    let Some(bytes) = built(folder.path(), "javascript") else { return };
    borders(&bytes);
    let plugin = Plugin::load(&bytes);
    let (said, mut log) = logs(&plugin, alone());
    assert_eq!(said, Err("1700000000000 2023-11-14T22:13:20.000Z".into()));
    let drawn = log.pop();
    let expect = [
        r#"info: a line of words 7 {"a":[1]} null undefined"#,
        "info: one",
        "info: two",
        "warn: a warning",
        "error: an error",
        "debug: a detail",
    ];
    assert_eq!(log, expect);
    let (_, mut again) = logs(&plugin, Answers { random: 100, ..alone() });
    assert_ne!(drawn, again.pop());

    let (said, log) = logs(&plugin, Answers { config: "key".into(), ..alone() });
    assert_eq!((said, log), (Err("cannot read property 'anything' of null".into()), Vec::new()));
    let mut running = plugin.start(alone());
    let crash = running.crashes("lifecycle", "configure", &[Val::String("{}".into())]);
    assert!(crash.contains("unreachable"), "{crash}");
    let told = |line: &String| line.starts_with("warn: ") && line.contains("cannot read property 'anything' of null");
    assert!(running.log().iter().any(told), "{:?}", running.log());
}
