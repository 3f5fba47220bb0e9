//! Tables, colours and times for people; JSON lines for scripts. Everything that
//! came from elsewhere is made safe for a terminal here.

use crate::problem::Problem;
use hostler_types::Timestamp;
use hostler_types::terminal::{needs_care, sanitize, sanitize_json};
use hostler_types::units::format_age;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use unicode_width::UnicodeWidthStr;

/// All that [`Out::paint`] writes.
const OWN_CODES: [&str; 5] = ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[2m", "\u{1b}[0m"];

/// What is written, and how: decided once.
pub struct Out {
    colour: bool,
    /// Columns of the terminal; `None` cuts nothing.
    width: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Uneasy,
    Bad,
    Faint,
}

#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: sanitize(text.as_ref()).into_owned(), tone: Tone::Plain }
    }

    /// Coloured by what the word means; the word itself always stands there.
    pub fn state(word: &str) -> Self {
        let tone = match word {
            "passing" | "ready" | "running" => Tone::Good,
            "warning" | "starting" | "joining" | "disconnected" | "unknown" => Tone::Uneasy,
            "waiting" | "unwell" | "stopping" | "stopped" | "backoff" | "held" => Tone::Uneasy,
            "critical" | "lost" | "revoked" | "crashing" => Tone::Bad,
            _ => Tone::Plain,
        };
        Self { tone, ..Self::new(word) }
    }

    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl Out {
    pub fn new() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let width = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        Self {
            colour: wants_colour(terminal, std::env::var_os("NO_COLOR").as_deref()),
            width: width.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0),
        }
    }

    #[cfg(test)]
    pub fn plain(width: Option<usize>) -> Self {
        Self { colour: false, width }
    }

    #[cfg(test)]
    pub fn coloured() -> Self {
        Self { colour: true, width: None }
    }

    /// Whoever made the text has made it safe already; here is the last look at it.
    pub fn print(&self, text: &str) -> Result<(), Problem> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.looked_over(text).as_bytes()).and_then(|()| stdout.flush()).map_err(Problem::Output)
    }

    fn looked_over<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let foreign = |c: char| needs_care(c) && !matches!(c, '\n' | '\t');
        if !text.chars().any(foreign) {
            return Cow::Borrowed(text);
        }
        let mut safe = String::with_capacity(text.len() + 8);
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let ours = OWN_CODES.iter().find(|code| self.colour && rest.starts_with(**code));
            let (taken, shown) = match ours {
                Some(code) => (code.len(), Cow::Borrowed(*code)),
                None if foreign(c) => (c.len_utf8(), Cow::Owned(c.escape_unicode().to_string())),
                None => (c.len_utf8(), Cow::Owned(c.to_string())),
            };
            safe.push_str(&shown);
            rest = rest.get(taken..).unwrap_or_default();
        }
        Cow::Owned(safe)
    }

    /// One, whatever is in it: a name must not write lines of its own.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), Problem> {
        self.print(&format!("{}\n", text.as_ref().replace(['\n', '\r'], " ")))
    }

    pub fn json<T: serde::Serialize>(&self, value: &T) -> Result<(), Problem> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Problem::Failed(error.to_string()))?;
        self.print(&format!("{}\n", sanitize_json(&text)))
    }

    /// Columns as wide as their widest cell; the last one is cut to fit.
    pub fn table(&self, head: &[&str], rows: &[Vec<Cell>]) -> String {
        let widths: Vec<usize> = head
            .iter()
            .enumerate()
            .map(|(column, title)| {
                let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.width());
                cells.chain([title.width()]).max().unwrap_or(0)
            })
            .collect();
        let titles: Vec<Cell> = head.iter().map(|title| Cell::new(title).tone(Tone::Faint)).collect();
        let mut text = String::new();
        for row in std::iter::once(&titles).chain(rows) {
            let mut line = String::new();
            let mut used = 0;
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let last = column + 1 == row.len();
                let room = self.width.map(|most| most.saturating_sub(used));
                let shown = match room {
                    Some(room) if last => cut(&cell.text, room),
                    _ => cell.text.clone(),
                };
                let gap = if last { 0 } else { width.saturating_sub(cell.text.width()) + 2 };
                line.push_str(&self.paint(&shown, cell.tone));
                line.extend(std::iter::repeat_n(' ', gap));
                used += cell.text.width() + gap;
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub fn paint(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Uneasy => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Plain => return text.to_owned(),
        };
        if self.colour && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One of many, for scripts.
pub fn json_line(value: &serde_json::Value) -> String {
    format!("{}\n", sanitize_json(&value.to_string()))
}

/// As <https://no-color.org> has it: set to anything but nothing.
fn wants_colour(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

fn cut(text: &str, room: usize) -> String {
    if text.width() <= room || room == 0 {
        return text.to_owned();
    }
    let mut shown = String::new();
    for c in text.chars() {
        let mut next = shown.clone();
        next.push(c);
        if next.width() + 1 > room {
            break;
        }
        shown = next;
    }
    shown.push('…');
    shown
}

/// How long ago, by the server's clock; `-` for what never was.
pub fn age(at_ms: u64, now_ms: u64) -> String {
    if at_ms == 0 {
        return "-".to_owned();
    }
    format_age(Timestamp::from_millis(now_ms).since(Timestamp::from_millis(at_ms)))
}

/// The same in a sentence: `3s ago`, `never`.
pub fn ago(at_ms: u64, now_ms: u64) -> String {
    if at_ms == 0 { "never".to_owned() } else { format!("{} ago", age(at_ms, now_ms)) }
}

/// `2 passing, 1 critical`: the worst last.
pub fn counts<'a>(counts: impl IntoIterator<Item = (&'a str, u32)>) -> String {
    const ORDER: [&str; 13] = [
        "passing", "running", "starting", "waiting", "stopping", "stopped", "warning", "unwell", "unknown", "held",
        "backoff", "critical", "crashing",
    ];
    let mut counts: Vec<(&str, u32)> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(word, _)| ORDER.iter().position(|known| known == word));
    let parts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

