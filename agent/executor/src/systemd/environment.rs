//! A process's environment, in a file that only root reads, and only until systemd
//! has read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/run/hostler-executor/env";

pub(super) fn write(unit: &str, env: &BTreeMap<String, String>) -> Result<Option<PathBuf>, String> {
    if env.is_empty() {
        return Ok(None);
    }
    crate::files::make_own(Path::new(FOLDER))?;
    let path = Path::new(FOLDER).join(unit);
    crate::files::Place::of(&path)?.put(text(env).as_bytes(), Some((0, 0)), Some(0o600), |_| Ok(()))?;
    Ok(Some(path))
}

/// Within such quotes, systemd takes everything as it is but for these.
fn text(env: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in env {
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn values_are_as_they_are() {
        let env = [("A", "plain"), ("B", "a \"b\" $c \\ `d`\nnext")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(text(&env), "A=\"plain\"\nB=\"a \\\"b\\\" \\$c \\\\ \\`d\\`\nnext\"\n");
    }
}
