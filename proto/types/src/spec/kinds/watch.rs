//! What is looked at: checks, objectives over them, and alerts about them.

use super::fleet::NotifierSpec;
use super::service::ServiceSpec;
use super::{Age, Interval, Streak, Timeout, Wait};
use crate::spec::collections::Config;
use crate::spec::form::{Form, Json as JsonKind, Scalar};
use crate::spec::scalars::{Number, Ref, Span, Whole};
use crate::spec::shape::{Reader, Shape, record};
use crate::spec::words::words;
use crate::spec::yaml::{Node, Value};
use crate::units::{self, Share};
use crate::{Name, Selector};
use serde_json::Value as Json;
use std::time::Duration;

pub const EVERY: Interval = Span(Duration::from_secs(30));
pub const TIMEOUT: Timeout = Span(Duration::from_secs(10));
/// As Consul's and Kubernetes' users have it: three to fall, two to rise.
pub const FAILS: Streak = Whole(3);
pub const PASSES: Streak = Whole(2);
pub const GRACE: Wait = Span(Duration::ZERO);

record! {
    /// Runs a plugin again and again, and says how what it looks at is.
    pub struct CheckSpec, one of (&[&["where", "service"]]), rules check_rules {
        /// The nodes that it runs on.
        where_ "where": Selector, optional, "where: role=app";
        /// The service that it looks at: it runs wherever that runs.
        service "service": Ref<ServiceSpec>, optional, "service: shop";
        /// The plugin that looks.
        plugin "plugin": Name, required, "plugin: http";
        /// How often it runs.
        every "every": Interval, default(EVERY), "every: 10s";
        /// After how long a run is given up.
        timeout "timeout": Timeout, default(TIMEOUT), "timeout: 10s";
        /// How many bad results in a row make it critical or warning.
        fails "fails": Streak, default(FAILS), "fails: 3";
        /// How many good results in a row make it passing.
        passes "passes": Streak, default(PASSES), "passes: 2";
        /// How long after its start bad results do not count.
        grace "grace": Wait, default(GRACE), "grace: 1m";
        /// The plugin's own configuration.
        with "with": Config, default(Config::default()), "with: {url: \"http://127.0.0.1:8080/health\"}";
    }
}

fn check_rules(spec: &CheckSpec, node: &Node, reader: &mut Reader<'_>) {
    let secrets = serde_json::to_string(&spec.with.0).is_ok_and(|text| text.contains("${secret:"));
    if let Some(selector) = spec.where_.as_ref().filter(|_| secrets) {
        super::labels_only(selector, "a check with a secret", node, reader);
    }
}

