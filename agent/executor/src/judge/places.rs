//! What no profile, or none but `full`, may touch.

use std::path::{Component, Path};

/// Hostler's own state, keys and programs; `*` at the end of a part.
const OWN: [&str; 9] = [
    "/etc/hostler",
    "/var/lib/hostler*",
    "/run/hostler*",
    "/usr/bin/hostler*",
    "/usr/lib/systemd/system/hostler-agent.service*",
    "/lib/systemd/system/hostler-agent.service*",
    "/etc/systemd/system/hostler-agent.service*",
    "/etc/systemd/system/hostler-control-plane.service*",
    "/etc/systemd/system/hostler-executor.service*",
];

/// Where whoever writes becomes root, or reads what only root may.
const SYSTEM: [&str; 47] = [
    "/etc/sudoers*",
    "/etc/shadow*",
    "/etc/gshadow*",
    "/etc/passwd*",
    "/etc/group*",
    "/etc/subuid*",
    "/etc/subgid*",
    "/etc/pam*",
    "/etc/security",
    "/etc/ssh",
    "/etc/ld.so*",
    "/etc/cron*",
    "/etc/anacrontab",
    "/etc/systemd",
    "/etc/init*",
    "/etc/rc*",
    "/etc/udev",
    "/etc/dbus-1",
    "/etc/polkit-1",
    "/etc/profile*",
    "/etc/bash*",
    "/etc/environment",
    "/etc/apt",
    "/etc/dpkg",
    "/etc/modprobe*",
    "/etc/modules*",
    "/etc/sysctl*",
    "/etc/fstab",
    "/etc/nsswitch.conf",
    "/etc/logrotate*",
    "/etc/tmpfiles.d",
    "/etc/kernel",
    "/root",
    "/usr",
    "/bin",
    "/sbin",
    "/lib*",
    "/boot",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/var/spool/cron",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/lib/dbus",
];

pub(super) fn own_path(path: &Path) -> Option<&'static str> {
    OWN.into_iter().find(|place| below(place, path))
}

pub(super) fn system_path(path: &Path) -> Option<&'static str> {
    // A local place for programs is the administrator's, as /opt is.
    if path.components().any(|part| part.as_os_str() == ".ssh") {
        return Some(".ssh");
    }
    SYSTEM.into_iter().find(|place| below(place, path))
}

/// The unit whose file it is, or the drop-in's.
pub(super) fn of_unit(path: &Path) -> Option<&str> {
    let mut parts = path.strip_prefix("/etc/systemd/system").ok()?.components();
    let (Component::Normal(first), second, None) = (parts.next()?, parts.next(), parts.next()) else { return None };
    let first = first.to_str()?;
    match second {
        None => Some(first),
        Some(_) => first.strip_suffix(".d"),
    }
}

/// Whether something protected lies in the folder: `/`, `/etc`, `/var/lib`.
pub(super) fn holds_protected(folder: &Path) -> bool {
    let places = || OWN.iter().chain(&SYSTEM).map(Path::new);
    places().any(|place| place.ancestors().skip(1).any(|above| above == folder))
        || ["/home", "/opt", "/srv", "/tmp", "/var/tmp", "/var/log", "/var/spool", "/var/cache", "/mnt", "/media"]
            .iter()
            .any(|place| Path::new(place) == folder)
}

fn below(place: &str, path: &Path) -> bool {
    let mut parts = path.components();
    Path::new(place).components().all(|expected| match (expected, parts.next()) {
        (Component::Normal(expected), Some(Component::Normal(found))) => {
            let (expected, found) = (expected.to_string_lossy(), found.to_string_lossy());
            match expected.strip_suffix('*') {
                Some(head) => found.starts_with(head),
                None => found == expected,
            }
        }
        (expected, found) => Some(expected) == found,
    })
}

/// Who is in one of these is root in a moment, or reads what only root may.
const GROUPS: [&str; 16] = [
    "root",
    "sudo",
    "wheel",
    "admin",
    "disk",
    "shadow",
    "kmem",
    "docker",
    "podman",
    "lxd",
    "incus",
    "incus-admin",
    "libvirt",
    "staff",
    "sys",
    "hostler",
];

pub(super) fn is_strong_group(group: &str) -> bool {
    GROUPS.contains(&group)
}

/// What tells whether the configuration of a well-known service is right, and how it is
/// told to do that alone. As root they have no more power over a host than the services
/// themselves, which are restarted with that configuration.
const CHECKERS: [&[&str]; 8] = [
    &["nginx", "-t"],
    &["haproxy", "-c"],
    &["apachectl", "configtest"],
    &["apachectl", "-t"],
    &["apache2ctl", "configtest"],
    &["apache2ctl", "-t"],
    &["named-checkconf"],
    &["promtool", "check"],
];
/// Where only the system's packages and its administrator put programs.
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

pub(super) fn is_checker(command: &[String]) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let Some((folder, name)) = program.rsplit_once('/') else { return false };
    PROGRAM_FOLDERS.contains(&folder)
        && CHECKERS.iter().any(|checker| {
            let begin = arguments.iter().take(checker.len() - 1).map(String::as_str);
            std::iter::once(name).chain(begin).eq(checker.iter().copied())
        })
}

pub(super) fn checkers() -> String {
    CHECKERS.map(|words| words.join(" ")).join(", ")
}

pub(crate) fn own_unit(unit: &str) -> bool {
    ["hostler-agent", "hostler-control-plane", "hostler-executor"]
        .iter()
        .any(|own| unit.strip_prefix(own).is_some_and(|rest| rest.starts_with(['.', '@'])))
        || unit == "hostler.slice"
}

/// What a host can't do without; `None` for everything else.
pub(super) fn system_unit(unit: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 14] = [
        ("systemd-", "systemd's own units"),
        ("dbus", "the system's bus"),
        ("ssh", "the way in for people"),
        ("init", "the init system"),
        ("user@", "people's sessions"),
        ("user-", "people's sessions"),
        ("getty", "the way in for people"),
        ("serial-getty", "the way in for people"),
        ("console-getty", "the way in for people"),
        ("rescue", "the rescue system"),
        ("emergency", "the rescue system"),
        ("polkit", "the system's own rights"),
        ("sudo", "the system's own rights"),
        ("-", "the system's own units"),
    ];
    // hostler-shop.target is a service's own way to group; reboot.target is not.
    let services = [".service", ".timer", ".socket", ".path"].iter().any(|end| unit.ends_with(end));
    let ours = unit.starts_with("hostler-") && unit.ends_with(".target");
    NAMES
        .iter()
        .find(|(head, _)| unit.starts_with(head))
        .map(|(_, kind)| *kind)
        .or_else(|| (!services && !ours).then_some("the system's states, mounts and slices"))
}
