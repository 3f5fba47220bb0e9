//! A large system: how long its folder takes to lint, and to plan against a
//! control plane that holds as much.

use super::Figure;
use super::ctl::{median_ms, wall};
use crate::deployment::Deployment;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const FILES: usize = 500;
/// Ten objects a file: 5,000 in all, the system's own among them.
const OBJECTS: usize = 5_000;
const RUNS: usize = 9;
const LINT_MS_MAX: f64 = 300.0;
const LINT_MB_MAX: f64 = 100.0;
const PLAN_MS_MAX: f64 = 1_000.0;
/// Reads the same files with the parser that Ansible reads its own with.
const PEER: &str = "import glob, sys, yaml\n\
                    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)\n\
                    for name in glob.glob(sys.argv[1] + '/*.yaml'): yaml.load(open(name), Loader=loader)\n";

pub fn run(deployment: &Deployment) -> Result<Vec<Figure>> {
    let folder = std::env::temp_dir().join(format!("hostler-bench-spec-{}", std::process::id()));
    let figures = measure(deployment, &folder);
    let _ = fs::remove_dir_all(&folder);
    figures
}

fn measure(deployment: &Deployment, folder: &Path) -> Result<Vec<Figure>> {
    write(folder)?;
    let path = folder.to_str().context("name the folder")?;
    let lint = || {
        let mut command = deployment.ctl();
        command.args(["lint", "-f", path]);
        command
    };
    let peak = peak_megabytes(&mut lint())?;
    let (mut lints, mut peers, mut plans) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        lints.push(wall(&mut lint())?);
        peers.push(wall(Command::new("python3").args(["-c", PEER, path]))?);
    }
    let applied = wall(deployment.ctl().args(["apply", "-f", path, "--yes"]))?;
    for _ in 0..RUNS {
        plans.push(wall(deployment.ctl().args(["plan", "-f", path]))?);
    }
    let (lint, peer, plan) = (median_ms(lints), median_ms(peers), median_ms(plans));
    Ok(vec![
        Figure {
            name: "lint of 5,000 objects in 500 files, median",
            value: lint,
            unit: "ms",
            at_most: Some(LINT_MS_MAX),
        },
        Figure { name: "PyYAML reading the same, median", value: peer, unit: "ms", at_most: None },
        Figure { name: "lint as a share of PyYAML", value: lint / peer, unit: "x", at_most: None },
        Figure { name: "lint, peak memory", value: peak, unit: "MB", at_most: Some(LINT_MB_MAX) },
        Figure { name: "first apply of them", value: applied.as_secs_f64() * 1e3, unit: "ms", at_most: None },
        Figure { name: "plan against as many, median", value: plan, unit: "ms", at_most: Some(PLAN_MS_MAX) },
    ])
}

/// The kernel keeps the highest mark; it is read until the program has ended.
fn peak_megabytes(command: &mut Command) -> Result<f64> {
    let mut child = command.stdout(Stdio::null()).spawn().context("start hostlerctl")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    loop {
        if let Some(kilobytes) = fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
            peak = kilobytes * 1024.0 / 1e6;
        }
        if let Some(ended) = child.try_wait().context("wait for hostlerctl")? {
            ensure!(ended.success(), "hostlerctl lint ended with {ended}");
            return Ok(peak);
        }
    }
}

fn high_water(status: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.split_whitespace().next()?.parse().ok()
}

fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut objects = 0;
    for file in 0..FILES {
        let mut text = String::new();
        if file == 0 {
            text.push_str("system: {name: large, zone: Europe/Berlin}\n");
            objects += 1;
        }
        let checks = if file == 0 { 5 } else { 6 };
        write_file(&mut text, file, checks);
        objects += checks + 4;
        let path = folder.join(format!("part{file:03}.yaml"));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    ensure!(objects == OBJECTS, "{objects} objects were written");
    Ok(())
}

/// As people write them: a service, its checks, and what goes with it.
fn write_file(text: &mut String, number: usize, checks: usize) {
    let _ = write!(
        text,
        "service:\n  app{number}:\n    where: role=app{number}\n    type: systemd\n    user: app\n    home: /opt/app{number}\n    \
         command: bin/server --port {port} --config config/app.yaml\n    port: {port}\n    env:\n      LOG_LEVEL: info\n      \
         NODE: ${{node.name}}\n    limits: {{memory: 2GiB, cpu: 1.5}}\n    restart: {{delay: 5s}}\n    live: [app{number}-0]\n    \
         rollout: {{max: 25%, healthy_for: 30s, require: {{window: night{number}}}}}\n\nbudget:\n  app{number}: {{where: role=app{number}, \
         max_down: 1}}\nwindow:\n  night{number}: {{cron: 0 2 * * mon-fri, for: 3h}}\nalert:\n  app{number}: {{check: app{number}-0, \
         for: 5m, severity: page}}\n\ncheck:\n",
        port = 10_000 + number,
    );
    for check in 0..checks {
        let _ = match check % 2 {
            0 => writeln!(
                text,
                "  app{number}-{check}:\n    service: app{number}\n    plugin: http\n    every: 15s\n    with: {{url: \
                 \"http://127.0.0.1:{}/health/{check}\", components: true}}",
                10_000 + number
            ),
            _ => writeln!(
                text,
                "  app{number}-{check}: {{where: role=app{number}, plugin: disk, every: 1m, with: {{warn: 80%, critical: 90%}}}}"
            ),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_mark_is_read() {
        assert_eq!(high_water("Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n"), Some(12_345.0));
        assert_eq!(high_water("Name:\tx\n"), None);
    }
}
