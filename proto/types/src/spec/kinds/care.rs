//! What is done to a fleet on purpose: tasks, schedules and backups.

use super::fleet::{NotifierSpec, WindowSpec};
use super::steps::{ActionStep, Step};
use super::{Age, Wait};
use crate::calendar::{EVERY_MAX, When};
use crate::cron::Cron;
use crate::selector::Selector;
use crate::spec::scalars::{Amount, Ref, Span, Template, Zone};
use crate::spec::shape::{Reader, record};
use crate::spec::words::words;
use crate::spec::yaml::{Node, Value};
use std::time::Duration;

record! {
    /// What is saved, where to, when, how long it is kept, and how it is proved.
    pub struct BackupSpec, rules backup_rules {
        /// The nodes that it runs on.
        where_ "where": Selector, required, "where: role=app";
        /// Files and folders on those nodes.
        paths "paths": Vec<BackupPath>, default(Vec::new()), "paths: [/opt/shop/data]";
        /// What is left out of them, by pattern.
        exclude "exclude": Vec<String>, default(Vec::new()), "exclude: [\"*.tmp\"]";
        /// A command whose output is saved; it failing is a failed backup.
        command "command": Template, optional, "command: pg_dump shop";
        /// When it runs.
        cron "cron": Cron, required, "cron: 0 2 * * *";
        /// When it reads every byte again and trusts no timestamp.
        full "full": Cron, optional, "full: 0 1 * * sun";
        /// The zone of its cron lines; the system's without it.
        zone "zone": Zone, optional, "zone: Europe/Berlin";
        /// The repository: a folder, s3:, sftp: or rest:.
        to "to": String, required, "to: s3:https://s3.example.com/shop";
        /// What opens the repository's storage.
        login "login": Template, optional, "login: ${secret:s3}";
        /// How long backups are kept.
        keep "keep": Keep, optional, "keep: {within: 30d}";
        /// How much may be lost at most: the age of the newest good backup.
        rpo "rpo": Age, optional, "rpo: 26h";
        /// How long a restore may take at most.
        rto "rto": Age, optional, "rto: 30m";
        /// A restore for practice, that proves it.
        drill "drill": Drill, optional, "drill: {cron: 0 4 * * sun, where: role=drill, assert: validate}";
        /// What a host does that is cut off from the control plane.
        offline "offline": Offline, default(Offline::Run), "offline: skip";
        /// Who is told.
        tell "tell": Vec<Ref<NotifierSpec>>, default(Vec::new()), "tell: [ops]";
    }
}

fn backup_rules(spec: &BackupSpec, node: &Node, reader: &mut Reader<'_>) {
    super::labels_only(&spec.where_, "what is saved from it", node, reader);
    if spec.paths.is_empty() && spec.command.is_none() {
        let help = "add paths: [/opt/shop/data], or command: pg_dump shop".to_owned();
        reader.fault(node.at, "needs paths or command: what is saved", Some(help));
    }
    for (index, one) in spec.paths.iter().enumerate().filter(|(_, one)| !one.path.starts_with('/')) {
        let at = match node.get("paths").map(|paths| &paths.value) {
            Some(Value::List(items)) => items.get(index).map_or(node.at, |item| item.at),
            _ => node.at,
        };
        let help = format!("write the whole path: /{}", one.path);
        reader.fault(at, format!("has the path {:?}, which is not absolute", one.path), Some(help));
    }
}

record! {
    /// A file or folder that is saved.
    pub struct BackupPath, short "path" {
        /// Where it is.
        path "path": String, required, "path: /opt/shop/logs";
        /// Only what changed within this time.
        newer "newer": Age, optional, "newer: 7d";
    }
}

record! {
    /// Which backups are kept. Without any of these, all are.
    pub struct Keep {
        /// All that are younger than this.
        within "within": Age, optional, "within: 30d";
        /// The newest so many.
        last "last": super::Kept, optional, "last: 7";
        /// The newest of each of so many hours.
        hourly "hourly": super::Kept, optional, "hourly: 24";
        /// The newest of each of so many days.
        daily "daily": super::Kept, optional, "daily: 7";
        /// The newest of each of so many weeks.
        weekly "weekly": super::Kept, optional, "weekly: 5";
        /// The newest of each of so many months.
        monthly "monthly": super::Kept, optional, "monthly: 12";
        /// The newest of each of so many years.
        yearly "yearly": super::Kept, optional, "yearly: 3";
    }
}

record! {
    /// A restore for practice: onto other nodes, with something that must hold afterwards.
    pub struct Drill, rules drill_rules {
        /// When it restores.
        cron "cron": Cron, required, "cron: 0 4 * * sun";
        /// The nodes that it restores onto.
        where_ "where": Selector, required, "where: role=drill";
        /// What must hold of the restored files: `validate` is the release's own, anything else is run.
        assert "assert": Template, required, "assert: validate";
    }
}

fn drill_rules(spec: &Drill, node: &Node, reader: &mut Reader<'_>) {
    super::labels_only(&spec.where_, "what is restored onto it", node, reader);
}

words! {
    /// What happens to fires that were missed.
    pub enum Missed {
        /// They are left out.
        Skip "skip",
        /// One is made up for all.
        Once "once",
        /// Each is made up for.
        All "all",
    }
}

words! {
    /// What happens when it is due while it still runs.
    pub enum Overlap {
        /// The new one is left out.
        Forbid "forbid",
        /// Both run.
        Allow "allow",
        /// The old one is ended.
        Replace "replace",
    }
}

