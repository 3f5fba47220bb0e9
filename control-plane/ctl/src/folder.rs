//! Reads what `-f` names: a system's folder, single files, standard input. Only
//! reads: what it means is for `hostler_types::spec`.

use crate::problem::Problem;
use hostler_types::Name;
use hostler_types::spec::{Content, EnvSource, Source, SourceFile, names_in, nearest};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A spec is written by people.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A whole system may come through a pipe.
const STDIN_BYTES_MAX: u64 = 16 * FILE_BYTES_MAX;
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
    folder: Option<PathBuf>,
    /// By name: `prod` to `shop/env/prod.yaml`.
    envs: BTreeMap<String, PathBuf>,
    shown: String,
}

impl Input {
    /// The environments of the folder, in order.
    pub fn envs(&self) -> impl Iterator<Item = &str> {
        self.envs.keys().map(String::as_str)
    }

    /// As a command line names it again: `-f shop --env prod`.
    pub fn arguments(&self) -> String {
        let env = self.source.env.as_ref().map(|env| format!(" --env {}", env.name)).unwrap_or_default();
        format!("{}{env}", self.shown)
    }

    /// Lays `env/NAME.yaml` over the rest, in place of the one that was chosen before.
    pub fn choose(&mut self, env: &str) -> Result<(), Problem> {
        let Some(folder) = &self.folder else {
            return Err(Problem::Usage(format!(
                "--env {env} chooses env/{env}.yaml of a folder, and no folder was given with -f"
            )));
        };
        let Some(path) = self.envs.get(env) else {
            let help = match nearest(env, self.envs()) {
                Some(near) => format!("did you mean --env {near}?"),
                None if self.envs.is_empty() => "it has no environments".to_owned(),
                None => format!("there are {}", self.envs().collect::<Vec<_>>().join(", ")),
            };
            return Err(Problem::Usage(format!("{} has no env/{env}.yaml; {help}", folder.display())));
        };
        let name = Name::new(env).map_err(|error| Problem::Usage(format!("--env: {error}")))?;
        self.source.env = Some(EnvSource { name, files: vec![read_file(path)?] });
        Ok(())
    }

    /// What to say where an environment must be chosen and none was.
    pub fn undecided(&self, applied: Option<&str>) -> Problem {
        let folder = self.folder.as_deref().unwrap_or(Path::new("the folder")).display();
        let envs: Vec<String> = self.envs().map(|env| format!("--env {env}")).collect();
        let applied = applied.map(|env| format!("; it is applied with --env {env}")).unwrap_or_default();
        Problem::Usage(format!("{folder} has environments: say which, {}{applied}", envs.join(" or ")))
    }
}

pub fn read(paths: &[PathBuf]) -> Result<Input, Problem> {
    let mut input = Input::default();
    input.source.variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let shown: Vec<String> = paths.iter().map(|path| format!("-f {}", quoted(path))).collect();
    input.shown = shown.join(" ");
    let mut stdin_taken = false;
    for path in paths {
        if path.as_os_str() == "-" {
            if std::mem::replace(&mut stdin_taken, true) {
                return Err(Problem::Usage("standard input can be read once: give -f - once".into()));
            }
            input.source.files.push(read_stdin()?);
        } else if path.is_dir() {
            if let Some(other) = input.folder.replace(path.clone()) {
                return Err(Problem::Usage(format!(
                    "a folder is one system: give {} and {} one after the other",
                    other.display(),
                    path.display()
                )));
            }
            read_folder(path, &mut input)?;
        } else {
            input.source.files.push(read_file(path)?);
        }
    }
    Ok(input)
}

/// As a shell takes it as one word.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Problem {
    Problem::File { operation, path: path.to_owned(), source }
}

fn read_stdin() -> Result<SourceFile, Problem> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| failed("read", Path::new("standard input"), source))?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        let most = STDIN_BYTES_MAX >> 20;
        return Err(Problem::Failed(format!("standard input is larger than {most} MiB: is it a spec?")));
    }
    text_of("<stdin>".to_owned(), bytes)
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
    for file in if envs.is_dir() { yaml_files(&envs)? } else { Vec::new() } {
        let Some(name) = file.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if let Some(other) = input.envs.insert(name.to_owned(), file.clone()) {
            let told = format!("{} and {} are one environment", other.display(), file.display());
            return Err(Problem::Failed(format!("{told}: keep one of them")));
        }
    }
    input.source.envs = Some(input.envs().map(str::to_owned).collect());
    let below = folder.join("files");
    let mut contents = BTreeMap::new();
    if below.is_dir() {
        let root = fs::canonicalize(folder).map_err(|source| failed("find the folder", folder, source))?;
        let target = fs::canonicalize(&below).map_err(|source| failed("follow the link", &below, source))?;
        if !target.starts_with(&root) {
            return Err(leads_out(&below, &target));
        }
        read_contents(&root, &below, "files", input, &mut contents)?;
    }
    input.source.contents = Some(contents);
    Ok(())
}

/// Of the folder itself: those below it mean something else. Hidden ones are what
/// editors leave beside a file.
fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed("read the folder", folder, source))? {
        let entry = entry.map_err(|source| failed("read the folder", folder, source))?;
        let (path, hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // A link that leads nowhere is told when it is read.
        if yaml && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// No more than `most`, whatever the size is said to be: it may be a pipe. `None`:
/// there is more.
fn read_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>, Problem> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    read.map_err(|source| failed("read", path, source))?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= most))
}

fn read_file(path: &Path) -> Result<SourceFile, Problem> {
    let bytes = read_most(path, FILE_BYTES_MAX)?
        .ok_or_else(|| Problem::Failed(format!("{} is larger than 1 MiB: is it a spec?", path.display())))?;
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

fn leads_out(path: &Path, target: &Path) -> Problem {
    let (path, target) = (path.display(), target.display());
    Problem::Failed(format!("{path} is a link to {target}: put the file itself there"))
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
                return Err(leads_out(&path, &target));
            }
        }
        let found = fs::metadata(&path).map_err(|source| failed("read", &path, source))?;
        if !found.is_file() {
            let told = format!("{} is a pipe, a socket or a device", path.display());
            return Err(Problem::Failed(format!("{told}: files/ holds only files and folders")));
        }
        if contents.len() >= CONTENTS_MAX {
            return Err(Problem::Failed(format!("files/ holds more than {CONTENTS_MAX} files: is a build in it?")));
        }
        let bytes = read_most(&path, CONTENT_BYTES_MAX)?.ok_or_else(|| {
            let told = format!("{} is larger than {} MiB", path.display(), CONTENT_BYTES_MAX >> 20);
            Problem::Failed(format!("{told}: files/ is for configuration and scripts"))
        })?;
        contents.insert(
            name.clone(),
            Content { digest: digest(&bytes), size: bytes.len() as u64, names: names_in(&bytes) },
        );
        input.contents.insert(name, path);
    }
    Ok(())
}

pub fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;