impl CheckSpec {
    /// Whether the nodes are its own, or those of its service.
    pub fn target(&self) -> CheckTarget<'_> {
        match (&self.where_, &self.service) {
            (Some(selector), _) => CheckTarget::Nodes(selector),
            (None, Some(service)) => CheckTarget::Service(&service.name),
            // A spec that was read has one of them.
            (None, None) => CheckTarget::Nowhere,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CheckTarget<'a> {
    Nodes(&'a Selector),
    Service(&'a Name),
    Nowhere,
}

/// A bound: a share, a duration, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Share(Share),
    Duration(Duration),
    Number(Number),
}

impl Shape for Bound {
    fn form() -> Form {
        Form::Either(vec![Share::form(), Duration::form(), Form::Scalar(Scalar::new("a number", JsonKind::Number))])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(_) => Number::read(node, reader).map(Self::Number),
            Value::Text(text) if text.ends_with('%') => Share::read(node, reader).map(Self::Share),
            Value::Text(text) if units::parse_duration(text).is_ok() => {
                Duration::read(node, reader).map(Self::Duration)
            }
            _ => {
                reader.wrong(node, "a number, a share like 1% or a duration like 60s");
                None
            }
        }
    }

    fn print(&self, full: bool) -> Json {
        match self {
            Self::Share(share) => share.print(full),
            Self::Duration(span) => span.print(full),
            Self::Number(number) => number.print(full),
        }
    }
}

record! {
    /// What was promised, measured over a long time.
    pub struct ObjectiveSpec, one of (&[&["check", "metric"], &["target", "p50", "p95", "p99", "below", "above"]]) {
        /// The check whose passing time counts.
        check "check": Ref<CheckSpec>, optional, "check: site";
        /// The metric that is measured.
        metric "metric": String, optional, "metric: http_request_seconds";
        /// The share of the time that it must pass.
        target "target": Share, optional, "target: 99.9%";
        /// Half of all values are below this.
        p50 "p50": Bound, optional, "p50: 1s";
        /// 95 of 100 values are below this.
        p95 "p95": Bound, optional, "p95: 60s";
        /// 99 of 100 values are below this.
        p99 "p99": Bound, optional, "p99: 90s";
        /// The value stays below this.
        below "below": Bound, optional, "below: 1%";
        /// The value stays above this.
        above "above": Bound, optional, "above: 100";
        /// The time that is looked at.
        over "over": Age, required, "over: 30d";
    }
}

words! {
    /// The states that an alert can be about.
    pub enum AlertState {
        /// It works, and not as it should.
        Warning "warning",
        /// It does not work.
        Critical "critical",
        /// Nobody can tell.
        Unknown "unknown",
    }
}

words! {
    /// How urgent it is.
    pub enum Severity {
        /// Good to know.
        Info "info",
        /// Somebody should look, today.
        Warn "warn",
        /// Somebody has to get up.
        Page "page",
    }
}

words! {
    /// How bad a line of a log is, at least.
    pub enum LogLevel {
        /// For those who look for a fault.
        Debug "debug",
        /// Ordinary.
        Info "info",
        /// Unusual.
        Warning "warning",
        /// Something did not work.
        Error "error",
        /// It can't go on.
        Critical "critical",
    }
}

record! {
    /// Who is told when something has been wrong for a while.
    pub struct AlertSpec, one of (&[&["check", "service", "logs", "metric"]]), rules alert_rules {
        /// The check that it is about.
        check "check": Ref<CheckSpec>, optional, "check: health";
        /// The service that it is about.
        service "service": Ref<ServiceSpec>, optional, "service: shop";
        /// The service whose log lines are counted.
        logs "logs": Ref<ServiceSpec>, optional, "logs: shop";
        /// The metric that is looked at, in PromQL.
        metric "metric": String, optional, "metric: rate(http_errors_total[5m])";
        /// The state that it is about; critical without it.
        state "state": AlertState, optional, "state: warning";
        /// The least level of the lines that count; error without it.
        level "level": LogLevel, optional, "level: error";
        /// More than this is too much.
        above "above": Bound, optional, "above: 5";
        /// Less than this is too little.
        below "below": Bound, optional, "below: 100";
        /// The time in which lines are counted.
        within "within": Interval, optional, "within: 10m";
        /// How long it must have been so.
        for_ "for": Wait, default(GRACE), "for: 10m";
        /// How urgent it is.
        severity "severity": Severity, default(Severity::Warn), "severity: page";
        /// Who is told; the default notifiers without it.
        tell "tell": Vec<Ref<NotifierSpec>>, default(Vec::new()), "tell: [ops]";
    }
}

fn alert_rules(spec: &AlertSpec, node: &Node, reader: &mut Reader<'_>) {
    let health = spec.check.is_some() || spec.service.is_some();
    let mut only = |key: &str, written: bool, fits: bool, with: &str| {
        if written && !fits {
            let at = node.get(key).map_or(node.at, |found| found.at);
            reader.fault(at, format!("has {key}, which says nothing here"), Some(format!("{key} goes with {with}")));
        }
    };
    only("state", spec.state.is_some(), health, "check or service");
    only("level", spec.level.is_some(), spec.logs.is_some(), "logs");
    only("within", spec.within.is_some(), spec.logs.is_some(), "logs");
    let measured = spec.logs.is_some() || spec.metric.is_some();
    only("above", spec.above.is_some(), measured, "logs or metric");
    only("below", spec.below.is_some(), measured, "logs or metric");
    if measured && spec.above.is_none() && spec.below.is_none() {
        reader.fault(
            node.at,
            "needs above or below: when it is too much or too little",
            Some("add above: 5".to_owned()),
        );
    }
    if spec.logs.is_some() && spec.within.is_none() {
        reader.fault(node.at, "needs within: the time in which lines are counted", Some("add within: 10m".to_owned()));
    }
}
