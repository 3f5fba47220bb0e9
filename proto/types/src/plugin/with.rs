//! What may stand under `with`, as a plugin says it itself: so that a mistake is
//! told where it was written, before any host hears of it.

use crate::spec::nearest;
use crate::units;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Options that a person can still know.
pub const FIELDS_MAX: usize = 100;
/// A sentence.
const HELP_BYTES_MAX: usize = 300;
const EXAMPLE_BYTES_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithType {
    Text,
    Flag,
    Whole,
    Number,
    Duration,
    Size,
    /// A percentage: `80%`, or the plain number.
    Share,
    Url,
    /// One of `words`.
    Word,
    /// Each item of the type in `of`.
    List,
    /// Each value of the type in `of`.
    Map,
    Any,
}

/// One field: `[with.NAME]` in plugin.toml.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithField {
    #[serde(rename = "type")]
    pub type_: WithType,
    /// One sentence.
    pub help: String,
    /// A value, as it is written after the name.
    pub example: String,
    #[serde(default)]
    pub required: bool,
    /// What it is without being written, in words or as it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<WithType>,
    /// A single one may be written without its list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_one: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

pub type With = BTreeMap<String, WithField>;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithProblem {
    /// `cert_days`, `headers.Accept`, `status[1]`; empty for the whole, and with a
    /// `~` behind it for the name itself instead of what stands there.
    pub path: String,
    pub message: String,
    pub help: Option<String>,
}

/// What is wrong with the table itself.
pub fn check_table(with: &With) -> Result<(), String> {
    if with.len() > FIELDS_MAX {
        return Err(format!("[with] has {} fields: at most {FIELDS_MAX}", with.len()));
    }
    for (name, field) in with {
        let wrong = |why: &str| Err(format!("[with.{name}]: {why}"));
        if field.help.len() > HELP_BYTES_MAX || field.help.chars().any(char::is_control) {
            return wrong("help is longer than a sentence or not one line");
        }
        if field.example.len() > EXAMPLE_BYTES_MAX || field.example.chars().any(char::is_control) {
            return wrong("example is too long or not one line");
        }
        if (field.type_ == WithType::Word) == field.words.is_empty() {
            return wrong("words go with type = \"word\", which needs them");
        }
        if matches!(field.type_, WithType::List | WithType::Map) != field.of.is_some() {
            return wrong("of goes with type = \"list\" and \"map\", which need it");
        }
        if field.of.is_some_and(|of| matches!(of, WithType::List | WithType::Map | WithType::Word)) {
            return wrong("of may be a plain type");
        }
        if field.or_one && field.type_ != WithType::List {
            return wrong("or_one goes with type = \"list\"");
        }
    }
    Ok(())
}

/// Everything that is wrong with a configuration, in the order of its fields.
pub fn check(with: &With, config: &serde_json::Map<String, Value>) -> Vec<WithProblem> {
    let mut problems = Vec::new();
    for (name, value) in config {
        match with.get(name) {
            Some(field) => check_field(name, field, value, &mut problems),
            None => {
                let help = match nearest(name, with.keys().map(String::as_str)) {
                    Some(near) => {
                        let example = with.get(near).map_or("", |field| field.example.as_str());
                        format!("did you mean {near}? It is written like this: {near}: {example}")
                    }
                    None if with.is_empty() => "this plugin has no options".to_owned(),
                    None => format!("its options are {}", with.keys().cloned().collect::<Vec<_>>().join(", ")),
                };
                let message = "is no option of this plugin".to_owned();
                problems.push(WithProblem { path: format!("{name}~"), message, help: Some(help) });
            }
        }
    }
    // One that was mistyped is told already.
    let mistyped: Vec<&str> = config
        .keys()
        .filter(|name| !with.contains_key(*name))
        .filter_map(|name| nearest(name, with.keys().map(String::as_str)))
        .collect();
    let missing = with.iter().filter(|(name, field)| field.required && !config.contains_key(*name));
    for (name, field) in missing.filter(|(name, _)| !mistyped.contains(&name.as_str())) {
        problems.push(WithProblem {
            path: String::new(),
            message: format!("needs {name}: {}", field.help.trim_end_matches('.')),
            help: Some(format!("add {name}: {}", field.example)),
        });
    }
    problems
}

