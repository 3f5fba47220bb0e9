//! The file of one instance.

use super::Entries;
use crate::call::CallError;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    /// Its name in full: a file's is short of it.
    instance: String,
    entries: Entries,
}

const VERSION: u32 = 1;

/// Letters and digits as they are, the rest as in a URL, and where that gets too
/// long for a file, a hash of the whole.
fn path(folder: &Path, instance: &str) -> PathBuf {
    let mut name = String::new();
    for byte in instance.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > FILE_NAME_BYTES_MAX {
        let hash = ring::digest::digest(&ring::digest::SHA256, instance.as_bytes());
        name = format!("%%{}", data_encoding::HEXLOWER.encode(hash.as_ref()));
    }
    folder.join(format!("{name}.json"))
}

/// The smallest that any kernel has.
const PAGE_BYTES: usize = 4096;

/// A file's name has 255 bytes, and endings are put to it.
const FILE_NAME_BYTES_MAX: usize = 200;

pub(super) fn load(folder: &Path, instance: &str) -> Result<Entries, CallError> {
    let path = path(folder, instance);
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(limits::KV_FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Entries::default());
        }
        Err(error) => return Err(failed("read", &path, &error)),
    }
    let problem = match serde_json::from_slice::<Written>(&bytes) {
        Ok(written) if written.version == VERSION && written.instance == instance => return Ok(written.entries),
        Ok(written) => format!("it is version {} of {:?}", written.version, written.instance),
        Err(error) => error.to_string(),
    };
    let aside = path.with_extension("json.damaged");
    let moved = std::fs::rename(&path, &aside);
    tracing::warn!(
        path = %path.display(), %problem, moved = moved.is_ok(),
        "what a check kept is damaged, it begins anew"
    );
    Ok(Entries::default())
}

/// Whoever reads it meanwhile has the old or the new one, never half of it.
pub(super) fn save(folder: &Path, instance: &str, entries: &Entries) -> Result<(), CallError> {
    let path = path(folder, instance);
    let written = Written { version: VERSION, instance: instance.to_owned(), entries: entries.clone() };
    let bytes = serde_json::to_vec(&written).map_err(|error| CallError::other("kv", error))?;
    let write = || if write_over(&path, &bytes)? { Ok(()) } else { replace(folder, &path, &bytes) };
    write().map_err(|error| failed("write", &path, &error))
}

/// A file of one page is written in one piece where it lies: many checks keep a few
/// numbers at every run, and a new file each time is a hundred times the work, for the
/// disk too. Whether it was one.
fn write_over(path: &Path, bytes: &[u8]) -> std::io::Result<bool> {
    let mut file = match std::fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
        Err(error) => return Err(error),
    };
    let before = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if bytes.len().max(before) > PAGE_BYTES {
        return Ok(false);
    }
    // Spaces behind it are no part of it, and to cut it shorter would be a second step.
    let mut whole = bytes.to_vec();
    whole.resize(bytes.len().max(before), b' ');
    file.write_all(&whole)?;
    Ok(true)
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("json.new");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(bytes)?;
    std::fs::rename(&new, path)
}

fn failed(verb: &str, path: &Path, error: &std::io::Error) -> CallError {
    CallError::other("kv", format!("{verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn no_name_leads_out_of_the_folder_or_meets_another() {
        let folder = Path::new("/s");
        for (instance, expect) in
            [("web-1", "/s/web-1.json"), ("../a", "/s/%2e%2e%2fa.json"), ("A b", "/s/%41%20b.json")]
        {
            assert_eq!(path(folder, instance), Path::new(expect));
        }
        let long = path(folder, &"x".repeat(300)).file_name().expect("a name").len();
        assert!(long < 100, "{long}");
        assert_ne!(path(folder, &"x".repeat(300)), path(folder, &"x".repeat(301)));
    }

    #[test]
    fn a_shorter_and_a_longer_one_take_its_place() {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = path(folder.path(), "a");
        for (length, in_place) in [(10, false), (900, true), (10, true), (PAGE_BYTES, false), (1, false), (2, true)] {
            let before = std::fs::File::open(&file);
            let mut entries = Entries::default();
            entries.set("k", vec![b'x'; length], None, 0).expect("room");
            save(folder.path(), "a", &entries).expect("written");
            assert_eq!(load(folder.path(), "a"), Ok(entries));
            let links =
                before.map_or(0, |file| std::os::unix::fs::MetadataExt::nlink(&file.metadata().expect("a file")));
            assert_eq!(links == 1, in_place, "{length}");
        }
        assert!(!folder.path().join("a.json.new").exists());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut entries = Entries::default();
        entries.set("k", b"1".to_vec(), None, 0).expect("room");
        save(folder.path(), "a", &entries).expect("written");
        let file = path(folder.path(), "a");
        let whole = std::fs::read(&file).expect("a file");
        assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        let strange = String::from_utf8_lossy(&whole).replace("\"version\":1", "\"version\":9").into_bytes();
        for damaged in [b"".to_vec(), whole[..whole.len() - 1].to_vec(), vec![0; 100], strange] {
            std::fs::write(&file, &damaged).expect("write");
            assert_eq!(load(folder.path(), "a"), Ok(Entries::default()));
            assert_eq!(std::fs::read(folder.path().join("a.json.damaged")).expect("set aside"), damaged);
            assert!(!file.exists());
        }
        save(folder.path(), "a", &entries).expect("written");
        assert_eq!(load(folder.path(), "a"), Ok(entries));
    }
}
