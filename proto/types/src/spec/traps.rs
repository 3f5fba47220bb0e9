//! YAML's own traps, each told in words of its own.
//!
//! A parser says what it did not find; a person wants to know which character to
//! change. So the line in question is looked at again.

use super::problem::{LINE_BYTES_MAX, MORE};
use super::yaml::{self, At, Fault, Key, Node, Value, fault};

/// Each trap, and what is said about it; `{}` is the text in question.
macro_rules! traps {
    ($($trap:ident $told:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Trap { $($trap,)* }

        impl Trap {
            #[cfg(test)]
            const ALL: &'static [Trap] = &[$(Trap::$trap,)*];

            const fn told(self) -> &'static str {
                match self { $(Trap::$trap => $told,)* }
            }
        }
    };
}

traps! {
    InBraces "a {} inside braces ends YAML's value too early",
    NoComma "{} begins a new field to YAML, and no comma stands before it",
    Alias "a value that begins with * is an alias to YAML, and specs have none",
    Star "a value that begins with * is an alias to YAML",
    Mark "a value can't begin with {} in YAML",
    Tag "a value that begins with ! is a tag to YAML",
    Colon "a colon and a blank inside a value begin a new key to YAML",
    Tab "a tab indents here, and YAML knows blanks only",
    AfterQuote "the value goes on after its closing quote",
    OpenQuote "the quote is never closed",
    NeverClosed "{} is never closed",
    ClosesNothing "{} closes nothing",
    MissingComma "a comma is missing before this",
    TooFarRight "this line is indented too far",
    ColonAlone "a colon without a blank after it",
    KeyAlone "a key without its colon",
    ItemAmongFields "an item of a list stands among fields",
    FieldAmongItems "a field stands among the items of a list",
    Column "this line begins in a column that fits nothing above it",
    Comment "a comment needs a blank before it",
    Escape "\\{} means nothing in double quotes",
    CommaInBraces "a comma between braces ends the value to YAML, even inside ( and )",
    Truth "true to many readers of YAML",
    Falsehood "false to many readers of YAML",
    Time "a number to many readers of YAML",
}

impl Trap {
    fn about(self, text: impl std::fmt::Display) -> String {
        self.told().replace("{}", &text.to_string())
    }
}

/// Turns a parser's complaint into help, where the text shows a known trap.
pub(super) fn explain(text: &str, found: Fault) -> Fault {
    // No person wrote such a line, and looking at it again and again would be long.
    if found.message == MORE || text.lines().any(|line| line.len() > LINE_BYTES_MAX) {
        return found;
    }
    let told = in_one_line(text, &found)
        .or_else(|| tab(text, &found))
        .or_else(|| quote(text, &found))
        .or_else(|| bracket(text, &found))
        .or_else(|| colon(text, &found))
        .or_else(|| column_of(text, &found))
        .or_else(|| escape(text, &found))
        .or_else(|| comment(&found));
    told.unwrap_or(found)
}

fn line_at(text: &str, number: u32) -> &str {
    (number as usize).checked_sub(1).and_then(|index| text.lines().nth(index)).unwrap_or_default()
}

