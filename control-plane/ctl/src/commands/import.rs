//! `hostlerctl import`: specs for what is there without Hostler. It reads and prints;
//! what a unit means is for the modules below, which do neither.

mod own;
mod spec;
#[cfg(test)]
mod tests;
mod unit;
mod words;

use crate::cli::{Format, ImportCommand, SystemdArgs};
use crate::output::Out;
use crate::problem::Problem;
use hostler_types::Selector;
use hostler_types::terminal::sanitize;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

/// A unit is written by people; with its drop-ins it has a few hundred lines.
const UNIT_BYTES_MAX: u64 = 1024 * 1024;

pub fn run(out: &Out, format: Format, command: ImportCommand) -> Result<(), Problem> {
    let ImportCommand::Systemd(args) = command;
    if format == Format::Json {
        return Err(Problem::Usage("a spec is YAML: leave out -o json".into()));
    }
    let selector = Selector::parse(&args.selector).map_err(|error| Problem::Usage(format!("--where: {error}")))?;
    let name = name_of(&args)?;
    let (text, is_here) = match &args.file {
        Some(file) => (read(file)?, false),
        None => (ask_systemd(&name)?, true),
    };
    let unit = unit::parse(&name, &text).map_err(Problem::Failed)?;
    // Of a unit of another machine, its files are there.
    let beside = |path: &str| is_here.then(|| read(Path::new(path)).ok()).flatten();
    let text = spec::write(&unit, &selector.to_string(), args.own, &beside).map_err(Problem::Failed)?;
    out.print(&text)
}

/// With its ending; that of the file where no other is said.
fn name_of(args: &SystemdArgs) -> Result<String, Problem> {
    let of_file = || args.file.as_ref()?.file_name()?.to_str().filter(|name| *name != "-").map(str::to_owned);
    let Some(name) = args.unit.clone().or_else(of_file) else {
        return Err(Problem::Usage("say the unit's name: hostlerctl import systemd NAME.service -f -".into()));
    };
    let good = |c: char| c.is_ascii_alphanumeric() || "@:-_.\\".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(good) {
        return Err(Problem::Usage(format!("{:?} is no name of a unit; write it like nginx.service", sanitize(&name))));
    }
    Ok(if name.contains('.') && unit::ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        name
    } else {
        format!("{name}.service")
    })
}

fn read(path: &Path) -> Result<String, Problem> {
    let failed = |source| Problem::File { operation: "read", path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(UNIT_BYTES_MAX).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(UNIT_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(failed)?;
    Ok(text)
}

/// With its drop-ins, in the order in which they count.
fn ask_systemd(name: &str) -> Result<String, Problem> {
    let ran = Command::new("systemctl").args(["cat", "--no-pager", "--", name]).output();
    let ran = ran.map_err(|error| {
        Problem::Failed(format!(
            "start systemctl: {error}.  Where the unit is, run `systemctl cat {name}`, and give what it prints to \
             hostlerctl import systemd {name} -f -"
        ))
    })?;
    if !ran.status.success() {
        let words = String::from_utf8_lossy(&ran.stderr);
        return Err(Problem::Failed(format!(
            "systemctl cat {name}: {}; what it prints elsewhere is taken by hostlerctl import systemd {name} -f -",
            sanitize(words.trim())
        )));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
