//! `hostler-agent uninstall`: everything the installer and `join` made, and
//! nothing else.

use crate::config::{Config, FILE_DEFAULT};
use crate::files;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const UNIT: &str = "hostler-agent.service";
const UNIT_FILES: [&str; 2] =
    ["/etc/systemd/system/hostler-agent.service", "/usr/lib/systemd/system/hostler-agent.service"];
const ACCOUNT: &str = "hostler";
/// Where the installer puts programs: only those are its own.
const PROGRAMS: [&str; 3] = ["/usr/bin/hostler-agent", "/usr/bin/hostler-executor", "/usr/bin/hostler-plugin"];
/// What a state folder of ours has in it: no other folder is ever removed.
const STATE_MARK: &str = "identity.json";

#[derive(clap::Args, Debug)]
pub struct Uninstall {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The configuration file [default: /etc/hostler/agent.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Uninstall {
    pub fn run(self) -> Result<()> {
        let file = self.config.clone().unwrap_or_else(|| FILE_DEFAULT.into());
        let config = Config::load(self.config.as_deref())?;
        let installed = self.config.is_none() || file == Path::new(FILE_DEFAULT);
        if installed && !rustix::process::geteuid().is_root() {
            bail!("this needs root: run it as root, or with sudo");
        }
        if !self.yes && !agreed(&config, installed)? {
            bail!("nothing was removed");
        }
        if installed {
            stop_unit()?;
            UNIT_FILES.iter().try_for_each(|path| remove(Path::new(path)))?;
            systemctl(&["daemon-reload"])?;
        }
        remove_state(&config.state_dir)?;
        remove(&config.socket())?;
        remove(&file)?;
        if installed {
            PROGRAMS.iter().try_for_each(|path| remove(Path::new(path)))?;
            // Only if nothing else is in it: the control plane's files may be.
            let _ = std::fs::remove_dir("/etc/hostler");
            remove_account()?;
        }
        println!("the agent is gone from this host; on the other side: hostlerctl node revoke NAME");
        Ok(())
    }
}

fn agreed(config: &Config, installed: bool) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here: add --yes if you mean it");
    }
    let programs = if installed { ", its unit, its programs and its user" } else { "" };
    eprint!("Remove the agent's identity and state in {}{programs}?  [y/N] ", config.state_dir.display());
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    if !has_systemd() {
        return Ok(());
    }
    let status = Command::new("systemctl").args(arguments).stdout(Stdio::null()).status().context("run systemctl")?;
    if !status.success() {
        bail!("`systemctl {}` failed: nothing further was removed", arguments.join(" "));
    }
    Ok(())
}

fn stop_unit() -> Result<()> {
    if UNIT_FILES.iter().any(|path| Path::new(path).exists()) {
        systemctl(&["disable", "--now", "--quiet", UNIT])?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    files::remove_if_there(path).with_context(|| format!("remove {}", path.display()))
}

fn remove_state(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !empty && !folder.join(STATE_MARK).exists() {
        bail!("{} has no {STATE_MARK} in it: it is not taken for an agent's state, and stays", folder.display());
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

fn remove_account() -> Result<()> {
    let known = Command::new("id").arg(ACCOUNT).stdout(Stdio::null()).stderr(Stdio::null()).status();
    // A control plane on this host may use the same account.
    let shared = Path::new("/var/lib/hostler").exists();
    if shared || !known.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let status = Command::new("userdel").arg(ACCOUNT).status().context("run userdel")?;
    if !status.success() {
        bail!("the user {ACCOUNT} could not be removed: `userdel {ACCOUNT}` says why");
    }
    Ok(())
}
