//! What the two daemons hold once they have settled.

use super::Figure;
use crate::deployment::Deployment;
use crate::process::{Daemon, Memory, memory_of_tree};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Long enough for every timer to have fired many times.
const SETTLE_MINUTES: u64 = 10;
const AGENT_PSS_MB_MAX: f64 = 8.0;
const CONTROL_PLANE_PSS_MB_MAX: f64 = 25.0;

pub fn run(deployment: &Deployment) -> Result<Vec<Figure>> {
    settle(deployment, span()?)?;
    let (agent, control_plane) = (measure(&deployment.agent)?, measure(&deployment.control_plane)?);
    Ok(vec![
        Figure {
            name: "agent, PSS of all its processes",
            value: mb(agent.pss_kib),
            unit: "MB",
            at_most: Some(AGENT_PSS_MB_MAX),
        },
        Figure { name: "agent, RSS of all its processes", value: mb(agent.rss_kib), unit: "MB", at_most: None },
        Figure { name: "agent, processes", value: agent.processes as f64, unit: "", at_most: None },
        Figure {
            name: "control plane, PSS",
            value: mb(control_plane.pss_kib),
            unit: "MB",
            at_most: Some(CONTROL_PLANE_PSS_MB_MAX),
        },
        Figure { name: "control plane, RSS", value: mb(control_plane.rss_kib), unit: "MB", at_most: None },
    ])
}

/// How long it is watched.
pub fn span() -> Result<Duration> {
    Ok(Duration::from_secs(60 * minutes()?))
}

fn minutes() -> Result<u64> {
    let Ok(text) = std::env::var("HOSTLER_BENCH_MINUTES") else { return Ok(SETTLE_MINUTES) };
    let minutes = text.parse().with_context(|| format!("read HOSTLER_BENCH_MINUTES: '{text}' is no whole number"))?;
    ensure!(minutes <= 24 * 60, "HOSTLER_BENCH_MINUTES: {minutes} is more than a day");
    Ok(minutes)
}

pub fn settle(deployment: &Deployment, span: Duration) -> Result<()> {
    const TELL_EVERY: Duration = Duration::from_secs(60);
    let (started, mut told) = (Instant::now(), Instant::now());
    eprintln!("  settling for {} minutes", span.as_secs() / 60);
    while started.elapsed() < span {
        std::thread::sleep(Duration::from_secs(1));
        deployment.must_run(&deployment.agent)?;
        deployment.must_run(&deployment.control_plane)?;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let agent = measure(&deployment.agent)?;
            eprintln!("  after {:>2} min: agent {:.2} MB PSS", started.elapsed().as_secs() / 60, mb(agent.pss_kib));
        }
    }
    // Still well at the end, or the numbers are of something else.
    deployment.wait_ready()
}

pub fn measure(daemon: &Daemon) -> Result<Memory> {
    let pid = daemon.pid().with_context(|| format!("find the process of the {}", daemon.name))?;
    memory_of_tree(pid, &[])
}

pub fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
