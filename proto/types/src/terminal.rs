//! The one place where text from elsewhere is made safe for a terminal.
//!
//! A host's facts, a check's summary and an event's message come from machines
//! that may be hostile; an escape sequence in one of them must not move the
//! operator's cursor, retitle the window or hide a line.

use std::borrow::Cow;

/// Replaces every control character, and every character that changes the
/// direction or is invisible, by a visible `\u{..}`; tabs and line breaks become
/// a space.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(needs_care) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            c if needs_care(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Like [`sanitize`], but line breaks stay: for text that is shown as a block.
pub fn sanitize_lines(text: &str) -> String {
    text.lines().map(sanitize).collect::<Vec<_>>().join("\n")
}

/// JSON that is the same value, and safe for a terminal: such characters stand only in
/// strings there, and strings have a way to write them.
pub fn sanitize_json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && needs_care(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c == '\n' || !needs_care(c) {
            safe.push(c);
        } else {
            let units = &mut [0; 2];
            safe.extend(c.encode_utf16(units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    Cow::Owned(safe)
}

/// Whether it does something to a terminal, or can't be seen on it.
pub fn needs_care(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"a": "x\u{9b}2J\u{1b}\u{202e}\u{e0041}\n", "b": 1});
        let text = serde_json::to_string_pretty(&value).expect("JSON");
        let safe = sanitize_json(&text);
        assert!(!safe.chars().any(|c| c != '\n' && needs_care(c)), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).expect("JSON"), value);
        assert!(matches!(sanitize_json("{\n}"), Cow::Borrowed(_)));
    }

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(sanitize("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(sanitize("a\nb\tc"), "a b c");
        assert_eq!(sanitize("safe \u{202e}elif.txt"), "safe \\u{202e}elif.txt");
        assert_eq!(sanitize("\u{9b}31m"), "\\u{9b}31m");
        assert!(matches!(sanitize("/ 38 % used, größer"), Cow::Borrowed(_)));
    }
}
