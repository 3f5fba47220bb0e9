//! Whether a request means anything: names, paths, numbers.

use super::containers;
use crate::protocol::{Act, Limits, Process};
use crate::signals;
use hostler_types::Name;
use std::collections::BTreeMap;
use std::path::{Component, Path};

const UNIT_NAME_BYTES_MAX: usize = 200;
const UNIT_ENDS: [&str; 8] = [".service", ".timer", ".socket", ".target", ".path", ".mount", ".slice", ".scope"];
/// The kernel's.
const PATH_BYTES_MAX: usize = 4095;
/// The kernel's for a user's name, less what tools take off.
const USER_BYTES_MAX: usize = 31;
/// The kernel takes 128 KiB as one argument, and the launcher is given all as one.
pub(super) const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// Half of the room that the kernel gives arguments and environment by default.
const ENV_BYTES_MAX: usize = 1024 * 1024;
/// More than any service has.
const LOOKS_MAX: usize = 10_000;
const PACKAGES_MAX: usize = 100;
/// Nobody waits longer for a host that was cut off.
const TRIAL_MS_MAX: u64 = 10 * 60 * 1000;
/// The kernel's are far more; nobody's are.
const GROUPS_MAX: u64 = 32;
pub(crate) const TAIL_LINES_MAX: u32 = 10_000;
const ROTATED_MAX: u32 = 10_000;
/// A host with more services than this has many hosts' worth.
const PIDS_MAX: u64 = 10_000;
/// Nothing is waited for longer at a stop.
pub(super) const GRACE_MS_MAX: u64 = 60 * 60 * 1000;
const LEAST_MEMORY_BYTES: u64 = 64 * 1024;

pub(super) fn well_formed(act: &Act) -> Result<(), String> {
    match act {
        Act::StartProcess { unit, process } => {
            self::unit(unit)?;
            if !unit.starts_with("hostler-") || !unit.ends_with(".service") {
                return Err(format!("unit {unit}: what is started is called hostler-NAME.service"));
            }
            self::process(process)
        }
        Act::Start { unit: name }
        | Act::Stop { unit: name }
        | Act::Restart { unit: name }
        | Act::Reload { unit: name }
        | Act::ResetFailed { unit: name }
        | Act::Inspect { unit: name }
        | Act::RemoveUnit { unit: name } => unit(name),
        Act::WriteUnit { unit: name, text, env, .. } => {
            unit(name)?;
            no_zero("text", text)?;
            environment(&env.0)
        }
        Act::Kill { unit: name, signal } => {
            unit(name)?;
            self::signal(signal)
        }
        Act::DropIn { unit: at, name, text } => {
            unit(at)?;
            if name.is_empty()
                || name.len() > UNIT_NAME_BYTES_MAX
                || name.starts_with('.')
                || !name.chars().all(in_unit)
            {
                return Err(format!("drop-in {name:?}: its name has letters, digits and :_.@-, and no end"));
            }
            no_zero("text", text.as_deref().unwrap_or_default())
        }
        Act::PutFile { path, owner, mode, validate, user, .. } => {
            self::path(path)?;
            self::owner(owner.as_deref(), *mode)?;
            user.as_deref().map_or(Ok(()), self::user)?;
            validate.as_deref().map_or(Ok(()), command)
        }
        Act::LookAtFiles { files } if files.len() > LOOKS_MAX => {
            Err(format!("{} files: at most {LOOKS_MAX} are looked at at once", files.len()))
        }
        Act::LookAtFiles { files } => files.iter().try_for_each(|one| path(&one.path)),
        Act::MakeFolder { path, owner, mode } => {
            self::path(path)?;
            self::owner(owner.as_deref(), *mode)
        }
        Act::MakeUser { name, home, groups } => {
            user(name)?;
            groups.iter().try_for_each(|group| user(group).map_err(|words| format!("group: {words}")))?;
            within("number of groups", groups.len() as u64, 0, GROUPS_MAX)?;
            home.as_deref().map_or(Ok(()), path)
        }
        Act::InstallPackages { names } => packages(names),
        Act::Tail { unit: name, lines } => {
            unit(name)?;
            within("lines", u64::from(*lines), 1, u64::from(TAIL_LINES_MAX))
        }
        Act::RotateOutput { path, keep, .. } => {
            self::path(path)?;
            if path.parent().is_some_and(|folder| folder.as_os_str().as_encoded_bytes().contains(&b'*')) {
                return Err(format!("path {:?}: * stands only in a file's name", path.display().to_string()));
            }
            within("keep", u64::from(*keep), 0, u64::from(ROTATED_MAX))
        }
        Act::RemoveOutput { path } => of_task(path, "only what a task left is removed"),
        Act::TakeFile { path, within, user, copy, .. } => {
            self::path(path)?;
            user.as_deref().map_or(Ok(()), self::user)?;
            of_task(copy, "a copy goes where tasks leave theirs")?;
            within.as_deref().map_or(Ok(()), |folder| own_folder(folder, path))
        }
        Act::UpgradePackages { output, .. } => of_task(output, "what is printed goes where tasks leave it"),
        Act::Open { pids } => within("number of pids", pids.len() as u64, 0, PIDS_MAX),
        Act::List | Act::Listener { .. } | Act::Policy | Act::Reboot | Act::KeepFirewall => Ok(()),
        Act::LetPlugin { plugin } => self::plugin(plugin),
        Act::TryFirewall { rules, revert_ms } => {
            within("revert_ms", *revert_ms, 1_000, TRIAL_MS_MAX)?;
            no_include(&rules.0)
        }
        Act::StartContainer { name, container } => {
            containers::name(name)?;
            containers::well_formed(container)
        }
        Act::StopContainer { name, signal, grace_ms } => {
            containers::name(name)?;
            self::signal(signal)?;
            within("grace_ms", *grace_ms, 0, GRACE_MS_MAX)
        }
        Act::KillContainer { name, signal } => {
            containers::name(name)?;
            self::signal(signal)
        }
        Act::InspectContainer { name } => containers::name(name),
        Act::ContainerTail { name, lines } => {
            containers::name(name)?;
            within("lines", u64::from(*lines), 1, u64::from(TAIL_LINES_MAX))
        }
        Act::PullImage { image } => containers::image_name(image),
    }
}

