//! Text to look for in a line, with `*` for anything. A line in which it stands
//! somewhere has it.

pub struct Pattern {
    /// What stands between the stars, in this order.
    parts: Vec<String>,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern { parts: text.split('*').filter(|part| !part.is_empty()).map(str::to_owned).collect() }
    }

    /// Of nothing but stars, if at all.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The first place for a part leaves the most for those after it.
    pub fn is_in(&self, line: &str) -> bool {
        let mut rest = line;
        self.parts.iter().all(|part| match rest.find(part.as_str()) {
            Some(at) => {
                rest = rest.get(at + part.len()..).unwrap_or_default();
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn text_stands_somewhere() {
        for (pattern, line, expect) in [
            ("ERROR", "12:00 ERROR x", true),
            ("ERROR", "12:00 error x", false),
            ("a*c", "xabbcx", true),
            ("a*c", "c a", false),
            ("a*a", "xax", false),
            ("*a*", "a", true),
            ("ab*b", "abb", true),
            ("[x].", "a [x]. b", true),
            ("\u{e4}*\u{fc}", "\u{e4}\u{f6}\u{fc}", true),
        ] {
            assert_eq!(Pattern::new(pattern).is_in(line), expect, "{pattern} {line}");
        }
        assert!(Pattern::new("**").is_empty());
    }
}
