//! Granted programs: run by their path, without a shell, with nothing of the
//! agent's own environment.
//!
//! Each is a process group, killed as one as soon as the program itself has
//! ended or nobody waits for it any more. What makes a session of its own, as a
//! daemon does, leaves the group and is not found again.

use super::blocking;
use crate::answer::{Bytes, Output};
use crate::call::CallError;
use crate::limits;
use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use hostler_types::plugin::{Grants, Need};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::process::{Child, Command};

const ENVIRONMENT: [(&str, &str); 3] = [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("LANG", "C.UTF-8"), ("HOME", "/")];

pub(super) async fn run(
    command: &str,
    arguments: &[String],
    stdin: Vec<u8>,
    grants: &Grants,
) -> Result<Output, CallError> {
    let need = || Need::Command { name: command.to_owned(), arguments: arguments.to_vec() };
    let granted = grants.commands.iter().find(|one| one.matches(command, arguments));
    let program = granted.ok_or_else(|| CallError::denied(&need()))?.program.clone();
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().envs(ENVIRONMENT).current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let runtime = tokio::runtime::Handle::current();
    // A program on a filesystem that hangs is waited for by nobody else.
    let mut running = blocking::run(move || {
        let _entered = runtime.enter();
        Running::start(command, &program)
    })
    .await?;
    running.finish(stdin).await
}

struct Running {
    child: Child,
    /// Absent once it was waited for: the number may be another's by then.
    group: Option<Pid>,
    ended: AsyncFd<OwnedFd>,
}

impl Running {
    fn start(mut command: Command, program: &str) -> Result<Running, CallError> {
        let child = command.spawn().map_err(|error| not_started(program, &error))?;
        let failed = |error: std::io::Error| CallError::other("command", error);
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| CallError::other("command", "it ended before it began"))?;
        let ended = pidfd_open(group, PidfdFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        // SAFETY: an OwnedFd says the same descriptor as long as it lives, which
        // is as long as it is registered: nobody takes it out.
        #[allow(unsafe_code, reason = "registering a descriptor has no safe form")]
        let ended = unsafe { AsyncFd::register_with_interest(ended, Interest::READABLE) };
        let ended = ended.map_err(|error| failed(error.into()))?;
        Ok(Running { child, group: Some(group), ended })
    }