/// It would read any file of the host as root, and say what it does not understand. Where
/// a comment begins only nft knows, so the word stands in none either.
fn no_include(rules: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(rules).map_err(|_| "rules: they are no text".to_owned())?;
    let mut words = text.split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.'));
    if words.any(|word| word == "include") {
        return Err("rules: include reads other files of the host: write all of them into one".to_owned());
    }
    Ok(())
}

fn own_folder(folder: &Path, path: &Path) -> Result<(), String> {
    of_task(folder, "a task has its own folder where tasks leave what they print")?;
    if path.starts_with(folder) && path != folder {
        return Ok(());
    }
    Err(format!("path {:?}: it is not in the task's own folder", path.display().to_string()))
}

fn plugin(name: &str) -> Result<(), String> {
    Name::new(name).map(drop).map_err(|error| format!("plugin {name:?}: {error}"))
}

fn of_task(output: &Path, rule: &str) -> Result<(), String> {
    path(output)?;
    let name = output.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    if name.starts_with(b"task.") {
        return Ok(());
    }
    Err(format!("path {:?}: {rule}, FOLDER/task.NAME", output.display().to_string()))
}

fn in_unit(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '@' | '-')
}

fn unit(name: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("unit {name:?}: {why}"));
    if name.len() > UNIT_NAME_BYTES_MAX {
        return wrong("its name is too long");
    }
    if !name.chars().all(in_unit) {
        return wrong("its name has only letters, digits and :_.@-");
    }
    let Some(stem) = UNIT_ENDS.iter().find_map(|end| name.strip_suffix(end)) else {
        return wrong("its name ends in .service, .timer, .socket, .target or alike");
    };
    // hostler-.service would speak for every hostler-*.service.
    if stem.is_empty() || stem.starts_with('.') || stem.ends_with('-') {
        return wrong("it names no one unit");
    }
    Ok(())
}

