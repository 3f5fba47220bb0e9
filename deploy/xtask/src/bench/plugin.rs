//! What a check costs: a fresh instance in the agent, in each language, against
//! fork and exec of the programs that others run for the same answers.

use super::Figure;
use crate::process::{cpu_seconds, output};
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RUNS: u32 = 10_000;
/// An interpreter's runs are dearer, and its figure as steady with fewer.
const RUNS_OF_INTERPRETERS: u32 = 2_000;
const PEER_RUNS: u32 = 1_000;
const PEERS: &str = "/usr/lib/nagios/plugins";
/// The engine alone, and a Rust check that does real work.
const RUST_US_MAX: f64 = 30.0;
const AGENT_MB_MAX: f64 = 12.0;
/// A plugin and the program that does the same.
struct Peer {
    plugin: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    share_max: f64,
    names: [&'static str; 3],
}

const PEERS_OF: [Peer; 2] = [
    Peer {
        plugin: "disk",
        program: "check_disk",
        arguments: &["-w", "20%", "-c", "10%", "-p", "/"],
        share_max: 1.0 / 15.0,
        names: ["disk, CPU of the whole agent a run", "check_disk, fork and exec", "disk as a share of check_disk"],
    },
    Peer {
        plugin: "load",
        program: "check_load",
        arguments: &["-w", "100,100,100", "-c", "200,200,200"],
        share_max: 1.0 / 30.0,
        names: ["load, CPU of the whole agent a run", "check_load, fork and exec", "load as a share of check_load"],
    },
];

/// The same check from each template.
const LANGUAGES: [(&str, &str, f64); 5] = [
    ("rust", "template in Rust, a run", RUST_US_MAX),
    ("c", "template in C, a run", 60.0),
    ("go", "template in Go, a run", 600.0),
    ("javascript", "template in JavaScript, a run", 300.0),
    ("python", "template in Python, a run", 1_500.0),
];

pub fn run(workspace: &Workspace, guests: &[PathBuf]) -> Result<Vec<Figure>> {
    let figure = |name, value, unit, at_most| Figure { name, value, unit, at_most };
    let programs = workspace.programs(Profile::Release);
    let size = fs::metadata(&programs.agent).with_context(|| format!("look at {}", programs.agent.display()))?.len();
    let mut figures = vec![figure("the agent's binary", size as f64 / 1e6, "MB", Some(AGENT_MB_MAX))];

    let idle = workspace.root.join("target/plugins/fixtures/idle.wasm");
    figures.push(figure("a check that does nothing, a run", ours_us(workspace, &idle, RUNS)?, "us", Some(RUST_US_MAX)));
    for peer in PEERS_OF {
        let found = guests.iter().find(|file| file.file_stem().is_some_and(|stem| stem == peer.plugin));
        let plugin = found.with_context(|| format!("find {}.wasm", peer.plugin))?;
        let (ours, theirs) = (ours_us(workspace, plugin, RUNS)?, peer_us(&peer)?);
        let [mine, others, share] = peer.names;
        figures.push(figure(mine, ours, "us", None));
        figures.push(figure(others, theirs, "us", None));
        figures.push(figure(share, ours / theirs, "x", Some(peer.share_max)));
    }
    let workspace = &workspace.with_authors_tools();
    for (language, name, most) in LANGUAGES {
        match from_template(workspace, language) {
            Ok(plugin) => {
                let runs = if matches!(language, "rust" | "c") { RUNS } else { RUNS_OF_INTERPRETERS };
                figures.push(figure(name, ours_us(workspace, &plugin, runs)?, "us", Some(most)));
            }
            Err(error) => println!("  {name}: left out, since it does not build here: {error:#}"),
        }
    }
    Ok(figures)
}

/// Begun and built as an author does it.
fn from_template(workspace: &Workspace, language: &str) -> Result<PathBuf> {
    let tool = crate::plugins::tool_path(&workspace.root);
    let folder = workspace.target.join("bench-templates");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let name = format!("mem-{language}");
    let plugin = folder.join(&name);
    let _ = fs::remove_dir_all(&plugin);
    output(Command::new(&tool).args(["new", "--lang", language, &name]).current_dir(&folder))?;
    output(Command::new(&tool).arg("build").arg(&plugin).env("PATH", workspace.path()))?;
    Ok(plugin.join(format!("{name}.wasm")))
}

/// Scheduled runs in a whole agent, host calls and reporting included; it counts
/// its own CPU.
fn ours_us(workspace: &Workspace, plugin: &Path, runs: u32) -> Result<f64> {
    let programs = workspace.programs(Profile::Release);
    let mut command = Command::new(&programs.agent);
    command.env("MALLOC_ARENA_MAX", "1").args(["bench-check", "--runs", &runs.to_string()]);
    command.arg("--wasm-plugin").arg(plugin);
    cpu_us_per_run(&output(&mut command)?)
}

fn cpu_us_per_run(text: &str) -> Result<f64> {
    let result: Value = serde_json::from_str(text.trim()).context("read the JSON of bench-check")?;
    let number =
        |key: &str| result.get(key).and_then(Value::as_f64).with_context(|| format!("find `{key}` in {result}"));
    let runs = number("runs")?;
    ensure!(runs >= 1.0, "bench-check ran nothing");
    Ok((number("cpu_seconds_user")? + number("cpu_seconds_system")?) / runs * 1e6)
}

fn peer_us(peer: &Peer) -> Result<f64> {
    let program = Path::new(PEERS).join(peer.program);
    ensure!(program.exists(), "{} is missing: install monitoring-plugins-basic", program.display());
    let before = cpu_seconds("self")?;
    for _ in 0..PEER_RUNS {
        let status = Command::new(&program)
            .args(peer.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("start {}", program.display()))?;
        // 0 to 2 are answers; a full disk is one as well.
        ensure!(matches!(status.code(), Some(0..=2)), "{} ended with {status}", program.display());
    }
    Ok((cpu_seconds("self")? - before) / f64::from(PEER_RUNS) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bench_result_is_divided_by_its_runs() {
        let text = r#"{"runs": 10000, "cpu_seconds_user": 0.2, "cpu_seconds_system": 0.3}"#;
        assert!((cpu_us_per_run(text).unwrap() - 50.0).abs() < 1e-6);
        assert!(cpu_us_per_run(r#"{"runs": 5}"#).unwrap_err().to_string().contains("cpu_seconds_user"));
    }
}