/// A place by its line and its byte in it.
fn place(line: &str, number: u32, byte: usize, found: &Fault) -> At {
    let column = line.get(..byte).map_or(0, |head| head.chars().count()) + 1;
    At { line: number, column: u32::try_from(column).unwrap_or(1), ..found.at }
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A value in quotes that leave it as it is.
fn in_quotes(value: &str) -> String {
    if value.contains(['"', '\\']) { format!("'{}'", value.replace('\'', "''")) } else { format!("\"{value}\"") }
}

fn in_one_line(text: &str, found: &Fault) -> Option<Fault> {
    // The parser often notices a line late.
    for number in [found.at.line, found.at.line.saturating_sub(1)] {
        let line = line_at(text, number);
        let told = braced(line).into_iter().find_map(|entry| in_braces(line, &entry));
        let goes_on = indentation(line_at(text, number + 1)) > indentation(line);
        if let Some((byte, message, help)) = told.or_else(|| trap(line, &found.message, goes_on)) {
            return Some(fault(place(line, number, byte, found), &message, Some(&help)));
        }
    }
    None
}

/// Where a value between braces begins, its key, and the value up to the comma
/// that a person would see as its end.
fn braced(line: &str) -> Vec<(usize, &str, &str)> {
    let places = unquoted(line);
    let is = |at: usize, what: &str| line.get(at..).is_some_and(|rest| rest.starts_with(what));
    let mut entries = Vec::new();
    let mut end = 0;
    for at in places.iter().copied().filter(|at| is(*at, ": ")) {
        let Some(head) = line.get(..at) else { continue };
        let Some(open) = head.rfind(['{', ',']).filter(|_| at >= end && head.contains('{')) else { continue };
        let Some(rest) = line.get(at + 2..) else { continue };
        let start = at + 2 + indentation(rest);
        let mut depth = 0;
        end = line.trim_end().len();
        for inner in places.iter().copied().filter(|inner| *inner >= start) {
            match line.as_bytes().get(inner) {
                Some(b'(' | b'[' | b'{') => depth += 1,
                Some(b',' | b')' | b']' | b'}') if depth == 0 => {
                    end = inner;
                    break;
                }
                Some(b')' | b']' | b'}') => depth -= 1,
                _ => {}
            }
        }
        let (key, value) = (head.get(open + 1..).unwrap_or_default().trim(), line.get(start..end).unwrap_or_default());
        if value.starts_with(['{', '[']) {
            // Its own entries come next.
            end = start;
        } else if !value.is_empty() && !value.starts_with(['"', '\'']) {
            entries.push((start, key, value.trim_end()));
        }
    }
    entries
}

fn in_braces(line: &str, (start, key, value): &(usize, &str, &str)) -> Option<(usize, String, String)> {
    let quoted = format!("quote it: {key}: {}", in_quotes(value));
    if let Some(told) = begins(value, &quoted) {
        return Some((*start, told.0, told.1));
    }
    if value.contains('{') || value.contains('[') {
        let what = if value.contains('{') { "brace" } else { "bracket" };
        return Some((*start, Trap::InBraces.about(what), quoted));
    }
    let inner = value.find(": ")?;
    let word = value.get(..inner).and_then(|head| head.rfind(' ')).map_or(0, |blank| blank + 1);
    let name = value.get(word..inner).unwrap_or_default();
    let help = format!("put a comma before {name}, or {quoted}");
    let at = line.get(..start + word).map_or(*start, str::len);
    Some((at, Trap::NoComma.about(name), help))
}

/// Marks that mean something else to YAML where a value begins.
fn begins(value: &str, quoted: &str) -> Option<(String, String)> {
    let first = value.chars().next()?;
    let word = value.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match first {
        '*' if word => {
            let told = Trap::Alias.told().to_owned();
            Some((told, format!("write out what it stands for; if the * is meant, {quoted}")))
        }
        '*' => Some((Trap::Star.told().to_owned(), quoted.to_owned())),
        '@' | '`' | '%' => Some((Trap::Mark.about(first), quoted.to_owned())),
        _ => None,
    }
}

/// Byte, message and help of the first trap that the line shows; whether deeper
/// lines follow it.
fn trap(line: &str, message: &str, goes_on: bool) -> Option<(usize, String, String)> {
    let (at, value) = value_of(line)?;
    let whole = value.split(" #").next().unwrap_or(value).trim_end();
    let key = line.get(..at).unwrap_or_default().trim();
    let quoted = format!("quote it: {key} {}", in_quotes(whole));
    if let Some((told, help)) = begins(value, &quoted) {
        return Some((at, told, help));
    }
    match value.chars().next()? {
        '!' if message.contains("tag") || message.contains("handle") => Some((at, Trap::Tag.told().to_owned(), quoted)),
        '"' | '\'' | '{' | '[' => None,
        _ => {
            // `a: b: c`
            let inner = value.find(": ").filter(|_| !message.contains("',' or"))?;
            let told = Trap::Colon.told().to_owned();
            let help = map_or_text(key, whole, goes_on, &quoted).unwrap_or(quoted);
            Some((at + inner, told, help))
        }
    }
}

/// `disk: where: all` may be meant as a map as well as a text. `None` where a map
/// can't be meant.
fn map_or_text(key: &str, value: &str, goes_on: bool, quoted: &str) -> Option<String> {
    let braces = in_maps(value);
    let entry = braces.strip_prefix('{')?.strip_suffix('}')?;
    let owner = key.trim_start_matches(['-', ' ']);
    let written = format!("{key} {braces}");
    let below = format!("put {entry} on a line of its own below {owner}, indented");
    let forms = [(is_right(entry), below), (!goes_on && is_right(&written), format!("write {written}"))];
    let forms: Vec<String> = forms.into_iter().filter(|(is_right, _)| *is_right).map(|(_, form)| form).collect();
    (!forms.is_empty()).then(|| format!("if a map is meant, {}; if text is meant, {quoted}", forms.join(", or ")))
}

fn is_right(line: &str) -> bool {
    let mut faults = Vec::new();
    yaml::parse(line, 0, &mut faults).is_some() && faults.is_empty()
}

/// `a: b: c` as `{a: {b: c}}`; as it stands where no key begins it.
fn in_maps(value: &str) -> String {
    match value.split_once(": ") {
        Some((key, rest)) if key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) => {
            format!("{{{key}: {}}}", in_maps(rest.trim_start()))
        }
        _ => value.to_owned(),
    }
}

