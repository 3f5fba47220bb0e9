//! The harness's side of its children: the worker that writes, and the check that
//! opens a folder in a process of its own, so that a store that panics or hangs
//! is a finding and not the harness's end.

use crate::history::Ack;
use crate::state::State;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Far above what opening tens of megabytes takes.
const CHECK_MAX: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(1);
const TEXT_BYTES_MAX: u64 = 2000;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Open,
    Ack(Ack),
    Refused(String),
    ReadOk,
    ReadFailed(String),
    Stopped,
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut numbers = rest.split(' ').map(|word| word.parse::<u64>().ok());
        Some(match word {
            "open" => Self::Open,
            "ack" => {
                let writer = u32::try_from(numbers.next()??).ok()?;
                Self::Ack(Ack { writer, seq: numbers.next()??, revision: numbers.next()?? })
            }
            "refused" => Self::Refused(rest.to_owned()),
            "read" if rest == "ok" => Self::ReadOk,
            "read" => Self::ReadFailed(rest.to_owned()),
            "stopped" => Self::Stopped,
            _ => return None,
        })
    }
}

pub struct Worker {
    child: Child,
    lines: Receiver<Said>,
    errors: File,
    pub acks: Vec<Ack>,
}

impl Worker {
    pub fn start(folder: &Path, seed: u64, fails: &[String], reads: bool) -> Self {
        let errors = tempfile::tempfile().expect("a file for errors");
        let mut command = this_program();
        command.arg("worker").arg(folder).args(["--seed", &seed.to_string()]);
        for fail in fails {
            command.args(["--fail", fail]);
        }
        command.args(reads.then_some("--reads"));
        let stderr = errors.try_clone().expect("a file for errors");
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("start a worker");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // A line that was cut with the process acknowledges nothing.
            while out.read_line(&mut line).is_ok() && line.ends_with('\n') {
                if let Some(said) = Said::parse(line.trim_end()) {
                    let _ = sender.send(said);
                }
                line.clear();
            }
        });
        Self { child, lines, errors, acks: Vec::new() }
    }

    /// The next thing it says; `Ok(None)` if it says nothing for so long, and an
    /// error when it has ended.
    pub fn next(&mut self, within: Duration) -> Result<Option<Said>, Ended> {
        match self.lines.recv_timeout(within) {
            Ok(said) => {
                if let Said::Ack(ack) = said {
                    self.acks.push(ack);
                }
                Ok(Some(said))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Ended),
        }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it and waits until it has let go of its files.
    pub fn end_now(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }

    pub fn ask_to_end(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::TERM).expect("send SIGTERM");
    }

    /// Everything it acknowledged, and how it ended.
    pub fn end(mut self) -> Past {
        while let Ok(said) = self.lines.recv() {
            if let Said::Ack(ack) = said {
                self.acks.push(ack);
            }
        }
        let status = self.child.wait().expect("wait for a worker");
        Past { acks: std::mem::take(&mut self.acks), status, text: text(&mut self.errors) }
    }
}

/// No worker outlives its harness's interest in it.
impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Ended;

/// A worker that was.
#[derive(Debug)]
pub struct Past {
    pub acks: Vec<Ack>,
    pub status: ExitStatus,
    pub text: String,
}

fn this_program() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program's path"));
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    command
}

/// Its last lines: they say why.
fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let _ = file.seek(std::io::SeekFrom::Start(length.saturating_sub(TEXT_BYTES_MAX)));
    let _ = file.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).trim().replace('\n', " | ")
}

/// Why a folder shows no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The store said so itself.
    Refused(String),
    /// It panicked, died or hung.
    Crashed(String),
}

pub fn check(folder: &Path) -> Result<State, Closed> {
    let mut out = tempfile::tempfile().expect("a file for a state");
    let mut errors = tempfile::tempfile().expect("a file for errors");
    let copy = |file: &File| file.try_clone().expect("a file twice");
    let child = this_program().arg("check").arg(folder).stdout(copy(&out)).stderr(copy(&errors)).spawn();
    let mut child = child.expect("start a check");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for a check") {
            break status;
        }
        if started.elapsed() > CHECK_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Closed::Crashed(format!("no answer in {CHECK_MAX:?}: {}", text(&mut errors))));
        }
        std::thread::sleep(LOOK);
    };
    match status.code() {
        Some(0) => {
            out.rewind().expect("read a state");
            Ok(State::read(&mut BufReader::new(out)).expect("a whole state"))
        }
        Some(1) => Err(Closed::Refused(text(&mut errors))),
        code => Err(Closed::Crashed(format!(
            "{} {}: {}",
            if code.is_some() { "exit code" } else { "signal" },
            code.or(status.signal()).unwrap_or_default(),
            text(&mut errors)
        ))),
    }
}

/// What the store's own look says: nothing, or what is wrong.
pub fn verify(folder: &Path) -> Result<(), String> {
    let output = this_program().arg("verify").arg(folder).output().expect("start a look");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
}
