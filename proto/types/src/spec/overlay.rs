//! What differs in an environment, laid over what is the same everywhere: maps
//! merge, lists and values replace, nothing (null) removes.

use super::compile::Tree;
use super::form::Need;
use super::kind::Kind;
use super::problem::{FAULTS_MAX, nearest};
use super::shape::push_step;
use super::yaml::{At, Fault, Key, Node, Value, fault};
use std::collections::{BTreeMap, BTreeSet};

/// What was removed, and where.
pub(super) fn lay(base: &mut Tree, over: Tree, faults: &mut Vec<Fault>) -> BTreeMap<(Kind, String), At> {
    let mut removed = BTreeMap::new();
    for ((kind, name), (at, node)) in over {
        // There is one system, whatever the overlay calls it.
        let system = || base.keys().find(|(found, _)| *found == Kind::System).cloned();
        let slot = if kind == Kind::System { system() } else { None }.unwrap_or((kind, name));
        let owner = format!("{kind} {}", slot.1);
        if faults.len() > FAULTS_MAX {
            break;
        }
        if node.value == Value::Null {
            if base.remove(&slot).is_none() {
                let help = near(base, &slot).unwrap_or_else(|| NOTHING.to_owned());
                faults.push(fault(at, &format!("{owner} is removed, and is not there"), Some(&help)));
            } else {
                removed.insert(slot, at);
            }
            continue;
        }
        match base.get_mut(&slot) {
            Some((_, below)) => merge(below, node, &Path { owner: &owner, path: String::new() }, faults),
            None => {
                let mut needed = kind.record().fields.iter().filter(|field| field.need == Need::Required);
                let lacks = needed.any(|field| node.get(field.key).is_none());
                if let Some(help) = if lacks { near(base, &slot) } else { None } {
                    let message = format!("{owner} is changed, and is not there");
                    faults.push(fault(at, &message, Some(&help)));
                    continue;
                }
                let mut node = node;
                refuse_nulls(&mut node, &Path { owner: &owner, path: String::new() }, faults);
                base.insert(slot, (at, node));
            }
        }
    }
    removed
}

/// The object of the same kind that was probably meant.
fn near(base: &Tree, (kind, name): &(Kind, String)) -> Option<String> {
    let known = base.keys().filter(|(found, _)| found == kind).map(|(_, name)| name.as_str());
    nearest(name, known).map(|near| format!("did you mean {near}?"))
}

const NOTHING: &str = "take the line out: there is nothing to remove";

/// Of a field, for messages.
struct Path<'owner> {
    owner: &'owner str,
    path: String,
}

impl Path<'_> {
    fn step(&self, key: &Key) -> Self {
        let mut path = self.path.clone();
        push_step(&mut path, &key.text);
        Path { owner: self.owner, path }
    }

    fn not_there<'a>(&self, key: &Key, known: impl Iterator<Item = &'a str>) -> Fault {
        let help = nearest(&key.text, known).map(|near| format!("did you mean {near}?"));
        let message = format!("{}: {} is removed, and is not there", self.owner, self.step(key).path);
        fault(key.at, &message, Some(help.as_deref().unwrap_or(NOTHING)))
    }
}

fn merge(below: &mut Node, over: Node, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let Value::Map(fields) = over.value else {
        *below = over;
        return;
    };
    let Value::Map(entries) = &mut below.value else {
        let mut over = Node { value: Value::Map(fields), ..over };
        refuse_nulls(&mut over, path, faults);
        *below = over;
        return;
    };
    let places: BTreeMap<String, usize> =
        entries.iter().enumerate().map(|(index, (key, _))| (key.text.clone(), index)).collect();
    let mut removed = BTreeSet::new();
    for (key, node) in fields {
        if faults.len() > FAULTS_MAX {
            return;
        }
        match (places.get(&key.text).copied(), node.value == Value::Null) {
            (Some(index), true) => {
                removed.insert(index);
                // What is missed afterwards is missed because of this line.
                below.at = key.at;
            }
            (Some(index), false) => {
                if let Some((written, value)) = entries.get_mut(index) {
                    written.at = key.at;
                    merge(value, node, &path.step(&key), faults);
                }
            }
            (None, true) => faults.push(path.not_there(&key, entries.iter().map(|(key, _)| key.text.as_str()))),
            (None, false) => {
                let mut node = node;
                refuse_nulls(&mut node, &path.step(&key), faults);
                entries.push((key, node));
            }
        }
    }
    let mut index = 0;
    entries.retain(|_| {
        index += 1;
        !removed.contains(&(index - 1))
    });
}

/// In what is new there is nothing to remove.
fn refuse_nulls(node: &mut Node, path: &Path<'_>, faults: &mut Vec<Fault>) {
    let Value::Map(entries) = &mut node.value else { return };
    entries.retain_mut(|(key, value)| {
        if value.value == Value::Null {
            faults.push(path.not_there(key, std::iter::empty()));
            return false;
        }
        refuse_nulls(value, &path.step(key), faults);
        true
    });
}
