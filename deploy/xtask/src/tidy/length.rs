//! A file that one person can hold in mind.

use super::Source;

const LINES_GOOD: usize = 500;
const LINES_MAX: usize = 800;

pub fn too_long(sources: &[Source]) -> Vec<String> {
    written(sources)
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines; at most {LINES_MAX}, so split it by what it is about"))
        .collect()
}

pub fn long(sources: &[Source]) -> Vec<String> {
    written(sources)
        .filter(|(_, lines)| (LINES_GOOD + 1..=LINES_MAX).contains(lines))
        .map(|(path, lines)| format!("{path}: {lines} lines; over {LINES_GOOD} is long"))
        .collect()
}

fn written(sources: &[Source]) -> impl Iterator<Item = (&str, usize)> {
    sources
        .iter()
        .filter(|source| source.path.ends_with(".rs") && !source.path.contains("/generated/"))
        .map(|source| (source.path.as_str(), source.text.lines().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, lines: usize) -> Source {
        Source { path: path.into(), text: "//\n".repeat(lines) }
    }

    #[test]
    fn a_file_too_long_is_named() {
        let sources =
            [source("a.rs", 800), source("b.rs", 801), source("x/generated/c.rs", 9_000), source("d.md", 9_000)];
        assert_eq!(too_long(&sources).len(), 1);
        assert!(too_long(&sources)[0].starts_with("b.rs: 801 lines"));
        assert!(long(&sources)[0].starts_with("a.rs: 800 lines"));
        assert!(long(&[source("e.rs", 500)]).is_empty());
    }
}
