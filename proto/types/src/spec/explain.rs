//! The language in words: one field at a time for `explain`, all of it for the
//! reference.

use super::form::{Field, Form, Need, Record};
use super::kind::Kind;
use super::problem::nearest;
use super::schema::{Flavour, json_schema};
use serde_json::Value;

const WIDTH: usize = 80;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    #[error("there is no kind {word:?}; {help}")]
    Kind { word: String, help: String },
    #[error("{path} has no field {word:?}; {help}")]
    Field { path: String, word: String, help: String },
    #[error("{path} has no fields: it is {noun}")]
    Leaf { path: String, noun: String },
}

/// `service.rollout.canary`; without a path, the kinds.
pub fn explain(path: &str) -> Result<String, ExplainError> {
    let mut steps = path.split('.').filter(|step| !step.is_empty());
    let Some(word) = steps.next() else { return Ok(kinds()) };
    let kind = Kind::parse(word).ok_or_else(|| ExplainError::Kind {
        word: word.to_owned(),
        help: match nearest(word, Kind::words()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("kinds are {}", Kind::words().join(", ")),
        },
    })?;
    let mut record = Some(kind.record());
    let mut here = kind.word().to_owned();
    let mut field: Option<&'static Field> = None;
    for step in steps {
        let noun = field.map_or_else(String::new, |field| field.form.noun());
        let inside = record.ok_or_else(|| ExplainError::Leaf { path: here.clone(), noun })?;
        let found = inside.fields.iter().find(|field| field.key == step).ok_or_else(|| ExplainError::Field {
            path: here.clone(),
            word: step.to_owned(),
            help: match nearest(step, inside.fields.iter().map(|field| field.key)) {
                Some(near) => format!("did you mean {near}?"),
                None => {
                    format!("its fields are {}", inside.fields.iter().map(|f| f.key).collect::<Vec<_>>().join(", "))
                }
            },
        })?;
        here = format!("{here}.{step}");
        record = record_of(&found.form);
        field = Some(found);
    }
    Ok(match field {
        None => explain_kind(kind),
        Some(field) => explain_field(&here, field),
    })
}

/// The record that a field leads to, through lists and maps.
fn record_of(form: &Form) -> Option<&'static Record> {
    match form {
        Form::Record(record) => Some(record()),
        Form::List(of) => record_of(of),
        Form::Map { value, .. } => record_of(value),
        Form::Either(forms) => forms.iter().find_map(record_of),
        _ => None,
    }
}

fn kinds() -> String {
    let wide = Kind::words().iter().map(|word| word.len()).max().unwrap_or_default();
    let mut text = String::from("A spec holds objects of these kinds, as kind: {name: {field: value}}.\n\n");
    for kind in Kind::ALL {
        let head = format!("  {:wide$}  ", kind.word());
        text.push_str(&hanging(&head, &first_sentence(&kind.record().doc)));
    }
    text.push_str("\nnext:  hostlerctl explain KIND\n");
    text
}

fn explain_kind(kind: Kind) -> String {
    let record = kind.record();
    let mut text = format!("{kind}\n\n{}", wrapped(&record.doc, "  "));
    text.push_str(&format!("\n{}", wrapped(&written(kind), "  ")));
    if !kind.takes_effect() {
        text.push_str("\n  It is read, planned and kept; it takes effect in a later version.\n");
    }
    text.push_str(&fields_of(record));
    if let Some(field) = record.fields.first() {
        text.push_str(&format!("\nnext:  hostlerctl explain {kind}.{}\n", field.key));
    }
    text
}

/// The smallest one that says something.
fn written(kind: Kind) -> String {
    let record = kind.record();
    let mut parts: Vec<&str> =
        record.fields.iter().filter(|field| field.need == Need::Required).map(|field| field.example).collect();
    for group in record.one_of {
        let first = group.first().and_then(|key| record.fields.iter().find(|field| field.key == *key));
        parts.extend(first.map(|field| field.example));
    }
    match kind {
        Kind::System => format!("system: {{{}}}", parts.join(", ")),
        _ => format!("{kind}: {{NAME: {{{}}}}}", parts.join(", ")),
    }
}

