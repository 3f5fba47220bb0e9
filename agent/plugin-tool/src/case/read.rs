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
    let fields = reader.map(node, &format!("a case of {}", with_article(world)), &known)?;
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

fn with_article(world: &str) -> String {
    if world.starts_with('a') { format!("an {world}") } else { format!("a {world}") }
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
            format!("a case of {} needs {key}", with_article(world)),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, world: &str) -> String {
        match read("x", "testcases/x.yaml", text, world) {
            Ok(_) => "right".to_owned(),
            Err(problems) => problems
                .0
                .iter()
                .map(|one| {
                    let help = one.help.as_deref().map_or_else(String::new, |help| format!(" | {help}"));
                    format!("{}:{} {}{help}", one.line, one.column, one.message)
                })
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    /// What every case ends with.
    fn answer(text: &str) -> String {
        told(&format!("answers:\n  - {text}\nexpect: {{status: ok}}\n"), "check")
    }

    #[test]
    fn a_whole_case_is_read() {
        let text = "with: {warn: 80}\nnow: 2026-01-01T00:00:01.5Z\nstate: {a: x, b: {hex: ff}}\nanswers:\n  \
            - call: tcp.connect\n    with: {host: db, port: 5432}\n    error: {unreachable: connection refused}\n  \
            - {call: secrets.get, with: {name: token}}\n  - {call: kv.get, answer: null}\n  \
            - {call: dns.query, error: timeout}\n\
            expect: {status: warning, attrs: {used: 40, yes: true}, metrics: [{name: x, value: 1.5, attrs: {a: b}}]}\n";
        let case = read("x", "x.yaml", text, "check").expect("right");
        assert_eq!((case.config_json.as_str(), case.name.as_str()), (r#"{"warn":80}"#, "x"));
        assert_eq!(case.now, Instant { seconds: 1_767_225_601, nanoseconds: 500_000_000 });
        assert_eq!((&case.state["a"][..], &case.state["b"][..]), (&b"x"[..], &[0xff][..]));
        assert_eq!(case.answers[0].answer, Err(CallError::Unreachable("connection refused".into())));
        assert_eq!(case.answers[1].answer, Ok(hostler_plugin_host::answer::Answer::Done));
        assert_eq!(case.answers[3].answer, Err(CallError::Timeout));
        assert_eq!(case.answers[0].line, 5);
        let attrs = [("used".to_owned(), "40".to_owned()), ("yes".to_owned(), "true".to_owned())];
        assert_eq!(case.expect.attrs, attrs);
        assert_eq!(case.expect.metrics[0].value, Some(1.5));
    }

    #[test]
    fn the_other_worlds_have_their_own_words() {
        for (text, world) in [
            ("expect: {metrics: [{name: x}]}", "collector"),
            ("notice: {id: 1, title: t, attrs: {a: b}}\nexpect: {outcome: {rejected: no such channel}}", "notifier"),
            ("notice: {id: 1, at: 2026-01-01T00:00:00Z}\nexpect: {outcome: delivered}", "notifier"),
            ("plan: {service: web}\nexpect: {steps: [drain, {id: restart, reversible: true}]}", "action"),
        ] {
            assert_eq!(told(text, world), "right", "{text}");
        }
        for (text, world, says) in [
            ("notice: {id: 1}\nexpect: {status: ok}", "check", "1:1 a case of a check has no field \"notice\""),
            ("expect: {status: ok}", "collector", "1:10 expect of a collector has no field \"status\""),
            (
                "expect: {outcome: delivered}",
                "notifier",
                "1:1 a case of a notifier needs notice | write it like this: notice:",
            ),
            (
                "notice: {id: 1}\nexpect: {outcome: deliverd}",
                "notifier",
                "outcome is \"deliverd\", and should be one of delivered, retry-after, rejected | did you mean delivered?",
            ),
            ("expect: {steps: [x]}", "action", "1:1 a case of an action needs plan"),
            ("plan: {}\nexpect: {steps: [{summary: x}]}", "action", "2:18 a step needs its id"),
        ] {
            let told = told(text, world);
            assert!(told.contains(says), "{text}: {told}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_the_right_word() {
        for (text, says) in [
            ("", "1:1 there is no case in this file | write answers: and expect:"),
            ("wiht: {}\nexpect: {status: ok}", "1:1 a case of a check has no field \"wiht\" | did you mean with?"),
            ("with: 5\nexpect: {status: ok}", "1:7 with is the number 5, and should be a map"),
            (
                "with: {}",
                "1:1 the case has no expect, so it would always pass | write it like this: expect: {status: ok}",
            ),
            ("expect: {}", "1:9 expect says nothing, so the case would always pass"),
            ("expect: {stauts: ok}", "1:10 expect of a check has no field \"stauts\" | did you mean status?"),
            (
                "expect: {status: criticle}",
                "1:18 status is \"criticle\", and should be one of ok, warning, critical, unknown | did you mean critical?",
            ),
            ("expect: {status: ok, attrs: [a]}", "attrs is a list, and should be a map"),
            ("expect: {metrics: [{value: 1}]}", "a metric needs its name"),
            ("expect: {metrics: [{name: x, value: y}]}", "value is \"y\", and should be a number"),
            (
                "now: yesterday\nexpect: {status: ok}",
                "1:6 now is \"yesterday\", and should be a point in time like 2026-01-01T00:00:00Z",
            ),
            ("state: {a: [1]}\nexpect: {status: ok}", "1:12 a: "),
            ("answers: {}\nexpect: {status: ok}", "1:10 answers is a map, and should be a list"),
            ("expect: {status: ok}\nexpect: {status: ok}", "\"expect\" stands twice"),
            ("expect: {status: ok", "is never closed"),
        ] {
            let told = told(text, "check");
            assert!(told.contains(says), "{text}: {told}");
        }
        for (text, says) in [
            ("{answer: {}}", "an answer needs the call that it is to | write it like this: call: system.get-memory"),
            (
                "{call: system.get-memroy, answer: {}}",
                "2:12 there is no call \"system.get-memroy\" | did you mean system.get-memory?",
            ),
            ("{call: system.get-cpu, answers: {}}", "2:28 an answer has no field \"answers\" | did you mean answer?"),
            ("{call: system.get-cpu}", "2:5 system.get-cpu has no answer and no error | answer: {"),
            ("{call: system.get-memory, with: {a: 1}, answer: {}}", "has no fields to tell calls apart by"),
            (
                "{call: system.get-memory, answer: {totl: 1}}",
                "2:40 the answer to system.get-memory has no field \"totl\" | did you mean total?",
            ),
            (
                "{call: system.get-memory, answer: {total: x}}",
                "2:39 the answer to system.get-memory: invalid type: string \"x\", expected u64",
            ),
            (
                "{call: http.send, with: {ulr: x}, answer: {}}",
                "2:30 http.send has no field \"ulr\" | did you mean url?",
            ),
            ("{call: http.send, answer: {}, error: timeout}", "an answer and an error at once | keep one of them"),
            (
                "{call: http.send, error: {unreachabel: x}}",
                "an error can't be \"unreachabel\" | did you mean unreachable?",
            ),
            ("{call: http.send, error: denied}", "an error: "),
        ] {
            let told = answer(text);
            assert!(told.contains(says), "{text}: {told}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let told = told("wiht: {}\nanswers:\n  - {call: x}\nexpect: {status: fine}\n", "check");
        let places: Vec<&str> = told.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(places, ["1:1", "3:12", "4:18"], "{told}");
    }
}
