//! What holds healing back: by hand and by itself, as nodes that ask are told.

use crate::refusals::{block_on, join};
use hostler_lab::ControlPlane;
use hostler_proto::agent as wire;
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::{from_agent, spool_record, to_agent};
use hostler_proto::pem;
use hostler_proto::transport::{self, Trust};
use prost::Message;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const SOON: Duration = Duration::from_secs(20);
/// The common-cause brake lets go after half a minute.
const RELEASED: Duration = Duration::from_secs(60);

/// A node that says what it is told to, and runs nothing.
struct Node {
    id: String,
    outbound: mpsc::Sender<wire::FromAgent>,
    inbound: tonic::Streaming<wire::ToAgent>,
    seq: u64,
    /// As the desired state says it last.
    brakes: Vec<wire::Brake>,
}

impl Node {
    async fn connected(control_plane: &ControlPlane, code: &str) -> Self {
        let (id, identity) = join(code, "0.1.0").await.unwrap();
        let authority = std::fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
        let trust = Trust::Authorities(pem::decode_chain(&authority).unwrap());
        let address = format!("127.0.0.1:{}", control_plane.agents_port);
        let channel = transport::connect(&address, &trust, Some(identity)).await.unwrap();
        let (outbound, stream) = mpsc::channel(16);
        let hello = wire::Hello { agent_version: "0.1.0".into(), spool_id: 7, ..wire::Hello::default() };
        let first = wire::FromAgent { message: Some(from_agent::Message::Hello(hello)) };
        outbound.send(first).await.unwrap();
        let inbound = AgentLinkClient::new(channel).connect(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let heart = outbound.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(2)).await;
                let beat = from_agent::Message::Heartbeat(wire::Heartbeat::default());
                if heart.send(wire::FromAgent { message: Some(beat) }).await.is_err() {
                    return;
                }
            }
        });
        Self { id, outbound, inbound, seq: 0, brakes: Vec::new() }
    }

    async fn say(&self, message: from_agent::Message) {
        self.outbound.send(wire::FromAgent { message: Some(message) }).await.unwrap();
    }

    /// The next message, and what it says of brakes.
    async fn hear(&mut self, most: Duration) -> to_agent::Message {
        let heard = tokio::time::timeout(most, self.inbound.message()).await.expect("an answer in time");
        let message = heard.unwrap().and_then(|heard| heard.message).expect("the stream goes on");
        if let to_agent::Message::DesiredState(signed) = &message {
            self.brakes = wire::DesiredState::decode(signed.payload.as_slice()).unwrap().brakes;
        }
        message
    }

    /// Until its brakes are of these kinds.
    async fn braked(&mut self, kinds: &[&str], most: Duration) {
        let id = self.id.clone();
        let braked = async {
            while self.brakes.iter().map(|one| one.kind.as_str()).ne(kinds.iter().copied()) {
                self.hear(most).await;
            }
        };
        assert!(tokio::time::timeout(most, braked).await.is_ok(), "{id}: not {kinds:?} but {:?}", self.brakes);
    }

    fn name(&self, control_plane: &ControlPlane) -> String {
        control_plane.ctl_json(&["node", "show", &self.id])["name"].as_str().unwrap().to_owned()
    }

    async fn turns(&mut self, from: &str, to: &str) {
        self.seq += 1;
        let at_ms = now_ms();
        let transition = wire::Transition {
            check: "web".into(),
            from: from.into(),
            to: to.into(),
            at_ms,
            summary: "503, want 200".into(),
            streak: 3,
            needed: 3,
        };
        let record = wire::SpoolRecord { seq: self.seq, body: Some(spool_record::Body::Transition(transition)) };
        self.say(from_agent::Message::Spool(wire::SpoolBatch { spool_id: 7, records: vec![record] })).await;
        loop {
            match self.hear(SOON).await {
                to_agent::Message::SpoolAck(ack) if ack.seq == self.seq => return,
                _ => {}
            }
        }
    }

    async fn asks(&mut self) -> wire::HealAnswer {
        self.seq += 1;
        let id = self.seq;
        let (service, check, step) = ("hello".into(), "web".into(), "restart".into());
        self.say(from_agent::Message::HealAsk(wire::HealAsk { id, service, check, step })).await;
        loop {
            match self.hear(SOON).await {
                to_agent::Message::HealAnswer(answer) if answer.id == id => return answer,
                _ => {}
            }
        }
    }

    async fn is_refused(&mut self, words: &[&str]) {
        let answer = self.asks().await;
        assert!(!answer.allowed && answer.words.len() == words.len(), "{answer:?}");
        for (said, expected) in answer.words.iter().zip(words) {
            assert!(said.starts_with(expected), "{expected:?}: {answer:?}");
        }
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

const SPEC: &str = "
check: {web: {where: role=web, plugin: disk, every: 1s, timeout: 1s}}
service: {hello: {where: role=web, command: bin/hello, live: [web]}}
budget: {web: {where: role=web, max_down: 1}}
";

#[test]
fn a_node_that_asks_is_told_what_holds_it() {
    let control_plane = ControlPlane::with_plugins(&["disk"]);
    control_plane.apply(SPEC);
    let ctl = |args: &[&str]| control_plane.ctl(args);
    let codes: Vec<String> = (0..4).map(|_| control_plane.join_code(&["--label", "role=web"])).collect();
    block_on(async {
        let mut nodes = Vec::new();
        for code in &codes {
            nodes.push(Node::connected(&control_plane, code).await);
        }
        let [one, two, three, four] = nodes.as_mut_slice() else { panic!("four nodes") };

        // Alone: after the others had their time.
        one.turns("passing", "critical").await;
        let answer = one.asks().await;
        assert!(answer.allowed, "{answer:?}");
        assert_eq!(answer.words, ["brake: 1 node fails, under 3", "not frozen", "budget web 0 of 1 down"]);

        // Frozen: on its disk, under each listing, and until somebody thaws it.
        let frozen = ctl(&["freeze", "--for", "1h", "--reason", "storage work", "-l", "role=web"]);
        assert_eq!(frozen.code, Some(0), "{frozen:#?}");
        assert!(frozen.out.starts_with("frozen where role=web until "), "{frozen:#?}");
        assert!(frozen.out.contains("Undo: hostlerctl thaw -l role=web      On a host cut off: "), "{frozen:#?}");
        one.braked(&["frozen"], SOON).await;
        assert!(one.brakes[0].until_ms > 0 && one.brakes[0].words == "by admin: storage work", "{:?}", one.brakes);
        one.is_refused(&["frozen by admin: storage work, until "]).await;
        for listing in [["node", "ls"], ["check", "ls"]] {
            let told = ctl(&listing).err;
            assert!(told.contains("by admin (\"storage work\"): healing, runs, schedules and deploys wait."), "{told}");
        }
        assert_eq!(ctl(&["thaw", "-l", "role=db"]).code, Some(1));
        control_plane.ctl_ok(&["thaw"]);
        one.braked(&[], SOON).await;
        assert_eq!(ctl(&["node", "ls"]).err, "");

        // In maintenance: it alone, and it ends by itself.
        let name = one.name(&control_plane);
        control_plane.ctl_ok(&["node", "maintenance", &name, "on", "--for", "10s", "--reason", "new disk"]);
        assert!(control_plane.ctl_ok(&["node", "ls"]).contains("ready, maintenance"));
        one.braked(&["maintenance"], SOON).await;
        one.is_refused(&["maintenance by admin: new disk, until "]).await;
        one.braked(&[], SOON).await;

        // Three of four: nobody is restarted for what is wrong with none of them.
        two.turns("passing", "critical").await;
        three.turns("passing", "critical").await;
        for node in [&mut *one, &mut *two, &mut *three, &mut *four] {
            node.braked(&["common-cause"], SOON).await;
            assert!(node.brakes[0].words.starts_with("check web fails on 3 of 4 nodes since "), "{:?}", node.brakes);
        }
        three.is_refused(&["common cause: check web fails on 3 of 4 nodes since "]).await;
        let told = ctl(&["check", "ls"]).err;
        assert!(told.contains("a common cause; healing on it waits"), "{told}");
        let alerts = hostler_lab::wait_for("the alert", SOON, || {
            let alerts = control_plane.ctl_json(&["alert", "ls"]);
            let open = alerts.to_string();
            if open.contains("FLEET/web") { Ok(open) } else { Err(open) }
        });
        assert!(alerts.contains("page"), "{alerts}");
        // A fourth says nothing new to people.
        four.turns("passing", "critical").await;
        for node in [&mut *one, &mut *two, &mut *three, &mut *four] {
            node.turns("critical", "passing").await;
        }
        four.braked(&[], RELEASED).await;
        let alerts = control_plane.ctl_json(&["alert", "ls", "--all"]).to_string();
        assert_eq!(alerts.matches("FLEET/web").count(), 1, "{alerts}");
        assert!(!alerts.contains(&format!("{}/web", four.name(&control_plane))), "{alerts}");
        two.turns("passing", "critical").await;
        let answer = two.asks().await;
        assert!(answer.allowed, "{answer:?}");
    });
    let events = control_plane.events();
    let said = |kind: &str, part: &str| {
        let about =
            |event: &&serde_json::Value| event["kind"] == kind && event["message"].as_str().unwrap().contains(part);
        events.iter().filter(about).count()
    };
    for (kind, part) in [
        ("server", "role=web is frozen by admin: storage work, for 1h"),
        ("server", "role=web is thawed by admin"),
        ("node", "in maintenance by admin: new disk, for 10s"),
        ("node", "maintenance by admin ended by itself, for 10s"),
        ("check", "a common cause; healing on it waits"),
        ("check", "fails on few nodes again"),
    ] {
        assert_eq!(said(kind, part), 1, "{kind}: {part}: {events:#?}");
    }
}