pub(super) fn path(path: &Path) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("path {:?}: {why}", path.display().to_string()));
    let bytes = path.as_os_str().as_encoded_bytes();
    if !path.is_absolute() {
        return wrong("it is not absolute: begin it with /");
    }
    let plain = path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if !plain || bytes.windows(2).any(|two| two == b"//") || bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        return wrong("write it without .., . and empty parts");
    }
    if path.components().any(|part| part.as_os_str() == ".") || bytes.windows(3).any(|three| three == b"/./") {
        return wrong("write it without .., . and empty parts");
    }
    if bytes.len() > PATH_BYTES_MAX || bytes.iter().any(|byte| byte.is_ascii_control()) {
        return wrong("it is too long, or has control characters in it");
    }
    Ok(())
}

pub(super) fn user(name: &str) -> Result<(), String> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    if first && rest && name.len() <= USER_BYTES_MAX {
        return Ok(());
    }
    Err(format!("user {name:?}: a name begins with a letter and has a-z, 0-9, _ and -; numbers are no names"))
}

fn owner(name: Option<&str>, mode: Option<u32>) -> Result<(), String> {
    name.map_or(Ok(()), user)?;
    match mode.filter(|mode| mode & !0o7777 != 0) {
        Some(mode) => Err(format!("mode {mode:o}: it is at most 7777")),
        None => Ok(()),
    }
}

pub(super) fn signal(name: &str) -> Result<(), String> {
    signals::find(name).map(|_| ()).ok_or_else(|| format!("signal {name:?}: it is one of {}", signals::known()))
}

pub(super) fn no_zero(what: &str, text: &str) -> Result<(), String> {
    if text.contains('\0') { Err(format!("{what}: there is a zero byte in it")) } else { Ok(()) }
}

pub(super) fn within(what: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(format!("{what} {value}: it is {least} to {most}")) }
}

fn command(argv: &[String]) -> Result<(), String> {
    let Some(program) = argv.first() else { return Err("command: it is empty".into()) };
    path(Path::new(program)).map_err(|words| format!("command: {words}"))?;
    argv.iter().try_for_each(|word| no_zero("command", word))?;
    let bytes: usize = argv.iter().map(String::len).sum();
    if bytes > COMMAND_BYTES_MAX {
        return Err(format!("command {program}: {bytes} bytes, and it may have {COMMAND_BYTES_MAX}"));
    }
    Ok(())
}

fn process(process: &Process) -> Result<(), String> {
    command(&process.command)?;
    process.user.as_deref().map_or(Ok(()), user)?;
    process.folder.as_deref().map_or(Ok(()), |folder| path(Path::new(folder)))?;
    path(&process.output)?;
    signal(&process.stop_signal)?;
    within("grace_ms", process.grace_ms, 0, GRACE_MS_MAX)?;
    environment(&process.env)?;
    limits(&process.limits)
}

pub(super) fn environment(env: &BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in env {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("env {name:?}: a name has letters, digits and _, and begins with no digit"));
        }
        no_zero(&format!("env {name}"), value)?;
    }
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    within("bytes of env", bytes as u64, 0, ENV_BYTES_MAX as u64)
}

pub(super) fn limits(limits: &Limits) -> Result<(), String> {
    if let Some(cpu) = limits.cpu.filter(|cpu| !(*cpu >= 0.01 && *cpu <= 4096.0)) {
        return Err(format!("limits.cpu {cpu}: it is 0.01 to 4096 processors"));
    }
    limits
        .memory_bytes
        .map_or(Ok(()), |bytes| within("limits.memory_bytes", bytes, LEAST_MEMORY_BYTES, i64::MAX as u64))?;
    limits.files.map_or(Ok(()), |files| within("limits.files", files, 8, 1 << 20))?;
    limits.processes.map_or(Ok(()), |processes| within("limits.processes", processes, 1, 1 << 22))
}

fn packages(names: &[String]) -> Result<(), String> {
    within("number of packages", names.len() as u64, 1, PACKAGES_MAX as u64)?;
    let plain = |name: &String| {
        name.len() < 100
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
            // apt-get takes a name with one of these behind it as an order.
            && !name.ends_with(['-', '+'])
            || matches!(name.as_str(), "g++")
    };
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(format!("package {name:?}: a name has a-z, 0-9, +, - and .")),
        None => Ok(()),
    }
}
