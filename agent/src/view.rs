//! What the agent knows of itself at this moment: the one place that the link,
//! the local socket and the HTTP port read from. Nothing decides by it.

use crate::services::report;
use crate::spool::SpoolState;
use hostler_agent_core::alone::Held;
use hostler_agent_core::supervision::{Key, Standing};
use hostler_executor::protocol::Open;
use hostler_plugin_host::Bill;
use hostler_plugin_host::answer::Sample;
use hostler_proto::agent::{self as wire, CheckReport, PluginReport};
use hostler_types::{Brake, CheckState, Name, Now, ServiceState, Stamp, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// What one heartbeat carries at most: far below a message's limit.
const REPORT_BYTES_MAX: usize = 512 * 1024;
/// A hello carries every check in one message, so a line of each.
const SUMMARY_CHARACTERS_MAX: usize = 600;

/// Heartbeats come every three seconds: fresh enough for a table, and a tenth of
/// what each beat would cost.
const BEATS_BETWEEN_BILLS: u32 = 4;

#[derive(Default)]
pub struct View {
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub struct Inner {
    pub link: LinkSeen,
    pub desired: Option<Stamp>,
    pub desired_signed_at_ms: u64,
    pub only_watching: bool,
    pub checks: BTreeMap<Name, CheckSeen>,
    pub plugins: BTreeMap<Name, PluginReport>,
    plugins_unreported: bool,
    /// What holds acts on them back.
    pub brakes: Vec<Brake>,
    pub services: BTreeMap<Key, ServiceSeen>,
    /// Those that are not over, by their ids.
    pub tasks: BTreeMap<String, wire::TaskReport>,
    /// Those that the host fires by itself while it is cut off.
    pub schedules: Vec<Held>,
    pub spool: SpoolState,
    pub counts: Counts,
    beats_until_bills: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LinkSeen {
    pub connected: bool,
    pub address: String,
    /// Of the present state, connected or not.
    pub since_ms: u64,
    /// The last thing that went wrong; kept after it went right again.
    pub last_error: Option<String>,
    pub last_error_ms: u64,
    pub certificate_not_after_ms: u64,
    pub clock_skew_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct CheckSeen {
    pub report: CheckReport,
    pub state: CheckState,
    pub plugin: Name,
    /// What its last run reported.
    pub samples: Vec<Sample>,
    unreported: bool,
}

#[derive(Clone, Debug)]
pub struct ServiceSeen {
    pub standing: Standing,
    /// Of the process that runs.
    pub usage: Option<wire::Usage>,
    unreported: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub runs: u64,
    pub overruns: u64,
    pub faults: u64,
    pub transitions: u64,
    pub reconnects: u64,
    pub log_lines_dropped: u64,
    /// By plugin.
    pub bills: BTreeMap<Name, PluginBill>,
}

/// What one plugin cost since the agent started.
#[derive(Clone, Copy, Debug, Default)]
pub struct PluginBill {
    pub runs: u64,
    pub faults: u64,
    pub wall: Duration,
    pub cpu: Duration,
    pub memory_peak_bytes: u64,
    pub calls: u64,
    pub bytes: u64,
    pub log_lines_dropped: u64,
}

impl PluginBill {
    pub fn add(&mut self, run: &Bill, fault: bool) {
        self.runs += 1;
        self.faults += u64::from(fault);
        self.wall += run.wall;
        self.cpu += run.cpu;
        self.memory_peak_bytes = self.memory_peak_bytes.max(u64::try_from(run.memory_peak_bytes).unwrap_or(u64::MAX));
        self.calls += u64::from(run.calls);
        self.bytes += run.bytes;
        self.log_lines_dropped += u64::from(run.log_lines_dropped);
    }
}

impl View {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one assignment: it is never half done.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn same(a: &Standing, b: &Standing) -> bool {
    let waits = a.state != ServiceState::Running;
    (a.state, a.since, a.pid, a.restarts, a.stopped) == (b.state, b.since, b.pid, b.restarts, b.stopped)
        && (waits || a.words == b.words)
}

impl CheckSeen {
    pub fn new(check: &Name, plugin: Name, state: CheckState) -> Self {
        let report = CheckReport { check: check.to_string(), state: state.word().to_owned(), ..CheckReport::default() };
        Self { report, state, plugin, samples: Vec::new(), unreported: true }
    }

    pub fn changed(&mut self) {
        self.unreported = true;
    }
}

impl Inner {
    /// By the control plane's clock, as far as it is known: all its hosts mean the same
    /// moment then.
    pub fn corrected(&self, now: Now) -> Now {
        let skew = self.link.clock_skew_ms.unwrap_or_default();
        let wall = now.wall.as_millis().saturating_add_signed(skew.saturating_neg());
        Now { wall: Timestamp::from_millis(wall), ..now }
    }

    /// What ran since it was last asked, as much as fits; the rest comes next time.
    pub fn take_reports(&mut self) -> Vec<CheckReport> {
        let mut bytes = 0;
        let mut reports = Vec::new();
        for seen in self.checks.values_mut().filter(|seen| seen.unreported) {
            bytes += 128 + seen.report.summary.len() + seen.report.details.len();
            if bytes > REPORT_BYTES_MAX {
                break;
            }
            seen.unreported = false;
            reports.push(seen.report.clone());
        }
        reports
    }

    /// Everything, for a hello; details come with the next run.
    pub fn all_reports(&mut self) -> Vec<CheckReport> {
        for seen in self.checks.values_mut() {
            seen.unreported = !seen.report.details.is_empty();
        }
        self.plugins_unreported = true;
        let brief = |seen: &CheckSeen| CheckReport {
            details: String::new(),
            summary: seen.report.summary.chars().take(SUMMARY_CHARACTERS_MAX).collect(),
            ..seen.report.clone()
        };
        self.checks.values().map(brief).collect()
    }

    /// All replicas of a service, of which nothing is left where there is none; whether
    /// that is news.
    pub fn set_service(&mut self, service: &Name, standings: Vec<Standing>) -> bool {
        let from = |replica| Key { service: service.clone(), replica };
        let count = u32::try_from(standings.len()).unwrap_or(u32::MAX);
        let surplus = self.services.range(from(count)..).map(|(key, _)| key);
        let surplus: Vec<Key> = surplus.take_while(|key| key.service == *service).cloned().collect();
        let mut news = !surplus.is_empty();
        for key in surplus {
            self.services.remove(&key);
        }
        for standing in standings {
            match self.services.get_mut(&standing.key) {
                // What it says of a wait counts down and is no news.
                Some(seen) if same(&seen.standing, &standing) => seen.standing = standing,
                _ => {
                    let seen = ServiceSeen { standing, usage: None, unreported: true };
                    self.services.insert(seen.standing.key.clone(), seen);
                    news = true;
                }
            }
        }
        news
    }

    /// What runs of services here.
    pub fn pids(&self) -> Vec<(Key, u32)> {
        self.services.iter().filter_map(|(key, seen)| Some((key.clone(), seen.standing.pid?))).collect()
    }

    /// Goes with the next heartbeat, where it says more than another time.
    pub fn set_usage(&mut self, measured: Vec<(Key, wire::Usage, Option<Open>)>) {
        for (key, mut usage, open) in measured {
            if let Some(seen) = self.services.get_mut(&key) {
                // Counted less often: what was counted last holds until then.
                let last = seen.usage.map(|last| (last.open_files, last.connections)).unwrap_or_default();
                (usage.open_files, usage.connections) = open.map_or(last, |open| (open.files, open.connections));
                let before = seen.usage.map(|before| wire::Usage { measured_ms: usage.measured_ms, ..before });
                seen.unreported |= before != Some(usage);
                seen.usage = Some(usage);
            }
        }
    }

    /// Those that changed since it was last asked.
    pub fn take_services(&mut self) -> Vec<wire::ServiceReport> {
        let news = self.services.values_mut();
        news.filter_map(|seen| std::mem::take(&mut seen.unreported).then(|| report(&seen.standing, seen.usage)))
            .collect()
    }

    /// Everything, for a hello.
    pub fn all_services(&mut self) -> Vec<wire::ServiceReport> {
        self.services.values_mut().for_each(|seen| seen.unreported = false);
        self.services.values().map(|seen| report(&seen.standing, seen.usage)).collect()
    }

    pub fn set_plugins(&mut self, plugins: BTreeMap<Name, PluginReport>) {
        self.plugins_unreported |= plugins != self.plugins;
        self.plugins = plugins;
    }

    /// All of them, if any changed.
    pub fn take_plugins(&mut self) -> Vec<PluginReport> {
        let news = std::mem::take(&mut self.plugins_unreported);
        if news { self.plugins.values().cloned().collect() } else { Vec::new() }
    }

    /// For a heartbeat: now and then, since they only grow.
    pub fn take_bills(&mut self) -> Vec<wire::PluginBill> {
        match self.beats_until_bills.checked_sub(1) {
            Some(left) => {
                self.beats_until_bills = left;
                Vec::new()
            }
            None => {
                self.beats_until_bills = BEATS_BETWEEN_BILLS;
                self.bills()
            }
        }
    }

    /// What plugins cost, and how many series their checks report now.
    pub fn bills(&self) -> Vec<wire::PluginBill> {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let series = |plugin: &Name| {
            let of_plugin = self.checks.values().filter(|seen| seen.plugin == *plugin);
            of_plugin.map(|seen| seen.samples.len() as u64).sum()
        };
        let bill = |(plugin, bill): (&Name, &PluginBill)| wire::PluginBill {
            plugin: plugin.to_string(),
            runs: bill.runs,
            faults: bill.faults,
            wall_us: micros(bill.wall),
            cpu_us: micros(bill.cpu),
            memory_peak_bytes: bill.memory_peak_bytes,
            calls: bill.calls,
            bytes: bill.bytes,
            series: series(plugin),
            log_lines_dropped: bill.log_lines_dropped,
        };
        self.counts.bills.iter().map(bill).collect()
    }

    /// What keeps the agent from doing all it should, by part.
    pub fn parts(&self) -> BTreeMap<&'static str, String> {
        let fine = || "ok".to_owned();
        let link = if self.link.connected {
            fine()
        } else {
            format!("not connected: {}", self.link.last_error.as_deref().unwrap_or("no connection was made yet"))
        };
        let failed: Vec<&str> =
            self.plugins.values().filter(|one| one.state == "failed").map(|one| one.name.as_str()).collect();
        let plugins = if failed.is_empty() { fine() } else { format!("failed: {}", failed.join(", ")) };
        let orders = match self.desired {
            Some(_) if self.only_watching => "older than 30 days".to_owned(),
            Some(_) => fine(),
            None => "none was received yet".to_owned(),
        };
        let spool = self.spool.trouble.clone().unwrap_or_else(fine);
        BTreeMap::from([("desired_state", orders), ("link", link), ("plugins", plugins), ("spool", spool)])
    }
}
