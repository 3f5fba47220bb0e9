//! What a unit's file may say below the profile `full`: otherwise writing one would
//! be running anything as root. What is allowed is listed; the rest is refused.

use super::{FILE, listed, path_of, profile, run_as, touch_unit};
use crate::policy::Policy;
use hostler_types::Policy as Profile;
use std::path::Path;

/// Begins of names that change how long, how often and how much, never who or what.
const HARMLESS: [&str; 27] = [
    "Description",
    "Documentation",
    "After=",
    "Before=",
    "PartOf=",
    "StartLimitB",
    "StartLimitI",
    "WantedBy=",
    "Restart",
    "Timeout",
    "RuntimeMaxSec",
    "Limit",
    "Memory",
    "CPU",
    "Tasks",
    "IO",
    "Nice=",
    "OOM",
    "KillMode",
    "KillSignal",
    "SendSIG",
    "FinalKillSignal",
    "WatchdogSec",
    "SuccessExitStatus",
    "RemainAfterExit",
    "OnCalendar",
    "RandomizedDelaySec",
];
/// Of a whole unit, that runs as an unprivileged user. No folders: systemd would give
/// the user whatever lies there already.
const UNIT: [&str; 22] = [
    "Type",
    "NotifyAccess",
    "WorkingDirectory",
    "Environment=",
    "UMask",
    "Syslog",
    "NoNewPrivileges",
    "Protect",
    "Private",
    "Restrict",
    "LockPersonality",
    "SystemCall",
    "CapabilityBoundingSet",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "Persistent",
    "AccuracySec",
    "ListenStream",
    "ListenDatagram",
    "Accept=",
    "OnBootSec",
    "OnUnit",
];
/// Naming a unit there starts or stops it.
const MOVES: [&str; 7] = ["Wants", "Requires", "BindsTo", "Conflicts", "OnFailure", "OnSuccess", "Unit"];
/// Every service of a host may ask for these.
const STATES: [&str; 6] = [
    "network.target",
    "network-online.target",
    "local-fs.target",
    "remote-fs.target",
    "time-sync.target",
    "basic.target",
];

pub(super) fn unit(policy: &Policy, unit: &str, text: &str) -> Result<(), String> {
    if policy.profile == Profile::Full {
        return Ok(());
    }
    let mut user = None;
    let mut runs = false;
    for (key, value) in settings(text)? {
        match key {
            "User" => user = Some(value),
            "StandardOutput" | "StandardError" => output(policy, unit, key, value)?,
            _ if key.starts_with("Exec") => {
                runs = true;
                command(policy, unit, key, value)?;
            }
            // Read as root, before it is the user's.
            "EnvironmentFile" => path_of(policy, Path::new(value.trim_start_matches('-')))?,
            _ if MOVES.contains(&key) => moved(policy, value)?,
            _ if named(&HARMLESS, key) || named(&UNIT, key) => {}
            _ => return Err(too_much(policy, unit, key)),
        }
    }
    if runs {
        run_as(policy, user.filter(|user| !user.is_empty()).unwrap_or("root"))
            .map_err(|words| format!("unit {unit}, User=: {words}"))?;
    }
    Ok(())
}

pub(super) fn drop_in(policy: &Policy, unit: &str, text: &str) -> Result<(), String> {
    if policy.profile == Profile::Full {
        return Ok(());
    }
    match settings(text)?.into_iter().find(|(key, _)| !named(&HARMLESS, key)) {
        Some((key, _)) => Err(too_much(policy, unit, key)),
        None => Ok(()),
    }
}

/// A name that is given with its `=` is meant whole.
fn named(names: &[&str], key: &str) -> bool {
    names.iter().any(|name| name.strip_suffix('=').map_or_else(|| key.starts_with(name), |whole| key == whole))
}

fn moved(policy: &Policy, units: &str) -> Result<(), String> {
    let others = units.split_whitespace().filter(|unit| !STATES.contains(unit));
    others.into_iter().try_for_each(|unit| touch_unit(policy, unit))
}

fn too_much(policy: &Policy, unit: &str, key: &str) -> String {
    format!("unit {unit}: {} writes no {key}= into it; profile = \"full\" in {FILE} would allow it", profile(policy))
}

fn command(policy: &Policy, unit: &str, key: &str, value: &str) -> Result<(), String> {
    let program = value.trim_start_matches(['-', '@', ':', '|']);
    if program.starts_with(['+', '!']) {
        return Err(format!("unit {unit}, {key}=: + and ! run it as root, {}", profile(policy)));
    }
    if program.is_empty() || policy.commands.is_none() {
        return Ok(());
    }
    let program = program.split_whitespace().next().unwrap_or_default();
    listed("command", program, "commands", policy.commands.as_ref())
}

fn output(policy: &Policy, unit: &str, key: &str, value: &str) -> Result<(), String> {
    let file = ["append:", "file:", "truncate:"].iter().find_map(|kind| value.strip_prefix(kind));
    match file {
        Some(path) if path.starts_with('/') && !path.contains("..") && !path.contains('%') => {
            path_of(policy, Path::new(path))
        }
        None if matches!(value, "journal" | "null" | "inherit" | "syslog") => Ok(()),
        _ => Err(format!("unit {unit}: {key}={value}: it is journal, null or append:/PATH")),
    }
}

/// The lines `Name=value`. A line that goes on in the next is none: nobody needs it,
/// and it can hide a name.
fn settings(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        let wrong = |why| Err(format!("line {} of the unit: {why}", number + 1));
        if line.ends_with('\\') {
            return wrong("it goes on in the next one: write it as one");
        }
        let Some((key, value)) = line.split_once('=') else { return wrong("there is no = in it") };
        found.push((key.trim(), value.trim()));
    }
    Ok(found)
}
