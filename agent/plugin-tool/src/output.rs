//! What this program puts out: lines, for programs too, and files.

use anyhow::{Context, Result, ensure};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Whoever reads may have seen enough: that is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

/// So that a reader never sees half of it. A file that is replaced keeps who may
/// read it.
pub fn write_whole(output: &Path, bytes: &[u8]) -> Result<()> {
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    ensure!(folder.is_dir(), "write {}: there is no folder {}", output.display(), folder.display());
    let mut partial = output.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    std::fs::write(&partial, bytes).with_context(|| format!("write {}", partial.display()))?;
    let replaced = match std::fs::metadata(output) {
        Ok(found) => std::fs::set_permissions(&partial, found.permissions()),
        Err(_) => Ok(()),
    };
    let written = replaced.and_then(|()| std::fs::rename(&partial, output));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written.with_context(|| format!("write {}", output.display()))
}
