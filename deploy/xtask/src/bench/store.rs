//! The state store against what its disk can do: a bare loop that appends and
//! syncs, in the same run.

use super::Figure;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The middle one counts: a shared disk has moods.
const ROUNDS: usize = 5;
/// Of 100,000 records of 1 KiB, keys and headers included.
const LIVE_MB: f64 = 106.0;
const GROUPED_PER_SECOND_ENOUGH: f64 = 20_000.0;
const GROUPED_TIMES: f64 = 8.0;
const SINGLE_SHARE: f64 = 2.0;
const OPEN_MS_MAX: f64 = 1_000.0;
const OPEN_MB_MAX: f64 = 130.0;
const OVERWRITTEN_MB_MAX: f64 = 2.0 * LIVE_MB + 60.0;
const DISK_TIMES_MAX: f64 = 6.0;

pub type Said = BTreeMap<String, f64>;

pub fn run(workspace: &Workspace) -> Result<Vec<Figure>> {
    workspace.build(&["--release", "--package", "hostler-store", "--example", "measure"])?;
    let program = workspace.root.join("target/release/examples/measure");
    let folder = std::env::temp_dir().join(format!("hostler-bench-store-{}", std::process::id()));
    let figures = measure(&program, &folder);
    let _ = fs::remove_dir_all(&folder);
    figures
}

pub fn ask(program: &Path, act: &str, folder: &Path) -> Result<Said> {
    // As the shipped unit sets it.
    let output = Command::new(program).arg(act).arg(folder).env("MALLOC_ARENA_MAX", "1").output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "measure {act} ended with {}: {}", output.status, complaint.trim());
    Ok(said(&output.stdout))
}

/// A name and a number in each line.
pub fn said(output: &[u8]) -> Said {
    let figures = String::from_utf8_lossy(output);
    let figures = figures.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    figures.collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn measure(program: &Path, folder: &Path) -> Result<Vec<Figure>> {
    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for act in ["bare", "single", "grouped"] {
            let said = ask(program, act, &folder.join(format!("{act}-{round}")))?;
            rates.entry(act).or_default().push(said.get("rate").copied().unwrap_or_default());
        }
    }
    let rate = |act: &str| median(rates.get(act).cloned().unwrap_or_default());
    let (bare, single, grouped) = (rate("bare"), rate("single"), rate("grouped"));
    let wanted = (bare * GROUPED_TIMES).min(GROUPED_PER_SECOND_ENOUGH);
    let large = folder.join("large");
    let filled = ask(program, "fill", &large)?;
    let opened = ask(program, "open", &large)?;
    let overwritten = ask(program, "overwrite", &large)?;
    let of = |said: &Said, name: &str| said.get(name).copied().unwrap_or(f64::INFINITY);
    let figure = |name, value, unit, at_most| Figure { name, value, unit, at_most };
    Ok(vec![
        figure("bare append and sync, 200 bytes", bare, "/s", None),
        figure("commits of one writer", single, "/s", None),
        figure("the bare rate over one writer's", bare / single, "x", Some(SINGLE_SHARE)),
        figure("commits of 64 writers", grouped, "/s", None),
        figure("8 x bare or 20,000/s, over 64 writers'", wanted / grouped, "x", Some(1.0)),
        figure("open with 100,000 records of 1 KiB", of(&opened, "ms"), "ms", Some(OPEN_MS_MAX)),
        figure("resident after it", of(&opened, "resident"), "MB", Some(OPEN_MB_MAX)),
        figure("resident, all overwritten five times", of(&overwritten, "resident"), "MB", Some(OVERWRITTEN_MB_MAX)),
        figure("resident meanwhile, at most", of(&overwritten, "resident-most"), "MB", None),
        figure("disk once filled, over live data", of(&filled, "disk") / LIVE_MB, "x", Some(DISK_TIMES_MAX)),
        figure(
            "disk while overwriting, over live data",
            of(&overwritten, "disk-most") / LIVE_MB,
            "x",
            Some(DISK_TIMES_MAX),
        ),
    ])
}
