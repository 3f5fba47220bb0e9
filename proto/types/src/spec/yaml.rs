//! YAML text to a tree that knows where each part was written.
//!
//! Plain scalars get types by the core schema; anchors, aliases, tags, merge
//! keys and more than one document in a file are refused, since a spec is to be
//! read by people.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

/// Deep enough for any plugin's configuration, shallow enough for any stack.
const DEPTH_MAX: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub line: usize,
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub at: At,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A number as it was written, so that `1.10` can be told from `1.1`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub at: At,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct YamlError {
    pub at: At,
    pub message: String,
    pub help: Option<String>,
}

impl Value {
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// `None` for a file without content.
pub(super) fn parse(text: &str) -> Result<Option<Node>, YamlError> {
    let mut events = Events { parser: Parser::new_from_str(text) };
    let mut root = None;
    while let Some((event, at)) = events.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            other if root.is_none() => root = Some(events.node(other, at, 0)?),
            _ => return Err(error(at, "a second document in one file", Some("put it into a file of its own"))),
        }
    }
    Ok(root.filter(|node| node.value != Value::Null))
}

struct Events<'text> {
    parser: Parser<'text, serde_saphyr::granit_parser::StrInput<'text>>,
}

impl<'text> Events<'text> {
    fn next(&mut self) -> Result<Option<(Event<'text>, At)>, YamlError> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, place(&span)))),
            Some(Err(scan)) => {
                let marker = scan.marker();
                let at = At { line: marker.line(), column: marker.col() + 1 };
                Err(error(at, &format!("not readable as YAML: {}", scan.info()), None))
            }
        }
    }

    fn required(&mut self, at: At) -> Result<(Event<'text>, At), YamlError> {
        self.next()?.ok_or_else(|| error(at, "the file ends in the middle", None))
    }

    fn node(&mut self, event: Event<'text>, at: At, depth: usize) -> Result<Node, YamlError> {
        if depth > DEPTH_MAX {
            return Err(error(at, &format!("nested more than {DEPTH_MAX} deep"), None));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_extras(at, anchor, tag.is_some())?;
                scalar(&text, style)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_extras(at, anchor, tag.is_some())?;
                let mut items = Vec::new();
                loop {
                    let (event, item_at) = self.required(at)?;
                    if matches!(event, Event::SequenceEnd) {
                        break Value::List(items);
                    }
                    items.push(self.node(event, item_at, depth + 1)?);
                }
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_extras(at, anchor, tag.is_some())?;
                self.map(at, depth)?
            }
            Event::Alias(_) => {
                return Err(error(at, "aliases (*name) are not used in specs", Some("write the value out")));
            }
            _ => return Err(error(at, "a value is missing here", None)),
        };
        Ok(Node { at, value })
    }

    fn map(&mut self, at: At, depth: usize) -> Result<Value, YamlError> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (event, key_at) = self.required(at)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Map(entries));
            }
            let Event::Scalar(text, ..) = event else {
                return Err(error(
                    key_at,
                    "a key must be a word",
                    Some("quote a value that begins with a brace, such as \"${secret:name}\""),
                ));
            };
            if text == "<<" {
                return Err(error(key_at, "merge keys (<<) are not used in specs", Some("write the fields out")));
            }
            let key = Key { at: key_at, text: text.into_owned() };
            if let Some((first, _)) = entries.iter().find(|(other, _)| other.text == key.text) {
                let message = format!("{:?} stands twice; the first is on line {}", key.text, first.at.line);
                return Err(error(key_at, &message, None));
            }
            let (event, value_at) = self.required(key_at)?;
            let value = self.node(event, value_at, depth + 1)?;
            entries.push((key, value));
        }
    }
}

fn place(span: &Span) -> At {
    At { line: span.start.line(), column: span.start.col() + 1 }
}

fn error(at: At, message: &str, help: Option<&str>) -> YamlError {
    YamlError { at, message: message.to_owned(), help: help.map(str::to_owned) }
}

fn refuse_extras(at: At, anchor: usize, tagged: bool) -> Result<(), YamlError> {
    if anchor != 0 {
        return Err(error(at, "anchors (&name) are not used in specs", Some("write the value where it is used")));
    }
    if tagged {
        return Err(error(at, "tags (!name) are not used in specs", Some("quote a value that begins with !")));
    }
    Ok(())
}

/// The core schema: what is not quoted and looks like one is a number, a truth
/// value or nothing.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text if is_number(text) => Value::Number(text.to_owned()),
        text => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}
