//! The agent as a program, against a small control plane in the test, over real TLS.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may stop at once")]

mod alone;
mod fake;
mod tasks;

use fake::Fake;
use hostler_proto::agent as wire;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// One host: a folder with all that the agent has there.
struct Host {
    folder: TempDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Self { folder };
        let settings = format!(
            "state_dir = {:?}\nruntime_dir = {:?}\nhttp_listen = \"off\"\n",
            host.path("state"),
            host.path("run")
        );
        std::fs::write(host.path("agent.toml"), settings).expect("written");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler-agent"));
        command.args(arguments).arg("--config").arg(self.path("agent.toml")).kill_on_drop(true);
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.expect("runs")
    }

    async fn join(&self, fake: &Fake) -> Output {
        self.output(&["join", &fake.code().encode(), "--name", "web1"]).await
    }

    fn run(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().expect("starts")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    async fn status(&self) -> String {
        String::from_utf8(self.output(&["status"]).await.stdout).expect("text")
    }

    async fn wait_log(&self, text: &str) {
        self.wait_log_times(text, 1).await;
    }

    async fn wait_log_times(&self, text: &str, times: usize) {
        for _ in 0..500 {
            if self.log().matches(text).count() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the log never said {text:?}:\n{}", self.log());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(name: &str, plugin: &str) -> wire::CheckAssignment {
    wire::CheckAssignment {
        name: name.into(),
        plugin: plugin.into(),
        every_ms: 1_000,
        timeout_ms: 1_000,
        config_json: "{}".into(),
        fails: 2,
        passes: 1,
        grace_ms: 0,
    }
}

/// Its content is not what the digest says: the plugin fails, its checks become unknown.
fn broken_plugin(name: &str) -> wire::PluginAssignment {
    let digest = "ab".repeat(32);
    wire::PluginAssignment { name: name.into(), version: "1".into(), digest, size_bytes: 12, grants: None }
}

async fn term(child: &mut Child) {
    let pid = rustix::process::Pid::from_raw(child.id().expect("runs") as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("killed");
}

fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("there").permissions().mode() & 0o077 == 0
}

#[tokio::test]
async fn a_host_joins_once_and_keeps_its_identity_to_itself() {
    let (fake, _stop) = Fake::start().await;
    let host = Host::new();
    let before = host.output(&["run"]).await;
    assert!(text(&before.stderr).contains("has not joined yet"), "{}", text(&before.stderr));
    let joined = host.join(&fake).await;
    assert!(joined.status.success(), "{}", text(&joined.stderr));
    assert!(text(&joined.stdout).contains("as web1"), "{}", text(&joined.stdout));
    assert!(is_private(&host.path("state/identity.json")) && is_private(&host.path("state")));
    let again = host.join(&fake).await;
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("has joined already, as web1"), "{}", text(&again.stderr));
}

#[tokio::test]
async fn another_control_plane_is_not_joined() {
    let (fake, _stop) = Fake::start().await;
    let host = Host::new();
    let mut code = fake.code();
    code.authority_pin = [1; 32];
    let refused = host.output(&["join", &code.encode(), "--name", "web1"]).await;
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("not the control plane this host trusts"), "{}", text(&refused.stderr));
    let mut code = fake.code();
    code.secret = [1; 32];
    let refused = host.output(&["join", &code.encode(), "--name", "web1"]).await;
    assert!(text(&refused.stderr).contains("there is no such join code"), "{}", text(&refused.stderr));
    assert!(!host.path("state/identity.json").exists());
    let refused = host.output(&["join", "hj1_abc"]).await;
    assert!(text(&refused.stderr).contains("damaged"), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn it_says_hello_beats_and_stops_in_order() {
    let (fake, _stop) = Fake::start().await;
    let host = Host::new();
    host.join(&fake).await;
    let mut agent = host.run();
    fake.wait("two heartbeats", |memory| memory.heartbeats.len() >= 3).await;
    {
        let memory = fake.memory.lock().expect("unpoisoned");
        assert_eq!(memory.hellos[0].node_id, fake.node.to_string());
        assert!(memory.hellos[0].facts.as_ref().is_some_and(|facts| facts.cpu_count > 0));
    }
    // A slow moment on one of the two ways makes one of them another.
    fake.wait("a skew of some 250 ms", |memory| {
        let last = memory.heartbeats.last();
        last.is_some_and(|last| last.clock_skew_known && (240..400).contains(&last.clock_skew_ms))
    })
    .await;
    let status = host.status().await;
    assert!(status.contains("connected to 127.0.0.1") && status.contains("web1"), "{status}");
    term(&mut agent).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), agent.wait()).await.expect("in time").expect("ends");
    assert!(ended.success(), "{}", host.log());
}

