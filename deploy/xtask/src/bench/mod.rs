//! What the project promises in numbers, measured on a release build. A result is
//! written to deploy/bench/results, and committed by hand when it should stand.

mod assigned;
mod audit;
mod ctl;
pub mod fleet;
mod memory;
mod plugin;
mod services;
mod spec;
mod store;

use crate::deployment::{Demo, Deployment, Spec, demo_spec};
use crate::packages;
use crate::plugins;
use crate::ports::Ports;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bench {
    All,
    Plugin,
    Assigned,
    Memory,
    Ctl,
    Spec,
    Store,
    Audit,
    Services,
    Fleet,
}

/// Quick ones first: a broken set-up shows before ten minutes have passed.
const BENCHES: [(Bench, &str); 9] = [
    (Bench::Ctl, "ctl"),
    (Bench::Store, "store"),
    (Bench::Audit, "audit"),
    (Bench::Fleet, "fleet"),
    (Bench::Spec, "spec"),
    (Bench::Plugin, "plugin"),
    (Bench::Assigned, "assigned"),
    (Bench::Memory, "memory"),
    (Bench::Services, "services"),
];

impl Bench {
    pub fn parse(word: &str) -> Result<Self, String> {
        let found = BENCHES.iter().find(|(_, name)| *name == word).map(|(bench, _)| *bench);
        match word {
            "all" => Ok(Self::All),
            _ => found.ok_or_else(|| {
                format!("bench: '{word}' is none of plugin, assigned, memory, ctl, store, spec, audit, fleet, services or all")
            }),
        }
    }
}

/// One number, its promise, and whether it holds.
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub at_most: Option<f64>,
}

impl Figure {
    fn holds(&self) -> bool {
        self.at_most.is_none_or(|most| self.value <= most)
    }

    fn line(&self) -> String {
        let promise = self.at_most.map_or_else(String::new, |most| {
            format!("  at most {most} {}: {}", self.unit, if self.holds() { "holds" } else { "MISSED" })
        });
        format!("  {:<44} {:>10.3} {}{promise}", self.name, self.value, self.unit)
    }
}

/// A control plane and an agent of a release build, alone with their bench; gone
/// with it, data and all.
pub struct Private {
    pub deployment: Deployment,
    dir: PathBuf,
}

impl Private {
    /// With the two checks that most benches need.
    fn start(workspace: &Workspace, guests: &[PathBuf]) -> Result<Self> {
        let demo = Demo { disk_every: "5s", hello_every: "5s" };
        Self::with_spec(workspace, guests, |ports| demo_spec(demo, ports.http))
    }

    fn with_spec(workspace: &Workspace, guests: &[PathBuf], spec: impl Fn(&Ports) -> String) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("hostler-bench-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let deployment = Deployment::new(&dir, workspace.programs(Profile::Release), Ports::any()?);
        let private = Self { deployment, dir };
        let text = spec(&private.deployment.ports);
        private.deployment.start(guests, Spec { file: "checks.yaml", text: &text })?;
        private.deployment.wait_ready()?;
        Ok(private)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = self.deployment.stop() {
            eprintln!("bench: stop the private deployment: {error:#}");
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `agents` are the fleet's.
pub fn run(workspace: &Workspace, which: Bench, agents: usize) -> Result<()> {
    let builds_its_own = matches!(which, Bench::Store | Bench::Audit | Bench::Fleet);
    let guests = if builds_its_own { Vec::new() } else { build(workspace)? };
    let mut missed = Vec::new();
    for (bench, name) in BENCHES.into_iter().filter(|(bench, _)| which == Bench::All || which == *bench) {
        println!("{name}");
        let figures = match bench {
            Bench::Plugin => plugin::run(workspace, &guests)?,
            Bench::Assigned => assigned::run(workspace, &guests)?,
            Bench::Store => store::run(workspace)?,
            Bench::Audit => audit::run(workspace)?,
            Bench::Fleet => fleet::run(workspace, agents)?,
            Bench::Services => services::run(workspace, &guests)?,
            Bench::Ctl => ctl::run(&Private::start(workspace, &guests)?.deployment)?,
            Bench::Spec => spec::run(&Private::start(workspace, &guests)?.deployment)?,
            Bench::Memory | Bench::All => memory::run(&Private::start(workspace, &guests)?.deployment)?,
        };
        for figure in &figures {
            println!("{}", figure.line());
            if !figure.holds() {
                missed.push(figure.name);
            }
        }
        record(workspace, name, &figures)?;
    }
    if missed.is_empty() { Ok(()) } else { bail!("missed: {}", missed.join(", ")) }
}

/// Everything that a fleet of one needs, as it is released. Returns the bundled
/// plugins.
fn build(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    packages::install(&packages::FOR_BENCHES)?;
    let programs = ["hostler-agent", "hostler-executor", "hostler-control-plane", "hostlerctl"];
    let packages = programs.iter().flat_map(|name| ["--package", name]);
    let arguments: Vec<&str> = std::iter::once("--release").chain(packages).collect();
    workspace.build(&arguments)?;
    let guests =
        plugins::build(&workspace.root, plugins::Tool::Alone, &mut |line| eprintln!("  plugins        {line}"))?;
    workspace.build(&[
        "--release",
        "--locked",
        "--manifest-path",
        "agent/plugin-tool/Cargo.toml",
        "--target-dir",
        "target",
    ])?;
    Ok(guests)
}

fn record(workspace: &Workspace, name: &str, figures: &[Figure]) -> Result<()> {
    let folder = workspace.root.join("deploy/bench/results");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let date = today()?;
    let file = folder.join(format!("{date}-{name}.json"));
    let figures: Map<String, Value> = figures
        .iter()
        .map(|figure| {
            let value = json!({"value": figure.value, "unit": figure.unit, "at_most": figure.at_most});
            (figure.name.to_owned(), value)
        })
        .collect();
    let record = json!({"bench": name, "date": date, "machine": machine(), "figures": figures});
    let text = serde_json::to_string_pretty(&record).context("write the result as JSON")?;
    fs::write(&file, format!("{text}\n")).with_context(|| format!("write {}", file.display()))?;
    println!("  written to {}", file.strip_prefix(&workspace.root).unwrap_or(&file).display());
    Ok(())
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": kernel.trim(),
    })
}

/// The day in UTC, `2026-01-31`.
fn today() -> Result<String> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("read the clock")?;
    Ok(date(since.as_secs() / 86_400))
}

/// Days since 1970 to the civil date (Howard Hinnant's algorithm: years begin in
/// March, so that the leap day is a year's last).
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_513), "2026-03-01");
        assert_eq!(date(20_454), "2026-01-01");
    }

    #[test]
    fn a_missed_promise_shows() {
        let figure = |value| Figure { name: "agent, PSS", value, unit: "MiB", at_most: Some(8.0) };
        assert!(figure(7.9).holds() && figure(7.9).line().ends_with("at most 8 MiB: holds"));
        assert!(!figure(8.1).holds() && figure(8.1).line().ends_with("MISSED"));
        assert!(Figure { at_most: None, ..figure(99.0) }.holds());
    }
}
