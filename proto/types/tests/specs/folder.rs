//! Reads a folder of specs as the command line does, for the tests here.

use hostler_types::Name;
use hostler_types::spec::{Content, EnvSource, Source, SourceFile, names_in};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples").join(name)
}

fn file(path: &Path, shown: &str) -> SourceFile {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    SourceFile { path: shown.to_owned(), text }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

pub fn read(folder: &Path, env: Option<&str>) -> Source {
    let yaml = |name: &String| name.ends_with(".yaml");
    let files = names(folder).iter().filter(|name| yaml(name)).map(|name| file(&folder.join(name), name)).collect();
    let envs: Vec<String> =
        names(&folder.join("env")).iter().map(|name| name.trim_end_matches(".yaml").to_owned()).collect();
    let env = env.map(|env| EnvSource {
        name: Name::new(env).expect("a name"),
        files: vec![file(&folder.join(format!("env/{env}.yaml")), &format!("env/{env}.yaml"))],
    });
    // A digest stands for its content; any does here.
    let content = |name: &String| {
        let bytes = std::fs::read(folder.join("files").join(name)).unwrap_or_default();
        (format!("files/{name}"), Content { digest: "ab".repeat(32), size: 1, names: names_in(&bytes) })
    };
    let contents: BTreeMap<String, Content> = names(&folder.join("files")).iter().map(content).collect();
    Source { files, env, envs: Some(envs), contents: Some(contents), variables: BTreeMap::new() }
}

/// As another reader of YAML sees it.
pub fn to_json(text: &str) -> Result<serde_json::Value, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}
