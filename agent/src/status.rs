//! `hostler-agent status` and `check`: what the agent that runs here says, for
//! people and for scripts.

use crate::config::Config;
use crate::local::{self, Who};
use crate::view::{Inner, LinkSeen};
use crate::{VERSION, clock};
use anyhow::Result;
use clap::ValueEnum;
use hostler_types::terminal::sanitize;
use hostler_types::units::format_age;
use hostler_types::{Brake, CheckState, ServiceState, Timestamp};
use serde::{Deserialize, Serialize};
use std::io::Write;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub agent_version: String,
    pub name: String,
    pub node: String,
    pub policy: String,
    pub link: LinkSeen,
    pub desired_state: Option<String>,
    pub only_watching: bool,
    pub checks: Vec<Check>,
    pub plugins: Vec<Plugin>,
    #[serde(default)]
    pub services: Vec<Service>,
    /// Those that are not over.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// Those that this host fires by itself while it is cut off.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    /// What holds acts on them back.
    #[serde(default)]
    pub brakes: Vec<String>,
    pub spool: SpoolSeen,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub task: String,
    /// What it does now.
    pub words: String,
    pub began: String,
    pub began_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Schedule {
    pub schedule: String,
    /// When it is due here next, or why never.
    pub words: String,
    pub next: Option<String>,
    pub next_ms: Option<u64>,
}

