//! Services: what runs, on which nodes, and what happens when it does not.

use super::rollout::{Release, Rollout};
use super::watch::CheckSpec;
use super::{Age, Interval, Wait};
use crate::Selector;
use crate::service;
use crate::spec::form::{Form, Json as JsonKind, Scalar};
use crate::spec::problem::nearest;
use crate::spec::scalars::{Number, Ref, Setting, Size, Span, Template, Whole};
use crate::spec::shape::{Content, Reader, Shape, Target, record};
use crate::spec::words::words;
use crate::spec::yaml::{Node, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

words! {
    /// What runs a service.
    pub enum ServiceType {
        /// A command, in a unit of its own that Hostler makes and owns.
        Process "process",
        /// A systemd unit: written for you, or adopted as it is where `unit` names it.
        Systemd "systemd",
        /// A container.
        Container "container",
    }
}

words! {
    /// What is done about a service that fails its `live` checks, step by step.
    pub enum HealStep {
        /// Stop it and start it again.
        Restart "restart",
        /// Tell its processes to read their configuration again.
        Reload "reload",
        /// Go back to the release before.
        Rollback "rollback",
        /// Take the node out of the load balancers.
        Drain "drain",
        /// Wake somebody up.
        Page "page",
    }
}

words! {
    /// What happens when others change what the spec decides.
    pub enum Drift {
        /// Somebody is told, and it stays as it is until the spec's own changes; a file that is gone is put back for a start.
        Alarm "alarm",
        /// It is put back as the spec says, and read anew by its `change`; three times in ten minutes at most.
        Repair "repair",
    }
}

words! {
    /// How a changed file reaches the running service.
    pub enum OnChange {
        /// The service is told to read it again.
        Reload "reload",
        /// The service is restarted.
        Restart "restart",
        /// Nothing: whoever reads it sees it.
        Nothing "nothing",
    }
}

words! {
    /// What a line of a log is.
    pub enum LogFormat {
        /// One line of text a record.
        Text "text",
        /// One JSON object a line.
        Json "json",
    }
}

words! {
    /// What happens to a service when one that it needs was restarted.
    pub enum OnNeeds {
        /// Nothing: it finds its way back by itself.
        Stay "stay",
        /// It is restarted too.
        Restart "restart",
        /// It is told to reload.
        Reload "reload",
    }
}

words! {
    /// Who starts a systemd unit again after it ended.
    pub enum Restarter {
        /// systemd, as the unit says; Hostler counts, tells, and acts on failed health.
        Unit "unit",
        /// Hostler; the unit's own Restart= is switched off by a drop-in.
        Hostler "hostler",
    }
}

const RESTART_CAP: Wait = Span(service::CAP_DEFAULT);
const RESTART_WITHIN: Interval = Span(service::WITHIN_DEFAULT);
const STOP_GRACE: Wait = Span(service::GRACE_DEFAULT);

record! {
    /// A program that is to run, on every node that `where` takes.
    pub struct ServiceSpec, rules service_rules {
        /// The nodes that it runs on.
        where_ "where": Selector, required, "where: role=app";
        /// What runs it.
        type_ "type": ServiceType, default(ServiceType::Process), "type: systemd";
        /// The systemd unit that is adopted as it is; without one, it is written for you.
        unit "unit": String, optional, "unit: haproxy.service";
        /// The container's image.
        image "image": Template, optional, "image: registry.example.com/shop:1.2";
        /// What is run.
        command "command": Template, optional, "command: bin/server --port 8080";
        /// The user that it runs as; made where it does not exist.
        user "user": String, optional, "user: shop";
        /// Its working folder; made where it does not exist.
        home "home": String, optional, "home: /opt/shop";
        /// Folders below home that belong to its user.
        dirs "dirs": Vec<String>, default(Vec::new()), "dirs: [config, logs]";
        /// Packages of the system that must be there.
        packages "packages": Vec<String>, default(Vec::new()), "packages: [python3]";
        /// The port that it listens on.
        port "port": Whole<1, 65535>, optional, "port: 8080";
        /// Its environment.
        env "env": BTreeMap<String, Setting>, default(BTreeMap::new()), "env: {LOG_LEVEL: info}";
        /// How many of it run on each node.
        replicas "replicas": Whole<0, 1000>, default(Whole(1)), "replicas: 2";
        /// Files that it reads, by where they go on the host.
        files "files": BTreeMap<String, FileSpec>, default(BTreeMap::new()), "files: {/etc/shop.conf: files/shop.conf}";
        /// What it may use at most.
        limits "limits": Limits, optional, "limits: {memory: 8GiB, cpu: 6}";
        /// Services that must be healthy before it starts.
        needs "needs": Vec<Ref<ServiceSpec>>, default(Vec::new()), "needs: [database]";
        /// What happens to it when one of those was restarted.
        on_needs "on_needs": OnNeeds, default(OnNeeds::Stay), "on_needs: restart";
        /// How it is started again after it ended.
        restart "restart": Restart, optional, "restart: {delay: 10s}";
        /// How it is stopped.
        stop "stop": Stop, optional, "stop: {signal: TERM, grace: 30s}";
        /// Checks that heal: failing them climbs the ladder in `heal`.
        live "live": Vec<Ref<CheckSpec>>, default(Vec::new()), "live: [health]";
        /// Checks that only gate and drain: failing them never restarts anything.
        ready "ready": Vec<Ref<CheckSpec>>, default(Vec::new()), "ready: [warm]";
        /// What is done about a failing `live` check, one step after the other.
        heal "heal": Vec<HealStep>, default(vec![HealStep::Restart, HealStep::Restart, HealStep::Page]), "heal: [restart, restart, page]";
        /// What it logs, and how much of it is kept.
        logs "logs": Logs, optional, "logs: {path: logs/*.log, rotate: 10MiB, keep: 5}";
        /// What is deployed.
        release "release": Release, optional, "release: {artifact: shop}";
        /// How a change reaches its nodes.
        rollout "rollout": Rollout, optional, "rollout: {max: 1, healthy_for: 30s}";
        /// What happens when others change its files or its unit on the host, which are looked at each minute.
        drift "drift": Drift, default(Drift::Alarm), "drift: repair";
    }
}

fn service_rules(spec: &ServiceSpec, node: &Node, reader: &mut Reader<'_>) {
    super::labels_only(&spec.where_, "what runs on it", node, reader);
    let mut belongs = |key: &str, written: bool, types: &[ServiceType]| {
        if written && !types.contains(&spec.type_) {
            let at = node.get(key).map_or(node.at, |found| found.at);
            let words: Vec<&str> = types.iter().map(|one| one.word()).collect();
            let message = format!("has {key}, and is of type {}", spec.type_.word());
            let help = format!("{key} belongs to type: {}; set that, or leave {key} out", words.join(" or "));
            reader.fault(at, message, Some(help));
        }
    };
    belongs("unit", spec.unit.is_some(), &[ServiceType::Systemd]);
    belongs("image", spec.image.is_some(), &[ServiceType::Container]);
    let mut needs = |key: &str, why: &str, example: &str| {
        let message = format!("needs {key}: {why}");
        reader.fault(node.at, message, Some(format!("add {example}")));
    };
    match spec.type_ {
        ServiceType::Process if spec.command.is_none() => {
            needs("command", "a process is what its command runs", "command: bin/server");
        }
        ServiceType::Systemd if spec.command.is_none() && spec.unit.is_none() => {
            needs("command or unit", "a unit is written from a command, or adopted by its name", "unit: nginx.service");
        }
        ServiceType::Container if spec.image.is_none() => {
            needs("image", "a container is made from one", "image: registry.example.com/shop:1.2");
        }
        _ => {}
    }
    if let Some(unit) = spec.unit.as_ref().filter(|unit| !unit.contains('.')) {
        let at = node.get("unit").map_or(node.at, |found| found.at);
        let help = format!("write its whole name: unit: {unit}.service");
        reader.fault(at, format!("names the unit {unit:?} without its ending"), Some(help));
    }
    if spec.restart.as_ref().is_some_and(|restart| restart.by.is_some()) && spec.type_ != ServiceType::Systemd {
        let at = node.get("restart").map_or(node.at, |found| found.at);
        let message = format!("has restart.by, and is of type {}", spec.type_.word());
        let help = "only a systemd unit has another that may restart it; leave by out".to_owned();
        reader.fault(at, message, Some(help));
    }
    if spec.type_ == ServiceType::Systemd && spec.replicas.0 > 1 {
        let at = node.get("replicas").map_or(node.at, |found| found.at);
        let message = format!("has {} replicas, and is of type systemd: a unit runs once on a node", spec.replicas.0);
        reader.fault(at, message, Some("write type: process, which runs as many as are asked for".to_owned()));
    }
    let folder = spec.logs.as_ref().and_then(|logs| logs.path.as_ref()?.rsplit_once('/'));
    if folder.is_some_and(|(folder, _)| folder.contains('*')) {
        let at = node.get("logs").and_then(|logs| logs.get("path")).map_or(node.at, |found| found.at);
        let help = "name the folder, and write * in the file's name alone: path: logs/*.log".to_owned();
        reader.fault(at, "has a * in the folder of its logs", Some(help));
    }
    absolute(spec.home.as_ref(), "home", node, reader);
    let files = match node.get("files").map(|files| &files.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    for (key, _) in files.iter().filter(|(key, _)| !key.text.starts_with('/')) {
        let help = format!("write where it goes on the host, such as /etc/{}", key.text);
        reader.fault(key.at, format!("has the file {:?}, which is no absolute path", key.text), Some(help));
    }
}

pub(super) fn absolute(path: Option<&String>, key: &str, node: &Node, reader: &mut Reader<'_>) {
    if let Some(path) = path.filter(|path| !path.starts_with('/')) {
        let at = node.get(key).map_or(node.at, |found| found.at);
        reader.fault(
            at,
            format!("has {key} {path:?}, which is no absolute path"),
            Some(format!("write it like this: {key}: /{path}")),
        );
    }
}

record! {
    /// A file on the host, and what happens when it changes.
    pub struct FileSpec, short "from", rules file_rules {
        /// The file beside the spec that it comes from.
        from "from": Beside, required, "from: files/shop.conf";
        /// Run on the new file before it takes its place; ${file} is where it lies.
        validate "validate": Template<true>, optional, "validate: nginx -t -c ${file}";
        /// How the service learns of it.
        change "change": OnChange, default(OnChange::Restart), "change: reload";
        /// What the file says, by name: ${name} in it stands for the value.
        with "with": BTreeMap<String, Setting>, default(BTreeMap::new()), "with: {password: \"${secret:db}\", host: \"${node.name}\"}";
        /// Who owns it; the service's user without it.
        owner "owner": String, optional, "owner: root";
        /// Its permissions; 0644 without it, or 0640 where a secret stands in it.
        mode "mode": String, optional, "mode: \"0640\"";
    }
}

fn file_rules(spec: &FileSpec, node: &Node, reader: &mut Reader<'_>) {
    permissions(spec.mode.as_ref(), node, reader);
    places(&spec.from.file, &spec.with, node, reader);
}

pub(super) fn permissions(mode: Option<&String>, node: &Node, reader: &mut Reader<'_>) {
    let octal = |mode: &&String| (3..=4).contains(&mode.len()) && mode.chars().all(|c| matches!(c, '0'..='7'));
    if let Some(mode) = mode.filter(|mode| !octal(mode)) {
        let at = node.get("mode").map_or(node.at, |found| found.at);
        let message = format!("has the mode {mode:?}, which is no permissions in digits of 0 to 7");
        reader.fault(at, message, Some("write it like this: mode: \"0640\"".to_owned()));
    }
}

/// What the file has places for is known where the file is at hand.
pub(super) fn places(file: &str, with: &BTreeMap<String, Setting>, node: &Node, reader: &mut Reader<'_>) {
    let Some(Content { names, .. }) = reader.contents.and_then(|contents| contents.get(file)) else { return };
    let at = |key: &str| match node.get("with").map(|with| &with.value) {
        Some(Value::Map(entries)) => entries.iter().find(|(one, _)| one.text == key).map_or(node.at, |(one, _)| one.at),
        _ => node.at,
    };
    for name in with.keys().filter(|name| !names.contains(*name)) {
        let help = match nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}? It has ${{{near}}}"),
            None => format!("write ${{{name}}} in it where the value belongs, or leave {name} out"),
        };
        reader.fault(at(name), format!("gives a value for {name}, and {file} has no ${{{name}}}"), Some(help));
    }
    let ours = |name: &&String| name.starts_with("secret:") || name.starts_with("node.");
    for name in names.iter().filter(ours).filter(|name| !with.contains_key(*name)) {
        let word = name.rsplit([':', '.']).next().unwrap_or("name");
        let help = format!(
            "write ${{{word}}} in it, and in the spec with: {{{word}: \"${{{name}}}\"}}; if it is to stay as it is, \
             with: {{\"{name}\": \"$${{{name}}}\"}}"
        );
        let message = format!("takes {file}, which says ${{{name}}}: only the spec is read for such references");
        reader.fault(node.get("from").map_or(node.at, |from| from.at), message, Some(help));
    }
}

