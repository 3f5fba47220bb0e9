//! Trying the state: whether sled opens, and holds what it says it holds.

use super::Folder;
use super::open::Probe;
use super::state::Materialised;
use crate::{Revision, StoreError};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

/// What a program that tries it for another prints before the revision.
const WORD: &str = "state ok at revision ";

/// For a process of its own, since sled may panic or worse: opens the state of a
/// store, reads all of it, and returns the line to print.
pub fn probe(folder: &Path) -> Result<String, StoreError> {
    let folder = Folder { root: folder.to_owned() };
    let state = Materialised::open(&folder.state(), &folder.values())?;
    state.verify()?;
    Ok(format!("{WORD}{}", state.summary().revision))
}

/// Where the state stands, or why it can't be used.
pub(super) fn try_state(folder: &Folder, how: &Probe) -> Result<Revision, String> {
    if !folder.state().exists() {
        return Ok(0);
    }
    match how {
        Probe::Child(command) => in_child(folder, command),
        Probe::InProcess => {
            let state = open_state(folder)?;
            let verified = catch_unwind(AssertUnwindSafe(|| state.verify().map_err(|error| crate::chain(&error))));
            verified.unwrap_or_else(|_| Err("reading it panicked".to_owned()))?;
            Ok(state.summary().revision)
        }
    }
}

fn in_child(folder: &Folder, command: &[OsString]) -> Result<Revision, String> {
    let Some((program, arguments)) = command.split_first() else {
        return Err("there is no program to try it with".to_owned());
    };
    let output = Command::new(program).args(arguments).arg(&folder.root).output();
    let output = output.map_err(|error| format!("trying it failed: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let revision = said.lines().find_map(|line| line.strip_prefix(WORD)?.trim().parse().ok());
    match revision.filter(|_| output.status.success()) {
        Some(revision) => Ok(revision),
        None => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let line = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            Err(format!("{}: {line}", output.status))
        }
    }
}

pub(super) fn open_state(folder: &Folder) -> Result<Materialised, String> {
    let opened = catch_unwind(AssertUnwindSafe(|| Materialised::open(&folder.state(), &folder.values())));
    match opened {
        Ok(Ok(state)) => Ok(state),
        Ok(Err(error)) => Err(crate::chain(&error)),
        Err(_) => Err("opening it panicked".to_owned()),
    }
}