fn check_field(path: &str, field: &WithField, value: &Value, problems: &mut Vec<WithProblem>) {
    let of = field.of.unwrap_or(WithType::Any);
    let found = match (field.type_, value) {
        (WithType::List, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                if let Err(told) = judge(of, field, item) {
                    problems.push(problem(&format!("{path}[{index}]"), field, path, told));
                }
            }
            return;
        }
        (WithType::List, one) if field.or_one => judge(of, field, one),
        (WithType::Map, Value::Object(map)) => {
            for (key, item) in map {
                if let Err(told) = judge(of, field, item) {
                    problems.push(problem(&format!("{path}.{key}"), field, path, told));
                }
            }
            return;
        }
        _ => judge(field.type_, field, value),
    };
    if let Err(told) = found {
        problems.push(problem(path, field, path, told));
    }
}

fn problem(path: &str, field: &WithField, name: &str, message: String) -> WithProblem {
    let help = format!("write it like this: {name}: {}", field.example);
    WithProblem { path: path.to_owned(), message, help: Some(help) }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        other => other.to_string(),
    }
}

fn judge(type_: WithType, field: &WithField, value: &Value) -> Result<(), String> {
    let should = |noun: &str| Err(format!("is {}, and should be {noun}", shown(value)));
    // What is put in place on the host can't be judged here.
    if value.as_str().is_some_and(|text| text.contains("${secret:") || text.contains("${node.")) {
        return Ok(());
    }
    let number = match type_ {
        WithType::Any => return Ok(()),
        WithType::Text => return if value.is_string() { Ok(()) } else { should("text") },
        WithType::Flag => return if value.is_boolean() { Ok(()) } else { should("true or false") },
        WithType::Url => {
            let url = value.as_str().map(str::to_ascii_lowercase);
            let good = url.is_some_and(|url| url.starts_with("http://") || url.starts_with("https://"));
            return if good { Ok(()) } else { should("a URL that begins with http:// or https://") };
        }
        WithType::Word => {
            return match value.as_str() {
                Some(text) if field.words.iter().any(|word| word == text) => Ok(()),
                _ => should(&format!("one of {}", field.words.join(", "))),
            };
        }
        WithType::List => return should("a list"),
        WithType::Map => return should("a map"),
        WithType::Duration => match value.as_str().map(units::parse_duration) {
            Some(Ok(span)) => span.as_secs_f64(),
            _ => return should("a duration like 10s"),
        },
        WithType::Size => match value.as_str().map(units::parse_size) {
            Some(Ok(bytes)) => bytes as f64,
            _ => return should("a size like 64MiB"),
        },
        WithType::Share => match (value, value.as_str().map(units::parse_share)) {
            (_, Some(Ok(share))) => share.fraction() * 100.0,
            (Value::Number(number), _) => number.as_f64().unwrap_or(f64::NAN),
            _ => return should("a share like 80%"),
        },
        WithType::Whole => match value.as_i64() {
            Some(whole) => whole as f64,
            None => return should("a whole number"),
        },
        WithType::Number => match value.as_f64() {
            Some(number) => number,
            None => return should("a number"),
        },
    };
    let bounds = (field.min, field.max);
    let inside = bounds.0.is_none_or(|least| number >= least) && bounds.1.is_none_or(|most| number <= most);
    let unit = match type_ {
        WithType::Duration => "s",
        WithType::Share => "%",
        WithType::Size => "B",
        _ => "",
    };
    match bounds {
        _ if inside => Ok(()),
        (Some(least), Some(most)) => Err(format!("is {}, and may be {least}{unit} to {most}{unit}", shown(value))),
        (Some(least), None) => Err(format!("is {}, and may be {least}{unit} or more", shown(value))),
        (None, most) => Err(format!("is {}, and may be {}{unit} or less", shown(value), most.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [url]
        type = "url"
        help = "What is asked."
        example = '"http://127.0.0.1/health"'
        required = true
        [status]
        type = "list"
        of = "whole"
        or_one = true
        min = 100
        max = 599
        help = "Which answers are good."
        example = "200"
        [headers]
        type = "map"
        of = "text"
        help = "What is sent with it."
        example = "{Accept: text/html}"
        [timeout]
        type = "duration"
        min = 0.1
        help = "How long an answer may take."
        example = "2s"
        [warn]
        type = "share"
        max = 100
        help = "When it warns."
        example = "80%"
        [mode]
        type = "word"
        words = ["fast", "slow"]
        help = "How."
        example = "fast"
    "#;

    fn told(config: &str) -> Vec<String> {
        let with: With = toml::from_str(TABLE).expect("a table");
        check_table(&with).expect("valid");
        let config: serde_json::Map<String, Value> = serde_json::from_str(config).expect(config);
        check(&with, &config)
            .into_iter()
            .map(|one| format!("{}| {}| {}", one.path, one.message, one.help.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn what_fits_is_left_alone() {
        for good in [
            r#"{"url": "https://x/", "status": 200, "headers": {"A": "b"}, "timeout": "2s", "warn": "80%", "mode": "slow"}"#,
            r#"{"url": "${node.label.url}", "status": [200, 204], "warn": 80, "headers": {"K": "${secret:k}"}}"#,
        ] {
            assert_eq!(told(good), Vec::<String>::new());
        }
    }

    #[test]
    fn mistakes_come_with_their_place_and_a_right_form() {
        let url = r#""url": "http://x/""#;
        for (config, want) in [
            ("{}".to_owned(), "| needs url: What is asked| add url: \"http://127.0.0.1/health\""),
            (
                format!("{{{url}, \"statsu\": 200}}"),
                "statsu~| is no option of this plugin| did you mean status? It is written like this: status: 200",
            ),
            (
                format!("{{{url}, \"status\": [200, 99]}}"),
                "status[1]| is the number 99, and may be 100 to 599| write it like this: status: 200",
            ),
            (
                format!("{{{url}, \"headers\": {{\"A\": 5}}}}"),
                "headers.A| is the number 5, and should be text| write it like this: headers: {Accept: text/html}",
            ),
            (
                format!("{{{url}, \"timeout\": 5}}"),
                "timeout| is the number 5, and should be a duration like 10s| write it like this: timeout: 2s",
            ),
            (
                format!("{{{url}, \"timeout\": \"1ms\"}}"),
                "timeout| is \"1ms\", and may be 0.1s or more| write it like this: timeout: 2s",
            ),
            (
                format!("{{{url}, \"warn\": \"120%\"}}"),
                "warn| is \"120%\", and may be 100% or less| write it like this: warn: 80%",
            ),
            (
                format!("{{{url}, \"mode\": \"quick\"}}"),
                "mode| is \"quick\", and should be one of fast, slow| write it like this: mode: fast",
            ),
            (
                "{\"url\": \"x\"}".to_owned(),
                "url| is \"x\", and should be a URL that begins with http:// or https://| write it like this: url: \"http://127.0.0.1/health\"",
            ),
        ] {
            assert_eq!(told(&config), [want], "{config}");
        }
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused() {
        for (from, to, says) in [
            ("words = [\"fast\", \"slow\"]", "", "words go with"),
            ("of = \"text\"", "", "of goes with"),
            ("of = \"text\"", "of = \"list\"", "plain type"),
            ("help = \"How.\"", "help = \"a\\nb\"", "not one line"),
        ] {
            let text = TABLE.replacen(from, to, 1);
            let with: With = toml::from_str(&text).expect("a table");
            let error = check_table(&with).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }
}
