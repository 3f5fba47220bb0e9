//! Every workspace's tests: the fast tier always, slow groups when asked for, one
//! line at the end that counts them all.

use crate::packages;
use crate::plugins;
use crate::process;
use crate::workspace::{Workspace, minutes};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(Debug, Default, PartialEq)]
pub struct Options {
    pub all: bool,
    pub group: Option<String>,
    pub filters: Vec<String>,
}

/// Slow tests that run together. What belongs to one, and its budget, is the
/// nextest profile of the same name in .config/nextest.toml.
pub struct Group {
    pub name: &'static str,
    /// Why it can't run without, if it can't.
    needs_root: Option<&'static str>,
}

pub const GROUPS: [Group; 3] = [
    Group { name: "slow", needs_root: None },
    Group { name: "outage", needs_root: None },
    Group { name: "lab", needs_root: Some("they boot whole hosts") },
];

/// Tests start the programs as they are. Built together with the tests, since what
/// tests depend on changes the features of half of all crates: apart, those would be
/// compiled twice.
pub const PROGRAMS_UNDER_TEST: [&str; 4] = ["--workspace", "--bins", "--tests", "--locked"];

/// One run of nextest.
struct Run {
    label: String,
    manifest: PathBuf,
    target: Option<PathBuf>,
    /// The folder nextest writes its report to, and its profile.
    store: PathBuf,
    profile: &'static str,
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let groups = chosen(options)?;
    let started = Instant::now();
    need_nextest(workspace)?;
    packages::install(&packages::FOR_TESTS)?;
    let workspace = &workspace.with_authors_tools();
    plugins::build(&workspace.root, plugins::Tool::WithTests, &mut |line| eprintln!("  plugins        {line}"))?;
    workspace.build(&PROGRAMS_UNDER_TEST)?;

    let mut total = Tally::default();
    for run in fast_runs(workspace) {
        total += run.execute(workspace, &options.filters)?;
    }
    if options.all {
        total += doc_tests(workspace)?;
    }
    for group in groups {
        total += run_group(workspace, group, &options.filters)?;
    }
    eprintln!("  took {}", minutes(started.elapsed()));
    println!("{total}");
    ensure!(total.failed == 0, "{} of {} tests failed", total.failed, total.passed + total.failed);
    ensure!(
        total.passed > 0,
        "no test ran{}",
        if options.filters.is_empty() { "" } else { ": no name holds the filter" }
    );
    Ok(())
}

fn chosen(options: &Options) -> Result<Vec<&'static Group>> {
    if let Some(name) = &options.group {
        let names: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        let group = GROUPS.iter().find(|group| group.name == name.as_str());
        return Ok(vec![group.with_context(|| format!("no such group: '{name}'; there are {}", names.join(", ")))?]);
    }
    Ok(if options.all { GROUPS.iter().collect() } else { Vec::new() })
}

/// The slow group for a commit: every commit runs one, and they take turns.
pub fn group_for_commit(hash: &str) -> &'static Group {
    let sum: usize = hash.trim().bytes().map(usize::from).sum();
    let [first, ..] = &GROUPS;
    GROUPS.get(sum % GROUPS.len()).unwrap_or(first)
}

fn fast_runs(workspace: &Workspace) -> Vec<Run> {
    let mut runs = vec![Run {
        label: "workspace".into(),
        manifest: workspace.root.join("Cargo.toml"),
        target: None,
        store: workspace.root.join("target/nextest"),
        profile: "default",
        config: None,
    }];
    // The tool is built into the root's target, as `plugins` does; guests for the
    // host would be in the way there.
    let apart = [("plugins", workspace.target.join("plugins-native")), ("agent/plugin-tool", workspace.target.clone())];
    for (folder, target) in apart {
        let manifest = workspace.root.join(folder).join("Cargo.toml");
        if manifest.is_file() {
            runs.push(Run {
                label: folder.into(),
                manifest,
                target: Some(target),
                store: workspace.root.join(folder).join("target/nextest"),
                profile: "default",
                config: Some(workspace.root.join(".config/nextest-apart.toml")),
            });
        }
    }
    runs
}

fn run_group(workspace: &Workspace, group: &Group, filters: &[String]) -> Result<Tally> {
    let run = Run {
        label: format!("group {}", group.name),
        manifest: workspace.root.join("Cargo.toml"),
        target: None,
        store: workspace.root.join("target/nextest"),
        profile: group.name,
        config: None,
    };
    if let Some(why) = group.needs_root.filter(|_| !packages::is_root()) {
        let skipped = run.count(workspace)?;
        eprintln!("  skipped        {}: {skipped} tests need root ({why})", run.label);
        return Ok(Tally { skipped, ..Tally::default() });
    }
    run.execute(workspace, filters)
}

impl Run {
    fn command(&self, workspace: &Workspace, verb: &str) -> Command {
        let mut command = workspace.cargo();
        command.args(["nextest", verb, "--manifest-path"]).arg(&self.manifest);
        command.args(["--workspace", "--profile", self.profile]);
        if let Some(target) = &self.target {
            command.arg("--target-dir").arg(target);
        }
        if let Some(config) = &self.config {
            command.arg("--config-file").arg(config);
        }
        command
    }

