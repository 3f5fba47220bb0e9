//! Wrong specs, and what is said about each, word for word.
//!
//! Below `wrong/` a case begins with `=== ` and its title, then comes the spec, then
//! a line `--->`, then all that is said. `--- path` begins another file:
//! `--- env/prod.yaml` is the chosen environment, `--- files/x` a file beside it.
//! With HOSTLER_REGENERATE=1 the answers are written anew; read them afterwards.

use hostler_types::Name;
use hostler_types::spec::{Content, EnvSource, Source, SourceFile, compile, names_in};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const MARK: &str = "--->";

pub struct Case {
    pub title: String,
    pub spec: String,
    pub said: String,
}

pub fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut after = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case { title: title.to_owned(), spec: String::new(), said: String::new() });
            after = false;
            continue;
        }
        let Some(case) = cases.last_mut() else { panic!("a file begins with a title: {line}") };
        if line == MARK {
            after = true;
            continue;
        }
        let part = if after { &mut case.said } else { &mut case.spec };
        part.push_str(line);
        part.push('\n');
    }
    for case in &mut cases {
        case.said.truncate(case.said.trim_end().len());
    }
    cases
}

/// The files of a spec, as the command line would have read them.
fn source(spec: &str) -> Source {
    let mut files = vec![SourceFile { path: "spec.yaml".to_owned(), text: String::new() }];
    for line in spec.lines() {
        if let Some(path) = line.strip_prefix("--- ") {
            files.push(SourceFile { path: path.to_owned(), text: String::new() });
        } else if let Some(file) = files.last_mut() {
            file.text.push_str(line);
            file.text.push('\n');
        }
    }
    files.retain(|file| !file.text.is_empty() || file.path != "spec.yaml");
    let below = |folder: &'static str| move |file: &SourceFile| file.path.starts_with(folder);
    let contents: Vec<SourceFile> = files.extract_if(.., |file| below("files/")(file)).collect();
    let overlays: Vec<SourceFile> = files.extract_if(.., |file| below("env/")(file)).collect();
    let is_folder = !contents.is_empty()
        || !overlays.is_empty()
        || files.iter().any(|file| file.text.lines().any(|line| line.starts_with("system:")));
    let env_name = |file: &SourceFile| file.path.trim_start_matches("env/").trim_end_matches(".yaml").to_owned();
    let envs = overlays.iter().map(env_name).collect();
    let content = |file: SourceFile| {
        let names = names_in(file.text.as_bytes());
        (file.path, Content { digest: "ab".repeat(32), size: 1, names })
    };
    let contents: BTreeMap<String, Content> = contents.into_iter().map(content).collect();
    let env = overlays
        .into_iter()
        .next()
        .map(|file| EnvSource { name: Name::new(env_name(&file)).expect("an environment's name"), files: vec![file] });
    let variables = BTreeMap::from([("TAG".to_owned(), "v1".to_owned()), ("REGION".to_owned(), "eu".to_owned())]);
    Source { files, env, envs: is_folder.then_some(envs), contents: is_folder.then_some(contents), variables }
}

pub fn paths() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/wrong");
    let entries = std::fs::read_dir(folder).expect("the folder of wrong specs");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_mistake_is_told_in_the_words_that_are_written_down() {
    let regenerate = std::env::var_os("HOSTLER_REGENERATE").is_some();
    let mut count = 0;
    let mut failures = Vec::new();
    for path in paths() {
        let text = std::fs::read_to_string(&path).expect("a file of wrong specs");
        let shown = path.file_name().unwrap_or_default().to_string_lossy();
        let mut anew = String::new();
        for case in cases(&text) {
            count += 1;
            let said = match compile(&source(&case.spec)) {
                Ok(_) => {
                    failures.push(format!("{shown}, {}: nothing is wrong with it", case.title));
                    String::new()
                }
                Err(problems) => problems.to_string(),
            };
            if said != case.said && !regenerate {
                failures.push(format!("{shown}, {}: it says\n{said}\nand should say\n{}", case.title, case.said));
            }
            let gap = if anew.is_empty() { "" } else { "\n" };
            write!(anew, "{gap}=== {}\n{}{MARK}\n{said}\n", case.title, case.spec).expect("text takes text");
        }
        if regenerate && anew != text {
            std::fs::write(&path, anew).expect("the answers are written");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(count >= 120, "{count} cases");
}
