//! A run, written down as a test case.

use super::recorder::Exchange;
use super::redact::{REDACTED, Secrets};
use crate::case::{calls, write};
use crate::test::outcome_words;
use hostler_plugin_host::answer::{Answer, Sample, write_answer};
use hostler_plugin_host::{Call, Done, Run, Work};
use serde_json::{Map, Value, json};

/// What a case is made of, secrets taken out.
pub struct Draft {
    config: Map<String, Value>,
    /// What else the run was given: a notice, or a plan's parameters.
    given: Option<(&'static str, Value)>,
    answers: Vec<String>,
    /// Never empty at first; see [`Draft::leave_out`].
    pub expect: Map<String, Value>,
}

impl Draft {
    pub fn new(
        config: Map<String, Value>,
        work: &Work,
        exchanges: &[Exchange],
        run: &Run,
    ) -> Result<Draft, serde_json::Error> {
        let mut secrets = Secrets::default();
        for (_, answer) in exchanges.iter().filter(|(call, _)| matches!(call, Call::SecretReveal { .. })) {
            if let Ok(Answer::Text(secret)) = answer {
                secrets.add(secret);
            }
        }
        let mut answers = Vec::new();
        for (call, answer) in exchanges {
            answers.extend(written(call, answer, &secrets)?);
        }
        // The last one that is equal is given again.
        answers.dedup();
        let mut expect = Value::Object(expect(run));
        secrets.value(&mut expect);
        let given = match work {
            Work::Notify(notice) => Some(("notice", notice_value(notice))),
            Work::Plan { parameters_json } => Some(("plan", serde_json::from_str(parameters_json)?)),
            _ => None,
        };
        let expect = match expect {
            Value::Object(expect) => expect,
            _ => Map::new(),
        };
        Ok(Draft { config, given, answers, expect })
    }

    /// What is expected by these names: `summary`, `attrs.total_us`; of metrics
    /// only that they are there.
    pub fn leave_out(&mut self, names: &[String]) {
        for name in names {
            match (name.strip_prefix("attrs."), self.expect.get_mut(name.split('.').next().unwrap_or_default())) {
                (Some(attr), Some(Value::Object(attrs))) => {
                    attrs.remove(attr);
                }
                (None, Some(Value::Array(metrics))) if name == "metrics" => {
                    metrics.iter_mut().filter_map(Value::as_object_mut).for_each(|metric| {
                        metric.remove("value");
                    });
                }
                _ => {
                    self.expect.remove(name);
                }
            }
        }
        self.expect.retain(|_, value| value.as_object().is_none_or(|attrs| !attrs.is_empty()));
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.config.is_empty() {
            text.push_str(&write::entry("with", &Value::Object(self.config.clone()), 0));
        }
        if let Some((key, value)) = &self.given {
            text.push_str(&write::entry(key, value, 0));
        }
        if !self.answers.is_empty() {
            text.push_str("answers:\n");
            self.answers.iter().for_each(|answer| text.push_str(answer));
        }
        text.push_str("expect:\n");
        for (key, value) in &self.expect {
            text.push_str("  ");
            text.push_str(&write::entry(key, value, 2));
        }
        text
    }
}

/// One exchange; what a case answers by itself is left out.
fn written(
    call: &Call,
    answer: &Result<Answer, hostler_plugin_host::CallError>,
    secrets: &Secrets,
) -> Result<Option<String>, serde_json::Error> {
    let kept_by_itself =
        matches!(call, Call::KvGet { .. } | Call::KvSet { .. } | Call::KvDelete { .. } | Call::KvCompareAndSet { .. });
    if kept_by_itself && answer.is_ok() {
        return Ok(None);
    }
    let (name, fields) = calls::written(call);
    let mut fields = calls::distinguishing(&fields);
    if !secrets.is_empty() {
        // They may be made of a secret in ways that nobody sees in them.
        for made in ["body", "bytes", "stdin", "args"] {
            fields.remove(made);
        }
    }
    let mut with = Value::Object(fields);
    secrets.value(&mut with);
    let with = match with {
        Value::Object(with) => with,
        _ => Map::new(),
    };
    let (key, mut value) = match answer {
        Ok(Answer::Text(_)) if matches!(call, Call::SecretReveal { .. }) => ("answer", json!(REDACTED)),
        Ok(Answer::Done) => return Ok(Some(write::answer(&name, &with, None))),
        Ok(answer) => ("answer", prune(write_answer(answer)?)),
        Err(error) => ("error", serde_json::to_value(error)?),
    };
    secrets.value(&mut value);
    Ok(Some(write::answer(&name, &with, Some((key, &value)))))
}

/// Without the fields that say nothing: a reader of the file misses none, and
/// the reader of answers takes what is absent for it.
fn prune(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let says = |(key, value): &(String, Value)| match value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Number(number) => key != "nanoseconds" || number.as_u64() != Some(0),
                _ => true,
            };
            map.into_iter().filter(says).map(|(key, value)| (key, prune(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(prune).collect(),
        other => other,
    }
}

fn expect(run: &Run) -> Map<String, Value> {
    let mut expect = Map::new();
    let mut add = |key: &str, value: Value| expect.insert(key.to_owned(), value);
    match &run.outcome {
        Ok(Done::Report(report)) => {
            add("status", report.status.word().into());
            add("summary", report.summary.as_str().into());
            if !report.details.is_empty() {
                add("details", report.details.as_str().into());
            }
            if !report.attrs.is_empty() {
                add("attrs", texts(&report.attrs));
            }
        }
        Ok(Done::Notified(outcome)) => {
            let (word, value) = outcome_words(outcome);
            add("outcome", json!({word: value}));
        }
        Ok(Done::Planned(steps)) => {
            let step = |step: &hostler_plugin_host::Step| json!({"id": step.id, "summary": step.summary, "reversible": step.reversible});
            add("steps", steps.iter().map(step).collect());
        }
        Ok(Done::Collected | Done::Applied(_) | Done::Undone) => {}
        Err(fault) => {
            add("fault", fault.to_string().into());
        }
    }
    if !run.samples.is_empty() {
        add("metrics", run.samples.iter().map(metric).collect());
    }
    expect
}

fn metric(sample: &Sample) -> Value {
    let mut metric = Map::new();
    metric.insert("name".to_owned(), sample.name.as_str().into());
    if !sample.attrs.is_empty() {
        metric.insert("attrs".to_owned(), texts(&sample.attrs));
    }
    metric.insert("value".to_owned(), number(sample.value));
    Value::Object(metric)
}

/// Up to here a whole number has no other beside it.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A whole number without its `.0`.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < EXACT_MAX { (value as i64).into() } else { value.into() }
}

fn texts(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect())
}

