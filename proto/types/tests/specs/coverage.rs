//! Every kind of object and of reference has a case among the wrong specs. That
//! every trap has one, a test beside the traps says.

use super::wrong::{cases, paths};
use hostler_types::spec::{Field, Form, Kind, Record, Target};
use hostler_types::{Name, Selector};
use std::collections::BTreeSet;

/// What follows the place: `check disk: every ...`.
fn messages() -> Vec<String> {
    let texts = paths().into_iter().map(|path| std::fs::read_to_string(path).expect("a file of wrong specs"));
    let said: Vec<String> = texts.flat_map(|text| cases(&text)).map(|case| case.said).collect();
    let lines = said.iter().flat_map(|said| said.lines()).filter(|line| !line.starts_with(' '));
    lines.filter_map(|line| line.split_once(": ")).map(|(_, message)| message.to_owned()).collect()
}

#[test]
fn every_kind_has_a_wrong_spec() {
    let messages = messages();
    let is_told = |kind: &Kind| {
        let heads = [format!("{kind} "), format!("{kind}: ")];
        messages.iter().any(|message| heads.iter().any(|head| message.starts_with(head)))
    };
    let untold: Vec<&Kind> = Kind::ALL.iter().filter(|kind| !is_told(kind)).collect();
    assert!(untold.is_empty(), "{untold:?} have no case");
}

/// Goes through all that a link can lead to: a new one does not compile until it
/// has a place here.
fn next(target: Option<&Target>) -> Option<Target> {
    let name = || Name::new("a").expect("a name");
    match target {
        None => Some(Target::Object(Kind::Service, name())),
        Some(Target::Object(..)) => Some(Target::File { file: "files/a".to_owned(), digest: String::new() }),
        Some(Target::File { .. }) => Some(Target::Nodes(Selector::parse("all").expect("a selector"))),
        Some(Target::Nodes(_)) => Some(Target::Environment(name())),
        Some(Target::Environment(_)) => None,
    }
}

/// A part of what is said where the link leads nowhere.
fn said_of(target: &Target) -> &'static str {
    match target {
        Target::Object(..) => "and there is none here",
        Target::File { .. } => "and there is no such file",
        Target::Nodes(_) => "and no node here is taken by it",
        Target::Environment(_) => " names the environment ",
    }
}

#[test]
fn every_kind_of_link_has_a_wrong_spec() {
    let messages = messages();
    let targets = std::iter::successors(next(None), |target| next(Some(target)));
    let is_told = |target: &Target| messages.iter().any(|message| message.contains(said_of(target)));
    let untold: Vec<Target> = targets.filter(|target| !is_told(target)).collect();
    assert!(untold.is_empty(), "{untold:?} have no case");
}

/// The fields that hold names of others, `alert.tell`, and of which kind.
fn references(path: &str, record: &'static Record, into: &mut Vec<(String, Kind)>) {
    fn look(path: &str, form: &'static Form, into: &mut Vec<(String, Kind)>) {
        match form {
            Form::Reference(kind) => into.push((path.to_owned(), *kind)),
            Form::List(of) | Form::Map { value: of, .. } => look(path, of, into),
            Form::Record(record) => references(path, record(), into),
            Form::Either(forms) => forms.iter().for_each(|form| look(path, form, into)),
            Form::Scalar(_) | Form::Words(_) | Form::Any => {}
        }
    }
    for Field { key, form, .. } in &record.fields {
        look(&format!("{path}.{key}"), form, into);
    }
}

/// `alert down: tell[0] names the notifier ops, ...` as `alert.tell` and `notifier`.
fn named(message: &str) -> Option<(String, String)> {
    let (owner, rest) = message.split_once(": ")?;
    let (path, rest) = rest.split_once(" names the ")?;
    let outside: Vec<&str> = path.split(['[', ']']).step_by(2).collect();
    let kind = owner.split(' ').next()?;
    Some((format!("{kind}.{}", outside.concat()), rest.split(' ').next()?.to_owned()))
}

#[test]
fn every_field_that_names_another_object_has_a_wrong_spec() {
    let told: BTreeSet<(String, String)> = messages().iter().filter_map(|message| named(message)).collect();
    let mut all = Vec::new();
    for kind in Kind::ALL {
        references(kind.word(), kind.record(), &mut all);
    }
    assert!(all.len() > 15, "{all:?}");
    let untold: Vec<_> = all.iter().filter(|(path, kind)| !told.contains(&(path.clone(), kind.to_string()))).collect();
    assert!(untold.is_empty(), "{untold:#?} have no case");
}

#[test]
fn every_answer_says_what_to_do() {
    for path in paths() {
        let text = std::fs::read_to_string(&path).expect("a file of wrong specs");
        for case in cases(&text) {
            let helpless = case.said.split("\n\n").find(|problem| !problem.contains("\n  help: "));
            assert_eq!(helpless, None, "{}, {}", path.display(), case.title);
        }
    }
}
