//! Finding and running the programs an author has installed.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Output};

/// Where a program is on the PATH.
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// What a compiler says goes into the error: it is the author's to read.
pub fn run(command: &mut Command, what: &str) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{what}: start {program}"))?;
    if !output.status.success() {
        let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.is_empty() {
            said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        }
        bail!("{what}: {program}: {}\n{said}", output.status);
    }
    Ok(output)
}

/// Whether a program runs at all with these arguments, and what it says then.
pub fn says(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