/// One replica.
#[derive(Debug, Serialize, Deserialize)]
pub struct Service {
    pub service: String,
    pub replica: u32,
    pub state: ServiceState,
    pub since: String,
    pub pid: Option<u32>,
    pub restarts: u64,
    pub words: String,
    pub since_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Check {
    pub check: String,
    pub state: CheckState,
    pub summary: String,
    pub details: String,
    pub since: String,
    pub last_run: Option<String>,
    pub plugin: String,
    pub overruns: u64,
    pub duration_us: u64,
    since_ms: u64,
    last_run_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Plugin {
    pub name: String,
    pub version: String,
    pub digest: String,
    pub state: String,
    pub message: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SpoolSeen {
    pub backlog: u64,
    pub bytes: u64,
    pub lost: u64,
    pub trouble: Option<String>,
}

fn held(brake: &Brake) -> String {
    match brake.until {
        Some(until) => format!("{brake}, until {until}"),
        None => brake.to_string(),
    }
}

/// Below a listing: nobody is to wonder why nothing happens.
pub fn tell_brakes(out: &mut impl Write, brakes: &[String]) -> std::io::Result<()> {
    brakes.iter().try_for_each(|brake| writeln!(out, "held back: {}", sanitize(brake)))
}

fn time(millis: u64) -> String {
    Timestamp::from_millis(millis).to_string()
}

impl Snapshot {
    pub fn take(who: &Who, view: &Inner) -> Self {
        let check = |seen: &crate::view::CheckSeen| {
            let report = &seen.report;
            Check {
                check: report.check.clone(),
                state: seen.state,
                summary: report.summary.clone(),
                details: report.details.clone(),
                since: time(report.since_ms),
                last_run: (report.last_run_ms > 0).then(|| time(report.last_run_ms)),
                plugin: seen.plugin.to_string(),
                overruns: report.overruns,
                duration_us: report.duration_us,
                since_ms: report.since_ms,
                last_run_ms: report.last_run_ms,
            }
        };
        let service = |one: &hostler_agent_core::supervision::Standing| Service {
            service: one.key.service.to_string(),
            replica: one.key.replica,
            state: one.state,
            since: time(one.since.as_millis()),
            pid: one.pid,
            restarts: one.restarts,
            words: one.words.clone(),
            since_ms: one.since.as_millis(),
        };
        let task = |one: &hostler_proto::agent::TaskReport| Task {
            task: one.id.clone(),
            words: one.words.clone(),
            began: time(one.began_ms),
            began_ms: one.began_ms,
        };
        let now = view.corrected(clock::now()).wall;
        let schedule = |one: &hostler_agent_core::alone::Held| Schedule {
            schedule: one.name.to_string(),
            words: one.words(now),
            next: one.next(now).map(|at| at.to_string()),
            next_ms: one.next(now).map(Timestamp::as_millis),
        };
        let plugin = |one: &hostler_proto::agent::PluginReport| Plugin {
            name: one.name.clone(),
            version: one.version.clone(),
            digest: one.digest.clone(),
            state: one.state.clone(),
            message: one.message.clone(),
        };
        Self {
            agent_version: VERSION.to_owned(),
            name: who.name.clone(),
            node: who.node.clone(),
            policy: who.policy.clone(),
            link: view.link.clone(),
            desired_state: view.desired.map(|one| format!("{}.{}.{}", one.lineage, one.term, one.generation)),
            only_watching: view.only_watching,
            checks: view.checks.values().map(check).collect(),
            plugins: view.plugins.values().map(plugin).collect(),
            services: view.services.values().map(|seen| service(&seen.standing)).collect(),
            tasks: view.tasks.values().map(task).collect(),
            schedules: view.schedules.iter().map(schedule).collect(),
            brakes: view
                .brakes
                .iter()
                .filter(|one| one.until.is_none_or(|until| until > clock::wall()))
                .map(held)
                .collect(),
            spool: SpoolSeen {
                backlog: view.spool.backlog(),
                bytes: view.spool.bytes,
                lost: view.spool.lost,
                trouble: view.spool.trouble.clone(),
            },
        }
    }

    /// `(what, how it is)`, in the order in which one looks.
    fn lines(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let ago = |millis: u64| format_age(now.since(Timestamp::from_millis(millis)));
        let link = &self.link;
        let mut lines = vec![
            ("node", format!("{} ({})", self.name, self.node)),
            ("agent", format!("{}, policy {}", self.agent_version, self.policy)),
        ];
        if link.connected {
            lines.push(("link", format!("connected to {} for {}", link.address, ago(link.since_ms))));
        } else {
            lines.push(("link", format!("not connected, for {}; last tried {}", ago(link.since_ms), link.address)));
        }
        if let Some(error) = link.last_error.as_ref().filter(|_| !link.connected) {
            lines.push(("error", format!("{error} ({} ago)", ago(link.last_error_ms))));
        }
        let end = Timestamp::from_millis(link.certificate_not_after_ms);
        lines.push((
            "certificate",
            if end > now { format!("valid for {}", format_age(end.since(now))) } else { format!("expired on {end}") },
        ));
        let skew = link.clock_skew_ms.map_or("not measured yet".to_owned(), |skew| format!("{skew:+} ms"));
        lines.push(("clock", skew));
        let orders = self.desired_state.as_deref().unwrap_or("none was received yet");
        let age = if self.only_watching { "; older than 30 days, so this host only watches" } else { "" };
        lines.push(("desired state", format!("{orders}{age}")));
        lines.push(("checks", self.counts()));
        lines.push(("services", self.count_services()));
        lines.extend(
            self.tasks.iter().map(|one| ("task", format!("{}: {}, {}", one.task, one.words, ago(one.began_ms)))),
        );
        lines.extend(self.schedules.iter().map(|one| ("schedule", format!("{}: {}", one.schedule, one.words))));
        lines.extend(self.brakes.iter().map(|brake| ("held back", brake.clone())));
        for plugin in self.plugins.iter().filter(|plugin| plugin.state != "ready") {
            lines.push(("plugin", format!("{} {}: {} {}", plugin.name, plugin.version, plugin.state, plugin.message)));
        }
        let mut spool = format!("{} records to send, {} KiB", self.spool.backlog, self.spool.bytes.div_ceil(1024));
        if self.spool.lost > 0 {
            spool.push_str(&format!("; {} lost since the start", self.spool.lost));
        }
        lines.push(("spool", spool));
        lines.extend(self.spool.trouble.clone().map(|trouble| ("error", trouble)));
        lines
    }

    fn count_services(&self) -> String {
        let count = |state: &ServiceState| self.services.iter().filter(|one| one.state == *state).count();
        let counted = ServiceState::ALL.iter().map(|state| (count(state), state)).filter(|(count, _)| *count > 0);
        let by_state: Vec<String> = counted.map(|(count, state)| format!("{count} {state}")).collect();
        if by_state.is_empty() { "none".to_owned() } else { by_state.join(", ") }
    }

    fn counts(&self) -> String {
        let count = |state: &CheckState| self.checks.iter().filter(|check| check.state == *state).count();
        let by_state: Vec<String> = CheckState::ALL
            .iter()
            .map(|state| (count(state), state))
            .filter(|(count, _)| *count > 0)
            .map(|(count, state)| format!("{count} {state}"))
            .collect();
        if by_state.is_empty() { "none".to_owned() } else { by_state.join(", ") }
    }
}

pub fn status(config: &Config, output: Output) -> Result<()> {
    let snapshot = local::ask(config)?;
    let mut out = std::io::stdout().lock();
    if output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&snapshot)?)?;
        return Ok(());
    }
    for (what, text) in snapshot.lines(clock::wall()) {
        writeln!(out, "{what:<13}  {}", sanitize(&text))?;
    }
    Ok(())
}

pub fn checks(config: &Config, output: Output) -> Result<()> {
    let Snapshot { checks, brakes, .. } = local::ask(config)?;
    let mut out = std::io::stdout().lock();
    if output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&checks)?)?;
        return Ok(());
    }
    let now = clock::wall();
    let ago = |millis: u64| match millis {
        0 => "-".to_owned(),
        millis => format_age(now.since(Timestamp::from_millis(millis))),
    };
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0).max(5);
    writeln!(out, "{:<width$}  {:<8}  {:>5}  {:>5}  SUMMARY", "CHECK", "STATE", "SINCE", "LAST")?;
    for check in &checks {
        let (since, last) = (ago(check.since_ms), ago(check.last_run_ms));
        let (state, summary) = (check.state, sanitize(&check.summary));
        writeln!(out, "{:<width$}  {state:<8}  {since:>5}  {last:>5}  {summary}", check.check)?;
    }
    tell_brakes(&mut out, &brakes)?;
    Ok(())
}
