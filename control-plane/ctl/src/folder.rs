//! Reads what `-f` names: a system's folder, single files, standard input. Only
//! reads: what it means is for `hostler_types::spec`.

use crate::problem::Problem;
use hostler_types::Name;
use hostler_types::spec::{Content, EnvSource, Source, SourceFile, nearest};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A spec is written by people.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Configuration and scripts; what is larger is an artifact.
const CONTENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// More is a build that was put there by mistake.
const CONTENTS_MAX: usize = 10_000;

/// What was read, and from where.
#[derive(Debug, Default)]
pub struct Input {
    pub source: Source,
    /// Where the content of each file below `files/` lies.
    pub contents: BTreeMap<String, PathBuf>,
    /// As a command line names it again: `-f shop --env prod`.
    pub arguments: String,
}

pub fn read(paths: &[PathBuf], env: Option<&str>) -> Result<Input, Problem> {
    let mut input = Input::default();
    input.source.variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let shown: Vec<String> = paths.iter().map(|path| format!("-f {}", path.display())).collect();
    input.arguments = shown.join(" ");
    let mut folders = paths.iter().filter(|path| path.is_dir());
    let (folder, other) = (folders.next(), folders.next());
    if let (Some(folder), Some(other)) = (folder, other) {
        return Err(Problem::Usage(format!(
            "a folder is one system: give {} and {} one after the other",
            folder.display(),
            other.display()
        )));
    }
    for path in paths {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().take(FILE_BYTES_MAX * 16 + 1).read_to_end(&mut bytes);
            read.map_err(|source| Problem::File { operation: "read", path: path.clone(), source })?;
            if bytes.len() as u64 > FILE_BYTES_MAX * 16 {
                return Err(Problem::Failed("standard input is larger than 16 MiB: is it a spec?".into()));
            }
            input.source.files.push(text_of("<stdin>".to_owned(), bytes)?);
        } else if path.is_dir() {
            read_folder(path, &mut input)?;
        } else {
            input.source.files.push(read_file(path)?);
        }
    }
    choose_env(folder.map(PathBuf::as_path), env, &mut input)?;
    Ok(input)
}

fn read_folder(folder: &Path, input: &mut Input) -> Result<(), Problem> {
    let files = yaml_files(folder)?;
    if files.is_empty() {
        return Err(Problem::Failed(format!("{} holds no .yaml file", folder.display())));
    }
    for file in files {
        input.source.files.push(read_file(&file)?);
    }
    let envs = folder.join("env");
    let envs = if envs.is_dir() { yaml_files(&envs)? } else { Vec::new() };
    input.source.envs = Some(envs.iter().filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect());
    let below = folder.join("files");
    let mut contents = BTreeMap::new();
    if below.is_dir() {
        let root = fs::canonicalize(folder).map_err(|source| failed("find the folder", folder, source))?;
        read_contents(&root, &below, "files", input, &mut contents)?;
    }
    input.source.contents = Some(contents);
    Ok(())
}

fn choose_env(folder: Option<&Path>, env: Option<&str>, input: &mut Input) -> Result<(), Problem> {
    let known = input.source.envs.clone().unwrap_or_default();
    let list = || known.join(", ");
    match (folder, env) {
        (None, Some(env)) => Err(Problem::Usage(format!(
            "--env {env} chooses env/{env}.yaml of a folder, and no folder was given with -f"
        ))),
        (Some(folder), None) if !known.is_empty() => Err(Problem::Usage(format!(
            "{} has environments: say which, --env {}",
            folder.display(),
            known.join(" or --env ")
        ))),
        (Some(folder), Some(env)) => {
            if !known.iter().any(|one| one == env) {
                let help = match nearest(env, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean --env {near}?"),
                    None if known.is_empty() => "it has no environments".to_owned(),
                    None => format!("there are {}", list()),
                };
                return Err(Problem::Usage(format!("{} has no env/{env}.yaml; {help}", folder.display())));
            }
            let name = Name::new(env).map_err(|error| Problem::Usage(format!("--env: {error}")))?;
            let path = ["yaml", "yml"].map(|end| folder.join(format!("env/{env}.{end}")));
            let path = path.iter().find(|path| path.exists()).unwrap_or(&path[0]);
            input.source.env = Some(EnvSource { name, files: vec![read_file(path)?] });
            input.arguments.push_str(&format!(" --env {env}"));
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Problem {
    Problem::File { operation, path: path.to_owned(), source }
}

/// Of the folder itself: those below it mean something else.
fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed("read the folder", folder, source))? {
        let path = entry.map_err(|source| failed("read the folder", folder, source))?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<SourceFile, Problem> {
    let size = fs::metadata(path).map_err(|source| failed("read", path, source))?.len();
    if size > FILE_BYTES_MAX {
        return Err(Problem::Failed(format!("{} is larger than 1 MiB: is it a spec?", path.display())));
    }
    let bytes = fs::read(path).map_err(|source| failed("read", path, source))?;
    text_of(path.display().to_string(), bytes)
}

fn text_of(path: String, bytes: Vec<u8>) -> Result<SourceFile, Problem> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceFile { path, text }),
        Err(error) => {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Problem::Failed(format!("{path}:{line}: is no UTF-8: save it as that")))
        }
    }
}