fn tab(text: &str, found: &Fault) -> Option<Fault> {
    if !found.message.contains("tab") {
        return None;
    }
    let (number, line, byte) = (found.at.line..)
        .zip(text.lines().skip(found.at.line.saturating_sub(1) as usize))
        .find_map(|(number, line)| {
            let byte = line.find('\t').filter(|byte| *byte < indentation(line))?;
            Some((number, line, byte))
        })?;
    let help = "indent with blanks; two a level is the custom";
    Some(fault(place(line, number, byte, found), Trap::Tab.told(), Some(help)))
}

/// Where a quote opens on a line and does not close there.
fn open_quote(line: &str) -> Option<(usize, char)> {
    let mut open = None;
    let mut before = ' ';
    let mut value = true;
    for (at, c) in line.char_indices() {
        match open {
            Some((_, mark)) if c == mark && before != '\\' => open = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => open = Some((at, c)).filter(|_| value),
            None if c == '#' && before == ' ' => break,
            None => {}
        }
        // A quote in the middle of a word is only a letter.
        value = matches!(c, ' ' | '{' | '[' | ',') && (value || matches!(before, ':' | '-' | ',') || c != ' ');
        before = c;
    }
    open
}

/// What begins here between braces or in brackets, where it looks like an entry.
fn next_entry(line: &str, byte: usize) -> Option<&str> {
    line.get(..byte).filter(|head| head.contains(['{', '[']))?;
    let rest = line.get(byte..)?;
    let word = rest.split([' ', ',', '}', ']']).next()?;
    let is_entry = rest.starts_with(['"', '\'', '{', '[']) || (word.len() > 1 && word.ends_with(':'));
    is_entry.then(|| word.trim_end_matches(':'))
}

fn quote(text: &str, found: &Fault) -> Option<Fault> {
    if !found.message.contains("quote") && !found.message.contains("EOF") && !found.message.contains("end of stream") {
        return None;
    }
    if found.message.contains("escape") {
        return None;
    }
    if found.message.contains("trailing content") {
        let line = line_at(text, found.at.line);
        let byte = line.char_indices().nth(found.at.column.saturating_sub(1) as usize)?.0;
        let blanks = line.get(byte..).map_or(0, indentation);
        let at = place(line, found.at.line, byte + blanks, found);
        if let Some(next) = next_entry(line, byte + blanks) {
            let help = format!("put a comma before {next}, or let the quotes go around the whole value");
            return Some(fault(at, Trap::MissingComma.told(), Some(&help)));
        }
        let help = "let the quotes go around the whole value, or take them out";
        return Some(fault(at, Trap::AfterQuote.told(), Some(help)));
    }
    let lines: Vec<(u32, &str)> = (1..=found.at.line).zip(text.lines()).collect();
    lines.into_iter().rev().find_map(|(number, line)| {
        let (byte, mark) = open_quote(line)?;
        let value = line.get(byte..)?.trim_end();
        let within = line.get(..byte).is_some_and(|head| head.contains(['{', '[']));
        let value = if within { value.trim_end_matches(['}', ']', ',']) } else { value };
        let help = format!("close it: {value}{mark}");
        Some(fault(place(line, number, byte, found), Trap::OpenQuote.told(), Some(&help)))
    })
}

