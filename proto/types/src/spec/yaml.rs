//! YAML text to a tree that knows where each part was written.
//!
//! Plain scalars get types by the core schema; anchors, aliases, tags, merge
//! keys and more than one document in a file are refused, since a spec is to be
//! read by people. What can be told apart from the rest is told and passed over,
//! so that one look shows every mistake of a file.

use super::traps;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use std::collections::BTreeMap;

/// Deep enough for any plugin's configuration, shallow enough for any stack.
const DEPTH_MAX: usize = 32;

/// A place in one of the files of a spec. Lines and columns count from 1; line 0
/// is no place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub file: u32,
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub at: At,
    /// Written without quotes.
    pub plain: bool,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// A number as it was written, so that `1.10` can be told from `1.1`.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub at: At,
    pub text: String,
}

/// Something wrong at a place; which file that is, the sources know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: At,
    pub message: String,
    pub help: Option<String>,
}

impl Value {
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(text) => format!("the number {text}"),
            Value::Text(text) if text.is_empty() => "empty text".to_owned(),
            Value::Text(text) if text.chars().count() <= 30 => format!("{text:?}"),
            Value::Text(_) => "text".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

impl Node {
    pub fn new(at: At, value: Value) -> Self {
        Self { at, plain: false, value }
    }

    /// As JSON; numbers keep their value, not their spelling.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Number(text) => number(text),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect(),
            ),
        }
    }

    /// What an item of a list would be called in a map: itself, or what its `name` says.
    pub(super) fn name_in_list(&self) -> Option<String> {
        match self.get("name").map_or(&self.value, |name| &name.value) {
            Value::Text(name) => crate::Name::new(name.clone()).ok().map(|name| name.to_string()),
            _ => None,
        }
    }

    /// The value under a key, where this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }
}

/// `None` for a file without content, and for one that is no YAML.
pub fn parse(text: &str, file: u32, faults: &mut Vec<Fault>) -> Option<Node> {
    let mut reader = Events { parser: Parser::new_from_str(text), text, file, faults: Vec::new() };
    let root = reader.document();
    let mut found = std::mem::take(&mut reader.faults);
    let root = match root {
        Ok(root) => root.filter(|node| node.value != Value::Null),
        Err(fault) => {
            found.push(traps::explain(text, fault));
            None
        }
    };
    faults.append(&mut found);
    root
}

struct Events<'text> {
    parser: Parser<'text, StrInput<'text>>,
    text: &'text str,
    file: u32,
    faults: Vec<Fault>,
}

