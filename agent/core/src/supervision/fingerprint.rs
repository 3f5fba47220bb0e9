//! By which a changed service is known from one that runs as it should.

use crate::hash::fnv1a;
use hostler_types::ServiceAssignment;
use hostler_types::service::{Program, Runs};

/// Equal as long as the running program is what it should be. Later versions of the
/// agent add to it only what a spec did not have before: an upgrade restarts nothing.
pub fn fingerprint(service: &ServiceAssignment) -> u64 {
    let mut parts: Vec<String> = Vec::new();
    match &service.runs {
        Runs::Process(program) => {
            parts.push("process".into());
            add(&mut parts, program);
            parts.push(service.stop.signal.word().into());
            parts.push(service.stop.grace.as_millis().to_string());
        }
        Runs::Unit { name, .. } => parts.extend(["unit".into(), name.clone()]),
        Runs::Written { name, program } => {
            parts.extend(["written".into(), name.clone()]);
            add(&mut parts, program);
        }
        Runs::Container { image, program } => {
            parts.extend(["container".into(), image.clone()]);
            add(&mut parts, program);
            parts.extend(program.dirs.iter().map(|dir| format!("mount {dir}")));
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    fnv1a(&parts)
}

fn add(parts: &mut Vec<String>, program: &Program) {
    let mut named = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            parts.extend([name.to_owned(), value]);
        }
    };
    named("command", Some(program.command.clone()));
    named("user", program.user.clone());
    named("home", program.home.clone());
    named("memory", program.limits.memory_bytes.map(|one| one.to_string()));
    named("cpu", program.limits.cpu.map(|one| one.to_string()));
    named("files", program.limits.files.map(|one| one.to_string()));
    named("processes", program.limits.processes.map(|one| one.to_string()));
    for (key, value) in &program.env {
        named(key, Some(value.clone()));
    }
}
