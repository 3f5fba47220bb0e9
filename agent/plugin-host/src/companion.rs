//! The compiler: `hostler-plugin compile`, in a process of its own, which
//! limits itself before it reads a byte of the component.

use rustix::process::Signal;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// What is kept of what it said before it failed.
const STDERR_TAIL_BYTES: usize = 2048;

#[derive(Clone, Debug)]
pub struct Companion {
    pub program: PathBuf,
    /// Of processor time. A Rust plugin takes 0.2 s, Python's 12 s.
    pub seconds_max: u32,
    /// Of its own data. Compiling Python's 18 MB took 355 MB.
    pub memory_bytes_max: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    #[error("start {program}", program = .program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("{said}")]
    Failed { said: String },
    #[error("the compiler used more than {seconds_max} s of processor time and was stopped")]
    CpuExhausted { seconds_max: u32 },
    #[error("the compiler took longer than {} s and was stopped", .0.as_secs())]
    TimedOut(Duration),
}

impl Companion {
    pub fn new(program: impl Into<PathBuf>) -> Companion {
        Companion { program: program.into(), seconds_max: 120, memory_bytes_max: 1 << 30 }
    }

    pub(crate) async fn compile(&self, input: &Path, output: &Path) -> Result<(), CompanionError> {
        let start = |source| CompanionError::Start { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .arg("compile")
            .args([OsStr::new("--input"), input.as_os_str()])
            .args([OsStr::new("--output"), output.as_os_str()])
            .args(["--seconds-max", &self.seconds_max.to_string()])
            .args(["--memory-bytes-max", &self.memory_bytes_max.to_string()])
            // It needs nothing of ours, and must not see any secret in it.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let stderr = child.stderr.take();
        let work = async {
            let said = async {
                match stderr {
                    Some(stderr) => tail(stderr).await,
                    None => String::new(),
                }
            };
            let (said, status) = tokio::join!(said, child.wait());
            (said, status)
        };
        // Niced, on a busy host, it may wait for its processor time: four times
        // as long, and some for the start.
        let wall_max = Duration::from_secs(u64::from(self.seconds_max) * 4 + 10);
        let (said, status) =
            tokio::time::timeout(wall_max, work).await.map_err(|_| CompanionError::TimedOut(wall_max))?;
        let status = status.map_err(start)?;
        if status.success() {
            return Ok(());
        }
        let said = said.trim();
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            return Err(CompanionError::CpuExhausted { seconds_max: self.seconds_max });
        }
        let said = if said.is_empty() {
            format!("{} ended with {status} and said nothing", self.program.display())
        } else {
            said.to_owned()
        };
        Err(CompanionError::Failed { said })
    }
}

async fn tail(mut from: tokio::process::ChildStderr) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let over = kept.len().saturating_sub(STDERR_TAIL_BYTES);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
