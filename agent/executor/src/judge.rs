//! Whether a request is carried out, decided from the request, the policy and the
//! time alone. Whatever is refused says which rule, which value, which line of the
//! policy, and what would allow it.
//!
//! What it can't know is the shell's: that no symlink leads around a path
//! (`files.rs`), that a user is not root by its number (`account.rs`), and that a unit
//! is ours to write (`units.rs`).

use crate::policy::{FILE, Listed, Policy};
use crate::protocol::{Act, EXPIRY_MS_MAX, Process, Request};
use hostler_types::Policy as Profile;
use std::path::Path;

pub(crate) use places::own_unit;

mod containers;
mod names;
mod places;
mod text;

/// What prints a file, on the hosts there are.
const CAT: [&str; 2] = ["/usr/bin/cat", "/bin/cat"];

#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub rule: &'static str,
    pub words: String,
}

/// What the executor remembers of the requests before.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub last_id: u64,
    pub now_ms: u64,
}

pub fn judge(policy: &Policy, request: &Request, seen: Seen) -> Result<(), Refusal> {
    fresh(request, seen)?;
    names::well_formed(&request.act).map_err(|words| Refusal { rule: "malformed", words })?;
    allowed(policy, &request.act).map_err(|words| Refusal { rule: "policy", words })
}

fn fresh(request: &Request, seen: Seen) -> Result<(), Refusal> {
    let (until, now) = (request.expires_at_ms, seen.now_ms);
    if request.id <= seen.last_id {
        let words = format!("request {} comes after {}: ids rise, and nothing is done twice", request.id, seen.last_id);
        return Err(Refusal { rule: "replayed", words });
    }
    if until <= now {
        let words = format!("request {} was good until {until} ms and it is {now}: ask anew", request.id);
        return Err(Refusal { rule: "expired", words });
    }
    if until - now > EXPIRY_MS_MAX {
        let ahead = until - now;
        let words = format!(
            "request {} is good for {ahead} ms, and may be for {EXPIRY_MS_MAX}: let it expire earlier",
            request.id
        );
        return Err(Refusal { rule: "expired", words });
    }
    Ok(())
}

/// By the policy; the request is well formed.
pub fn allowed(policy: &Policy, act: &Act) -> Result<(), String> {
    if policy.profile == Profile::Watch && !act.only_looks() {
        return Err(format!(
            "{}: {} changes nothing on this host; profile = \"operate\" in {FILE} would allow it",
            verb(act),
            profile(policy)
        ));
    }
    match act {
        Act::Inspect { .. } | Act::List | Act::Open { .. } | Act::Listener { .. } | Act::Policy => Ok(()),
        // What it may do beyond that, its grants say.
        Act::LetPlugin { .. } => Ok(()),
        Act::Tail { unit, .. } => listed("unit", unit, "units", policy.units.as_ref()),
        Act::StartProcess { unit, process } => {
            touch_unit(policy, unit)?;
            run_process(policy, process)
        }
        Act::Start { unit }
        | Act::Stop { unit }
        | Act::Restart { unit }
        | Act::Reload { unit }
        | Act::ResetFailed { unit }
        | Act::RemoveUnit { unit }
        | Act::Kill { unit, .. } => touch_unit(policy, unit),
        Act::WriteUnit { unit, text, .. } => {
            touch_unit(policy, unit)?;
            text::unit(policy, unit, text)
        }
        Act::DropIn { unit, text, .. } => {
            touch_unit(policy, unit)?;
            text::drop_in(policy, unit, text.as_deref().unwrap_or_default())
        }
        Act::PutFile { path, owner, mode, validate, user, .. } => {
            path_of(policy, path)?;
            owned(policy, path, owner.as_deref(), *mode)?;
            validate.as_deref().map_or(Ok(()), |command| check_file(policy, command, user.as_deref()))
        }
        Act::LookAtFiles { files } => files.iter().try_for_each(|one| match places::of_unit(&one.path) {
            // Anybody may read those.
            Some(unit) => touch_unit(policy, unit),
            None => path_of(policy, &one.path),
        }),
        Act::MakeFolder { path, owner, mode } => {
            path_of(policy, path)?;
            if places::holds_protected(path) {
                return Err(format!("folder {}: it is the system's own, and never made or changed", path.display()));
            }
            owned(policy, path, owner.as_deref(), *mode)
        }
        Act::MakeUser { name, home, groups } => {
            listed("user", name, "users", policy.users.as_ref())?;
            groups.iter().try_for_each(|group| join(policy, group))?;
            home.as_deref().map_or(Ok(()), |home| path_of(policy, home))
        }
        Act::InstallPackages { names } => {
            names.iter().try_for_each(|name| listed("package", name, "packages", policy.packages.as_ref()))
        }
        // Whatever is installed may become another.
        Act::UpgradePackages { output, .. } => {
            listed("package", "*", "packages", policy.packages.as_ref())?;
            path_of(policy, output)
        }
        Act::TryFirewall { .. } | Act::KeepFirewall => {
            listed("command", crate::firewall::NFT, "commands", policy.commands.as_ref())
        }
        Act::Reboot => Ok(()),
        Act::RotateOutput { path, .. } | Act::RemoveOutput { path } => path_of(policy, path),
        Act::TakeFile { path, within, user, free, copy, .. } => {
            user.as_deref().map_or(Ok(()), |user| run_as(policy, user))?;
            path_of(policy, copy)?;
            match within {
                Some(folder) => path_of(policy, folder),
                None => print_out(policy, path, *free),
            }
        }
        Act::InspectContainer { .. } => Ok(()),
        Act::StartContainer { name, container } => {
            containers::touch(policy, name)?;
            containers::run(policy, container)
        }
        Act::StopContainer { name, .. } | Act::KillContainer { name, .. } | Act::ContainerTail { name, .. } => {
            containers::touch(policy, name)
        }
        Act::PullImage { image } => containers::image(policy, image),
    }
}

