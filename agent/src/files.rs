//! Files that must be whole or absent, and for their owner alone.
//!
//! `join` runs as root and the agent does not: what root writes into a folder
//! that belongs to somebody else is given to them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

pub const PRIVATE: u32 = 0o600;
pub const READABLE: u32 = 0o644;

/// Makes the folder and its parents, closed to others.
pub fn private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    give_to_owner_of(parent, &File::open(path)?)
}

/// Replaces the file in one step: after a crash it holds the old or the new.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = folder.join(name);
    // A leftover may have another mode, which opening would keep.
    remove_if_there(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(contents)?;
    give_to_owner_of(folder, &file)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `None` where there is none.
pub fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    let ours = file.metadata()?;
    let root = rustix::process::geteuid().is_root();
    if root && owner.uid() != ours.uid() {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        fs::write(folder.path().join("state.new"), "left over").expect("written");
        replace(&path, b"one", PRIVATE).expect("replaced");
        replace(&path, b"two", PRIVATE).expect("replaced");
        assert_eq!(read_if_there(&path).expect("read"), Some(b"two".to_vec()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert_eq!(read_if_there(&folder.path().join("no")).expect("read"), None);
    }
}
