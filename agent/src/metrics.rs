//! `/metrics`, in Prometheus' text format.

use crate::VERSION;
use crate::view::{Inner, PluginBill, ServiceSeen};
use hostler_agent_core::supervision::Key;
use hostler_plugin_host::answer::SampleKind;
use hostler_types::{CheckState, ServiceState};
use std::collections::BTreeMap;
use std::fmt::Write;

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help, [(String::new(), value)]);
    }
}

pub fn page(view: &Inner) -> String {
    let mut page = Page(String::with_capacity(4096));
    let version = format!("{{version=\"{VERSION}\"}}");
    page.family("hostler_agent_build_info", "gauge", "Which version runs.", [(version, 1.0)]);
    let connected = f64::from(u8::from(view.link.connected));
    page.one("hostler_agent_connected", "gauge", "Whether the stream to the control plane is open.", connected);
    page.one("hostler_agent_reconnects_total", "counter", "Connections made.", view.counts.reconnects as f64);
    if let Some(skew) = view.link.clock_skew_ms {
        let seconds = skew as f64 / 1_000.0;
        page.one("hostler_agent_clock_skew_seconds", "gauge", "How far this host's clock is ahead.", seconds);
    }
    let not_after = view.link.certificate_not_after_ms as f64 / 1_000.0;
    page.one("hostler_agent_certificate_not_after_seconds", "gauge", "When the certificate expires.", not_after);
    let by_state = CheckState::ALL.iter().map(|state| {
        let count = view.checks.values().filter(|check| check.state == *state).count();
        (format!("{{state=\"{state}\"}}"), count as f64)
    });
    page.family("hostler_agent_checks", "gauge", "Checks by state.", by_state);
    page.one("hostler_agent_check_runs_total", "counter", "Runs that ended.", view.counts.runs as f64);
    page.one(
        "hostler_agent_check_overruns_total",
        "counter",
        "Runs skipped, since one was still going.",
        view.counts.overruns as f64,
    );
    page.one(
        "hostler_agent_check_faults_total",
        "counter",
        "Runs in which the check itself broke.",
        view.counts.faults as f64,
    );
    page.one("hostler_agent_check_transitions_total", "counter", "Changes of state.", view.counts.transitions as f64);
    page.one(
        "hostler_agent_plugin_log_lines_dropped_total",
        "counter",
        "Lines over a plugin's limit.",
        view.counts.log_lines_dropped as f64,
    );
    plugins(&mut page, view);
    services(&mut page, view);
    page.one(
        "hostler_agent_spool_records",
        "gauge",
        "Records the control plane has not acked.",
        view.spool.backlog() as f64,
    );
    page.one("hostler_agent_spool_bytes", "gauge", "The spool on disk.", view.spool.bytes as f64);
    page.one("hostler_agent_spool_lost_total", "counter", "Records that could not be kept.", view.spool.lost as f64);
    reported(&mut page, view);
    page.0
}

/// How services stand here, and what they use.
fn services(page: &mut Page, view: &Inner) {
    type Column = (&'static str, &'static str, &'static str, fn(&ServiceSeen) -> Option<f64>);
    let columns: [Column; 7] = [
        ("up", "gauge", "Whether it runs and is well.", |seen| {
            Some(f64::from(u8::from(seen.standing.state == ServiceState::Running)))
        }),
        ("restarts_total", "counter", "Restarts of its own accord.", |seen| Some(seen.standing.restarts as f64)),
        ("cpu_seconds_total", "counter", "Processor time of what runs now.", |seen| {
            Some(seen.usage?.cpu_us as f64 / 1_000_000.0)
        }),
        ("memory_bytes", "gauge", "Resident memory of all its processes.", |seen| {
            Some(seen.usage?.memory_bytes as f64)
        }),
        ("processes", "gauge", "Its processes.", |seen| Some(f64::from(seen.usage?.processes))),
        ("open_files", "gauge", "Files that its processes have open.", |seen| Some(f64::from(seen.usage?.open_files))),
        ("connections", "gauge", "Its established TCP connections.", |seen| Some(f64::from(seen.usage?.connections))),
    ];
    if view.services.is_empty() {
        return;
    }
    for (name, kind, help, value) in columns {
        let one = |(key, seen): (&Key, &ServiceSeen)| {
            // Names hold nothing that would have to be escaped.
            let labels = format!("{{service=\"{}\",replica=\"{}\"}}", key.service, key.replica);
            Some((labels, value(seen)?))
        };
        page.family(&format!("hostler_service_{name}"), kind, help, view.services.iter().filter_map(one));
    }
}

/// What plugins cost this host.
fn plugins(page: &mut Page, view: &Inner) {
    type Column = (&'static str, &'static str, &'static str, fn(&PluginBill) -> f64);
    let columns: [Column; 8] = [
        ("runs_total", "counter", "Runs by plugin.", |bill| bill.runs as f64),
        ("faults_total", "counter", "Runs in which the plugin itself broke.", |bill| bill.faults as f64),
        ("run_seconds_total", "counter", "Time in runs, waiting included, by plugin.", |bill| bill.wall.as_secs_f64()),
        ("cpu_seconds_total", "counter", "Processor time by plugin, host calls included.", |bill| {
            bill.cpu.as_secs_f64()
        }),
        ("memory_peak_bytes", "gauge", "The most memory that one run took.", |bill| bill.memory_peak_bytes as f64),
        ("host_calls_total", "counter", "Calls to the host by plugin.", |bill| bill.calls as f64),
        ("bytes_total", "counter", "What it sent and received through the host.", |bill| bill.bytes as f64),
        ("log_lines_lost_total", "counter", "Lines over its limit.", |bill| bill.log_lines_dropped as f64),
    ];
    for (name, kind, help, value) in columns {
        let bills = view.counts.bills.iter();
        let samples = bills.map(|(plugin, bill)| (format!("{{plugin=\"{plugin}\"}}"), value(bill)));
        page.family(&format!("hostler_agent_plugin_{name}"), kind, help, samples);
    }
}

/// The samples of one name: labels and value.
type Family = (SampleKind, Vec<(String, f64)>);

/// What checks reported in their last runs, one family after the other.
fn reported(page: &mut Page, view: &Inner) {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for (check, seen) in &view.checks {
        for sample in &seen.samples {
            let mut labels = format!("{{check=\"{check}\"");
            for (key, value) in &sample.attrs {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                // Writing to a String cannot fail.
                let _ = write!(labels, ",{key}=\"{value}\"");
            }
            labels.push('}');
            families.entry(&sample.name).or_insert((sample.kind, Vec::new())).1.push((labels, sample.value));
        }
    }
    for (name, (kind, samples)) in families {
        let kind = match kind {
            SampleKind::Gauge => "gauge",
            SampleKind::Counter => "counter",
        };
        page.family(name, kind, "Reported by plugins.", samples);
    }
}