/// `1 check`, `2 checks`.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_cut_to_fit() {
        let rows = vec![
            vec![Cell::new("web1"), Cell::state("passing"), Cell::new("200 in 1.2 ms and more")],
            vec![Cell::new("größer"), Cell::state("critical"), Cell::new("x")],
        ];
        let table = Out::plain(Some(30)).table(&["NODE", "STATE", "SUMMARY"], &rows);
        assert_eq!(table, "NODE    STATE     SUMMARY\nweb1    passing   200 in 1.2 …\ngrößer  critical  x\n");
        assert!(Out::plain(None).table(&["A"], &[vec![Cell::new("a\u{1b}[2Jb")]]).contains("\\u{1b}[2J"));
    }

    #[test]
    fn what_nobody_made_safe_is_made_safe_at_the_door() {
        for tone in [Tone::Plain, Tone::Good, Tone::Uneasy, Tone::Bad, Tone::Faint] {
            let text = format!("{}\n\tx", Out::coloured().paint("web1", tone));
            assert_eq!(Out::coloured().looked_over(&text), text);
        }
        for out in [Out::coloured(), Out::plain(None)] {
            assert_eq!(out.looked_over("a\u{1b}[2Jb\u{9b}c\r\n"), "a\\u{1b}[2Jb\\u{9b}c\\u{d}\n");
        }
        assert_eq!(Out::plain(None).looked_over("\u{1b}[31mred"), "\\u{1b}[31mred");
    }

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        assert!(wants_colour(true, None) && wants_colour(true, Some(OsStr::new(""))));
        assert!(!wants_colour(true, Some(OsStr::new("1"))) && !wants_colour(false, None));
    }

    #[test]
    fn counts_say_the_worst_last() {
        assert_eq!(counts([("critical", 1), ("passing", 2), ("warning", 0)]), "2 passing, 1 critical");
        assert_eq!(counts([]), "-");
    }
}