fn run_process(policy: &Policy, process: &Process) -> Result<(), String> {
    if let Some(user) = &process.user {
        run_as(policy, user)?;
    }
    let program = process.command.first().map_or("", String::as_str);
    if process.free && policy.commands.is_none() && policy.profile != Profile::Full {
        return Err(format!(
            "command {program}: {} refuses free commands, which stand in no spec; commands = [\"{program}\"] or profile = \"full\" in {FILE} would allow it",
            profile(policy)
        ));
    }
    listed("command", program, "commands", policy.commands.as_ref())?;
    path_of(policy, &process.output)
}

/// Whoever may run any program could print the file; who may run some, if `cat` is one.
fn print_out(policy: &Policy, path: &Path, free: bool) -> Result<(), String> {
    let text = path.display();
    if let Some(own) = places::own_path(path) {
        return Err(format!("path {text}: {own} is Hostler's own: nothing in {FILE} would allow it"));
    }
    match &policy.commands {
        Some(commands) if CAT.iter().any(|cat| commands.has(cat)) => Ok(()),
        Some(commands) => Err(format!(
            "path {text}: {} is not in commands (line {} of {FILE}), and to fetch a file from outside of the \
             command's own folder takes as much; added there, it would be allowed",
            CAT[0], commands.line
        )),
        None if free && policy.profile != Profile::Full => {
            Err(format!("path {text}: {} refuses free commands, and what they fetch", profile(policy)))
        }
        None => Ok(()),
    }
}

/// In `operate` nothing is root unless it is listed.
fn run_as(policy: &Policy, user: &str) -> Result<(), String> {
    let root = policy.roots.iter().any(|root| root == user);
    if root && policy.users.is_none() && policy.profile != Profile::Full {
        return Err(format!(
            "user {user}: {} starts nothing as root; users = [\"{user}\"] or profile = \"full\" in {FILE} would allow it",
            profile(policy)
        ));
    }
    listed("user", user, "users", policy.users.as_ref())
}

fn join(policy: &Policy, group: &str) -> Result<(), String> {
    if policy.profile != Profile::Full && places::is_strong_group(group) {
        return Err(format!(
            "group {group}: {} puts nobody into what is as good as root; profile = \"full\" in {FILE} would allow it",
            profile(policy)
        ));
    }
    Ok(())
}

fn owned(policy: &Policy, path: &Path, owner: Option<&str>, mode: Option<u32>) -> Result<(), String> {
    if let Some(mode) = mode.filter(|mode| mode & !0o777 != 0 && policy.profile != Profile::Full) {
        return Err(format!(
            "mode {mode:04o} of {}: {} gives no file the rights of its owner (set-uid, set-gid); profile = \"full\" in {FILE} would allow it",
            path.display(),
            profile(policy)
        ));
    }
    // Whoever owns a file is no question of who may run what: root is the usual one.
    owner
        .filter(|owner| !policy.roots.iter().any(|root| root == owner))
        .map_or(Ok(()), |owner| listed("owner", owner, "users", policy.users.as_ref()))
}

