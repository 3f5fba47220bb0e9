//! What every type of the language can do: say its form, read itself from the
//! tree, and print itself as it would be written.

use super::form::{Field, Form, Need, Record};
use super::kind::Kind;
use super::problem::{FAULTS_MAX, nearest_word};
use super::yaml::{At, Fault, Key, Node, Value};
use crate::{Name, Selector};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

pub trait Shape: Sized + Clone + std::fmt::Debug + PartialEq {
    fn form() -> Form;
    /// `None` means that the reader has at least one fault more.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
    /// As it would be written: what equals its default is left out, unless `full`.
    fn print(&self, full: bool) -> Json;
}

/// A file that a spec refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// SHA-256 in hex.
    pub digest: String,
    pub size: u64,
    /// What stands in it like a reference, without its braces.
    pub names: BTreeSet<String>,
}

/// What an object needs that is elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub at: At,
    /// Of the field: `rollout.drain.where`.
    pub path: String,
    pub to: Target,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Object(Kind, Name),
    /// Content, by the path in its folder and its digest.
    File {
        file: String,
        digest: String,
    },
    /// At least one node that this takes.
    Nodes(Selector),
    Environment(Name),
}

/// Reads one object's body: collects what is wrong, and what it links to.
#[derive(Debug)]
pub struct Reader<'a> {
    pub faults: Vec<Fault>,
    pub links: Vec<Link>,
    /// The files beside the spec; absent where there is no folder.
    pub contents: Option<&'a BTreeMap<String, Content>>,
    /// How messages call the object: `check disk`.
    owner: String,
    path: String,
    example: &'static str,
}

impl<'a> Reader<'a> {
    pub fn new(owner: String, contents: Option<&'a BTreeMap<String, Content>>) -> Self {
        Self { faults: Vec::new(), links: Vec::new(), contents, owner, path: String::new(), example: "" }
    }

    /// Inside a field, an item or an entry; the path is as it was afterwards.
    pub fn inside<T>(&mut self, step: &str, example: Option<&'static str>, act: impl FnOnce(&mut Self) -> T) -> T {
        let (length, example_before) = (self.path.len(), self.example);
        push_step(&mut self.path, step);
        self.example = example.unwrap_or(self.example);
        let outcome = act(self);
        self.path.truncate(length);
        self.example = example_before;
        outcome
    }

    pub fn link(&mut self, at: At, to: Target) {
        self.links.push(Link { at, path: self.path.clone(), to });
    }

    fn subject(&self) -> String {
        if self.path.is_empty() { self.owner.clone() } else { format!("{}: {}", self.owner, self.path) }
    }

    /// "check disk: every" and what is wrong with it.
    pub fn fault(&mut self, at: At, message: impl std::fmt::Display, help: Option<String>) {
        if self.faults.len() <= FAULTS_MAX {
            let message = format!("{} {message}", self.subject());
            self.faults.push(Fault { at, message, help });
        }
    }

    /// For an error that names the value itself.
    pub fn unreadable(&mut self, node: &Node, error: impl std::fmt::Display) {
        let help = self.example();
        self.told(node.at, error, help);
    }

    /// For a sentence of its own about what is at the path.
    pub fn told(&mut self, at: At, sentence: impl std::fmt::Display, help: Option<String>) {
        if self.faults.len() <= FAULTS_MAX {
            let message = format!("{}: {sentence}", self.subject());
            self.faults.push(Fault { at, message, help });
        }
    }

    /// The field that is read, for an example with its own value.
    pub fn field(&self) -> Option<&str> {
        let plain = |step: &&str| !step.is_empty() && step.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        self.path.rsplit('.').next().filter(plain)
    }

    /// Says what stands there and what should; shows how it is written.
    pub fn wrong(&mut self, node: &Node, noun: &str) {
        let help = self.example();
        self.fault(node.at, format!("is {}, and should be {noun}", node.value.describe()), help);
    }

    pub fn example(&self) -> Option<String> {
        (!self.example.is_empty()).then(|| format!("write it like this: {}", self.example))
    }
}

/// `a.b`, `a[0]`, `a."b.c"`.
pub(super) fn push_step(path: &mut String, step: &str) {
    if step.starts_with('[') {
        path.push_str(step);
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    let plain = step.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) && !step.is_empty();
    if plain {
        path.push_str(step);
    } else {
        path.push_str(&format!("{step:?}"));
    }
}

