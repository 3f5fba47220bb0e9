//! Files that a command brings back from its hosts: how they are named, and how much of
//! them there may be.

use crate::terminal::needs_care;
use crate::units::format_size;
use std::collections::BTreeMap;
use std::fmt;

/// Of one command. Who wants more packs them into one.
pub const FILES_MAX: usize = 8;
/// Logs and reports; what is larger is copied by other means.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// All that a host keeps until its control plane has it: two commands' full share.
pub const HOST_BYTES_MAX: u64 = 2 * FILES_MAX as u64 * FILE_BYTES_MAX;
/// Of all nodes of one run together.
pub const RUN_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Eight of them, with all else that a report says, fit into one record of a spool.
const PATH_BYTES_MAX: usize = 512;

/// The name of a file on a host: as it is, or from the folder of its command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchPath(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error("a file that is to come back has no name")]
    Empty,
    #[error("{0:?} leads out of its folder with ..: write the whole path, from /")]
    Above(String),
    #[error("{0:?} is a folder: name the files in it, or have the command pack it into one")]
    Folder(String),
    #[error("{0:?} is a pattern: name each file as it is called")]
    Pattern(String),
    #[error("{0:?} stands for somebody's home, which no host fills in: write the whole path, from /")]
    Home(String),
    #[error("{0:?} has characters that no terminal shows")]
    Unreadable(String),
    #[error("{0:?}... is longer than {PATH_BYTES_MAX} bytes")]
    Long(String),
    #[error("{0} files are too many: one command brings back {FILES_MAX}, so have it pack them into one")]
    Many(usize),
    #[error("{0} and {1} would be the same file here: fetch them in two runs")]
    Same(String, String),
}

impl FetchPath {
    /// Without what says nothing: `./a//b` is `a/b`.
    pub fn new(text: &str) -> Result<Self, FetchError> {
        let told = || text.chars().take(80).collect::<String>();
        if text.is_empty() {
            return Err(FetchError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(FetchError::Long(told()));
        }
        if text.chars().any(needs_care) {
            return Err(FetchError::Unreadable(told()));
        }
        if text.contains(['*', '?', '[']) {
            return Err(FetchError::Pattern(told()));
        }
        if text.starts_with('~') {
            return Err(FetchError::Home(told()));
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(FetchError::Above(told()));
        }
        if parts.is_empty() || text.ends_with('/') || text.ends_with("/.") {
            return Err(FetchError::Folder(told()));
        }
        let root = if text.starts_with('/') { "/" } else { "" };
        Ok(Self(format!("{root}{}", parts.join("/"))))
    }

    /// Those of one command, which are different files wherever they go.
    pub fn all<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, FetchError> {
        let paths: Vec<Self> = texts.into_iter().map(Self::new).collect::<Result<_, _>>()?;
        if paths.len() > FILES_MAX {
            return Err(FetchError::Many(paths.len()));
        }
        let mut places: BTreeMap<&str, &Self> = BTreeMap::new();
        for path in &paths {
            // What is a file can't be a folder as well.
            let taken =
                places.iter().find(|(place, _)| is_or_holds(place, path.place()) || is_or_holds(path.place(), place));
            if let Some((_, other)) = taken {
                return Err(FetchError::Same(other.to_string(), path.to_string()));
            }
            places.insert(path.place(), path);
        }
        Ok(paths)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_absolute(&self) -> bool {
        self.0.starts_with('/')
    }

    /// Where it goes, below the folder of its node: never above it.
    pub fn place(&self) -> &str {
        if self.is_absolute() { self.0.rsplit('/').next().unwrap_or_default() } else { &self.0 }
    }
}

fn is_or_holds(one: &str, other: &str) -> bool {
    other.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for FetchPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One that was asked for, and what became of it on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFile {
    pub path: FetchPath,
    /// As it was when its command had ended; or why it does not come.
    pub taken: Result<Taken, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub bytes: u64,
    /// SHA-256, in hex.
    pub digest: String,
}

impl TaskFile {
    pub fn bytes(&self) -> u64 {
        self.taken.as_ref().map_or(0, |taken| taken.bytes)
    }
}

/// Of files that come after others of their run, with so many bytes, only as many as there
/// is room for; the rest say so.
pub fn limit(files: &mut [TaskFile], mut before: u64) {
    for file in files {
        let bytes = file.bytes();
        if before.saturating_add(bytes) > RUN_BYTES_MAX {
            let (most, bytes) = (format_size(RUN_BYTES_MAX), format_size(bytes));
            file.taken = Err(format!("not brought back: with its {bytes} the run would have more than {most}"));
        } else {
            before += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FetchPath {
        FetchPath::new(text).expect("a path")
    }

    #[test]
    fn a_path_is_a_file_and_leads_nowhere_else() {
        for (text, plain, place) in [
            ("report.txt", "report.txt", "report.txt"),
            ("./out//report.txt", "out/report.txt", "out/report.txt"),
            ("/var/log/app.log", "/var/log/app.log", "app.log"),
            ("//var/./log/app.log", "/var/log/app.log", "app.log"),
            ("..a/b..", "..a/b..", "..a/b.."),
        ] {
            assert_eq!((path(text).as_str(), path(text).place()), (plain, place), "{text}");
        }
        for (text, words) in [
            ("", "no name"),
            ("..", "leads out"),
            ("a/../../b", "leads out"),
            ("/etc/../etc/shadow", "leads out"),
            ("out/", "is a folder"),
            ("/", "is a folder"),
            (".", "is a folder"),
            ("out/.", "is a folder"),
            ("*.log", "is a pattern"),
            ("log.?", "is a pattern"),
            ("~/x", "home"),
            ("a\u{1b}[2Jb", "no terminal shows"),
            ("a\nb", "no terminal shows"),
            (&"x/".repeat(300), "longer than 512 bytes"),
        ] {
            let error = FetchPath::new(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn no_two_become_the_same_file() {
        assert_eq!(FetchPath::all(["a", "b/a", "/x/c"]), Ok(vec![path("a"), path("b/a"), path("/x/c")]));
        for texts in [&["a", "./a"][..], &["/x/a", "/y/a"], &["a", "/x/a"], &["a", "b", "a/c"], &["a/c", "/x/a"]] {
            let error = FetchPath::all(texts.iter().copied()).expect_err("the same");
            assert!(matches!(error, FetchError::Same(..)), "{texts:?}: {error}");
        }
        let names: Vec<String> = (0..9).map(|number| format!("f{number}")).collect();
        assert!(FetchPath::all(names.iter().map(String::as_str).take(8)).is_ok());
        assert_eq!(FetchPath::all(names.iter().map(String::as_str)), Err(FetchError::Many(9)));
    }

    #[test]
    fn what_a_run_has_no_room_for_says_so() {
        let file = |bytes| {
            let taken = Ok(Taken { bytes, digest: "0".repeat(64) });
            TaskFile { path: path("a"), taken }
        };
        let mut files = [file(10), file(11), file(10)];
        limit(&mut files, RUN_BYTES_MAX - 20);
        assert!(files[0].taken.is_ok() && files[2].taken.is_ok());
        assert!(
            files[1]
                .taken
                .as_ref()
                .is_err_and(|words| words.contains("with its 11 B the run would have more than 512 MiB"))
        );
        limit(&mut files, u64::MAX);
        assert!(files.iter().all(|file| file.taken.is_err()));
    }
}
