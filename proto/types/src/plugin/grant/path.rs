//! Which files may be read.

use super::{Pattern, PatternError, glob, pattern_text};
use std::fmt;
use std::str::FromStr;

/// An absolute path. `*` stands for what a name has there, `**` for any number
/// of folders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern(Vec<String>);

impl PathPattern {
    /// By its words alone: who opens it still has to mind links.
    pub fn matches(&self, path: &str) -> bool {
        parts(path).is_some_and(|path| covers(&self.0, &path))
    }

    /// The deepest folder that all of it lies below, and without any `*` in it.
    pub fn root(&self) -> String {
        let literal = self.0.iter().take_while(|part| !part.contains('*')).count();
        let folders = literal.min(self.0.len().saturating_sub(1));
        format!("/{}", self.0.iter().take(folders).map(String::as_str).collect::<Vec<_>>().join("/"))
    }
}

/// Absolute, and without anything that leads elsewhere than it says.
fn parts(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix('/')?;
    let sound = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    rest.split('/').map(|part| sound(part).then(|| part.to_owned())).collect()
}

fn covers(wide: &[String], narrow: &[String]) -> bool {
    match wide.split_first() {
        None => narrow.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=narrow.len()).any(|taken| narrow.get(taken..).is_some_and(|left| covers(rest, left)))
        }
        Some((first, rest)) => {
            narrow.split_first().is_some_and(|(part, left)| part != "**" && glob(first, part) && covers(rest, left))
        }
    }
}

impl Pattern for PathPattern {
    /// The narrower of the two; of two that only overlap, nothing.
    fn meet(&self, other: &Self) -> Option<Self> {
        if covers(&self.0, &other.0) { Some(other.clone()) } else { covers(&other.0, &self.0).then(|| self.clone()) }
    }
}

/// Each one multiplies the ways to match.
const FOLDERS_ANY_MAX: usize = 3;

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |problem| PatternError::new(text, problem);
        let parts = parts(text)
            .ok_or_else(|| wrong("is no absolute path without . and ..: write it like /var/log/nginx/*.log"))?;
        if parts.iter().any(|part| part.contains("**") && part != "**") {
            return Err(wrong("has ** within a name: it stands for whole folders, as in /srv/**/health.json"));
        }
        if parts.iter().filter(|part| *part == "**").count() > FOLDERS_ANY_MAX {
            return Err(wrong("has ** more than three times"));
        }
        Ok(PathPattern(parts))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

pattern_text!(PathPattern);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().expect(text)
    }

    #[test]
    fn matches_what_it_says() {
        for (text, path, expect) in [
            ("/var/log/*.log", "/var/log/a.log", true),
            ("/var/log/*.log", "/var/log/.log", true),
            ("/var/log/*.log", "/var/log/a/b.log", false),
            ("/var/log/*.log", "/var/log/../a.log", false),
            ("/var/log/*.log", "var/log/a.log", false),
            ("/var/log/*", "/var/log/", false),
            ("/srv/**/health", "/srv/health", true),
            ("/srv/**/health", "/srv/a/b/health", true),
            ("/srv/**", "/srv", true),
            ("/srv/**", "/srv2/a", false),
            ("/**", "/etc/shadow", true),
        ] {
            assert_eq!(pattern(text).matches(path), expect, "{text} {path}");
        }
    }

    #[test]
    fn its_root_has_no_star() {
        for (text, root) in
            [("/var/log/*.log", "/var/log"), ("/etc/hosts", "/etc"), ("/a*/b", "/"), ("/srv/**/x", "/srv"), ("/x", "/")]
        {
            assert_eq!(pattern(text).root(), root, "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for text in ["a", "", "/", "/a//b", "/a/../b", "/a/", "/a**/b", "/**/**/**/**"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_both_allow_is_allowed_by_each(
            a in "(/(\\*\\*|\\*|a|b|a\\*)){1,4}", b in "(/(\\*\\*|\\*|a|b|a\\*)){1,4}", path in "(/(a|b|ab)){1,4}",
        ) {
            if let (Ok(a), Ok(b)) = (a.parse::<PathPattern>(), b.parse::<PathPattern>()) {
                prop_assert!(a.covers(&a));
                if let Some(both) = a.meet(&b) && both.matches(&path) {
                    prop_assert!(a.matches(&path) && b.matches(&path), "{} {} {}", a, b, path);
                }
            }
        }
    }
}
