//! What may be written, as data: the one source of the messages, the JSON
//! schema, `explain` and the reference.

use super::kind::Kind;

#[derive(Clone, Debug)]
pub enum Form {
    Scalar(Scalar),
    /// One of these words.
    Words(&'static [Word]),
    /// The name of an object of that kind.
    Reference(Kind),
    List(Box<Form>),
    Map {
        key: Scalar,
        value: Box<Form>,
    },
    /// A function, since records may hold themselves.
    Record(fn() -> &'static Record),
    Either(Vec<Form>),
    /// Whatever somebody else understands.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Word {
    pub word: &'static str,
    pub doc: &'static str,
}

/// How JSON writes a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {
    Text,
    Whole,
    Number,
    Flag,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// "a duration like 10s"
    pub noun: &'static str,
    pub json: Json,
    /// A regular expression of ECMA 262, for editors; it may allow too much.
    pub pattern: Option<&'static str>,
    /// As they would be written.
    pub least: Option<String>,
    pub most: Option<String>,
}

impl Scalar {
    pub const fn new(noun: &'static str, json: Json) -> Self {
        Self { noun, json, pattern: None, least: None, most: None }
    }

    pub const fn text(noun: &'static str, pattern: Option<&'static str>) -> Self {
        Self { noun, json: Json::Text, pattern, least: None, most: None }
    }
}

#[derive(Clone, Debug)]
pub struct Record {
    pub doc: String,
    pub fields: Vec<Field>,
    /// The field that may stand alone, without its braces.
    pub short: Option<&'static str>,
    /// Of each group exactly one is written.
    pub one_of: &'static [&'static [&'static str]],
}

#[derive(Clone, Debug)]
pub struct Field {
    pub key: &'static str,
    pub doc: String,
    /// `every: 10s`
    pub example: &'static str,
    pub form: Form,
    pub need: Need,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    Required,
    Optional,
    /// As it would be written.
    Default(serde_json::Value),
}

impl Form {
    /// How a message calls it, after "should be".
    pub fn noun(&self) -> String {
        match self {
            Form::Scalar(scalar) => scalar.noun.to_owned(),
            Form::Words(words) => {
                let words: Vec<&str> = words.iter().map(|word| word.word).collect();
                format!("one of {}", words.join(", "))
            }
            Form::Reference(kind) => format!("the name of {}", kind.with_article()),
            Form::List(of) => format!("a list: each item {}", of.noun()),
            Form::Map { key, value } => format!("a map of {} to {}", key.noun, value.noun()),
            Form::Record(record) => {
                let record = record();
                let short = record.fields.iter().find(|field| Some(field.key) == record.short);
                match short {
                    Some(field) => format!("{}, or a map of fields", field.form.noun()),
                    None => "a map of fields".to_owned(),
                }
            }
            Form::Either(forms) => forms.iter().map(Form::noun).collect::<Vec<_>>().join(", or "),
            Form::Any => "any value".to_owned(),
        }
    }
}

/// Doc comments as they come: one line a piece, each with its leading blank. A
/// blank line stays one.
pub(super) fn doc(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.trim();
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text
}
