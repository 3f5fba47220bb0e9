//! The socket on which a process says that it is ready, as systemd would listen.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixDatagram;

/// As systemd's default.
const READY_MAX: Duration = Duration::from_secs(90);
const MESSAGE_BYTES_MAX: usize = 4096;

pub(super) struct Ready {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Ready {
    pub fn new(folder: &Path, unit: &str) -> Result<Self, String> {
        let path = folder.with_file_name(format!("notify-{unit}"));
        let failed = |error: std::io::Error| format!("listen on {}: {error}", path.display());
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).map_err(failed)?;
        // For the process's user; what says READY=1 too early harms itself.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(Self { socket, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn said(&self) -> Result<(), String> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let ready = async {
            loop {
                let length = self.socket.recv(&mut bytes).await.unwrap_or(0);
                let message = bytes.get(..length).unwrap_or_default();
                if message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                    return;
                }
            }
        };
        let late = || format!("it did not say READY=1 within {} s", READY_MAX.as_secs());
        tokio::time::timeout(READY_MAX, ready).await.map_err(|_| late())
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
