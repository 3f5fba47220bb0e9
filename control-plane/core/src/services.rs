//! From the spec of a service to what one node is asked to run.

pub mod words;

use hostler_types::service::{
    DELAY_DEFAULT, FileAssignment, Limits, LogPolicy, Program, RestartPolicy, Runs, ServiceAssignment, StopPolicy,
};
use hostler_types::spec::{FileSpec, Object, Restarter, ServiceSpec, ServiceType, on_node, secrets_in};
use hostler_types::{Name, ServiceVerb};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What a node's word stands for, such as `name` or `label.role`.
pub type Known<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The fields whose lines acts name as the place of their rule.
const RULES: [&str; 10] = ["heal", "restart", "live", "ready", "on_needs", "needs", "stop", "limits", "files", "drift"];

/// What one node is asked to run. Of what it needs, only what runs `here` too: a
/// service elsewhere can't be waited for by the host alone.
pub fn assignment(
    object: &Object,
    spec: &ServiceSpec,
    here: impl Fn(&Name) -> bool,
    known: &Known<'_>,
) -> ServiceAssignment {
    let program = || Program {
        command: spec.command.as_ref().map(|text| resolved(&text.0, known)).unwrap_or_default(),
        user: spec.user.clone(),
        home: spec.home.clone(),
        dirs: spec.dirs.clone(),
        env: spec.env.iter().map(|(key, text)| (key.clone(), resolved(&text.0, known))).collect(),
        port: spec.port.and_then(|port| u16::try_from(port.0).ok()),
        limits: limits(spec),
        logs: logs(spec),
    };
    let runs = match (spec.type_, &spec.unit) {
        (ServiceType::Process, _) => Runs::Process(program()),
        (ServiceType::Systemd, Some(unit)) => {
            let by = spec.restart.as_ref().and_then(|restart| restart.by);
            Runs::Unit { name: unit.clone(), restarter: by.unwrap_or(Restarter::Unit) }
        }
        (ServiceType::Systemd, None) => Runs::Written { name: format!("{}.service", object.name), program: program() },
        (ServiceType::Container, _) => Runs::Container {
            image: spec.image.as_ref().map(|text| resolved(&text.0, known)).unwrap_or_default(),
            program: program(),
        },
    };
    ServiceAssignment {
        name: object.name.clone(),
        runs,
        replicas: spec.replicas.0,
        needs: spec.needs.iter().map(|one| &one.name).filter(|name| here(name)).cloned().collect(),
        on_needs: spec.on_needs,
        restart: restart(spec),
        stop: spec
            .stop
            .as_ref()
            .map_or_else(StopPolicy::default, |stop| StopPolicy { signal: stop.signal, grace: stop.grace.0 }),
        live: spec.live.iter().map(|one| one.name.clone()).collect(),
        ready: spec.ready.iter().map(|one| one.name.clone()).collect(),
        heal: spec.heal.clone(),
        files: spec.files.iter().map(|(path, file)| file_assignment(path, file, known)).collect(),
        packages: spec.packages.clone(),
        drift: spec.drift,
        origins: origins(object),
    }
}

pub fn resolved(text: &str, known: &Known<'_>) -> String {
    match on_node(&Value::from(text), known) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn limits(spec: &ServiceSpec) -> Limits {
    spec.limits.as_ref().map_or_else(Limits::default, |limits| Limits {
        memory_bytes: limits.memory.map(|size| size.0),
        cpu: limits.cpu.map(|cpus| cpus.0),
        files: limits.files.map(|count| u64::from(count.0)),
        processes: limits.processes.map(|count| u64::from(count.0)),
    })
}

fn logs(spec: &ServiceSpec) -> LogPolicy {
    spec.logs.as_ref().map_or_else(LogPolicy::default, |logs| LogPolicy {
        path: logs.path.clone(),
        rotate_bytes: logs.rotate.map(|size| size.0),
        every: logs.every.map(|age| age.0),
        keep: logs.keep.0,
        compress: logs.compress,
    })
}

/// Without a `delay` the first restart is at once; with one, that is the first wait.
fn restart(spec: &ServiceSpec) -> RestartPolicy {
    let Some(written) = &spec.restart else { return RestartPolicy::default() };
    let delay = written.delay.map(|wait| wait.0);
    RestartPolicy {
        first: delay.unwrap_or_default(),
        delay: delay.unwrap_or(DELAY_DEFAULT),
        factor: written.factor.0,
        cap: written.cap.0,
        attempts: written.attempts.0,
        within: written.within.0,
        reset: written.reset.unwrap_or(written.within).0,
    }
}

fn file_assignment(path: &str, file: &FileSpec, known: &Known<'_>) -> FileAssignment {
    FileAssignment {
        path: path.to_owned(),
        digest: file.from.digest.clone(),
        // The spec names content by its digest alone.
        size_bytes: 0,
        validate: file.validate.as_ref().map(|text| resolved(&text.0, known)),
        change: file.change,
        with: file.with.iter().map(|(name, text)| (name.clone(), resolved(&text.0, known))).collect(),
        owner: file.owner.clone(),
        mode: file.mode.as_ref().and_then(|mode| u32::from_str_radix(mode, 8).ok()),
    }
}

/// Where its rules are written: a field that is a map stands where its first line does.
fn origins(object: &Object) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::from([(String::new(), object.origin.clone())]);
    for rule in RULES {
        let within = |path: &str| path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let lines = object.origins.iter().filter(|(path, _)| within(path)).map(|(_, origin)| origin);
        if let Some(first) = lines.min_by_key(|origin| line_of(origin)) {
            origins.insert(rule.to_owned(), first.clone());
        }
    }
    origins
}

fn line_of(origin: &str) -> usize {
    origin.rsplit_once(':').and_then(|(_, line)| line.parse().ok()).unwrap_or(usize::MAX)
}

/// The secrets that its texts name.
pub fn secrets(spec: &ServiceSpec) -> BTreeSet<Name> {
    let settings = spec.env.values().map(|setting| &setting.0);
    let validates = spec.files.values().filter_map(|file| Some(&file.validate.as_ref()?.0));
    let filled = spec.files.values().flat_map(|file| file.with.values()).map(|setting| &setting.0);
    let command = [&spec.command, &spec.image].into_iter().filter_map(|text| Some(&text.as_ref()?.0));
    secrets_in(&command.chain(settings).chain(filled).chain(validates).map(|text| Value::from(text.as_str())).collect())
}

/// In which order services are acted on: what others need first, and for an end the
/// other way round. Those that need each other stay in the order of their names.
pub fn in_order<'a>(
    verb: ServiceVerb,
    names: &BTreeSet<&'a Name>,
    needs: impl Fn(&Name) -> Vec<&'a Name>,
) -> Vec<&'a Name> {
    let mut ordered = Vec::new();
    let mut seen = BTreeSet::new();
    // Each with what it needs before it; a loop over an own stack, since needs may be long.
    for name in names {
        let mut stack = vec![(*name, false)];
        while let Some((one, done)) = stack.pop() {
            if done {
                if names.contains(one) {
                    ordered.push(one);
                }
            } else if seen.insert(one) {
                stack.push((one, true));
                stack.extend(needs(one).into_iter().rev().map(|need| (need, false)));
            }
        }
    }
    if verb == ServiceVerb::Stop {
        ordered.reverse();
    }
    ordered
}

#[cfg(test)]
mod tests;
