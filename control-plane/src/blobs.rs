//! Content by its digest, in a folder. What is there is whole.

use crate::files;
use crate::pki::sha256_hex;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    pub fn open(folder: &Path) -> io::Result<Self> {
        files::private_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Durable when it returns. Returns the digest.
    pub fn put(&self, content: &[u8]) -> io::Result<String> {
        let digest = sha256_hex(content);
        let path = self.path(&digest);
        if !path.exists() {
            files::write_private(&path, content)?;
        }
        Ok(digest)
    }

    /// The digest must have been checked to be one.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(digest)
    }
}