    async fn finish(&mut self, stdin: Vec<u8>) -> Result<Output, CallError> {
        let failed = |error: std::io::Error| CallError::other("command", error);
        let (to, out, err) = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        let talk = async {
            let feed = async {
                // A program need not read what it is given.
                if let Some(mut to) = to {
                    let _ = to.write_all(&stdin).await;
                }
            };
            tokio::join!(feed, stdout.read(out), stderr.read(err));
        };
        let mut talk = Box::pin(talk.fuse());
        // Either is polled on, and what was kept is kept outside of them.
        let ended = tokio::select! {
            ended = self.ended.readable() => ended.map(drop),
            () = &mut talk => self.ended.readable().await.map(drop),
        };
        ended.map_err(failed)?;
        // Ended but not yet waited for, so that its number is still its own.
        self.kill();
        let status = self.child.wait().await.map_err(failed)?;
        // Those who left the group may hold the pipes open.
        if !talk.is_terminated() {
            let _ = tokio::time::timeout(limits::COMMAND_PIPES_GRACE, &mut talk).await;
        }
        drop(talk);
        Ok(Output {
            exit_code: status.code(),
            signal: status.signal(),
            truncated: stdout.truncated || stderr.truncated,
            stdout: Bytes(stdout.bytes),
            stderr: Bytes(stderr.bytes),
        })
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Whoever waits for the child afterwards finds all of its group dead.
impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn not_started(program: &str, error: &std::io::Error) -> CallError {
    match error.kind() {
        ErrorKind::NotFound => CallError::Unreachable(format!("there is no program {program} on this host")),
        ErrorKind::PermissionDenied => CallError::Unreachable(format!("{program} may not be run by the agent")),
        ErrorKind::InvalidInput => CallError::Invalid("an argument has a zero byte in it".to_owned()),
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
            CallError::Unreachable(format!("{program} does not run: {text}"))
        }
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Kept {
    /// To its end, whatever is kept of it: a full pipe would stop the program.
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let room = limits::COMMAND_OUTPUT_BYTES_MAX.saturating_sub(self.bytes.len());
            self.truncated |= read > room;
            self.bytes.extend_from_slice(buffer.get(..read.min(room)).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::testing::{eventually, grants};
    use std::time::Duration;

    const SHELL: &str =
        "commands = [\"sh: /bin/sh -c *\", \"cat: /bin/cat\", \"none: /no/such\", \"not: /etc/passwd\"]";

    async fn sh(script: &str) -> Output {
        let script = ["-c".to_owned(), script.to_owned()];
        run("sh", &script, Vec::new(), &grants(SHELL)).await.expect("it ran")
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(&bytes.0).expect("text")
    }

    /// Whether a process is there and no corpse.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    #[tokio::test]
    async fn brings_back_what_it_said_and_how_it_ended() {
        let output = sh("echo out; echo err >&2; exit 3").await;
        assert_eq!((output.exit_code, output.signal, output.truncated), (Some(3), None, false));
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n", "err\n"));
        let output = sh("kill -9 $$").await;
        assert_eq!((output.exit_code, output.signal), (None, Some(9)));
        let echoed = run("cat", &[], b"hello".to_vec(), &grants(SHELL)).await.expect("it ran");
        assert_eq!(text(&echoed.stdout), "hello");
        // Not read, and closed before it was written.
        let large = run("sh", &["-c".into(), "exit 0".into()], vec![0; 1 << 20], &grants(SHELL)).await.expect("it ran");
        assert_eq!(large.exit_code, Some(0));
    }

    #[tokio::test]
    async fn has_nothing_of_the_agents() {
        let output = sh("env | grep -v ^_= | grep -v ^PWD= | grep -v ^SHLVL= | sort; pwd; cat").await;
        assert_eq!(text(&output.stdout), "HOME=/\nLANG=C.UTF-8\nPATH=/usr/bin:/bin:/usr/sbin:/sbin\n/\n");
    }

    #[tokio::test]
    async fn arguments_are_no_script() {
        let granted = grants("commands = [\"echo: /bin/echo *\"]");
        let output = run("echo", &["$(id); `id` | cat > /x".into()], Vec::new(), &granted).await.expect("it ran");
        assert_eq!(text(&output.stdout), "$(id); `id` | cat > /x\n");
    }

    #[tokio::test]
    async fn what_cannot_run_is_named() {
        let says =
            |name: &'static str| async move { run(name, &[], Vec::new(), &grants(SHELL)).await.expect_err(name) };
        assert_eq!(says("none").await, CallError::Unreachable("there is no program /no/such on this host".into()));
        assert_eq!(says("not").await, CallError::Unreachable("/etc/passwd may not be run by the agent".into()));
        assert_eq!(says("other").await, CallError::Denied("grants.commands = [\"other: /path/of/it\"]".into()));
        let zero = run("sh", &["-c".into(), "\0".into()], Vec::new(), &grants(SHELL)).await;
        assert!(matches!(zero, Err(CallError::Invalid(_))), "{zero:?}");
    }

    #[tokio::test]
    async fn output_is_kept_in_part_and_read_to_its_end() {
        let output = sh("head -c 1000000 /dev/zero; echo done >&2").await;
        assert_eq!((output.stdout.0.len(), output.truncated), (limits::COMMAND_OUTPUT_BYTES_MAX, true));
        assert_eq!((output.exit_code, text(&output.stderr)), (Some(0), "done\n"));
    }

    #[tokio::test]
    async fn what_is_not_waited_for_is_killed_with_all_it_started() {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("pid");
        let script = format!("(sleep 1000 & echo $! > {}; wait) & wait", file.display());
        let arguments = ["-c".to_owned(), script];
        let granted = grants(SHELL);
        let running = run("sh", &arguments, Vec::new(), &granted);
        let began = || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'));
        tokio::select! {
            ended = running => panic!("{ended:?}"),
            () = eventually("it began", began) => {}
        }
        let grandchild = std::fs::read_to_string(&file).expect("it began");
        eventually("the grandchild is gone", || !lives(&grandchild)).await;
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_killed_and_holds_nobody_up() {
        let began = std::time::Instant::now();
        let output = sh("sleep 1000 & echo $!").await;
        assert_eq!(output.exit_code, Some(0));
        let left = text(&output.stdout).to_owned();
        eventually("what was left is gone", || !lives(&left)).await;
        // A session of its own is not found, but its pipe is not waited for.
        let output = sh("setsid sleep 30 & echo $!").await;
        assert_eq!(output.exit_code, Some(0));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}
