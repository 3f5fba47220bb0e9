//! Which nodes are meant: `role=app`, `role in (a, b)`, `!spare`, `os.id=debian`,
//! several joined by commas, or `all`.

use std::collections::BTreeMap;
use std::fmt;

use crate::facts::SELECTABLE;

pub type Labels = BTreeMap<String, String>;

pub const LABEL_KEY_LENGTH_MAX: usize = 63;
pub const LABEL_VALUE_LENGTH_MAX: usize = 255;
/// A node's labels travel with every listing.
pub const LABELS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Has(String),
    HasNot(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("an empty selector: write `all` for every node")]
    Empty,
    #[error("{0:?} is no selector: write role=app, role!=app, role in (a, b), role, !role or all")]
    Term(String),
    #[error("{0:?} has no closing bracket: write role in (a, b), and quote the whole in YAML's braces")]
    Unclosed(String),
    #[error("there is no fact {found:?}: facts are {}, and labels have no dot", SELECTABLE.join(", "))]
    Fact { found: String },
    #[error("label {key:?}: {problem}")]
    Label { key: String, problem: &'static str },
}

impl Selector {
    pub fn all() -> Self {
        Self { terms: Vec::new() }
    }

    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        match text {
            "" => return Err(SelectorError::Empty),
            "all" => return Ok(Self::all()),
            _ => {}
        }
        let terms = split_terms(text)?.into_iter().map(parse_term).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Whether it asks for what only a running host can say.
    pub fn names_facts(&self) -> bool {
        self.terms.iter().any(|term| match term {
            Term::Is(key, _) | Term::IsNot(key, _) | Term::In(key, _) | Term::NotIn(key, _) => key.contains('.'),
            Term::Has(key) | Term::HasNot(key) => key.contains('.'),
        })
    }

    /// The label that a node needs to be taken, where it is a single one.
    pub fn as_label(&self) -> Option<(&str, &str)> {
        match self.terms.as_slice() {
            [Term::Is(key, value)] => Some((key, value)),
            [Term::In(key, values)] => values.first().map(|value| (key.as_str(), value.as_str())),
            _ => None,
        }
    }

