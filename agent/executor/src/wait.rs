//! Waiting for a descriptor that tokio has no name for.

use std::os::fd::OwnedFd;

#[allow(unsafe_code, reason = "tokio's way to wait for a descriptor; there is no safe one")]
pub async fn readable(descriptor: OwnedFd) {
    // SAFETY: the descriptor is owned by what waits for it, and is the same until that
    // is dropped.
    if let Ok(descriptor) = unsafe { tokio::io::unix::AsyncFd::register(descriptor) } {
        let _ = descriptor.readable().await;
    }
}