/// The fields of one map, taken one by one; what is left over is no field.
pub(super) struct Fields<'node> {
    at: At,
    entries: Vec<(&'node Key, &'node Node)>,
    /// The field that stands alone, without its braces.
    short: Option<(&'static str, &'node Node)>,
    /// What must be written and is not: keys and examples.
    missing: Vec<(&'static str, &'static str)>,
    faults_before: usize,
}

impl<'node> Fields<'node> {
    pub fn of(node: &'node Node, record: &Record, reader: &mut Reader<'_>) -> Option<Self> {
        let faults_before = reader.faults.len();
        let mut fields = Self { at: node.at, entries: Vec::new(), short: None, missing: Vec::new(), faults_before };
        match (&node.value, record.short) {
            (Value::Map(map), _) => fields.entries = map.iter().map(|(key, value)| (key, value)).collect(),
            (Value::Null, None) => {}
            (Value::Text(_) | Value::Number(_) | Value::Bool(_), Some(short)) => fields.short = Some((short, node)),
            // What stands there may be the value of a secret: it is not repeated.
            _ if record.fields.is_empty() => {
                let why = record.doc.split_once(". ").map_or("", |(_, rest)| rest);
                reader.fault(node.at, "has a value here, and takes none", Some(format!("write {{}} instead. {why}")));
                return None;
            }
            _ => {
                let known: Vec<&str> = record.fields.iter().map(|field| field.key).collect();
                let noun = match known.as_slice() {
                    [only] => format!("a map of the field {only}"),
                    several => format!("a map of the fields {}", several.join(", ")),
                };
                let help = reader.example().unwrap_or_else(|| format!("write it like this: {}", example_of(record)));
                reader.fault(node.at, format!("is {}, and should be {noun}", node.value.describe()), Some(help));
                return None;
            }
        }
        Some(fields)
    }

