//! What a check costs: a fresh instance of `disk` in the agent, against fork and
//! exec of the program that others run for the same answer.

use super::Figure;
use crate::process::output;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RUNS: u32 = 10_000;
const PEER_RUNS: u32 = 1_000;
const PEER: &str = "/usr/lib/nagios/plugins/check_disk";
const SHARE_MAX: f64 = 1.0 / 15.0;
/// The kernel's unit in /proc/PID/stat on Linux, whatever its own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

pub fn run(workspace: &Workspace, guests: &[PathBuf]) -> Result<Vec<Figure>> {
    let disk =
        guests.iter().find(|file| file.file_stem().is_some_and(|stem| stem == "disk")).context("find disk.wasm")?;
    let ours = ours_us(workspace, disk)?;
    let peer = peer_us()?;
    Ok(vec![
        Figure { name: "disk, CPU of the whole agent a run", value: ours, unit: "us", at_most: None },
        Figure { name: "check_disk, CPU of fork and exec a run", value: peer, unit: "us", at_most: None },
        Figure { name: "disk as a share of check_disk", value: ours / peer, unit: "x", at_most: Some(SHARE_MAX) },
    ])
}

/// Scheduled runs in a whole agent, host calls and reporting included; it counts
/// its own CPU.
fn ours_us(workspace: &Workspace, disk: &Path) -> Result<f64> {
    let programs = workspace.programs(Profile::Release);
    let mut command = Command::new(&programs.agent);
    command.env("MALLOC_ARENA_MAX", "1").args(["bench-check", "--runs", &RUNS.to_string()]);
    command.arg("--wasm-plugin").arg(disk);
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

fn peer_us() -> Result<f64> {
    ensure!(Path::new(PEER).exists(), "{PEER} is missing: install monitoring-plugins-basic");
    let before = cpu_seconds()?;
    for _ in 0..PEER_RUNS {
        let status = Command::new(PEER)
            .args(["-w", "20%", "-c", "10%", "-p", "/"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("start {PEER}"))?;
        // 0 to 2 are answers; a full disk is one as well.
        ensure!(matches!(status.code(), Some(0..=2)), "{PEER} ended with {status}");
    }
    Ok((cpu_seconds()? - before) / f64::from(PEER_RUNS) * 1e6)
}

/// Of this process and its children that have ended: forking counts, as it would
/// for any program that runs checks this way.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    cpu_ticks(&stat).map(|ticks| ticks as f64 / TICKS_PER_SECOND).context("read the CPU time in /proc/self/stat")
}

/// The program's name may hold blanks: fields are counted from its closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    const USER: usize = 11;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    fields.get(USER..USER + 4)?.iter().map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_an_odd_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 100 0 0 0 3 4 50 60 20 0 1 0 9";
        assert_eq!(cpu_ticks(stat), Some(117));
        assert_eq!(cpu_ticks("7 (x) S 1"), None);
    }

    #[test]
    fn a_bench_result_is_divided_by_its_runs() {
        let text = r#"{"runs": 10000, "cpu_seconds_user": 0.2, "cpu_seconds_system": 0.3}"#;
        assert!((cpu_us_per_run(text).unwrap() - 50.0).abs() < 1e-6);
        assert!(cpu_us_per_run(r#"{"runs": 5}"#).unwrap_err().to_string().contains("cpu_seconds_user"));
    }
}
