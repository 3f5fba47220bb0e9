//! JavaScript: QuickJS within the component, put there by componentize-qjs.

use super::language::sources;
use super::{Built, Job, program};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOL: &str = "componentize-qjs";
const ADVICE: &str = "neither componentize-qjs nor npx was found: install Node.js 20 or newer (on Debian as root: \
                      `apt-get install nodejs npm`), or `npm install --global componentize-qjs`";
/// Loaded before the plugin; see there.
const SYSTEM: &str = include_str!("system.js");
/// Where a folder may have more than one.
const MAIN: [&str; 4] = ["check.js", "plugin.js", "index.js", "main.js"];

pub fn build(job: &Job) -> Result<Built> {
    let source = main_source(job)?;
    check_exports(job, &source)?;
    let entry = entry(job, &source)?;
    let output = job.scratch.join("component.wasm");
    let mut command = tool(job)?;
    command
        .current_dir(&job.folder)
        // Without the component model's async, which no host here has.
        .args(["--sync", "--opt-size", "--world", &job.interface.world_name, "--wit"])
        .arg(&job.wit)
        .arg("--module-root")
        .arg(&job.folder)
        .arg("--js")
        .arg(&entry)
        .arg("--output")
        .arg(&output);
    program::run(&mut command, "make a component of JavaScript")?;
    Ok(Built::Asking(std::fs::read(&output).with_context(|| format!("read {}", output.display()))?))
}

fn main_source(job: &Job) -> Result<PathBuf> {
    let found = sources(&job.folder, "js")?;
    if let [only] = found.as_slice() {
        return Ok(only.clone());
    }
    match MAIN.iter().map(|name| job.folder.join(name)).find(|path| found.contains(path)) {
        Some(path) => Ok(path),
        None => bail!("{} has {} files *.js: call the first one check.js", job.folder.display(), found.len()),
    }
}

/// The module that the tool begins with: what the engine lacks, then the plugin.
fn entry(job: &Job, source: &Path) -> Result<PathBuf> {
    let folder = job.scratch.join("javascript");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let source = source.strip_prefix(&job.folder).unwrap_or(source).display();
    let text = format!("import {{ begin }} from './system.js';\nexport * from '../../{source}';\nbegin();\n");
    let path = folder.join("entry.js");
    for (path, text) in [(&folder.join("system.js"), SYSTEM), (&path, &text)] {
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(path)
}

/// The tool takes a module without them as well, which then fails at its first
/// run. Only the names are looked for, so that any way to export them will do.
fn check_exports(job: &Job, source: &Path) -> Result<()> {
    let text = std::fs::read_to_string(source).with_context(|| format!("read {}", source.display()))?;
    for interface in job.interface.exports() {
        let name = camel_case(&interface);
        ensure!(
            text.contains(&name) || text.contains("export *"),
            "{} does not export `{name}`, which the world {} needs: an object with the functions of {interface}",
            source.display(),
            job.interface.world_name
        );
    }
    Ok(())
}

/// `hostler:plugin/check-api@1.0.0` is `checkApi`.
fn camel_case(interface: &str) -> String {
    let name = interface.rsplit('/').next().and_then(|rest| rest.split('@').next()).unwrap_or_default();
    let mut words = name.split('-');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

/// The folder's own, then an installed one, then npm's newest.
fn tool(job: &Job) -> Result<Command> {
    let own = job.folder.join("node_modules/.bin").join(TOOL);
    if own.is_file() {
        return Ok(Command::new(own));
    }
    if let Some(path) = program::find(TOOL) {
        return Ok(Command::new(path));
    }
    let npx = program::find("npx");
    ensure!(npx.is_some(), ADVICE);
    let mut command = Command::new(npx.unwrap_or_default());
    command.args(["--yes", TOOL]).env("npm_config_loglevel", "error").env("npm_config_update_notifier", "false");
    Ok(command)
}