    fn take(&mut self, key: &str) -> Option<&'node Node> {
        if let Some((short, node)) = self.short {
            return (short == key).then_some(node);
        }
        let index = self.entries.iter().position(|(found, _)| found.text == key)?;
        Some(self.entries.remove(index).1)
    }

    /// `Some(None)` where it is not written, `None` where it is wrong.
    #[expect(clippy::option_option, reason = "absent and wrong are different outcomes of one reading")]
    pub fn read<T: Shape>(&mut self, field: &Field, reader: &mut Reader<'_>) -> Option<Option<T>> {
        let Some(node) = self.take(field.key) else { return Some(None) };
        if self.short.is_some() {
            // Nobody wrote the field's name.
            return T::read(node, reader).map(Some);
        }
        reader.inside(field.key, Some(field.example), |reader| {
            if node.value == Value::Null && !matches!(field.form, Form::Record(_)) {
                let help = format!("write it like this: {}, or leave it out", field.example);
                reader.fault(node.at, "has no value", Some(help));
                return None;
            }
            T::read(node, reader).map(Some)
        })
    }

    pub fn required<T: Shape>(&mut self, field: &Field, reader: &mut Reader<'_>) -> Option<T> {
        let read = self.read(field, reader)?;
        if read.is_none() {
            self.missing.push((field.key, field.example));
        }
        read
    }

    /// Says of what is left over that it is no field, and of groups that not
    /// exactly one of them stands there.
    pub fn finish(self, node: &Node, record: &Record, reader: &mut Reader<'_>) -> bool {
        let known = || record.fields.iter().map(|field| field.key);
        let example = |key: &str| record.fields.iter().find(|field| field.key == key).map_or("", |field| field.example);
        // A needed field under a wrong name is one mistake, not two.
        let mut meant = Vec::new();
        for (key, _) in &self.entries {
            let needed = self.missing.iter().map(|(needed, _)| *needed);
            if let Some((word, value)) = key.text.split_once([':', '='])
                && let Some(field) = known().find(|field| *field == word.trim())
            {
                meant.push(field);
                let help = format!("a field is written with a colon and a blank: {field}: {}", value.trim());
                reader.fault(key.at, format!("has no field {:?}", key.text), Some(help));
                continue;
            }
            let near = nearest_word(&key.text, needed.clone()).or_else(|| nearest_word(&key.text, known()));
            let only = needed.clone().next().filter(|_| needed.len() == 1 && self.entries.len() == 1);
            let help = match (near.or(only), record.fields.as_slice()) {
                (Some(word), _) => {
                    meant.push(word);
                    format!("did you mean {word}? It is written like this: {}", example(word))
                }
                (None, []) => {
                    let why = record.doc.split_once(". ").map_or("", |(_, rest)| rest);
                    format!("write {{}} after its name. {why}")
                }
                (None, [only]) => format!("the only field is {}, written like this: {}", only.key, only.example),
                (None, _) => {
                    let with = known().any(|field| field == "with");
                    let plugins = if with { "; those of the plugin go below with" } else { "" };
                    format!("the fields are {}{plugins}", known().collect::<Vec<_>>().join(", "))
                }
            };
            reader.fault(key.at, format!("has no field {:?}", key.text), Some(help));
        }
        let is_empty = matches!(&node.value, Value::Map(entries) if entries.is_empty()) && self.short.is_none();
        let groups = record.one_of.len();
        if is_empty && self.missing.len() + groups > 1 {
            let help = format!("write it like this: {}", example_of(record));
            reader.fault(self.at, "has nothing in it", Some(help));
            return false;
        }
        for (key, example) in self.missing.iter().filter(|(key, _)| !meant.contains(key)) {
            reader.fault(self.at, format!("needs {key:?}"), Some(format!("add {example}")));
        }
        for group in record.one_of {
            let written: Vec<&str> = group.iter().copied().filter(|key| node.get(key).is_some()).collect();
            match written.as_slice() {
                [_] => {}
                [] if self.short.is_some() || group.iter().any(|key| meant.contains(key)) => {}
                [] => {
                    let help = format!(
                        "write one of them, such as {}",
                        group.first().map(|key| example(key)).unwrap_or_default()
                    );
                    reader.fault(node.at, format!("needs one of {}", group.join(", ")), Some(help));
                }
                several => {
                    let message = format!("has {} at once, and takes only one of them", several.join(" and "));
                    let places = match &node.value {
                        Value::Map(entries) => entries.as_slice(),
                        _ => &[],
                    };
                    let ours = places.iter().map(|(key, _)| key).filter(|key| several.contains(&key.text.as_str()));
                    let last = ours.clone().max_by_key(|key| key.at);
                    let other = ours.clone().find(|key| last.is_some_and(|last| last.at.file != key.at.file));
                    let help = match other {
                        Some(other) => format!("take the other one out: {}: null", other.text),
                        None => "keep the one you mean".to_owned(),
                    };
                    reader.fault(last.map_or(node.at, |key| key.at), message, Some(help));
                }
            }
        }
        reader.faults.len() == self.faults_before
    }
}

/// What must be written, as an example.
pub(super) fn example_of(record: &Record) -> String {
    let groups = record.one_of.iter().filter_map(|group| group.first().copied());
    let mut keys: Vec<&str> = groups.collect();
    keys.extend(record.fields.iter().filter(|field| field.need == Need::Required).map(|field| field.key));
    let written = |field: &&Field| keys.contains(&field.key) || keys.is_empty();
    let fields: Vec<&str> = record.fields.iter().filter(written).map(|field| field.example).collect();
    format!("{{{}}}", fields.join(", "))
}

/// A record that says no more than its short field is written as that.
pub(super) fn shortened(map: serde_json::Map<String, Json>, record: &Record, full: bool) -> Json {
    match record.short {
        Some(short) if !full && map.len() == 1 => match map.get(short) {
            Some(only @ (Json::String(_) | Json::Number(_) | Json::Bool(_))) => only.clone(),
            _ => Json::Object(map),
        },
        _ => Json::Object(map),
    }
}

