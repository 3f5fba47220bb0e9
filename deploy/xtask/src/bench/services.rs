//! What it takes to keep services running, on a host with its own systemd: how soon a
//! killed process is back, what a hundred of them cost, and how a stack starts; beside
//! systemd and Monit in the same run.

mod host;

use super::{Figure, memory};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use host::Host;
use serde_json::Value;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

const KILLS: u32 = 20;
const BACK_MS_MAX: f64 = 50.0;
const TOLD_MS_MAX: f64 = 1_000.0;
const MANY: u32 = 100;
const MORE_PSS_MB_MAX: f64 = 4.0;
const MORE_CPU_PERCENT_MAX: f64 = 0.2;
const STACK_TIMES_MAX: f64 = 1.1;
/// Until everything has started, and memory that it took was given back.
const SETTLE: Duration = Duration::from_secs(60);
/// Each part, how long it takes to be ready, and what it needs.
const PARTS: [(&str, f64, &str); 6] =
    [("a", 2.0, ""), ("b", 1.0, "a"), ("c", 3.0, "a"), ("d", 1.0, "b, c"), ("e", 0.5, "a"), ("f", 2.0, "d")];
/// a, c, d, f.
const CHAIN_SECONDS: f64 = 8.0;

/// Of one group of processes.
#[derive(Clone, Copy)]
struct Cost {
    cpu_percent: f64,
    pss_mb: f64,
}

struct Costs(Value);

impl Costs {
    fn of(&self, group: &str) -> Cost {
        let number = |what: &str| self.0.get(format!("{group} {what}")).and_then(Value::as_f64).unwrap_or(f64::NAN);
        Cost { cpu_percent: number("cpu"), pss_mb: number("pss") }
    }
}

pub fn run(workspace: &Workspace, guests: &[PathBuf]) -> Result<Vec<Figure>> {
    let host = Host::up(workspace, guests)?;
    let mut figures = kills(&host)?;
    figures.extend(stack(&host)?);
    figures.extend(many(&host)?);
    Ok(figures)
}

fn figure(name: &'static str, value: f64, unit: &'static str, at_most: Option<f64>) -> Figure {
    Figure { name, value, unit, at_most }
}

