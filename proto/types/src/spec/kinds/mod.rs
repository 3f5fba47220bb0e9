//! One body a kind. What is written here is the language: reading, printing, the
//! JSON schema, `explain` and the reference all come from these lines.

mod care;
mod fleet;
mod rollout;
mod service;
mod steps;
mod watch;

pub use care::{BackupPath, BackupSpec, Drill, Keep, Missed, Offline, Overlap, Report, ScheduleSpec, TaskSpec};
pub use fleet::{
    Allow, BudgetSpec, LabelKey, LabelMap, NodeSpec, NotifierSpec, PluginSpec, SecretSpec, SystemSpec, WindowSpec,
};
pub use rollout::{Drain, Migrate, Release, Require, Rollout, Strategy};
pub use service::{
    Beside, Drift, FileSpec, HealStep, Limits, LogFormat, Logs, OnChange, OnNeeds, Restart, Restarter, ServiceSpec,
    ServiceType, Signal, Stop,
};
pub use steps::{ActionStep, CheckStep, FileStep, FirewallStep, Packages, Reboot, RunStep, Step, UserStep};
pub use watch::{AlertSpec, AlertState, CheckSpec, CheckTarget, ObjectiveSpec, Severity};

use super::scalars::{Span, Whole};
use super::shape::Reader;
use super::yaml::Node;
use crate::Selector;

/// A week: what is longer is no interval but a date.
const WEEK_MS: u64 = 7 * 86_400_000;
const YEAR_MS: u64 = 365 * 86_400_000;

/// From a second, since no wake-up of the agent is faster.
pub type Interval = Span<1_000, WEEK_MS>;
/// Any wait, none at all included.
pub type Wait = Span<0, WEEK_MS>;
/// An age or a retention, up to ten years.
pub type Age = Span<1_000, { 10 * YEAR_MS }>;
pub type Timeout = Span<100, 300_000>;
/// How many results in a row make a state.
pub type Streak = Whole<1, 100>;
/// How many backups.
pub type Kept = Whole<1, 10000>;

/// The file that was probably meant: one with the same name elsewhere, or a near one.
fn nearest_file<'a>(file: &'a str, files: impl Iterator<Item = &'a String> + Clone) -> Option<&'a str> {
    let name = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    let same = files.clone().find(|other| name(other) == name(file)).map(String::as_str);
    same.or_else(|| super::problem::nearest(file, files.map(String::as_str)))
}

/// Facts are a host's own claims: it must not come by a command, a secret or an
/// artifact through one.
fn labels_only(selector: &Selector, what: &str, node: &Node, reader: &mut Reader<'_>) {
    if !selector.names_facts() {
        return;
    }
    let at = node.get("where").map_or(node.at, |found| found.at);
    let message = format!("is {selector}: a host says its facts itself, and {what} goes by labels only");
    let help = "label the nodes, node: {NAME: {labels: {os: debian}}}, and select by that: where: os=debian";
    reader.inside("where", None, |reader| reader.fault(at, message, Some(help.to_owned())));
}
