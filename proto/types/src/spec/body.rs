//! One typed body a kind. A new kind is a variant here, its body, and how to
//! read it; nothing else in the parser knows kinds.

use super::fields::{Fields, Report};
use super::yaml::{At, Node, Value};
use crate::Name;
use crate::plugin::{Grants, HttpPattern};
use crate::selector::{self, Labels, Selector};
use crate::units::format_duration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

pub const EVERY_DEFAULT: Duration = Duration::from_secs(30);
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// As Consul's and Kubernetes' users have it: three to fall, two to rise.
pub const FAILS_DEFAULT: u32 = 3;
pub const PASSES_DEFAULT: u32 = 2;
/// No wake-up of the agent is faster than a second.
pub const EVERY_MIN: Duration = Duration::from_secs(1);
pub const EVERY_MAX: Duration = Duration::from_secs(7 * 86_400);
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
pub const TIMEOUT_MAX: Duration = Duration::from_secs(300);
pub const STREAK_MAX: u32 = 100;
/// A check's configuration travels with every change of a node's desired state.
pub const CONFIG_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Node,
    Plugin,
    Check,
}

impl Kind {
    /// In the order in which they are applied and listed.
    pub const ALL: [Kind; 3] = [Kind::Node, Kind::Plugin, Kind::Check];

    pub const fn word(self) -> &'static str {
        match self {
            Kind::Node => "node",
            Kind::Plugin => "plugin",
            Kind::Check => "check",
        }
    }

    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Node(NodeSpec),
    Plugin(PluginSpec),
    Check(CheckSpec),
}

/// A node joins by code; a spec only labels it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSpec {
    pub labels: Labels,
}

/// Which version of a pushed plugin runs, and what it may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginSpec {
    /// Absent: the newest that was pushed.
    pub version: Option<String>,
    /// Absent: all that its manifest asks for.
    pub allow: Option<Grants>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CheckSpec {
    pub where_: Selector,
    pub plugin: Name,
    pub every: Duration,
    pub timeout: Duration,
    pub fails: u32,
    pub passes: u32,
    pub grace: Duration,
    /// The plugin's own configuration: always a JSON object.
    pub with: serde_json::Map<String, serde_json::Value>,
}

impl Body {
    pub fn kind(&self) -> Kind {
        match self {
            Body::Node(_) => Kind::Node,
            Body::Plugin(_) => Kind::Plugin,
            Body::Check(_) => Kind::Check,
        }
    }

    pub(super) fn read(kind: Kind, name: &Name, node: &Node, report: &mut Report) -> Option<Body> {
        let before = report.problems.len();
        let mut fields = Fields::new(format!("{kind} {name}"), node, report);
        let body = match kind {
            Kind::Node => Some(Body::Node(NodeSpec { labels: read_labels(&mut fields) })),
            Kind::Plugin => Some(Body::Plugin(read_plugin(&mut fields))),
            Kind::Check => read_check(&mut fields).map(Body::Check),
        };
        fields.finish();
        body.filter(|_| report.problems.len() == before)
    }

    /// The body as it would be written: what equals its default is left out,
    /// unless `full`.
    pub fn to_json(&self, full: bool) -> serde_json::Value {
        let mut map = serde_json::Map::new();
        let mut put = |key: &str, value: serde_json::Value| {
            map.insert(key.to_owned(), value);
        };
        match self {
            Body::Node(spec) => {
                if full || !spec.labels.is_empty() {
                    put(
                        "labels",
                        spec.labels
                            .iter()
                            .map(|(k, v)| (k.clone(), v.clone().into()))
                            .collect::<serde_json::Map<_, _>>()
                            .into(),
                    );
                }
            }
            Body::Plugin(spec) => {
                if let Some(version) = &spec.version {
                    put("version", version.clone().into());
                }
                if let Some(allow) = &spec.allow {
                    let http: Vec<String> = allow.http.iter().map(HttpPattern::to_string).collect();
                    put("allow", serde_json::json!({ "http": http, "system": allow.system }));
                }
            }
            Body::Check(spec) => {
                put("where", spec.where_.to_string().into());
                put("plugin", spec.plugin.as_str().into());
                let spans = [
                    ("every", spec.every, EVERY_DEFAULT),
                    ("timeout", spec.timeout, TIMEOUT_DEFAULT),
                    ("grace", spec.grace, Duration::ZERO),
                ];
                for (key, span, default) in spans {
                    if full || span != default {
                        put(key, format_duration(span).into());
                    }
                }
                for (key, count, default) in
                    [("fails", spec.fails, FAILS_DEFAULT), ("passes", spec.passes, PASSES_DEFAULT)]
                {
                    if full || count != default {
                        put(key, count.into());
                    }
                }
                if full || !spec.with.is_empty() {
                    put("with", spec.with.clone().into());
                }
            }
        }
        map.into()
    }
}

