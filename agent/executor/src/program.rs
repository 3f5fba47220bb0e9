//! Other programs that do a part of an act: in systemd's hands where it runs, so
//! that the executor's own confinement is not theirs.

use crate::account::Account;
use crate::launch::Launch;
use std::fs::File;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// More of what a program says helps nobody.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
const WORDS_BYTES_MAX: usize = 4096;

const ENDED: &str = "hostler: it ended with ";
const INTO_ERRORS: &str = " >&2";

pub const SYSTEMD: &str = "/run/systemd/system";

pub struct Ran {
    pub well: bool,
    pub output: String,
}

impl Ran {
    /// Its last words, with which it says why.
    pub fn words(&self) -> &str {
        let text = self.output.trim();
        let from = text.len().saturating_sub(WORDS_BYTES_MAX);
        (from..text.len()).find_map(|at| text.get(at..)).unwrap_or(text)
    }
}

/// In the host's network, as root.
pub async fn run_free(net: Option<RawFd>, argv: &[String], longest: Duration) -> Result<Ran, String> {
    if !Path::new(SYSTEMD).is_dir() {
        return run(net, argv, longest).await;
    }
    run(None, &by_systemd(&[], &told("", argv)), longest).await.map(said)
}

/// As `run_free`; what it prints is appended to that file, and it goes on when nobody waits
/// for it any more. Whether it ended well.
pub async fn run_into(net: Option<RawFd>, argv: &[String], log: &File, longest: Duration) -> Result<bool, String> {
    let ran = if Path::new(SYSTEMD).is_dir() {
        start(Launch::default(), &by_systemd(&[], &told(INTO_ERRORS, argv)), longest, Some(log)).await
    } else {
        start(Launch { net, ..Launch::default() }, &told(INTO_ERRORS, argv), longest, Some(log)).await
    };
    ran.map(|ran| said(ran).well)
}

/// As `run_free`, or as that user, and ended with all it started when its time is over.
pub async fn run_check(
    net: Option<RawFd>,
    user: Option<&Account>,
    argv: &[String],
    longest: Duration,
) -> Result<Ran, String> {
    if !Path::new(SYSTEMD).is_dir() {
        let launch = Launch { net, ..Launch::default() };
        return start(user.map_or(launch.clone(), |user| launch.user(user)), argv, longest, None).await;
    }
    let mut more = vec![format!("--property=RuntimeMaxSec={}", longest.as_secs())];
    more.extend(user.map(|user| format!("--uid={}", user.name)));
    // It says itself that it ended; the unit's own limit is for when nobody waits.
    run(None, &by_systemd(&more, &told("", argv)), longest).await.map(said)
}

fn by_systemd(more: &[String], argv: &[String]) -> Vec<String> {
    let words = ["/usr/bin/systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--slice=hostler.slice"];
    let mut all: Vec<String> = words.map(String::from).into();
    all.extend_from_slice(more);
    all.push("--".to_owned());
    all.extend_from_slice(argv);
    all
}

/// By a shell that says how it ended: systemd may have forgotten a unit before it is asked
/// that, and then all was well.
fn told(redirect: &str, argv: &[String]) -> Vec<String> {
    let script = format!("\"$@\"{redirect}; code=$?; echo; echo \"{ENDED}$code\"; exit \"$code\"");
    let shell = ["/bin/sh", "-c", &script, "sh"];
    shell.into_iter().map(String::from).chain(argv.iter().cloned()).collect()
}

/// As the last line says it; without one, it was ended by others.
fn said(ran: Ran) -> Ran {
    let (output, code) = match ran.output.rsplit_once(ENDED) {
        Some((output, code)) => (output.trim_end().to_owned(), code.trim()),
        None => (ran.output, ""),
    };
    Ran { well: ran.well && code == "0", output }
}

pub async fn run(net: Option<RawFd>, argv: &[String], longest: Duration) -> Result<Ran, String> {
    start(Launch { net, ..Launch::default() }, argv, longest, None).await
}

async fn start(launch: Launch, argv: &[String], longest: Duration, errors: Option<&File>) -> Result<Ran, String> {
    let name = crate::launch::program(argv).display().to_string();
    let mut command = tokio::process::Command::from(Launch { umask: Some(0o022), ..launch }.command(argv)?);
    let (mut output, end) = pipe()?;
    let (mut problem, status) = pipe()?;
    let both = match errors {
        Some(file) => file.try_clone().map(Stdio::from),
        None => end.try_clone().map(Stdio::from),
    };
    let both = both.map_err(|error| format!("make a pipe: {error}"))?;
    command.stdin(Stdio::from(status)).stdout(Stdio::from(end)).stderr(both).kill_on_drop(true);
    command.env_clear().envs([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
    ]);
    let mut child = command.spawn().map_err(|error| format!("start {name}: {error}"))?;
    drop(command);
    let ended = async {
        let mut bytes = Vec::new();
        // The last of it is kept, and all of it read, so that it can end.
        while let Ok(1..) = output.read_buf(&mut bytes).await {
            if bytes.len() > 2 * OUTPUT_BYTES_MAX {
                bytes.drain(..bytes.len() - OUTPUT_BYTES_MAX);
            }
        }
        bytes.drain(..bytes.len().saturating_sub(OUTPUT_BYTES_MAX));
        let mut words = String::new();
        let _ = (&mut problem).take(OUTPUT_BYTES_MAX as u64).read_to_string(&mut words).await;
        let code = child.wait().await.map_err(|error| format!("wait for {name}: {error}"))?;
        if !words.is_empty() {
            return Err(words);
        }
        Ok(Ran { well: code.success(), output: String::from_utf8_lossy(&bytes).into_owned() })
    };
    match tokio::time::timeout(longest, ended).await {
        Ok(ran) => ran,
        Err(_) => Err(format!("{name} did not end within {} s, and was killed", longest.as_secs())),
    }
}

fn pipe() -> Result<(tokio::net::unix::pipe::Receiver, std::io::PipeWriter), String> {
    let failed = |error: std::io::Error| format!("make a pipe: {error}");
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let reader = tokio::net::unix::pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    Ok((reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_program_ended_is_what_its_shell_says() {
        let of = |well, output: &str| {
            let Ran { well, output } = said(Ran { well, output: output.to_owned() });
            (well, output)
        };
        assert_eq!(of(true, "fine\n\nhostler: it ended with 0\n"), (true, "fine".to_owned()));
        assert_eq!(of(true, "no\n\nhostler: it ended with 3\n"), (false, "no".to_owned()));
        assert_eq!(of(true, "cut off"), (false, "cut off".to_owned()));
        assert_eq!(of(false, "\nhostler: it ended with 0\n"), (false, String::new()));
    }

    #[test]
    fn the_shell_says_it_as_it_is_read() {
        let argv = ["/bin/sh", "-c", "echo words; exit 3"].map(String::from);
        for (redirect, printed, errors) in [("", "words", ""), (INTO_ERRORS, "", "words\n")] {
            let all = told(redirect, &argv);
            let ran = std::process::Command::new(&all[0]).args(&all[1..]).output().unwrap();
            let output = String::from_utf8(ran.stdout).unwrap();
            let Ran { well, output } = said(Ran { well: true, output });
            assert_eq!((well, output.as_str(), ran.status.code()), (false, printed, Some(3)));
            assert_eq!(String::from_utf8(ran.stderr).unwrap(), errors);
        }
    }
}
