//! Test cases: what the host answers, and what the plugin must say to it, as a
//! file. Reading and writing them; not running them.

pub mod calls;
mod expect;
mod read;
mod reader;
pub mod write;

pub use expect::{Attrs, Expect, ExpectedMetric, ExpectedOutcome, ExpectedStep};
pub use read::read;

use anyhow::{Context, Result, ensure};
use hostler_plugin_host::answer::{Answer, Instant};
use hostler_plugin_host::{CallError, Work};
use hostler_types::spec::Problems;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// 2026-01-01T00:00:00Z: what the clock says where a case says nothing.
pub const NOW: Instant = Instant { seconds: 1_767_225_600, nanoseconds: 0 };

/// The folder of a plugin's cases.
pub const FOLDER: &str = "testcases";

/// More than anybody would write; recorded pages and all.
const CASE_BYTES_MAX: u64 = 16 << 20;

pub struct Case {
    /// Its file's name without the ending.
    pub name: String,
    /// As it is told: `testcases/full.yaml`.
    pub file: String,
    pub config_json: String,
    pub now: Instant,
    pub state: BTreeMap<String, Vec<u8>>,
    pub work: Work,
    pub answers: Vec<Arc<Recorded>>,
    pub expect: Expect,
}

/// An answer to calls of one name that have these fields.
pub struct Recorded {
    pub line: u32,
    pub call: String,
    pub fields: Map<String, Value>,
    pub answer: Result<Answer, CallError>,
}

/// The files of a folder's cases, sorted; none where there is no folder.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || format!("list {}", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(list)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(list)?.path();
        let is_case = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if is_case && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The cases in these files; of wrong ones all that is wrong with them.
pub fn load(files: &[PathBuf], world: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for path in files {
        let failed = || format!("read {}", path.display());
        let size = std::fs::metadata(path).with_context(failed)?.len();
        ensure!(size <= CASE_BYTES_MAX, "{} has {size} bytes: a test case may have {CASE_BYTES_MAX}", path.display());
        let text = std::fs::read_to_string(path).with_context(failed)?;
        match read(&name_of(path), &path.display().to_string(), &text, world) {
            Ok(case) => cases.push(case),
            Err(found) => problems.extend(found.0),
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(Problems(problems).into()) }
}