/// Every file below `files/`, with its digest. Links may lead to files inside the
/// folder only, so that applying it means the same everywhere.
fn read_contents(
    root: &Path,
    folder: &Path,
    name: &str,
    input: &mut Input,
    contents: &mut BTreeMap<String, Content>,
) -> Result<(), Problem> {
    for entry in fs::read_dir(folder).map_err(|source| failed("read the folder", folder, source))? {
        let path = entry.map_err(|source| failed("read the folder", folder, source))?.path();
        let Some(own) = path.file_name().and_then(|own| own.to_str()) else {
            return Err(Problem::Failed(format!("{} has a name that is no UTF-8", path.display())));
        };
        let name = format!("{name}/{own}");
        let kind = fs::symlink_metadata(&path).map_err(|source| failed("read", &path, source))?;
        if kind.is_dir() {
            read_contents(root, &path, &name, input, contents)?;
            continue;
        }
        if kind.is_symlink() {
            let target = fs::canonicalize(&path).map_err(|source| failed("follow the link", &path, source))?;
            if !target.starts_with(root) || target.is_dir() {
                let told = format!("{} is a link to {}", path.display(), target.display());
                return Err(Problem::Failed(format!("{told}: put the file itself there")));
            }
        }
        let size = fs::metadata(&path).map_err(|source| failed("read", &path, source))?.len();
        if size > CONTENT_BYTES_MAX {
            let told = format!("{} has {} MiB", path.display(), size >> 20);
            return Err(Problem::Failed(format!("{told}, and at most {} may be", CONTENT_BYTES_MAX >> 20)));
        }
        if contents.len() >= CONTENTS_MAX {
            return Err(Problem::Failed(format!("files/ holds more than {CONTENTS_MAX} files: is a build in it?")));
        }
        let bytes = fs::read(&path).map_err(|source| failed("read", &path, source))?;
        contents.insert(name.clone(), Content { digest: digest(&bytes), size });
        input.contents.insert(name, path);
    }
    Ok(())
}

pub fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(paths: &[&Path], env: Option<&str>) -> String {
        let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
        read(&paths, env).expect_err("wrong").to_string()
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("env")).expect("made");
        fs::create_dir_all(folder.path().join("files/sub")).expect("made");
        fs::write(folder.path().join("a.yaml"), "system: {name: shop}\n").expect("written");
        fs::write(folder.path().join("env/prod.yaml"), "{}\n").expect("written");
        fs::write(folder.path().join("files/sub/x"), "abc").expect("written");
        folder
    }

    #[test]
    fn a_folder_is_read_whole() {
        let folder = folder();
        let input = read(&[folder.path().to_owned()], Some("prod")).expect("reads");
        assert_eq!(input.source.envs, Some(vec!["prod".to_owned()]));
        let content = input.source.contents.as_ref().and_then(|all| all.get("files/sub/x")).expect("there");
        assert_eq!(content.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(input.arguments.ends_with("--env prod"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = folder();
        let path = folder.path();
        assert!(told(&[path], None).contains("say which, --env prod"));
        assert!(told(&[path], Some("prd")).contains("did you mean --env prod?"));
        assert!(told(&[&path.join("a.yaml")], Some("prod")).contains("no folder was given"));
        assert!(told(&[path, path], Some("prod")).contains("one after the other"));
        assert!(told(&[&path.join("files")], None).contains("holds no .yaml file"));
        std::os::unix::fs::symlink("/etc/passwd", path.join("files/link")).expect("linked");
        assert!(told(&[path], Some("prod")).contains("put the file itself there"));
        fs::remove_file(path.join("files/link")).expect("gone");
        fs::write(path.join("b.yaml"), b"a: 1\nb: \xff\n").expect("written");
        assert!(told(&[path], Some("prod")).contains("b.yaml:2: is no UTF-8"));
    }
}
