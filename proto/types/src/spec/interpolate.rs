//! The one grammar of references inside text: `${secret:x}`, `${node.name}`,
//! `${env:X}`, `${file}`. A bare shell `$VAR` passes through, and `$${` stands for
//! a `${` that is none.
//!
//! `${env:X}` is the environment of whoever applies, so it is put in place before
//! anything else looks; the others are resolved on the host.

use super::kind::Kind;
use super::problem::{as_name, nearest};
use super::shape::{Reader, Target};
use super::yaml::{At, Fault, Node, Value};
use crate::Name;
use crate::facts::SELECTABLE;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// What may follow `node.`, besides the selectable facts and `label.KEY`.
const NODE_WORDS: [&str; 2] = ["name", "id"];
const LABEL: &str = "label.";

/// A piece of text: as it stands, or a reference.
#[derive(Debug, PartialEq)]
enum Piece<'text> {
    Plain(&'text str),
    Reference(&'text str),
    /// `${` without its end.
    Open(&'text str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (head, tail) = rest.split_at(at);
        if head.ends_with('$') {
            // `$${`: the brace is text.
            let (plain, after) = rest.split_at(at + 2);
            pieces.push(Piece::Plain(plain));
            rest = after;
            continue;
        }
        pieces.push(Piece::Plain(head));
        let Some(body) = tail.strip_prefix("${") else { break };
        match body.split_once('}') {
            Some((reference, after)) => {
                pieces.push(Piece::Reference(reference));
                rest = after;
            }
            None => {
                pieces.push(Piece::Open(tail));
                return pieces;
            }
        }
    }
    pieces.push(Piece::Plain(rest));
    pieces
}

/// Whether every reference of the text is one; links the secrets it names.
pub(super) fn check(text: &str, file: bool, node: &Node, reader: &mut Reader<'_>) -> bool {
    let before = reader.faults.len();
    if !text.contains("${") {
        return true;
    }
    for piece in pieces(text) {
        match piece {
            Piece::Plain(_) => {}
            Piece::Open(rest) => {
                let help = format!("close it: {rest}}}; write $${{ for a brace that is text");
                reader.fault(node.at, format!("has a ${{ without its }} in {rest:?}"), Some(help));
            }
            Piece::Reference(reference) => check_reference(reference, file, node.at, reader),
        }
    }
    reader.faults.len() == before
}

fn check_reference(reference: &str, file: bool, at: At, reader: &mut Reader<'_>) {
    if let Some(secret) = reference.strip_prefix("secret:") {
        match Name::new(secret) {
            Ok(name) => reader.link(at, Target::Object(Kind::Secret, name)),
            Err(error) => {
                let help = match as_name(secret) {
                    Some(name) => format!("did you mean ${{secret:{name}}}?"),
                    None => "write it like this: ${secret:smtp}".to_owned(),
                };
                reader.fault(at, format!("names ${{{reference}}}: {error}"), Some(help));
            }
        }
        return;
    }
    if let Some(fact) = reference.strip_prefix("node.") {
        let label = fact.strip_prefix(LABEL).is_some_and(|key| !key.is_empty());
        let known = || NODE_WORDS.into_iter().chain(SELECTABLE);
        if label || known().any(|word| word == fact) {
            return;
        }
        let help = match nearest(fact, known()) {
            Some(word) => format!("did you mean ${{node.{word}}}?"),
            None if fact.starts_with("label") => "write the label's key: ${node.label.role}".to_owned(),
            None => format!("a node has {} and label.KEY", known().collect::<Vec<_>>().join(", ")),
        };
        reader.fault(at, format!("names ${{{reference}}}, and a node has no {fact:?}"), Some(help));
        return;
    }
    if reference.starts_with("env:") {
        return refuse_variable(reference, at, reader);
    }
    if reference == "file" {
        if !file {
            let help = Some("${file} stands for the new file in the `validate` of a file only".to_owned());
            reader.fault(at, "names ${file}, and no file is in question here", help);
        }
        return;
    }
    let (head, tail) = match reference.find([':', '.']) {
        Some(end) => reference.split_at(end),
        None => (reference, ""),
    };
    let (head, tail) = (head.trim_matches([' ', '{']), tail.trim_end());
    let help = match nearest(&head.to_lowercase(), ["secret", "node", "env", "file"]) {
        Some(word) if tail.len() > 1 && word != "file" => {
            let mark = if word == "node" { "." } else { ":" };
            let name = tail.trim_start_matches([':', '.']);
            let name =
                Some(name).filter(|_| word != "secret").map_or_else(|| as_name(name), |name| Some(name.to_owned()));
            format!("did you mean ${{{word}{mark}{}}}?", name.as_deref().unwrap_or("NAME"))
        }
        Some("file") if file && tail.is_empty() => "did you mean ${file}?".to_owned(),
        _ if !reference.is_empty() && reference.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => format!(
            "a variable of the environment you apply in is ${{env:{reference}}}, one that a shell on the host \
             resolves is $${{{reference}}}"
        ),
        _ => "references are ${secret:NAME}, ${node.FACT}, ${env:NAME} and ${file}".to_owned(),
    };
    reader.fault(at, format!("names ${{{reference}}}, and there is no such reference"), Some(help));
}

/// Nobody's environment is at hand any more.
fn refuse_variable(reference: &str, at: At, reader: &mut Reader<'_>) {
    let message = format!("names ${{{reference}}}, and variables are put in place where a spec is applied, not here");
    let help = format!("write what it stands for, or apply the spec with hostlerctl; for the text, $${{{reference}}}");
    reader.fault(at, message, Some(help));
}

/// Tells every variable of the environment that a tree still names.
pub(super) fn refuse_variables(node: &Node, reader: &mut Reader<'_>) {
    match &node.value {
        Value::Text(text) => {
            for piece in pieces(text) {
                if let Piece::Reference(reference) = piece
                    && reference.starts_with("env:")
                {
                    refuse_variable(reference, node.at, reader);
                }
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                reader.inside(&format!("[{index}]"), None, |reader| refuse_variables(item, reader));
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                reader.inside(&key.text, None, |reader| refuse_variables(value, reader));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Any value as JSON, its references checked: for what only a plugin understands.
pub(super) fn to_json(node: &Node, reader: &mut Reader<'_>) -> Json {
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) => node.to_json(),
        Value::Text(text) => {
            check(text, false, node, reader);
            text.clone().into()
        }
        Value::List(items) => {
            let read = |(index, item): (usize, &Node)| {
                reader.inside(&format!("[{index}]"), None, |reader| to_json(item, reader))
            };
            items.iter().enumerate().map(read).collect()
        }
        Value::Map(entries) => {
            let mut map = serde_json::Map::new();
            for (key, value) in entries {
                let json = reader.inside(&key.text, None, |reader| to_json(value, reader));
                map.insert(key.text.clone(), json);
            }
            Json::Object(map)
        }
    }
}

/// Puts what a node knows about itself in place, in every text of a value, and
/// makes `$${` the `${` that it means. `lookup` is asked for what follows
/// `node.`; what it does not know, and secrets, stay as they are written.
pub fn on_node(value: &Json, lookup: &dyn Fn(&str) -> Option<String>) -> Json {
    match value {
        Json::String(text) if text.contains("${") => on_node_text(text, lookup).into(),
        Json::Array(items) => items.iter().map(|item| on_node(item, lookup)).collect(),
        Json::Object(map) => {
            Json::Object(map.iter().map(|(key, value)| (key.clone(), on_node(value, lookup))).collect())
        }
        other => other.clone(),
    }
}

fn on_node_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut whole = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => whole.push_str(&plain.replace("$${", "${")),
            Piece::Open(rest) => whole.push_str(rest),
            Piece::Reference(reference) => match reference.strip_prefix("node.").and_then(lookup) {
                Some(found) => whole.push_str(&found),
                None => {
                    whole.push_str("${");
                    whole.push_str(reference);
                    whole.push('}');
                }
            },
        }
    }
    whole
}

