//! The guides for plugin authors, walked as a new author walks them: every command
//! as it stands there, up to a passing check on a node.

use hostler_lab::{Agent, ControlPlane, program, run};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const GUIDES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plugins");
/// Its compilers are whoever's machine it is to have.
const NOT_WALKED: &str = "## Install the compiler";

/// What a reader does, in order.
#[derive(Debug, PartialEq)]
enum Step {
    Type(String),
    /// A file that the text names before its block.
    Write(String, String),
}

fn steps(guide: &str) -> Vec<Step> {
    let (mut found, mut walked, mut file) = (Vec::new(), true, None);
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("## ") {
            walked = line != NOT_WALKED;
        }
        if let Some(name) = line.strip_suffix("`:").and_then(|line| line.rsplit('`').next()) {
            file = Some(name.to_owned()).filter(|name| !name.ends_with('/'));
        }
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match (language, file.take()) {
            ("sh", _) if walked => found.extend(block.into_iter().map(|line| Step::Type(line.to_owned()))),
            ("yaml", Some(name)) => found.push(Step::Write(name, block.join("\n") + "\n")),
            _ => {}
        }
    }
    found
}

/// Whether the language's own tools are on this machine; why not, otherwise.
fn tools_for(language: &str) -> Result<(), String> {
    let needed = match language {
        "go" => "go",
        "javascript" => "npx",
        "python" => "componentize-py",
        _ => return Ok(()),
    };
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(needed).is_file()));
    if found { Ok(()) } else { Err(format!("no {needed} on this machine")) }
}

fn walk(language: &str) {
    if let Err(why) = tools_for(language) {
        println!("skipped: the guide for {language}: {why}");
        return;
    }
    let guide = std::fs::read_to_string(Path::new(GUIDES).join(format!("{language}.md"))).unwrap();
    let control_plane = ControlPlane::started();
    let _agent = Agent::joined(&control_plane, "web1", &[]);
    let folder = tempfile::tempdir().unwrap();
    let programs = program("hostlerctl").parent().unwrap().to_owned();
    let path = std::env::join_paths(
        std::iter::once(programs).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();

    let began = Instant::now();
    let mut typed = 0;
    for step in steps(&guide) {
        match step {
            Step::Write(name, text) => std::fs::write(folder.path().join(name), text).unwrap(),
            Step::Type(line) => {
                let at = Instant::now();
                let mut shell = Command::new("sh");
                shell.args(["-ec", &line]).current_dir(folder.path()).stdin(Stdio::null());
                shell.env("PATH", &path).env("HOSTLER_CONTEXT_FILE", control_plane.context_file());
                let ran = run(&mut shell);
                assert_eq!(ran.code, Some(0), "{language}.md: {line}\n{}\n{}", ran.out, ran.err);
                println!("{:6.1} s  {line}", at.elapsed().as_secs_f64());
                typed += 1;
            }
        }
    }
    assert!(typed >= 10, "only {typed} commands in {language}.md");
    let check = control_plane.wait_check("web1", "memory-use", "passing", SOON);
    println!("{language}: {} after {:.1} s of commands", check["summary"], began.elapsed().as_secs_f64());
    assert!(check["summary"].as_str().unwrap().ends_with("% of memory used"), "{check}");
}

#[test]
fn rust() {
    walk("rust");
}

#[test]
fn c() {
    walk("c");
}

#[test]
fn go() {
    walk("go");
}

#[test]
fn javascript() {
    walk("javascript");
}

#[test]
fn python() {
    walk("python");
}

#[test]
fn a_guide_is_read_as_a_person_reads_it() {
    let guide = "## Install the compiler\n```sh\napt-get\n```\n## Go\n```sh\none\ntwo\n```\nIn `x.yaml`:\n\n```yaml\na: 1\n```\n```yaml\nno file\n```\n";
    let typed = |line: &str| Step::Type(line.to_owned());
    assert_eq!(steps(guide), [typed("one"), typed("two"), Step::Write("x.yaml".into(), "a: 1\n".into())]);
}
