//! Every call a plugin can make, by its name: which fields it has, and what an
//! answer to it looks like.

use hostler_plugin_host::Call;
use hostler_plugin_host::answer::{self, Answer, Bytes, HttpRequest};
use serde_json::{Map, Value, json};

/// A call's name, as the interface has it, and its fields.
pub fn written(call: &Call) -> (String, Map<String, Value>) {
    let mut written = serde_json::to_value(call).unwrap_or_default();
    let name = written.get("call").and_then(Value::as_str).unwrap_or_default().to_owned();
    let fields = written.get_mut("with").map(Value::take);
    match fields {
        Some(Value::Object(fields)) => (name, fields),
        _ => (name, Map::new()),
    }
}

/// One call of this name, with all its fields there.
pub fn example(name: &str) -> Option<Call> {
    examples().into_iter().find(|call| written(call).0 == name)
}

pub fn names() -> Vec<String> {
    examples().iter().map(|call| written(call).0).collect()
}

fn examples() -> Vec<Call> {
    let text = String::new;
    let bytes = || Bytes(Vec::new());
    let http = HttpRequest {
        secret_headers: vec![(text(), text(), text())],
        // An empty one is not written.
        body: Bytes(vec![b' ']),
        ..HttpRequest::default()
    };
    vec![
        Call::Now,
        Call::Random { count: 0 },
        Call::KvGet { key: text() },
        Call::KvSet { key: text(), value: bytes(), ttl_seconds: None },
        Call::KvDelete { key: text() },
        Call::KvCompareAndSet { key: text(), old: None, new: bytes() },
        Call::SecretGet { name: text() },
        Call::SecretReveal { name: text() },
        Call::Http(http),
        Call::TcpConnect { host: text(), port: 0, timeout_ms: 0 },
        Call::TcpConnectUnix { path: text(), timeout_ms: 0 },
        Call::TcpStartTls { connection: 0, server_name: text(), timeout_ms: 0 },
        Call::TcpSend { connection: 0, bytes: bytes() },
        Call::TcpSendSecret { connection: 0, secret: text() },
        Call::TcpReceive { connection: 0, max: 0, timeout_ms: 0 },
        Call::TlsInspect { host: text(), port: 0, server_name: text(), starttls: None, timeout_ms: 0 },
        Call::DnsQuery { name: text(), rrtype: text(), server: None, timeout_ms: 0 },
        Call::Ping { host: text(), count: 0, timeout_ms: 0 },
        Call::FileStat { path: text() },
        Call::FileRead { path: text(), offset: 0, max: 0 },
        Call::FileGlob { pattern: text(), max: 0 },
        Call::CursorOpen { name: text(), path: text(), from_end: false },
        Call::CursorLines { cursor: 0, max_lines: 0, max_bytes: 0 },
        Call::CursorCommit { cursor: 0 },
        Call::Command { command: text(), args: Vec::new(), stdin: bytes(), timeout_ms: 0 },
        Call::Cpu,
        Call::Memory,
        Call::Filesystems,
        Call::Networks,
        Call::Disks,
        Call::Machine,
        Call::Processes { name: text(), max: 0 },
        Call::Units { name: text(), max: 0 },
        Call::Containers { name: text(), max: 0 },
    ]
}

/// Fields that say how long and how much, and not what.
const LIMITS: [&str; 8] =
    ["timeout_ms", "max", "max_body", "max_lines", "max_bytes", "redirects", "headers", "secret_headers"];

