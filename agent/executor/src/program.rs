//! Other programs that do a part of an act: in systemd's hands where it runs, so
//! that the executor's own confinement is not theirs.

use crate::account::Account;
use crate::launch::Launch;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// More of what a program says helps nobody.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
const WORDS_BYTES_MAX: usize = 4096;

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
    run(None, &by_systemd(&[], argv), longest).await
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
        return start(user.map_or(launch.clone(), |user| launch.user(user)), argv, longest).await;
    }
    let mut more = vec![format!("--property=RuntimeMaxSec={}", longest.as_secs())];
    more.extend(user.map(|user| format!("--uid={}", user.name)));
    // It says itself that it ended; the unit's own limit is for when nobody waits.
    run(None, &by_systemd(&more, argv), longest).await
}

fn by_systemd(more: &[String], argv: &[String]) -> Vec<String> {
    let words = ["/usr/bin/systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--slice=hostler.slice"];
    let mut all: Vec<String> = words.map(String::from).into();
    all.extend_from_slice(more);
    all.push("--".to_owned());
    all.extend_from_slice(argv);
    all
}

pub async fn run(net: Option<RawFd>, argv: &[String], longest: Duration) -> Result<Ran, String> {
    start(Launch { net, ..Launch::default() }, argv, longest).await
}

async fn start(launch: Launch, argv: &[String], longest: Duration) -> Result<Ran, String> {
    let name = crate::launch::program(argv).display().to_string();
    let mut command = tokio::process::Command::from(Launch { umask: Some(0o022), ..launch }.command(argv)?);
    let (mut output, end) = pipe()?;
    let (mut problem, status) = pipe()?;
    let both = end.try_clone().map_err(|error| format!("make a pipe: {error}"))?;
    command.stdin(Stdio::from(status)).stdout(Stdio::from(end)).stderr(Stdio::from(both)).kill_on_drop(true);
    command.env_clear().envs([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("DEBIAN_FRONTEND", "noninteractive"),
    ]);
    let mut child = command.spawn().map_err(|error| format!("start {name}: {error}"))?;
    drop(command);
    let ended = async {
        let mut bytes = Vec::new();
        let _ = (&mut output).take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
        // What is above the limit is read and forgotten, so that it can end.
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        let mut words = String::new();
        let _ = (&mut problem).take(OUTPUT_BYTES_MAX).read_to_string(&mut words).await;
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
