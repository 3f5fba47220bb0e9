//! Standard output, for programs too.

use anyhow::{Context, Result};
use std::io::{ErrorKind, Write};

/// Whoever reads may have seen enough: that is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}