/// The fields by which a person tells one call from another.
pub fn distinguishing(fields: &Map<String, Value>) -> Map<String, Value> {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let kept = fields.iter().filter(|(key, value)| !LIMITS.contains(&key.as_str()) && !empty(value));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether a call has the fields that were written. One that is not written out
/// when it is empty counts as empty.
pub fn matches(written: &Map<String, Value>, fields: &Map<String, Value>) -> bool {
    let absent = |value: &Value| value.is_null() || *value == json!("") || *value == json!([]);
    written.iter().all(|(key, want)| match fields.get(key) {
        Some(found) => found == want,
        None => absent(want),
    })
}

/// What an answer to it could be, short; nothing where none is written.
pub fn example_answer(call: &Call) -> Option<Value> {
    let value = match call {
        Call::SecretGet { .. }
        | Call::TcpStartTls { .. }
        | Call::TcpSend { .. }
        | Call::TcpSendSecret { .. }
        | Call::CursorCommit { .. }
        | Call::KvSet { .. }
        | Call::KvDelete { .. } => return None,
        Call::KvCompareAndSet { .. } => json!(true),
        Call::Now => json!({"seconds": 1_767_225_600}),
        Call::Random { .. } => json!({"hex": "00"}),
        Call::KvGet { .. } | Call::SecretReveal { .. } => json!("value"),
        Call::TcpReceive { .. } | Call::FileRead { .. } => json!("text"),
        Call::FileGlob { .. } | Call::CursorLines { .. } => json!([]),
        Call::TcpConnect { .. } | Call::TcpConnectUnix { .. } | Call::CursorOpen { .. } => json!(0),
        Call::Http(_) => json!({"status": 200, "body": "ok"}),
        Call::TlsInspect { .. } => json!({"version": "TLSv1.3", "chain": [{"subject": "CN=example", "names": []}]}),
        Call::DnsQuery { name, rrtype, .. } => {
            json!({"rcode": "NOERROR", "records": [{"name": name, "rrtype": rrtype, "ttl": 60, "data": "192.0.2.1"}]})
        }
        Call::FileStat { .. } => json!({"kind": "file", "size": 0}),
        Call::Command { .. } => json!({"exit-code": 0, "stdout": ""}),
        Call::Ping { count, .. } => json!({"sent": count, "received": count, "mean-micros": 500}),
        Call::Processes { name, .. } => json!([{"pid": 1, "name": name}]),
        Call::Units { name, .. } => json!([{"name": name, "load": "loaded", "active": "active", "sub": "running"}]),
        Call::Containers { name, .. } => json!([{"id": "1", "name": name, "state": "running"}]),
        Call::Cpu => whole(&Answer::Cpu(answer::Cpu { idle: 1.0, cores: 1, ..answer::Cpu::default() })),
        Call::Memory => whole(&Answer::Memory(answer::Memory::default())),
        Call::Filesystems => json!([{"mount": "/", "fstype": "ext4", "total": 100, "free": 60, "available": 60}]),
        Call::Networks => json!([{"name": "eth0", "up": true}]),
        Call::Disks => json!([{"name": "sda"}]),
        Call::Machine => whole(&Answer::Machine(answer::Machine::default())),
    };
    Some(value)
}

fn whole(answer: &Answer) -> Value {
    answer::write_answer(answer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plugin_host::answer::read_answer;

    /// The words that serde lists after "expected one of".
    fn listed(error: &str) -> Vec<String> {
        let list = error.split_once("expected").map(|(_, list)| list).unwrap_or_default();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn no_call_and_no_field_is_forgotten() {
        let error = serde_json::from_value::<Call>(json!({"call": "?"})).expect_err("no call").to_string();
        assert_eq!(names(), listed(&error));
        for call in examples() {
            let (name, fields) = written(&call);
            if fields.is_empty() {
                continue;
            }
            let mut wrong = fields.clone();
            wrong.insert("?".to_owned(), Value::Null);
            let error = serde_json::from_value::<Call>(json!({"call": name, "with": wrong})).expect_err("no field");
            let mut known = listed(&error.to_string());
            known.sort();
            let mut found: Vec<String> = fields.keys().cloned().collect();
            found.sort();
            assert_eq!(found, known, "{name}");
        }
    }

    #[test]
    fn every_example_is_an_answer() {
        for call in examples() {
            let answer = example_answer(&call).unwrap_or_default();
            read_answer(&call, answer.clone()).unwrap_or_else(|error| panic!("{call:?} {answer}: {error}"));
        }
    }

    #[test]
    fn what_is_not_written_is_not_compared() {
        let call = Call::Http(HttpRequest { url: "http://x/".into(), timeout_ms: Some(5), ..HttpRequest::default() });
        let (_, fields) = written(&call);
        let Value::Object(want) = json!({"url": "http://x/", "body": ""}) else { panic!("a map") };
        assert!(matches(&want, &fields) && matches(&Map::new(), &fields));
        let Value::Object(other) = json!({"url": "http://y/"}) else { panic!("a map") };
        assert!(!matches(&other, &fields));
        assert_eq!(distinguishing(&fields).into_iter().collect::<Vec<_>>(), [("url".to_owned(), json!("http://x/"))]);
    }
}
