//! The same check in five languages, on a real host under the shipped unit.

use super::{Fleet, SOON};
use hostler_lab::program;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A language, and the program that its tools are known by.
const LANGUAGES: [(&str, Option<&str>); 5] =
    [("rust", None), ("c", None), ("go", Some("go")), ("javascript", Some("npx")), ("python", Some("componentize-py"))];
/// Python's code is compiled for some ten seconds.
const COMPILED: Duration = Duration::from_secs(90);

fn is_there(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()))
}

fn ctl(folder: &Path, args: &[&str]) {
    let ran = hostler_lab::run(Command::new(program("hostlerctl")).args(args).current_dir(folder));
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:#?}");
}

#[test]
fn five_languages_report_from_one_host() {
    let folder = tempfile::tempdir().unwrap();
    let mut built = Vec::new();
    for (language, tool) in LANGUAGES {
        if let Some(tool) = tool.filter(|tool| !is_there(tool)) {
            println!("skipped: {language}: no {tool} on this machine");
            continue;
        }
        let name = format!("memory-{language}");
        ctl(folder.path(), &["plugin", "new", "--lang", language, &name]);
        let at = Instant::now();
        ctl(folder.path(), &["plugin", "build", &name]);
        let file = folder.path().join(&name).join(format!("{name}.wasm"));
        built.push((language, name, file, at.elapsed()));
    }

    let fleet = Fleet::installed();
    fleet.install("h1");
    let mut spec = "check:\n".to_owned();
    for (_, name, file, _) in &built {
        fleet.hosts.put(fleet.control, file, &format!("/root/{name}.wasm"));
        fleet.cp(&format!("hostlerctl plugin push /root/{name}.wasm"));
        spec.push_str(&format!("  {name}: {{where: all, plugin: {name}, every: 1s}}\n"));
    }
    fleet.apply(&spec);
    fleet.wait_state("h1", "ready", SOON);
    for (_, name, ..) in &built {
        let (check, _) = fleet.wait_check("h1", name, "passing", COMPILED);
        assert!(check["summary"].as_str().unwrap().ends_with("% of memory used"), "{check}");
    }
    // Enough runs for what each costs to mean something.
    let bills = hostler_lab::wait_for("thirty runs of each", COMPILED, || {
        let bills = fleet.json("plugin top");
        let runs = |name: &str| bill(&bills, name)["runs"].as_u64().unwrap_or_default();
        if built.iter().all(|(_, name, ..)| runs(name) >= 30) { Ok(bills.clone()) } else { Err(bills.clone()) }
    });
    println!("{:<12}{:>10}{:>12}{:>12}{:>12}", "language", "KiB", "built in s", "CPU us/run", "memory KiB");
    for (language, name, file, took) in &built {
        let bill = bill(&bills, name);
        let number = |key: &str| bill[key].as_u64().unwrap_or_default();
        let (size, took) = (std::fs::metadata(file).unwrap().len() / 1024, took.as_secs_f64());
        let (cpu, memory) = (number("cpu_us") / number("runs").max(1), number("memory_peak_bytes") / 1024);
        println!("{language:<12}{size:>10}{took:>12.1}{cpu:>12}{memory:>12}");
        assert_eq!(number("faults"), 0, "{bill}");
    }
}

fn bill<'a>(bills: &'a Value, name: &str) -> &'a Value {
    let found = bills.as_array().and_then(|bills| bills.iter().find(|bill| bill["plugin"] == name));
    found.unwrap_or(&Value::Null)
}
