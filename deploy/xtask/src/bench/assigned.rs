//! What an agent costs that does as much as a usual host asks of it: twenty checks
//! over ten plugins, every ten seconds.

use super::memory::{mb, measure, settle};
use super::{Figure, Private};
use crate::ports::Ports;
use crate::process::cpu_seconds;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PLUGINS: [&str; 10] = ["certificate", "disk", "file", "http", "load", "log", "memory", "ping", "process", "tcp"];
/// Until everything is compiled and has run some times.
const WARM_UP: Duration = Duration::from_secs(60);
const PSS_MB_MAX: f64 = 12.0;
const CPU_SECONDS_AN_HOUR_MAX: f64 = 2.0;

pub fn run(workspace: &Workspace, guests: &[PathBuf]) -> Result<Vec<Figure>> {
    let of = |name: &str| {
        let found = guests.iter().find(|file| file.file_stem().is_some_and(|stem| stem == name));
        found.cloned().with_context(|| format!("find {name}.wasm"))
    };
    let plugins: Vec<PathBuf> = PLUGINS.into_iter().map(of).collect::<Result<_>>()?;
    let private = Private::with_spec(workspace, &plugins, spec)?;
    let deployment = &private.deployment;
    let pid = deployment.agent.pid().context("find the agent's process")?.to_string();

    settle(deployment, WARM_UP)?;
    let (before, began) = (cpu_seconds(&pid)?, Instant::now());
    settle(deployment, super::memory::span()?)?;
    let hours = began.elapsed().as_secs_f64() / 3600.0;
    let cpu = (cpu_seconds(&pid)? - before) / hours;
    let memory = measure(&deployment.agent)?;
    let figure = |name, value, unit, at_most| Figure { name, value, unit, at_most };
    Ok(vec![
        figure("20 checks over 10 plugins, agent's PSS", mb(memory.pss_kib), "MB", Some(PSS_MB_MAX)),
        figure("20 checks over 10 plugins, agent's RSS", mb(memory.rss_kib), "MB", None),
        figure("20 checks over 10 plugins, CPU an hour", cpu, "s", Some(CPU_SECONDS_AN_HOUR_MAX)),
    ])
}

/// Two of each; what they look at is surely there.
fn spec(ports: &Ports) -> String {
    let Ports { operators, http, agents, .. } = ports;
    let checks = [
        ("disk", "disk", "{warn: 99%, critical: 100%}".to_owned()),
        ("disk-root", "disk", "{warn: 98%, critical: 99%}".to_owned()),
        ("hello", "http", format!("{{url: \"http://127.0.0.1:{http}/health\"}}")),
        ("ready", "http", format!("{{url: \"http://127.0.0.1:{http}/health\", status: [200, 204]}}")),
        ("load", "load", "{warn: 1000, critical: 2000}".to_owned()),
        ("load-high", "load", "{warn: 100, critical: 200}".to_owned()),
        ("memory", "memory", "{}".to_owned()),
        ("memory-high", "memory", "{}".to_owned()),
        ("agent-runs", "process", "{name: hostler-agent}".to_owned()),
        ("control-plane-runs", "process", "{name: hostler-contro*}".to_owned()),
        ("hostname", "file", "{path: /etc/hostname}".to_owned()),
        ("passwd", "file", "{path: /etc/passwd, min_size: 1KiB}".to_owned()),
        ("dpkg-log", "log", "{path: /var/log/dpkg.log, missing: ok}".to_owned()),
        ("apt-log", "log", "{path: /var/log/apt/history.log, missing: ok}".to_owned()),
        ("operators", "tcp", format!("{{port: {operators}}}")),
        ("agents", "tcp", format!("{{port: {agents}}}")),
        (
            "operators-tls",
            "certificate",
            format!("{{host: 127.0.0.1, port: {operators}, verify: false, warn: 1, critical: 0}}"),
        ),
        (
            "agents-tls",
            "certificate",
            format!("{{host: 127.0.0.1, port: {agents}, verify: false, warn: 1, critical: 0}}"),
        ),
        ("ping", "ping", "{host: 127.0.0.1, count: 1}".to_owned()),
        ("ping-other", "ping", "{host: 127.0.0.2, count: 1}".to_owned()),
    ];
    let line = |(name, plugin, with): (&str, &str, String)| {
        format!("  {name}: {{where: all, plugin: {plugin}, every: 10s, with: {with}}}\n")
    };
    std::iter::once("check:\n".to_owned()).chain(checks.into_iter().map(line)).collect()
}
