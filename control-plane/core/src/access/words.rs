//! Rules as words, both ways.

use super::{Ask, Many, Noun, Place, Rule, Verb, Within};
use hostler_types::spec::{Kind, nearest};
use std::collections::BTreeSet;
use std::fmt;

/// Takes every one.
pub const ALL: &str = "all";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    #[error("there is no verb {word:?}{}", help(word, Verb::words()))]
    Verb { word: String },
    #[error("there is no kind {word:?}{}", help(word, Noun::words()))]
    Noun { word: String },
}

fn help(word: &str, known: Vec<&'static str>) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("; did you mean {near}?"),
        None => format!("; there are {}", list(known)),
    }
}

pub fn list<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

impl Verb {
    pub const ALL: &'static [Verb] = &[Verb::Read, Verb::Change, Verb::Act, Verb::Push, Verb::Approve];

    pub const fn word(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Change => "change",
            Verb::Act => "act",
            Verb::Push => "push",
            Verb::Approve => "approve",
        }
    }

    pub fn words() -> Vec<&'static str> {
        Self::ALL.iter().map(|verb| verb.word()).collect()
    }

    pub fn parse(word: &str) -> Result<Self, WordError> {
        let found = Self::ALL.iter().find(|verb| verb.word() == word).copied();
        found.ok_or_else(|| WordError::Verb { word: word.to_owned() })
    }
}

impl Noun {
    const OTHERS: [Noun; 8] =
        [Noun::Token, Noun::Operator, Noun::Role, Noun::Key, Noun::Event, Noun::Audit, Noun::Server, Noun::Command];

    pub fn all() -> impl Iterator<Item = Noun> + Clone {
        Kind::ALL.iter().copied().map(Noun::Spec).chain(Self::OTHERS)
    }

    pub const fn word(self) -> &'static str {
        match self {
            Noun::Spec(kind) => kind.word(),
            Noun::Token => "token",
            Noun::Operator => "operator",
            Noun::Role => "role",
            Noun::Key => "key",
            Noun::Event => "event",
            Noun::Audit => "audit",
            Noun::Server => "server",
            Noun::Command => "command",
        }
    }

    pub fn words() -> Vec<&'static str> {
        Self::all().map(Noun::word).collect()
    }

    pub fn parse(word: &str) -> Result<Self, WordError> {
        Self::all().find(|noun| noun.word() == word).ok_or_else(|| WordError::Noun { word: word.to_owned() })
    }
}

impl<T: Ord + Copy> Many<T> {
    pub fn parse<S: AsRef<str>>(words: &[S], one: impl Fn(&str) -> Result<T, WordError>) -> Result<Self, WordError> {
        if words.iter().any(|word| word.as_ref() == ALL) {
            return Ok(Many::All);
        }
        let read: BTreeSet<T> = words.iter().map(|word| one(word.as_ref())).collect::<Result<_, _>>()?;
        Ok(Many::These(read))
    }

    pub fn words(&self, word: impl Fn(T) -> &'static str) -> Vec<String> {
        match self {
            Many::All => vec![ALL.to_owned()],
            Many::These(these) => these.iter().map(|one| word(*one).to_owned()).collect(),
        }
    }
}

pub fn systems<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&String> = names.into_iter().collect();
    let noun = if names.len() == 1 { "system" } else { "systems" };
    format!("{noun} {}", list(names))
}

/// `read, change check, plugin in system shop`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs: BTreeSet<Noun> = Kind::ALL.iter().copied().map(Noun::Spec).collect();
        let nouns = match &self.nouns {
            Many::All => "everything".to_owned(),
            Many::These(nouns) if nouns.is_superset(&specs) => {
                list(std::iter::once("all kinds of specs").chain(nouns.difference(&specs).map(|noun| noun.word())))
            }
            nouns => list(nouns.words(Noun::word)),
        };
        match &self.verbs {
            Many::All => f.write_str("do all with ")?,
            verbs => write!(f, "{} ", list(verbs.words(Verb::word)))?,
        }
        f.write_str(&nouns)?;
        match &self.within {
            Within::Everywhere => {}
            Within::Limit => f.write_str(" in the systems they are limited to")?,
            Within::Systems(names) => write!(f, " in {}", systems(names))?,
        }
        match &self.nodes {
            None => Ok(()),
            Some(selector) => write!(f, " where {selector}"),
        }
    }
}

/// `change check disk in system shop`, as `hostlerctl can` is asked.
impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb.word(), self.noun.map_or("any kind of spec", Noun::word))?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        match self.place {
            Place::System(system) => write!(f, " in system {system}"),
            Place::Everywhere | Place::Some => Ok(()),
        }
    }
}
