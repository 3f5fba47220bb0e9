//! What a control plane costs with thousands of agents, and how soon each has done what
//! all of them are asked to. The agents are one process on this very machine: what they
//! take of its cores, the control plane does not have.

use super::Figure;
use super::memory::{mb, measure};
use super::store::said;
use crate::deployment::Deployment;
use crate::ports::Ports;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

pub const AGENTS: usize = 2_000;
/// More is not asked of one machine: each has a port and a file on either side.
pub const AGENTS_MAX: usize = 9_000;
const RECORDED_P99_MS_MAX: f64 = 250.0;
const CPU_US_A_TASK_MAX: f64 = 100.0;

pub fn run(workspace: &Workspace, agents: usize) -> Result<Vec<Figure>> {
    // Apart: what the lab needs of a crate must not be in what is measured.
    workspace.build(&["--release", "--package", "hostler-control-plane", "--bin", "hostler-control-plane"])?;
    workspace.build(&["--release", "--package", "hostler-lab", "--bin", "hostler-fleet"])?;
    let folder = std::env::temp_dir().join(format!("hostler-bench-fleet-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let deployment = Deployment::new(&folder, workspace.programs(Profile::Release), Ports::any()?);
    let figures = ask(&deployment, &workspace.target.join("release/hostler-fleet"), &folder, agents);
    let stopped = deployment.stop();
    let _ = fs::remove_dir_all(&folder);
    let figures = figures?;
    stopped?;
    Ok(figures)
}

fn ask(deployment: &Deployment, program: &Path, folder: &Path, agents: usize) -> Result<Vec<Figure>> {
    deployment.start_control_plane()?;
    let before = measure(&deployment.control_plane)?;
    let pid = deployment.control_plane.pid().context("find the control plane's process")?;
    eprintln!("  {agents} agents join, rest for a minute, and run; on the cores that the control plane has");
    let mut command = Command::new(program);
    command.args([agents.to_string(), pid.to_string()]).arg(deployment.context_file()).arg(folder);
    let output = command.output().with_context(|| format!("start {}", program.display()))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let tail = deployment.control_plane.log_tail();
    ensure!(output.status.success(), "hostler-fleet ended with {}: {}\n{tail}", output.status, complaint.trim());
    let memory = measure(&deployment.control_plane)?;
    let said = said(&output.stdout);
    let of = |name: &str| said.get(name).copied().unwrap_or(f64::INFINITY);
    let figure = |name, value, unit, at_most| Figure { name, value, unit, at_most };
    Ok(vec![
        figure("agents", agents as f64, "", None),
        figure("all join, 16 at once", of("join-s"), "s", None),
        figure("all connect, 64 at once", of("connect-s"), "s", None),
        figure("run asked to end recorded, p50", of("asked-p50-ms"), "ms", None),
        figure("run asked to end recorded, p99", of("asked-p99-ms"), "ms", Some(RECORDED_P99_MS_MAX)),
        figure("the same, worst of the rounds", of("asked-p99-ms-worst"), "ms", None),
        figure("task offered to end recorded, p50", of("offered-p50-ms"), "ms", None),
        figure("task offered to end recorded, p99", of("offered-p99-ms"), "ms", None),
        figure("the whole run, median of the rounds", of("whole-ms"), "ms", None),
        figure("the whole run, worst of the rounds", of("whole-ms-worst"), "ms", None),
        figure("control plane's CPU a task", of("cpu-us-a-task"), "us", Some(CPU_US_A_TASK_MAX)),
        figure("agents' CPU a task, on the same cores", of("own-cpu-us-a-task"), "us", None),
        figure("bare echo over TLS, asked to acked, p50", of("echo-p50-ms"), "ms", None),
        figure("bare echo over TLS, asked to acked, p99", of("echo-p99-ms"), "ms", None),
        figure("bare echo over TLS, server's CPU each", of("echo-cpu-us"), "us", None),
        figure("bare echo over TLS, clients' CPU each", of("echo-own-cpu-us"), "us", None),
        figure("control plane's CPU over the echo's", of("cpu-us-a-task") / of("echo-cpu-us"), "x", None),
        figure("p99 over the echo's", of("asked-p99-ms") / of("echo-p99-ms"), "x", None),
        figure("one append and sync on its disk, p50", of("sync-p50-ms"), "ms", None),
        figure("one append and sync on its disk, p99", of("sync-p99-ms"), "ms", None),
        figure("idle, control plane's CPU an hour", of("idle-cpu-s-an-hour"), "s", None),
        figure("idle, its CPU a heartbeat of an agent", of("idle-cpu-us-a-beat"), "us", None),
        figure("control plane, PSS with nobody", mb(before.pss_kib), "MB", None),
        figure("control plane, PSS with all, after the runs", mb(memory.pss_kib), "MB", None),
        figure(
            "control plane, memory an agent",
            (mb(memory.pss_kib) - mb(before.pss_kib)) * 1e3 / agents as f64,
            "kB",
            None,
        ),
    ])
}