fn fields_of(record: &Record) -> String {
    if record.fields.is_empty() {
        return String::new();
    }
    let wide = record.fields.iter().map(|field| field.key.len()).max().unwrap_or_default();
    let mut text = String::from("\n");
    for field in &record.fields {
        let need = match &field.need {
            Need::Required => " Required.".to_owned(),
            Need::Optional => String::new(),
            Need::Default(default) if is_empty(default) => String::new(),
            Need::Default(default) => format!(" Default: {}.", bare(default)),
        };
        let head = format!("  {:wide$}  ", field.key);
        text.push_str(&hanging(&head, &format!("{}{need}", first_sentence(&field.doc))));
    }
    for group in record.one_of {
        text.push_str(&format!("\n  Exactly one of {} is written.\n", group.join(", ")));
    }
    text
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(bare).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn explain_field(path: &str, field: &'static Field) -> String {
    let mut text = format!("{path}\n\n{}\n", wrapped(&field.doc, "  "));
    let mut facts = vec![("it is", field.form.noun())];
    if let Form::Scalar(scalar) = &field.form
        && let (Some(least), Some(most)) = (&scalar.least, &scalar.most)
    {
        facts.push(("from", format!("{least} to {most}")));
    }
    facts.push(match &field.need {
        Need::Required => ("needed", "always".to_owned()),
        Need::Optional => ("needed", "no".to_owned()),
        Need::Default(default) => ("default", bare(default)),
    });
    facts.push(("written", field.example.to_owned()));
    for (word, fact) in facts {
        text.push_str(&hanging(&format!("  {word:7}  "), &fact));
    }
    if let Form::Words(words) = &field.form {
        let wide = words.iter().map(|word| word.word.len()).max().unwrap_or_default();
        text.push('\n');
        for word in *words {
            text.push_str(&hanging(&format!("  {:wide$}  ", word.word), word.doc.trim()));
        }
    }
    if let Some(record) = record_of(&field.form) {
        text.push_str(&fields_of(record));
    }
    text
}

fn first_sentence(doc: &str) -> String {
    doc.split("\n\n").next().unwrap_or(doc).to_owned()
}

fn wrapped(text: &str, indent: &str) -> String {
    text.split("\n\n").map(|part| hanging_with(indent, indent, part)).collect::<Vec<_>>().join("\n")
}

/// The text after its head, its further lines below its first.
fn hanging(head: &str, text: &str) -> String {
    hanging_with(head, &" ".repeat(head.chars().count()), text)
}

fn hanging_with(head: &str, indent: &str, text: &str) -> String {
    let mut whole = String::new();
    let mut line = head.to_owned();
    let mut begun = false;
    for word in text.split_whitespace() {
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            whole.push_str(line.trim_end());
            whole.push('\n');
            line = indent.to_owned();
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    whole.push_str(line.trim_end());
    whole.push('\n');
    whole
}

/// Every kind and field, as a page in Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Specs: every kind and field\n\n\
         A folder describes one system. Any file in it may hold objects of any kind, as\n\
         `kind: {name: {field: value}}`; `env/NAME.yaml` says what differs in an environment\n\
         (maps merge, lists and values replace, null removes), and content lies below\n\
         `files/`. `hostlerctl explain` shows the same in a terminal, and `hostlerctl schema`\n\
         prints it for editors.\n\n\
         Text may refer to what is known elsewhere: `${secret:NAME}` and `${node.FACT}` are put\n\
         in place on the host, `${env:NAME}` when the spec is read, from the environment of\n\
         whoever applies it; `$${` is a `${` that means itself, and `$NAME` is left to shells.\n",
    );
    for kind in Kind::ALL {
        let record = kind.record();
        text.push_str(&format!("\n## {kind}\n\n{}\n\n```yaml\n{}\n```\n", record.doc, written(*kind)));
        if !kind.takes_effect() {
            text.push_str("\nRead, planned and kept; it takes effect in a later version.\n");
        }
        table(&mut text, record);
        nested(&mut text, kind.word(), record);
    }
    text
}

fn nested(text: &mut String, path: &str, record: &'static Record) {
    for field in &record.fields {
        let path = format!("{path}.{}", field.key);
        if let Some(inner) = record_of(&field.form) {
            text.push_str(&format!("\n### {path}\n\n{}\n", inner.doc));
            table(text, inner);
            nested(text, &path, inner);
        }
        if let Form::Words(words) = &field.form {
            text.push_str(&format!("\n### {path}\n\n"));
            for word in *words {
                text.push_str(&format!("- `{}`: {}\n", word.word, word.doc.trim()));
            }
        }
    }
}

fn table(text: &mut String, record: &Record) {
    if record.fields.is_empty() {
        return;
    }
    text.push_str("\n| field | what it says | it is | without it |\n|---|---|---|---|\n");
    let cell = |value: &str| value.replace('|', "\\|");
    for field in &record.fields {
        let without = match &field.need {
            Need::Required => "required".to_owned(),
            Need::Optional => String::new(),
            Need::Default(default) if is_empty(default) => String::new(),
            Need::Default(default) => format!("`{}`", bare(default)),
        };
        let (doc, noun) = (cell(&field.doc), cell(&field.form.noun()));
        text.push_str(&format!("| `{}` | {doc} `{}` | {noun} | {without} |\n", field.key, cell(field.example)));
    }
    for group in record.one_of {
        text.push_str(&format!("\nExactly one of {} is written.\n", group.join(", ")));
    }
}

/// The schema as the file that editors read.
pub fn schema_text(flavour: Flavour) -> String {
    let mut text = serde_json::to_string_pretty(&json_schema(flavour)).unwrap_or_default();
    text.push('\n');
    text
}
