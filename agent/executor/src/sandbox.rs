//! A view of the host's files in which all but a few folders is read-only, as
//! systemd's `ProtectSystem=strict` and `PrivateTmp=` make it. Where the kernel, or a
//! container, does not let it be made, users' rights alone protect the files.

use rustix::mount::{MountFlags, MountPropagationFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel's own, where rights are its own as well.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// Room for what libraries write there; the agent itself writes nothing.
const TEMPORARY_OPTIONS: &std::ffi::CStr = c"mode=1777,size=16m";

/// For this process and all that it becomes.
pub fn read_only_but(writable: &[PathBuf]) -> Result<(), String> {
    let failed = |verb: &'static str| move |error: rustix::io::Errno| format!("{verb}: {error}");
    apart().map_err(failed("make a mount namespace"))?;
    let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", down).map_err(failed("keep mounts to itself"))?;
    let writable: Vec<PathBuf> = writable.iter().filter_map(|path| path.canonicalize().ok()).collect();
    for folder in &writable {
        rustix::mount::mount_bind_recursive(folder, folder).map_err(failed("keep a folder writable"))?;
    }
    for folder in TEMPORARY.map(Path::new) {
        // A state folder of a test lies there.
        if folder.is_dir() && !writable.iter().any(|path| path.starts_with(folder)) {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount("tmpfs", folder, "tmpfs", flags, TEMPORARY_OPTIONS).map_err(failed("make a /tmp"))?;
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("list mounts: {error}"))?;
    for (place, flags) in mounts.lines().filter_map(mounted) {
        let stays = |folder: &Path| place.starts_with(folder);
        let kept = writable.iter().any(|folder| stays(folder))
            || KERNEL.iter().chain(&TEMPORARY).any(|folder| stays(Path::new(folder)) && place != Path::new("/"));
        if !kept {
            // One that lies under another can't be reached, by anybody.
            let _ = rustix::mount::mount_remount(&place, MountFlags::BIND | MountFlags::RDONLY | flags, "");
        }
    }
    Ok(())
}

#[allow(unsafe_code, reason = "the kernel's own call; its safe name is deprecated")]
fn apart() -> rustix::io::Result<()> {
    // SAFETY: only the view of mounts is made anew; descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
}

/// Where a line of mountinfo says that something is mounted, and how.
fn mounted(line: &str) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(' ').skip(4);
    let (place, options) = (fields.next()?, fields.next()?);
    let flags = options.split(',').fold(MountFlags::empty(), |flags, option| {
        flags
            | match option {
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
    });
    Some((unescaped(place).into(), flags))
}

fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_and_how() {
        let line = "36 35 98:0 /mnt1 /mnt\\040two rw,noatime,nosuid master:1 - ext3 /dev/root rw,errors=continue";
        let expected = (PathBuf::from("/mnt two"), MountFlags::NOATIME | MountFlags::NOSUID);
        assert_eq!(mounted(line), Some(expected));
        assert_eq!(mounted("36 35"), None);
    }
}
