//! What is deployed, and how a change reaches a service's nodes.

use super::care::BackupSpec;
use super::fleet::{NotifierSpec, WindowSpec};
use super::service::Beside;
use super::{Age, Wait};
use crate::spec::collections::Config;
use crate::spec::scalars::{Amount, Ref, Span, Template, Whole};
use crate::spec::shape::{Reader, Target, record};
use crate::spec::words::words;
use crate::spec::yaml::Node;
use crate::{Name, Selector};
use std::collections::BTreeMap;
use std::time::Duration;

record! {
    /// What is deployed: unpacked beside the one that runs, made ready, validated, and switched to in one step.
    pub struct Release {
        /// The artifact that was pushed.
        artifact "artifact": Name, required, "artifact: shop";
        /// The version that runs, instead of the one that was deployed last.
        version "version": String, optional, "version: 1.4.2";
        /// Files put into the release, by their place in it.
        files "files": BTreeMap<String, Beside>, default(BTreeMap::new()), "files: {config/app.yaml: files/app.yaml}";
        /// Run in the unpacked release before it is validated, such as to build on the host.
        prepare "prepare": Template, optional, "prepare: make install";
        /// Run in the unpacked release; if it fails, nothing is switched.
        validate "validate": Template, optional, "validate: bin/server --check-config";
        /// What is done to its data, once for the whole fleet, before the first node switches.
        migrate "migrate": Migrate, optional, "migrate: {run: bin/migrate up, undo: bin/migrate down}";
        /// How many old releases stay on each host.
        keep "keep": Whole<1, 100>, default(Whole(3)), "keep: 3";
    }
}

record! {
    /// A change of data that goes with a release.
    pub struct Migrate, rules migrate_rules {
        /// What makes the change.
        run "run": Template, required, "run: bin/migrate up";
        /// What takes it back, on a rollback.
        undo "undo": Template, optional, "undo: bin/migrate down";
        /// It can't be taken back: a rollback stops and pages instead.
        forward_only "forward_only": bool, default(false), "forward_only: true";
    }
}

fn migrate_rules(spec: &Migrate, node: &Node, reader: &mut Reader<'_>) {
    if spec.undo.is_some() == spec.forward_only {
        let (message, help) = if spec.forward_only {
            ("has undo, and says that it can't be taken back", "keep undo, or forward_only: true")
        } else {
            (
                "needs undo, or forward_only",
                "say how a rollback takes it back, undo: bin/migrate down, or that it can't, forward_only: true",
            )
        };
        let at = node.get("forward_only").map_or(node.at, |found| found.at);
        reader.fault(at, message, Some(help.to_owned()));
    }
}

words! {
    /// In which order nodes change.
    pub enum Strategy {
        /// A few nodes after the other.
        Rolling "rolling",
        /// The new beside the old, then the traffic, then the old goes.
        BlueGreen "blue-green",
    }
}

const HEALTHY_FOR: Wait = Span(Duration::from_secs(10));
const HEALTHY_DEADLINE: Wait = Span(Duration::from_secs(300));
const PROGRESS_DEADLINE: Wait = Span(Duration::from_secs(600));
const DRAIN_WAIT: Wait = Span(Duration::from_secs(30));

record! {
    /// How a change reaches a service's nodes: any change, be it a release, a file, a secret or a setting.
    pub struct Rollout {
        /// In which order nodes change.
        strategy "strategy": Strategy, default(Strategy::Rolling), "strategy: blue-green";
        /// How many nodes try it first.
        canary "canary": Amount, optional, "canary: 1";
        /// How many nodes change at once.
        max "max": Amount, default(Amount::Count(1)), "max: 25%";
        /// How many may fail before it stops and goes back.
        max_errors "max_errors": Amount, default(Amount::Count(0)), "max_errors: 1";
        /// How long a node must stay healthy before the next ones change.
        healthy_for "healthy_for": Wait, default(HEALTHY_FOR), "healthy_for: 30s";
        /// By when a node must be healthy after it changed.
        healthy_deadline "healthy_deadline": Wait, default(HEALTHY_DEADLINE), "healthy_deadline: 5m";
        /// By when the next node must have become healthy.
        progress_deadline "progress_deadline": Wait, default(PROGRESS_DEADLINE), "progress_deadline: 10m";
        /// How a node is taken out of the load balancers before it is touched.
        drain "drain": Drain, optional, "drain: {plugin: haproxy, where: role=lb, with: {backend: shop}}";
        /// What must be true before it begins.
        require "require": Require, optional, "require: {window: evening}";
        /// Whether it goes back to the last good version by itself when it fails.
        rollback "rollback": bool, default(true), "rollback: false";
        /// Who is told.
        tell "tell": Vec<Ref<NotifierSpec>>, default(Vec::new()), "tell: [ops]";
    }
}

record! {
    /// How a node is taken out of its load balancers and put back.
    pub struct Drain, rules drain_rules {
        /// The plugin that knows the load balancer.
        plugin "plugin": Name, required, "plugin: haproxy";
        /// The nodes that the load balancers run on.
        where_ "where": Selector, required, "where: role=lb";
        /// The plugin's own configuration.
        with "with": Config, default(Config::default()), "with: {backend: shop}";
        /// How long open connections may take to end.
        wait "wait": Wait, default(DRAIN_WAIT), "wait: 60s";
    }
}

fn drain_rules(spec: &Drain, node: &Node, reader: &mut Reader<'_>) {
    super::labels_only(&spec.where_, "a drain", node, reader);
    let at = node.get("where").map_or(node.at, |found| found.at);
    reader.inside("where", None, |reader| reader.link(at, Target::Nodes(spec.where_.clone())));
}

record! {
    /// What must be true before a rollout begins.
    pub struct Require, rules require_rules {
        /// The window that must be open.
        window "window": Ref<WindowSpec>, optional, "window: evening";
        /// Backups, and how old each may be at most.
        backup "backup": BTreeMap<Ref<BackupSpec>, Age>, default(BTreeMap::new()), "backup: {database: 26h}";
        /// The environment in which the same version must have passed.
        passed_in "passed_in": Name, optional, "passed_in: staging";
    }
}

fn require_rules(spec: &Require, node: &Node, reader: &mut Reader<'_>) {
    let Some(name) = &spec.passed_in else { return };
    let at = node.get("passed_in").map_or(node.at, |found| found.at);
    reader.inside("passed_in", None, |reader| reader.link(at, Target::Environment(name.clone())));
}