/// Without a user of its own it runs as root, on what the control plane sent: so it
/// must be known.
fn check_file(policy: &Policy, command: &[String], user: Option<&str>) -> Result<(), String> {
    let program = command.first().map_or("", String::as_str);
    match user {
        Some(user) => run_as(policy, user)?,
        None if policy.commands.is_none() && policy.profile != Profile::Full && !places::is_checker(command) => {
            return Err(format!(
                "command {program}: {} checks files as root by {} alone; commands = [\"{program}\"] or profile = \"full\" in {FILE} would allow it",
                profile(policy),
                places::checkers()
            ));
        }
        None => {}
    }
    listed("command", program, "commands", policy.commands.as_ref())
}

fn touch_unit(policy: &Policy, unit: &str) -> Result<(), String> {
    if own_unit(unit) {
        return Err(format!("unit {unit} is Hostler's own: nothing in {FILE} would allow it"));
    }
    if policy.profile != Profile::Full
        && let Some(kind) = places::system_unit(unit)
    {
        return Err(format!(
            "unit {unit}: {} leaves {kind} alone; profile = \"full\" in {FILE} would allow it",
            profile(policy)
        ));
    }
    listed("unit", unit, "units", policy.units.as_ref())
}

fn path_of(policy: &Policy, path: &Path) -> Result<(), String> {
    let text = path.display();
    if let Some(own) = places::own_path(path) {
        return Err(format!("path {text}: {own} is Hostler's own: nothing in {FILE} would allow it"));
    }
    if policy.profile != Profile::Full
        && let Some(place) = places::system_path(path)
    {
        return Err(format!(
            "path {text}: {} leaves {place} alone; profile = \"full\" in {FILE} would allow it",
            profile(policy)
        ));
    }
    listed("path", &path.to_string_lossy(), "paths", policy.paths.as_ref())
}

/// A list that is there narrows.
fn listed(what: &str, value: &str, list: &str, patterns: Option<&Listed>) -> Result<(), String> {
    match patterns {
        Some(patterns) if !patterns.has(value) => Err(format!(
            "{what} {value} is not in {list} (line {} of {FILE}); added there, it would be allowed",
            patterns.line
        )),
        _ => Ok(()),
    }
}

fn profile(policy: &Policy) -> String {
    format!("profile {} ({})", policy.profile, policy.said_by)
}

pub fn verb(act: &Act) -> &'static str {
    match act {
        Act::StartProcess { .. } => "start_process",
        Act::Start { .. } => "start",
        Act::Stop { .. } => "stop",
        Act::Restart { .. } => "restart",
        Act::Reload { .. } => "reload",
        Act::ResetFailed { .. } => "reset_failed",
        Act::Kill { .. } => "kill",
        Act::WriteUnit { .. } => "write_unit",
        Act::RemoveUnit { .. } => "remove_unit",
        Act::DropIn { .. } => "drop_in",
        Act::PutFile { .. } => "put_file",
        Act::LookAtFiles { .. } => "look_at_files",
        Act::MakeFolder { .. } => "make_folder",
        Act::MakeUser { .. } => "make_user",
        Act::InstallPackages { .. } => "install_packages",
        Act::UpgradePackages { .. } => "upgrade_packages",
        Act::TryFirewall { .. } => "try_firewall",
        Act::KeepFirewall => "keep_firewall",
        Act::Reboot => "reboot",
        Act::RemoveOutput { .. } => "remove_output",
        Act::TakeFile { .. } => "take_file",
        Act::Tail { .. } => "tail",
        Act::RotateOutput { .. } => "rotate_output",
        Act::Inspect { .. } => "inspect",
        Act::List => "list",
        Act::Open { .. } => "open",
        Act::Listener { .. } => "listener",
        Act::Policy => "policy",
        Act::LetPlugin { .. } => "let_plugin",
        Act::StartContainer { .. } => "start_container",
        Act::StopContainer { .. } => "stop_container",
        Act::KillContainer { .. } => "kill_container",
        Act::InspectContainer { .. } => "inspect_container",
        Act::ContainerTail { .. } => "container_tail",
        Act::PullImage { .. } => "pull_image",
    }
}

#[cfg(test)]
mod tests;
