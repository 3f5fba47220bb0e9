//! What a service's spec means, in words, and how many nodes take their turn at once.

use hostler_types::service::{Limits, RestartPolicy, Runs, ServiceAssignment};
use hostler_types::spec::Restarter;
use hostler_types::units::{format_duration, format_size};

/// `bin/web`, `unit nginx.service`, `image shop:1.2`.
pub fn runs(runs: &Runs) -> String {
    match runs {
        Runs::Process(program) => program.command.clone(),
        Runs::Unit { name, .. } => format!("unit {name}"),
        Runs::Written { name, program } => format!("{}, as the unit {name}", program.command),
        Runs::Container { image, program } if program.command.is_empty() => format!("image {image}"),
        Runs::Container { image, program } => format!("{} in the image {image}", program.command),
    }
}

/// `at once, then after 1s and growing up to 5m; 5 attempts in 10m`.
pub fn restart(one: &ServiceAssignment) -> String {
    if let Runs::Unit { restarter: Restarter::Unit, .. } = one.runs {
        return "by systemd, as the unit says".to_owned();
    }
    let RestartPolicy { first, delay, cap, attempts, within, .. } = one.restart;
    let first = if first.is_zero() {
        format!("at once, then after {}", format_duration(delay))
    } else {
        format!("after {}", format_duration(first))
    };
    let grows =
        if one.restart.factor > 1.0 { format!(", growing up to {}", format_duration(cap)) } else { String::new() };
    let times = if attempts == 1 { "attempt" } else { "attempts" };
    format!("{first}{grows}; {attempts} {times} in {}", format_duration(within))
}

pub fn stop(one: &ServiceAssignment) -> String {
    format!("by {}, killed after {}", one.stop.signal.word(), format_duration(one.stop.grace))
}

/// Empty where there are none.
pub fn limits(one: &ServiceAssignment) -> String {
    let program = match &one.runs {
        Runs::Unit { .. } => return String::new(),
        Runs::Process(program) | Runs::Written { program, .. } | Runs::Container { program, .. } => program,
    };
    let Limits { memory_bytes, cpu, files, processes } = program.limits;
    let parts = [
        memory_bytes.map(|bytes| format!("memory {}", format_size(bytes))),
        cpu.map(|cpu| format!("processors {cpu}")),
        files.map(|count| format!("open files {count}")),
        processes.map(|count| format!("processes {count}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