/// A file below `files/` in the system's folder, by its path and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    pub file: String,
    pub digest: String,
}

/// Between a file and its digest, where content is named without a folder.
const DIGEST_MARK: &str = "@sha256:";

impl Shape for Beside {
    fn form() -> Form {
        Form::Scalar(Scalar::text("a file below files/", Some("^files/.+$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(node, reader)?;
        if let Some((file, digest)) = text.split_once(DIGEST_MARK) {
            if digest.len() != 64 || !digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
                let help =
                    Some("a digest has 64 digits of 0-9 and a-f; leave it out to take the file beside".to_owned());
                reader.fault(node.at, "has a digest that is none", help);
                return None;
            }
            return Some(linked(file, digest, node, reader));
        }
        let clean = text.strip_prefix("./").unwrap_or(&text);
        if !clean.starts_with("files/") || clean.split('/').any(|part| part == ".." || part.is_empty()) {
            let name = clean.rsplit('/').next().unwrap_or(clean);
            let help = format!("put it below files/ beside the spec, and write files/{name}");
            reader.fault(node.at, format!("is {text:?}, and should be a file below files/"), Some(help));
            return None;
        }
        let Some(contents) = reader.contents else {
            let help = "apply the folder that holds it, or name its content: files/x@sha256:...".to_owned();
            reader.fault(node.at, format!("is {clean}, and there is no folder to take it from"), Some(help));
            return None;
        };
        match contents.get(clean) {
            Some(Content { digest, .. }) => Some(linked(clean, digest, node, reader)),
            None => {
                let help = match super::nearest_file(clean, contents.keys()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("make the file {clean} beside the spec"),
                };
                reader.fault(node.at, format!("is {clean}, and there is no such file"), Some(help));
                None
            }
        }
    }

    fn print(&self, _: bool) -> Json {
        format!("{}{DIGEST_MARK}{}", self.file, self.digest).into()
    }
}

fn linked(file: &str, digest: &str, node: &Node, reader: &mut Reader<'_>) -> Beside {
    let (file, digest) = (file.to_owned(), digest.to_owned());
    reader.link(node.at, Target::File { file: file.clone(), digest: digest.clone() });
    Beside { file, digest }
}

record! {
    /// What a service may use at most, on each node.
    pub struct Limits {
        /// Memory, its own and that of all it starts.
        memory "memory": Size, optional, "memory: 8GiB";
        /// Processors; a fraction is a part of one.
        cpu "cpu": Cpus, optional, "cpu: 1.5";
        /// Open files.
        files "files": Whole<16, 10000000>, optional, "files: 65536";
        /// Processes and threads.
        processes "processes": Whole<1, 4000000>, optional, "processes: 512";
    }
}

/// How many processors.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Cpus(pub f64);

impl Shape for Cpus {
    fn form() -> Form {
        Form::Scalar(Scalar::new("a number of processors", JsonKind::Number))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Text(text) = &node.value
            && text.ends_with('m')
        {
            reader.fault(
                node.at,
                format!("is {text}, and is counted in processors here"),
                Some("half of one is 0.5".into()),
            );
            return None;
        }
        let Number(number) = Number::read(node, reader)?;
        if !(0.01..=4096.0).contains(&number) {
            reader.fault(node.at, format!("is {number}, and may be 0.01 to 4096"), reader.example());
            return None;
        }
        Some(Self(number))
    }

    fn print(&self, full: bool) -> Json {
        Number(self.0).print(full)
    }
}

record! {
    /// How a service is started again: the wait grows from `delay` by `factor` up to `cap`.
    pub struct Restart, short "by" {
        /// Who starts it again: `unit` leaves a systemd unit to systemd, which is so for one
        /// that is adopted; `hostler` does it by what stands here.
        by "by": Restarter, optional, "by: hostler";
        /// The first wait; without it, the first restart is at once, and the next waits 1s.
        delay "delay": Wait, optional, "delay: 10s";
        /// What each further wait is multiplied by.
        factor "factor": Number, default(Number(service::FACTOR_DEFAULT)), "factor: 2";
        /// The longest wait.
        cap "cap": Wait, default(RESTART_CAP), "cap: 5m";
        /// After so many restarts within `within`, somebody is told, and it goes on slowly.
        attempts "attempts": Whole<1, 1000>, default(Whole(service::ATTEMPTS_DEFAULT)), "attempts: 5";
        /// The time in which attempts are counted.
        within "within": Interval, default(RESTART_WITHIN), "within: 10m";
        /// Once it was healthy for so long, the counting begins anew; without it, `within`.
        reset "reset": Interval, optional, "reset: 5m";
    }
}

words! {
    /// The signal that asks a service to end.
    pub enum Signal {
        /// Please end.
        Term "TERM",
        /// As Ctrl-C.
        Int "INT",
        /// End, after what is under way.
        Quit "QUIT",
        /// The terminal is gone.
        Hup "HUP",
        /// The program's own, first.
        Usr1 "USR1",
        /// The program's own, second.
        Usr2 "USR2",
        /// At once, without a chance to clean up.
        Kill "KILL",
    }
}

record! {
    /// How a service is stopped: asked, then killed.
    pub struct Stop {
        /// What it is asked with.
        signal "signal": Signal, default(Signal::Term), "signal: QUIT";
        /// How long it may take before it is killed, with all that it started.
        grace "grace": Wait, default(STOP_GRACE), "grace: 1m";
    }
}

record! {
    /// What a service logs, and how much of it stays on the host.
    pub struct Logs {
        /// Its files, below its home or absolute; what it prints is kept without it.
        path "path": String, optional, "path: logs/*.log";
        /// What a line is.
        format "format": LogFormat, default(LogFormat::Text), "format: json";
        /// A file that is this large is begun anew.
        rotate "rotate": Size, optional, "rotate: 10MiB";
        /// A file that is this old is begun anew.
        every "every": Age, optional, "every: 1d";
        /// How many old files are kept.
        keep "keep": Whole<0, 10000>, default(Whole(service::LOG_FILES_DEFAULT)), "keep: 52";
        /// Whether old files are compressed.
        compress "compress": bool, default(true), "compress: false";
    }
}
