//! What is needed of the host's own: how a process ended, what it printed, and the
//! program that a spec's command names.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Fifty lines of a usual length; of longer ones there are fewer.
const TAIL_BYTES: u64 = 16 * 1024;
const STARTED_FIELD: usize = 19;
/// Where a program is looked for that is named without a folder: as systemd does.
const SEARCHED: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Until it is gone.
#[allow(unsafe_code, reason = "the runtime takes descriptors on trust")]
pub async fn ended(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return };
    // SAFETY: it owns the descriptor, which stays open and the same until it is dropped.
    let registered = unsafe { AsyncFd::<OwnedFd>::register_with_interest(fd, Interest::READABLE) };
    let Ok(fd) = registered else { return };
    let _ = fd.readable().await;
}

/// For how long it has been running.
pub fn age(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = stat_field(&stat, STARTED_FIELD)?;
    let started = Duration::from_millis(ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1));
    Some(Duration::from_millis(hostler_executor::clock::boottime_ms()).saturating_sub(started))
}

/// A number of `/proc/PID/stat`, counted from behind the name, which may hold anything.
pub fn stat_field(stat: &str, field: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field)?.parse().ok()
}

/// The last lines of what it printed.
pub fn tail(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first may be the end of a line.
    let whole = text.lines().skip(usize::from(from > 0));
    let all: Vec<String> = whole.map(str::to_owned).collect();
    Ok(all.into_iter().rev().take(lines).rev().collect())
}

/// Program and arguments. What only a shell understands is given to one; a program
/// named with a folder is looked for below `home`.
pub fn command(text: &str, home: Option<&str>) -> Result<Vec<String>, String> {
    let Some(words) = words(text) else {
        return Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]);
    };
    let mut words = words.into_iter();
    let program = words.next().ok_or("its command is empty")?;
    let program = match home {
        Some(home) if !program.starts_with('/') && program.contains('/') => {
            format!("{}/{program}", home.trim_end_matches('/'))
        }
        _ if !program.starts_with('/') && program.contains('/') => {
            return Err(format!("{program} is named from its home, and it has none: add home: /opt/..."));
        }
        _ => found(program)?,
    };
    Ok(std::iter::once(program).chain(words).collect())
}

/// Where a program is that is named without a folder.
pub fn found(program: String) -> Result<String, String> {
    if program.contains('/') {
        return Ok(program);
    }
    let found = SEARCHED.iter().map(|folder| format!("{folder}/{program}"));
    // And beside the agent, where that is not installed.
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(&program)));
    let mut found = found.chain(beside.map(|path| path.to_string_lossy().into_owned()));
    found
        .find(|path| Path::new(path).is_file())
        .ok_or_else(|| format!("{program} is in none of {}", SEARCHED.join(":")))
}

/// The same of one that is looked for somewhere else than on this host.
pub fn command_elsewhere(text: &str) -> Vec<String> {
    words(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// As a shell splits it; `None` where it would do more than that.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '\'' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        letter => quoted.push(letter),
                    }
                }
            }
            '"' => {
                let quoted = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' | '$' | '`' => return None,
                        letter => quoted.push(letter),
                    }
                }
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '\\' | '*' | '?' | '[' | ']' | '#' | '~' | '!'
            | '{' | '}' | '\n' => return None,
            // An assignment before the program.
            '=' if words.is_empty() => return None,
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_or_given_to_a_shell() {
        let split = |text: &str| command(text, Some("/opt/shop/")).map(|words| words.join("|"));
        assert_eq!(split("bin/server --port 8080").as_deref(), Ok("/opt/shop/bin/server|--port|8080"));
        assert_eq!(split("/bin/echo 'a b' \"c d\" ''").as_deref(), Ok("/bin/echo|a b|c d|"));
        assert_eq!(split("bin/server --key=1").as_deref(), Ok("/opt/shop/bin/server|--key=1"));
        let shell = |text: &str| assert_eq!(split(text), Ok(format!("/bin/sh|-c|{text}")));
        shell("a && b");
        shell("A=b server");
        shell("server $PORT");
        shell("server > /dev/null");
        shell("server 'unclosed");
        let error = command("bin/x", None).expect_err("no home");
        assert_eq!(error, "bin/x is named from its home, and it has none: add home: /opt/...");
        assert!(command("no-such-program-here", None).is_err_and(|words| words.contains("/usr/bin")));
    }

    #[test]
    fn the_tail_begins_with_a_whole_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "one\ntwo\nthree").expect("written");
        assert_eq!(tail(&path, 2).expect("read"), ["two", "three"]);
        let long: String = (0..2_000).map(|line| format!("line {line} ........\n")).collect();
        std::fs::write(&path, long).expect("written");
        let lines = tail(&path, 5_000).expect("read");
        assert!(lines.len() > 500 && lines[0].starts_with("line "), "{}", lines[0]);
        assert_eq!(lines.last().map(String::as_str), Some("line 1999 ........"));
    }
}
