//! The house rules, as tests. A rule is a function from what it looks at to what
//! is wrong; reading files and asking cargo happens here.

mod dependencies;
mod documents;
mod length;
mod locks;
mod words;

use crate::test::manifests;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the source, by its path from the root.
pub struct Source {
    pub path: String,
    pub text: String,
}

pub fn run(workspace: &Workspace) -> Result<()> {
    let sources = sources(&workspace.root)?;
    let mut wrong = Vec::new();
    let mut rule = |name: &str, found: Vec<String>| {
        eprintln!(
            "tidy: {:<24} {}",
            name,
            if found.is_empty() { "ok".into() } else { format!("{} wrong", found.len()) }
        );
        wrong.extend(found);
    };

    for note in length::long(&sources) {
        eprintln!("tidy: note: {note}");
    }
    rule("file length", length::too_long(&sources));
    rule("words", words::forbidden(&sources));

    let graph = dependencies::Graph::parse(&metadata(workspace)?)?;
    rule("dependency direction", dependencies::direction(&graph));
    rule("pure crates", dependencies::impure(&graph));
    rule("no compiler in the agent", dependencies::compiler_in_agent(&graph));
    rule("lock files agree", locks_of(workspace)?);

    rule("links and paths", documents::missing_paths(&sources, |path| workspace.root.join(path).exists()));
    let (found, skipped) = documents::unknown_commands(&sources, |program, words| help(workspace, program, words));
    rule("commands in documents", found);
    for program in skipped {
        eprintln!(
            "tidy: note: {program}, or what it calls, is not built: not all that documents say of it was checked"
        );
    }

    if wrong.is_empty() {
        return Ok(());
    }
    for line in &wrong {
        eprintln!("  {line}");
    }
    bail!("{} house rules broken", wrong.len())
}

/// What git knows or would add; nothing that was built.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("start git")?;
    ensure!(output.status.success(), "list the source: {}", String::from_utf8_lossy(&output.stderr).trim());
    let list = String::from_utf8(output.stdout).context("read the list of files")?;
    // A file may be deleted and not yet committed, or hold no text.
    let read =
        |path: &str| Some(Source { path: path.to_owned(), text: std::fs::read_to_string(root.join(path)).ok()? });
    Ok(list.lines().filter_map(read).collect())
}

fn metadata(workspace: &Workspace) -> Result<serde_json::Value> {
    let ask = |extra: &[&str]| {
        let mut cargo = workspace.cargo();
        cargo.args(["metadata", "--format-version", "1", "--locked"]);
        cargo
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .args(extra)
            .output()
            .context("start cargo metadata")
    };
    let mut output = ask(&["--offline"])?;
    if !output.status.success() {
        // A fresh clone has yet to fetch what it depends on.
        output = ask(&[])?;
    }
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("read cargo's metadata")
}

fn locks_of(workspace: &Workspace) -> Result<Vec<String>> {
    let root = &workspace.root;
    let tool = root.join("agent/plugin-tool/Cargo.lock");
    if !manifests(root).iter().any(|manifest| manifest.starts_with(root.join("agent/plugin-tool"))) {
        return Ok(Vec::new());
    }
    let read = |file: PathBuf| std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()));
    Ok(locks::disagreements(&read(root.join("Cargo.lock"))?, &read(tool)?))
}

/// What a built program prints for `WORDS --help`; an error when it was not built.
fn help(workspace: &Workspace, program: &str, words: &[&str]) -> documents::Help {
    let programs = workspace.programs(Profile::Dev);
    let file = match program {
        "hostlerctl" => programs.ctl,
        "hostler-agent" => programs.agent,
        "hostler-control-plane" => programs.control_plane,
        _ => return documents::Help::NotBuilt,
    };
    // Of `plugin`, what is for authors is the plugin tool's to answer.
    let asks_tool = matches!(words, ["plugin", _, ..]) && program == "hostlerctl";
    if !file.exists() || (asks_tool && !programs.plugin_tool.exists()) {
        return documents::Help::NotBuilt;
    }
    match Command::new(file).args(words).arg("--help").output() {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            documents::Help::Text(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        _ => documents::Help::Unknown,
    }
}
