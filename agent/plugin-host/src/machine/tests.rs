//! Calls of a run, answered by this machine.

use super::testing::{Server, grants};
use super::*;
use crate::answer::Bytes;

fn machine(state: Option<PathBuf>) -> Machine {
    Machine::new(MachineConfig { state_folder: state, ..MachineConfig::default() })
}

fn session(machine: &Machine, granted: &str) -> Box<dyn Session> {
    machine.session(&RunContext { instance: "web".into(), grants: Arc::new(grants(granted)) })
}

#[tokio::test]
async fn what_a_run_opened_is_its_own() {
    let server = Server::says("hello").await;
    let machine = machine(None);
    let mut one = session(&machine, "tcp = [\"127.0.0.1:*\"]");
    let connect = || Call::TcpConnect { host: "127.0.0.1".into(), port: server.port, timeout_ms: 1000 };
    assert_eq!(one.call(connect()).await, Ok(Answer::Handle(0)));
    assert_eq!(one.call(connect()).await, Ok(Answer::Handle(1)));
    let send = Call::TcpSend { connection: 1, bytes: Bytes(b"hi".to_vec()) };
    assert_eq!(one.call(send.clone()).await, Ok(Answer::Done));
    let mut other = session(&machine, "");
    assert_eq!(other.call(send).await, Err(CallError::Invalid("there is no handle 1".into())));
    for _ in 2..limits::CONNECTIONS_MAX {
        assert!(matches!(one.call(connect()).await, Ok(Answer::Handle(_))));
    }
    assert!(matches!(one.call(connect()).await, Err(CallError::Limit(_))));
}

#[tokio::test]
async fn what_a_run_leaves_the_next_finds() {
    let folder = tempfile::tempdir().expect("tempdir");
    let log = folder.path().join("a.log");
    std::fs::write(&log, "1\n2\n").expect("write");
    let granted = format!("files = [\"{}\"]", log.display());
    for expect in ["1", "2"] {
        let machine = machine(Some(folder.path().join("state")));
        let mut session = session(&machine, &granted);
        let open = Call::CursorOpen { name: "c".into(), path: log.display().to_string(), from_end: false };
        assert_eq!(session.call(open).await, Ok(Answer::Handle(0)));
        let lines = Call::CursorLines { cursor: 0, max_lines: 1, max_bytes: 100 };
        assert_eq!(session.call(lines).await, Ok(Answer::Lines(vec![expect.into()])));
        assert_eq!(session.call(Call::CursorCommit { cursor: 0 }).await, Ok(Answer::Done));

        let seen = session.call(Call::KvGet { key: "seen".into() }).await;
        assert_eq!(seen, Ok(Answer::Value((expect == "2").then(|| b"1".to_vec()))));
        let set = Call::KvSet { key: "seen".into(), value: Bytes(b"1".to_vec()), ttl_seconds: None };
        assert_eq!(session.call(set).await, Ok(Answer::Done));
    }
}

#[tokio::test]
async fn random_bytes_are_bounded_and_requests_counted() {
    let server = Server::says("HTTP/1.1 204 X\r\n\r\n").await;
    let mut session = session(&machine(None), "http = [\"http://127.0.0.1:*\"]");
    let Ok(Answer::Bytes(bytes)) = session.call(Call::Random { count: u32::MAX }).await else { panic!("no bytes") };
    assert!(bytes.len() == limits::RANDOM_BYTES_MAX && bytes.iter().any(|byte| *byte != 0));
    let url = format!("http://127.0.0.1:{}/", server.port);
    let get = Call::Http(crate::answer::HttpRequest { method: "GET".into(), url, ..Default::default() });
    for _ in 0..limits::HTTP_REQUESTS_MAX {
        assert!(matches!(session.call(get.clone()).await, Ok(Answer::Http(response)) if response.status == 204));
    }
    assert!(matches!(session.call(get).await, Err(CallError::Limit(_))));
}
