//! A case from its text, or all that is wrong with it.

use super::reader::{Fields, Reader};
use super::{Case, NOW, Recorded, calls, expect};
use hostler_plugin_host::answer::{Bytes, Instant, read_answer};
use hostler_plugin_host::{CallError, Notice, Work};
use hostler_types::spec::yaml::{self, Fault, Node, Value};
use hostler_types::spec::{Problem, Problems};
use serde_json::Map;
use std::sync::Arc;

/// `file` is only told; `world` is the plugin's.
pub fn read(name: &str, file: &str, text: &str, world: &str) -> Result<Case, Problems> {
    let mut reader = Reader::default();
    let case = yaml::parse(text, 0, &mut reader.faults).and_then(|node| case(&mut reader, &node, name, file, world));
    match case {
        Some(case) if reader.faults.is_empty() => Ok(case),
        _ => {
            if reader.faults.is_empty() {
                let help = "write answers: and expect:".to_owned();
                reader.fault(yaml::At { line: 1, column: 1, file: 0 }, "there is no case in this file", Some(help));
            }
            Err(problems(file, text, reader.faults))
        }
    }
}

fn problems(file: &str, text: &str, mut faults: Vec<Fault>) -> Problems {
    faults.sort_by_key(|fault| fault.at);
    let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    let problem = |fault: Fault| Problem {
        file: file.to_owned(),
        line: number(fault.at.line),
        column: number(fault.at.column),
        text: text.lines().nth(number(fault.at.line.saturating_sub(1))).unwrap_or_default().to_owned(),
        message: fault.message,
        help: fault.help,
    };
    Problems(faults.into_iter().map(problem).collect())
}

fn case(reader: &mut Reader, node: &Node, name: &str, file: &str, world: &str) -> Option<Case> {
    let mut known = vec!["with", "now", "state", "answers", "expect"];
    match world {
        "notifier" => known.push("notice"),
        "action" => known.push("plan"),
        _ => {}
    }
    let fields = reader.map(node, &format!("a case of a {world}"), &known)?;
    let with = match fields.get("with").map(|node| (node, &node.value)) {
        None | Some((_, Value::Null)) => serde_json::Value::Object(Map::new()),
        Some((node, _)) => {
            reader.any_map(node, "with");
            node.to_json()
        }
    };
    let now = fields.get("now").map_or(Some(NOW), |node| instant(reader, node, "now"));
    let mut state = Vec::new();
    if let Some(node) = fields.get("state") {
        for (key, value) in reader.any_map(node, "state").unwrap_or_default() {
            let bytes = reader.json(value, &key.text, serde_json::from_value::<Bytes>);
            state.extend(bytes.map(|bytes| (key.text.clone(), bytes.0)));
        }
    }
    let work = work(reader, &fields, world);
    let answers = fields.get("answers").map_or(&[][..], |node| reader.list(node, "answers"));
    let answers = answers.iter().filter_map(|node| recorded(reader, node).map(Arc::new)).collect();
    let expect = match fields.get("expect") {
        Some(node) => expect::read(reader, node, world),
        None => {
            let help = match world {
                "check" => "write it like this: expect: {status: ok}",
                "notifier" => "write it like this: expect: {outcome: delivered}",
                "action" => "write it like this: expect: {steps: [restart]}",
                _ => "write it like this: expect: {metrics: [{name: x, value: 1}]}",
            };
            reader.fault(node.at, "the case has no expect, so it would always pass", Some(help.to_owned()));
            expect::Expect::default()
        }
    };
    Some(Case {
        name: name.to_owned(),
        file: file.to_owned(),
        config_json: with.to_string(),
        now: now?,
        state: state.into_iter().collect(),
        work: work?,
        answers,
        expect,
    })
}

