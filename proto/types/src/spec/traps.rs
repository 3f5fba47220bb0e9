//! YAML's own traps, each told in words of its own.
//!
//! A parser says what it did not find; a person wants to know which character to
//! change. So the line in question is looked at again.

use super::problem::MORE;
use super::yaml::{At, Fault, Key, Node, Value, fault};

/// Turns a parser's complaint into help, where the line shows a known trap.
pub(super) fn explain(text: &str, found: Fault) -> Fault {
    if found.message == MORE {
        return found;
    }
    let line_at = |number: u32| text.lines().nth(number.saturating_sub(1) as usize).unwrap_or_default();
    // The parser often notices a line late.
    for number in [found.at.line, found.at.line.saturating_sub(1)] {
        if number == 0 {
            continue;
        }
        if let Some((column, message, help)) = trap(line_at(number), &found.message) {
            let at = At { line: number, column, ..found.at };
            return Fault { at, message, help: Some(help) };
        }
    }
    if found.message.contains("tabs") {
        let help = "indent with blanks; two a level is the custom";
        return Fault {
            help: Some(help.to_owned()),
            message: "a tab indents here, and YAML knows blanks only".to_owned(),
            ..found
        };
    }
    if found.message.contains("EOF") || found.message.contains("eof") {
        return unclosed(text, found);
    }
    let help = found.help.or_else(|| plain_help(&found.message));
    Fault { help, ..found }
}

fn plain_help(message: &str) -> Option<String> {
    let help = match message {
        found if found.contains("simple key") => "a key ends in a colon and a blank: every: 10s",
        found if found.contains("expected key") || found.contains("indentation") => {
            "the fields of one map begin in the same column; look at the lines above"
        }
        found if found.contains("'-' indicator") => "the items of one list begin in the same column, each with \"- \"",
        found if found.contains("',' or") => {
            "between braces, fields are separated by commas: {every: 10s, plugin: disk}"
        }
        found if found.contains("escape") => {
            "in double quotes a backslash is written twice; single quotes take it as it is"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

/// Column, message and help of the first trap that the line shows.
fn trap(line: &str, message: &str) -> Option<(u32, String, String)> {
    let column = |at: usize| u32::try_from(line.get(..at).map_or(0, |head| head.chars().count()) + 1).unwrap_or(1);
    if let Some(at) = unquoted(line).into_iter().find(|at| line.get(*at..).is_some_and(|rest| rest.starts_with("${"))) {
        let inside = line.get(..at).is_some_and(|head| head.contains(['{', '[']));
        if inside {
            let rest = line.get(at..).unwrap_or_default();
            let whole = rest.find('}').and_then(|end| rest.get(..=end)).unwrap_or(rest);
            let told = "a brace inside braces ends YAML's value too early".to_owned();
            return Some((column(at), told, format!("quote it: \"{whole}\"")));
        }
    }
    let (at, value) = value_of(line)?;
    let whole = || value.split(" #").next().unwrap_or(value).trim_end().to_owned();
    let quoted = || format!("quote it: {}\"{}\"", line.get(..at).unwrap_or_default().trim_start(), whole());
    match value.chars().next()? {
        '*' => {
            let told = "a value that begins with * is an alias to YAML".to_owned();
            Some((column(at), told, quoted()))
        }
        '@' | '`' | '%' => {
            let told = format!("a value can't begin with {} in YAML", value.chars().next().unwrap_or('@'));
            Some((column(at), told, quoted()))
        }
        '!' if message.contains("tag") || message.contains("handle") => {
            Some((column(at), "a value that begins with ! is a tag to YAML".to_owned(), quoted()))
        }
        '"' | '\'' => None,
        _ => {
            // `a: b: c`
            let inner = value.find(": ").filter(|_| !value.starts_with(['{', '[']) && !message.contains("',' or"))?;
            let told = "a colon and a blank inside a value begin a new key to YAML".to_owned();
            Some((column(at + inner), told, quoted()))
        }
    }
}

/// Where the value after a line's first key begins, and the value.
fn value_of(line: &str) -> Option<(usize, &str)> {
    let start = line.find(|c: char| !c.is_whitespace() && c != '-')?;
    let colon = line.get(start..)?.find(": ")? + start;
    let rest = line.get(colon + 2..)?;
    let blank = rest.len() - rest.trim_start().len();
    let at = colon + 2 + blank;
    let value = line.get(at..)?;
    (!value.is_empty()).then_some((at, value))
}

/// The byte positions outside quotes.
fn unquoted(line: &str) -> Vec<usize> {
    let mut quote = None;
    let mut places = Vec::new();
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && line.get(..at).is_some_and(|head| head.is_empty() || head.ends_with(' ')) => break,
            None => places.push(at),
        }
    }
    places
}

/// The bracket that is still open at the end of the text, as far as one can tell.
fn unclosed(text: &str, found: Fault) -> Fault {
    let mut open: Vec<(usize, &str, usize, char)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for at in unquoted(line) {
            let Some(c) = line.get(at..).and_then(|rest| rest.chars().next()) else { continue };
            match c {
                '{' | '[' => open.push((number + 1, line, at, c)),
                '}' | ']' => drop(open.pop()),
                _ => {}
            }
        }
    }
    match open.last() {
        Some((number, line, at, bracket)) => {
            let close = if *bracket == '{' { '}' } else { ']' };
            let column = line.get(..*at).map_or(0, |head| head.chars().count()) + 1;
            let [line, column] = [*number, column].map(|place| u32::try_from(place).unwrap_or(1));
            let at = At { line, column, ..found.at };
            Fault {
                at,
                message: format!("{bracket:?} is never closed"),
                help: Some(format!("add {close:?} where it ends")),
            }
        }
        None => Fault {
            message: "the file ends inside a quoted text or a bracket".to_owned(),
            help: Some("close what was opened".to_owned()),
            ..found
        },
    }
}

/// `{where: role in (a, b)}`: to YAML the comma begins a new key, `b)`.
pub(super) fn unclosed_bracket(before: &[(Key, Node)], key: &Key, value: &Node) -> Option<Fault> {
    if !key.text.ends_with(')') || value.value != Value::Null {
        return None;
    }
    let open = |text: &str| text.contains('(') && !text.contains(')');
    let (owner, opened) = before.iter().rev().find_map(|(owner, node)| match &node.value {
        Value::Text(text) if open(text) => Some((owner, text)),
        _ => None,
    })?;
    let help = format!("quote the whole: {}: \"{opened}, {}\"", owner.text, key.text);
    Some(fault(key.at, "the comma inside the brackets ends the value to YAML", Some(&help)))
}

/// Words that are true, false or a number to other readers of YAML, where text
/// is meant.
pub(super) fn ambiguous(text: &str) -> Option<&'static str> {
    let word = text.to_ascii_lowercase();
    if matches!(word.as_str(), "yes" | "on" | "y") {
        return Some("true to many readers of YAML");
    }
    if matches!(word.as_str(), "no" | "off" | "n") {
        return Some("false to many readers of YAML");
    }
    let parts: Vec<&str> = text.split(':').collect();
    let digits = |part: &&str| !part.is_empty() && part.len() <= 2 && part.chars().all(|c| c.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(digits) {
        return Some("a number to the base of 60 to many readers of YAML");
    }
    None
}
