//! Compiled plugins on disk.
//!
//! A file here is machine code that the agent will run as itself, so the folder
//! is the agent's alone, whatever others could have written is refused, and
//! each file's SHA-256 stands beside it. That catches damage and other users;
//! who can write as the agent needs no plugin.

use crate::companion::{Companion, CompanionError};
use crate::engine::ENGINE_KEY;
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::Mutex;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("create the plugin cache {path}", path = .path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("the plugin cache {path} is unsafe: {reason}", path = .path.display())]
    Unsafe { path: PathBuf, reason: String },
}

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("{0:?} is no SHA-256 in hex")]
    Digest(String),
    #[error("read the component {path}", path = .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not the component it should be: its SHA-256 is {found}", path = .path.display())]
    OtherComponent { path: PathBuf, found: String },
    #[error("compile {path}: {source}", path = .path.display())]
    Compile { path: PathBuf, source: CompanionError },
    #[error("keep the compiled plugin {path}", path = .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("remove a compiled plugin")]
    Forget(#[source] std::io::Error),
}

/// Why a compiled file is not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("{0}")]
    Read(#[from] std::io::Error),
    #[error("{0}")]
    Ownership(String),
    #[error("its checksum differs from the one beside it")]
    Checksum,
}

pub struct Cache {
    folder: PathBuf,
    /// One compilation at a time: it is the heaviest thing an agent causes.
    compiling: Mutex<()>,
}

const COMPILED: &str = "cwasm";
const CHECKSUM: &str = "sha256";