/// The same process under each; Monit looks each second, since its usual half a minute
/// would take long to show the same.
fn kills(host: &Host) -> Result<Vec<Figure>> {
    let unit = |name: &str, pause: &str| {
        format!(
            "printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nExecStart=/opt/bench/life.sh {name}\\nRestart=always\\n{pause}' \
             >/etc/systemd/system/{name}.service; "
        )
    };
    host.exec(&format!(
        "{}{}systemctl daemon-reload; systemctl start usual eager",
        unit("usual", ""),
        unit("eager", "RestartSec=0\\n")
    ))?;
    host.monit(
        1,
        "check process life with pidfile /srv/bench/monit\n  start program = \"/usr/bin/setsid -f /opt/bench/life.sh monit\"\n",
    )?;
    host.apply(
        "service:\n  life: {where: all, user: bench, command: /opt/bench/life.sh hostler, \
         restart: {attempts: 1000, within: 1s, reset: 1s}}\n",
    )?;
    for name in ["usual", "eager", "monit", "hostler"] {
        host.wait(&format!("{name} to run"), &format!("test -s /srv/bench/{name}"))?;
    }
    host.wait("it to be well", "sleep 3")?;
    let took = host.json(&format!("python3 /opt/bench/kills.py {KILLS} hostler usual eager monit"))?;
    let sorted = |name: &str| -> Vec<f64> {
        let all = took.get(name).and_then(Value::as_array).into_iter().flatten();
        let mut all: Vec<f64> = all.filter_map(Value::as_f64).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let middle = |name: &str| sorted(name).get(KILLS as usize / 2).copied().unwrap_or(f64::NAN);
    let ends = |name: &str| {
        let all = sorted(name);
        (all.first().copied().unwrap_or(f64::NAN), all.last().copied().unwrap_or(f64::NAN))
    };
    let (ours, eager) = (middle("hostler"), middle("eager"));
    host.exec("systemctl stop usual eager; monit quit; pkill -9 -x sleep; true")?;
    host.delete()?;
    Ok(vec![
        figure("killed, back under Hostler, median", ours, "ms", Some(BACK_MS_MAX)),
        figure("killed, back under Hostler, quickest", ends("hostler").0, "ms", None),
        figure("killed, back under Hostler, slowest", ends("hostler").1, "ms", None),
        figure("its act in the control plane, median", middle("told"), "ms", None),
        figure("its act in the control plane, slowest", ends("told").1, "ms", Some(TOLD_MS_MAX)),
        figure("systemd, RestartSec=100ms, median", middle("usual"), "ms", None),
        figure("systemd, RestartSec=100ms, slowest", ends("usual").1, "ms", None),
        figure("systemd, RestartSec=0, median", eager, "ms", None),
        figure("systemd, RestartSec=0, slowest", ends("eager").1, "ms", None),
        figure("Monit, a cycle of 1 s, median", middle("monit"), "ms", None),
        figure("Monit, a cycle of 1 s, slowest", ends("monit").1, "ms", None),
        figure("Hostler over systemd, RestartSec=100ms", ours / middle("usual"), "x", None),
        figure("Hostler over systemd, RestartSec=0", ours / eager, "x", None),
        figure("Hostler over Monit, a cycle of 1 s", ours / middle("monit"), "x", None),
    ])
}

fn stack(host: &Host) -> Result<Vec<Figure>> {
    let (mut services, mut checks) = ("service:\n".to_owned(), "check:\n".to_owned());
    for (part, seconds, needs) in PARTS {
        writeln!(
            services,
            "  {part}: {{where: all, user: bench, command: /opt/bench/part.sh {part} {seconds}, needs: [{needs}], live: [{part}]}}"
        )
        .context("write the stack")?;
        writeln!(
            checks,
            "  {part}: {{service: {part}, plugin: file, every: 10s, with: {{path: /srv/bench/part-{part}}}}}"
        )
        .context("write the stack")?;
    }
    host.exec(&format!("cat >/root/stack.yaml <<'EOF'\n{services}{checks}EOF"))?;
    let names: Vec<&str> = PARTS.into_iter().map(|(part, ..)| part).collect();
    let took = host.json(&format!("python3 /opt/bench/stack.py {}", names.join(" ")))?;
    let seconds = took.get("seconds").and_then(Value::as_f64).unwrap_or(f64::NAN);
    host.delete()?;
    Ok(vec![
        figure("a stack of six, from its start to all well", seconds, "s", None),
        figure("its longest chain of readiness", CHAIN_SECONDS, "s", None),
        figure("the stack over its longest chain", seconds / CHAIN_SECONDS, "x", Some(STACK_TIMES_MAX)),
    ])
}

/// A hundred that do nothing: more than with none of them.
fn many(host: &Host) -> Result<Vec<Figure>> {
    host.monit(30, "")?;
    let none = cost(host)?;

    host.apply(&format!("service:\n  many: {{where: all, command: sleep infinity, replicas: {MANY}}}\n"))?;
    let replicas = cost_of_many(host)?;
    host.delete()?;

    let mut spec = "service:\n".to_owned();
    for number in 1..=MANY {
        writeln!(spec, "  many-{number}: {{where: all, command: sleep infinity}}").context("write the spec")?;
    }
    host.apply(&spec)?;
    let services = cost_of_many(host)?;
    host.delete()?;

    host.exec(&format!(
        "for n in $(seq {MANY}); do systemd-run --quiet --unit=many-$n sleep infinity; \
         systemctl show -P MainPID many-$n >/srv/bench/many-$n; done"
    ))?;
    let checks: String =
        (1..=MANY).map(|n| format!("check process many-{n} with pidfile /srv/bench/many-{n}\n")).collect();
    host.monit(30, &checks)?;
    let theirs = cost_of_many(host)?;
    host.exec("systemctl stop 'many-*'; monit quit; true")?;

    let more = |costs: &Costs, group: &str| {
        let (with, without) = (costs.of(group), none.of(group));
        Cost { cpu_percent: with.cpu_percent - without.cpu_percent, pss_mb: with.pss_mb - without.pss_mb }
    };
    let (of_one, of_each) = (more(&replicas, "hostler"), more(&services, "hostler"));
    let (monit, systemd) = (more(&theirs, "monit"), more(&theirs, "systemd"));
    let (ours, monit_all) = (none.of("hostler"), theirs.of("monit"));
    let (pss, cpu) = (Some(MORE_PSS_MB_MAX), Some(MORE_CPU_PERCENT_MAX));
    Ok(vec![
        figure("no service: agent and executor, PSS", ours.pss_mb, "MB", None),
        figure("no service: agent and executor, CPU", ours.cpu_percent, "%", None),
        figure("100 replicas of one service, more PSS", of_one.pss_mb, "MB", pss),
        figure("100 replicas of one service, more CPU", of_one.cpu_percent, "%", cpu),
        figure("100 services, more PSS", of_each.pss_mb, "MB", pss),
        figure("100 services, more CPU", of_each.cpu_percent, "%", cpu),
        figure("Monit, 100 processes, more PSS than with none", monit.pss_mb, "MB", None),
        figure("Monit, 100 processes, more CPU than with none", monit.cpu_percent, "%", None),
        figure("Monit, 100 processes, PSS of all of it", monit_all.pss_mb, "MB", None),
        figure("Monit, 100 processes, CPU of all of it", monit_all.cpu_percent, "%", None),
        figure("systemd, 100 units, more PSS than with none", systemd.pss_mb, "MB", None),
        figure("systemd, 100 units, more CPU than with none", systemd.cpu_percent, "%", None),
        figure("100 services, more PSS over Monit's more", of_each.pss_mb / monit.pss_mb, "x", None),
        figure("100 services, more CPU over Monit's more", of_each.cpu_percent / monit.cpu_percent, "x", None),
    ])
}

fn cost_of_many(host: &Host) -> Result<Costs> {
    host.wait("a hundred to run", &format!("test $(pgrep -xc sleep) -ge {MANY}"))?;
    cost(host)
}

fn cost(host: &Host) -> Result<Costs> {
    host.exec(&format!("sleep {}", SETTLE.as_secs()))?;
    let seconds = memory::span()?.as_secs();
    eprintln!("  measuring for {seconds} s");
    Ok(Costs(host.json(&format!("python3 /opt/bench/cost.py {seconds}"))?))
}