/// A bracket without its other, as far as one can tell.
fn bracket(text: &str, found: &Fault) -> Option<Fault> {
    if !["bracket", "',' or", "EOF", "end of stream"].iter().any(|word| found.message.contains(word)) {
        return None;
    }
    let closes = |open: char| if open == '{' { '}' } else { ']' };
    let never = |(number, line, byte, open): (u32, &str, usize, char)| {
        let help = format!("add {} where it ends", closes(open));
        fault(place(line, number, byte, found), &Trap::NeverClosed.about(open), Some(&help))
    };
    let mut open: Vec<(u32, &str, usize, char)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for byte in unquoted(line) {
            let Some(c) = line.get(byte..).and_then(|rest| rest.chars().next()) else { continue };
            let before = line.get(..byte).unwrap_or_default().trim_end();
            let begins = before.is_empty() || before.ends_with([':', '-', ',', '{', '[']);
            match c {
                '{' | '[' if begins => open.push((number, line, byte, c)),
                '{' | '[' if !open.is_empty() && before.len() < byte && before.ends_with(['}', ']']) => {
                    let help = format!("put a comma before {c}");
                    return Some(fault(place(line, number, byte, found), Trap::MissingComma.told(), Some(&help)));
                }
                '}' | ']' => match open.pop() {
                    Some((.., mark)) if closes(mark) == c => {}
                    Some(wrong) => return Some(never(wrong)),
                    None if number == found.at.line => {
                        let at = place(line, number, byte, found);
                        return Some(fault(at, &Trap::ClosesNothing.about(c), Some("take it out")));
                    }
                    None => {}
                },
                _ => {}
            }
        }
    }
    if let Some(last) = open.pop() {
        return Some(never(last));
    }
    found.message.contains("',' or").then(|| {
        let help = "between braces and in brackets, commas separate: {every: 10s, plugin: disk}";
        fault(found.at, Trap::MissingComma.told(), Some(help))
    })
}

/// Keys without a colon, and colons without a blank.
fn colon(text: &str, found: &Fault) -> Option<Fault> {
    let line = line_at(text, found.at.line);
    let (number, line, deep) = if found.message.contains("simple key") {
        (found.at.line, line, false)
    } else if found.message.contains("mapping values") {
        let above = found.at.line.checked_sub(1)?;
        (above, line_at(text, above), indentation(line) > indentation(line_at(text, above)))
    } else {
        return None;
    };
    if deep {
        let own = line_at(text, found.at.line);
        let help = format!("the line above has a value already; begin in its column, {}", indentation(line) + 1);
        let at = place(own, found.at.line, indentation(own), found);
        return Some(fault(at, Trap::TooFarRight.told(), Some(&help)));
    }
    let at = place(line, number, indentation(line), found);
    let word = line.trim();
    let above = line_at(text, number.saturating_sub(1));
    let goes_on = indentation(above) > indentation(line) && !above.trim_start().starts_with('-');
    let help = match word.split_once(':').or_else(|| word.split_once(' ')) {
        Some((key, value)) if !value.trim().is_empty() => format!("write it like this: {key}: {}", value.trim()),
        _ => format!("write it like this: {}: ...", word.trim_end_matches(':')),
    };
    let help = if goes_on { format!("indent it as the line above, or {help}") } else { help };
    let told = if word.contains(':') { Trap::ColonAlone.told() } else { Trap::KeyAlone.told() };
    Some(fault(at, told, Some(&help)))
}

