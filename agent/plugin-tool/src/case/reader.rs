//! Reads trees of YAML strictly: what is not known is wrong, and is told with
//! its place and the nearest right word.

use hostler_types::spec::nearest;
use hostler_types::spec::yaml::{At, Fault, Key, Node, Value};
use std::fmt::Display;

#[derive(Default)]
pub struct Reader {
    pub faults: Vec<Fault>,
}

impl Reader {
    pub fn fault(&mut self, at: At, message: impl Into<String>, help: Option<String>) {
        self.faults.push(Fault { at, message: message.into(), help });
    }

    /// `what` is what should stand there instead: "a list".
    pub fn should(&mut self, node: &Node, key: &str, what: impl Display) {
        self.fault(node.at, format!("{key} is {}, and should be {what}", node.value.describe()), None);
    }

    /// Told with the word that was probably meant.
    pub fn unknown(&mut self, at: At, message: String, found: &str, known: &[&str]) {
        let help = match nearest(found, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write one of {}", known.join(", ")),
        };
        self.fault(at, message, Some(help));
    }

    /// The entries of a map, of which only these are known.
    pub fn map<'node>(&mut self, node: &'node Node, what: &str, known: &[&str]) -> Option<Fields<'node>> {
        let entries = self.any_map(node, what)?;
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            self.unknown(key.at, format!("{what} has no field {:?}", key.text), &key.text, known);
        }
        Some(Fields { at: node.at, entries })
    }

    pub fn any_map<'node>(&mut self, node: &'node Node, what: &str) -> Option<&'node [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.should(node, what, "a map like {key: value}");
                None
            }
        }
    }

    pub fn list<'node>(&mut self, node: &'node Node, key: &str) -> &'node [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.should(node, key, "a list");
                &[]
            }
        }
    }

    /// Text; a number or a truth value as it was written.
    pub fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => {
                self.should(node, key, "text");
                None
            }
        }
    }

    pub fn number(&mut self, node: &Node, key: &str) -> Option<f64> {
        if let Value::Number(text) = &node.value
            && let Ok(number) = text.parse()
        {
            return Some(number);
        }
        self.should(node, key, "a number");
        None
    }

    /// Names and texts: `{a: b}`.
    pub fn texts(&mut self, node: &Node, key: &str) -> Vec<(String, String)> {
        let entries = self.any_map(node, key).unwrap_or_default();
        let pair = |(name, value): &(Key, Node)| Some((name.text.clone(), self.text(value, &name.text)?));
        entries.iter().filter_map(pair).collect()
    }

    /// A type of JSON's own, whose complaint is told where it belongs.
    pub fn json<T>(
        &mut self,
        node: &Node,
        what: &str,
        read: impl FnOnce(serde_json::Value) -> Result<T, serde_json::Error>,
    ) -> Option<T> {
        match read(node.to_json()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.complaint(node, what, &error.to_string());
                None
            }
        }
    }

    /// Serde names a wrong word and the right ones in backquotes.
    fn complaint(&mut self, node: &Node, what: &str, error: &str) {
        let words: Vec<&str> = error.split('`').skip(1).step_by(2).collect();
        let Some((found, known)) = words.split_first() else {
            return self.fault(node.at, format!("{what}: {error}"), None);
        };
        if error.starts_with("unknown field") {
            let at = place_of(node, found).unwrap_or(node.at);
            self.unknown(at, format!("{what} has no field {found:?}"), found, known);
        } else if error.starts_with("unknown variant") {
            let at = place_of(node, found).unwrap_or(node.at);
            self.unknown(at, format!("{what} can't be {found:?}"), found, known);
        } else {
            self.fault(node.at, format!("{what}: {error}"), None);
        }
    }
}

/// Where a key or a text stands in a tree, the outermost first.
fn place_of(node: &Node, word: &str) -> Option<At> {
    match &node.value {
        Value::Text(text) => (text == word).then_some(node.at),
        Value::Map(entries) => {
            let key = entries.iter().find(|(key, _)| key.text == word).map(|(key, _)| key.at);
            key.or_else(|| entries.iter().find_map(|(_, value)| place_of(value, word)))
        }
        Value::List(items) => items.iter().find_map(|item| place_of(item, word)),
        _ => None,
    }
}

/// A map whose keys are known.
pub struct Fields<'node> {
    pub at: At,
    entries: &'node [(Key, Node)],
}

impl<'node> Fields<'node> {
    pub fn get(&self, key: &str) -> Option<&'node Node> {
        self.entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
    }
}