words! {
    /// What a host does with it that is cut off from the control plane.
    pub enum Offline {
        /// It runs all the same.
        Run "run",
        /// It waits for the next time.
        Skip "skip",
    }
}

words! {
    /// What a report can tell about.
    pub enum Report {
        /// Errors in logs and failed runs.
        Errors "errors",
        /// Processors, memory, disks.
        Resources "resources",
        /// Backups, and how old they are.
        Backups "backups",
        /// Restores for practice.
        Drills "drills",
        /// Who used what.
        Usage "usage",
        /// What grew and what fell.
        Trends "trends",
        /// Updates that wait.
        Updates "updates",
        /// When what will be full.
        Capacity "capacity",
        /// Versions of what is depended on.
        Dependencies "dependencies",
        /// Certificates, and when they end.
        Certificates "certificates",
        /// Failed log-ins, refused calls, open ports.
        Security "security",
        /// Objectives, and how they were kept.
        Objectives "objectives",
    }
}

const DEADLINE: Age = Span(Duration::from_secs(3_600));

record! {
    /// When a task runs or a report is made.
    pub struct ScheduleSpec, one of (&[&["cron", "every"], &["task", "report"]]), rules schedule_rules {
        /// When it is due, on the wall of its zone.
        cron "cron": Cron, optional, "cron: 0 20 * * tue";
        /// How often it is due: at the multiples of this time since 1970, in no zone.
        every "every": Age, optional, "every: 6h";
        /// The zone of its cron line; the system's without it.
        zone "zone": Zone, optional, "zone: Europe/Berlin";
        /// The task that runs.
        task "task": Ref<TaskSpec>, optional, "task: patch";
        /// What is reported.
        report "report": Vec<Report>, optional, "report: [errors, backups]";
        /// The window that must be open.
        window "window": Ref<WindowSpec>, optional, "window: evening";
        /// What happens to fires that were missed.
        missed "missed": Missed, default(Missed::Once), "missed: skip";
        /// How late a missed one may still be made up for.
        deadline "deadline": Age, default(DEADLINE), "deadline: 1h";
        /// What happens when it is due while it still runs.
        overlap "overlap": Overlap, default(Overlap::Forbid), "overlap: replace";
        /// Nodes begin spread over this time.
        jitter "jitter": Wait, default(Span(Duration::ZERO)), "jitter: 10m";
        /// What a host does that is cut off from the control plane. With run it begins the task by itself and asks nobody how many others do: a task that restarts services, drains or reboots is refused.
        offline "offline": Offline, default(Offline::Skip), "offline: run";
        /// Who is told.
        tell "tell": Vec<Ref<NotifierSpec>>, default(Vec::new()), "tell: [ops]";
    }
}

impl ScheduleSpec {
    /// One of the two is given, and its rules have looked at both.
    pub fn when(&self) -> When {
        let every = self.every.map_or(EVERY_MAX, |every| every.0);
        self.cron.clone().map_or(When::Every(every), When::Cron)
    }
}

fn schedule_rules(spec: &ScheduleSpec, node: &Node, reader: &mut Reader<'_>) {
    let Some(every) = spec.every else { return };
    if let Err(error) = When::every(every.0) {
        let at = node.get("every").map_or(node.at, |found| found.at);
        reader.fault(at, format!("is never due: {error}"), Some("write it like this: every: 6h".to_owned()));
    }
    if spec.zone.is_some() {
        let at = node.get("zone").map_or(node.at, |found| found.at);
        let help = "leave it out, or write cron: 0 */6 * * * for times on the zone's wall".to_owned();
        reader.fault(at, "has a zone, which means nothing beside every", Some(help));
    }
}

const TASK_TIMEOUT: Age = Span(Duration::from_secs(3_600));

record! {
    /// Steps that are done on nodes, a few at a time.
    pub struct TaskSpec, rules task_rules {
        /// The nodes that it is done on.
        where_ "where": Selector, required, "where: role=app";
        /// How many nodes at once.
        max "max": Amount, default(Amount::Count(1)), "max: 25%";
        /// How many may fail before it stops.
        max_errors "max_errors": Amount, default(Amount::Count(0)), "max_errors: 1";
        /// How many nodes try it first.
        canary "canary": Amount, optional, "canary: 1";
        /// How long it may take on one node.
        timeout "timeout": Age, default(TASK_TIMEOUT), "timeout: 30m";
        /// What is done, in this order.
        steps "steps": Vec<Step>, required, "steps: [drain, {run: bin/tidy}, undrain]";
    }
}

impl TaskSpec {
    /// What plugins do of it, and which of its steps that is.
    pub fn actions(&self) -> impl Iterator<Item = (usize, &ActionStep)> {
        self.steps.iter().enumerate().filter_map(|(index, step)| match step {
            Step::Action(action) => Some((index, action)),
            _ => None,
        })
    }
}

fn task_rules(spec: &TaskSpec, node: &Node, reader: &mut Reader<'_>) {
    super::labels_only(&spec.where_, "what is done to it", node, reader);
    if spec.steps.is_empty() {
        let at = node.get("steps").map_or(node.at, |found| found.at);
        reader.fault(at, "has no step", Some("write it like this: steps: [{run: bin/tidy}]".to_owned()));
    }
    let drains = spec.steps.contains(&Step::Drain);
    if drains != spec.steps.contains(&Step::Undrain) {
        let at = node.get("steps").map_or(node.at, |found| found.at);
        let (has, lacks) = if drains { ("drain", "undrain") } else { ("undrain", "drain") };
        reader.fault(at, format!("has the step {has} without {lacks}"), Some(format!("add the step {lacks}")));
    }
}
