//! Plugins that misbehave are stopped, and nothing else notices.

#[path = "hostile/cases.rs"]
mod cases;
#[path = "hostile/place.rs"]
pub mod place;
#[path = "hostile/raw.rs"]
mod raw;

use cases::{Case, cases};
use hostler_lab::{Agent, ControlPlane, wait_for};
use place::{CHILD_SLEEPS, Place, SECRET};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const HEALTHY: usize = 50;
/// Runs of each healthy plugin that are counted.
const SECONDS: u64 = 60;
/// Of a run's place in time, and of one that was due as the counting began.
const EDGE: f64 = 1.0;

fn push(control_plane: &ControlPlane, plugin: &[u8]) {
    let file = control_plane.path("pushed.wasm");
    std::fs::write(&file, plugin).unwrap();
    control_plane.ctl_ok(&["plugin", "push", file.to_str().unwrap()]);
}

/// How a guest's end is told here, by the words in its first line. One that came
/// to its end may have said anything.
fn told(end: &str) -> (&'static str, &'static str) {
    match end {
        // With time enough the other limit is met first.
        "CpuExhausted" | "TimedOut" => ("unknown", "computed for more than 500 ms"),
        "MemoryExhausted" => ("unknown", "MiB of memory"),
        "StackOverflow" => ("unknown", "nested too deep"),
        "HostCallsExhausted" => ("unknown", "called the host more than"),
        "Trapped" | "HostCallTooLarge" => ("unknown", "the plugin "),
        "refused by the compiler" => ("unknown", "which exceeds the limit"),
        "Done" => ("", ""),
        other => panic!("no words for {other}"),
    }
}

fn raw_cases() -> Vec<(Case, Vec<u8>)> {
    let made = |(name, end, text): (String, String, String)| {
        let name = format!("raw-{name}");
        let plugin = raw::plugin(&raw::component(&text, "check", str::to_owned), &name, "system = true");
        let (state, says) = told(&end);
        (Case { name, plugin: "", with: json!({}), says: vec![says.to_owned()], state }, plugin)
    };
    raw::guests().into_iter().map(made).collect()
}

/// Until the check has a state, whichever where the case names none.
fn settled(control_plane: &ControlPlane, case: &Case) -> serde_json::Value {
    wait_for(&format!("{} to end", case.name), 3 * SOON, || {
        let check = control_plane.check("web1", &case.name);
        let state = check["state"].as_str().unwrap_or("starting");
        if state == case.state || (case.state.is_empty() && state != "starting") { Ok(check) } else { Err(check) }
    })
}

/// Runs by plugin, from the agent's own page.
fn runs(port: u16) -> BTreeMap<String, f64> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the agent's page");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asks");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("answers");
    let counts = page.lines().filter_map(|line| {
        let (plugin, runs) = line.strip_prefix("hostler_agent_plugin_runs_total{plugin=\"")?.split_once("\"} ")?;
        Some((plugin.to_owned(), runs.parse().ok()?))
    });
    counts.collect()
}

