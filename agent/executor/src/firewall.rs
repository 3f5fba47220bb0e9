//! Rules of nftables on trial. Before they are loaded, systemd is told to put the present
//! ones back in a while, whatever becomes of the agent and of this program; who comes in
//! time says that they stay.

use crate::files::{self, Place};
use crate::program::{self, SYSTEMD};
use crate::protocol::Done;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const NFT: &str = "/usr/sbin/nft";
/// Of no unit that the agent looks after.
const UNIT: &str = "revert-firewall-of-hostler";
/// Gone with the host's memory, as rules are.
const FOLDER: &str = "/run/hostler-executor/firewall";
const NEW: &str = "new.nft";
/// Those that come back.
const OLD: &str = "old.nft";
const NFT_MAX: Duration = Duration::from_secs(30);
const SYSTEMD_MAX: Duration = Duration::from_secs(30);

/// Whether they are others than before.
pub async fn load(net: Option<RawFd>, rules: Vec<u8>, revert: Duration) -> Result<Done, String> {
    if !Path::new(SYSTEMD).is_dir() {
        return Err("systemd does not run on this host, and nobody else would put the old rules back".to_owned());
    }
    if !Path::new(NFT).is_file() {
        return Err(format!("there is no {NFT} on this host: install the package nftables first"));
    }
    files::make_own(Path::new(FOLDER))?;
    let new = place(NEW);
    Place::of(&new)?.put(&rules, Some((0, 0)), Some(0o600), |_| Ok(()))?;
    let checked = nft(net, &["-c", "-f", &new.to_string_lossy()]).await;
    checked.map_err(|why| format!("nft finds fault with the rules, and none is loaded\n{why}"))?;
    let before = standing(net).await?;
    // One whose agent died was never kept: what it took the place of comes back.
    if !is_pending().await? {
        save(net).await?;
    }
    disarm().await?;
    arm(revert).await?;
    if let Err(why) = nft(net, &["-f", &new.to_string_lossy()]).await {
        nft(net, &["-f", &place(OLD).to_string_lossy()]).await?;
        disarm().await?;
        return Err(format!("the rules can't be loaded, and the old ones stand\n{why}"));
    }
    let changed = standing(net).await? != before;
    Ok(Done { changed, already: !changed, ..Done::default() })
}

/// Nothing puts the old ones back any more; `already` where they are back.
pub async fn keep() -> Result<Done, String> {
    if !is_pending().await? {
        return Ok(Done { already: true, ..Done::default() });
    }
    disarm().await?;
    let old = Place::of(&place(OLD))?;
    old.remove(old.name())?;
    Ok(Done { changed: true, ..Done::default() })
}

fn place(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

async fn nft(net: Option<RawFd>, words: &[&str]) -> Result<String, String> {
    let argv: Vec<String> = std::iter::once(&NFT).chain(words).map(|word| (*word).to_owned()).collect();
    let ran = program::run_free(net, &argv, NFT_MAX).await?;
    if ran.well { Ok(ran.output) } else { Err(ran.words().to_owned()) }
}

/// Without what counters say.
async fn standing(net: Option<RawFd>) -> Result<String, String> {
    nft(net, &["-s", "list", "ruleset"]).await.map_err(|why| format!("the present rules are not known: {why}"))
}

/// The present ones, as they are put back; they are looked at by nft itself.
async fn save(net: Option<RawFd>) -> Result<(), String> {
    let old = Place::of(&place(OLD))?;
    old.put(b"flush ruleset\n", Some((0, 0)), Some(0o600), |_| Ok(()))?;
    let file = old.append(Some((0, 0)))?;
    let argv = [NFT, "list", "ruleset"].map(String::from);
    if !program::run_into(net, &argv, &file, NFT_MAX).await? {
        return Err("the present rules can't be listed, and so no others are loaded".to_owned());
    }
    let back = nft(net, &["-c", "-f", &place(OLD).to_string_lossy()]).await;
    back.map(drop).map_err(|why| format!("the present rules could not be put back, and so no others are loaded\n{why}"))
}

async fn systemd(argv: &[&str]) -> Result<program::Ran, String> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    program::run(None, &argv, SYSTEMD_MAX).await
}

async fn is_pending() -> Result<bool, String> {
    let timer = format!("{UNIT}.timer");
    systemd(&["/usr/bin/systemctl", "is-active", "--quiet", &timer]).await.map(|ran| ran.well)
}

async fn arm(revert: Duration) -> Result<(), String> {
    let (unit, after) = (format!("--unit={UNIT}"), format!("--on-active={}ms", revert.as_millis()));
    let old = place(OLD);
    let (exact, forget) = ("--timer-property=AccuracySec=100ms", "--property=CollectMode=inactive-or-failed");
    let file = old.to_string_lossy();
    let argv = ["/usr/bin/systemd-run", "--quiet", &unit, &after, exact, forget, "--", NFT, "-f", &file];
    let ran = systemd(&argv).await?;
    if ran.well {
        return Ok(());
    }
    Err(format!("systemd does not take it on to put the old rules back, and so no others are loaded: {}", ran.words()))
}

async fn disarm() -> Result<(), String> {
    let timer = format!("{UNIT}.timer");
    systemd(&["/usr/bin/systemctl", "stop", "--quiet", &timer]).await?;
    if is_pending().await? {
        return Err(format!("systemd does not stop {timer}, and the old rules come back by it"));
    }
    Ok(())
}
