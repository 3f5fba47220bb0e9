//! Runs over nodes that are played: each answers as it is told, and what comes to them is
//! counted.

use crate::refusals::{block_on, join};
use hostler_lab::played::{Link, Member, report};
use hostler_lab::{ControlPlane, wait_for};
use hostler_proto::agent as wire;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::{from_agent, spool_record, to_agent};
use hostler_proto::pem;
use hostler_proto::transport::{self, Trust};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

/// What a played node does with whatever it is offered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    Says(&'static str),
    Fails,
    /// Begins, and ends only when it is told to.
    Hangs,
    /// Has its result, and says it after so many milliseconds.
    Takes(u64),
}

/// Counts over all nodes of a test.
#[derive(Default)]
pub struct Counts {
    now: AtomicUsize,
    most: AtomicUsize,
    /// How often each id was begun on each node.
    pub begun: Mutex<BTreeMap<(String, String), usize>>,
}

struct Node {
    part: Part,
    counts: Arc<Counts>,
    id: String,
    outbound: mpsc::Sender<wire::FromAgent>,
    seq: u64,
    ended: BTreeMap<String, wire::TaskReport>,
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

impl Node {
    /// Until it is to leave.
    async fn play(control_plane: &ControlPlane, code: &str, part: Part, counts: Arc<Counts>, leave: CancellationToken) {
        let (id, identity) = join(code, "0.1.0").await.unwrap();
        let authority = std::fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
        let trust = Trust::Authorities(pem::decode_chain(&authority).unwrap());
        let address = format!("127.0.0.1:{}", control_plane.agents_port);
        let channel = transport::connect(&address, &trust, Some(identity)).await.unwrap();
        let (outbound, stream) = mpsc::channel(64);
        let hello = wire::Hello { agent_version: "0.1.0".into(), spool_id: 7, ..wire::Hello::default() };
        outbound.send(from(from_agent::Message::Hello(hello))).await.unwrap();
        let mut inbound =
            AgentLinkClient::new(channel).connect(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let mut node = Self { part, counts, id, outbound, seq: 0, ended: BTreeMap::new() };
        let mut beat = tokio::time::interval(Duration::from_secs(2));
        let mut due: BTreeMap<u64, String> = BTreeMap::new();
        loop {
            let next = due.keys().next().copied();
            let wait = next.map_or(SOON, |at| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                () = leave.cancelled() => return,
                _ = beat.tick() => node.say(from_agent::Message::Heartbeat(wire::Heartbeat::default())).await,
                () = tokio::time::sleep(wait) => {
                    if let Some(id) = next.and_then(|at| due.remove(&at)) {
                        node.end(&id, "succeeded", "", "done\n").await;
                    }
                }
                message = inbound.message() => {
                    let Ok(Some(message)) = message else { return };
                    match message.message {
                        Some(to_agent::Message::TaskOffer(offer)) => {
                            if let Some(at) = node.offered(offer).await {
                                due.insert(at.0, at.1);
                            }
                        }
                        Some(to_agent::Message::TaskCancel(cancel)) => {
                            node.end(&cancel.id, "cancelled", &cancel.words, "").await;
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    async fn say(&self, message: from_agent::Message) {
        self.outbound.send(from(message)).await.unwrap();
    }

    async fn offered(&mut self, offer: wire::TaskOffer) -> Option<(u64, String)> {
        if self.ended.contains_key(&offer.id) {
            self.end(&offer.id, "", "", "").await;
            return None;
        }
        *self.counts.begun.lock().unwrap().entry((self.id.clone(), offer.id.clone())).or_default() += 1;
        let now = self.counts.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.counts.most.fetch_max(now, Ordering::SeqCst);
        let at_ms = now_ms();
        let running = wire::TaskReport {
            id: offer.id.clone(),
            state: "running".into(),
            at_ms,
            began_ms: at_ms,
            ..wire::TaskReport::default()
        };
        self.say(from_agent::Message::Task(running)).await;
        match self.part {
            Part::Says(text) => self.end(&offer.id, "succeeded", "", text).await,
            Part::Fails => self.end(&offer.id, "failed", "step 1 of 1: exit 2", "no such file\n").await,
            Part::Hangs => {}
            Part::Takes(ms) => return Some((now_ms() + ms, offer.id)),
        }
        None
    }

    /// In its spool; what ended already is told as it ended.
    async fn end(&mut self, id: &str, state: &str, words: &str, output: &str) {
        if !self.ended.contains_key(id) {
            self.counts.now.fetch_sub(1, Ordering::SeqCst);
        }
        let exit = (state == "failed").then_some(2);
        let report = wire::TaskReport {
            id: id.into(),
            state: state.into(),
            at_ms: now_ms(),
            began_ms: now_ms(),
            words: words.into(),
            output: output.into(),
            exit,
            ..wire::TaskReport::default()
        };
        let report = self.ended.entry(id.to_owned()).or_insert(report).clone();
        self.seq += 1;
        let record = wire::SpoolRecord { seq: self.seq, body: Some(spool_record::Body::Task(report)) };
        self.say(from_agent::Message::Spool(wire::SpoolBatch { spool_id: 7, records: vec![record] })).await;
    }
}

fn from(message: from_agent::Message) -> wire::FromAgent {
    wire::FromAgent { message: Some(message) }
}

/// Plays the parts while `ask` asks, and returns what was counted.
pub fn with_nodes(control_plane: &ControlPlane, parts: &[Part], ask: impl FnOnce(&[CancellationToken])) -> Arc<Counts> {
    let counts = Arc::new(Counts::default());
    let codes: Vec<String> = parts.iter().map(|_| control_plane.join_code(&["--label", "role=web"])).collect();
    let leaves: Vec<CancellationToken> = parts.iter().map(|_| CancellationToken::new()).collect();
    std::thread::scope(|scope| {
        // They leave where a look at them fails as well.
        let _leave: Vec<_> = leaves.iter().map(|leave| leave.clone().drop_guard()).collect();
        for ((code, part), leave) in codes.iter().zip(parts).zip(&leaves) {
            let (counts, part, leave) = (Arc::clone(&counts), *part, leave.clone());
            scope.spawn(move || block_on(Node::play(control_plane, code, part, counts, leave)));
        }
        wait_for("all nodes to be ready", SOON, || {
            let nodes = control_plane.ctl_json(&["node", "ls"]);
            let ready = nodes.as_array().unwrap().iter().filter(|node| node["state"] == "ready").count();
            if ready == parts.len() { Ok(()) } else { Err(nodes) }
        });
        ask(&leaves);
    });
    counts
}

fn states(run: &Value) -> Vec<String> {
    let mut states: Vec<String> =
        run["tasks"].as_array().unwrap().iter().map(|task| task["state"].as_str().unwrap().to_owned()).collect();
    states.sort();
    states
}

#[test]
fn a_run_tells_its_nodes_apart() {
    let control_plane = ControlPlane::started();
    let parts = [Part::Says("up 3 days\n"), Part::Says("up 3 days\n"), Part::Fails, Part::Hangs, Part::Says("never\n")];
    with_nodes(&control_plane, &parts, |leaves| {
        leaves[4].cancel();
        wait_for("one to be away", SOON, || {
            let nodes = control_plane.ctl_json(&["node", "ls"]);
            if nodes.to_string().contains("disconnected") { Ok(()) } else { Err(nodes) }
        });
        let ran = control_plane.ctl(&["run", "--yes", "--deadline", "5s", "-l", "role=web", "--", "uptime"]);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.out.contains("2 hosts said (") && ran.out.contains("):\n  up 3 days\n"), "{ran:#?}");
        assert!(ran.out.contains("failed: step 1 of 1: exit 2\n  no such file\n"), "{ran:#?}");
        assert!(ran.out.contains("run 1 failed in ") && ran.out.contains("hostlerctl run retry 1"), "{ran:#?}");
        let run = control_plane.ctl_json(&["run", "show", "1"]);
        assert_eq!(states(&run), ["cancelled", "failed", "skipped", "succeeded", "succeeded"], "{run:#}");
        assert_eq!((&run["run"]["state"], &run["run"]["title"]), (&"failed".into(), &"uptime".into()));
        let why = control_plane.ctl_ok(&["why", "run/1"]);
        assert!(why.starts_with("run 1: uptime, by admin\n") && why.contains("the deadline of 5s is over"), "{why}");

        // Only where it did not end well, and nobody waits for who is away for ever.
        let again =
            control_plane.ctl(&["-o", "json", "run", "retry", "1", "--yes", "--timeout", "1s", "--deadline", "40s"]);
        assert_eq!(again.code, Some(1), "{again:#?}");
        let again: Value = serde_json::from_str(&again.out).unwrap();
        assert_eq!(states(&again), ["cancelled", "failed", "skipped"], "{again:#}");
        let listed = control_plane.ctl_ok(&["run", "ls"]);
        assert!(listed.lines().nth(1).unwrap().starts_with("2    failed"), "{listed}");
    });
    for (args, code, words) in [
        (&["run"][..], 2, "say what to run after --"),
        (&["run", "--yes", "-l", "role=nobody", "--", "uptime"], 1, "there is no such node (role=nobody)"),
        (&["run", "--yes", "-l", "os.id=debian", "--", "uptime"], 1, "choose by labels"),
        (&["run", "--yes", "--max", "0", "--", "uptime"], 1, "write 1 or more"),
        (&["run", "task", "patch"], 1, "there is no task \"patch\""),
        (&["run", "show", "99"], 1, "there is no run 99"),
        (&["run", "abort", "1"], 1, "run 1 is over"),
        (&["run", "watch", "x"], 2, "is no run's number"),
        (&["why", "run/x"], 2, "is no run's number"),
    ] {
        let ran = control_plane.ctl(args);
        assert!(ran.code == Some(code) && ran.err.contains(words), "{args:?}: {ran:#?}");
    }
}

const ROLL: &str = "
service: {hello: {where: role=web, command: bin/hello}}
budget: {web: {where: role=web, max_down: 1}}
task: {roll: {where: role=web, max: 4, steps: [{restart: hello}]}}
";

#[test]
fn a_budget_lets_one_after_the_other_and_a_freeze_nobody() {
    let control_plane = ControlPlane::started();
    control_plane.apply(ROLL);
    let counts = with_nodes(&control_plane, &[Part::Takes(200); 4], |_| {
        let dry = control_plane.ctl_ok(&["run", "task", "roll", "--dry-run"]);
        assert!(dry.contains("task roll on 4 nodes, all at once.  Nothing was done.\n  step   restart hello"), "{dry}");
        control_plane.ctl_ok(&["freeze", "--for", "1h", "--reason", "storage"]);
        let begun = control_plane.ctl_ok(&["run", "task", "roll", "--yes", "--detach", "--reason", "new certificate"]);
        assert_eq!(begun, "run 1 begun.  Follow it: hostlerctl run watch 1\n");
        let listed = wait_for("it to be held", SOON, || {
            let listed = control_plane.ctl_ok(&["run", "ls"]);
            if listed.contains("frozen by admin: storage") { Ok(listed) } else { Err(listed) }
        });
        assert!(listed.contains("4 planned"), "{listed}");
        control_plane.ctl_ok(&["thaw"]);
        let ran = control_plane.ctl(&["run", "watch", "1"]);
        assert!(ran.code == Some(0) && ran.out.contains("run 1 succeeded in "), "{ran:#?}");
        let why = control_plane.ctl_ok(&["why", "run/1"]);
        assert!(why.contains("budget web: 1 of 1 down: ") && why.contains(" in run/1"), "{why}");
        assert!(why.contains("4 ok; at most 1 at once"), "{why}");
    });
    assert_eq!(counts.most.load(Ordering::SeqCst), 1, "never more than one");
    assert!(counts.begun.lock().unwrap().values().all(|count| *count == 1));
}

#[test]
fn an_aborted_run_begins_nothing_else() {
    let control_plane = ControlPlane::started();
    let counts = with_nodes(&control_plane, &[Part::Hangs; 3], |_| {
        control_plane.ctl_ok(&["run", "--yes", "--detach", "--max", "1", "--", "sleep", "600"]);
        wait_for("one to be at it", SOON, || {
            let run = control_plane.ctl_json(&["run", "show", "1"]);
            if states(&run) == ["planned", "planned", "running"] { Ok(()) } else { Err(run) }
        });
        let paused = control_plane.ctl_ok(&["run", "pause", "1"]);
        assert!(paused.contains("run 1 is paused") && paused.contains("hostlerctl run resume 1"), "{paused}");
        let aborted = control_plane.ctl_ok(&["run", "abort", "1", "--reason", "wrong command"]);
        assert!(aborted.starts_with("run 1 is abort"), "{aborted}");
        let run = wait_for("its end", SOON, || {
            let run = control_plane.ctl_json(&["run", "show", "1"]);
            if run["run"]["state"] == "aborted" { Ok(run) } else { Err(run) }
        });
        assert_eq!(states(&run), ["cancelled", "skipped", "skipped"], "{run:#}");
        assert!(run.to_string().contains("aborted by admin: wrong command"), "{run:#}");
    });
    assert_eq!(counts.most.load(Ordering::SeqCst), 1);
}

#[test]
fn an_end_that_was_acked_is_kept_and_changes_nothing_when_it_comes_again() {
    let mut control_plane = ControlPlane::started();
    let member = block_on(Member::join(&control_plane.join_code(&[]), "web1")).unwrap();
    let offered = || async {
        let mut link = Link::open(&member).await.unwrap();
        control_plane.ctl_ok(&["run", "--yes", "--detach", "--", "uptime"]);
        loop {
            if let to_agent::Message::TaskOffer(offer) = link.next().await.unwrap().expect("an offer") {
                say_end(&mut link, &offer.id, "succeeded").await;
                return offer.id;
            }
        }
    };
    let id = block_on(offered());
    // As a crash ends it, right behind the ack.
    control_plane.kill();
    control_plane.start();
    let kept = control_plane.ctl_json(&["run", "show", "1"]);
    assert_eq!((&kept["run"]["state"], states(&kept)), (&"succeeded".into(), vec!["succeeded".to_owned()]), "{kept:#}");
    block_on(async {
        let mut link = Link::open(&member).await.unwrap();
        say_end(&mut link, &id, "failed").await;
    });
    assert_eq!(control_plane.ctl_json(&["run", "show", "1"]), kept);
}

/// Until it is acked.
async fn say_end(link: &mut Link, task: &str, state: &str) {
    let seq = link.end(report(task, state, "")).await.unwrap();
    loop {
        match link.next().await.unwrap().expect("an ack") {
            to_agent::Message::SpoolAck(ack) if ack.seq == seq => return,
            _ => {}
        }
    }
}
