//! The lab's hosts: booted Debians with their own systemd, from `deploy/lab/lab`.

use crate::control_plane::{Ran, run};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Hosts {
    script: PathBuf,
    folder: PathBuf,
    net: String,
    name: String,
}

impl Hosts {
    /// Boots so many; packages are comma-separated. A fleet of its own, so that
    /// one that somebody works with stays untouched.
    pub fn up(count: usize, packages: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
        // Two who test on one machine say other ones.
        let said = |key: &str, default: &str| std::env::var(key).unwrap_or_else(|_| default.to_owned());
        let folder = PathBuf::from(said("LAB_DIR", "/var/tmp/hostler-lab-tests"));
        let hosts = Self { script, folder, net: said("LAB_NET", "10.78.0"), name: said("LAB_NS", "hostler-test") };
        let ran = hosts.lab(&["down"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let ran = hosts.lab(&["up", &count.to_string(), "--with", packages]);
        assert_eq!(ran.code, Some(0), "boot the lab: {ran:#?}");
        hosts
    }

    pub fn lab(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(&self.script);
        command.args(args).env("LAB_DIR", &self.folder).env("LAB_NS", &self.name).env("LAB_NET", &self.net);
        run(&mut command)
    }

    pub fn exec(&self, host: &str, script: &str) -> Ran {
        self.lab(&["exec", host, "sh", "-c", script])
    }

    pub fn exec_ok(&self, host: &str, script: &str) -> String {
        let ran = self.exec(host, script);
        assert_eq!(ran.code, Some(0), "on {host}: {script}: {ran:#?}");
        ran.out
    }

    pub fn put(&self, host: &str, from: &Path, to: &str) {
        let ran = self.lab(&["put", host, &from.display().to_string(), to]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    }

    pub fn address(&self, host: &str) -> String {
        let index: usize = host.trim_start_matches('h').parse().expect("a host like h1");
        format!("{}.{}", self.net, 10 + index)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = self.lab(&["down"]);
    }
}
