//! A disk that can lose power: ext4 in a file, mounted through a loop device.
//! Shutting it down without flushing its log leaves on it what was synced, and
//! whatever else had happened to get there.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const EXT4_IOC_SHUTDOWN: u64 = 0x8004_587d;
const NO_LOG_FLUSH: u32 = 2;

pub struct Disk {
    folder: TempDir,
}

/// Under a name that tells whose it is: some are kept.
pub fn fresh_folder() -> TempDir {
    tempfile::Builder::new().prefix("hostler-crash-").tempdir().expect("a folder")
}

fn sh(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("run a program");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Disk {
    pub fn new(size_mib: u32) -> Self {
        let disk = Self { folder: fresh_folder() };
        let image = disk.image().display().to_string();
        sh("truncate", &["-s", &format!("{size_mib}M"), &image]);
        sh("mkfs.ext4", &["-q", "-F", &image]);
        std::fs::create_dir(disk.path()).expect("a mount point");
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn mount(&self) {
        sh("mount", &["-o", "loop", &self.image().display().to_string(), &self.path().display().to_string()]);
    }

    fn unmount(&self) {
        sh("umount", &[&self.path().display().to_string()]);
    }

    /// The power goes, and comes back. Whoever used the disk stands still first, in
    /// the middle of whatever it does, and must be gone before it is mounted again:
    /// kill them in `meanwhile`.
    pub fn power_cut(&self, user: u32, meanwhile: impl FnOnce()) {
        shut_down(&self.path(), user);
        meanwhile();
        self.unmount();
        self.renew_image();
        self.mount();
    }

    /// A new mount namespace anywhere on the machine copies this mount and keeps
    /// the dead file system alive; mounting the same image would find that one.
    fn renew_image(&self) {
        let (image, copy) = (self.image(), self.folder.path().join("copy"));
        sh("cp", &["--sparse=always", &image.display().to_string(), &copy.display().to_string()]);
        std::fs::rename(copy, image).expect("put the copy in place");
    }

    /// Leaves the image behind, unmounted, for somebody to look at.
    pub fn keep(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.image()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// Through python3, which every Debian has and can call ioctl without a line of
/// unsafe code here.
///
/// The process is stopped right before, since a machine without power says nothing
/// any more: while ext4 shuts down, a sync under way may report success although what
/// it wrote can't be reached, and nobody must take that for an acknowledgement.
fn shut_down(mount: &Path, user: u32) {
    let script = format!(
        "import fcntl, os, signal, struct\nfd = os.open({:?}, os.O_RDONLY)\nos.kill({user}, signal.SIGSTOP)\nfcntl.ioctl(fd, {EXT4_IOC_SHUTDOWN}, struct.pack('I', {NO_LOG_FLUSH}))",
        mount.display().to_string()
    );
    sh("python3", &["-c", &script]);
}
