//! What a change must pass before it counts.

use crate::plugins;
use crate::test::{self, Options, group_for_commit, manifests};
use crate::tidy;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

pub fn run(workspace: &Workspace) -> Result<()> {
    for manifest in manifests(&workspace.root) {
        step(
            &format!("format, {}", name(workspace, &manifest)),
            workspace.cargo().args(["fmt", "--all", "--check", "--manifest-path"]).arg(&manifest),
        )?;
    }
    step(
        "lints",
        workspace.cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    // Documents are checked against the programs' own help: they must be there.
    workspace.build(&test::PROGRAMS_UNDER_TEST)?;
    plugins::build_tool(&workspace.root, plugins::Tool::WithTests, &mut |line| eprintln!("  plugins        {line}"))?;
    tidy::run(workspace)?;
    deny(workspace)?;
    let group = group_for_commit(&commit(workspace));
    eprintln!("ci: tests, and the slow group \"{}\" for this commit", group.name);
    test::run(workspace, &Options { group: Some(group.name.to_owned()), ..Options::default() })
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("ci: {name}");
    let status = command.status().with_context(|| format!("start {:?}", command.get_program()))?;
    ensure!(status.success(), "{name}: failed, its messages are above");
    Ok(())
}

/// Checked where the tool is: it takes longer to build than all of this to run.
fn deny(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    if !cargo.args(["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("ci: licences and bans not checked: no cargo-deny here (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    for manifest in manifests(&workspace.root) {
        // The bans are the product's: the plugin tool links the compiler they name.
        let is_root = manifest.parent() == Some(workspace.root.as_path());
        let checks: &[&str] = if is_root { &["bans", "licenses", "sources"] } else { &["licenses", "sources"] };
        let mut cargo = workspace.cargo();
        cargo.args(["deny", "--config", "deny.toml", "--manifest-path"]).arg(&manifest).arg("check").args(checks);
        step(&format!("{}, {}", checks.join(", "), name(workspace, &manifest)), &mut cargo)?;
    }
    Ok(())
}

fn name(workspace: &Workspace, manifest: &Path) -> String {
    manifest.strip_prefix(&workspace.root).unwrap_or(manifest).display().to_string()
}

/// A source without history has one group, always the same.
fn commit(workspace: &Workspace) -> String {
    let output = Command::new("git").current_dir(&workspace.root).args(["rev-parse", "HEAD"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
