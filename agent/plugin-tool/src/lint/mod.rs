//! `hostler-plugin lint`: what is wrong with a plugin, or will be, before
//! anybody pushes it.

mod component;
mod finding;
mod manifest;
mod options;
mod usage;

use crate::build::Language;
use crate::called_as::called_as;
use crate::case;
use crate::output::print;
use crate::subject::{Subject, SubjectArguments};
use crate::test::Stage;
use anyhow::Result;
use finding::{Findings, Level};
use hostler_types::terminal::sanitize;
use std::path::Path;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
}

pub fn lint(arguments: &Arguments) -> Result<ExitCode> {
    let mut findings = Findings::default();
    let (folder, file) = arguments.subject.places()?;
    let readable = manifest::check(&folder, &mut findings);
    // A built file alone may lie anywhere.
    if file.is_none() || folder.join("plugin.toml").exists() {
        beside(&folder, &mut findings);
    }
    // A manifest that can't be read is told already, and names no built file.
    if readable {
        match arguments.subject.find() {
            Ok(subject) => built(&subject, &mut findings)?,
            Err(error) => findings.add(Level::Error, &folder.display().to_string(), None, format!("{error:#}")),
        }
    }
    let text: String = findings.lines().iter().map(|line| format!("{}\n", sanitize(line))).collect();
    print(&text)?;
    print(&format!("{}\n", findings.sum()))?;
    Ok(if findings.count(Level::Error) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a folder has beside its sources.
fn beside(folder: &Path, findings: &mut Findings) {
    let shown = folder.display().to_string();
    if !folder.join("README.md").is_file() {
        let message = "there is no README.md: say what the plugin looks at, and which options it has".to_owned();
        findings.add(Level::Warning, &shown, None, message);
    }
    if case::files(&folder.join(case::FOLDER)).is_ok_and(|files| files.is_empty()) {
        let message = format!("there are no test cases: record one with `{} record {shown}`", called_as());
        findings.add(Level::Warning, &shown, None, message);
    }
}

fn built(subject: &Subject, findings: &mut Findings) -> Result<()> {
    if subject.is_stale() {
        let message =
            format!("plugin.toml was changed since it was built: {} build {}", called_as(), subject.folder.display());
        findings.add(Level::Warning, &subject.wasm.display().to_string(), None, message);
    }
    let language = Language::find(&subject.folder).ok();
    if !component::check(subject, language, findings) {
        return Ok(());
    }
    let stage = Stage::new()?;
    // What does not load can't be asked anything more.
    if let Err(error) = stage.load(subject) {
        findings.add(Level::Error, &subject.wasm.display().to_string(), None, format!("{error:#}"));
        return Ok(());
    }
    options::check(subject, &stage, findings)?;
    usage::check(subject, &stage, findings)
}
