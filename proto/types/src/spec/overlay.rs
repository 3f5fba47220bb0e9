//! What differs in an environment, laid over what is the same everywhere: maps
//! merge, lists and values replace, nothing (null) removes.

use super::compile::Tree;
use super::kind::Kind;
use super::problem::{FAULTS_MAX, nearest};
use super::yaml::{Fault, Key, Node, Value, fault};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn lay(base: &mut Tree, over: Tree, faults: &mut Vec<Fault>) {
    for ((kind, name), (at, node)) in over {
        // There is one system, whatever the overlay calls it.
        let system = || base.keys().find(|(found, _)| *found == Kind::System).cloned();
        let slot = if kind == Kind::System { system() } else { None }.unwrap_or((kind, name));
        if faults.len() > FAULTS_MAX {
            return;
        }
        if node.value == Value::Null {
            if base.remove(&slot).is_none() {
                let known = base.keys().filter(|(found, _)| *found == kind).map(|(_, name)| name.as_str());
                let help = match nearest(&slot.1, known) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "take the line out: it is not in the files above either".to_owned(),
                };
                faults.push(fault(at, &format!("{kind} {} is removed, and is not there", slot.1), Some(&help)));
            }
            continue;
        }
        match base.get_mut(&slot) {
            Some((_, below)) => merge(below, node, &format!("{kind} {}", slot.1), faults),
            None => {
                let mut node = node;
                refuse_nulls(&mut node, &format!("{kind} {}", slot.1), faults);
                base.insert(slot, (at, node));
            }
        }
    }
}

fn merge(below: &mut Node, over: Node, owner: &str, faults: &mut Vec<Fault>) {
    let Value::Map(fields) = over.value else {
        *below = over;
        return;
    };
    let Value::Map(entries) = &mut below.value else {
        let mut over = Node { value: Value::Map(fields), ..over };
        refuse_nulls(&mut over, owner, faults);
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
            (Some(index), true) => drop(removed.insert(index)),
            (Some(index), false) => {
                if let Some((_, value)) = entries.get_mut(index) {
                    merge(value, node, owner, faults);
                }
            }
            (None, true) => {
                let help = nothing_to_remove(&key, entries.iter().map(|(key, _)| key.text.as_str()));
                faults.push(fault(key.at, &format!("{owner}: {} is removed, and is not there", key.text), Some(&help)));
            }
            (None, false) => {
                let mut node = node;
                refuse_nulls(&mut node, owner, faults);
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

fn nothing_to_remove<'a>(key: &Key, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(&key.text, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "take the line out: it is not in the files above either".to_owned(),
    }
}

/// In what is new there is nothing to remove.
fn refuse_nulls(node: &mut Node, owner: &str, faults: &mut Vec<Fault>) {
    let Value::Map(entries) = &mut node.value else { return };
    entries.retain_mut(|(key, value)| {
        if value.value == Value::Null {
            let help = nothing_to_remove(key, std::iter::empty());
            faults.push(fault(key.at, &format!("{owner}: {} is removed, and is not there", key.text), Some(&help)));
            return false;
        }
        refuse_nulls(value, owner, faults);
        true
    });
}