impl Cache {
    pub fn open(folder: impl Into<PathBuf>) -> Result<Cache, CacheError> {
        let folder = folder.into();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|source| CacheError::Create { path: folder.clone(), source })?;
        let reason = match std::fs::symlink_metadata(&folder) {
            Ok(found) if !found.is_dir() => Some("it is no folder".to_owned()),
            Ok(found) => ours(&found),
            Err(error) => Some(error.to_string()),
        };
        match reason {
            Some(reason) => Err(CacheError::Unsafe { path: folder, reason }),
            None => Ok(Cache { folder, compiling: Mutex::new(()) }),
        }
    }

    /// The compiled form of a component, compiled now unless it is here. The
    /// component must have this digest.
    pub async fn compiled(
        &self,
        digest_hex: &str,
        component: &Path,
        companion: &Companion,
    ) -> Result<PathBuf, CompileError> {
        let path = self.path(digest_hex)?;
        let _one = self.compiling.lock().await;
        if present(&path) {
            return Ok(path);
        }
        let read = |source| CompileError::Read { path: component.to_owned(), source };
        let found = sha256_file(component).map_err(read)?;
        if found != digest_hex {
            return Err(CompileError::OtherComponent { path: component.to_owned(), found });
        }
        let fresh = path.with_extension(unfinished());
        // A container's first process has the same number after every crash.
        let _ = std::fs::remove_file(&fresh);
        let result = self.compile(component, companion, &fresh, &path).await;
        if result.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        result.map(|()| path)
    }

    async fn compile(
        &self,
        component: &Path,
        companion: &Companion,
        fresh: &Path,
        path: &Path,
    ) -> Result<(), CompileError> {
        companion
            .compile(component, fresh)
            .await
            .map_err(|source| CompileError::Compile { path: component.to_owned(), source })?;
        let write = |source| CompileError::Write { path: path.to_owned(), source };
        let checksum = sha256_file(fresh).map_err(write)?;
        // The checksum first: without it the file beside it is not present, and
        // one that is older than the file is found out when it is loaded.
        let fresh_checksum = path.with_extension(unfinished());
        let _ = std::fs::remove_file(&fresh_checksum);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&fresh_checksum);
        file.and_then(|mut file| file.write_all(checksum.as_bytes())).map_err(write)?;
        std::fs::rename(&fresh_checksum, path.with_extension(CHECKSUM)).map_err(write)?;
        std::fs::rename(fresh, path).map_err(write)
    }

    /// Removes one, so that it is compiled again.
    pub fn forget(&self, digest_hex: &str) -> std::io::Result<()> {
        let Ok(path) = self.path(digest_hex) else { return Ok(()) };
        for path in [path.with_extension(CHECKSUM), path] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes all but these: other plugins, what other engines compiled, what a
    /// crash left unfinished. Returns how many files went. Not to be called
    /// while something compiles.
    pub fn keep_only(&self, digests: &BTreeSet<String>) -> std::io::Result<u32> {
        let mut removed = 0;
        let kept: BTreeSet<String> = digests.iter().map(|digest| stem(digest)).collect();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let stem_kept = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| kept.contains(stem));
            let finished = path.extension().is_some_and(|extension| extension == COMPILED || extension == CHECKSUM);
            if !(stem_kept && finished) && path.is_file() {
                std::fs::remove_file(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn path(&self, digest_hex: &str) -> Result<PathBuf, CompileError> {
        let sound = digest_hex.len() == 64 && digest_hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !sound {
            return Err(CompileError::Digest(digest_hex.to_owned()));
        }
        Ok(self.folder.join(format!("{}.{COMPILED}", stem(digest_hex))))
    }
}

fn stem(digest_hex: &str) -> String {
    // No dot in it: what follows the first one is the extension.
    format!("{digest_hex}-{}", ENGINE_KEY.replace('.', "_"))
}

/// An extension nobody else uses at this time.
fn unfinished() -> String {
    static ATTEMPT: AtomicU32 = AtomicU32::new(0);
    format!("unfinished-{}-{}", std::process::id(), ATTEMPT.fetch_add(1, Ordering::Relaxed))
}

fn present(path: &Path) -> bool {
    path.is_file() && path.with_extension(CHECKSUM).is_file()
}

/// Why somebody else could have written it, if so.
fn ours(found: &std::fs::Metadata) -> Option<String> {
    let me = geteuid().as_raw();
    if found.uid() != me {
        return Some(format!("it belongs to user {}, not to {me}", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        return Some(format!("others can write it (mode {:04o})", found.mode() & 0o7777));
    }
    None
}

/// Whether a compiled file is ours, and as it was compiled.
pub(crate) fn verify(compiled: &Path) -> Result<(), Unfit> {
    let checksum_path = compiled.with_extension(CHECKSUM);
    for path in [compiled, &checksum_path] {
        let found = std::fs::symlink_metadata(path)?;
        if !found.is_file() {
            return Err(Unfit::Ownership(format!("{} is no file", path.display())));
        }
        if let Some(reason) = ours(&found) {
            return Err(Unfit::Ownership(reason));
        }
    }
    let folder = compiled.parent().unwrap_or(Path::new("/"));
    if let Some(reason) = ours(&std::fs::metadata(folder)?) {
        return Err(Unfit::Ownership(format!("its folder: {reason}")));
    }
    let mut expected = String::new();
    std::fs::File::open(&checksum_path)?.take(65).read_to_string(&mut expected)?;
    if sha256_file(compiled)? == expected { Ok(()) } else { Err(Unfit::Checksum) }
}

fn sha256_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => context.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// A compiled file as the cache would leave it.
    fn planted(folder: &Path) -> PathBuf {
        set_mode(folder, 0o700);
        let path = folder.join("x.cwasm");
        std::fs::write(&path, b"code").expect("write");
        let checksum = sha256_file(&path).expect("read");
        std::fs::write(path.with_extension(CHECKSUM), checksum).expect("write");
        set_mode(&path, 0o600);
        set_mode(&path.with_extension(CHECKSUM), 0o600);
        path
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let base = tempfile::tempdir().expect("tempdir");
        let folder = base.path().join("a/cache");
        Cache::open(&folder).expect("creates it");
        assert_eq!(std::fs::metadata(&folder).expect("there").mode() & 0o777, 0o700);
        for mode in [0o720, 0o702] {
            set_mode(&folder, mode);
            let error = Cache::open(&folder).err().expect("refused").to_string();
            assert!(error.contains("others can write it"), "{error}");
        }
        set_mode(&folder, 0o700);
        let link = base.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).expect("symlink");
        assert!(Cache::open(&link).is_err());
    }

    #[test]
    fn a_file_that_others_could_have_written_is_refused() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = planted(folder.path());
        verify(&path).expect("ours");
        for wrong in [&path, &path.with_extension(CHECKSUM)] {
            set_mode(wrong, 0o622);
            assert!(verify(&path).expect_err("writable").to_string().contains("others can write it"));
            set_mode(wrong, 0o600);
        }
        set_mode(folder.path(), 0o777);
        assert!(verify(&path).expect_err("folder").to_string().contains("its folder"));
        set_mode(folder.path(), 0o700);
        // Only root can give a file away.
        if geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).expect("chown");
            assert!(verify(&path).expect_err("foreign").to_string().contains("belongs to user 65534"));
        }
    }

    #[test]
    fn a_flipped_bit_is_refused() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = planted(folder.path());
        std::fs::write(&path, b"cpde").expect("write");
        assert!(matches!(verify(&path), Err(Unfit::Checksum)));
        std::fs::remove_file(path.with_extension(CHECKSUM)).expect("remove");
        assert!(matches!(verify(&path), Err(Unfit::Read(_))));
    }

    #[tokio::test]
    async fn only_the_right_component_is_compiled_and_failures_say_why() {
        let folder = tempfile::tempdir().expect("tempdir");
        let cache = Cache::open(folder.path().join("cache")).expect("opens");
        let component = folder.path().join("x.wasm");
        std::fs::write(&component, b"x").expect("write");
        let digest = sha256_file(&component).expect("read");
        let companion = Companion::new("/nonexistent/compiler");
        let refused = cache.compiled("../../etc/passwd", &component, &companion).await;
        assert!(matches!(refused, Err(CompileError::Digest(_))), "{refused:?}");
        let refused = cache.compiled(&"0".repeat(64), &component, &companion).await;
        assert!(matches!(refused, Err(CompileError::OtherComponent { .. })), "{refused:?}");
        let refused = cache.compiled(&digest, &component, &companion).await.expect_err("no compiler").to_string();
        assert!(refused.contains("start /nonexistent/compiler"), "{refused}");
    }

    #[test]
    fn keeps_only_what_is_named() {
        let folder = tempfile::tempdir().expect("tempdir");
        let cache = Cache::open(folder.path().join("cache")).expect("opens");
        let (kept, gone) = ("a".repeat(64), "b".repeat(64));
        for digest in [&kept, &gone] {
            let path = cache.path(digest).expect("a digest");
            std::fs::write(&path, b"x").expect("write");
            std::fs::write(path.with_extension(CHECKSUM), b"x").expect("write");
        }
        assert_eq!(cache.keep_only(&BTreeSet::from([kept.clone()])).expect("removes"), 2);
        assert!(present(&cache.path(&kept).expect("a digest")));
        cache.forget(&kept).expect("removes");
        cache.forget(&kept).expect("twice is fine");
        assert!(!present(&cache.path(&kept).expect("a digest")));
    }
}