fn instant(reader: &mut Reader, node: &Node, key: &str) -> Option<Instant> {
    let text = reader.text(node, key)?;
    let parsed: Option<jiff::Timestamp> = text.parse().ok();
    let seconds = parsed.and_then(|time| u64::try_from(time.as_second()).ok());
    let nanoseconds = parsed.and_then(|time| u32::try_from(time.subsec_nanosecond()).ok());
    match seconds.zip(nanoseconds) {
        Some((seconds, nanoseconds)) => Some(Instant { seconds, nanoseconds }),
        None => {
            reader.should(node, key, "a point in time like 2026-01-01T00:00:00Z");
            None
        }
    }
}

fn work(reader: &mut Reader, fields: &Fields<'_>, world: &str) -> Option<Work> {
    let needs = |reader: &mut Reader, key: &str, like: &str| {
        reader.fault(
            fields.at,
            format!("a case of a {world} needs {key}"),
            Some(format!("write it like this: {like}")),
        );
    };
    match world {
        "check" => Some(Work::Check),
        "collector" => Some(Work::Collect),
        "notifier" => match fields.get("notice") {
            Some(node) => notice(reader, node).map(Work::Notify),
            None => {
                needs(reader, "notice", "notice: {id: \"1\", title: db is down, state: critical}");
                None
            }
        },
        _ => match fields.get("plan") {
            Some(node) => Some(Work::Plan { parameters_json: node.to_json().to_string() }),
            None => {
                needs(reader, "plan", "plan: {service: web}");
                None
            }
        },
    }
}

fn notice(reader: &mut Reader, node: &Node) -> Option<Notice> {
    let fields = reader.map(node, "notice", &["id", "title", "body", "state", "at", "attrs"])?;
    let mut text = |key: &str| fields.get(key).and_then(|node| reader.text(node, key)).unwrap_or_default();
    let (id, title, body, state) = (text("id"), text("title"), text("body"), text("state"));
    Some(Notice {
        id,
        title,
        body,
        state,
        at: fields.get("at").map_or(Some(NOW), |node| instant(reader, node, "at"))?,
        attrs: fields.get("attrs").map(|node| reader.texts(node, "attrs")).unwrap_or_default(),
    })
}

fn recorded(reader: &mut Reader, node: &Node) -> Option<Recorded> {
    let fields = reader.map(node, "an answer", &["call", "with", "answer", "error"])?;
    let Some(call_node) = fields.get("call") else {
        let help = "write it like this: call: system.get-memory".to_owned();
        reader.fault(node.at, "an answer needs the call that it is to", Some(help));
        return None;
    };
    let name = reader.text(call_node, "call")?;
    let Some(call) = calls::example(&name) else {
        let names = calls::names();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        reader.unknown(call_node.at, format!("there is no call {name:?}"), &name, &known);
        return None;
    };
    let known = calls::written(&call).1;
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    let with = match fields.get("with") {
        None => Map::new(),
        Some(node) if known.is_empty() => {
            reader.fault(node.at, format!("{name} has no fields to tell calls apart by"), None);
            return None;
        }
        Some(node) => {
            reader.map(node, &name, &known)?;
            match node.to_json() {
                serde_json::Value::Object(map) => map,
                _ => Map::new(),
            }
        }
    };
    let answer = match (fields.get("answer"), fields.get("error")) {
        (Some(_), Some(error)) => {
            reader.fault(error.at, "an answer and an error at once", Some("keep one of them".to_owned()));
            return None;
        }
        (Some(answer), None) => {
            Ok(reader.json(answer, &format!("the answer to {name}"), |json| read_answer(&call, json))?)
        }
        (None, Some(error)) => Err(reader.json(error, "an error", serde_json::from_value::<CallError>)?),
        (None, None) => match read_answer(&call, serde_json::Value::Null) {
            Ok(nothing) => Ok(nothing),
            Err(_) => {
                let help =
                    calls::example_answer(&call).map(|answer| format!("answer: {}", super::write::flow(&answer)));
                reader.fault(node.at, format!("{name} has no answer and no error"), help);
                return None;
            }
        },
    };
    Some(Recorded { line: node.at.line, call: name, fields: with, answer })
}
