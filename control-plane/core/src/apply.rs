//! What applying a spec would change, or why it can't be applied.

use crate::catalogue::{Catalogue, CatalogueError};
use hostler_types::Name;
use hostler_types::spec::{Body, Kind, Object, PluginSpec, Problem, nearest};
use std::collections::BTreeMap;

/// What is applied now.
pub type Applied = BTreeMap<(Kind, Name), Body>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Create,
    Update,
    Unchanged,
    Delete,
}

impl Act {
    pub const fn word(self) -> &'static str {
        match self {
            Act::Create => "create",
            Act::Update => "update",
            Act::Unchanged => "unchanged",
            Act::Delete => "delete",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub name: Name,
    pub act: Act,
}

/// Nothing is applied when anything is wrong, and everything wrong is told.
pub fn plan_apply(applied: &Applied, objects: &[Object], catalogue: &Catalogue) -> Result<Vec<Change>, Vec<Problem>> {
    let after = |name: &Name| -> Option<PluginSpec> {
        let new = objects.iter().find_map(|object| match &object.body {
            Body::Plugin(spec) if object.name == *name => Some(spec),
            _ => None,
        });
        let old = applied.get(&(Kind::Plugin, name.clone())).and_then(|body| match body {
            Body::Plugin(spec) => Some(spec),
            _ => None,
        });
        new.or(old).cloned()
    };
    let mut problems = Vec::new();
    for object in objects {
        match &object.body {
            Body::Check(check) => {
                let outcome = catalogue.choose(&check.plugin, after(&check.plugin).as_ref());
                if let Err(error) = outcome {
                    problems.push(problem(object, &error));
                }
            }
            Body::Plugin(spec) => {
                if let Err(error) = catalogue.choose(&object.name, Some(spec)) {
                    problems.push(problem(object, &error));
                }
            }
            Body::Node(_) => {}
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let change = |object: &Object| {
        let kind = object.body.kind();
        let act = match applied.get(&(kind, object.name.clone())) {
            None => Act::Create,
            Some(body) if *body == object.body => Act::Unchanged,
            Some(_) => Act::Update,
        };
        Change { kind, name: object.name.clone(), act }
    };
    Ok(objects.iter().map(change).collect())
}

fn problem(object: &Object, error: &CatalogueError) -> Problem {
    let help = match error {
        CatalogueError::NoPlugin { plugin, known } => match nearest(plugin, known.iter().map(String::as_str)) {
            Some(word) => format!("did you mean {word}?"),
            None if known.is_empty() => "push it first: hostlerctl plugin push FILE".to_owned(),
            None => format!("there are {}; push another with hostlerctl plugin push FILE", known.join(", ")),
        },
        CatalogueError::NoVersion { .. } => "hostlerctl plugin ls shows what was pushed".to_owned(),
    };
    // The origin is `file:line`, as it came from the reader.
    let (file, line) = object.origin.rsplit_once(':').unwrap_or((object.origin.as_str(), "0"));
    Problem {
        file: file.to_owned(),
        line: line.parse().unwrap_or(0),
        column: 1,
        text: String::new(),
        message: format!("{} {}: {error}", object.body.kind(), object.name),
        help: Some(help),
    }
}
