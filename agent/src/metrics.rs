//! `/metrics`, in Prometheus' text format.

use crate::VERSION;
use crate::view::Inner;
use hostler_types::CheckState;
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
    let times = &view.counts.run_time;
    let runs = times.iter().map(|(plugin, (runs, _))| (format!("{{plugin=\"{plugin}\"}}"), *runs as f64));
    page.family("hostler_agent_plugin_runs_total", "counter", "Runs by plugin.", runs);
    let seconds = times.iter().map(|(plugin, (_, time))| (format!("{{plugin=\"{plugin}\"}}"), time.as_secs_f64()));
    page.family(
        "hostler_agent_plugin_run_seconds_total",
        "counter",
        "Time in runs, waiting included, by plugin.",
        seconds,
    );
    page.one(
        "hostler_agent_spool_records",
        "gauge",
        "Records the control plane has not acked.",
        view.spool.backlog() as f64,
    );
    page.one("hostler_agent_spool_bytes", "gauge", "The spool on disk.", view.spool.bytes as f64);
    page.one("hostler_agent_spool_lost_total", "counter", "Records that could not be kept.", view.spool.lost as f64);
    page.0
}
