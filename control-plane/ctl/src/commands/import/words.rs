//! systemd's ways to write words, times and sizes.

use hostler_types::Name;
use std::time::Duration;

/// Below what names may have, with room for a word before it.
const NAME_CHARACTERS_MAX: usize = 50;

/// A word of a command or an assignment: quotes and escapes resolved, references to
/// variables left as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub text: String,
    pub quoted: bool,
}

/// As systemd splits them.
pub fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (' ' | '\t', None) => words.extend(word.take()),
            ('"' | '\'', None) if word.as_ref().is_none_or(|word| word.text.ends_with('=') || word.text.is_empty()) => {
                quote = Some(letter);
                word.get_or_insert_with(empty).quoted = true;
            }
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', _) => {
                let plain = match letters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('s') => ' ',
                    Some(other) => other,
                    None => '\\',
                };
                word.get_or_insert_with(empty).text.push(plain);
            }
            (letter, _) => word.get_or_insert_with(empty).text.push(letter),
        }
    }
    words.extend(word);
    words
}

fn empty() -> Word {
    Word { text: String::new(), quoted: false }
}

/// What the host knows, by its systemd's letters: what is filled in, and what had no
/// meaning here.
pub fn specified(text: &str, stem: &str) -> (String, Vec<String>) {
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let (mut filled, mut unknown) = (String::new(), Vec::new());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            filled.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => filled.push('%'),
            Some('i') => filled.push_str(instance),
            Some('I') => filled.push_str(&unescaped(instance)),
            Some('p') => filled.push_str(prefix),
            Some('P') => filled.push_str(&unescaped(prefix)),
            Some('N') => filled.push_str(stem),
            Some('n') => filled.push_str(&format!("{stem}.service")),
            Some('H' | 'l' | 'q') => filled.push_str("${node.name}"),
            Some('t') => filled.push_str("/run"),
            Some('S') => filled.push_str("/var/lib"),
            Some('C') => filled.push_str("/var/cache"),
            Some('L') => filled.push_str("/var/log"),
            Some('E') => filled.push_str("/etc"),
            Some('T') => filled.push_str("/tmp"),
            Some('V') => filled.push_str("/var/tmp"),
            Some(other) => {
                filled.push_str(&format!("%{other}"));
                unknown.push(format!("%{other}"));
            }
            None => filled.push('%'),
        }
    }
    (filled, unknown)
}

/// `-` stands for `/` and `\x2d` for `-` in names of units.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let code =
            rest.strip_prefix("\\x").and_then(|rest| rest.get(..2)).and_then(|code| u8::from_str_radix(code, 16).ok());
        let (taken, shown) = match (code, letter) {
            (Some(code), _) if code.is_ascii() => (4, char::from(code)),
            (_, '-') => (1, '/'),
            (_, letter) => (letter.len_utf8(), letter),
        };
        plain.push(shown);
        rest = rest.get(taken..).unwrap_or_default();
    }
    plain
}

/// `90`, `1min 30s`, `100ms`; `None` where it is for ever, or no time.
pub fn span(text: &str) -> Option<Duration> {
    let mut total_us: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_us = match rest.get(..letters)? {
            "us" | "usec" => 1.0,
            "ms" | "msec" => 1e3,
            "" | "s" | "sec" | "second" | "seconds" => 1e6,
            "m" | "min" | "minute" | "minutes" => 60e6,
            "h" | "hr" | "hour" | "hours" => 3600e6,
            "d" | "day" | "days" => 86_400e6,
            "w" | "week" | "weeks" => 604_800e6,
            _ => return None,
        };
        total_us = total_us.checked_add((number * unit_us) as u64)?;
        rest = rest.get(letters..)?.trim_start();
    }
    // No smaller times are written in specs.
    Some(Duration::from_millis(total_us / 1000))
}

/// `512M`, in powers of 1024.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text.get(..digits)?.parse().ok()?;
    let power = match text.get(digits..)?.trim_end_matches('B') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    number.checked_mul(1024_u64.checked_pow(power)?)
}

/// A name that specs take, as near as possible.
pub fn name(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' };
    let clean: String = text.chars().map(letter).take(NAME_CHARACTERS_MAX).collect();
    let clean = clean.trim_matches(['-', '.', '_']);
    let names = [clean.to_owned(), format!("unit-{clean}"), "unit".to_owned()];
    names.into_iter().find(|name| Name::new(name.as_str()).is_ok()).unwrap_or_default()
}

/// Is that worth hiding? Paths of files are not: they say where a secret is.
pub fn is_secret(variable: &str, value: &str) -> bool {
    const WORDS: [&str; 8] = ["PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "SECRET", "KEY", "CREDENTIAL", "DSN"];
    let variable = variable.to_ascii_uppercase();
    let told = WORDS.iter().any(|word| variable.contains(word)) && !value.starts_with('/');
    !value.is_empty() && (told || has_login(value))
}

/// In a command: `--token x`, `--token=x`, `TOKEN=x`, or an address with a login.
pub fn has_secret(text: &str) -> bool {
    let mut before = "";
    let mut words = text.split(|c: char| c.is_whitespace() || "\"';".contains(c)).filter(|word| !word.is_empty());
    words.any(|word| {
        let flag = if before.starts_with('-') { before } else { "" };
        before = word;
        // Of `a=b=c`, each may name the last.
        let (name, value) = word.rsplit_once('=').unwrap_or((flag, word));
        !value.starts_with(['-', '$']) && (is_secret(&name.replace('-', "_"), value) || is_secret("", word))
    })
}

/// `postgres://shop:hunter2@db/shop`
fn has_login(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        host.rsplit_once('@').is_some_and(|(login, _)| login.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
    })
}
