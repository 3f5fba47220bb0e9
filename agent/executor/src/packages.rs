//! The host's packages, by its own tools.

use crate::files::Place;
use crate::program::{self, Ran};
use crate::protocol::Done;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

const CHECK_MAX: Duration = Duration::from_secs(60);
const INSTALL_MAX: Duration = Duration::from_secs(15 * 60);
/// A release's worth of updates on a slow disk and a slow line.
const UPGRADE_MAX: Duration = Duration::from_secs(60 * 60);
/// As long as a large update takes.
const LOCK_WAIT: Duration = Duration::from_secs(5 * 60);
/// Of its locks apt-get waits for one alone: the others are tried again.
const LOCK_AGAIN: Duration = Duration::from_secs(5);
/// More of what a tool prints says no more of why it failed.
const PRINTED_BYTES_MAX: u64 = 1024 * 1024;
/// The last of what apt-get prints say why; those before say what it read.
const LINES: usize = 6;
const APT: &str = "/usr/bin/apt-get";
/// One source that does not answer would otherwise be no more than a warning.
const UPDATE: [&str; 3] = ["update", "-o", "APT::Update::Error-Mode=any"];
const DPKG: &str = "/usr/bin/dpkg";
/// Where somebody edited a file that a package brings, it stays as it is.
const KEEP: [&str; 2] = ["--force-confdef", "--force-confold"];
/// Where it is, the host's own settings say which updates are for security.
const UNATTENDED: &str = "/usr/bin/unattended-upgrade";
/// More names say no more.
const NAMED_MAX: usize = 20;

pub async fn install(net: Option<RawFd>, names: &[String]) -> Result<Done, String> {
    let mut argv: Vec<String> = ["/usr/bin/dpkg-query", "-W", "-f", "${Status}\\n", "--"].map(String::from).into();
    argv.extend_from_slice(names);
    let known = program::run(None, &argv, CHECK_MAX).await?;
    let installed = known.output.lines().filter(|line| *line == "install ok installed").count();
    if known.well && installed == names.len() {
        return Ok(Done { already: true, ..Done::default() });
    }
    let mut argv = apt(&["install", "-y", "--no-install-recommends", "--"]);
    argv.extend_from_slice(names);
    let ran = program::run_free(net, &argv, INSTALL_MAX).await?;
    let ran = well(ran).map_err(|why| format!("{} can't be installed: {why}", names.join(", ")))?;
    Ok(Done { changed: true, text: Some(ran.words().to_owned()), ..Done::default() })
}

/// The tools, and where what they print is appended.
struct Tools<'a> {
    net: Option<RawFd>,
    place: &'a Place,
    log: File,
}

impl Tools<'_> {
    /// Until nobody else is at it, for so long at most; or why not.
    async fn run(&self, argv: &[String], longest: Duration) -> Result<(), String> {
        let mut waited = Duration::ZERO;
        loop {
            let before = self.log.metadata().map_err(|error| format!("look at its output: {error}"))?.len();
            if program::run_into(self.net, argv, &self.log, longest).await? {
                return Ok(());
            }
            let printed = self.place.read_behind(before, PRINTED_BYTES_MAX)?;
            let printed = String::from_utf8_lossy(&printed);
            if waited >= LOCK_WAIT || !is_locked(&printed) {
                return Err(first_error(&printed).to_owned());
            }
            tokio::time::sleep(LOCK_AGAIN).await;
            waited += LOCK_AGAIN;
        }
    }
}

/// Somebody else is at the packages.
fn is_locked(printed: &str) -> bool {
    let words =
        ["Could not get lock", "Unable to lock", "is locked by another process", "was locked by another process"];
    words.iter().any(|words| printed.contains(words))
}

/// Answered with what became of which package. What an earlier one that was broken off
/// left half done comes first.
pub async fn upgrade(
    net: Option<RawFd>,
    security_only: bool,
    output: &Place,
    owner: Option<(u32, u32)>,
) -> Result<Done, String> {
    if !Path::new(APT).is_file() {
        return Err(format!("there is no {APT} on this host, and its packages are upgraded by nothing else"));
    }
    let failed = |why: String| format!("packages can't be upgraded: {why}");
    let tools = Tools { net, place: output, log: output.append(owner)? };
    let before = versions().await?;
    let half_done: Vec<&str> = [DPKG].into_iter().chain(KEEP).chain(["--configure", "-a"]).collect();
    tools.run(&by(&half_done), UPGRADE_MAX).await.map_err(failed)?;
    let unknown = |why: String| format!("what can be upgraded is not known: {why}");
    tools.run(&apt(&UPDATE), INSTALL_MAX).await.map_err(unknown)?;
    let argv = match security_only {
        // A new kernel is a package more.
        false => Some(apt(&["upgrade", "--with-new-pkgs", "-y"])),
        true if Path::new(UNATTENDED).is_file() => Some(by(&[UNATTENDED])),
        true => {
            let known = well(program::run(None, &apt(&["upgrade", "--simulate"]), INSTALL_MAX).await?);
            let names = mending(&known.map_err(failed)?.output);
            let mut argv = apt(&["install", "-y", "--only-upgrade", "--"]);
            argv.extend_from_slice(&names);
            (!names.is_empty()).then_some(argv)
        }
    };
    if let Some(argv) = argv {
        tools.run(&argv, UPGRADE_MAX).await.map_err(failed)?;
    }
    let text = difference(&before, &versions().await?);
    let changed = !text.is_empty();
    Ok(Done { changed, already: !changed, text: Some(text), ..Done::default() })
}

