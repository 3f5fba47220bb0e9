//! Python: CPython within the component, put there by componentize-py.

use super::language::sources;
use super::{Built, Job, program};
use anyhow::{Context, Result, bail};
use std::process::Command;

const ADVICE: &str = "componentize-py was not found: `pip install componentize-py`, in a virtual environment where \
                      the system's Python is managed by its packages";
/// Loaded before the plugin; see there.
const SYSTEM: &str = include_str!("system.py");
/// The module that is the plugin's for the tool, by a name that no author takes.
const ENTRY: &str = "hostler_entry";
/// Where a folder may have more than one.
const MAIN: [&str; 4] = ["check", "plugin", "app", "main"];

pub fn build(job: &Job) -> Result<Built> {
    let module = main_module(job)?;
    let entry = job.scratch.join("python");
    std::fs::create_dir_all(&entry).with_context(|| format!("create {}", entry.display()))?;
    // All that is in the plugin's own module, for `from ... import *` leaves some out.
    let text = format!(
        "{SYSTEM}\n\nimport {module} as plugin\n\n\
         globals().update({{name: value for name, value in vars(plugin).items() if name[:2] != \"__\"}})\n"
    );
    let path = entry.join(format!("{ENTRY}.py"));
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    let output = job.scratch.join("component.wasm");
    let mut command = tool().context(ADVICE)?;
    command
        .current_dir(&job.folder)
        // What went wrong is told without where the tool was then.
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE")
        .arg("--wit-path")
        .arg(&job.wit)
        .args(["--world", &job.interface.world_name, "componentize", ENTRY, "--python-path", ".", "--python-path"])
        .arg(&entry)
        .arg("--output")
        .arg(&output);
    program::run(&mut command, "make a component of Python")?;
    Ok(Built::Asking(std::fs::read(&output).with_context(|| format!("read {}", output.display()))?))
}

fn main_module(job: &Job) -> Result<String> {
    let found = sources(&job.folder, "py")?;
    let names: Vec<String> = found.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    if let [only] = names.as_slice() {
        return Ok(only.clone());
    }
    match MAIN.iter().find(|name| names.iter().any(|found| found == **name)) {
        Some(name) => Ok((*name).to_owned()),
        None => bail!("{} has {} files *.py: call the first one check.py", job.folder.display(), found.len()),
    }
}

fn tool() -> Option<Command> {
    if let Some(path) = program::find("componentize-py") {
        return Some(Command::new(path));
    }
    let python = program::find("python3")?;
    let mut command = Command::new(python);
    command.args(["-m", "componentize_py"]);
    program::says(Command::new(command.get_program()).args(["-m", "componentize_py", "--version"]))?;
    Some(command)
}
