//! Containers: only what is called `hostler-SERVICE-REPLICA`, of images and with
//! folders that the policy lets it have. What would make one more than a process (the
//! host's processes, devices, further rights) can't be asked for at all.

use super::{listed, names, path_of, places, profile};
use crate::policy::{FILE, Policy};
use crate::protocol::Container;
use hostler_types::Policy as Profile;

/// A service's name, with room for what is around it.
const NAME_BYTES_MAX: usize = 100;
/// A registry's name, a path of the length that registries allow, and a digest.
const IMAGE_BYTES_MAX: usize = 512;
const MOUNTS_MAX: u64 = 100;
/// One begins anew too often below, and fills a disk above.
const LOG_BYTES: (u64, u64) = (4 * 1024, 1 << 40);
const LOG_FILES_MAX: u64 = 10_001;
const MADE_FROM_BYTES_MAX: usize = 64;

pub(super) fn touch(policy: &Policy, name: &str) -> Result<(), String> {
    // A list of units says which services there may be, whatever runs them.
    listed("container", &format!("{name}.service"), "units", policy.units.as_ref())
}

pub(super) fn run(policy: &Policy, container: &Container) -> Result<(), String> {
    image(policy, &container.image)?;
    if let Some(user) = &container.user {
        listed("user", user, "users", policy.users.as_ref())?;
    }
    for path in &container.mounts {
        if places::holds_protected(path) {
            return Err(format!("folder {}: it is the system's own, and no container is given it", path.display()));
        }
        path_of(policy, path)?;
    }
    Ok(())
}

pub(super) fn image(policy: &Policy, image: &str) -> Result<(), String> {
    match (&policy.images, &policy.commands) {
        // Whoever lists what may run does not mean whatever an image holds.
        (None, Some(commands)) if policy.profile != Profile::Full => Err(format!(
            "image {image}: commands (line {} of {FILE}) say what runs on this host, and {} takes no image beside \
             them; images = [\"{image}\"] would allow it",
            commands.line,
            profile(policy)
        )),
        (images, _) => listed("image", image, "images", images.as_ref()),
    }
}

pub(super) fn name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let parts = name.strip_prefix("hostler-").and_then(|rest| rest.rsplit_once('-'));
    let well = parts.is_some_and(|(service, replica)| {
        service.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !replica.is_empty()
            && replica.chars().all(|c| c.is_ascii_digit())
    });
    if well && name.len() <= NAME_BYTES_MAX && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!("container {name:?}: only what is called hostler-SERVICE-REPLICA is touched"))
}

pub(super) fn image_name(image: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | ':' | '@' | '_' | '-');
    let well = image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.ends_with(|c: char| c.is_ascii_alphanumeric())
        && image.chars().all(plain)
        && !image.contains("..")
        && !image.contains("//");
    if well && image.len() <= IMAGE_BYTES_MAX {
        return Ok(());
    }
    Err(format!("image {image:?}: write it like registry.example.com/shop:1.2 or nginx@sha256:..."))
}

pub(super) fn well_formed(container: &Container) -> Result<(), String> {
    image_name(&container.image)?;
    container.command.iter().try_for_each(|word| names::no_zero("command", word))?;
    let bytes: usize = container.command.iter().map(String::len).sum();
    names::within("bytes of command", bytes as u64, 0, names::COMMAND_BYTES_MAX as u64)?;
    container.user.as_deref().map_or(Ok(()), user)?;
    container.folder.as_deref().map_or(Ok(()), |folder| names::path(folder.as_ref()))?;
    names::environment(&container.env)?;
    names::limits(&container.limits)?;
    names::within("number of mounts", container.mounts.len() as u64, 0, MOUNTS_MAX)?;
    container.mounts.iter().try_for_each(|path| names::path(path))?;
    names::within("log_bytes_max", container.log_bytes_max, LOG_BYTES.0, LOG_BYTES.1)?;
    names::within("log_files_max", u64::from(container.log_files_max), 1, LOG_FILES_MAX)?;
    names::signal(&container.stop_signal)?;
    names::within("grace_ms", container.grace_ms, 0, names::GRACE_MS_MAX)?;
    let made = &container.made_from;
    if made.len() > MADE_FROM_BYTES_MAX || !made.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("made_from {made:?}: it is at most {MADE_FROM_BYTES_MAX} letters and digits"));
    }
    Ok(())
}

/// Of this host by its name, or any by its number.
fn user(text: &str) -> Result<(), String> {
    let number = |part: &str| part.parse::<u32>().is_ok() && part.chars().all(|c| c.is_ascii_digit());
    let numbers = match text.split_once(':') {
        Some((user, group)) => number(user) && number(group),
        None => number(text),
    };
    if numbers { Ok(()) } else { names::user(text) }
}

#[cfg(test)]
pub(super) mod tests;
