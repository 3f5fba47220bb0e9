//! Where things are, and how they are built.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
    /// Programs that come before those of PATH.
    tools: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Profile {
    Dev,
    Release,
}

/// The programs of one build.
pub struct Programs {
    pub control_plane: PathBuf,
    pub agent: PathBuf,
    pub executor: PathBuf,
    pub ctl: PathBuf,
    pub plugin_tool: PathBuf,
}

/// What a build did.
pub struct Built {
    pub crates: usize,
    pub took: Duration,
    /// Something was compiled: the next build is quicker.
    pub anew: bool,
}

/// Without a terminal there is no bar of cargo's: a line this often shows life.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

impl Workspace {
    pub fn find() -> Result<Self> {
        // xtask sits at deploy/xtask; cargo says where, at a run as at a build.
        let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let here = Path::new(&here);
        let root = here.ancestors().nth(2).context("find the root of the source")?.to_owned();
        if !root.join("Cargo.toml").is_file() {
            bail!(
                "{} holds no Cargo.toml: was the source moved? Run `cargo xtask` again to rebuild it",
                root.display()
            );
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root, target, tools: None })
    }

    pub fn programs(&self, profile: Profile) -> Programs {
        let folder = self.target.join(match profile {
            Profile::Dev => "debug",
            Profile::Release => "release",
        });
        Programs {
            control_plane: folder.join("hostler-control-plane"),
            agent: folder.join("hostler-agent"),
            executor: folder.join("hostler-executor"),
            ctl: folder.join("hostlerctl"),
            plugin_tool: match profile {
                Profile::Dev => crate::plugins::tool_path(&self.root),
                Profile::Release => self.root.join("target/release/hostler-plugin"),
            },
        }
    }

    /// With the compilers that authors of plugins have.
    pub fn with_authors_tools(&self) -> Self {
        let tools = crate::packages::authors_tools(&self.target);
        Self { root: self.root.clone(), target: self.target.clone(), tools }
    }

    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("PATH", self.path());
        cargo
    }

    /// Where programs are looked for.
    pub fn path(&self) -> OsString {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.tools.iter().cloned().chain(std::env::split_paths(&old));
        std::env::join_paths(folders).unwrap_or(old)
    }

    /// Builds with cargo's own progress on the terminal; counts what there is.
    pub fn build(&self, arguments: &[&str]) -> Result<Built> {
        let started = Instant::now();
        let mut child = self
            .cargo()
            .arg("build")
            .args(arguments)
            .arg("--message-format=json-render-diagnostics")
            .stdout(Stdio::piped())
            .spawn()
            .context("start cargo")?;
        let output = child.stdout.take().context("read from cargo")?;
        let mut built = Built { crates: 0, took: Duration::ZERO, anew: false };
        let mut told = Instant::now();
        for line in BufReader::new(output).lines() {
            let line = line.context("read from cargo")?;
            if !line.contains("\"reason\":\"compiler-artifact\"") {
                continue;
            }
            built.crates += 1;
            built.anew |= line.contains("\"fresh\":false");
            if !std::io::stderr().is_terminal() && told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                eprintln!("  building       {} so far  {}", built.crates, minutes(started.elapsed()));
            }
        }
        let status = child.wait().context("wait for cargo")?;
        ensure!(status.success(), "cargo build {} failed: its messages are above", arguments.join(" "));
        built.took = started.elapsed();
        Ok(built)
    }
}

/// `7m 41s`, or `6s`.
pub fn minutes(span: Duration) -> String {
    match span.as_secs() {
        secs if secs >= 60 => format!("{}m {:02}s", secs / 60, secs % 60),
        secs => format!("{secs}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_like_a_clock() {
        assert_eq!(minutes(Duration::from_millis(6_400)), "6s");
        assert_eq!(minutes(Duration::from_secs(461)), "7m 41s");
        assert_eq!(minutes(Duration::from_secs(60)), "1m 00s");
    }
}