fn by(words: &[&str]) -> Vec<String> {
    let head = ["/usr/bin/env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"];
    head.iter().chain(words).map(|word| (*word).to_owned()).collect()
}

fn apt(words: &[&str]) -> Vec<String> {
    let mut argv = by(&[APT, "-q"]);
    // Another may be installing just now, such as the host's own updates.
    let wait = format!("DPkg::Lock::Timeout={}", LOCK_WAIT.as_secs());
    for option in std::iter::once(wait).chain(KEEP.map(|keep| format!("Dpkg::Options::={keep}"))) {
        argv.extend(["-o".to_owned(), option]);
    }
    argv.extend(words.iter().map(|word| (*word).to_owned()));
    argv
}

/// Or why not, and the last that it said.
fn well(ran: Ran) -> Result<Ran, String> {
    if ran.well {
        return Ok(ran);
    }
    let lines: Vec<&str> = ran.output.lines().filter(|line| !line.trim().is_empty()).collect();
    let why = lines.iter().rfind(|line| line.starts_with("E:")).or(lines.last()).copied().unwrap_or_default();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n");
    Err(format!("{}\n{last}", why.trim_start_matches("E: ")))
}

/// All of it is kept elsewhere: the first error is the cause of those behind it.
fn first_error(printed: &str) -> &str {
    let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find_map(|line| line.strip_prefix("E: "));
    error.or_else(|| lines.next_back()).unwrap_or("it says nothing")
}

async fn versions() -> Result<BTreeMap<String, String>, String> {
    let words = ["/usr/bin/dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${db:Status-Status}\\n"];
    let ran = well(program::run(None, &words.map(String::from), CHECK_MAX).await?);
    let ran = ran.map_err(|why| format!("what is installed is not known: {why}"))?;
    Ok(installed(&ran.output))
}

fn installed(listed: &str) -> BTreeMap<String, String> {
    let lines = listed.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter_map(|words| match words.as_slice() {
            [name, version, "installed"] => Some(((*name).to_owned(), (*version).to_owned())),
            _ => None,
        })
        .collect()
}

/// `curl 8.5.0-2 -> 8.5.0-3, and 4 more`; nothing where nothing is another.
fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("{name} removed"));
    let others = after.iter().filter_map(|(name, version)| match before.get(name) {
        Some(old) if old == version => None,
        Some(old) => Some(format!("{name} {old} -> {version}")),
        None => Some(format!("{name} {version} added")),
    });
    let all: Vec<String> = others.chain(gone).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let named = all.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{named}, and {more} more") } else { named }
}

/// Those of a simulated upgrade that come from an archive for security:
/// `Inst curl [8.5.0-2] (8.5.0-3 Debian-Security:12/stable-security [amd64])`.
fn mending(simulated: &str) -> Vec<String> {
    let lines = simulated.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines
        .filter_map(|line| {
            let (name, rest) = line.split_once(' ')?;
            let (_, origin) = rest.split_once('(')?;
            origin.to_ascii_lowercase().contains("security").then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mends_a_hole_is_told_by_where_it_comes_from() {
        let simulated = "Reading package lists...\n\
            Inst libc6 [2.36-9] (2.36-9+deb12u1 Debian-Security:12/stable-security [amd64]) []\n\
            Inst vim [9.0] (9.1 Debian:12.5/stable [amd64])\n\
            Inst curl [7.88] (7.89 Ubuntu:22.04/jammy-security [amd64])\n\
            Conf libc6 (2.36-9+deb12u1 Debian-Security:12/stable-security [amd64])\n";
        assert_eq!(mending(simulated), ["libc6", "curl"]);
    }

    #[test]
    fn what_changed_is_told_by_name() {
        let before = installed("curl 1 installed\nvim 2 installed\nold 1 installed\ngone 1 config-files\n");
        let after = installed("curl 2 installed\nvim 2 installed\nnew 3 installed\n");
        assert_eq!(difference(&before, &after), "curl 1 -> 2, new 3 added, old removed");
        assert_eq!(difference(&after, &after), "");
        let many = (0..30).map(|one| (format!("p{one}"), String::new())).collect();
        assert!(difference(&BTreeMap::new(), &many).ends_with(", and 10 more"));
    }

    #[test]
    fn who_is_at_the_packages_is_waited_for() {
        for printed in [
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)\nE: Unable to lock directory /var/lib/apt/lists/",
            "dpkg: error: dpkg frontend lock was locked by another process with pid 7",
        ] {
            assert!(is_locked(printed), "{printed}");
        }
        assert!(!is_locked("E: Unable to fetch some archives, maybe run apt-get update"));
    }

    #[test]
    fn the_first_error_is_why() {
        assert_eq!(first_error("Err:1 x\nE: no route\nE: some failed\n"), "no route");
        assert_eq!(first_error("dpkg: broken\n\n"), "dpkg: broken");
        assert_eq!(first_error(""), "it says nothing");
    }

    #[test]
    fn nobody_is_asked_anything() {
        let argv = apt(&["upgrade", "-y"]).join(" ");
        assert!(argv.starts_with("/usr/bin/env DEBIAN_FRONTEND=noninteractive"), "{argv}");
        assert!(argv.contains("--force-confold") && argv.ends_with("upgrade -y"), "{argv}");
    }
}