#[tokio::test]
async fn a_transition_arrives_once_although_the_agent_was_killed_in_between() {
    let (fake, stop) = Fake::start().await;
    let host = Host::new();
    host.join(&fake).await;
    fake.order(1, vec![check("site", "http")], vec![broken_plugin("http")]);
    let mut agent = host.run();
    fake.wait("the plugin's failure", |memory| !memory.records.is_empty()).await;
    fake.wait("a transition", |memory| memory.transitions() == ["site starting->unknown"]).await;
    // While nobody listens, the check goes away from unknown no more: a new one begins.
    stop.cancel();
    host.wait_log("the connection to the control plane ended").await;
    agent.kill().await.expect("killed");

    // Without a control plane, from what is on disk.
    let mut agent = host.run();
    host.wait_log_times("desired state is in force", 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let checks = host.output(&["check", "-o", "json"]).await;
    let checks: serde_json::Value = serde_json::from_slice(&checks.stdout).expect("JSON");
    assert_eq!(checks[0]["state"], "unknown", "{checks}");
    assert!(host.status().await.contains("not connected"), "{}", host.status().await);
    agent.kill().await.expect("killed");

    let _stop = fake.restart().await;
    let _agent = host.run();
    fake.wait("the third hello", |memory| memory.hellos.len() >= 2 && memory.heartbeats.len() > 2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let memory = fake.memory.lock().expect("unpoisoned");
    assert_eq!(memory.transitions(), ["site starting->unknown"], "none lost, none invented");
    let hello = memory.hellos.last().expect("one");
    assert_eq!(hello.checks.len(), 1);
    assert_eq!(hello.checks[0].state, "unknown");
    assert!(memory.records.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

#[tokio::test]
async fn what_was_not_acked_is_sent_again() {
    let (fake, stop) = Fake::start().await;
    let host = Host::new();
    host.join(&fake).await;
    {
        let mut memory = fake.memory.lock().expect("unpoisoned");
        memory.ack = false;
    }
    fake.order(1, vec![check("site", "http")], vec![broken_plugin("http")]);
    let mut agent = host.run();
    fake.wait("a first batch", |memory| !memory.records.is_empty()).await;
    agent.kill().await.expect("killed");
    stop.cancel();
    let first = {
        let mut memory = fake.memory.lock().expect("unpoisoned");
        // The control plane lost what it never acked.
        (memory.ack, memory.acked) = (true, 0);
        std::mem::take(&mut memory.records)
    };
    let _stop = fake.restart().await;
    let _agent = host.run();
    fake.wait("the same once more", |memory| memory.records.len() > first.len()).await;
    let memory = fake.memory.lock().expect("unpoisoned");
    assert_eq!(memory.records[..first.len()], first);
}

#[tokio::test]
async fn back_within_five_seconds_of_its_return() {
    let (fake, stop) = Fake::start().await;
    let host = Host::new();
    host.join(&fake).await;
    let _agent = host.run();
    fake.wait("a heartbeat", |memory| !memory.heartbeats.is_empty()).await;
    stop.cancel();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let _stop = fake.restart().await;
    let back = std::time::Instant::now();
    fake.wait("a second hello", |memory| memory.hellos.len() >= 2).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

#[tokio::test]
async fn a_certificate_is_renewed_without_dropping_the_stream_and_when_expired_first() {
    let (fake, _stop) = Fake::start().await;
    // Past its half.
    fake.memory.lock().expect("unpoisoned").age = Duration::from_secs(8 * 86_400);
    let host = Host::new();
    host.join(&fake).await;
    let mut agent = host.run();
    fake.wait("a renewal", |memory| memory.renewals == 1).await;
    let beats = fake.memory.lock().expect("unpoisoned").heartbeats.len();
    fake.wait("further heartbeats", |memory| memory.heartbeats.len() > beats + 1).await;
    assert_eq!(fake.memory.lock().expect("unpoisoned").hellos.len(), 1, "the stream stays");
    agent.kill().await.expect("killed");

    let host = Host::new();
    {
        let mut memory = fake.memory.lock().expect("unpoisoned");
        (memory.age, memory.left, memory.renewals) = (Duration::from_secs(10), Some(Duration::from_millis(1)), 0);
        memory.hellos.clear();
    }
    host.join(&fake).await;
    let _agent = host.run();
    fake.wait("a hello", |memory| !memory.hellos.is_empty()).await;
    assert_eq!(fake.memory.lock().expect("unpoisoned").renewals, 1);
}

#[tokio::test]
async fn a_refusal_is_logged_once_and_shown() {
    let (fake, _stop) = Fake::start().await;
    fake.memory.lock().expect("unpoisoned").refuse = Some(tonic::Status::permission_denied("node web1 was revoked"));
    let host = Host::new();
    host.join(&fake).await;
    let _agent = host.run();
    host.wait_log("node web1 was revoked").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(host.log().matches("node web1 was revoked").count(), 1, "{}", host.log());
    assert!(host.status().await.contains("node web1 was revoked"));
}

#[tokio::test]
async fn orders_for_another_are_refused() {
    let (mut fake, _stop) = Fake::start().await;
    let host = Host::new();
    host.join(&fake).await;
    fake.node = hostler_types::NodeId::from_random([4; 10]);
    fake.order(1, vec![check("site", "http")], Vec::new());
    let _agent = host.run();
    host.wait_log("desired state was not taken").await;
    fake.wait("an event", |memory| !memory.records.is_empty()).await;
    assert!(host.log().contains("it is for node n-"), "{}", host.log());
}

#[tokio::test]
async fn a_bad_configuration_is_named() {
    let host = Host::new();
    std::fs::write(host.path("agent.toml"), "polcy = \"full\"\n").expect("written");
    let checked = host.output(&["run", "--check-config"]).await;
    assert!(!checked.status.success());
    assert!(text(&checked.stderr).contains("did you mean policy?"), "{}", text(&checked.stderr));
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = free.local_addr().expect("an address");
    let folder = host.folder.path().display();
    let settings = format!("state_dir = \"{folder}/s\"\nruntime_dir = \"{folder}/r\"\nhttp_listen = \"{taken}\"\n");
    std::fs::write(host.path("agent.toml"), settings).expect("written");
    let checked = host.output(&["run", "--check-config"]).await;
    assert!(text(&checked.stderr).contains("cannot be listened on"), "{}", text(&checked.stderr));
}

#[tokio::test]
async fn uninstall_leaves_nothing_and_touches_nothing_else() {
    let (fake, _stop) = Fake::start().await;
    let host = Host::new();
    host.join(&fake).await;
    std::fs::write(host.path("other"), "not ours").expect("written");
    let asked = host.output(&["uninstall"]).await;
    assert!(text(&asked.stderr).contains("add --yes"), "{}", text(&asked.stderr));
    let gone = host.output(&["uninstall", "--yes"]).await;
    assert!(gone.status.success(), "{}", text(&gone.stderr));
    let left: Vec<_> =
        std::fs::read_dir(host.folder.path()).expect("a folder").flatten().map(|one| one.file_name()).collect();
    assert_eq!(left, ["other"]);
}

#[tokio::test]
async fn health_ready_and_metrics_are_served() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (fake, stop) = Fake::start().await;
    fake.order(1, Vec::new(), Vec::new());
    let host = Host::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let settings = std::fs::read_to_string(host.path("agent.toml")).expect("read");
    std::fs::write(host.path("agent.toml"), settings.replace("\"off\"", &format!("\"{free}\""))).expect("written");
    host.join(&fake).await;
    let _agent = host.run();
    fake.wait("a heartbeat", |memory| !memory.heartbeats.is_empty()).await;
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(free).await.expect("connects");
        let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    };
    assert!(get("/health").await.starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").await.contains("\nhostler_agent_connected 1\n"));
    assert!(get("/ready").await.starts_with("HTTP/1.1 200"));
    stop.cancel();
    host.wait_log("the connection to the control plane ended").await;
    let ready = get("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("\"link\":\"not connected"), "{ready}");
}
