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