/// The secrets that a value's texts name.
pub fn secrets_in(value: &Json) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    collect_secrets(value, &mut found);
    found
}

fn collect_secrets(value: &Json, found: &mut BTreeSet<Name>) {
    match value {
        Json::String(text) => found.extend(secret_names(text).filter_map(|name| Name::new(name).ok())),
        Json::Array(items) => items.iter().for_each(|item| collect_secrets(item, found)),
        Json::Object(map) => map.values().for_each(|item| collect_secrets(item, found)),
        _ => {}
    }
}

/// Whether a secret is put in place in a text.
pub fn names_secret(text: &str) -> bool {
    secret_names(text).next().is_some()
}

fn secret_names(text: &str) -> impl Iterator<Item = &str> {
    let pieces = if text.contains("${secret:") { pieces(text) } else { Vec::new() };
    pieces.into_iter().filter_map(|piece| match piece {
        Piece::Reference(reference) => reference.strip_prefix("secret:"),
        Piece::Plain(_) | Piece::Open(_) => None,
    })
}

/// Puts secrets in place, on the host that has them. An error is the name of one
/// that it has not.
pub fn with_secrets(value: &Json, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Json, String> {
    Ok(match value {
        Json::String(text) if text.contains("${secret:") => with_secrets_in_text(text, lookup)?.into(),
        Json::Array(items) => {
            Json::Array(items.iter().map(|item| with_secrets(item, lookup)).collect::<Result<_, _>>()?)
        }
        Json::Object(map) => {
            let put = |(key, value): (&String, &Json)| Ok((key.clone(), with_secrets(value, lookup)?));
            Json::Object(map.iter().map(put).collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn with_secrets_in_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut whole = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(rest) | Piece::Open(rest) => whole.push_str(rest),
            Piece::Reference(reference) => match reference.strip_prefix("secret:") {
                Some(name) => whole.push_str(&lookup(name).ok_or_else(|| name.to_owned())?),
                None => {
                    whole.push_str("${");
                    whole.push_str(reference);
                    whole.push('}');
                }
            },
        }
    }
    Ok(whole)
}

/// Puts the environment's variables in place, everywhere in the tree.
pub(super) fn substitute(node: &mut Node, variables: &BTreeMap<String, String>, faults: &mut Vec<Fault>) {
    match &mut node.value {
        Value::Text(text) if text.contains("${env:") => *text = substituted(text, node.at, variables, faults),
        Value::List(items) => items.iter_mut().for_each(|item| substitute(item, variables, faults)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| substitute(value, variables, faults)),
        _ => {}
    }
}

fn substituted(text: &str, at: At, variables: &BTreeMap<String, String>, faults: &mut Vec<Fault>) -> String {
    let mut whole = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => join(&mut whole, plain),
            Piece::Open(rest) => whole.push_str(rest),
            Piece::Reference(reference) => match reference.strip_prefix("env:") {
                None => {
                    whole.push_str("${");
                    whole.push_str(reference);
                    whole.push('}');
                }
                Some(name) => match variables.get(name) {
                    // What a variable holds is text, whatever it looks like.
                    Some(value) => join(&mut whole, &value.replace("${", "$${")),
                    None => {
                        let message = match name {
                            "" => "${env:} names no variable".to_owned(),
                            name => format!("${{env:{name}}}: {name} is not set where you run hostlerctl"),
                        };
                        let near = nearest(name, variables.keys().map(String::as_str));
                        let help = match near {
                            None if name.is_empty() => "write it like this: ${env:HOME}".to_owned(),
                            Some(word) => format!("did you mean ${{env:{word}}}? Or set it: {name}=... hostlerctl ..."),
                            None => format!("set it: {name}=... hostlerctl ..."),
                        };
                        faults.push(Fault { at, message, help: Some(help) });
                    }
                },
            },
        }
    }
    whole
}

/// What a variable holds makes no reference together with what stands beside it.
fn join(whole: &mut String, part: &str) {
    if whole.ends_with('$') && part.starts_with('{') {
        whole.push('$');
    }
    whole.push_str(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_fills_in_what_it_knows() {
        let lookup = |word: &str| (word == "name").then(|| "web1".to_owned());
        let value =
            json!({ "url": "http://${node.name}:80/${node.label.x}", "list": ["$${HOME} $PATH ${secret:s}", 5] });
        let want = json!({ "url": "http://web1:80/${node.label.x}", "list": ["${HOME} $PATH ${secret:s}", 5] });
        assert_eq!(on_node(&value, &lookup), want);
    }

    #[test]
    fn the_environment_is_put_in_place_as_text() {
        let variables = BTreeMap::from([("TAG".to_owned(), "v1 ${x}".to_owned())]);
        let mut faults = Vec::new();
        let found = substituted("a ${env:TAG} ${secret:s} $${env:TAG}", At::default(), &variables, &mut faults);
        assert_eq!((found.as_str(), faults.len()), ("a v1 $${x} ${secret:s} $${env:TAG}", 0));
        let dollar = BTreeMap::from([("A".to_owned(), "$".to_owned()), ("B".to_owned(), "{env:A}".to_owned())]);
        for text in ["${env:A}{env:A}", "${env:A}${env:B}"] {
            assert_eq!(substituted(text, At::default(), &dollar, &mut faults), "$${env:A}");
        }
        substituted("${env:TAB}", At::default(), &variables, &mut faults);
        assert!(faults[0].help.as_ref().is_some_and(|help| help.contains("did you mean ${env:TAG}?")), "{faults:?}");
    }

    #[test]
    fn secrets_are_found_and_put_in_place() {
        let with =
            json!({"password": "${secret:db}", "url": ["https://u:${secret:api-key}@x", "${node.name}"], "n": 1});
        let names: Vec<String> = secrets_in(&with).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["api-key", "db"]);
        let lookup = |name: &str| Some(format!("<{name}>"));
        let want = json!({"password": "<db>", "url": ["https://u:<api-key>@x", "${node.name}"], "n": 1});
        assert_eq!(with_secrets(&with, &lookup), Ok(want));
        assert_eq!(with_secrets(&with, &|name| (name == "db").then(String::new)), Err("api-key".to_owned()));
    }
}