/// Defines a record of the language: the struct, how it is read and printed, and
/// its form, from one text.
///
/// Each field: documentation, its name here and in specs, its type, what it needs
/// (`required`, `optional`, `default(..)`), and an example of it as written.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident $(, short $short:literal)? $(, one of ($one_of:expr))? $(, rules $rules:path)? {
            $(
                $(#[doc = $field_doc:literal])*
                $field:ident $key:literal: $type:ty, $need:ident $(($default:expr))?, $example:literal;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[doc = $field_doc])*
                pub $field: $crate::spec::shape::record!(@type $need $type),
            )*
        }

        impl $name {
            pub fn record() -> &'static $crate::spec::form::Record {
                static RECORD: std::sync::OnceLock<$crate::spec::form::Record> = std::sync::OnceLock::new();
                RECORD.get_or_init(Self::describe)
            }

            fn describe() -> $crate::spec::form::Record {
                #[allow(unused_mut, unused_assignments)]
                let mut short: Option<&'static str> = None;
                $(short = Some($short);)?
                #[allow(unused_mut, unused_assignments)]
                let mut one_of: &'static [&'static [&'static str]] = &[];
                $(one_of = $one_of;)?
                $crate::spec::form::Record {
                    doc: $crate::spec::form::doc(&[$($doc),*]),
                    fields: vec![
                        $($crate::spec::form::Field {
                            key: $key,
                            doc: $crate::spec::form::doc(&[$($field_doc),*]),
                            example: $example,
                            form: <$type as $crate::spec::shape::Shape>::form(),
                            need: $crate::spec::shape::record!(@need $need $type $(, $default)?),
                        },)*
                    ],
                    short,
                    one_of,
                }
            }
        }

        impl $crate::spec::shape::Shape for $name {
            fn form() -> $crate::spec::form::Form {
                $crate::spec::form::Form::Record($name::record)
            }

            #[allow(unused_variables, unused_mut)]
            fn read(
                node: &$crate::spec::yaml::Node,
                reader: &mut $crate::spec::shape::Reader<'_>,
            ) -> Option<Self> {
                let record = $name::record();
                let mut fields = $crate::spec::shape::Fields::of(node, record, reader)?;
                let mut known = record.fields.iter();
                $(let $field = known
                    .next()
                    .and_then(|field| $crate::spec::shape::record!(@read $need fields field reader $(, $default)?));)*
                if !fields.finish(node, record, reader) {
                    return None;
                }
                let value = Self { $($field: $field?,)* };
                $(
                    let before = reader.faults.len();
                    $rules(&value, node, reader);
                    if reader.faults.len() > before {
                        return None;
                    }
                )?
                Some(value)
            }

            #[allow(unused_variables, unused_mut)]
            fn print(&self, full: bool) -> serde_json::Value {
                let record = $name::record();
                let mut map = serde_json::Map::new();
                let mut known = record.fields.iter();
                $(if let Some(field) = known.next() {
                    $crate::spec::shape::record!(@print $need map field (self.$field) full);
                })*
                $crate::spec::shape::shortened(map, record, full)
            }
        }
    };

    (@type optional $type:ty) => { Option<$type> };
    (@type $need:ident $type:ty) => { $type };

    (@need required $type:ty) => { $crate::spec::form::Need::Required };
    (@need optional $type:ty) => { $crate::spec::form::Need::Optional };
    (@need default $type:ty, $default:expr) => {
        $crate::spec::form::Need::Default(<$type as $crate::spec::shape::Shape>::print(&$default, false))
    };

    (@read required $fields:ident $field:ident $reader:ident) => { $fields.required($field, $reader) };
    (@read optional $fields:ident $field:ident $reader:ident) => { $fields.read($field, $reader) };
    (@read default $fields:ident $field:ident $reader:ident, $default:expr) => {
        $fields.read($field, $reader).map(|read| read.unwrap_or_else(|| $default))
    };

    (@print optional $map:ident $field:ident ($value:expr) $full:ident) => {
        if let Some(value) = &$value {
            $map.insert($field.key.to_owned(), $crate::spec::shape::Shape::print(value, $full));
        }
    };
    (@print $need:ident $map:ident $field:ident ($value:expr) $full:ident) => {
        let short = $crate::spec::shape::Shape::print(&$value, false);
        let is_default = matches!(&$field.need, $crate::spec::form::Need::Default(default) if *default == short);
        if $full || !is_default {
            $map.insert($field.key.to_owned(), if $full { $crate::spec::shape::Shape::print(&$value, true) } else { short });
        }
    };
}

pub(in crate::spec) use record;