fn column_of(text: &str, found: &Fault) -> Option<Fault> {
    let wrong = ["expected key", "indentation", "'-' indicator"].iter().any(|word| found.message.contains(word));
    let above = found.at.line.checked_sub(1).filter(|_| wrong)?;
    let column = indentation(line_at(text, above)) + 1;
    let item = |number: u32| line_at(text, number).trim_start().starts_with("- ");
    let own = line_at(text, found.at.line);
    let at = place(own, found.at.line, indentation(own), found);
    if item(found.at.line) && !item(above) {
        let help = "a list stands below a field of its own, such as steps: and then - drain";
        return Some(fault(at, Trap::ItemAmongFields.told(), Some(help)));
    }
    if item(above) && !item(found.at.line) {
        let help =
            format!("the fields of one item begin in the same column, {}; a new item begins with - ", column + 2);
        return Some(fault(at, Trap::FieldAmongItems.told(), Some(help.trim_end())));
    }
    let what =
        if line_at(text, above).trim_start().starts_with("- ") { "items of one list" } else { "fields of one map" };
    let help = format!("the {what} begin in the same column, which is {column} in the line above");
    Some(fault(found.at, Trap::Column.told(), Some(&help)))
}

fn comment(found: &Fault) -> Option<Fault> {
    let told = Trap::Comment.told();
    found.message.contains("comments must").then(|| fault(found.at, told, Some("put a blank before the #")))
}

fn escape(text: &str, found: &Fault) -> Option<Fault> {
    if !found.message.contains("escape") {
        return None;
    }
    let line = line_at(text, found.at.line);
    let known = |c: char| "0abtnvfre \"/\\N_LPxuU".contains(c);
    let mut rest = line.char_indices();
    let (byte, letter) = loop {
        let (byte, c) = rest.next()?;
        if c == '\\' {
            let (_, letter) = rest.next()?;
            if !known(letter) {
                break (byte, letter);
            }
        }
    };
    let help = "single quotes take a backslash as it is; in double quotes it is written twice";
    let told = Trap::Escape.about(letter);
    Some(fault(place(line, found.at.line, byte, found), &told, Some(help)))
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

/// `{where: role in (a, b)}`: to YAML the comma begins a new key, `b)`. The value is
/// put together again, so that this is the only thing said about it.
pub(super) fn unclosed_bracket(before: &mut Vec<(Key, Node)>, key: &Key, value: &Node) -> Option<Fault> {
    if !key.text.ends_with(')') || value.value != Value::Null {
        return None;
    }
    let is_open = |node: &Node| matches!(&node.value, Value::Text(text) if text.contains('(') && !text.contains(')'));
    let owner = before.iter().rposition(|(_, node)| node.value != Value::Null)?;
    let mut parts: Vec<String> = before.iter().skip(owner + 1).map(|(key, _)| key.text.clone()).collect();
    parts.push(key.text.clone());
    let (name, node) = before.get_mut(owner).filter(|(_, node)| is_open(node))?;
    let Value::Text(text) = &mut node.value else { return None };
    *text = format!("{text}, {}", parts.join(", "));
    let help = format!("quote it: {}: \"{text}\"", name.text);
    let told = fault(node.at, Trap::CommaInBraces.told(), Some(&help));
    before.truncate(owner + 1);
    Some(told)
}

/// Words that are true, false or a number to other readers of YAML, where text
/// is meant.
pub(super) fn ambiguous(text: &str) -> Option<&'static str> {
    let word = text.to_ascii_lowercase();
    if matches!(word.as_str(), "yes" | "on" | "y") {
        return Some(Trap::Truth.told());
    }
    if matches!(word.as_str(), "no" | "off" | "n") {
        return Some(Trap::Falsehood.told());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let digits = |part: &&str| !part.is_empty() && part.len() <= 2 && part.chars().all(|c| c.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(digits) {
        return Some(Trap::Time.told());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = include_str!("../../tests/specs/wrong/traps.txt");

    /// Whether a message of the wrong specs is that of the trap.
    fn is_told(trap: Trap) -> bool {
        let (head, tail) = trap.told().split_once("{}").unwrap_or(("", trap.told()));
        let mut messages = WRONG.lines().filter(|line| line.starts_with("spec.yaml:"));
        messages.any(|line| {
            let message = line.splitn(4, ':').nth(3).unwrap_or_default();
            message.ends_with(tail) && (head.is_empty() || message.trim_start().starts_with(head))
        })
    }

    #[test]
    fn every_trap_is_told_in_a_wrong_spec() {
        let untold: Vec<&Trap> = Trap::ALL.iter().filter(|trap| !is_told(**trap)).collect();
        assert!(untold.is_empty(), "{untold:?} have no case in tests/specs/wrong/traps.txt");
    }
}
