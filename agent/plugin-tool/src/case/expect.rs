//! What a case expects of a run. Only what is written is compared.

use super::reader::Reader;
use hostler_types::Status;
use hostler_types::spec::yaml::{Node, Value};

pub type Attrs = Vec<(String, String)>;

#[derive(Debug, Default, PartialEq)]
pub struct Expect {
    pub status: Option<Status>,
    pub summary: Option<String>,
    pub details: Option<String>,
    pub attrs: Attrs,
    pub metrics: Vec<ExpectedMetric>,
    pub outcome: Option<ExpectedOutcome>,
    pub steps: Option<Vec<ExpectedStep>>,
    /// Instead of a result: what the fault's text contains.
    pub fault: Option<String>,
}

#[derive(Debug, PartialEq)]
pub struct ExpectedMetric {
    pub name: String,
    pub attrs: Attrs,
    pub value: Option<f64>,
}

/// `delivered`, or with what it says: `{rejected: no such channel}`.
#[derive(Debug, PartialEq)]
pub struct ExpectedOutcome {
    pub word: String,
    pub value: Option<String>,
}

#[derive(Debug, PartialEq)]
pub struct ExpectedStep {
    pub id: String,
    pub summary: Option<String>,
    pub reversible: Option<bool>,
}

/// How a notice can end.
const OUTCOMES: [&str; 3] = ["delivered", "retry-after", "rejected"];

/// What can be expected of a world's run.
fn known(world: &str) -> &'static [&'static str] {
    match world {
        "check" => &["status", "summary", "details", "attrs", "metrics", "fault"],
        "notifier" => &["outcome", "metrics", "fault"],
        "action" => &["steps", "metrics", "fault"],
        _ => &["metrics", "fault"],
    }
}

pub fn read(reader: &mut Reader, node: &Node, world: &str) -> Expect {
    let mut expect = Expect::default();
    let known = known(world);
    let what = format!("expect of a {world}");
    let Some(fields) = reader.map(node, &what, known) else { return expect };
    if let Some(node) = fields.get("status") {
        expect.status = status(reader, node);
    }
    expect.summary = fields.get("summary").and_then(|node| reader.text(node, "summary"));
    expect.details = fields.get("details").and_then(|node| reader.text(node, "details"));
    expect.fault = fields.get("fault").and_then(|node| reader.text(node, "fault"));
    if let Some(node) = fields.get("attrs") {
        expect.attrs = reader.texts(node, "attrs");
    }
    if let Some(node) = fields.get("metrics") {
        expect.metrics = reader.list(node, "metrics").iter().filter_map(|node| metric(reader, node)).collect();
    }
    if let Some(node) = fields.get("outcome") {
        expect.outcome = outcome(reader, node);
    }
    if let Some(node) = fields.get("steps") {
        expect.steps = Some(reader.list(node, "steps").iter().filter_map(|node| step(reader, node)).collect());
    }
    if reader.faults.is_empty() && expect == Expect::default() {
        let help = format!("write at least one of {}", known.join(", "));
        reader.fault(fields.at, "expect says nothing, so the case would always pass", Some(help));
    }
    expect
}

fn status(reader: &mut Reader, node: &Node) -> Option<Status> {
    let text = reader.text(node, "status")?;
    let words: Vec<&str> = Status::ALL.iter().map(|status| status.word()).collect();
    match text.parse() {
        Ok(status) => Some(status),
        Err(_) => {
            let message = format!("status is {text:?}, and should be one of {}", words.join(", "));
            reader.unknown(node.at, message, &text, &words);
            None
        }
    }
}

fn metric(reader: &mut Reader, node: &Node) -> Option<ExpectedMetric> {
    let fields = reader.map(node, "a metric", &["name", "attrs", "value"])?;
    let Some(name) = fields.get("name") else {
        reader.fault(node.at, "a metric needs its name", Some("write it like {name: x, value: 1}".to_owned()));
        return None;
    };
    Some(ExpectedMetric {
        name: reader.text(name, "name")?,
        attrs: fields.get("attrs").map(|node| reader.texts(node, "attrs")).unwrap_or_default(),
        value: fields.get("value").and_then(|node| reader.number(node, "value")),
    })
}

fn outcome(reader: &mut Reader, node: &Node) -> Option<ExpectedOutcome> {
    let (word, at, value) = match &node.value {
        Value::Map(entries) => match entries.as_slice() {
            [(key, value)] => (key.text.clone(), key.at, Some(reader.text(value, &key.text)?)),
            _ => {
                reader.should(node, "outcome", format!("one of {}", OUTCOMES.join(", ")));
                return None;
            }
        },
        _ => (reader.text(node, "outcome")?, node.at, None),
    };
    if !OUTCOMES.contains(&word.as_str()) {
        let message = format!("outcome is {word:?}, and should be one of {}", OUTCOMES.join(", "));
        reader.unknown(at, message, &word, &OUTCOMES);
        return None;
    }
    Some(ExpectedOutcome { word, value })
}

fn step(reader: &mut Reader, node: &Node) -> Option<ExpectedStep> {
    if !matches!(node.value, Value::Map(_)) {
        let id = reader.text(node, "a step")?;
        return Some(ExpectedStep { id, summary: None, reversible: None });
    }
    let fields = reader.map(node, "a step", &["id", "summary", "reversible"])?;
    let Some(id) = fields.get("id") else {
        reader.fault(node.at, "a step needs its id", Some("write it like {id: x, reversible: true}".to_owned()));
        return None;
    };
    let reversible = match fields.get("reversible").map(|node| (node, &node.value)) {
        None => None,
        Some((_, Value::Bool(truth))) => Some(*truth),
        Some((node, _)) => {
            reader.should(node, "reversible", "true or false");
            None
        }
    };
    let id = reader.text(id, "id")?;
    Some(ExpectedStep { id, summary: fields.get("summary").and_then(|node| reader.text(node, "summary")), reversible })
}
