//! What is wrong with a spec, told so that it can be mended at once.

use crate::terminal::sanitize;
use std::fmt;

/// One thing that is wrong, and where. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// The line as it stands in the file.
    pub text: String,
    pub message: String,
    /// How it should read, or the nearest right word.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file's name and what is quoted may be anybody's.
        let (file, message) = (sanitize(&self.file), sanitize(&self.message));
        write!(f, "{file}:{}:{}: {message}", self.line, self.column)?;
        if !self.text.is_empty() {
            let number = self.line.to_string();
            let gap = " ".repeat(number.len());
            // Tabs would move the caret; the line is for looking at.
            let text = sanitize(&self.text);
            let caret = " ".repeat(self.column.saturating_sub(1));
            write!(f, "\n  {number} | {text}\n  {gap} | {caret}^")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", sanitize(help))?;
        }
        Ok(())
    }
}

/// Everything that is wrong: never only the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The word that was probably meant, of those that are fixed: one that is near, or
/// one that is in the other.
pub(super) fn nearest_word<'a>(found: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let lower = found.to_lowercase();
    let within = |word: &&str| {
        let (word, least) = (word.to_lowercase(), word.len().min(lower.len()));
        least >= 3 && (lower.contains(&word) || word.contains(&lower))
    };
    nearest(found, words.clone()).or_else(|| words.into_iter().filter(within).max_by_key(|word| word.len()))
}

/// A name that is one, from text that nearly is: `My Shop` to `my-shop`.
pub(super) fn as_name(text: &str) -> Option<String> {
    let near = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let name = text.trim().to_ascii_lowercase().replace(' ', "-");
    (text.chars().all(near) && crate::Name::new(name.clone()).is_ok()).then_some(name)
}

/// A longer line is no help.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// After so many, nobody reads on.
pub(super) const FAULTS_MAX: usize = 100;

pub(super) const MORE: &str = "more is wrong from here on; mend what is told above first";

const NEAR_BYTES_MAX: usize = 256;

/// The word that was probably meant, if one is near enough to be worth saying.
pub fn nearest<'a>(found: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // What is longer is no slip, and would be long in comparing.
    if found.len() > NEAR_BYTES_MAX {
        return None;
    }
    let length = found.chars().count();
    let limit = (length / 3).max(1);
    let lower = found.to_lowercase();
    words
        .into_iter()
        .filter(|word| word.len() <= NEAR_BYTES_MAX && word.chars().count().abs_diff(length) <= limit)
        .map(|word| (distance(&lower, &word.to_lowercase()), word))
        .filter(|(steps, _)| *steps <= limit)
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, word)| word)
}

/// Levenshtein's distance, a swap of neighbours counting as one step.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut table = vec![0usize; (left.len() + 1) * width];
    let at = |table: &[usize], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or(usize::MAX / 2);
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            let steps = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let same = left.get(i - 1) == right.get(j - 1);
                let mut best = (at(&table, i - 1, j) + 1)
                    .min(at(&table, i, j - 1) + 1)
                    .min(at(&table, i - 1, j - 1) + usize::from(!same));
                let swapped =
                    i > 1 && j > 1 && left.get(i - 1) == right.get(j - 2) && left.get(i - 2) == right.get(j - 1);
                if swapped {
                    best = best.min(at(&table, i - 2, j - 2) + 1);
                }
                best
            };
            if let Some(cell) = table.get_mut(i * width + j) {
                *cell = steps;
            }
        }
    }
    at(&table, left.len(), right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_when_near() {
        let words = ["where", "plugin", "every", "timeout"];
        assert_eq!(nearest("evrey", words), Some("every"));
        assert_eq!(nearest("plugn", words), Some("plugin"));
        assert_eq!(nearest("zzz", words), None);
    }

    #[test]
    fn a_problem_shows_the_line_and_points_at_it() {
        let problem = Problem {
            file: "web.yaml".into(),
            line: 12,
            column: 5,
            text: "    evrey: 10s".into(),
            message: "a check has no field \"evrey\"".into(),
            help: Some("every".into()),
        };
        assert_eq!(
            problem.to_string(),
            "web.yaml:12:5: a check has no field \"evrey\"\n  12 |     evrey: 10s\n     |     ^\n  help: every"
        );
    }
}
