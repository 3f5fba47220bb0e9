//! The agent's half, played by this test program: it says what it may do, and then
//! passes on what it is told, so that a test speaks with the executor.

use hostler_executor::clock::boottime_ms;
use hostler_executor::protocol::{Act, Answer, Decoder, Done, FD_VARIABLE, Outcome, Request, encode};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const USER: &str = "nobody";
const SOCKET: &str = "HALF_SOCKET";
const SOON: Duration = Duration::from_secs(20);

/// Not a test: what the executor starts. Without an executor it is nothing.
#[test]
#[allow(unsafe_code, reason = "a descriptor that was inherited")]
fn agent_half() {
    let (Ok(fd), Ok(path)) = (std::env::var(FD_VARIABLE), std::env::var(SOCKET)) else { return };
    // SAFETY: the executor left this one open for this program, and nothing else owns it.
    let mut executor = unsafe { UnixStream::from_raw_fd(fd.parse().unwrap()) };
    let mut test = UnixStream::connect(path).unwrap();
    let said = probes();
    test.write_all(&u32::try_from(said.len()).unwrap().to_le_bytes()).unwrap();
    test.write_all(said.as_bytes()).unwrap();
    let (mut from, mut to) = (test.try_clone().unwrap(), executor.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        // The test is done with it.
        std::process::exit(7);
    });
    let _ = std::io::copy(&mut executor, &mut test);
    std::process::exit(3);
}

/// What it tried, a line each.
fn probes() -> String {
    let word =
        |tried: std::io::Result<()>| tried.map_or_else(|error| format!("{:?}", error.kind()), |()| "allowed".into());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root =
        mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap().split(' ').nth(5).unwrap().to_owned();
    let open: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| Some(fs::read_link(fd.ok()?.path()).ok()?.display().to_string()))
        .filter(|target| target.starts_with("net:"))
        .collect();
    [
        format!("shadow: {}", word(fs::read("/etc/shadow").map(|_| ()))),
        format!("unit: {}", word(fs::write("/etc/systemd/system/hostler-evil.service", "x"))),
        format!("uid: {}", field("Uid:")),
        format!("groups: {}", field("Groups:")),
        format!("CapPrm: {}", field("CapPrm:")),
        format!("CapEff: {}", field("CapEff:")),
        format!("CapBnd: {}", field("CapBnd:")),
        format!("NoNewPrivs: {}", field("NoNewPrivs:")),
        format!("Seccomp: {}", field("Seccomp:")),
        format!(
            "unshare: {}",
            Command::new("/usr/bin/unshare").args(["-U", "true"]).output().is_ok_and(|out| out.status.success())
        ),
        format!("root: {}", root.split(',').next().unwrap()),
        format!("network: {}", fs::read_link("/proc/self/ns/net").unwrap().display()),
        format!("open networks: {}", open.len()),
        format!(
            "own folder: {}",
            word(fs::write(Path::new(&std::env::var(SOCKET).unwrap()).with_file_name("mine"), "x"))
        ),
    ]
    .join("\n")
}

pub struct Executor {
    pub child: Child,
    pub folder: PathBuf,
    pub probes: String,
    stream: UnixStream,
    listener: UnixListener,
    decoder: Decoder<Answer>,
    last: u64,
}

pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: this needs root");
    }
    root
}

impl Executor {
    /// In the folder, with this policy.
    pub fn start(folder: &Path, policy: &str) -> Self {
        Self::start_with(folder, policy, &[])
    }

    /// And with this in its environment.
    pub fn start_with(folder: &Path, policy: &str, env: &[(&str, &str)]) -> Self {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let half = folder.join("half");
        if !half.exists() {
            fs::copy(std::env::current_exe().unwrap(), &half).unwrap();
        }
        let own = folder.join("own");
        fs::create_dir_all(&own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(folder.join("policy.toml"), policy).unwrap();
        let socket = own.join("test.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
        let agent = folder.join("agent.toml");
        let settings = format!("state_dir = \"{0}/own\"\nruntime_dir = \"{0}/own\"\n", folder.display());
        fs::write(&agent, settings).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_hostler-executor"))
            .args(["run", "--parent", "--user", USER, "--runtime-dir"])
            .arg(folder.join("run"))
            .arg("--policy")
            .arg(folder.join("policy.toml"))
            .arg("--agent-config")
            .arg(&agent)
            .arg("--")
            .arg(&half)
            .args(["--exact", "half::agent_half", "--nocapture"])
            .env(SOCKET, &socket)
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, probes) = meet(&listener);
        Self { child, folder: folder.to_owned(), probes, stream, listener, decoder: Decoder::default(), last: 0 }
    }

    /// The next half, after the one before has ended.
    pub fn meet_again(&mut self) {
        (self.stream, self.probes) = meet(&self.listener);
        (self.decoder, self.last) = (Decoder::default(), 0);
    }

    pub fn probe(&self, name: &str) -> &str {
        let line = self.probes.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.probes))
    }

    pub fn ask(&mut self, act: Act) -> Outcome {
        let (id, expires_at_ms) = (self.last + 1, boottime_ms() + 60_000);
        self.say(Request { id, expires_at_ms, act })
    }

    pub fn say(&mut self, request: Request) -> Outcome {
        self.last = self.last.max(request.id);
        let id = request.id;
        self.stream.write_all(&encode(&request).unwrap()).unwrap();
        let mut bytes = [0; 4096];
        loop {
            if let Some(answer) = self.decoder.take().unwrap() {
                assert_eq!(answer.id, id);
                return answer.outcome;
            }
            let length = self.stream.read(&mut bytes).unwrap();
            assert!(length > 0, "the executor hung up");
            self.decoder.feed(&bytes[..length]);
        }
    }

    pub fn done(&mut self, act: Act) -> Done {
        match self.ask(act.clone()) {
            Outcome::Done(done) => done,
            other => panic!("{act:?}: {other:?}"),
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn meet(listener: &UnixListener) -> (UnixStream, String) {
    listener.set_nonblocking(true).unwrap();
    let mut stream = None;
    wait_for("the agent's half", || {
        stream = listener.accept().ok().map(|(stream, _)| stream);
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut said = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut said).unwrap();
    (stream, String::from_utf8(said).unwrap())
}

pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