fn notice_value(notice: &hostler_plugin_host::Notice) -> Value {
    let mut value = Map::new();
    for (key, text) in [("id", &notice.id), ("title", &notice.title), ("body", &notice.body), ("state", &notice.state)]
    {
        if !text.is_empty() {
            value.insert(key.to_owned(), text.as_str().into());
        }
    }
    if !notice.attrs.is_empty() {
        value.insert("attrs".to_owned(), texts(&notice.attrs));
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::read;
    use hostler_plugin_host::answer::{self, Bytes, HttpRequest, HttpResponse};
    use hostler_plugin_host::{Bill, CallError, Report};
    use hostler_types::Status;

    fn draft(exchanges: &[Exchange], summary: &str) -> String {
        let report = Report {
            status: Status::Ok,
            summary: summary.to_owned(),
            details: "one\n\n  two: 'x'\n".to_owned(),
            attrs: vec![("a b".to_owned(), "40".to_owned())],
            truncated: false,
        };
        let run = Run { outcome: Ok(Done::Report(report)), samples: Vec::new(), bill: Bill::default() };
        Draft::new(Map::new(), &Work::Check, exchanges, &run).expect("writes").text()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let certificate =
            answer::Certificate { subject: "CN=x".into(), der: Bytes(vec![0xff, 1]), ..Default::default() };
        let exchanges: Vec<Exchange> = vec![
            (Call::Now, Ok(Answer::Instant(answer::Instant { seconds: 5, nanoseconds: 0 }))),
            (Call::Random { count: 2 }, Ok(Answer::Bytes(vec![0xfe, 0xff]))),
            (Call::KvGet { key: "k".into() }, Ok(Answer::Value(None))),
            (
                Call::Http(HttpRequest { url: "http://x/".into(), method: "GET".into(), ..HttpRequest::default() }),
                Ok(Answer::Http(HttpResponse {
                    status: 200,
                    body: Bytes(b"a: b\n\n c\n".to_vec()),
                    ..Default::default()
                })),
            ),
            (
                Call::TlsInspect { host: "h".into(), port: 1, server_name: "h".into(), starttls: None, timeout_ms: 9 },
                Ok(Answer::Probe(answer::Probe { chain: vec![certificate], ..Default::default() })),
            ),
            (Call::TcpConnect { host: "db".into(), port: 1, timeout_ms: 1 }, Err(CallError::other("a", "b"))),
            (Call::FileGlob { pattern: "/a/*".into(), max: 5 }, Ok(Answer::Lines(vec![String::new(), "- x".into()]))),
            (Call::TcpSend { connection: 0, bytes: Bytes(b"PING\r\n".to_vec()) }, Ok(Answer::Done)),
        ];
        let text = draft(&exchanges, "all: 'well'");
        let case = read("x", "x.yaml", &text, "check").unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        let read: Vec<_> = case.answers.iter().map(|one| one.answer.clone()).collect();
        let kept = exchanges.iter().filter(|(call, _)| !matches!(call, Call::KvGet { .. }));
        assert_eq!(read, kept.map(|(_, answer)| answer.clone()).collect::<Vec<_>>(), "{text}");
        assert_eq!(case.expect.summary.as_deref(), Some("all: 'well'"));
        assert_eq!(case.expect.details.as_deref(), Some("one\n\n  two: 'x'\n"));
        assert!(text.contains("der: {hex: ff01}") && !text.contains("kv.get"), "{text}");
    }

    #[test]
    fn a_revealed_secret_is_nowhere() {
        let url = "http://x/?key=s3cret".to_owned();
        let response = HttpResponse { status: 200, body: Bytes(b"hello s3cret".to_vec()), ..Default::default() };
        let exchanges: Vec<Exchange> = vec![
            (Call::SecretReveal { name: "token".into() }, Ok(Answer::Text("s3cret".into()))),
            (
                Call::Http(HttpRequest { url, body: Bytes(b"czNjcmV0".to_vec()), ..HttpRequest::default() }),
                Ok(Answer::Http(response)),
            ),
            (Call::TcpSend { connection: 0, bytes: Bytes(b"AUTH s3cret".to_vec()) }, Err(CallError::Timeout)),
        ];
        let text = draft(&exchanges, "it said s3cret");
        assert!(!text.contains("s3cret") && !text.contains("czNjcmV0"), "{text}");
        assert!(text.contains("answer: REDACTED") && text.contains("key=REDACTED"), "{text}");
        read("x", "x.yaml", &text, "check").unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    }
}
