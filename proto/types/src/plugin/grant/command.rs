//! Which programs may be run, and with which arguments.

use super::{Pattern, PatternError, glob, pattern_text};
use crate::Name;
use std::fmt;
use std::str::FromStr;

/// `NAME: /path/of/program ARGUMENT...`
///
/// A plugin says the name and the arguments. In an argument `*` stands for
/// anything, and a last `...` for any more of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandPattern {
    pub name: Name,
    /// Absolute.
    pub program: String,
    arguments: Vec<String>,
}

const MORE: &str = "...";

impl CommandPattern {
    pub fn matches(&self, name: &str, arguments: &[String]) -> bool {
        self.name.as_str() == name && covers(&self.arguments, arguments, false)
    }
}

/// `narrow` are patterns themselves, or arguments as they are.
fn covers(wide: &[String], narrow: &[String], patterns: bool) -> bool {
    match wide.split_last() {
        Some((last, before)) if last == MORE => {
            narrow.len() >= before.len() && before.iter().zip(narrow).all(|(a, b)| one(a, b, patterns))
        }
        _ => wide.len() == narrow.len() && wide.iter().zip(narrow).all(|(a, b)| one(a, b, patterns)),
    }
}

fn one(wide: &str, narrow: &str, pattern: bool) -> bool {
    !(pattern && narrow == MORE) && glob(wide, narrow)
}

impl Pattern for CommandPattern {
    fn meet(&self, other: &Self) -> Option<Self> {
        if self.name != other.name || self.program != other.program {
            return None;
        }
        if covers(&self.arguments, &other.arguments, true) {
            Some(other.clone())
        } else {
            covers(&other.arguments, &self.arguments, true).then(|| self.clone())
        }
    }
}

impl FromStr for CommandPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |problem| PatternError::new(text, problem);
        let (name, line) =
            text.split_once(": ").ok_or_else(|| wrong("has no name: write it like ready: /usr/bin/pg_isready -h *"))?;
        let name = Name::new(name.trim()).map_err(|_| wrong("has no usable name before its colon"))?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let program = words.next().unwrap_or_default();
        let sound = program.starts_with('/') && program.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !sound || program.contains('*') {
            return Err(wrong("names no program by its absolute path, such as /usr/bin/pg_isready"));
        }
        Ok(CommandPattern { name, program, arguments: words.collect() })
    }
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.program)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

pattern_text!(CommandPattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> CommandPattern {
        text.parse().expect(text)
    }

    #[test]
    fn matches_what_it_says() {
        for (text, arguments, expect) in [
            ("x: /bin/x", "", true),
            ("x: /bin/x", "a", false),
            ("x: /bin/x -h *", "-h db", true),
            ("x: /bin/x -h *", "-h", false),
            ("x: /bin/x -h *", "-p db", false),
            ("x: /bin/x --port=*", "--port=1", true),
            ("x: /bin/x -h * ...", "-h db -p 1", true),
            ("x: /bin/x ...", "", true),
        ] {
            let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
            assert_eq!(pattern(text).matches("x", &arguments), expect, "{text} {arguments:?}");
        }
        assert!(!pattern("x: /bin/x").matches("y", &[]));
    }

    #[test]
    fn the_narrower_counts() {
        let wide = pattern("x: /bin/x ...");
        for (text, expect) in
            [("x: /bin/x -h *", true), ("x: /bin/x", true), ("y: /bin/x", false), ("x: /bin/y", false)]
        {
            assert_eq!(wide.covers(&pattern(text)), expect, "{text}");
        }
        assert!(!pattern("x: /bin/x *").covers(&wide));
        assert_eq!(pattern("x: /bin/x a *").meet(&pattern("x: /bin/x * b")), None);
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for text in ["/bin/x", "x:", "x: bin/x", "x: /bin/*", "x: /bin/../x", "X Y: /bin/x"] {
            assert!(text.parse::<CommandPattern>().is_err(), "{text}");
        }
    }
}