    /// Labels win over facts of the same name.
    pub fn matches(&self, labels: &Labels, facts: &BTreeMap<String, String>) -> bool {
        let value = |key: &str| labels.get(key).or_else(|| facts.get(key));
        self.terms.iter().all(|term| match term {
            Term::Is(key, want) => value(key) == Some(want),
            Term::IsNot(key, want) => value(key) != Some(want),
            Term::In(key, wants) => value(key).is_some_and(|found| wants.contains(found)),
            Term::NotIn(key, wants) => value(key).is_none_or(|found| !wants.contains(found)),
            Term::Has(key) => value(key).is_some(),
            Term::HasNot(key) => value(key).is_none(),
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("all");
        }
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match term {
                Term::Is(key, value) => write!(f, "{key}={value}")?,
                Term::IsNot(key, value) => write!(f, "{key}!={value}")?,
                Term::In(key, values) => write!(f, "{key} in ({})", values.join(", "))?,
                Term::NotIn(key, values) => write!(f, "{key} not in ({})", values.join(", "))?,
                Term::Has(key) => write!(f, "{key}")?,
                Term::HasNot(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// Splits at the commas that are not inside brackets.
fn split_terms(text: &str) -> Result<Vec<&str>, SelectorError> {
    let mut terms = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(SelectorError::Term(text.to_owned())),
            ',' if !inside => {
                terms.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(SelectorError::Unclosed(text.to_owned()));
    }
    terms.push(text.get(start..).unwrap_or_default());
    Ok(terms)
}

fn parse_term(text: &str) -> Result<Term, SelectorError> {
    let text = text.trim();
    let wrong = || SelectorError::Term(text.to_owned());
    if let Some(body) = text.strip_suffix(')') {
        let (head, list) = body.split_once('(').ok_or_else(wrong)?;
        let values: Vec<String> = list.split(',').map(|value| value.trim().to_owned()).collect();
        if values.iter().any(|value| !is_value(value)) {
            return Err(wrong());
        }
        let words: Vec<&str> = head.split_whitespace().collect();
        return match words.as_slice() {
            [key, "in"] => Ok(Term::In(checked_key(key, text)?, values)),
            [key, "not", "in"] => Ok(Term::NotIn(checked_key(key, text)?, values)),
            _ => Err(wrong()),
        };
    }
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Term::HasNot(checked_key(key.trim(), text)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        let value = value.trim();
        return if is_value(value) {
            Ok(Term::IsNot(checked_key(key.trim(), text)?, value.to_owned()))
        } else {
            Err(wrong())
        };
    }
    match text.split_once('=') {
        Some((key, value)) => {
            let value = value.trim_start_matches('=').trim();
            if !is_value(value) {
                return Err(wrong());
            }
            Ok(Term::Is(checked_key(key.trim(), text)?, value.to_owned()))
        }
        None => Ok(Term::Has(checked_key(text, text)?)),
    }
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains(['=', '!', '(', ')', ',']) && !text.contains(char::is_whitespace)
}

fn checked_key(key: &str, term: &str) -> Result<String, SelectorError> {
    if key.contains('.') {
        if !SELECTABLE.contains(&key) {
            return Err(SelectorError::Fact { found: key.to_owned() });
        }
    } else if check_label_key(key).is_err() {
        return Err(SelectorError::Term(term.to_owned()));
    }
    Ok(key.to_owned())
}

/// The name of a label alone.
pub fn check_label_key(key: &str) -> Result<(), SelectorError> {
    let wrong = |problem| Err(SelectorError::Label { key: key.to_owned(), problem });
    if key.is_empty() {
        return wrong("a key is missing");
    }
    if key.len() > LABEL_KEY_LENGTH_MAX {
        return wrong("the key is longer than 63 characters");
    }
    if !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return wrong("use letters, digits, '-' and '_' (a key with a dot is a fact)");
    }
    Ok(())
}

/// A label as an operator gives it.
pub fn check_label(key: &str, value: &str) -> Result<(), SelectorError> {
    check_label_key(key)?;
    let problem = match value {
        "" => "its value is empty",
        value if value.len() > LABEL_VALUE_LENGTH_MAX => "its value is longer than 255 characters",
        value if !is_value(value) || value.chars().any(char::is_control) => {
            "its value has a space, a comma or one of =!()"
        }
        _ => return Ok(()),
    };
    Err(SelectorError::Label { key: key.to_owned(), problem })
}

/// `key=value` from a command line.
pub fn parse_label(text: &str) -> Result<(String, String), SelectorError> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| SelectorError::Label { key: text.to_owned(), problem: "write it as key=value" })?;
    check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let facts = BTreeMap::from([("os.id".to_owned(), "debian".to_owned())]);
        Selector::parse(selector).expect(selector).matches(&labels, &facts)
    }

    #[test]
    fn selectors_pick_what_they_say() {
        let web = [("role", "web"), ("zone", "a")];
        for yes in [
            "all",
            "role=web",
            "role==web",
            "role=web,zone=a",
            "role in (app, web)",
            "role not in (db)",
            "role",
            "!spare",
            "role!=db",
            "os.id=debian",
            " role = web ",
        ] {
            assert!(matches(yes, &web), "{yes}");
        }
        for no in ["role=db", "role=web,zone=b", "role in (app,db)", "!role", "spare", "os.id=alpine"] {
            assert!(!matches(no, &web), "{no}");
        }
    }

    #[test]
    fn selectors_print_as_they_are_read() {
        for text in ["all", "role=web, zone in (a, b), !spare, x!=y, z not in (q), k"] {
            assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(Selector::parse(" "), Err(SelectorError::Empty));
        assert!(matches!(Selector::parse("role in (a, b"), Err(SelectorError::Unclosed(_))));
        assert!(matches!(Selector::parse("os.name=x"), Err(SelectorError::Fact { .. })));
        for bad in ["role=", "=x", "role in a", "a b", "role=web,", "role in ()", "x=(y)", "((", "a=b=c"] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_checked_where_they_are_given() {
        assert_eq!(parse_label("role=web"), Ok(("role".into(), "web".into())));
        for bad in ["role", "role=", "os.id=x", "a b=c", "role=a,b", "=x"] {
            assert!(parse_label(bad).is_err(), "{bad}");
        }
    }
}