/// Every hostile plugin there is, with fifty healthy ones beside them on one host:
/// each hostile one is stopped or denied with the reason in its event, and every
/// healthy one keeps its schedule.
#[test]
fn slow_the_hostile_are_stopped_and_fifty_others_keep_their_time() {
    let place = Place::new();
    let control_plane = ControlPlane::started();
    push(&control_plane, &raw::plugin(&raw::built("fixtures/hostile"), "hostile", &place.grants()));
    let open = "http = [\"http://*\", \"http://*:*\"]\npublic_only = true";
    push(&control_plane, &raw::plugin(&raw::built("fixtures/hostile"), "hostile-public", open));
    let mut all = cases(&place);
    let mut spec = "check:\n".to_owned();
    for case in &all {
        let Case { name, plugin, with, .. } = case;
        writeln!(spec, "  {name}: {{where: all, plugin: {plugin}, every: 5s, timeout: 3s, fails: 1, with: {with}}}")
            .unwrap();
    }
    for (case, plugin) in raw_cases() {
        push(&control_plane, &plugin);
        let name = &case.name;
        writeln!(spec, "  {name}: {{where: all, plugin: {name}, every: 5s, timeout: 3s, fails: 1}}").unwrap();
        all.push(case);
    }
    assert!(all.len() >= 30, "{} cases", all.len());
    let healthy: Vec<String> = (0..HEALTHY).map(|index| format!("healthy-{index:02}")).collect();
    for (name, component) in healthy.iter().zip(["disk", "load", "memory"].into_iter().cycle()) {
        push(&control_plane, &raw::plugin(&raw::built(component), name, "system = true"));
        let with = match component {
            "disk" => "{warn: 99.9%, critical: 100%}",
            "load" => "{warn: 1000, critical: 2000}",
            _ => "{}",
        };
        writeln!(spec, "  {name}: {{where: all, plugin: {name}, every: 1s, with: {with}}}").unwrap();
    }
    control_plane.apply(&spec);
    let mut agent = Agent::new("web1");
    let ran = agent.join(&control_plane.join_code(&[]), &[]);
    assert_eq!(ran.code, Some(0), "join: {ran:#?}");
    let port = agent.with_http();
    agent.start();

    for case in &all {
        let check = settled(&control_plane, case);
        let said = check["summary"].as_str().unwrap_or_default();
        println!(
            "{:<24} {:<8} {}",
            case.name,
            check["state"].as_str().unwrap_or_default(),
            said.chars().take(120).collect::<String>()
        );
        for words in &case.says {
            assert!(said.contains(words.as_str()), "{}: {said:?} has no {words:?}", case.name);
        }
        assert!(!said.contains(SECRET) && !said.contains('\u{1b}'), "{}: {said:?}", case.name);
    }
    for name in &healthy {
        control_plane.wait_check("web1", name, "passing", SOON);
    }

    // What happened stands in the events, each with its reason.
    let events = control_plane.events();
    for case in all.iter().filter(|case| case.state == "unknown") {
        let told = events.iter().any(|event| {
            let text = event.to_string();
            event["subject"] == case.name.as_str() && case.says.iter().all(|words| text.contains(words.as_str()))
        });
        assert!(told, "no event tells of {}", case.name);
    }
    let (before, began) = (runs(port), Instant::now());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let (after, seconds) = (runs(port), began.elapsed().as_secs_f64());
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    for name in &healthy {
        let ran = after[name] - before[name];
        (least, most) = (least.min(ran), most.max(ran));
        let off = (ran - seconds).abs() - EDGE;
        assert!(off <= seconds * 0.05, "{name} ran {ran} times in {seconds:.1} s");
    }
    println!("in {seconds:.1} s, of {HEALTHY} healthy plugins every one ran {least} to {most} times");

    // Those that break every time are run less and less often, and that is told.
    let quarantined =
        |event: &serde_json::Value| event["message"].as_str().is_some_and(|text| text.contains("is run less often"));
    let told: Vec<_> =
        control_plane.events().into_iter().filter(quarantined).map(|event| event["subject"].clone()).collect();
    for name in ["spin", "panic", "flood-log", "raw-start-spins", "raw-start-traps"] {
        assert!(told.contains(&name.into()), "{name} is not in quarantine: {told:?}");
    }
    assert!(healthy.iter().all(|name| !told.contains(&name.as_str().into())), "{told:?}");
    assert_eq!(place.reached.load(Ordering::SeqCst), 0, "something reached what was forbidden");
    wait_for("the runaway's children to be gone", SOON, || {
        let left = place::processes(CHILD_SLEEPS);
        // One run of it may be going on right now.
        if left.len() <= 3 { Ok(()) } else { Err(left) }
    });
    for name in &healthy {
        assert_eq!(control_plane.transitions("web1", name), ["starting -> passing"], "{name}");
    }
    assert_eq!(control_plane.node_state("web1"), "ready");
    assert_eq!(agent.stop(), Some(0));
    assert_eq!(place::processes(CHILD_SLEEPS), [""; 0], "children outlived the agent");
}

/// What could never run is refused as it is pushed, with what to do.
#[test]
fn what_does_not_fit_the_interface_is_refused_at_the_push() {
    const IDLE: &str = r#"(module
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
        (func (export "hostler:plugin/lifecycle@VERSION#configure") (param i32 i32) (result i32) (i32.const 8))
        (func (export "hostler:plugin/WORLD-api@VERSION#EXPORT") (result i32) (i32.const 8)))"#;
    let made = |world: &str, export: &str, version: &str| {
        let text = IDLE.replace("WORLD", world).replace("EXPORT", export).replace("VERSION", version);
        raw::component(&text, world, |wit| wit.replace("1.0.0", version))
    };
    let control_plane = ControlPlane::started();
    let file = control_plane.path("x.wasm");
    for (name, component, says) in [
        ("of another version", made("check", "run", "2.0.0"), "agents here speak 1.0"),
        ("of another world", made("collector", "collect", "1.0.0"), "exports hostler:plugin/check-api"),
        ("with WASI", raw::built("fixtures/wasi"), "there is no WASI on a host"),
        ("without anything", b"\0asm\x0d\0\x01\0".to_vec(), "exports nothing"),
    ] {
        std::fs::write(&file, raw::plugin(&component, "odd", "")).unwrap();
        let ran = control_plane.ctl(&["plugin", "push", file.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{name}: {ran:?}");
        assert!(ran.err.contains(says), "{name}: {ran:?}");
    }
    // Rightly made, it is taken: what was refused was refused for its reason.
    std::fs::write(&file, raw::plugin(&made("check", "run", "1.0.0"), "odd", "")).unwrap();
    control_plane.ctl_ok(&["plugin", "push", file.to_str().unwrap()]);
}

#[test]
fn what_is_no_plugin_is_refused_with_advice() {
    let control_plane = ControlPlane::started();
    let file = control_plane.path("x.wasm");
    std::fs::write(&file, b"hello").unwrap();
    let ran = control_plane.ctl(&["plugin", "push", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("x.wasm"), "{ran:?}");
    let missing = control_plane.ctl(&["plugin", "push", "/nowhere.wasm"]);
    assert!(missing.err.contains("read /nowhere.wasm"), "{missing:?}");
}

#[test]
fn a_check_without_the_grant_is_told_so() {
    let control_plane = ControlPlane::with_plugins(&["http"]);
    control_plane.apply("plugin: {http: {allow: {http: [\"https://example.com\"]}}}\ncheck: {site: {where: all, plugin: http, every: 1s, fails: 1, with: {url: \"http://127.0.0.1:9/\"}}}");
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    let check = wait_for("a refusal", SOON, || {
        let check = control_plane.check("web1", "site");
        let told =
            check["summary"].as_str().is_some_and(|text| text.contains("not granted") || text.contains("denied"));
        if told { Ok(check) } else { Err(check) }
    });
    assert_eq!(check["state"], "unknown", "{check}");
}
