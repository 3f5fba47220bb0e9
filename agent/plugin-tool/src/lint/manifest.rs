//! plugin.toml, and where in it something stands.

use super::finding::{Findings, Level};
use crate::subject::within;
use hostler_types::plugin::{Manifest, ManifestError};
use std::path::Path;

/// Whether it can be read, or there is none, which a built file makes up for.
pub fn check(folder: &Path, findings: &mut Findings) -> bool {
    let path = within(folder).join("plugin.toml");
    let file = path.display().to_string();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true,
        Err(error) => {
            findings.add(Level::Error, &file, None, format!("can't be read: {error}"));
            return false;
        }
    };
    match Manifest::parse(&text) {
        Ok(manifest) => {
            if manifest.summary.is_empty() {
                let message = "there is no summary: say in a line what the plugin is for".to_owned();
                findings.add(Level::Warning, &file, None, message);
            }
            true
        }
        Err(error) => {
            let told = error.to_string();
            let message = told.strip_prefix("plugin.toml: ").unwrap_or(&told).to_owned();
            findings.add(Level::Error, &file, place(&error, &text), message);
            false
        }
    }
}

fn place(error: &ManifestError, text: &str) -> Option<usize> {
    match error {
        // "TOML parse error at line 3, column 1"
        ManifestError::Toml(told) => {
            let digits = told.split_once("at line ")?.1.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        }
        ManifestError::Version(_) => line_of(text, |line| line.starts_with("version")),
        ManifestError::World(_) => line_of(text, |line| line.starts_with("world")),
        ManifestError::Summary => line_of(text, |line| line.starts_with("summary")),
        ManifestError::With(told) => {
            let (head, _) = told.split_once(']')?;
            line_of(text, |line| line.starts_with(&format!("{head}]")))
        }
        ManifestError::TooLong(_) => None,
    }
}

/// The first line of which this is true, counted from 1.
fn line_of(text: &str, is_it: impl Fn(&str) -> bool) -> Option<usize> {
    text.lines().position(|line| is_it(line.trim_start())).map(|index| index + 1)
}

/// Where a field of `[with]` says this key.
pub fn with_line(text: &str, field: &str, key: &str) -> Option<usize> {
    let heads = [format!("[with.{field}]"), format!("[with.\"{field}\"]")];
    let head = line_of(text, |line| heads.iter().any(|head| line.starts_with(head)))?;
    let below = text.lines().skip(head).take_while(|line| !line.trim_start().starts_with('['));
    let entry = below.into_iter().position(|line| line.trim_start().starts_with(key));
    Some(entry.map_or(head, |index| head + index + 1))
}

/// Where a grant is written, or else the list that it stands in.
pub fn grant_line(text: &str, key: &str, pattern: &str) -> Option<usize> {
    let written = format!("{pattern:?}");
    let exact = line_of(text, |line| !pattern.is_empty() && line.contains(&written));
    exact
        .or_else(|| line_of(text, |line| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"x\"\nversion = \"1\"\nworld = \"check\"\nsummary = \"s\"\n[grants]\nsystem = true\n\
                        files = [\n  \"/a\",\n  \"/b/*\",\n]\n[with.warn]\ntype = \"share\"\nhelp = \"h\"\n\
                        example = \"80%\"\n[with.x]\ntype = \"any\"\nhelp = \"h\"\nexample = \"1\"\n";

    #[test]
    fn things_are_found_where_they_stand() {
        Manifest::parse(TEXT).expect("valid");
        assert_eq!(with_line(TEXT, "warn", "example"), Some(14));
        assert_eq!(with_line(TEXT, "warn", "default"), Some(11));
        assert_eq!(with_line(TEXT, "y", "default"), None);
        assert_eq!(grant_line(TEXT, "files", "/b/*"), Some(9));
        assert_eq!(grant_line(TEXT, "system", ""), Some(6));
        assert_eq!(grant_line(TEXT, "files", "/c"), Some(7));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let folder = tempfile::tempdir().expect("tempdir");
        for (from, to, line, says) in [
            ("world = \"check\"", "world = \"chek\"", 3, "world \"chek\" is not known"),
            ("version = \"1\"", "version = \"v\"", 2, "version \"v\" is none"),
            ("system = true", "sytem = true", 6, "unknown field `sytem`"),
            ("type = \"share\"", "type = \"word\"", 11, "words go with type"),
        ] {
            std::fs::write(folder.path().join("plugin.toml"), TEXT.replacen(from, to, 1)).expect("write");
            let mut findings = Findings::default();
            assert!(!check(folder.path(), &mut findings));
            let told = findings.lines().join("\n");
            assert!(told.contains(&format!("plugin.toml:{line}: error: ")) && told.contains(says), "{told}");
        }
    }
}
