//! An environment in a file that only root reads, in memory: of a process, until
//! systemd has read it; of a unit that is written, until the host is off.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/run/hostler-executor/env";
const RUNTIME_UNITS: &str = "/run/systemd/system";
const DROP_IN: &str = "hostler-environment.conf";

pub(super) fn write(unit: &str, env: &BTreeMap<String, String>) -> Result<Option<PathBuf>, String> {
    if env.is_empty() {
        return Ok(None);
    }
    crate::files::make_own(Path::new(FOLDER))?;
    let path = Path::new(FOLDER).join(unit);
    crate::files::Place::of(&path)?.put(text(env).as_bytes(), Some((0, 0)), Some(0o600), |_| Ok(()))?;
    Ok(Some(path))
}

/// What a unit is given besides what its own file says: by a drop-in that names a file,
/// since everybody may ask systemd for what units themselves say. Whether systemd has
/// to read it anew.
pub fn keep(unit: &str, env: &BTreeMap<String, String>) -> Result<bool, String> {
    let folder = Path::new(RUNTIME_UNITS).join(format!("{unit}.d"));
    let drop_in = folder.join(DROP_IN);
    let Some(path) = write(unit, env)? else {
        let _ = fs::remove_file(Path::new(FOLDER).join(unit));
        let removed = fs::remove_file(&drop_in).is_ok();
        // Only if it is empty.
        let _ = fs::remove_dir(&folder);
        return Ok(removed);
    };
    crate::files::make_folder(Path::new(RUNTIME_UNITS), None, None)?;
    crate::files::make_folder(&folder, None, None)?;
    let text = format!("[Service]\nEnvironmentFile={}\n", path.display());
    crate::files::Place::of(&drop_in)?.put(text.as_bytes(), Some((0, 0)), Some(0o644), |_| Ok(()))
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