    /// The verdict is in the report, so that the terminal stays nextest's own.
    fn execute(&self, workspace: &Workspace, filters: &[String]) -> Result<Tally> {
        eprintln!("  testing        {}", self.label);
        let report = self.store.join(self.profile).join("junit.xml");
        let _ = fs::remove_file(&report);
        let mut command = self.command(workspace, "run");
        command.args(["--no-fail-fast", "--no-tests=pass"]).args(filters);
        let status = command.status().context("start cargo nextest")?;
        let Ok(text) = fs::read_to_string(&report) else {
            bail!("{}: the tests did not run ({status}); the reason is above", self.label);
        };
        let tally = tally_of(&text).with_context(|| format!("read {}", report.display()))?;
        ensure!(
            status.success() || tally.failed > 0,
            "{}: nextest ended with {status} though no test failed",
            self.label
        );
        Ok(tally)
    }

    fn count(&self, workspace: &Workspace) -> Result<u64> {
        let mut command = self.command(workspace, "list");
        let listed = process::output(command.args(["--message-format", "oneline"]))?;
        Ok(u64::try_from(listed.lines().count())?)
    }
}

/// The counts on the report's first element.
fn tally_of(report: &str) -> Result<Tally> {
    let start = report.find("<testsuites ").context("find <testsuites>")?;
    let head = report.get(start..).and_then(|rest| rest.split('>').next()).context("find the end of <testsuites>")?;
    let count = |name: &str| -> Result<u64> {
        let value = head.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.and_then(|digits| digits.parse().ok()).with_context(|| format!("read the count of {name}"))
    };
    let failed = count("failures")? + count("errors")?;
    Ok(Tally { passed: count("tests")?.saturating_sub(failed), failed, skipped: 0 })
}

/// nextest does not run these.
fn doc_tests(workspace: &Workspace) -> Result<Tally> {
    eprintln!("  testing        examples in the documentation");
    let mut command = workspace.cargo();
    command.args(["test", "--quiet", "--doc", "--workspace", "--no-fail-fast"]);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("start cargo test --doc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tally = doc_tally(&text);
    if tally.failed > 0 {
        eprint!("{text}");
    }
    ensure!(output.status.success() || tally.failed > 0, "cargo test --doc ended with {}", output.status);
    Ok(tally)
}

fn doc_tally(text: &str) -> Tally {
    let mut total = Tally::default();
    for line in text.lines().filter(|line| line.starts_with("test result:")) {
        let before = |word: &str| -> u64 {
            let words: Vec<&str> = line.split([' ', ';']).filter(|part| !part.is_empty()).collect();
            words
                .windows(2)
                .find_map(|pair| match pair {
                    [number, name] if *name == word => number.parse().ok(),
                    _ => None,
                })
                .unwrap_or_default()
        };
        total += Tally { passed: before("passed"), failed: before("failed"), skipped: 0 };
    }
    total
}

fn need_nextest(workspace: &Workspace) -> Result<()> {
    let found = workspace.cargo().args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    if found {
        return Ok(());
    }
    eprintln!("  installing     cargo-nextest (the test runner; some minutes, once)");
    let status = workspace.cargo().args(["install", "--locked", "cargo-nextest"]).status().context("start cargo")?;
    ensure!(status.success(), "install cargo-nextest: see https://nexte.st for other ways");
    Ok(())
}

/// Where a workspace's own manifest lies, for those that walk all three.
pub fn manifests(root: &Path) -> Vec<PathBuf> {
    ["Cargo.toml", "plugins/Cargo.toml", "agent/plugin-tool/Cargo.toml"]
        .iter()
        .map(|name| root.join(name))
        .filter(|file| file.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_counted() {
        let report = r#"<?xml version="1.0"?>
            <testsuites name="nextest-run" tests="12" skipped="0" failures="2" errors="1" time="1.0">
            <testsuite name="x" tests="12" failures="2">"#;
        let tally = tally_of(report).unwrap();
        assert_eq!(tally, Tally { passed: 9, failed: 3, skipped: 0 });
        assert_eq!(tally.to_string(), "9 passed, 3 failed");
        assert_eq!(Tally { skipped: 4, ..tally }.to_string(), "9 passed, 3 failed, 4 skipped");
        assert!(tally_of("<testsuites name=\"x\">").unwrap_err().to_string().contains("count of failures"));
    }

    #[test]
    fn doc_results_are_summed_over_crates() {
        let text = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured\n\
            test result: FAILED. 1 passed; 3 failed; 0 ignored\n";
        assert_eq!(doc_tally(text), Tally { passed: 3, failed: 3, skipped: 0 });
    }

    #[test]
    fn groups_take_turns_and_a_wrong_name_lists_them() {
        let chosen_by: std::collections::BTreeSet<&str> =
            ('a'..='f').map(|digit| group_for_commit(&digit.to_string()).name).collect();
        assert_eq!(chosen_by.len(), GROUPS.len());
        let wrong = Options { group: Some("labs".into()), ..Options::default() };
        assert!(chosen(&wrong).err().unwrap().to_string().contains("there are slow, outage, lab"));
    }
}
