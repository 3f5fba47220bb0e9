//! Whether something on this host waits for a reboot.

use crate::host;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Here a system says that something does, and what.
const REQUIRED: &str = "/run/reboot-required";
const ASKED_BY: &str = "/run/reboot-required.pkgs";
/// The newest kernel, as Debian and Ubuntu name it.
const KERNELS: [&str; 2] = ["/vmlinuz", "/boot/vmlinuz"];
/// More names say no more.
const NAMED_MAX: usize = 5;

/// The kernel that the next boot takes.
#[derive(Clone, Debug)]
struct Kernel {
    version: String,
    /// Since when it is that one.
    since: SystemTime,
}

/// Why, if it does.
pub fn needed() -> Option<String> {
    if Path::new(REQUIRED).exists() {
        return Some(asked(&fs::read_to_string(ASKED_BY).unwrap_or_default()));
    }
    // Its kernel is another's.
    if host::is_container() {
        return None;
    }
    let running = rustix::system::uname();
    newer(&kernel()?, &running.release().to_string_lossy(), booted()?)
}

/// `for curl, libc6`, each of them once.
fn asked(packages: &str) -> String {
    let names: BTreeSet<&str> = packages.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let named: Vec<&str> = names.iter().take(NAMED_MAX).copied().collect();
    match (named.as_slice(), names.len() - named.len()) {
        ([], _) => format!("{REQUIRED} is there"),
        (named, 0) => format!("for {}", named.join(", ")),
        (named, more) => format!("for {}, and {more} more", named.join(", ")),
    }
}

/// One that was there at the last boot is not taken by the next one either.
fn newer(kernel: &Kernel, running: &str, booted: SystemTime) -> Option<String> {
    let other = kernel.version != running && kernel.since > booted;
    other.then(|| format!("for the kernel {} after {running}", kernel.version))
}

fn kernel() -> Option<Kernel> {
    KERNELS.iter().find_map(|path| {
        let to = fs::read_link(path).ok()?;
        let version = to.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        let since = fs::symlink_metadata(path).ok()?.modified().ok()?;
        Some(Kernel { version, since })
    })
}

fn booted() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_it_is_named_once() {
        assert_eq!(asked("libc6\nlinux-base\nlibc6\n"), "for libc6, linux-base");
        assert_eq!(asked("\n"), "/run/reboot-required is there");
        assert_eq!(asked("a\nb\nc\nd\ne\nf\n"), "for a, b, c, d, e, and 1 more");
    }

    #[test]
    fn a_kernel_is_newer_when_it_came_since_the_boot() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let kernel = |version: &str, since| Kernel { version: version.to_owned(), since: at(since) };
        let why = newer(&kernel("6.1.0-20-amd64", 20), "6.1.0-18-amd64", at(10));
        assert_eq!(why.as_deref(), Some("for the kernel 6.1.0-20-amd64 after 6.1.0-18-amd64"));
        assert_eq!(newer(&kernel("6.1.0-18-amd64", 20), "6.1.0-18-amd64", at(10)), None);
        // Whoever boots an older one on purpose is not rebooted each time.
        assert_eq!(newer(&kernel("6.1.0-20-amd64", 5), "6.1.0-18-amd64", at(10)), None);
    }
}
