//! Mounted filesystems and how full they are.
//!
//! A local one answers from memory and is asked in place. A network one can
//! keep its caller waiting for ever: it is asked by a thread that nobody waits
//! for longer than a second, and not again while that thread is stuck.

use super::{SystemError, read_file};
use crate::answer::Filesystem;
use crate::limits;
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One system call on a stack of its own.
const PROBE_STACK_BYTES: usize = 64 << 10;

/// Hold no files of their own, or would be mounted by being looked at (autofs).
const PSEUDO: [&str; 24] = [
    "autofs",
    "bdev",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

fn is_network(fstype: &str) -> bool {
    const NETWORK: [&str; 14] = [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "virtiofs",
    ];
    // fuse, fuse.sshfs, fuseblk: a program of somebody's answers.
    NETWORK.contains(&fstype) || fstype.starts_with("fuse")
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device_number: String,
    /// What part of the filesystem is mounted: `/` unless it is a bind mount.
    root: String,
    point: PathBuf,
    fstype: String,
    source: String,
}

/// Escaped as the kernel does: `\040` is a space.
fn unescape(field: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *byte == b'\\') {
            Some(escaped) => {
                out.push(escaped);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    out
}

fn parse_mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (device_number, root, point) = (before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (fstype, source) = (after.next()?, after.next()?);
    Some(Mount {
        device_number: device_number.to_owned(),
        root: root.to_owned(),
        point: PathBuf::from(std::ffi::OsString::from_vec(unescape(point))),
        fstype: fstype.to_owned(),
        source: String::from_utf8_lossy(&unescape(source)).into_owned(),
    })
}

/// One mount a device: the whole before a part of it, then the shortest path.
/// Of two on the same point the later hides the earlier.
fn choose(mountinfo: &str) -> Vec<Mount> {
    let mut by_point: BTreeMap<PathBuf, Mount> = BTreeMap::new();
    for mount in mountinfo.lines().filter_map(parse_mount) {
        by_point.insert(mount.point.clone(), mount);
    }
    let mut by_device: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in by_point.into_values().filter(|mount| !PSEUDO.contains(&mount.fstype.as_str())) {
        let rank = |one: &Mount| (one.root != "/", one.point.as_os_str().len());
        match by_device.get(&mount.device_number) {
            Some(other) if rank(other) <= rank(&mount) => {}
            _ => {
                by_device.insert(mount.device_number.clone(), mount);
            }
        }
    }
    let mut chosen: Vec<Mount> = by_device.into_values().collect();
    chosen.sort_by(|a, b| a.point.cmp(&b.point));
    chosen.truncate(limits::FILESYSTEMS_MAX);
    chosen
}

fn filled(mount: &Mount, stat: Option<StatVfs>) -> Filesystem {
    let mut one = Filesystem {
        mount: mount.point.to_string_lossy().into_owned(),
        device: mount.source.clone(),
        fstype: mount.fstype.clone(),
        hung: stat.is_none(),
        ..Filesystem::default()
    };
    if let Some(stat) = stat {
        one.total = stat.f_blocks.saturating_mul(stat.f_frsize);
        one.free = stat.f_bfree.saturating_mul(stat.f_frsize);
        one.available = stat.f_bavail.saturating_mul(stat.f_frsize);
        one.inodes = stat.f_files;
        one.inodes_free = stat.f_ffree;
        one.read_only = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
    }
    one
}

/// How a filesystem is asked: the system call, or a test's stand-in.
type Ask = Arc<dyn Fn(&Path) -> rustix::io::Result<StatVfs> + Send + Sync>;

pub(super) struct Prober {
    ask: Ask,
    limit: Duration,
    /// Mounts whose thread has not come back.
    stuck: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Default for Prober {
    fn default() -> Self {
        Prober { ask: Arc::new(|path: &Path| statvfs(path)), limit: limits::FILESYSTEM_PROBE, stuck: Arc::default() }
    }
}

/// What a network filesystem said.
enum Probed {
    Stat(StatVfs),
    Hung,
    Failed,
}

impl Prober {
    pub(super) async fn read(&self) -> Result<Vec<Filesystem>, SystemError> {
        let mounts = choose(&read_file(MOUNTINFO)?);
        Ok(self.probe(mounts).await)
    }

    async fn probe(&self, mounts: Vec<Mount>) -> Vec<Filesystem> {
        let remote = mounts.iter().filter(|mount| is_network(&mount.fstype));
        // All asked at once: one second for all of them together.
        let mut answers: Vec<Probed> =
            futures_util::future::join_all(remote.map(|mount| self.probe_remote(&mount.point))).await;
        answers.reverse();
        let mut found = Vec::with_capacity(mounts.len());
        for mount in &mounts {
            let stat = if is_network(&mount.fstype) {
                match answers.pop() {
                    Some(Probed::Stat(stat)) => Some(stat),
                    Some(Probed::Hung) => None,
                    // Not ours to read, or gone since.
                    Some(Probed::Failed) | None => continue,
                }
            } else {
                match (self.ask)(&mount.point) {
                    Ok(stat) => Some(stat),
                    Err(_) => continue,
                }
            };
            // A container's /etc/hosts is a bind mount of one file.
            let is_part = mount.root != "/" && stat.is_some() && !mount.point.is_dir();
            // Without blocks there is nothing to be full.
            if !is_part && stat.as_ref().is_none_or(|stat| stat.f_blocks > 0) {
                found.push(filled(mount, stat));
            }
        }
        found
    }

    async fn probe_remote(&self, point: &Path) -> Probed {
        {
            let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
            if !stuck.insert(point.to_owned()) {
                return Probed::Hung;
            }
        }
        let (answer, answered) = oneshot::channel();
        let (ask, stuck, path) = (self.ask.clone(), self.stuck.clone(), point.to_owned());
        // Not one of the runtime's threads: those are waited for at its end.
        let thread = std::thread::Builder::new().name("statvfs".to_owned()).stack_size(PROBE_STACK_BYTES);
        let spawned = thread.spawn(move || {
            let stat = ask(&path);
            stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
            let _ = answer.send(stat);
        });
        if spawned.is_err() {
            self.stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(point);
            return Probed::Failed;
        }
        match tokio::time::timeout(self.limit, answered).await {
            Ok(Ok(Ok(stat))) => Probed::Stat(stat),
            Ok(_) => Probed::Failed,
            Err(_elapsed) => Probed::Hung,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const CONTAINER: &str = "\
600 500 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/x
601 600 0:51 / /proc rw - proc proc rw
602 600 8:1 /docker/hosts /etc/hosts rw - ext4 /dev/sda1 rw
603 600 8:1 /docker/volumes/data /var/lib/data rw - ext4 /dev/sda1 rw
604 600 0:52 / /run/my\\040disk rw - tmpfs tmpfs rw
605 600 0:53 / /mnt/old rw - nfs4 server:/old rw
606 600 0:54 / /mnt/old rw - nfs4 server:/new rw
607 600 8:2 / /srv rw - xfs /dev/sda2 rw
608 600 8:2 / /s rw - xfs /dev/sda2 rw
nonsense
";

    #[test]
    fn each_device_once_and_no_pseudo_ones() {
        let chosen: Vec<(String, String)> =
            choose(CONTAINER).into_iter().map(|one| (one.point.to_string_lossy().into_owned(), one.source)).collect();
        let expect = [
            ("/", "overlay"),
            ("/etc/hosts", "/dev/sda1"),
            ("/mnt/old", "server:/new"),
            ("/run/my disk", "tmpfs"),
            ("/s", "/dev/sda2"),
        ];
        assert_eq!(chosen, expect.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[tokio::test]
    async fn this_machine_has_a_root() {
        let list = Prober::default().read().await.expect("mountinfo");
        let root = list.iter().find(|one| one.mount == "/").expect("a root filesystem");
        assert!(root.total > 0 && !root.hung);
        assert!(list.iter().all(|one| one.fstype != "proc"));
    }

    #[tokio::test]
    async fn a_stuck_mount_is_hung_and_asked_once() {
        let asked = Arc::new(AtomicU32::new(0));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let count = asked.clone();
        let ask: Ask = Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = held.lock().expect("one thread").recv();
            statvfs("/")
        });
        let prober = Prober { ask, limit: Duration::from_millis(50), stuck: Arc::default() };
        let line = "1 1 0:9 / / rw - nfs4 server:/x rw";
        let mount = vec![parse_mount(line).expect("a mount")];
        for _ in 0..3 {
            let list = prober.probe(mount.clone()).await;
            assert!(matches!(list.as_slice(), [one] if one.hung && one.total == 0), "{list:?}");
        }
        crate::machine::testing::eventually("it is asked", || asked.load(Ordering::SeqCst) > 0).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Once it answers, it is asked again.
        drop(release);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let list = prober.probe(mount.clone()).await;
            if list.iter().all(|one| !one.hung) {
                assert!(list.iter().all(|one| one.total > 0), "{list:?}");
                return;
            }
            assert!(std::time::Instant::now() < deadline, "still hung: {list:?}");
        }
    }
}