fn read_labels(fields: &mut Fields) -> Labels {
    let mut labels = Labels::new();
    let Some(node) = fields.take("labels") else { return labels };
    let Value::Map(entries) = &node.value else {
        fields.problem(node.at, "labels should be a map", Some("labels: {role: app}".into()));
        return labels;
    };
    if entries.len() > selector::LABELS_MAX {
        fields.problem(node.at, format!("more than {} labels", selector::LABELS_MAX), None);
    }
    for (key, value) in entries {
        let text = match &value.value {
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::Bool(truth) => truth.to_string(),
            _ => {
                fields.problem(value.at, format!("label {} should be text", key.text), None);
                continue;
            }
        };
        match selector::check_label(&key.text, &text) {
            Ok(()) => drop(labels.insert(key.text.clone(), text)),
            Err(error) => fields.problem(key.at, error, None),
        }
    }
    labels
}

fn read_plugin(fields: &mut Fields) -> PluginSpec {
    let version = match fields.take("version") {
        None => None,
        Some(Node { value: Value::Text(text), .. }) => Some(text.clone()),
        Some(Node { at, value: Value::Number(text) }) => {
            let help = format!("version: \"{text}\"");
            fields.problem(*at, format!("version {text} is a number to YAML and may lose its zeros"), Some(help));
            None
        }
        Some(node) => {
            fields.problem(node.at, "version should be text like 1.2.0", None);
            None
        }
    };
    let allow = fields.take("allow").map(|node| read_grants(fields, node));
    PluginSpec { version, allow }
}

fn read_grants(fields: &mut Fields, node: &Node) -> Grants {
    let mut grants = Grants::default();
    let Value::Map(entries) = &node.value else {
        fields.problem(node.at, "allow should be a map", Some("allow: {http: [\"https://*\"], system: true}".into()));
        return grants;
    };
    for (key, value) in entries {
        match (key.text.as_str(), &value.value) {
            ("system", Value::Bool(truth)) => grants.system = *truth,
            ("system", _) => fields.problem(value.at, "allow.system should be true or false", None),
            ("http", Value::List(items)) => {
                for item in items {
                    match &item.value {
                        Value::Text(text) => match text.parse() {
                            Ok(pattern) => grants.http.push(pattern),
                            Err(error) => fields.problem(item.at, error, None),
                        },
                        _ => fields.problem(item.at, "an http pattern should be text", None),
                    }
                }
            }
            ("http", _) => {
                fields.problem(value.at, "allow.http should be a list", Some("http: [\"https://*\"]".into()));
            }
            (other, _) => {
                fields.problem(key.at, format!("there is no grant {other:?}"), Some("grants are http, system".into()));
            }
        }
    }
    grants
}

fn read_check(fields: &mut Fields) -> Option<CheckSpec> {
    let where_ = read_where(fields);
    let plugin = match fields.text("plugin") {
        Some((text, at)) => Name::new(text).map_err(|error| fields.problem(at, format!("plugin: {error}"), None)).ok(),
        None => {
            fields.missing("plugin", "plugin: http  (hostlerctl plugin ls shows what there is)");
            None
        }
    };
    let every = fields.duration("every", EVERY_MIN, EVERY_MAX).unwrap_or(EVERY_DEFAULT);
    let timeout = fields.duration("timeout", TIMEOUT_MIN, TIMEOUT_MAX).unwrap_or(TIMEOUT_DEFAULT);
    let fails = fields.count("fails", 1, STREAK_MAX).unwrap_or(FAILS_DEFAULT);
    let passes = fields.count("passes", 1, STREAK_MAX).unwrap_or(PASSES_DEFAULT);
    let grace = fields.duration("grace", Duration::ZERO, EVERY_MAX).unwrap_or(Duration::ZERO);
    let with = match fields.take("with") {
        None => serde_json::Map::new(),
        Some(node) => match to_json(node) {
            serde_json::Value::Object(map) => {
                if serde_json::to_string(&map).map_or(0, |text| text.len()) > CONFIG_BYTES_MAX {
                    fields.problem(node.at, format!("with is larger than {} KiB", CONFIG_BYTES_MAX / 1024), None);
                }
                map
            }
            _ => {
                fields.problem(node.at, "with should be a map", Some("with: {url: \"http://127.0.0.1/\"}".into()));
                serde_json::Map::new()
            }
        },
    };
    Some(CheckSpec { where_: where_?, plugin: plugin?, every, timeout, fails, passes, grace, with })
}

fn read_where(fields: &mut Fields) -> Option<Selector> {
    let Some((text, at)) = fields.text("where") else {
        fields.missing("where", "where: all, or a selector such as role=app");
        return None;
    };
    Selector::parse(&text).map_err(|error| fields.problem(at, format!("where: {error}"), None)).ok()
}

/// Any value as JSON: for what only a plugin understands.
fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(text) => match text.parse::<i64>() {
            Ok(whole) => whole.into(),
            Err(_) => text.parse::<f64>().map_or(serde_json::Value::Null, Into::into),
        },
        Value::Text(text) => text.clone().into(),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.text.clone(), to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// The other way round, for bodies that arrive as JSON. Places are lost.
pub(super) fn from_json(value: &serde_json::Value) -> Node {
    let value = match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => Value::Number(number.to_string()),
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        serde_json::Value::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| (super::yaml::Key { at: At::default(), text: key.clone() }, from_json(value)))
                .collect(),
        ),
    };
    Node { at: At::default(), value }
}
