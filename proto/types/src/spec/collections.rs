//! Lists, maps, and what only a plugin understands.

use super::form::{Form, Scalar};
use super::interpolate;
use super::kind::Noun;
use super::scalars::Ref;
use super::shape::{Reader, Shape};
use super::yaml::{Key, Node, Value};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// One value as the list that it should be.
fn in_brackets<T: Shape>(node: &Node, reader: &Reader<'_>) -> Option<String> {
    let (Value::Text(text) | Value::Number(text)) = &node.value else { return None };
    let alone = match T::form() {
        Form::Scalar(_) | Form::Words(_) | Form::Reference(_) => true,
        Form::Record(record) => record().short.is_some(),
        _ => false,
    };
    if let Some(item) = text.strip_prefix('-').filter(|_| node.plain) {
        let item = item.split_whitespace().next().unwrap_or_default();
        return Some(format!("an item of a list is a dash, a blank and its value: - {item}"));
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    let item = if plain && node.plain { text.clone() } else { format!("{text:?}") };
    reader.field().filter(|_| alone && !text.is_empty()).map(|field| format!("write it like this: {field}: [{item}]"))
}

impl<T: Shape> Shape for Vec<T> {
    fn form() -> Form {
        Form::List(Box::new(T::form()))
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let message = format!("is {}, and should be {}", node.value.describe(), Self::form().noun());
            let help = in_brackets::<T>(node, reader).or_else(|| reader.example());
            reader.fault(node.at, message, help);
            return None;
        };
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            values.push(reader.inside(&format!("[{index}]"), None, |reader| T::read(item, reader)));
        }
        values.into_iter().collect()
    }

    fn print(&self, full: bool) -> Json {
        self.iter().map(|item| item.print(full)).collect()
    }
}

/// The entries of what should be a map.
fn entries<'a>(node: &'a Node, form: &Form, reader: &mut Reader<'_>) -> Option<&'a [(Key, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => {
            reader.wrong(node, &form.noun());
            None
        }
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn form() -> Form {
        Form::Map { key: Scalar::text("a name", None), value: Box::new(T::form()) }
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut values = Vec::new();
        for (key, value) in entries(node, &Self::form(), reader)? {
            let read = reader.inside(&key.text, None, |reader| T::read(value, reader));
            values.push(read.map(|value| (key.text.clone(), value)));
        }
        values.into_iter().collect()
    }

    fn print(&self, full: bool) -> Json {
        Json::Object(self.iter().map(|(key, value)| (key.clone(), value.print(full))).collect())
    }
}

impl<T: Noun, V: Shape> Shape for BTreeMap<Ref<T>, V> {
    fn form() -> Form {
        let key = Scalar::text("a name", Some("^[a-z0-9][a-z0-9._-]{0,62}$"));
        Form::Map { key, value: Box::new(V::form()) }
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut values = Vec::new();
        for (key, value) in entries(node, &Self::form(), reader)? {
            let as_node = Node { at: key.at, plain: false, value: Value::Text(key.text.clone()) };
            let read = reader.inside(&key.text, None, |reader| {
                let of = Ref::<T>::read(&as_node, reader);
                let value = V::read(value, reader);
                Some((of?, value?))
            });
            values.push(read);
        }
        values.into_iter().collect()
    }

    fn print(&self, full: bool) -> Json {
        Json::Object(self.iter().map(|(of, value)| (of.name.to_string(), value.print(full))).collect())
    }
}

/// Configuration that only a plugin understands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(pub serde_json::Map<String, Json>);

/// A check's configuration travels with every change of a node's desired state.
pub const CONFIG_BYTES_MAX: usize = 16 * 1024;

impl Shape for Config {
    fn form() -> Form {
        Form::Map { key: Scalar::text("a field of the plugin", None), value: Box::new(Form::Any) }
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let before = reader.faults.len();
        let value = interpolate::to_json(node, reader);
        let Json::Object(map) = value else {
            reader.wrong(node, "a map of the plugin's own fields");
            return None;
        };
        if reader.faults.len() == before && serde_json::to_string(&map).map_or(0, |text| text.len()) > CONFIG_BYTES_MAX
        {
            reader.fault(node.at, format!("is larger than {} KiB", CONFIG_BYTES_MAX / 1024), None);
        }
        (reader.faults.len() == before).then_some(Self(map))
    }

    fn print(&self, _: bool) -> Json {
        Json::Object(self.0.clone())
    }
}
