//! Content by its digest, in a folder. What is there is whole.

use crate::files;
use crate::pki::sha256_hex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
    /// Two who write the same content must not share the file beside it.
    writes: Arc<AtomicU64>,
}

impl Blobs {
    pub fn open(folder: &Path) -> io::Result<Self> {
        files::private_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), writes: Arc::default() })
    }

    /// Durable when it returns. Returns the digest.
    pub fn put(&self, content: &[u8]) -> io::Result<String> {
        let digest = sha256_hex(content);
        let path = self.path(&digest);
        if !path.exists() {
            let number = self.writes.fetch_add(1, Ordering::Relaxed);
            let beside = self.folder.join(format!("{digest}.{number}"));
            files::write_private(&beside, content)?;
            std::fs::rename(&beside, &path)?;
            files::sync_folder(&self.folder)?;
        }
        Ok(digest)
    }

    pub fn get(&self, digest: &str) -> io::Result<Option<Vec<u8>>> {
        if is_digest(digest) { files::read_if_there(&self.path(digest)) } else { Ok(None) }
    }

    pub fn has(&self, digest: &str) -> bool {
        is_digest(digest) && self.path(digest).exists()
    }

    /// Everything in the folder, half-written files included.
    pub fn list(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    /// What can't be removed now is tried again at the next start.
    pub fn remove(&self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.folder.join(name)) {
            tracing::warn!(name, error = %error, "a file that is not needed any more stays");
        }
    }

    /// The digest must have been checked to be one.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(digest)
    }
}

pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
