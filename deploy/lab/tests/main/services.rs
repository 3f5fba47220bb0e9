//! Services between operators and a node: what the node says of them is shown and
//! kept, and what it is asked comes to it. The node is played.

use crate::refusals::{block_on, join};
use hostler_lab::{ControlPlane, wait_for};
use hostler_proto::agent::agent_link_client::AgentLinkClient;
use hostler_proto::agent::{self as wire, from_agent, spool_record, task_step, to_agent};
use hostler_proto::pem;
use hostler_proto::transport::{self, Trust};
use prost::Message;
use std::fs;
use std::time::Duration;
use tokio::sync::mpsc;

const SPEC: &str = "service:
  db: {where: role=web, command: bin/db}
  hello:
    where: role=web
    command: bin/hello
    needs: [db]
    heal: [restart, page]
  elsewhere: {where: role=none, command: bin/x}
";
const SOON: Duration = Duration::from_secs(15);
const SPOOL: u64 = 7;

fn report(service: &str, state: &str, pid: u32) -> wire::ServiceReport {
    wire::ServiceReport { service: service.into(), state: state.into(), pid, ..Default::default() }
}

fn hello() -> from_agent::Message {
    from_agent::Message::Hello(wire::Hello {
        agent_version: "0.1.0".into(),
        spool_id: SPOOL,
        services: vec![report("hello", "running", 41), report("elsewhere", "running", 42)],
        ..Default::default()
    })
}

fn spool(records: Vec<wire::SpoolRecord>) -> from_agent::Message {
    from_agent::Message::Spool(wire::SpoolBatch { spool_id: SPOOL, records })
}

fn act(seq: u64, id: &str, service: &str, result: &str) -> wire::SpoolRecord {
    let act = wire::Act {
        id: id.into(),
        at_ms: 1_000,
        service: service.into(),
        deed: "restarted".into(),
        saw: vec!["ended by KILL after 3m".into()],
        rule: "restart".into(),
        origin: "hello.yaml:9".into(),
        result: result.into(),
        tail: vec!["panic: no disk".into()],
        ..Default::default()
    };
    wire::SpoolRecord { seq, body: Some(spool_record::Body::Act(act)) }
}

/// What it printed last.
fn tail(order: &wire::ServiceOrder) -> from_agent::Message {
    let answer = wire::ServiceAnswer {
        id: order.id,
        outcome: "done".into(),
        tail: vec!["one".into(), "two".into()],
        ..Default::default()
    };
    from_agent::Message::ServiceAnswer(answer)
}

/// Ends each task as its reason says; a stop is what it dies of.
fn ends(offer: &wire::TaskOffer) -> Option<wire::TaskReport> {
    let steps = offer.steps.iter().filter_map(|step| match &step.does {
        Some(task_step::Does::Service(one)) => Some((one.verb.as_str(), one.service.as_str())),
        _ => None,
    });
    let (verbs, services): (Vec<&str>, Vec<&str>) = steps.unzip();
    assert!(services == ["db", "hello"] || services == ["hello"], "{services:?}");
    let (state, words) = match (verbs[0], offer.reason.as_str()) {
        ("stop", _) => return None,
        (_, "fails") => ("failed", "step 1 of 2: ended at once with 1"),
        _ => ("succeeded", "down 0.3 s"),
    };
    let (state, words) = (state.into(), words.into());
    Some(wire::TaskReport { id: offer.id.clone(), state, words, at_ms: 5, began_ms: 2, ..Default::default() })
}

/// Runs until it is told to leave, or dies; passes on all that it was sent.
async fn play(
    control_plane: &ControlPlane,
    mut todo: mpsc::Receiver<from_agent::Message>,
    heard: mpsc::Sender<to_agent::Message>,
) {
    let authority = fs::read_to_string(control_plane.path("data/pki/authority.crt")).unwrap();
    let trust = Trust::Authorities(pem::decode_chain(&authority).unwrap());
    let code = control_plane.join_code(&["--label", "role=web"]);
    let (_, identity) = join(&code, "0.1.0").await.unwrap();
    let address = format!("127.0.0.1:{}", control_plane.agents_port);
    let channel = transport::connect(&address, &trust, Some(identity)).await.unwrap();
    let (outbound, stream) = mpsc::channel(16);
    let say = |message| wire::FromAgent { message: Some(message) };
    outbound.send(say(hello())).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut inbound = AgentLinkClient::new(channel).connect(stream).await.unwrap().into_inner();
    // After all that the test says.
    let mut seq = 1_000;
    loop {
        tokio::select! {
            next = todo.recv() => match next {
                Some(message) => outbound.send(say(message)).await.unwrap(),
                None => return,
            },
            message = inbound.message() => {
                let Some(message) = message.unwrap().and_then(|message| message.message) else { return };
                match &message {
                    to_agent::Message::ServiceOrder(order) => outbound.send(say(tail(order))).await.unwrap(),
                    to_agent::Message::TaskOffer(offer) => {
                        let Some(report) = ends(offer) else { return };
                        seq += 1;
                        let records = vec![wire::SpoolRecord { seq, body: Some(spool_record::Body::Task(report)) }];
                        outbound.send(say(spool(records))).await.unwrap();
                    }
                    _ => {}
                }
                let _ = heard.send(message).await;
            }
        }
    }
}

fn next<T>(heard: &mut mpsc::Receiver<to_agent::Message>, want: impl Fn(to_agent::Message) -> Option<T>) -> T {
    loop {
        let message = heard.blocking_recv().expect("the node is there");
        if let Some(found) = want(message) {
            return found;
        }
    }
}