impl<'text> Events<'text> {
    fn document(&mut self) -> Result<Option<Node>, Fault> {
        let mut root = None;
        let mut begins = At::default();
        while let Some((event, at)) = self.next()? {
            match event {
                Event::DocumentStart(..) => begins = at,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                other if root.is_none() => root = Some(self.node(other, at, 0)?),
                _ => return Err(fault(begins, "a second document in one file", Some("put it into a file of its own"))),
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<(Event<'text>, At)>, Fault> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.place(&span)))),
            Some(Err(scan)) => {
                let marker = scan.marker();
                let at = self.at(marker.line(), marker.col() + 1);
                Err(fault(at, &format!("not readable as YAML: {}", scan.info()), None))
            }
        }
    }

    fn place(&self, span: &Span) -> At {
        self.at(span.start.line(), span.start.col() + 1)
    }

    fn at(&self, line: usize, column: usize) -> At {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        At { file: self.file, line: number(line), column: number(column) }
    }

    fn required(&mut self, at: At) -> Result<(Event<'text>, At), Fault> {
        self.next()?.ok_or_else(|| fault(at, "the file ends in the middle", None))
    }

    fn node(&mut self, event: Event<'text>, at: At, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH_MAX {
            return Err(fault(at, &format!("nested more than {DEPTH_MAX} deep"), None));
        }
        let mut plain = false;
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain = style == ScalarStyle::Plain;
                let tag = tag.map(|tag| tag.to_string());
                self.refuse_extras(at, anchor, tag.as_deref().map(|tag| (tag, text.as_ref())));
                match tag {
                    // As if it had been quoted: the tag is all that is said about it.
                    Some(tag) => Value::Text(format!("{tag} {text}").trim_end().to_owned()),
                    None => scalar(&text, plain),
                }
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_extras(at, anchor, tag.map(|tag| tag.to_string()).as_deref().map(|tag| (tag, "")));
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
                self.refuse_extras(at, anchor, tag.map(|tag| tag.to_string()).as_deref().map(|tag| (tag, "")));
                self.map(at, depth)?
            }
            Event::Alias(_) => {
                return Err(fault(at, "aliases (*name) are not used in specs", Some("write the value out")));
            }
            _ => return Err(fault(at, "a value is missing here", None)),
        };
        Ok(Node { at, plain, value })
    }

    fn map(&mut self, at: At, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut lines: BTreeMap<String, u32> = BTreeMap::new();
        loop {
            let (event, key_at) = self.required(at)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Map(entries));
            }
            let Event::Scalar(text, ..) = event else {
                let help = "write one key for each: disk: {...}";
                return Err(fault(key_at, "a key must be a word", Some(help)));
            };
            let key = Key { at: key_at, text: text.into_owned() };
            let (event, value_at) = self.required(key_at)?;
            let mut value = self.node(event, value_at, depth + 1)?;
            // A map without braces begins at its first key, and belongs to the key above.
            if let Value::Map(inner) = &value.value
                && inner.first().is_some_and(|(first, _)| first.at == value.at)
            {
                value.at = key_at;
            }
            if key.text == "<<" {
                let help = "write the fields out; what differs between environments goes to env/NAME.yaml";
                self.faults.push(fault(key_at, "merge keys (<<) are not used in specs", Some(help)));
            } else if let Some(found) = traps::unclosed_bracket(&mut entries, &key, &value) {
                self.faults.push(found);
            } else if let Some(first) = lines.get(&key.text) {
                let message = format!("{:?} stands twice; the first is on line {first}", key.text);
                let help = match &value.value {
                    Value::Map(_) => "keep one of them, or put what both hold below the first",
                    _ => "keep one of them",
                };
                self.faults.push(fault(key_at, &message, Some(help)));
            } else {
                lines.insert(key.text.clone(), key_at.line);
                entries.push((key, value));
            }
        }
    }

    /// Where a mark stands that belongs to what begins here, maybe a line below.
    fn before(&self, at: At, mark: &str) -> At {
        let line = |number: u32| self.text.lines().nth(number.saturating_sub(1) as usize).unwrap_or_default();
        let own: String = line(at.line).chars().take(at.column.saturating_sub(1) as usize).collect();
        let found = |number: u32, text: &str| {
            let column = text.get(..text.rfind(mark)?)?.chars().count() + 1;
            Some(At { line: number, column: u32::try_from(column).unwrap_or(1), ..at })
        };
        let above = at.line.saturating_sub(1);
        found(at.line, &own).or_else(|| found(above, line(above))).unwrap_or(at)
    }

    fn refuse_extras(&mut self, at: At, anchor: usize, tag: Option<(&str, &str)>) {
        if anchor != 0 {
            let help = "write the value where it is used; text that begins with & is quoted";
            self.faults.push(fault(self.before(at, "&"), "anchors (&name) are not used in specs", Some(help)));
        }
        if let Some((tag, text)) = tag {
            let whole = if text.is_empty() { tag.to_owned() } else { format!("{tag} {text}") };
            let help = format!("quote it: \"{whole}\"");
            let at = self.before(at, tag);
            self.faults.push(fault(at, &format!("{tag} is a tag to YAML, and the value is lost"), Some(&help)));
        }
    }
}

pub(super) fn fault(at: At, message: &str, help: Option<&str>) -> Fault {
    Fault { at, message: message.to_owned(), help: help.map(str::to_owned) }
}

/// The core schema: what is not quoted and looks like one is a number, a truth
/// value or nothing.
fn scalar(text: &str, plain: bool) -> Value {
    if !plain {
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

/// A whole number where it is one.
pub(super) fn number(text: &str) -> serde_json::Value {
    match text.parse::<i64>() {
        Ok(whole) => whole.into(),
        Err(_) => text.parse::<f64>().map_or(serde_json::Value::Null, Into::into),
    }
}

pub(super) fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}
