//! A container engine of a test's own, with one image that holds a shell.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const IMAGE: &str = "tiny:1";
/// It begins within a second or two, on a machine that does nothing else.
const SOON: Duration = Duration::from_secs(30);
const TOOLS: [&str; 8] = ["cat", "echo", "env", "id", "kill", "ls", "sh", "sleep"];

pub struct Dockerd {
    folder: TempDir,
    child: Option<Child>,
}

impl Dockerd {
    /// Not started.
    pub fn new() -> Self {
        for needed in ["/usr/sbin/dockerd", "/bin/busybox", "/usr/bin/curl"] {
            assert!(Path::new(needed).exists(), "{needed} is not here: apt-get install docker.io busybox-static curl");
        }
        Self { folder: tempfile::tempdir().unwrap(), child: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.path("sock").display())
    }

    pub fn start(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut command = Command::new("/usr/sbin/dockerd");
        command.arg("--host").arg(self.host()).arg("--data-root").arg(self.path("data"));
        command.arg("--exec-root").arg(self.path("exec")).arg("--pidfile").arg(self.path("pid"));
        command.args(["--bridge", "none", "--iptables=false"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let began = Instant::now();
        while self.curl(&["http://engine/_ping"]).is_none_or(|said| said != "OK") {
            let lives = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            let log = || fs::read_to_string(self.path("log")).unwrap();
            assert!(lives, "dockerd ended: {}", log());
            assert!(began.elapsed() < SOON, "dockerd does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.import(IMAGE, "");
    }

    /// Another image of the same, changed as a line of a Dockerfile says.
    pub fn import(&self, image: &str, change: &str) {
        let root = self.path("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for tool in TOOLS {
            let _ = symlink("busybox", root.join("bin").join(tool));
        }
        let archive = self.path("root.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status();
        assert!(packed.unwrap().success());
        let (name, tag) = image.split_once(':').unwrap();
        let change = if change.is_empty() { String::new() } else { format!("&changes={}", change.replace(' ', "%20")) };
        let url = format!("http://engine/images/create?fromSrc=-&repo={name}&tag={tag}{change}");
        let body = format!("@{}", archive.display());
        let said = self.curl(&["-H", "Content-Type: application/x-tar", "--data-binary", &body, &url]);
        assert!(said.as_ref().is_some_and(|said| said.contains("sha256:")), "{said:?}");
    }

    /// What the engine answers, if it does.
    pub fn curl(&self, arguments: &[&str]) -> Option<String> {
        let ran = Command::new("curl").args(["-sS", "--unix-socket"]).arg(self.path("sock")).args(arguments).output();
        let ran = ran.unwrap();
        ran.status.success().then(|| String::from_utf8(ran.stdout).unwrap())
    }
}

impl Dockerd {
    /// What it runs ends with it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- dockerd ---\n{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}