#[test]
fn what_a_node_says_of_services_is_shown_and_what_it_is_asked_comes_to_it() {
    let control_plane = ControlPlane::started();
    control_plane.apply(SPEC);
    let none = control_plane.ctl_ok(&["service", "ls"]);
    assert!(none.contains("no service runs on any node"), "{none}");
    std::thread::scope(|scope| {
        let ((say, todo), (heard, mut hears)) = (mpsc::channel(16), mpsc::channel(256));
        let played = &control_plane;
        let node = scope.spawn(move || block_on(play(played, todo, heard)));
        let desired = next(&mut hears, |message| match message {
            to_agent::Message::DesiredState(signed) => wire::DesiredState::decode(signed.payload.as_slice()).ok(),
            _ => None,
        });
        let names: Vec<&str> = desired.services.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["db", "hello"]);
        assert_eq!(desired.services[1].needs, ["db"]);
        let origin = desired.services[1].origins.get("heal").cloned().unwrap_or_default();
        assert!(origin.ends_with(":7"), "{origin}");

        let rows = wait_for("the node's words", SOON, || {
            let rows = control_plane.ctl_json(&["service", "ls"]);
            if rows[1]["state"] == "running" { Ok(rows) } else { Err(rows) }
        });
        assert_eq!((&rows[1]["service"], &rows[1]["pid"]), (&"hello".into(), &41.into()));
        assert_eq!((&rows[0]["state"], rows.as_array().unwrap().len()), (&"unknown".into(), 2));
        let name = rows[1]["node"].as_str().unwrap().to_owned();

        let acked = |message| match message {
            to_agent::Message::SpoolAck(ack) => Some(ack.seq),
            _ => None,
        };
        // As many as a batch may have: the oldest of them have to go.
        for batch in 0..3 {
            let records = (1..=64).map(|n| act(batch * 64 + n, &format!("a{:03}", batch * 64 + n), "db", ""));
            say.blocking_send(spool(records.collect())).unwrap();
            assert_eq!(next(&mut hears, acked), batch * 64 + 64);
        }
        assert_eq!(control_plane.ctl_json(&["service", "history", "db", "-n", "500"]).as_array().unwrap().len(), 100);
        let records = vec![
            act(193, "b1", "hello", ""),
            act(194, "x", "nobody", ""),
            act(195, "b1", "hello", "passing 4.3 s later"),
        ];
        say.blocking_send(spool(records)).unwrap();
        assert_eq!(next(&mut hears, acked), 195);
        let history = control_plane.ctl_json(&["service", "history", "hello", "--node", &name]);
        assert_eq!((&history[0]["id"], &history[0]["result"]), (&"b1".into(), &"passing 4.3 s later".into()));
        assert_eq!(history.as_array().unwrap().len(), 1);
        let told = |subject: &str| {
            let events = control_plane.events();
            let of = |event: &&serde_json::Value| event["subject"] == subject;
            events.iter().filter(of).map(|event| event["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            told("hello").iter().filter(|text| text.starts_with("restarted")).collect::<Vec<_>>(),
            ["restarted by itself: ended by KILL after 3m", "restarted: passing 4.3 s later"]
        );
        assert!(told(&name).iter().any(|text| text.contains("there is no service nobody")), "{:?}", told(&name));
        let why = control_plane.ctl_ok(&["why", "service/hello"]);
        assert!(
            why.contains("restarted by") && why.contains("hello.yaml:9") && why.contains("panic: no disk"),
            "{why}"
        );

        let done = control_plane.ctl_ok(&["service", "restart", "hello", "db", "--reason", "new certificate"]);
        assert!(done.contains("ok      down 0.3 s") && done.contains("run 1 succeeded"), "{done}");
        let failed = control_plane.ctl(&["service", "restart", "hello", "db", "--reason", "fails"]);
        assert_eq!(failed.code, Some(1), "{failed:#?}");
        assert!(failed.out.contains("ended at once with 1") && failed.out.contains("1 failed"), "{failed:#?}");
        let why = control_plane.ctl_ok(&["why", "run/1"]);
        assert!(why.starts_with("run 1: restart db, hello, by admin, \"new certificate\"\n"), "{why}");
        let logs = control_plane.ctl_ok(&["service", "logs", "hello", "-n", "2"]);
        assert_eq!(logs, "one\ntwo\n");
        for (args, code, words) in [
            (&["service", "show", "helo"][..], 1, "did you mean hello?"),
            (&["service", "restart", "elsewhere"], 1, "elsewhere runs where role=none"),
            (&["service", "restart", "hello", "--max", "0"], 1, "write 1 or more"),
            (&["why", "hello"], 2, "service/hello"),
        ] {
            let ran = control_plane.ctl(args);
            assert!(ran.code == Some(code) && ran.err.contains(words), "{args:?}: {ran:#?}");
        }
        let shown = control_plane.ctl_ok(&["service", "show", "hello"]);
        assert!(shown.contains("is waited for") && shown.contains("bin/hello"), "{shown}");

        // It goes while it is asked.
        let gone = control_plane.ctl_ok(&["service", "stop", "hello", "--detach"]);
        assert!(gone.contains("run 3 begun"), "{gone}");
        node.join().unwrap();
        let row = wait_for("the node to be away", SOON, || {
            let row = control_plane.ctl_json(&["service", "ls", "hello"])[0].clone();
            if row["node_state"] == "disconnected" { Ok(row) } else { Err(row) }
        });
        assert_eq!(row["state"], "running");
        let would = control_plane.ctl_ok(&["service", "start", "hello", "--dry-run"]);
        assert!(would.contains(&format!("away: {name}")), "{would}");
        drop(say);
    });
}
